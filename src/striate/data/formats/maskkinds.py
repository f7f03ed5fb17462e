"""What the values of a set's masks mean (:class:`MaskForm`), and what one mask holds (:class:`Look`).

Kinds: ``index`` (a number a class), ``binary`` (0 and one other value), ``colours`` (a colour a class) and
``instances`` (a number an object). Which of them a set has is decided in :mod:`striate.data.formats.masksettle`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate.data.formats.maskfiles import RawMask, Reading

Kind = Literal["index", "binary", "colours", "instances"]
LOOKED_AT = 64
"""How many masks, evenly spread, settle what a set's values mean."""
UNKNOWN = -1


@dataclass(frozen=True)
class MaskForm:
    """How masks of a set are read: ``numbers`` gives the class number of a value, ``void`` the values that are none.

    ``said`` is the decision in words. ``snap``: JPEG masks of 0 and 255 are brought back to these two. ``border`` is
    the width in pixels of the class between touching objects, for instances.
    """

    kind: Kind
    reading: Reading
    classes: tuple[str, ...]
    numbers: Mapping[int, int]
    void: frozenset[int]
    said: str
    snap: bool = False
    border: int = 0

    @property
    def ignore(self) -> int:
        """The value of pixels without a class: 255, or 65535 where 255 may be a class."""
        return 255 if len(self.classes) <= 255 else 65_535

    def codes(self, raw: RawMask) -> NDArray[Any]:
        """The values of a mask as this form reads them, whole numbers (\\*spatial)."""
        return (raw.snapped() if self.snap and raw.lossy else raw).codes(self.reading)

    def numbered(self, raw: RawMask) -> NDArray[Any]:
        """Class numbers (\\*spatial), uint8, or int32 of more than 255 classes; ``ignore`` for void and for values that
        are no class."""
        codes = self.codes(raw)
        if self.kind == "instances":
            return self._outlined(codes)
        known = self._looked_up(codes)
        kept = np.where(known < 0, self.ignore, known)
        return kept.astype(np.uint8 if self.ignore == 255 else np.int32)

    def unknown(self, raw: RawMask) -> dict[int, int]:
        """Values that are neither a class nor void, with the number of their pixels (a colour as 0xRRGGBB)."""
        if self.kind == "instances":
            return {}
        codes = self.codes(raw)
        values, counts = np.unique(codes[self._looked_up(codes) == UNKNOWN], return_counts=True)
        return {int(value): int(count) for value, count in zip(values, counts, strict=True)}

    def objects(self, raw: RawMask) -> NDArray[np.float64]:
        """Boxes (N, 2A) around the objects of an instance mask: lows, then highs (the last pixel's far side), in order
        of their numbers."""
        codes = self.codes(raw)
        places = np.nonzero(self._instances(codes))
        if not len(places[0]):
            return np.zeros((0, 2 * codes.ndim))
        values = codes[places]
        order = np.argsort(values, kind="stable")
        values = values[order]
        starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
        along = [axis[order] for axis in places]
        lows = [np.minimum.reduceat(axis, starts) for axis in along]
        highs = [np.maximum.reduceat(axis, starts) + 1 for axis in along]
        return np.stack([*lows, *highs], axis=1).astype(np.float64)

    def _instances(self, codes: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.isin(codes, list(self.void)), 0, codes) if self.void else codes

    def _outlined(self, codes: NDArray[Any]) -> NDArray[np.uint8]:
        objects = self._instances(codes)
        classes: NDArray[np.uint8] = (objects != 0).astype(np.uint8)
        if self.border:
            classes[between(objects, self.border)] = 2
        if self.void:
            classes[np.isin(codes, list(self.void))] = self.ignore
        return classes

    def _looked_up(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Class numbers, -2 for void, -1 for what is neither."""
        values, numbers = self._sorted
        if values.size and 0 <= values[0] and values[-1] <= 0xFFFF and codes.dtype.kind == "u":
            table = np.full(np.iinfo(codes.dtype).max + 1, UNKNOWN, dtype=np.int32)
            fits = values < len(table)
            table[values[fits]] = numbers[fits]
            return np.asarray(table[codes])
        places = np.searchsorted(values, codes).clip(max=max(len(values) - 1, 0))
        return np.where(values[places] == codes, numbers[places], UNKNOWN).astype(np.int32)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        known = {**self.numbers, **dict.fromkeys(self.void, -2)}
        values = np.array(sorted(known), dtype=np.int64)
        return values, np.array([known[int(value)] for value in values], dtype=np.int32)


def between(objects: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Where two different objects (values other than 0) lie within a window of ``width`` + 1 pixels a side.

    Along a straight line between two touching objects that is a band of ``width`` pixels.
    """
    above = objects.astype(np.int64)
    below = np.where(above == 0, np.iinfo(np.int64).max, above)
    for axis in range(objects.ndim):
        above = _windowed(above, axis, width, np.maximum, 0)
        below = _windowed(below, axis, width, np.minimum, np.iinfo(np.int64).max)
    return np.asarray((above > 0) & (above != below))


def _windowed(values: NDArray[Any], axis: int, width: int, take: np.ufunc, empty: int) -> NDArray[Any]:
    edges = [(0, 0)] * values.ndim
    edges[axis] = (width // 2, width - width // 2)
    padded = np.pad(values, edges, constant_values=empty)
    result = values
    for shift in range(width + 1):
        part = [slice(None)] * values.ndim
        part[axis] = slice(shift, shift + values.shape[axis])
        result = take(result, padded[tuple(part)])
    return result


@dataclass(frozen=True, eq=False)
class Look:
    """What one mask holds: ``index``, pixels by index or grey value (None where it has colours); ``colours``, pixels
    by 65536 R + 256 G + B; ``palette``, the colour of each index that occurs (None without a palette)."""

    index: Mapping[int, int] | None
    colours: Mapping[int, int]
    palette: Mapping[int, int] | None = None
    sixteen: bool = False
    lossy: bool = False

    @property
    def grey(self) -> Mapping[int, int] | None:
        """Pixels by grey value, palettes looked up; None where there is any colour."""
        if self.index is not None and self.palette is None:
            return self.index
        grey = {code // 0x010101: count for code, count in self.colours.items() if code % 0x010101 == 0}
        return grey if len(grey) == len(self.colours) else None

    @property
    def two_valued(self) -> bool:
        """Whether nearly all pixels are nearly black or nearly white (as JPEG leaves masks of 0 and 255)."""
        channels = [(code >> 16, code >> 8 & 255, code & 255, count) for code, count in self.colours.items()]
        sides = sum(count for *rgb, count in channels if max(rgb) <= 48 or min(rgb) >= 207)
        return sides >= 0.98 * sum(self.colours.values())

    def snapped(self) -> "Look":
        """The look of the mask brought back to 0 and 255."""
        high = sum(count for code, count in self.colours.items() if code >> 16 >= 128)
        low = sum(self.colours.values()) - high
        index = {value: count for value, count in ((0, low), (255, high)) if count}
        return Look(index, {value * 0x010101: count for value, count in index.items()}, lossy=True)


def look(raw: RawMask) -> Look:
    """Count the values of a mask (at most 65,536 different ones)."""
    if raw.coloured:
        return Look(None, _counted(raw.codes("colour")), lossy=raw.lossy)
    index = _counted(raw.values)
    wide = raw.values.dtype.itemsize > 1
    if raw.palette is None:
        return Look(index, {value * 0x010101: count for value, count in index.items()}, None, wide, raw.lossy)
    present = np.array([*index], dtype=np.int64)
    palette = dict(zip(index, RawMask(present, raw.palette).codes("colour").tolist(), strict=True))
    colours: dict[int, int] = {}
    for value, count in index.items():
        colours[palette[value]] = colours.get(palette[value], 0) + count
    return Look(index, colours, palette, wide, raw.lossy)


def _counted(values: NDArray[Any]) -> dict[int, int]:
    if values.dtype in (np.uint8, np.uint16):
        counts = np.bincount(values.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, numbers = np.unique(values, return_counts=True)
    return {int(value): int(count) for value, count in zip(found[:65_536], numbers[:65_536], strict=True)}


def agreeing_palettes(looks: Sequence[Look]) -> bool:
    """Whether each index has the same colour in every mask."""
    seen: dict[int, int] = {}
    return all(seen.setdefault(index, code) == code for one in looks for index, code in (one.palette or {}).items())
