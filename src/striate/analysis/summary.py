"""The layer table of a network, by arithmetic on its spec: nothing is built and torch is not imported."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import prod
from typing import Any

from striate.architectures.backbone import window_graph
from striate.core.graph import ReceptiveField
from striate.core.spec import Spec
from striate.layers.layer import Layer, LayerRow, Shape

BYTES = 4
"""Bytes of one value in float32."""
COUNTED = (
    "Multiply-adds are counted, for one example; in floating-point operations (FLOPs) it is twice as many. "
    "Biases, norms, activations and pooling count zero."
)


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One layer, or several under one name.

    ``receptive_field`` and ``stride`` are input pixels per axis, of the paths through windows alone, and empty where
    there is none; ``sees_everything`` says that some path sees the whole input. A stride is ``None`` where positions
    are unevenly spaced. ``activation_bytes`` is the output of one example in float32, summed over grouped layers.
    """

    name: str
    kind: str
    described: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, ...]
    stride: tuple[Fraction | None, ...]
    sees_everything: bool
    activation_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain values. ``receptive_field`` and ``stride`` are one number where the axes agree, a list where not, and
        null without a windowed path."""
        return {
            "name": self.name,
            "kind": self.kind,
            "described": self.described,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": one_or_all(self.receptive_field),
            "stride": one_or_all([None if step is None else _number(step) for step in self.stride]),
            "sees_everything": self.sees_everything,
            "activation_bytes": self.activation_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layer table of a network for one input shape (C, *S), and its totals."""

    input_shape: Shape
    output_shape: Shape
    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """Learned values in all."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds in all, for one example."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of every layer's output for one example in float32: what training keeps for the backward pass."""
        return sum(row.activation_bytes for row in self.rows)

    def grouped(self, depth: int) -> "Summary":
        """The table with neighbouring rows that share the first ``depth`` parts of their names put together.

        Costs add up; shape, receptive field and stride are those of the last one. Depth 0 or less groups nothing.
        """
        if depth < 1:
            return self
        groups = groupby(self.rows, key=lambda row: ".".join(row.name.split(".")[:depth]))
        rows = tuple(_together(name, tuple(members)) for name, members in groups)
        return Summary(input_shape=self.input_shape, output_shape=self.output_shape, rows=rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values: totals, and the rows under ``layers``."""
        return {
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_bytes": self.activation_bytes,
            "counted": COUNTED,
            "layers": [row.to_json() for row in self.rows],
        }


def summary(network: Layer, input_shape: Shape) -> Summary:
    """The layer table of a layer, block or network for one input (C, *S).

    Errors: ``InputError`` that names the layer that the input does not fit.
    """
    shape = tuple(input_shape)
    output_shape = network.output_shape(shape)
    graph = window_graph(network, shape)
    rows = []
    for leaf in network.leaves(shape):
        name = leaf.name or leaf.layer.kind
        fields = [graph.receptive_field(name, axis) for axis in range(len(shape) - 1)]
        rows.append(_row(leaf, name, fields, len(shape) == 1))
    return Summary(input_shape=shape, output_shape=output_shape, rows=tuple(rows))


def _row(leaf: LayerRow, name: str, fields: Sequence[ReceptiveField], flat: bool) -> SummaryRow:
    sizes = tuple(field.size for field in fields if field.size is not None)
    windowed = len(sizes) == len(fields)
    return SummaryRow(
        name=name,
        kind=leaf.layer.kind,
        described=described(leaf.layer),
        output_shape=leaf.output_shape,
        parameters=leaf.parameters,
        multiply_adds=leaf.multiply_adds,
        receptive_field=sizes if windowed else (),
        stride=tuple(field.jump for field in fields) if windowed else (),
        sees_everything=flat or any(field.everything for field in fields),
        activation_bytes=BYTES * prod(leaf.output_shape),
    )


def _together(name: str, rows: tuple[SummaryRow, ...]) -> SummaryRow:
    if len(rows) == 1:
        return rows[0]
    last = rows[-1]
    return SummaryRow(
        name=name,
        kind="group",
        described=f"{len(rows)} layers",
        output_shape=last.output_shape,
        parameters=sum(row.parameters for row in rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        receptive_field=last.receptive_field,
        stride=last.stride,
        sees_everything=last.sees_everything,
        activation_bytes=sum(row.activation_bytes for row in rows),
    )


def described(layer: Spec) -> str:
    """The fields of a layer that have no default or another value, in words: ``channels 15, kernel 3, stride 2``."""
    return ", ".join(_fields(layer))


def _fields(layer: Spec) -> Iterator[str]:
    for name, field in type(layer).model_fields.items():
        value = getattr(layer, name)
        if field.is_required() or value != field.get_default(call_default_factory=True):
            label = name.replace("_", " ")
            if isinstance(value, bool):
                yield label if value else f"no {label}"
            else:
                yield f"{label} {_shown(value)}"


def _shown(value: object) -> str:
    if isinstance(value, Spec):
        inner = described(value)
        return f"{value.kind} ({inner})" if inner else value.kind
    if isinstance(value, tuple | list):
        return "x".join(_shown(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def one_or_all(values: Sequence[Any]) -> Any:
    """The one value of all axes, the list of them where they differ, ``None`` of none."""
    if not values:
        return None
    return values[0] if all(value == values[0] for value in values) else list(values)


def _number(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)
