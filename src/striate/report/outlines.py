"""Boxes over photos and bands behind signals: in the colour of their class, in red where they are at fault, and as what
became of an answer held against the truth.

Coordinates are in array order and continuous: pixel i covers [i, i + 1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.report.legend import Entry
from striate.report.records import clean
from striate.report.style import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAULT = "#e3172b"
"""The colour of what is wrong: seen on photos, grey or coloured."""
_NAMED = 8
"""Up to how many boxes of one picture are named."""
_MARKED = 14
"""Up to how many of the missed and wrong boxes of one picture carry their words."""
_RINGED = 0.12
"""Inches under which a box that is wrong gets a ring around it."""
_LETTER = 0.045
"""Inches of a letter of the words at a band."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How an answer held against the truth is drawn, by colour and by line, and what it is in words."""

    colour: str
    words: str
    width: float
    dashes: tuple[float, float] | None = None


MARKS = {
    "found": Mark("#2fb4ff", "found", 0.9),
    "missed": Mark("#ffd21f", "in the labels, missed", 1.6, (2.2, 1.4)),
    "wrong": Mark(FAULT, "wrong answer", 1.4),
    "doubtful": Mark("#ff3df2", "answer that contradicts the labels", 1.8),
}


@dataclass(frozen=True, slots=True)
class Outline:
    """A box [y0, x0, y1, x1], or an interval [start, end] of a signal, of a class; ``fault`` draws it in red. With
    ``mark``, a key of :data:`MARKS`, it is drawn as that and not in the colour of its class, and named by ``text``."""

    bounds: tuple[float, ...]
    label: int
    fault: bool = False
    mark: str = ""
    text: str = ""

    def on(self, axes: int) -> bool:
        """Whether it can be drawn on so many axes."""
        return len(self.bounds) == 2 * axes and all(map(math.isfinite, self.bounds))


@dataclass(frozen=True, slots=True)
class Tile:
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

    def shows(self, y: float, x: float) -> bool:
        """Whether a point of the image is in view."""
        return self.view[0] <= y <= self.view[2] and self.view[1] <= x <= self.view[3]


def entries(outlines: Sequence[Outline]) -> list[Entry]:
    """What the lines mean that do not have the colour of a class."""
    used = {outline.mark for outline in outlines}
    found = [Entry(one.words, one.colour, True, one.dashes) for name, one in MARKS.items() if name in used]
    faulty = any(outline.fault and not outline.mark for outline in outlines)
    return [*found, *([Entry("at fault, with its class", FAULT, True)] if faulty else [])]


def boxes(
    axes: "Axes", outlines: Sequence[Outline], tile: Tile, classes: Sequence[str], colours: Sequence[str], named: bool
) -> None:
    """The boxes of an image, those at fault on top; with ``named`` few ones carry their class."""
    chosen = [one for one in outlines if one.on(2)]
    marked, plain = [one for one in chosen if one.mark], [one for one in chosen if not one.mark]
    for outline in sorted(plain, key=lambda one: one.fault):
        _box(axes, outline, tile, classes, colours, named and len(outlines) <= _NAMED)
    told = 0
    for outline in sorted(marked, key=lambda one: list(MARKS).index(one.mark)):
        room = len(marked) <= _NAMED if outline.mark == "found" else told < _MARKED
        told += _marked(axes, outline, tile, room) and outline.mark != "found"


def _box(
    axes: "Axes", outline: Outline, tile: Tile, classes: Sequence[str], colours: Sequence[str], named: bool
) -> None:
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
    if tile.shows(min(y0, y1), min(x0, x1)) and (outline.fault or (named and known)):
        name = classes[outline.label] if known else f"class {outline.label}"
        _tag(axes, tile, left, top, clean(name)[:16], colour, "#ffffff" if outline.fault else "#101418")


def _marked(axes: "Axes", outline: Outline, tile: Tile, room: bool) -> bool:
    """One box as what became of it; whether its words were written, where there is ``room``."""
    mark, (y0, x0, y1, _) = MARKS[outline.mark], outline.bounds
    xs, ys = _edges(tile, outline.bounds)
    axes.plot(xs, ys, color="#000000", linewidth=mark.width + 0.7, alpha=0.45, zorder=2)
    line = axes.plot(xs, ys, color=mark.colour, linewidth=mark.width, zorder=3)[0]
    if mark.dashes is not None:
        line.set_dashes(mark.dashes)
    if not room or not outline.text or not tile.shows(y0, x0):
        return False
    below = outline.mark == "missed"  # where a wrong answer is about it, its words stand above
    left, edge = tile.place(y1 if below else y0, x0)
    ink = "#ffffff" if outline.mark == "wrong" else "#101418"
    _tag(axes, tile, left, edge, clean(outline.text)[:34], mark.colour, ink, "top" if below else "bottom")
    return True


def _tag(axes: "Axes", tile: Tile, x: float, y: float, words: str, colour: str, ink: str, side: str = "bottom") -> None:
    """Words on a patch of colour, moved to the left where they would leave the picture at the right."""
    x = max(tile.left, min(x, tile.left + tile.width - _LETTER * len(words)))
    box = {"boxstyle": "square,pad=0.12", "facecolor": colour, "edgecolor": "none"}
    axes.text(x, y, words, fontsize=6, color=ink, va=side, bbox=box, zorder=4)


def _edges(tile: Tile, bounds: tuple[float, ...]) -> tuple[list[float], list[float]]:
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


def bands(axes: "Axes", outlines: Sequence[Outline], tile: Tile, length: int, colours: Sequence[str]) -> None:
    """The intervals of a signal of ``length`` samples, behind its curve: missed ones in the upper half, wrong answers
    in the lower, with the lines that go with them at both ends, and words where there is room."""
    view = Tile(tile.left, tile.top, tile.width, tile.height, (0.0, 0.0, 1.0, float(max(length, 1))))
    told = {"missed": -1.0, "wrong": -1.0}
    for outline in sorted((one for one in outlines if one.on(1)), key=lambda one: one.bounds):
        (left, top), (right, bottom) = view.place(0.0, min(outline.bounds)), view.place(1.0, max(outline.bounds))
        known = 0 <= outline.label < len(colours)
        colour = FAULT if outline.fault else colours[outline.label] if known else MUTED
        if mark := MARKS.get(outline.mark):
            colour, middle = mark.colour, (top + bottom) / 2
            above = outline.mark == "missed"
            top, bottom = {"missed": (top, middle), "wrong": (middle, bottom)}.get(outline.mark, (top, bottom))
            for x in (left, right):
                line = axes.plot([x, x], [top, bottom], color=colour, linewidth=mark.width, zorder=1.5)[0]
                if mark.dashes is not None:
                    line.set_dashes(mark.dashes)
            if left > told.get(outline.mark, math.inf):
                words = clean(outline.text)[:34]
                y, side = (top + 0.02, "top") if above else (bottom - 0.02, "bottom")
                axes.text(left + 0.03, y, words, fontsize=6, color=INK, va=side, zorder=4)
                told[outline.mark] = left + _LETTER * len(words)
        axes.fill([left, right, right, left], [top, top, bottom, bottom], color=colour, alpha=0.3, linewidth=0)
