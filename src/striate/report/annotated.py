"""One sample with its answers drawn over it, as a picture of its own at the sample's size: boxes with names and scores,
masks with a legend, a signal with its intervals.

Plain arrays and tuples come in. Coordinates are in array order and continuous: pixel i covers [i, i + 1).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.core.bitsets import unpacked
from striate.report.layered import layered
from striate.report.outlines import Outline
from striate.report.overlays import Shown, laid_over, palette, rgb
from striate.report.records import clean
from striate.report.style import INK, MUTED, RULE, SERIES, drawing

_LEAST = 480
"""Pixels of the longer side that a picture has at least: smaller images are enlarged, each pixel to a square."""
_LETTERS = 24
"""Letters of a class's name that are written."""


@dataclass(frozen=True, slots=True)
class _Row:
    """An entry of the legend: a colour and words."""

    colour: str
    words: str


def annotated(item: Shown, classes: Sequence[str], clear: int | None = None) -> Image.Image:
    """The sample as a picture with all that ``item`` says of it: its title below it, outlines with their ``text``, the
    mask, and a legend of the classes that are there. ``clear`` is the class that is not laid over: the background.

    Signals are drawn as curves, of volumes the middle slice with what lies in it. An image keeps its pixels, each
    repeated where it is small. Outlines are in the pixels of ``values``, a mask has their size.
    """
    if item.values.ndim == 2:
        return _signal(item, classes, clear)
    flat = _middle(item) if item.values.ndim == 4 else item
    return _below(_image(flat, classes, clear), flat.title, _legend(item, classes, clear))


def _middle(item: Shown) -> Shown:
    """The middle slice of a volume, with the boxes that it cuts."""
    at = item.values.shape[1] // 2
    cut = [one for one in item.outlines if one.on(3) and one.bounds[0] < at + 1 and one.bounds[3] > at]
    outlines = tuple(replace(one, bounds=(*one.bounds[1:3], *one.bounds[4:])) for one in cut)
    mask = None if item.mask is None else item.mask[at]
    said = f"slice {at + 1} of {item.values.shape[1]}"
    return replace(
        item,
        values=item.values[:, at],
        outlines=outlines,
        mask=mask,
        title=" · ".join(filter(None, (item.title, said))),
    )


def _image(item: Shown, classes: Sequence[str], clear: int | None) -> Image.Image:
    picture, colours = rgb(item.values), palette(len(classes))
    times = max(1, -(-_LEAST // max(picture.shape[:2])))
    picture = picture.repeat(times, axis=0).repeat(times, axis=1)
    if item.mask is not None:
        mask = item.mask.repeat(times, axis=0).repeat(times, axis=1)
        if item.several:
            picture = layered(picture, mask, colours)
        else:
            picture = _rimmed(laid_over(picture, mask, colours, clear), mask, colours, clear)
    image = Image.fromarray(picture)
    _boxes(image, [one for one in item.outlines if one.on(2)], times, colours)
    return image


def _rimmed(
    picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.int64], colours: Sequence[str], clear: int | None
) -> npt.NDArray[np.uint8]:
    """A line in full colour along the inner edge of every area of a class but the ``clear`` one."""
    padded = np.pad(mask, 1, mode="edge")
    parts = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    rim = np.logical_or.reduce([part != mask for part in parts])
    for number in np.unique(mask[rim]).tolist():
        if 0 <= number < len(colours) and number != clear:
            picture[rim & (mask == number)] = _parts(colours[number])
    return picture


def _boxes(image: Image.Image, outlines: Sequence[Outline], times: int, colours: Sequence[str]) -> None:
    """Boxes, the first on top, each with its words where these cover no others and stay on the picture."""
    draw, font = ImageDraw.Draw(image), _font(_size(image))
    line = max(2, round(max(image.size) / 240))
    placed: list[tuple[float, float, float, float]] = []
    tags = []
    for one in reversed(outlines):
        y0, x0, y1, x1 = (times * value for value in one.bounds)
        edges = (round(x0), round(y0), max(round(x0), round(x1) - 1), max(round(y0), round(y1) - 1))
        draw.rectangle((edges[0] - 1, edges[1] - 1, edges[2] + 1, edges[3] + 1), outline="#000000", width=line + 2)
        draw.rectangle(edges, outline=_colour(one, colours), width=line)
    for one in outlines:
        y0, x0, y1, x1 = (times * value for value in one.bounds)
        words = _short(one.text, _LETTERS + 8)
        wide, high = font.getlength(words) + 6, _size(image) * 1.3
        left = min(max(0.0, x0), max(0.0, image.width - wide))
        right = max(0.0, min(x1, image.width) - wide)
        ways = [(left, y0 - high), (left, y1), (left, y0), (left, y1 - high), (right, y0), (right, y1 - high)]
        places = [(x, y, wide, high) for x, y in ways if y >= 0 and y + high <= image.height]
        place = next((one for one in places if not _meets(one, placed)), None)
        if words and place is not None:
            placed.append(place)
            tags.append((place, words, _colour(one, colours)))
    for (x, y, wide, high), words, colour in tags:
        draw.rectangle((x, y, x + wide, y + high), fill=colour)
        draw.text((x + 3, y + high / 2), words, fill=_ink(colour), font=font, anchor="lm")


def _meets(one: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]) -> bool:
    x, y, wide, high = one
    return any(x < a + w and a < x + wide and y < b + h and b < y + high for a, b, w, h in others)


