"""Charts of a data set: sizes of its images, lengths of its signals, sizes of its boxes."""

from collections.abc import Mapping, Sequence

import numpy as np

from striate.report.records import Figure, shown
from striate.report.style import FULL, HALF, INK, MUTED, RULE, SERIES, drawing, finish, label

_TOGETHER = 6
_BINS = 40


def size_scatter(sizes: Sequence[tuple[tuple[int, int], int]], caption: str = "") -> Figure:
    """Height against width of images, ((height, width), count): the area of a dot is the number of images."""
    heights = np.array([size[0] for size, _ in sizes], dtype=np.float64)
    widths = np.array([size[1] for size, _ in sizes], dtype=np.float64)
    counts = np.array([count for _, count in sizes], dtype=np.float64)
    with drawing(HALF + 1.2, 4.0) as figure:
        axes = figure.add_subplot()
        most = float(max(heights.max(), widths.max())) * 1.1
        axes.plot((0, most), (0, most), color=RULE, linewidth=0.9, dashes=(4, 3))
        axes.scatter(widths, heights, 14 + 220 * counts / counts.max(), color=SERIES[0], alpha=0.45, linewidth=0)
        axes.set(xlim=(0, most), ylim=(0, most), xlabel="width (pixels)", ylabel="height (pixels)", aspect="equal")
        axes.grid(color=RULE, linewidth=0.6)
        axes.spines[:].set_visible(False)
        return finish(
            figure,
            caption,
            f"Sizes of images: {len(sizes)} of them, widths {shown(int(widths.min()))} to {shown(int(widths.max()))}, "
            f"heights {shown(int(heights.min()))} to {shown(int(heights.max()))} pixels.",
        )


def length_histogram(lengths: Mapping[int, int], caption: str = "") -> Figure:
    """How many signals are how long: {length: count}."""
    values = np.array(list(lengths), dtype=np.float64)
    counts = np.array(list(lengths.values()), dtype=np.float64)
    with drawing(FULL, 2.2) as figure:
        axes = figure.add_subplot()
        axes.hist(values, bins=min(40, max(1, len(values))), weights=counts, color=SERIES[0], alpha=0.8)
        axes.set(xlabel="length (samples)", ylabel="signals")
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        return finish(
            figure, caption, f"Lengths of signals: from {shown(int(values.min()))} to {shown(int(values.max()))}."
        )


def side_histogram(edges: Sequence[float], classes: Mapping[str, Sequence[int]], caption: str = "") -> Figure:
    """Square roots of the areas of boxes in pixels: the counts between ``edges`` (B + 1) for each class (B,).

    The six most frequent classes have a colour each, the others one together.
    """
    order = sorted(classes, key=lambda name: -sum(classes[name]))
    rows = [
        (name, np.asarray(classes[name], dtype=np.float64)) for name in order[: _TOGETHER - (len(order) > _TOGETHER)]
    ]
    if len(order) > len(rows):
        rest = order[len(rows) :]
        rows.append((f"{len(rest)} other classes", np.sum([classes[name] for name in rest], axis=0)))
    places = np.arange(len(edges) - 1)
    with drawing(FULL, 2.7) as figure:
        axes = figure.add_subplot()
        base = np.zeros(len(places))
        for number, (name, counts) in enumerate(rows):
            axes.bar(places, counts, 0.86, base, color=SERIES[number], alpha=0.8, linewidth=0, label=label(name))
            base += counts
        every = max(1, len(edges) // 12)
        axes.set_xticks(np.arange(len(edges))[::every] - 0.5, [f"{edge:.3g}" for edge in edges[::every]])
        axes.set(xlabel="square root of the area (pixels, as annotated)", ylabel="boxes")
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, borderpad=0, handlelength=0.9)
        return finish(figure, caption, f"Sizes of {int(base.sum()):,} boxes, {edges[0]:.3g} to {edges[-1]:.3g} pixels.")


def marked_histogram(
    values: Sequence[float], *, name: str, marks: Mapping[str, float] | None = None, caption: str = ""
) -> Figure:
    """How often each size occurs: logarithmic bins over positive ``values`` called ``name``, vertical lines at
    ``marks`` (name to value). Errors: ``ValueError`` when there are no values."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not len(values):
        raise ValueError("a histogram needs at least one value")
    sizes = np.maximum(np.asarray(values, dtype=np.float64), 1e-3)
    ends = [*sizes.tolist(), *(value for value in (marks or {}).values() if value > 0)]
    edges = np.geomspace(min(ends) * 0.9, max(ends) * 1.1, _BINS + 1)
    counts, _ = np.histogram(sizes, edges)
    with drawing(FULL, 2.6) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.stairs(counts, edges, fill=True, color=SERIES[0], alpha=0.8)
        top = float(counts.max()) * 1.5
        axes.set_ylim(0, top)
        for number, (mark, value) in enumerate(sorted((marks or {}).items(), key=lambda item: item[1])):
            axes.axvline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            place = top * (0.98 - 0.1 * (number % 3))  # neighbours' names stand under each other
            axes.annotate(mark, (value, place), (3, 0), textcoords="offset points", va="top", color=INK)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=name, ylabel="how many")
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        low, half, high = (shown(float(q), 3) for q in np.quantile(sizes, (0.05, 0.5, 0.95)))
        said = f"{name}: {len(sizes):,} values, 5 % under {low}, half under {half}, 5 % over {high}."
        return finish(figure, caption, said)
