"""The window graph: which part of the input each row of a network can see.

Specs and traced modules both give a :class:`WindowGraph`; the analyses read only that. Along every axis it answers by
exact arithmetic on sets of positions. A path through a global operation (global pooling, flattening,
squeeze-and-excitation) sees everything: it is flagged, and the windowed paths beside it are still reported.
"""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cached_property
from math import lcm

from striate.core.errors import InputError
from striate.core.geometry import AdaptiveWindow, AnyWindow, Field, Interval, Spans, Window, bounds, merged

Shape = tuple[int, ...]


class Reach(Enum):
    """What an operation without windows reads: the same position, all positions, or the same position and, through
    something global such as the statistics of a norm or a gate, all positions."""

    POINTWISE = "pointwise"
    EVERYTHING = "everything"
    POINTWISE_AND_EVERYTHING = "pointwise and everything"


WindowOp = tuple[AnyWindow, ...] | Reach
"""One window per axis, or a reach that holds for all axes."""


@dataclass(frozen=True)
class WindowRow:
    """One operation: its name, its window, the rows it reads (``"input"`` is the input) and its output shape (C, *S).

    A source may be a part of a row (``"pool1.indices"``): a part looks where its row looks. List only sources whose
    values are read; one that lends just its size is no source. A pointwise operation repeats a source of size 1 along
    an axis, and cuts a larger source around its centre, the odd position from the end.
    """

    name: str
    op: WindowOp
    sources: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class ReceptiveField:
    """What the outputs of a row see along one axis, in input pixels and without regard to the borders.

    (Where an adaptive pooling spaces positions unevenly there is no pattern to continue beyond the borders: then what
    is inside them counts.)

    ``size``: most pixels from the first to the last one that a position sees, both counted; ``None`` when there is no
    windowed path.
    ``jump``, ``start``: output u is centred at start + u jump; ``None`` when the positions are not evenly spaced.
    ``everything``: some path sees the whole input. ``uniform``: every position sees ``size`` pixels.
    """

    size: int | None
    jump: Fraction | None
    start: Fraction | None
    everything: bool = False
    uniform: bool = True


