"""Pictures of a network and of samples: kernels, weight matrices, receptive fields, examples.

Arrays are numpy or anything ``numpy.asarray`` takes (a tensor on the CPU, detached). Weights are signed: blue below
zero, orange above, blank at zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.report.records import Figure
from striate.report.style import (
    CARD,
    FULL,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    RULE,
    SERIES,
    SIGNED,
    bare,
    drawing,
    enlarged,
    finish,
    label,
    signed_colours,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

Array = npt.NDArray[np.float64]
_TIMES = 8
"""Screen pixels drawn for each tap of a two-dimensional kernel, so that the gap between channels can be narrower."""
_MOST_SHEETS = 16
_GAP, _HEAD = 0.13, 0.2
"""Inches between tiles, and above each for its number."""


@dataclass(frozen=True, slots=True)
class Example:
    """A sample with its answer: ``values`` (C, L), (L,), (C, H, W) or (H, W), the true and the predicted class.

    ``confidence`` is the probability the network gave to ``predicted``; ``name`` is the sample's own name.
    """

    values: npt.ArrayLike
    truth: str
    predicted: str
    confidence: float | None = None
    name: str = ""


def kernels(weights: npt.ArrayLike, caption: str = "", *, most: int = 64) -> Figure:
    """The kernels of a convolutional layer, ``weights`` (Co, Ci, *K) with 1 to 3 kernel axes; at most ``most`` outputs.

    One axis and one input channel: a stem plot each. One axis and several channels: a map of channels by taps each.
    Two axes: an image each; three input channels are shown in colour, otherwise the channels stand side by side. Three
    axes: the slices along the first stand side by side (at most 16 images a kernel).
    All share one scale but the colour images, which have their own.
    """
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim < 3 or array.ndim > 5 or array.size == 0:
        raise ValueError(f"kernels are (outputs, inputs, taps...) with 1 to 3 kernel axes, shape {array.shape} came")
    outputs, inputs, *sizes = array.shape
    drawn = array[:most]
    if len(sizes) == 1 and inputs == 1:
        return _stems(drawn[:, 0], outputs, caption)
    largest = float(np.abs(drawn).max())
    colour = len(sizes) == 2 and inputs == 3
    tiles = [_colour_tile(kernel) if colour else _sheet(kernel, largest) for kernel in drawn]
    sheets = 1 if colour or len(sizes) == 1 else tiles[0].shape[1] // (sizes[-1] * _TIMES)
    height, width = (inputs, sizes[0]) if len(sizes) == 1 else (sizes[-2], sheets * (sizes[-1] + 1) - 1)
    cell = min(max(0.14 * width, 0.55), 1.05 if 2 * height > width else 2.8)
    tall = min((cell - _GAP) * height / width, 4.0)
    across, down = _grid(len(tiles), int(FULL / cell))
    with drawing(cell * across, (tall + _HEAD + _GAP) * down) as figure:
        axes = _board(figure)
        for number, tile in enumerate(tiles):
            left, top = number % across * cell, number // across * (tall + _HEAD + _GAP) + _HEAD
            extent = (left, left + cell - _GAP, top + tall, top)
            gid = None if colour else f"{SIGNED}{number}"
            axes.imshow(tile, interpolation="none", aspect="auto", extent=extent, gid=gid)
            axes.text(left, top - 0.05, str(number + 1), fontsize=7.5, color=MUTED)
        _limits(axes, figure)
        size = "×".join(map(str, sizes))
        alt = f"{len(tiles)} of {outputs} kernels, each {inputs} channels of {size}, as images."
        return finish(figure, caption, alt)


def weight_matrix(matrices: Mapping[str, npt.ArrayLike], caption: str = "") -> Figure:
    """Matrices (outputs, inputs) beside one another on one scale; zeros are blank.

    ``matrices`` maps a title to a matrix, say the matrix of a convolutional layer and the dense one of the same size.
    Under each title stand how many entries are not zero and how many distinct values those take. Matrices at least
    twice as high as wide are laid on their side, and wide ones stand above one another; the axes say which is which.
    """
    arrays = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in matrices.items()}
    for name, array in arrays.items():
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"the weight matrix {name!r} has shape {array.shape}; two axes were expected")
    lying = all(array.shape[0] >= 2 * array.shape[1] for array in arrays.values())
    laid = {name: array.T if lying else array for name, array in arrays.items()}
    heights, widths = [array.shape[0] for array in laid.values()], [array.shape[1] for array in laid.values()]
    stacked = max(widths) > 2.5 * max(heights) or len(arrays) == 1
    room = FULL - 0.7 * (1 if stacked else len(arrays))
    scale = min(room / (max(widths) if stacked else sum(widths)), 5.5 / max(heights))
    size = (FULL, scale * sum(heights) + 1.05 * len(arrays)) if stacked else (FULL, scale * max(heights) + 1.05)
    with drawing(*size) as figure:
        panels = figure.subplots(
            len(arrays) if stacked else 1, 1 if stacked else len(arrays), squeeze=False,
            height_ratios=heights if stacked else None, width_ratios=None if stacked else widths,
        ).ravel()  # fmt: skip
        said = []
        for axes, (name, array) in zip(panels, laid.items(), strict=True):
            words = _matrix_panel(axes, name, array, ("outputs", "inputs") if lying else ("inputs", "outputs"))
            said.append(f"{name}: {array.shape[lying]} outputs, {array.shape[not lying]} inputs, {words}")
        return finish(figure, caption, f"Weight matrices. {'; '.join(said)}.")


def _matrix_panel(axes: "Axes", name: str, array: Array, labels: tuple[str, str]) -> str:
    height, width = array.shape
    present = array[array != 0]
    strong = float(np.quantile(np.abs(present), 0.95)) if present.size else 1.0
    axes.set_facecolor(CARD)
    picture = enlarged(signed_colours(_reduced(array), strong))
    axes.imshow(picture, interpolation="none", extent=(0, width, height, 0), gid=f"{SIGNED}{label(name)}")
    axes.spines[:].set(visible=True, color=RULE, linewidth=0.8)
    axes.set_xticks((0, width))
    axes.set_yticks((0, height))
    axes.set_xlabel(labels[0], labelpad=-6)
    axes.set_ylabel(labels[1], labelpad=-8)
    words = f"{present.size:,} of {array.size:,} not zero, {np.unique(present).size:,} distinct"
    axes.set_title(label(name, 40), color=INK, fontsize=10.5, pad=22)
    axes.annotate(words, (0, 1), (0, 8), "axes fraction", "offset points", color=MUTED, fontsize=9)
    return words


def receptive_fields(
    values: npt.ArrayLike, layers: Sequence[tuple[str, Sequence[tuple[int, int]]]], caption: str = ""
) -> Figure:
    """How the receptive field of one unit grows layer by layer over its input.

    ``values`` is the input: a signal (L,) or an image (H, W) or (H, W, 3) with values in [0, 1]. ``layers`` gives for
    each layer its name and, per axis, the first and the last input position that the unit sees (both included; they may
    lie in the padding): ``("conv1", [(18, 20)])``. Signals get a bar a layer, images a frame a layer.
    """
    array = np.asarray(values, dtype=np.float64)
    axes_count = 1 if array.ndim == 1 else 2
    if array.ndim not in (1, 2, 3) or any(len(intervals) != axes_count for _, intervals in layers):
        raise ValueError(f"an input of shape {array.shape} needs intervals along {axes_count} axes for each layer")
    sizes = [[high - low + 1 for low, high in intervals] for _, intervals in layers]
    alt = "Receptive field of one unit: " + ", ".join(
        f"{name} sees {'×'.join(map(str, size))}" for (name, _), size in zip(layers, sizes, strict=True)
    )
    if axes_count == 2:
        return _frames(array, layers, caption, alt + " input positions.")
    low = min([0, *(intervals[0][0] for _, intervals in layers)])
    high = max([len(array) - 1, *(intervals[0][1] for _, intervals in layers)])
    with drawing(FULL, 1.75 + 0.3 * len(layers)) as figure:
        top, bars = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.35, 0.3 * len(layers) + 0.1)})
        top.spines[:].set_visible(False)
        top.tick_params(which="both", length=0, labelleft=False, labelbottom=False)
        top.axhline(0, color=RULE, linewidth=0.7)
        top.plot(range(len(array)), array, color=INK, linewidth=1.1, marker="o", markersize=2.6)
        top.set_ylabel("input", rotation=0, ha="right", va="center", labelpad=12)
        for number, ((_, ((first, last),)), (size,)) in enumerate(zip(layers, sizes, strict=True)):
            colour = SERIES[0]
            bars.barh(
                number,
                last - first + 1,
                0.5,
                first - 0.5,
                color=colour,
                alpha=0.25 + 0.6 * (number + 1) / len(layers),
                linewidth=0,
            )
            words = f"{size} position{'s' if size != 1 else ''}"
            bars.annotate(words, (last + 0.5, number), (7, 0), textcoords="offset points", va="center", color=INK)
        last_first, last_last = layers[-1][1][0]
        top.axvspan(last_first - 0.5, last_last + 0.5, color=SERIES[0], alpha=0.07, linewidth=0)
        bars.set_yticks(range(len(layers)), [label(name) for name, _ in layers])
        bars.tick_params(axis="y", labelcolor=INK)
        bars.set_ylim(len(layers) - 0.4, -0.6)
        bars.set_xlim(low - 1, high + max(1.0, 0.14 * (high - low)))
        bars.spines["left"].set_visible(False)
        bars.spines["bottom"].set_color(RULE)
        bars.set_xticks([tick for tick in bars.get_xticks() if 0 <= tick < len(array)])
        bars.grid(axis="x")
        bars.set_xlabel("input position")
        return finish(figure, caption, alt + " input positions.")


def examples(items: Sequence[Example], caption: str = "", *, across: int = 5) -> Figure:
    """Samples in rows of ``across``: the signal or image, its true class, and the predicted one where it is wrong.

    Images are shown from their own darkest to brightest value; one or three channels (of more, the first).
    """
    if not items:
        raise ValueError("no examples came")
    across = min(across, len(items))
    down = math.ceil(len(items) / across)
    flat = _is_signal(np.asarray(items[0].values))
    cell = FULL / max(across, 3)
    with drawing(cell * across, (0.95 if flat else cell * 0.92) * down + 0.42 * down) as figure:
        figure.set_layout_engine("constrained", h_pad=0.13)
        for axes in (grid := figure.subplots(down, across, squeeze=False).ravel()):
            bare(axes)
        for axes, item in zip(grid, items, strict=False):
            _example(axes, item)
        wrong = sum(item.truth != item.predicted for item in items)
        return finish(figure, caption, f"{len(items)} samples, {wrong} of them answered wrongly, the rest rightly.")


def _is_signal(values: npt.NDArray[np.generic]) -> bool:
    """One axis is a signal; two are channels by length when the first is much the shorter, else height by width."""
    return values.ndim == 1 or (values.ndim == 2 and 4 * values.shape[0] <= values.shape[1])


def _example(axes: "Axes", item: Example) -> None:
    values = np.asarray(item.values, dtype=np.float64)
    if _is_signal(values):
        for number, channel in enumerate(np.atleast_2d(values)):
            axes.plot(channel, color=INK if values.ndim == 1 or len(values) == 1 else SERIES[number % 6], linewidth=1.2)
        axes.axhline(0, color=RULE, linewidth=0.7, zorder=0)
        axes.margins(0.02, 0.12)
    else:
        image = values if values.ndim == 2 else np.moveaxis(values[:3], 0, -1) if len(values) >= 3 else values[0]
        low, high = float(image.min()), float(image.max())
        axes.imshow((image - low) / (high - low or 1.0), cmap="gray", vmin=0, vmax=1, interpolation="none")
    right = item.truth == item.predicted
    sure = "" if item.confidence is None else f", {100 * item.confidence:.0f} %"
    axes.set_title(label(item.truth, 18) + (f"{sure}" if right else ""), color=INK, fontsize=8.5, pad=4)
    if not right:
        axes.set_xlabel(
            f"taken for {label(item.predicted, 12)}{sure}", color=POSITIVE, fontsize=8.5, loc="left", labelpad=3
        )


def _stems(taps: Array, outputs: int, caption: str) -> Figure:
    across, down = _grid(len(taps), 8)
    wide, high = FULL / 8, 1.05
    largest = float(np.abs(taps).max() or 1.0)
    places = (np.arange(taps.shape[1]) + 0.5) / taps.shape[1] * (wide - _GAP)
    with drawing(wide * across, high * down) as figure:
        axes = _board(figure)
        for number, kernel in enumerate(taps):
            left, base = number % across * wide, number // across * high + _HEAD + 0.4
            axes.hlines(base, left, left + wide - _GAP, MUTED, linewidth=0.7)
            axes.text(left, base - 0.42, str(number + 1), fontsize=7.5, color=MUTED)
            ends = base - 0.34 * kernel / largest
            for sign, colour in ((kernel > 0, POSITIVE), (kernel < 0, NEGATIVE)):
                axes.vlines(left + places[sign], base, ends[sign], colour, linewidth=2.2)
                axes.plot(left + places[sign], ends[sign], "o", color=colour, markersize=4.5)
        _limits(axes, figure)
        alt = f"{len(taps)} of {outputs} kernels of {taps.shape[1]} taps as stems, on one scale (±{largest:.2g})."
        return finish(figure, caption, alt)


def _board(figure: "MatplotlibFigure") -> "Axes":
    """Bare axes over the whole figure, measured in inches from its top left: far quicker than axes for each tile."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    bare(axes)
    return axes


