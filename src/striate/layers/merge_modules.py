"""The modules behind :mod:`striate.layers.merge` and :mod:`striate.layers.graph`; imported only when one is built."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.layers.leaf_modules import LINEAR_MODES, Duplicating, pad_list

Output = Tensor | Mapping[str, Tensor]


class Sum(nn.Module):
    """Sum of the inputs, each (B, C, *S)."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other
        return first


class ChannelJoin(nn.Module):
    """Inputs (B, C_i, *S_i) joined to (B, sum C_i, *S); with ``crop`` each is cut around its centre to the smallest."""

    def __init__(self, crop: bool) -> None:
        super().__init__()
        self.crop = crop

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.crop:
            smallest = [min(sizes) for sizes in zip(*(tensor.shape[2:] for tensor in inputs), strict=True)]
            inputs = tuple(_cut(tensor, smallest) for tensor in inputs)
        return torch.cat(inputs, dim=1)


def _cut(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    for axis, wanted in enumerate(sizes, start=2):
        spare = tensor.shape[axis] - wanted
        if spare:
            tensor = tensor.narrow(axis, spare // 2, wanted)
    return tensor


class LikeUpsampling(nn.Module):
    """(B, C, *S) upsampled to the size of a second map, (B, C, *S'): extended or cut at the end of each axis."""

    def __init__(self, factor: Sequence[int], method: str) -> None:
        super().__init__()
        self.factor, self.linear = tuple(factor), method == "linear"
        # halving is exact in floating point, and torch's kernel keeps the memory layout; other factors are duplicated
        self.exact = all(f & (f - 1) == 0 for f in factor)
        self.duplicate = Duplicating(self.factor)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Repeat the last positions where too few, upsample, cut."""
        sizes = like.shape[2:]
        extra = [max(0, -(-n // f) - m) for f, m, n in zip(self.factor, x.shape[2:], sizes, strict=True)]
        if any(extra):
            x = F.pad(x, pad_list([(0, e) for e in extra]), mode="replicate")
        if any(factor != 1 for factor in self.factor):
            x = self._upsampled(x)
        for axis, n in enumerate(sizes, start=2):
            if x.shape[axis] != n:
                x = x.narrow(axis, 0, n)
        return x

    def _upsampled(self, x: Tensor) -> Tensor:
        factors = tuple(float(factor) for factor in self.factor)
        if self.linear:
            return F.interpolate(x, scale_factor=factors, mode=LINEAR_MODES[len(factors)], align_corners=False)
        return F.interpolate(x, scale_factor=factors, mode="nearest") if self.exact else self.duplicate(x)


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
