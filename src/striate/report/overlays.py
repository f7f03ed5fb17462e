"""Samples with what they are labelled with drawn over them: boxes, masks, intervals; and with a fault drawn in red.

Plain arrays and tuples come in. Coordinates are in array order and continuous: pixel i covers [i, i + 1).
"""

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from striate.report.records import Figure, clean
from striate.report.style import CARD, FULL, INK, MUTED, RULE, SERIES, bare, drawing, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAULT = "#e3172b"
"""The colour of what is wrong: seen on photos, grey or coloured."""
_PIXELS = 130
"""Pixels of a drawn photo to an inch of the figure."""
_LINE = 0.16
"""Inches of a line of text."""
_GAP = 0.14
_NAMED = 8
"""Up to how many boxes of one picture are named."""
_LEGEND = 24
_RINGED = 0.12
"""Inches under which a box that is wrong gets a ring around it."""
_FIXED = ("#f5c211", "#1f9de0", "#e66100", "#12b886", "#c061cb", "#a6d608", "#f66fb0", "#7c6ff0")


@dataclass(frozen=True, slots=True)
class Outline:
    """A box [y0, x0, y1, x1], or an interval [start, end] of a signal, of a class; ``fault`` draws it in red."""

    bounds: tuple[float, ...]
    label: int
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample to draw: ``values`` (C, L), (C, H, W) or (C, D, H, W) (its middle slice), a title, what it is labelled
    with, and a note in red below. ``mask`` (H, W) holds class numbers; what is below 0 is void. ``focus`` (y0, x0, y1,
    x1) is the part of an image that is drawn, which may reach beyond it; by default the whole."""

    values: npt.NDArray[Any]
    title: str
    outlines: tuple[Outline, ...] = ()
    mask: npt.NDArray[np.int64] | None = None
    note: str = ""
    focus: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Tile:
    """Where a picture stands in the figure (inches from its top left), and which part of the image it shows."""

    left: float
    top: float
    width: float
    height: float
    view: tuple[float, float, float, float]

    def place(self, y: float, x: float) -> tuple[float, float]:
        """(x, y) in inches of a point of the image, kept inside the tile."""
        y0, x0, y1, x1 = self.view
        across = (x - x0) / (x1 - x0) * self.width
        down = (y - y0) / (y1 - y0) * self.height
        return self.left + min(max(across, 0.0), self.width), self.top + min(max(down, 0.0), self.height)


def palette(classes: int) -> tuple[str, ...]:
    """A colour for each class, told apart on photos: eight chosen ones, then hues a golden angle apart. None is red."""
    more = [
        colorsys.hsv_to_rgb(0.06 + 0.86 * (0.61803399 * i % 1.0), (0.9, 0.55)[i % 2], (1.0, 0.8, 0.6)[i % 3])
        for i in range(max(0, classes - len(_FIXED)))
    ]
    extra = ["#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in colour)) for colour in more]
    return (*_FIXED, *extra)[:classes]


def pictures(
    items: Sequence[Shown], classes: Sequence[str], caption: str = "", *, across: int = 4, clear: int | None = None
) -> Figure:
    """The samples in rows of ``across``, each with its labels, and a legend of the classes that are drawn.

    ``clear`` is the class that is not laid over an image: the background of a mask. Errors: ``ValueError`` for none.
    """
    if not items:
        raise ValueError("no samples came to be drawn")
    across = min(across, max(len(items), 2))
    cell = FULL / across
    tiles, height = _laid_out(items, across, cell)
    colours = palette(len(classes))
    used = sorted({number for item in items for number in _labels(item) if 0 <= number < len(classes)} - {clear})
    legend = used if len(used) <= _LEGEND else []
    top = _legend_height(legend, classes)
    with drawing(cell * across, height + top) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        bare(axes)
        axes.set(xlim=(0, cell * across), ylim=(height + top, 0))
        _legend(axes, legend, classes, colours)
        for item, tile in zip(items, tiles, strict=True):
            moved = _Tile(tile.left, tile.top + top, tile.width, tile.height, tile.view)
            _words(axes, item, moved)
            if _is_signal(item):
                _curve(axes, item, moved, colours)
            else:
                _photo(axes, item, moved, colours, clear)
                _boxes(axes, item, moved, classes, colours, named=not legend or bool(item.note))
        faults = sum(bool(item.note) for item in items)
        said = f", {faults} of them with a fault" if faults else ""
        names = ", ".join(classes[number] for number in legend)
        alt = f"{len(items)} samples{said}." + (f" Drawn in colour: {names}." if names else "")
        return finish(figure, caption, alt)


def _labels(item: Shown) -> set[int]:
    found = {outline.label for outline in item.outlines if not outline.fault}
    return found if item.mask is None else found | set(np.unique(item.mask).tolist())


def _is_signal(item: Shown) -> bool:
    return item.values.ndim == 2


def _view(item: Shown) -> tuple[float, float, float, float]:
    return item.focus or (0.0, 0.0, float(item.values.shape[-2]), float(item.values.shape[-1]))


def _laid_out(items: Sequence[Shown], across: int, cell: float) -> tuple[list[_Tile], float]:
    """A tile for each item, rows as high as their highest picture, and the height of all."""
    tiles, top, width = [], 0.0, cell - _GAP
    for start in range(0, len(items), across):
        row = items[start : start + across]
        heights = []
        for item in row:
            y0, x0, y1, x1 = _view(item)
            wanted = 0.42 * width if _is_signal(item) else width * (y1 - y0) / max(x1 - x0, 1e-9)
            heights.append(min(wanted, 1.25 * width))
        for number, (item, high) in enumerate(zip(row, heights, strict=True)):
            y0, x0, y1, x1 = view = _view(item)
            wide = width if _is_signal(item) else min(width, high * (x1 - x0) / max(y1 - y0, 1e-9))
            tiles.append(_Tile(number * cell, top + _LINE + 0.05, wide, high, view))
        lines = max(len(_folded(item.note, width)) for item in row)
        top += max(heights) + _LINE * (1 + lines) + 0.05 + _GAP
    return tiles, top


def _words(axes: "Axes", item: Shown, tile: _Tile) -> None:
    most = int(max(tile.width, 1.2) / 0.066)
    title = " ".join(clean(item.title).split())
    title = title if len(title) <= most else "…" + title[1 - most :]
    axes.text(tile.left, tile.top - 0.06, title, fontsize=7.5, color=INK, va="bottom")
    for number, line in enumerate(_folded(item.note, FULL if tile.width > 4 else max(tile.width, 1.9))):
        y = tile.top + tile.height + 0.06 + _LINE * number
        axes.text(tile.left, y, line, fontsize=7.5, color=SERIES[1], va="top")


def _folded(note: str, width: float, most: int = 4) -> list[str]:
    """A note in lines that fit ``width`` inches, at most ``most`` of them."""
    room, lines = int(width / 0.066), [""]
    for word in " ".join(clean(note).split()).split():
        for piece in (word[i : i + room] for i in range(0, len(word), room)):
            longer = f"{lines[-1]} {piece}".strip()
            lines = [*lines[:-1], longer] if len(longer) <= room else [*lines, piece]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: room - 1] + "…"]
    return [line for line in lines if line]


def _photo(axes: "Axes", item: Shown, tile: _Tile, colours: Sequence[str], clear: int | None) -> None:
    y0, x0, y1, x1 = tile.view
    height, width = item.values.shape[-2:]
    top, left, bottom, right = max(0, math.floor(y0)), max(0, math.floor(x0)), min(height, y1), min(width, x1)
    frame = (tile.left, tile.left + tile.width, tile.top + tile.height, tile.top)
    axes.fill([frame[0], frame[1], frame[1], frame[0]], [frame[2], frame[2], frame[3], frame[3]], color=CARD)
    bottom, right = math.ceil(bottom), math.ceil(right)
    if bottom <= top or right <= left:
        return
    picture = _rgb(item.values)[top:bottom, left:right]
    if item.mask is not None:
        picture = _laid_over(picture, item.mask[top:bottom, left:right], colours, clear)
    (low_x, low_y), (high_x, high_y) = tile.place(top, left), tile.place(bottom, right)
    size = max(1, round(_PIXELS * (high_x - low_x))), max(1, round(_PIXELS * (high_y - low_y)))
    image = Image.fromarray(picture)
    if size[0] < image.width:
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    axes.imshow(np.asarray(image), interpolation="none", aspect="auto", extent=(low_x, high_x, high_y, low_y), zorder=1)
    axes.plot([low_x, high_x, high_x, low_x, low_x], [low_y, low_y, high_y, high_y, low_y], color=RULE, linewidth=0.6)


def _rgb(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An image (C, H, W) or the middle slice of a volume as (H, W, 3) uint8; other types between their extremes."""
    flat = values[:, values.shape[1] // 2] if values.ndim == 4 else values
    flat = flat[:3] if len(flat) >= 3 else flat[:1]
    if flat.dtype != np.uint8:
        numbers = np.nan_to_num(flat.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = float(numbers.min()), float(numbers.max())
        flat = np.rint((numbers - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(flat.transpose(1, 2, 0), (*flat.shape[1:], 3)))


def _laid_over(
    picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.int64], colours: Sequence[str], clear: int | None
) -> npt.NDArray[np.uint8]:
    """The image with a mask over it: classes in colour, void darkened, the background as it is."""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours] or [[0, 0, 0]], dtype=np.float64)
    known = (mask >= 0) & (mask < len(colours))
    tint = table[np.where(known, mask, 0)]
    tint[~known] = 20.0
    share = np.full((*mask.shape, 1), 0.5)
    share[~known] = 0.7
    if clear is not None:
        share[mask == clear] = 0.0
    mixed: npt.NDArray[np.uint8] = np.rint(picture * (1 - share) + tint * share).astype(np.uint8)
    return mixed


