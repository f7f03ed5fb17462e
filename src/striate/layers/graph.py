"""Graph: rows of layers with names and sources. Chain, Residual and Concat are short ways to write one."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Self

from pydantic import field_validator, model_validator

from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.layers.layer import Layer, LayerRow, Shape
from striate.layers.merge import Add, Join

if TYPE_CHECKING:
    from torch import nn

PREVIOUS = "previous"
_NAME = re.compile(r"[A-Za-z0-9_]+")


class Row(Spec):
    """A named layer and where its inputs come from.

    A source is the name of an earlier row, ``input`` (the graph's first input; ``input.1`` its second), a part such
    as ``pool1.indices``, or ``previous``: the row before, which for the first row is the input.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...] = (PREVIOUS,)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name in ("input", PREVIOUS):
            raise ValueError("a row name is letters, digits and _, and neither 'input' nor 'previous'")
        return name


class Graph(Layer):
    """Rows computed in order. The main output is the last row; ``outputs`` names further ones, as name -> source.

    Row names are the names of the parameters: row ``conv1`` of a row ``stem`` holds ``stem.conv1.weight``.
    """

    rows: tuple[Row, ...]
    outputs: dict[str, str] = {}

    @model_validator(mode="after")
    def _sources_exist(self) -> Self:
        if not self.rows:
            raise ValueError("a graph needs at least one row")
        seen: set[str] = set()
        for row in self.rows:
            for source in row.inputs:
                head = source.partition(".")[0]
                if head not in seen and head not in ("input", PREVIOUS):
                    raise ValueError(f"row {row.name!r} reads {source!r}, which is no earlier row")
            if row.name in seen:
                raise ValueError(f"two rows are named {row.name!r}")
            seen.add(row.name)
        for name, source in self.outputs.items():
            if not _NAME.fullmatch(name) or source.partition(".")[0] not in seen:
                raise ValueError(f"output {name!r} reads {source!r}, which is no row")
        return self

    def _references(self) -> list[list[tuple[str, str]]]:
        """Per row, its sources as (row or 'input', part), with 'previous' resolved."""
        resolved, previous = [], "input"
        for row in self.rows:
            pairs = []
            for source in row.inputs:
                head, _, part = source.partition(".")
                pairs.append((previous if head == PREVIOUS else head, "" if (head, part) == ("input", "0") else part))
            resolved.append(pairs)
            previous = row.name
        return resolved

    def _shapes(self, *inputs: Shape) -> dict[tuple[str, str], Shape]:
        """Shape of every value, by (row or 'input', part)."""
        shapes = {("input", "" if i == 0 else str(i)): tuple(shape) for i, shape in enumerate(inputs)}
        for row, references in zip(self.rows, self._references(), strict=True):
            given = self._lookup(shapes, row.name, references)
            layer = row.layer
            try:
                shapes.update({(row.name, part): shape for part, shape in layer.values(*given).items()})
            except InputError as error:
                raise InputError(_under(row.name, error.where), error.cause, error.fix) from None
        return shapes

    @staticmethod
    def _lookup(
        shapes: dict[tuple[str, str], Shape], reader: str, references: list[tuple[str, str]]
    ) -> tuple[Shape, ...]:
        for source, part in references:
            if (source, part) not in shapes:
                known = sorted(".".join(filter(None, key)) for key in shapes if key[0] == source)
                raise InputError(reader, f"{source!r} has no part {part!r} (it has: {known})", "correct the source")
        return tuple(shapes[reference] for reference in references)

    def _output_keys(self) -> dict[str, tuple[str, str]]:
        keys = {"": (self.rows[-1].name, "")}
        for name, source in self.outputs.items():
            head, _, part = source.partition(".")
            keys[name] = (head, part)
        return keys

    def values(self, *inputs: Shape) -> dict[str, Shape]:
        shapes = self._shapes(*inputs)
        keys = self._output_keys()
        for name, key in keys.items():
            if key not in shapes:
                raise InputError(f"output {name!r}", f"{'.'.join(key)!r} is no value of the graph", "correct it")
        return {name: shapes[key] for name, key in keys.items()}

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.values(*inputs)[""]

    def parts(self, *inputs: Shape) -> dict[str, Shape]:
        return {name: shape for name, shape in self.values(*inputs).items() if name}

    def parameters(self, *inputs: Shape) -> int:
        return sum(row.parameters for row in self.leaves(*inputs))

    def multiply_adds(self, *inputs: Shape) -> int:
        return sum(row.multiply_adds for row in self.leaves(*inputs))

    def leaves(self, *inputs: Shape, name: str = "", sources: tuple[str, ...] = ("input",)) -> Iterator[LayerRow]:
        """Every leaf layer under this graph with its dotted name; sources are names of leaves (or ``leaf.part``)."""
        yield from self._expand(inputs, name, sources, {})

    def _expand(
        self, inputs: tuple[Shape, ...], prefix: str, sources: tuple[str, ...], exported: dict[str, str]
    ) -> Iterator[LayerRow]:
        """Yield the leaves; fill ``exported`` with the leaf behind each of this graph's outputs ('' the main one)."""
        shapes = self._shapes(*inputs)
        sources += tuple(f"input.{i}" for i in range(len(sources), len(inputs)))
        names = {("input", "" if i == 0 else str(i)): source for i, source in enumerate(sources)}
        for row, references in zip(self.rows, self._references(), strict=True):
            full = f"{prefix}.{row.name}" if prefix else row.name
            given = tuple(shapes[reference] for reference in references)
            read = tuple(names[reference] for reference in references)
            layer = row.layer
            inner = layer.written_out if isinstance(layer, Composite) else layer
            if isinstance(inner, Graph):
                values: dict[str, str] = {}
                yield from inner._expand(given, full, read, values)
                names.update({(row.name, part): leaf for part, leaf in values.items()})
            else:
                yield from inner.leaves(*given, name=full, sources=read)
                names[row.name, ""] = full
                parts = [part for name, part in shapes if name == row.name and part]
                names.update({(row.name, part): f"{full}.{part}" for part in parts})
        exported.update({name: names[key] for name, key in self._output_keys().items()})

    def output_leaves(self, *inputs: Shape) -> dict[str, str]:
        """The leaf row behind each output: '' for the main one, and one per named output."""
        exported: dict[str, str] = {}
        for _ in self._expand(inputs, "", tuple(f"input.{i}" if i else "input" for i in range(len(inputs))), exported):
            pass
        return exported

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.merge_modules import GraphModule

        shapes = self._shapes(*inputs)
        references = self._references()
        children = []
        for row, row_references in zip(self.rows, references, strict=True):
            children.append((row.name, row.layer.build(*(shapes[reference] for reference in row_references))))
        return GraphModule(children, references, self._output_keys())