@dataclass(frozen=True)
class WindowGraph:
    """Rows in an order in which each reads only earlier ones. ``input_shape`` is (C, *S).

    Errors: ``InputError`` for a repeated name, an unknown source, or a window for the wrong number of axes.
    """

    input_shape: Shape
    rows: tuple[WindowRow, ...]

    def __post_init__(self) -> None:
        seen = {"input"}
        for row in self.rows:
            if row.name in seen:
                raise InputError(row.name, "two rows have this name", "rename one")
            for source in row.sources:
                if _owner(source, seen) is None:
                    raise InputError(row.name, f"reads {source!r}, which no earlier row gives", "correct the name")
            if isinstance(row.op, tuple) and len(row.op) != len(row.shape) - 1:
                raise InputError(
                    row.name, f"{len(row.op)} windows came for {len(row.shape) - 1} axes", "give one window per axis"
                )
            seen.add(row.name)

    def receptive_field(self, name: str, axis: int) -> ReceptiveField:
        """The receptive field of row ``name`` (or ``"input"``) along spatial axis ``axis`` (0 is the first)."""
        self._check(name, axis)
        everything = name in self._global
        if name not in self._windowed:
            return ReceptiveField(None, None, None, everything)
        field = self._fields[axis][name]
        ancestors = self._ancestors(name)
        if field is not None and not any(_is_transposed(row, axis) for row in ancestors):
            return ReceptiveField(field.size, field.jump, field.start, everything)
        period = self._period(name, ancestors, axis)
        positions = range(self._shape(name)[axis + 1] if period is None else period)
        sizes = [_extent(bounds(self._walk(name, axis, position, inside=period is None))) for position in positions]
        jump, start = (None, None) if field is None else (field.jump, field.start)
        return ReceptiveField(max(sizes), jump, start, everything, len(set(sizes)) == 1)

    def interval(self, name: str, axis: int, position: int) -> Interval | None:
        """First and last input position that output ``position`` of row ``name`` really depends on through windows.

        Padding is left out at every row on the way. ``None``: it depends on no input through a windowed path.
        """
        return bounds(self.positions(name, axis, position))

    def positions(self, name: str, axis: int, position: int) -> Spans:
        """Like :meth:`interval`, as the exact set: dilation leaves holes."""
        self._check(name, axis)
        if name not in self._windowed:
            return ()
        return self._walk(name, axis, position, inside=True)

    def field(self, name: str, axis: int) -> Field | None:
        """Jump, start and extent of row ``name``; ``None`` when its positions are unevenly spaced or see no window."""
        self._check(name, axis)
        return self._fields[axis].get(name)

    def sees_everything(self, name: str) -> bool:
        """Whether some path from the input to row ``name`` passes a global operation."""
        self._check(name, None)
        return name in self._global

    def _check(self, name: str, axis: int | None) -> None:
        if name not in self._known:
            raise InputError(name, "no row has this name", f"use one of: input, {', '.join(self._by_name)}")
        if axis is not None and not 0 <= axis < len(self.input_shape) - 1:
            raise InputError(name, f"axis {axis} of {len(self.input_shape) - 1}", "count the spatial axes from 0")

    def _shape(self, name: str) -> Shape:
        return self.input_shape if name == "input" else self._by_name[name].shape

    def _sources(self, row: WindowRow) -> list[str]:
        names = (_owner(source, self._known) for source in row.sources)
        return [name for name in names if name is not None]

    @cached_property
    def _known(self) -> set[str]:
        return {"input", *self._by_name}

    @cached_property
    def _by_name(self) -> dict[str, WindowRow]:
        return {row.name: row for row in self.rows}

    @cached_property
    def _windowed(self) -> set[str]:
        """Rows with a path from the input on which every operation has windows."""
        found = {"input"}
        for row in self.rows:
            if row.op is not Reach.EVERYTHING and any(source in found for source in self._sources(row)):
                found.add(row.name)
        return found

    @cached_property
    def _global(self) -> set[str]:
        """Rows with a path from the input that passes an operation that reads everything."""
        found: set[str] = set()
        for row in self.rows:
            sources = self._sources(row)
            is_global = row.op in (Reach.EVERYTHING, Reach.POINTWISE_AND_EVERYTHING)
            if (is_global and sources) or any(source in found for source in sources):
                found.add(row.name)
        return found

    @cached_property
    def _fields(self) -> list[dict[str, Field | None]]:
        return [self._fields_along(axis) for axis in range(len(self.input_shape) - 1)]

    def _fields_along(self, axis: int) -> dict[str, Field | None]:
        fields: dict[str, Field | None] = {"input": Field()}
        for row in self.rows:
            if row.name not in self._windowed:
                continue
            total: Field | None = None
            for place, source in enumerate(s for s in self._sources(row) if s in self._windowed):
                field = fields[source]
                window = self._window(row, source, axis)
                field = field.through(window) if field is not None and isinstance(window, Window) else None
                total = field if place == 0 else total.union(field) if total is not None and field is not None else None
            fields[row.name] = total
        return fields

    def _ancestors(self, name: str) -> list[WindowRow]:
        """The rows on windowed paths to ``name``, itself included, last first."""
        wanted, found = {name}, []
        for row in reversed(self.rows):
            if row.name in wanted and row.name in self._windowed:
                found.append(row)
                wanted.update(self._sources(row))
        return found

    def _period(self, name: str, ancestors: list[WindowRow], axis: int) -> int | None:
        """Outputs after which the pattern of what is seen repeats; ``None`` if a row on the way is unevenly spaced."""
        last = self._fields[axis][name]
        if last is None:
            return None
        period = last.jump.denominator
        for row in ancestors:
            field = self._fields[axis][row.name]
            if field is None:
                return None
            period = lcm(period, (last.jump / field.jump).denominator)
        return period

    def _walk(self, name: str, axis: int, position: int, inside: bool) -> Spans:
        """Input positions behind one output; ``inside`` drops padding at every row, otherwise the axis is endless."""
        needed: dict[str, Spans] = {name: ((position, position),)}
        for row in self._ancestors(name):
            outputs = needed.pop(row.name, ())
            if not outputs:
                continue
            for source in self._sources(row):
                if source not in self._windowed:
                    continue
                reached = self._step(row, source, axis, outputs, inside)
                needed[source] = merged((*needed.get(source, ()), *reached))
        return needed.get("input", ())

    def _window(self, row: WindowRow, source: str, axis: int) -> AnyWindow | None:
        """How ``row`` reads ``source``; ``None``: every output reads its only position."""
        if isinstance(row.op, tuple):
            return row.op[axis]
        return _pointwise(self._shape(source)[axis + 1], row.shape[axis + 1])

    def _step(self, row: WindowRow, source: str, axis: int, outputs: Spans, inside: bool) -> Spans:
        window = self._window(row, source, axis)
        if window is None:
            return ((0, 0),)
        if isinstance(window, AdaptiveWindow) or inside:
            return window.read(outputs, self._shape(source)[axis + 1])
        return window.spans(outputs)


def _owner(source: str, known: set[str]) -> str | None:
    """The row that gives ``source``: the row of that name, or the row whose part it is."""
    row = source.rpartition(".")[0]
    return source if source in known else row if row in known else None


def _is_transposed(row: WindowRow, axis: int) -> bool:
    window = row.op[axis] if isinstance(row.op, tuple) else None
    return isinstance(window, Window) and window.transposed


def _pointwise(source: int, target: int) -> Window | None:
    """How a pointwise operation reads a source of another size: cut, or (``None``) repeated."""
    if source == 1 != target:
        return None
    spare = source - target
    return Window(before=-(spare // 2), after=-(spare - spare // 2))


def _extent(interval: Interval | None) -> int:
    return 0 if interval is None else interval[1] - interval[0] + 1
