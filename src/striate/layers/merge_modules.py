"""The modules behind :mod:`striate.layers.merge` and :mod:`striate.layers.graph`; imported only when one is built."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Output = Tensor | Mapping[str, Tensor]


class Sum(nn.Module):
    """Sum of the inputs, each (B, C, *S)."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other
        return first


class ChannelJoin(nn.Module):
    """Inputs (B, C_i, *S_i), cut around the centre to ``size``, joined to (B, sum C_i, *size)."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat([self._cut(tensor) for tensor in inputs], dim=1)

    def _cut(self, tensor: Tensor) -> Tensor:
        for axis, wanted in enumerate(self.size, start=2):
            spare = tensor.shape[axis] - wanted
            if spare:
                tensor = tensor.narrow(axis, spare // 2, wanted)
        return tensor


class GraphModule(nn.Module):
    """Runs rows in order. Child modules carry the names of the rows, so that those are the parameter names.

    ``steps`` has, per row, (name, references); a reference is (row name or 'input', part). A value is dropped after
    the row that reads it last, so that inference holds no more than it needs.
    """

    def __init__(
        self,
        children: Sequence[tuple[str, nn.Module]],
        references: Sequence[Sequence[tuple[str, str]]],
        outputs: Mapping[str, tuple[str, str]],
    ) -> None:
        super().__init__()
        self.steps: list[tuple[nn.Module, str, list[tuple[str, str]], list[str]]] = []
        last_use: dict[str, int] = {}
        for position, row_references in enumerate(references):
            for source, _ in row_references:
                last_use[source] = position
        for source, _ in outputs.values():
            last_use[source] = len(references)
        for position, ((name, module), row_references) in enumerate(zip(children, references, strict=True)):
            self.add_module(name, module)
            done = [source for source, last in last_use.items() if last == position]
            self.steps.append((module, name, list(row_references), done))
        self.outputs = dict(outputs)
        names = [name for name, _ in children]
        before = ["input", *names[:-1]]
        self.is_chain = list(outputs) == [""] and all(
            [*row] == [(previous, "")] for row, previous in zip(references, before, strict=True)
        )

    def forward(self, *inputs: Tensor) -> Output:
        if self.is_chain:  # the common case, without the bookkeeping
            value = inputs[0]
            for module, _, _, _ in self.steps:
                value = module(value)
                if not isinstance(value, Tensor):
                    value = value[""]
            return value
        values: dict[str, Output] = {"input": {"" if i == 0 else str(i): tensor for i, tensor in enumerate(inputs)}}
        for module, name, references, done in self.steps:
            values[name] = module(*(_pick(values[source], part) for source, part in references))
            for source in done:
                del values[source]
        picked = {part: _pick(values[source], reference) for part, (source, reference) in self.outputs.items()}
        return picked[""] if list(picked) == [""] else picked


def _pick(value: Output, part: str) -> Tensor:
    return value if isinstance(value, Tensor) else value[part]
