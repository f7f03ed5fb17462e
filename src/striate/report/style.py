"""One look for every figure: an SVG that takes its colours and typeface from the page around it.

matplotlib draws with the colours of the light scheme; :func:`finish` then turns each of them into a CSS variable with
that colour as its fallback (``var(--ink, #1c2126)``). Inside a report the figure follows the page into the dark; as a
file of its own it is the light one. Text stays text: it can be searched and copied, and uses the system's typeface.

Series colours are told apart by people with red-green or blue-yellow colour blindness (after Okabe and Ito, 2002,
"Color Universal Design") and are doubled by markers, dashes or labels at the line. Signed values are blue below zero,
orange above it and *transparent* at zero, so that a zero is blank on any ground.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.report import records
from striate.report.stylesheet import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, CARD, PAPER = (LIGHT[name] for name in ("ink", "muted", "rule", "card", "paper"))
SERIES = tuple(LIGHT[f"series-{number}"] for number in range(1, 7))
MARKERS = ("o", "s", "D", "^", "v", "P")
POSITIVE, NEGATIVE = SERIES[1], SERIES[0]
SIGNED = "signed-"
"""What the ids of pictures of signed values begin with: a page brightens them in the dark."""
FULL, HALF = 8.6, 4.2
"""Widths in inches: of a figure on its own, and of one beside another."""

_LARGE = 400
"""Pixels from which on a picture is scaled smoothly by the browser; smaller ones show each value as a sharp square."""
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
_SANS = "var(--sans, system-ui, sans-serif)"
_VARIABLES = {colour: f"var(--{name}, {colour})" for name, colour in reversed(LIGHT.items())}
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "striate",
    "text.parse_math": False,  # a class called "$x" is not a formula
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.5,
    "axes.labelpad": 7.0,
    "axes.axisbelow": True,
    "text.color": INK,
    "font.size": 9.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "ytick.major.pad": 5.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


@contextmanager
def drawing(width: float, height: float) -> "Iterator[Figure]":
    """A matplotlib figure of ``width`` by ``height`` inches in our style. Draw and :func:`finish` inside the context.

    Uses the object interface only: no pyplot, no display. matplotlib's settings are restored afterwards.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    with warnings.catch_warnings(), style.context(["default", _SETTINGS]):
        # The reader's browser sets the text, with its own fonts; matplotlib only measures it.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield Figure(figsize=(width, height))


def finish(figure: "Figure", caption: str, alt: str) -> records.Figure:
    """The drawing as a :class:`records.Figure` of deterministic SVG, coloured by the page's variables."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(stream.getvalue())
    _prune(root)
    used = set(re.findall(r'(?:url\(|")#([^")]+)', ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        element.tail = None
        if element.get("id", "").startswith(SIGNED):
            element.set("class", "signed")
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if "style" in element.attrib:
            element.set("style", _restyled(element.attrib["style"]))
        if "d" in element.attrib:
            element.set("d", _rounded(element.attrib["d"]))
        for name in ("x", "y"):
            if name in element.attrib:
                element.set(name, _rounded(element.attrib[name]))
        if element.tag == f"{{{_SVG}}}image" and int(element.get("width", "0")) >= _LARGE:
            del element.attrib["style"]
        if re.match(r"rotate\(-0 ", element.get("transform", "")):
            del element.attrib["transform"]
    root.set("style", "stroke-linejoin:round;stroke-linecap:butt")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    return records.Figure(ElementTree.tostring(root, encoding="utf-8"), caption, alt)


def label(text: str, most: int = 24) -> str:
    """A name fit for a figure: one line, without control characters, cut to ``most`` letters with an ellipsis."""
    line = " ".join(records.clean(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def signed_colours(values: npt.ArrayLike, largest: float | None = None) -> npt.NDArray[np.float64]:
    """Signed values (...) as colours (..., 4): hue by sign, opacity by size, zero and not-a-number fully transparent.

    ``largest`` is the size that is opaque; by default the largest in ``values``. What is not zero is at least a tenth
    opaque, so that it can be told from a zero.
    """
    from matplotlib.colors import to_rgb

    array = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(np.abs(array).max(initial=0.0)) if largest is None else largest
    colours = np.empty((*array.shape, 4))
    colours[..., :3] = np.where(array[..., None] > 0, to_rgb(POSITIVE), to_rgb(NEGATIVE))
    share = np.abs(array) / top if top > 0 else np.zeros_like(array)
    colours[..., 3] = np.where(array == 0, 0.0, 0.1 + 0.9 * np.clip(share, 0.0, 1.0))
    return colours


def enlarged(colours: npt.NDArray[np.float64], least: int = 1200) -> npt.NDArray[np.float64]:
    """A picture (H, W, 4) with each pixel repeated so that it is at least ``least`` wide or high.

    A browser that fits it to the page then averages copies, where it would have dropped or doubled single pixels.
    """
    times = max(1, -(-least // max(colours.shape[:2])))
    return colours.repeat(times, axis=0).repeat(times, axis=1)


def end_labels(axes: "Axes", ends: Sequence[tuple[float, float, str, str]], gap: float, *, width: float = 0.0) -> None:
    """Write each (x, y, words, colour) to the right of its line's end, moved apart to be ``gap`` data units or more.

    ``width`` is the room, in points, that the axes keep free at the right.
    """
    places = spread([y for _, y, _, _ in ends], gap)
    for (x, _, words, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            words, (x, place), (width or 8.0, 0), textcoords="offset points", color=colour, va="center", ha="left",
            fontsize=9.0, annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """``places`` moved as little as needed (in least squares, keeping order) to be ``gap`` or more apart."""
    order = sorted(range(len(places)), key=lambda number: (places[number], number))
    blocks: list[tuple[float, int]] = []  # runs of touching labels: (sum of wished starts, how many)
    for rank, number in enumerate(order):
        blocks.append((places[number] - rank * gap, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = (blocks[-1][0] + total, blocks[-1][1] + count)
    starts = [total / count for total, count in blocks for _ in range(count)]
    moved = [0.0] * len(places)
    for rank, number in enumerate(order):
        moved[number] = starts[rank] + rank * gap
    return moved


def bare(axes: "Axes") -> None:
    """Take away ticks and spines: the axes hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _prune(root: ElementTree.Element) -> None:
    """Drop what a page must not get: document-wide style sheets and metadata."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"}:
                parent.remove(child)


def _restyled(text: str) -> str:
    declarations = []
    for declaration in re.split(r";\s*(?=[a-z-]+:)", text.strip().rstrip(";")):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), value.strip()
        if name == "font-family":
            value = _SANS
        declarations.append(f"{name}:{_VARIABLES.get(value, value)}")
    return ";".join(declarations)


def _rounded(text: str) -> str:
    """Coordinates in points to two decimals (a 3,600th of an inch), on one line."""
    short = re.sub(r"-?\d+\.\d+", lambda match: f"{float(match.group()):.2f}".rstrip("0").rstrip("."), text)
    return " ".join(short.split()).replace("-0 ", "0 ")
