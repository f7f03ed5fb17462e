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

from striate.core.bitsets import MOST_CLASSES
from striate.report import legend, outlines
from striate.report.layered import layered
from striate.report.outlines import Outline, Tile
from striate.report.records import Figure, clean, counted
from striate.report.style import CARD, FULL, INK, MUTED, RULE, SERIES, bare, drawing, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Outline", "Shown", "laid_over", "palette", "pictures", "rgb", "severity_bars"]

_PIXELS = 130
"""Pixels of a drawn photo to an inch of the figure."""
_LINE = 0.16
"""Inches of a line of text."""
_GAP = 0.14
_LEGEND = 24
_FIXED = ("#f5c211", "#1f9de0", "#12b886", "#c061cb", "#00d0d8", "#a6d608", "#f66fb0", "#7c6ff0")


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample to draw: ``values`` (C, L), (C, H, W) or (C, D, H, W) (its middle slice), a title, what it is labelled
    with, and a note in red below. ``mask`` (H, W) holds class numbers, or with ``several`` bit sets of classes; what is
    below 0 is void. ``focus`` (y0, x0, y1, x1) is the part of an image that is drawn, which may reach beyond it; by
    default the whole."""

    values: npt.NDArray[Any]
    title: str
    outlines: tuple[Outline, ...] = ()
    mask: npt.NDArray[np.int64] | None = None
    note: str = ""
    focus: tuple[float, float, float, float] | None = None
    several: bool = False


def palette(classes: int) -> tuple[str, ...]:
    """A colour for each class, told apart on photos: eight chosen ones, then hues a golden angle apart. None is red."""
    more = [
        colorsys.hsv_to_rgb(0.1 + 0.82 * (0.61803399 * i % 1.0), (0.9, 0.55)[i % 2], (1.0, 0.8, 0.6)[i % 3])
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
    named = used if len(used) <= _LEGEND else []
    drawn = [outline for item in items for outline in item.outlines]
    entries = [legend.entry(classes[number], colours[number]) for number in named] + outlines.entries(drawn)
    top = legend.height(entries)
    with drawing(cell * across, height + top) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        bare(axes)
        axes.set(xlim=(0, cell * across), ylim=(height + top, 0))
        legend.draw(axes, entries)
        for item, tile in zip(items, tiles, strict=True):
            moved = Tile(tile.left, tile.top + top, tile.width, tile.height, tile.view)
            _words(axes, item, moved)
            if _is_signal(item):
                outlines.bands(axes, item.outlines, moved, item.values.shape[1], colours)
                _curve(axes, item, moved)
            else:
                _photo(axes, item, moved, colours, clear)
                outlines.boxes(axes, item.outlines, moved, classes, colours, not named or bool(item.note))
        faults = sum(bool(item.note) for item in items)
        said = f", {faults} of them with a fault" if faults else ""
        names = ", ".join(one.words for one in entries)
        alt = f"{counted(len(items), 'sample')}{said}." + (f" Drawn in colour: {names}." if names else "")
        return finish(figure, caption, alt)


def _labels(item: Shown) -> set[int]:
    found = {outline.label for outline in item.outlines if not outline.fault and not outline.mark}
    values = [] if item.mask is None else np.unique(item.mask).tolist()
    if item.several:
        values = [number for number in range(MOST_CLASSES) if any(one >= 0 and one >> number & 1 for one in values)]
    return found | set(values)


def _is_signal(item: Shown) -> bool:
    return item.values.ndim == 2


def _view(item: Shown) -> tuple[float, float, float, float]:
    return item.focus or (0.0, 0.0, float(item.values.shape[-2]), float(item.values.shape[-1]))


def _laid_out(items: Sequence[Shown], across: int, cell: float) -> tuple[list[Tile], float]:
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
            tiles.append(Tile(number * cell, top + _LINE + 0.05, wide, high, view))
        lines = max(len(_folded(item.note, width)) for item in row)
        top += max(heights) + _LINE * (1 + lines) + 0.05 + _GAP
    return tiles, top


def _words(axes: "Axes", item: Shown, tile: Tile) -> None:
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


def _photo(axes: "Axes", item: Shown, tile: Tile, colours: Sequence[str], clear: int | None) -> None:
    y0, x0, y1, x1 = tile.view
    height, width = item.values.shape[-2:]
    top, left, bottom, right = max(0, math.floor(y0)), max(0, math.floor(x0)), min(height, y1), min(width, x1)
    frame = (tile.left, tile.left + tile.width, tile.top + tile.height, tile.top)
    axes.fill([frame[0], frame[1], frame[1], frame[0]], [frame[2], frame[2], frame[3], frame[3]], color=CARD)
    bottom, right = math.ceil(bottom), math.ceil(right)
    if bottom <= top or right <= left:
        return
    picture = rgb(item.values)[top:bottom, left:right]
    if item.mask is not None:
        cut = item.mask[top:bottom, left:right]
        picture = layered(picture, cut, colours) if item.several else laid_over(picture, cut, colours, clear)
    (low_x, low_y), (high_x, high_y) = tile.place(top, left), tile.place(bottom, right)
    size = max(1, round(_PIXELS * (high_x - low_x))), max(1, round(_PIXELS * (high_y - low_y)))
    image = Image.fromarray(picture)
    if size[0] < image.width:
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    axes.imshow(np.asarray(image), interpolation="none", aspect="auto", extent=(low_x, high_x, high_y, low_y), zorder=1)
    axes.plot([low_x, high_x, high_x, low_x, low_x], [low_y, low_y, high_y, high_y, low_y], color=RULE, linewidth=0.6)


def rgb(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An image (C, H, W) or the middle slice of a volume as (H, W, 3) uint8; other types between their extremes."""
    flat = values[:, values.shape[1] // 2] if values.ndim == 4 else values
    flat = flat[:3] if len(flat) >= 3 else flat[:1]
    if flat.dtype != np.uint8:
        numbers = np.nan_to_num(flat.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = float(numbers.min()), float(numbers.max())
        flat = np.rint((numbers - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(flat.transpose(1, 2, 0), (*flat.shape[1:], 3)))


def laid_over(
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


def _curve(axes: "Axes", item: Shown, tile: Tile) -> None:
    """A signal from its lowest to its highest value, one colour a channel."""
    values = item.values.astype(np.float64)
    length = values.shape[1]
    ground = [tile.left, tile.left + tile.width], [tile.top + tile.height] * 2
    axes.plot(*ground, color=RULE, linewidth=0.7)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    step = max(1, length // 800)
    places = tile.left + (np.arange(length) + 0.5) / max(length, 1) * tile.width
    for number, channel in enumerate(values[:6]):
        ys = tile.top + tile.height * (0.96 - 0.92 * (channel - low) / ((high - low) or 1.0))
        colour = INK if len(values) == 1 else SERIES[number % len(SERIES)]
        axes.plot(places[::step], ys[::step], color=colour, linewidth=0.9)


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