def _boxes(
    axes: "Axes", item: Shown, tile: _Tile, classes: Sequence[str], colours: Sequence[str], *, named: bool
) -> None:
    several = len(item.outlines) > _NAMED
    for outline in sorted(item.outlines, key=lambda one: one.fault):
        if len(outline.bounds) != 4 or not all(map(math.isfinite, outline.bounds)):
            continue
        y0, x0, y1, x1 = outline.bounds
        (left, top), (right, bottom) = tile.place(min(y0, y1), min(x0, x1)), tile.place(max(y0, y1), max(x0, x1))
        known = 0 <= outline.label < len(colours)
        colour = FAULT if outline.fault else colours[outline.label] if known else MUTED
        xs, ys = _edges(tile, outline.bounds)
        axes.plot(xs, ys, color="#000000", linewidth=2.0 if outline.fault else 1.6, alpha=0.45, zorder=2)
        axes.plot(xs, ys, color=colour, linewidth=1.5 if outline.fault else 1.0, zorder=3)
        if outline.fault and max(right - left, bottom - top) < _RINGED:
            middle = (left + right) / 2, (top + bottom) / 2
            axes.plot(*middle, "o", color=FAULT, markersize=20, fillstyle="none", markeredgewidth=1.2, zorder=4)
            top -= 0.16
        in_view = tile.view[0] <= min(y0, y1) <= tile.view[2] and tile.view[1] <= min(x0, x1) <= tile.view[3]
        if in_view and (outline.fault or (named and known and not several)):
            name = classes[outline.label] if known else f"class {outline.label}"
            box = {"boxstyle": "square,pad=0.12", "facecolor": colour, "edgecolor": "none"}
            ink = "#ffffff" if outline.fault else "#101418"
            axes.text(left, top, clean(name)[:16], fontsize=6, color=ink, va="bottom", bbox=box, zorder=4)