def _limits(axes: "Axes", figure: "MatplotlibFigure") -> None:
    width, height = figure.get_size_inches()
    axes.set(xlim=(0, width), ylim=(height, 0))


def _frames(image: Array, layers: Sequence[tuple[str, Sequence[tuple[int, int]]]], caption: str, alt: str) -> Figure:
    from matplotlib.patches import Rectangle

    height, width = image.shape[:2]
    with drawing(6.4, 4.6) as figure:
        axes = figure.add_subplot()
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none", alpha=0.55)
        bare(axes)
        for number, (name, ((top, bottom), (left, right))) in enumerate(layers):
            colour = SERIES[number % len(SERIES)]
            box = Rectangle(
                (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, edgecolor=colour, linewidth=1.6
            )
            axes.add_patch(box)
            words = f"{label(name)}\u2002{bottom - top + 1}×{right - left + 1}"
            axes.annotate(
                words, (1, 1 - (number + 0.5) / max(8, len(layers))), (12, 0), "axes fraction", "offset points",
                color=colour, va="center", annotation_clip=False,
            )  # fmt: skip
        axes.set_xlim(min(-0.5, *(r[1][1][0] - 1 for r in layers)), max(width - 0.5, *(r[1][1][1] + 1 for r in layers)))
        axes.set_ylim(
            max(height - 0.5, *(r[1][0][1] + 1 for r in layers)), min(-0.5, *(r[1][0][0] - 1 for r in layers))
        )
        return finish(figure, caption, alt)


def _grid(count: int, most: int) -> tuple[int, int]:
    """Columns and rows for ``count`` tiles, at most ``most`` in a row, the rows as even as can be."""
    down = math.ceil(count / max(1, most))
    return math.ceil(count / down), down


def _sheet(kernel: Array, largest: float) -> Array:
    """The picture of a kernel (Ci, *K): channels by taps, or its channels (and slices) side by side, a gap between."""
    if kernel.ndim == 2:
        return signed_colours(kernel, largest)
    sheets = kernel.reshape(-1, *kernel.shape[-2:])[:_MOST_SHEETS]
    pictures = [signed_colours(sheet, largest).repeat(_TIMES, axis=0).repeat(_TIMES, axis=1) for sheet in sheets]
    gap = np.zeros((pictures[0].shape[0], _TIMES // 2, 4))
    return np.concatenate([piece for picture in pictures for piece in (picture, gap)][:-1], axis=1)


def _colour_tile(kernel: Array) -> Array:
    """A kernel (3, H, W) as a colour image (H, W, 4): grey is zero, the largest weight of any channel is full."""
    largest = float(np.abs(kernel).max() or 1.0)
    image = np.ones((*kernel.shape[1:], 4))
    image[..., :3] = np.moveaxis(0.5 + 0.5 * kernel / largest, 0, -1)
    return image


def _reduced(matrix: Array, most: int = 900) -> Array:
    """A large matrix with each block of entries replaced by its largest in size, so that no non-zero entry vanishes."""
    down, across = (math.ceil(size / most) for size in matrix.shape)
    if down == across == 1:
        return matrix
    rows, columns = math.ceil(matrix.shape[0] / down), math.ceil(matrix.shape[1] / across)
    padded = np.zeros((rows * down, columns * across))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    blocks = padded.reshape(rows, down, columns, across).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    return np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)[..., 0]