class Composite(Layer):
    """A block or network written as a graph: subclasses give :meth:`graph`, and everything else follows from it."""

    @abstractmethod
    def graph(self) -> Graph:
        """The rows this block stands for."""

    @cached_property
    def written_out(self) -> Graph:
        """:meth:`graph`, computed once."""
        return self.graph()

    def values(self, *inputs: Shape) -> dict[str, Shape]:
        return self.written_out.values(*inputs)

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.written_out.output_shape(*inputs)

    def parts(self, *inputs: Shape) -> dict[str, Shape]:
        return self.written_out.parts(*inputs)

    def parameters(self, *inputs: Shape) -> int:
        return self.written_out.parameters(*inputs)

    def multiply_adds(self, *inputs: Shape) -> int:
        return self.written_out.multiply_adds(*inputs)

    def leaves(self, *inputs: Shape, name: str = "", sources: tuple[str, ...] = ("input",)) -> Iterator[LayerRow]:
        yield from self.written_out.leaves(*inputs, name=name, sources=sources)

    def build(self, *inputs: Shape) -> "nn.Module":
        return self.written_out.build(*inputs)


class Chain(Composite):
    """Layers one after the other, named by ``names`` or by their position."""

    layers: tuple[Layer, ...]
    names: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _a_name_each(self) -> Self:
        if self.names is not None and len(self.names) != len(self.layers):
            raise ValueError(f"{len(self.layers)} layers have {len(self.names)} names")
        return self

    def graph(self) -> Graph:
        names = self.names or tuple(str(position) for position in range(len(self.layers)))
        return Graph(rows=tuple(Row(name=name, layer=layer) for name, layer in zip(names, self.layers, strict=True)))


class Residual(Composite):
    """activation(body(x) + shortcut(x)); without a shortcut x itself is added (He et al. 2016, arXiv:1512.03385)."""

    body: Layer
    shortcut: Layer | None = None
    activation: Layer | None = None

    def graph(self) -> Graph:
        rows = [Row(name="body", layer=self.body, inputs=("input",))]
        if self.shortcut is not None:
            rows.append(Row(name="shortcut", layer=self.shortcut, inputs=("input",)))
        rows.append(Row(name="add", layer=Add(), inputs=("body", "input" if self.shortcut is None else "shortcut")))
        if self.activation is not None:
            rows.append(Row(name="activation", layer=self.activation))
        return Graph(rows=tuple(rows))


class Concat(Composite):
    """Branches that read the same input, joined along the channels."""

    branches: tuple[Layer, ...]

    def graph(self) -> Graph:
        names = tuple(f"branch{position}" for position in range(len(self.branches)))
        rows = [Row(name=n, layer=b, inputs=("input",)) for n, b in zip(names, self.branches, strict=True)]
        return Graph(rows=(*rows, Row(name="join", layer=Join(), inputs=names)))


def expanded(layer: Layer) -> Layer:
    """The same network with every block written out as a graph of leaf layers: the form the model file keeps, so
    that a reloaded network does not depend on how a block or architecture is written today."""
    if isinstance(layer, Composite):
        layer = layer.written_out
    if not isinstance(layer, Graph):
        return layer
    return layer.replace(rows=tuple(row.replace(layer=expanded(row.layer)) for row in layer.rows))


def _under(name: str, where: str) -> str:
    return f"{name}.{where}" if where else name