def _edges(tile: _Tile, bounds: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """The sides of a box that are in view, as one line with gaps: a side out of view must not look like one at the
    picture's edge."""
    y0, x0, y1, x1 = min(bounds[0], bounds[2]), min(bounds[1], bounds[3]), max(bounds[0::2]), max(bounds[1::2])
    top, left, bottom, right = tile.view
    xs: list[float] = []
    ys: list[float] = []
    for y in (y0, y1):
        if top <= y <= bottom and x1 >= left and x0 <= right:
            for x in (x0, x1):
                place = tile.place(y, x)
                xs, ys = [*xs, place[0]], [*ys, place[1]]
            xs, ys = [*xs, math.nan], [*ys, math.nan]
    for x in (x0, x1):
        if left <= x <= right and y1 >= top and y0 <= bottom:
            for y in (y0, y1):
                place = tile.place(y, x)
                xs, ys = [*xs, place[0]], [*ys, place[1]]
            xs, ys = [*xs, math.nan], [*ys, math.nan]
    return xs, ys


def _curve(axes: "Axes", item: Shown, tile: _Tile, colours: Sequence[str]) -> None:
    """A signal from its lowest to its highest value, one colour a channel, intervals as bands behind it."""
    values = item.values.astype(np.float64)
    length = values.shape[1]
    view = _Tile(tile.left, tile.top, tile.width, tile.height, (0.0, 0.0, 1.0, float(max(length, 1))))
    ground = [tile.left, tile.left + tile.width], [tile.top + tile.height] * 2
    axes.plot(*ground, color=RULE, linewidth=0.7)
    for outline in item.outlines:
        if len(outline.bounds) == 2 and all(map(math.isfinite, outline.bounds)):
            (left, top), (right, bottom) = view.place(0.0, min(outline.bounds)), view.place(1.0, max(outline.bounds))
            colour = FAULT if outline.fault else colours[outline.label] if 0 <= outline.label < len(colours) else MUTED
            axes.fill([left, right, right, left], [top, top, bottom, bottom], color=colour, alpha=0.3, linewidth=0)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    step = max(1, length // 800)
    places = tile.left + (np.arange(length) + 0.5) / max(length, 1) * tile.width
    for number, channel in enumerate(values[:6]):
        ys = tile.top + tile.height * (0.96 - 0.92 * (channel - low) / ((high - low) or 1.0))
        colour = INK if len(values) == 1 else SERIES[number % len(SERIES)]
        axes.plot(places[::step], ys[::step], color=colour, linewidth=0.9)


def _legend_rows(numbers: Sequence[int], classes: Sequence[str]) -> list[list[tuple[int, str, float]]]:
    """The classes of a legend in rows, each with its name and its width in inches."""
    rows: list[list[tuple[int, str, float]]] = [[]]
    for number in numbers:
        name = " ".join(clean(classes[number]).split())[:24]
        width = 0.34 + 0.072 * len(name)
        if sum(one[2] for one in rows[-1]) + width > FULL and rows[-1]:
            rows.append([])
        rows[-1].append((number, name, width))
    return rows if numbers else []


def _legend_height(numbers: Sequence[int], classes: Sequence[str]) -> float:
    rows = len(_legend_rows(numbers, classes))
    return 0.22 * rows + 0.1 if rows else 0.0


def _legend(axes: "Axes", numbers: Sequence[int], classes: Sequence[str], colours: Sequence[str]) -> None:
    for line, row in enumerate(_legend_rows(numbers, classes)):
        left, middle = 0.0, 0.12 + 0.22 * line
        for number, name, width in row:
            xs, ys = [left, left + 0.13, left + 0.13, left], [middle - 0.065] * 2 + [middle + 0.065] * 2
            axes.fill(xs, ys, color=colours[number], linewidth=0)
            axes.text(left + 0.19, middle, name, fontsize=8, color=INK, va="center")
            left += width


def severity_bars(rows: Sequence[tuple[str, str, int]], caption: str = "") -> Figure:
    """Findings as rows of (severity, title, count): a coloured mark and the word, the title, a bar and the count.

    Bars are on a logarithmic scale. Errors: ``ValueError`` for no rows.
    """
    if not rows:
        raise ValueError("no findings came to be drawn")
    colours: Mapping[str, str] = {"error": SERIES[1], "warning": SERIES[4], "note": SERIES[0]}
    largest = math.log10(max(count for *_, count in rows) + 1)
    high = 0.26
    with drawing(FULL, high * len(rows) + 0.1) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        bare(axes)
        axes.set(xlim=(0, FULL), ylim=(high * len(rows) + 0.1, 0))
        for number, (severity, title, count) in enumerate(rows):
            y, colour = high * (number + 0.5) + 0.05, colours.get(severity, MUTED)
            axes.plot([0.08], [y], "o", color=colour, markersize=6)
            axes.text(0.22, y, severity, color=colour, va="center", fontsize=9.5)
            axes.text(1.0, y, title, color=INK, va="center", fontsize=9.5)
            wide = 1.9 * math.log10(count + 1) / largest
            left = 5.6
            axes.fill(
                [left, left + wide] * 1 + [left + wide, left], [y - 0.07] * 2 + [y + 0.07] * 2, color=colour, alpha=0.35
            )
            axes.text(left + wide + 0.08, y, f"{count:,}", color=MUTED, va="center", fontsize=9.5)
        said = "; ".join(f"{severity}: {title}, {count:,}" for severity, title, count in rows)
        return finish(figure, caption, f"What was found. {said}.")
