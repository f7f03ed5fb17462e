"""The legend above pictures of samples: the classes by the colour they are drawn in, and what lines of a kind mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.report.records import clean
from striate.report.style import FULL, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.22
"""Inches of a row of the legend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Words beside what they explain: a patch of a colour, or a piece of a line, with ``dashes`` (on, off) or whole."""

    words: str
    colour: str
    line: bool = False
    dashes: tuple[float, float] | None = None

    @property
    def width(self) -> float:
        """Inches it takes."""
        return 0.34 + 0.13 * self.line + 0.072 * len(self.words)


def entry(name: str, colour: str) -> Entry:
    """The entry of a class, its name cut to 24 letters."""
    return Entry(" ".join(clean(name).split())[:24], colour)


def rows(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries in rows that fit the page."""
    found: list[list[Entry]] = [[]]
    for one in entries:
        if sum(other.width for other in found[-1]) + one.width > FULL and found[-1]:
            found.append([])
        found[-1].append(one)
    return found if entries else []


def height(entries: Sequence[Entry]) -> float:
    """Inches of the legend; nothing without entries."""
    return ROW * len(rows(entries)) + 0.1 if entries else 0.0


def draw(axes: "Axes", entries: Sequence[Entry]) -> None:
    """Draw the legend at the top left of axes that are measured in inches."""
    for line, row in enumerate(rows(entries)):
        left, middle = 0.0, 0.12 + ROW * line
        for one in row:
            if one.line:
                end = left + 0.26
                drawn = axes.plot([left, end], [middle] * 2, color=one.colour, linewidth=2.0, solid_capstyle="butt")[0]
                if one.dashes is not None:
                    drawn.set_dashes(one.dashes)
            else:
                end = left + 0.13
                xs, ys = [left, end, end, left], [middle - 0.065] * 2 + [middle + 0.065] * 2
                axes.fill(xs, ys, color=one.colour, linewidth=0)
            axes.text(end + 0.06, middle, one.words, fontsize=8, color=INK, va="center")
            left += one.width