def _below(image: Image.Image, title: str, rows: Sequence[_Row]) -> Image.Image:
    """The picture with its title and legend on a strip below; itself where there is neither."""
    size = _size(image)
    font, high, gap = _font(size), round(size * 1.7), round(size * 0.6)
    width = max(image.width, 240)
    words = " ".join(clean(title).split())
    lines: list[list[tuple[float, _Row]]] = []
    at = float(width)
    for row in rows:
        wide = size + gap + font.getlength(row.words) + 2 * gap
        if at + wide > width:
            lines.append([])
            at = float(gap)
        lines[-1].append((at, row))
        at += wide
    folded = _folded(words, font, width - 2 * gap)
    if not lines and not folded:
        return image
    canvas = Image.new("RGB", (width, image.height + high * (len(lines) + len(folded)) + gap), "#ffffff")
    canvas.paste(image, (0, 0))
    draw, top = ImageDraw.Draw(canvas), image.height + gap / 2
    for number, line in enumerate(folded):
        draw.text((gap, top + high * (number + 0.5)), line, fill=INK, font=font, anchor="lm")
    top += high * len(folded)
    for number, entries in enumerate(lines):
        middle = top + high * (number + 0.5)
        for x, row in entries:
            draw.rectangle((x, middle - size / 2, x + size, middle + size / 2), fill=row.colour, outline="#000000")
            draw.text((x + size + gap, middle), row.words, fill=INK, font=font, anchor="lm")
    return canvas


def _folded(words: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _legend(item: Shown, classes: Sequence[str], clear: int | None) -> list[_Row]:
    """The classes that are there: of outlines with how many, of masks with their share of the positions."""
    colours, rows = palette(len(classes)), []
    for number, name in enumerate(classes):
        count = sum(one.label == number for one in item.outlines)
        share = 0.0
        if item.mask is not None and item.several:
            share = float(unpacked(item.mask, len(classes))[number].mean())
        elif item.mask is not None and number != clear:
            share = float((item.mask == number).mean())
        if count or share:
            amount = f"{count}" if count else f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
            rows.append(_Row(colours[number], f"{_short(name, _LETTERS)}  {amount}"))
    return rows


def _signal(item: Shown, classes: Sequence[str], clear: int | None) -> Image.Image:
    """Curves from the first sample to the last, intervals as bands behind them with their words above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import Patch

    values, colours = item.values.astype(np.float64), palette(len(classes))
    with drawing(10.0, 3.6) as figure:
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        room = (high - low) or 1.0
        axes.set(xlim=(0, values.shape[1]), ylim=(low - 0.05 * room, high + 0.38 * room), xlabel="sample")
        axes.set_title(" ".join(clean(item.title).split())[:110], color=INK)
        axes.grid(axis="x", color=RULE)
        ends = [-1.0] * 3  # where the words of each of three rows end
        for one in sorted((one for one in item.outlines if one.on(1)), key=lambda one: one.bounds):
            start, end = one.bounds
            colour = _colour(one, colours)
            axes.axvspan(start, end, color=colour, alpha=0.35, linewidth=0)
            axes.axvspan(start, end, fill=False, edgecolor=colour, linewidth=1.0)
            wide = values.shape[1] * 0.0085 * len(one.text)
            free = next((row for row, taken in enumerate(ends) if start >= taken), None)
            if one.text and free is not None:
                y = high + (0.31 - 0.105 * free) * room
                axes.text(start, y, _short(one.text, _LETTERS + 8), fontsize=8.5, color=INK, va="center", clip_on=True)
                ends[free] = start + wide
        step = max(1, values.shape[1] // 8000)
        for number, channel in enumerate(values[:6]):
            colour = INK if len(values) == 1 else SERIES[number % len(SERIES)]
            axes.plot(np.arange(values.shape[1])[::step] + 0.5, channel[::step], color=colour, linewidth=0.9)
        rows = _legend(item, classes, clear)
        if rows:
            patches = [Patch(color=row.colour, alpha=0.6, label=row.words) for row in rows]
            figure.legend(handles=patches, loc="outside lower center", ncols=6)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    with Image.open(buffer) as image:
        return image.convert("RGB")


def _colour(outline: Outline, colours: Sequence[str]) -> str:
    return colours[outline.label] if 0 <= outline.label < len(colours) else MUTED


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _ink(colour: str) -> str:
    """Black on light colours, white on dark ones, by their luminance (ITU-R BT.601)."""
    red, green, blue = _parts(colour)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "#ffffff"


def _short(words: str, most: int) -> str:
    """One line of at most so many letters; of a name and its score the name gives way."""
    line = " ".join(clean(words).split())
    if len(line) <= most:
        return line
    head, _, tail = line.rpartition(" ")
    return f"{head[: most - len(tail) - 2]}… {tail}" if head and len(tail) < 8 else f"{line[: most - 1]}…"


def _size(image: Image.Image) -> int:
    """Pixels of the letters: an 45th of the longer side, and never too small to be read."""
    return max(13, round(max(image.size) / 45))


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows most scripts."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def scaled(outline: Outline, by: Sequence[float]) -> Outline:
    """The outline with each axis times its factor."""
    bounds = tuple(value * factor for value, factor in zip(outline.bounds, (*by, *by), strict=True))
    return replace(outline, bounds=bounds)


def resized_mask(mask: npt.NDArray[Any], size: Sequence[int]) -> npt.NDArray[Any]:
    """A mask (\\*S) at another size, each position that of the nearest centre."""
    for axis, (n, m) in enumerate(zip(mask.shape, size, strict=True)):
        if n != m:
            mask = mask.take(np.minimum(((np.arange(m) + 0.5) * n / m).astype(int), n - 1), axis=axis)
    return mask
