"""Charts of what a network learned and how well it does; each function returns a :class:`records.Figure`.

Pictures of the network and of samples (kernels, weight matrices, receptive fields, examples) are drawn in
``report.pictures`` and offered here too. Errors are fractions in [0, 1] and are shown in per cent.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.report.pictures import Example, examples, kernels, receptive_fields, weight_matrix
from striate.report.records import Figure, shown
from striate.report.style import (
    FULL,
    HALF,
    INK,
    MARKERS,
    MUTED,
    NEGATIVE,
    POSITIVE,
    RULE,
    SERIES,
    SIGNED,
    drawing,
    end_labels,
    enlarged,
    finish,
    label,
    signed_colours,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Example",
    "calibration",
    "class_counts",
    "confusion_matrix",
    "error_bars",
    "error_curves",
    "examples",
    "kernels",
    "learning_rate",
    "loss_curves",
    "receptive_fields",
    "shift_curve",
    "weight_matrix",
]

History = Mapping[str, Sequence[float]]
"""What a run recorded: ``step`` and, of the same length, ``train_error``, ``test_error``, ``train_loss``, ..."""

_PARTS = {"train": "training", "validation": "validation", "val": "validation", "test": "test"}
_MOST_NUMBERED = 24
"""Most classes for which a confusion matrix has a number in each cell."""


def error_curves(histories: Mapping[str, History], caption: str = "") -> Figure:
    """Error against step, one colour a run: training error dashed, test or validation error solid and labelled.

    ``histories`` maps a run's name to ``{"step": ..., "train_error": ..., "test_error": ...}``; ``validation_error``
    is drawn when there is no ``test_error``. Values that are not finite leave a gap.
    """
    percent = {
        name: {key: (values if key == "step" else [100 * value for value in values]) for key, values in run.items()}
        for name, run in histories.items()
    }
    return _curves(percent, "error", "error (%)", "{:.1f} %", caption)


def figure_curves(
    steps: Sequence[float] | Mapping[str, Sequence[float]],
    curves: Mapping[str, Sequence[float]],
    what: str,
    caption: str = "",
) -> Figure:
    """Any figure against step, a line for each of ``curves`` (a split and its values), of which all have the same
    ``steps`` or each its own. Values that are not finite leave a gap."""
    own = steps if isinstance(steps, Mapping) else dict.fromkeys(curves, steps)
    runs: dict[str, History] = {name: {"step": own[name], f"test_{what}": values} for name, values in curves.items()}
    return _curves(runs, what, what, "{:.3g}", caption)


def loss_curves(histories: Mapping[str, History], caption: str = "") -> Figure:
    """Loss against step (``train_loss``, ``test_loss``, ...); logarithmic where it falls more than tenfold."""
    return _curves(histories, "loss", "loss", "{:.3g}", caption, logarithmic=True)


def learning_rate(steps: Sequence[float], rates: Sequence[float], caption: str = "") -> Figure:
    """Learning rate against step."""
    with drawing(FULL, 1.9) as figure:
        axes = figure.add_subplot()
        axes.plot(steps, rates, color=SERIES[0])
        axes.fill_between(steps, rates, 0, color=SERIES[0], alpha=0.1, linewidth=0)
        _plain_axes(axes, "step", "learning rate")
        axes.set_ylim(0, max(rates) * 1.1 or 1)
        axes.set_xlim(min(steps), max(steps))
        _thousands(axes)
        return finish(
            figure,
            caption,
            f"Learning rate against step: from {rates[0]:.3g} to {rates[-1]:.3g}, at most {max(rates):.3g}.",
        )


def confusion_matrix(
    matrix: npt.ArrayLike,
    classes: Sequence[str],
    caption: str = "",
    *,
    unit: str = "samples",
    percent: bool = False,
    stated: str = "",
) -> Figure:
    """Counts (K, K), rows the true class, columns the predicted one; shade is the share of the true class.

    Right answers are blue, mistakes orange. Up to 24 classes each cell shows its count of the ``unit`` named, or with
    ``percent`` the share of the true class in per cent, from one half up; beyond that the matrix is a
    picture whose mistakes are drawn more strongly, with every few classes named. ``stated`` is written over it: what
    the counts hold for. Errors: ``ValueError`` when the
    matrix is not square or does not match ``classes``.
    """
    counts = np.asarray(matrix)
    size = len(classes)
    if counts.shape != (size, size):
        raise ValueError(f"a confusion matrix of shape {counts.shape} came with {size} classes")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbered = size <= _MOST_NUMBERED
    signed = np.where(np.eye(size, dtype=bool), -share, np.sqrt(share))
    side = min(FULL, 2.2 + 0.42 * size) if numbered else 6.8
    with drawing(side, side * 0.92) as figure:
        axes = figure.add_subplot()
        colours = signed_colours(signed, 1.0)
        extent = (-0.5, size - 0.5, size - 0.5, -0.5)
        axes.imshow(
            colours if numbered else enlarged(colours), interpolation="none", aspect="equal", extent=extent, gid=SIGNED
        )
        if numbered:
            numbers = np.rint(100 * share).astype(np.int64) if percent else counts
            _cell_numbers(axes, numbers, colours[..., 3], 9.0 if size <= 12 else 7.0)
            axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
            axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
            axes.grid(which="minor", color=RULE, linewidth=0.6)
        every = 1 if numbered else math.ceil(size / 50)
        ticks = range(0, size, every)
        names = [label(classes[number], 16) for number in ticks]
        small = 8.5 if size <= 14 else 7.0 if numbered else 5.5
        turned = not all(len(name) <= 3 for name in names)
        axes.set_xticks(ticks, names, rotation=90 if turned else 0, fontsize=small)
        axes.set_yticks(ticks, names, fontsize=small)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(not numbered)
        axes.spines[:].set_color(RULE)
        if stated:
            figure.suptitle(stated, x=0.01, ha="left", fontsize=9.5, color=INK)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        right = float(np.trace(counts)) / max(1, float(counts.sum()))
        return finish(
            figure, caption,
            f"Confusion matrix of {size} classes, {int(counts.sum()):,} {unit}: {100 * right:.1f} % on the diagonal.",
        )  # fmt: skip


def calibration(
    reliability: Sequence[Mapping[str, float | None]], error: float | None = None, caption: str = ""
) -> Figure:
    """Reliability diagram: accuracy against confidence in bins, and below it how many samples each bin holds.

    ``reliability`` is the table of ``ops.metrics.Calibration``: rows of low, high, count, confidence and accuracy
    (``None`` in an empty bin). ``error`` is the expected calibration error (a fraction) to print in the figure.
    """
    filled = [row for row in reliability if row["count"]]
    confidence = np.array([row["confidence"] for row in filled], dtype=np.float64)
    accuracy = np.array([row["accuracy"] for row in filled], dtype=np.float64)
    count = np.array([row["count"] for row in filled], dtype=np.float64)
    low = np.array([row["low"] for row in filled], dtype=np.float64)
    width = np.array([row["high"] for row in filled], dtype=np.float64) - low
    with drawing(HALF + 0.6, 4.9) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (4, 1)})
        top.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, dashes=(4, 3))
        top.annotate(
            "calibrated", (0.04, 0.04), (0, 9), textcoords="offset points", color=MUTED, fontsize=8.5,
            rotation=45, rotation_mode="anchor", transform_rotates_text=True,
        )  # fmt: skip
        top.bar(low, accuracy, width, align="edge", color=NEGATIVE, alpha=0.22, linewidth=0)
        top.vlines(
            confidence, np.minimum(accuracy, confidence), np.maximum(accuracy, confidence), POSITIVE, linewidth=1.6
        )
        top.plot(confidence, accuracy, "o", color=NEGATIVE, markersize=4.5)
        top.set(xlim=(0, 1), ylim=(0, 1))
        if error is not None:
            words = f"expected calibration error {100 * error:.1f} %"
            top.text(0.0, 1.03, words, transform=top.transAxes, color=INK, fontsize=9.5)
        _plain_axes(top, "", "accuracy")
        bottom.bar(low, count / max(count.sum(), 1), width * 0.9, align="edge", color=MUTED, alpha=0.6, linewidth=0)
        _plain_axes(bottom, "confidence", "share")
        worst = float(np.abs(accuracy - confidence).max(initial=0.0))
        stated = "" if error is None else f" Expected calibration error {100 * error:.1f} %."
        return finish(
            figure,
            caption,
            f"Reliability diagram.{stated} The largest gap of confidence and accuracy is {100 * worst:.0f} points.",
        )


def shift_curve(shifts: Sequence[float], errors: Mapping[str, Sequence[float]], caption: str = "") -> Figure:
    """Test error (fractions) against the shift of the input in samples or pixels, one labelled line a network."""
    from matplotlib.ticker import MaxNLocator

    most = 100 * max((value for line in errors.values() for value in line if math.isfinite(value)), default=1.0)
    height = min(100.0, most * 1.12 or 1.0)
    with drawing(FULL, 3.4) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=RULE, linewidth=0.8)
        ends = []
        for number, (name, line) in enumerate(errors.items()):
            colour = SERIES[number % len(SERIES)]
            percent = [100 * value for value in line]
            axes.plot(shifts, percent, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=4)
            ends.append((float(shifts[-1]), percent[-1], label(name), colour))
        axes.set_ylim(0, height)
        axes.xaxis.set_major_locator(MaxNLocator(11, integer=all(float(shift).is_integer() for shift in shifts)))
        _plain_axes(axes, "shift of the input", "test error (%)")
        end_labels(axes, ends, height * 0.055)
        at_zero = min(range(len(shifts)), key=lambda number: abs(shifts[number]))
        said = "; ".join(
            f"{name}: {100 * line[at_zero]:.1f} % unshifted, at most {100 * max(line):.1f} %"
            for name, line in errors.items()
        )
        return finish(figure, caption, f"Test error against input shift from {shifts[0]:g} to {shifts[-1]:g}. {said}.")


def class_counts(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], caption: str = "", *, unit: str = "samples"
) -> Figure:
    """Samples (or the ``unit`` named) per class as horizontal bars, one colour a split (``{"train": (K,), ...}``).

    Beyond 40 classes the bars are thin, in order of size, and unnamed.
    """
    size = len(classes)
    total = np.sum([np.asarray(values) for values in counts.values()], axis=0)
    named = size <= 40
    order = np.arange(size) if named else np.argsort(-total, kind="stable")
    with drawing(5.2 if named else FULL, (0.9 + 0.26 * size) if named else 2.6) as figure:
        axes = figure.add_subplot()
        base = np.zeros(size)
        for number, (name, values) in enumerate(counts.items()):
            sizes, colour = np.asarray(values)[order], SERIES[number % len(SERIES)]
            if named:
                axes.barh(np.arange(size), sizes, 0.66, base, color=colour, alpha=0.8, linewidth=0, label=label(name))
            else:
                axes.bar(np.arange(size), sizes, 1.0, base, color=colour, alpha=0.8, linewidth=0, label=label(name))
            base += sizes
        if named:
            axes.set_yticks(range(size), [label(name) for name in classes])
            axes.set_ylim(size - 0.4, -0.6)
            axes.set_xlim(0, max(1, int(total.max())) * 1.14)
            for place, value in enumerate(total.tolist()):
                axes.annotate(
                    f"{value:,}", (value, place), (5, 0), textcoords="offset points", va="center", color=MUTED
                )
            _plain_axes(axes, unit, "", along="x")
        else:
            axes.set_xlim(-0.5, size - 0.5)
            _plain_axes(axes, f"{size} classes, the largest first", unit)
        if len(counts) > 1:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, borderpad=0, handlelength=0.9, handleheight=0.9
            )
        low, high = shown(int(total.min())), shown(int(total.max()))
        return finish(figure, caption, f"{unit.capitalize()} per class: {size} classes, from {low} to {high} {unit}.")


def error_bars(errors: Mapping[str, Sequence[float]], caption: str = "", *, measure: str = "test error") -> Figure:
    """The error (fractions) of each network: a dot a seed, a bar to the mean, and mean and deviation in words."""
    size = len(errors)
    most = 100 * max((max(values) for values in errors.values()), default=1.0)
    with drawing(FULL, 0.8 + 0.42 * size) as figure:
        axes = figure.add_subplot()
        said = []
        for number, (name, values) in enumerate(errors.items()):
            percent = 100 * np.asarray(values, dtype=np.float64)
            mean, colour = float(percent.mean()), SERIES[number % len(SERIES)]
            words = f"{mean:.1f} %" + (f" ± {percent.std(ddof=1):.1f}" if len(percent) > 1 else "")
            axes.barh(number, mean, 0.5, color=colour, alpha=0.22, linewidth=0)
            axes.vlines(mean, number - 0.25, number + 0.25, colour, linewidth=2)
            if len(percent) > 1:
                axes.plot(percent, np.full(len(percent), number), "o", color=colour, markersize=4, alpha=0.9)
            axes.annotate(words, (percent.max(), number), (9, 0), textcoords="offset points", va="center", color=INK)
            said.append(f"{name}: {words}")
        axes.set_yticks(range(size), [label(name, 34) for name in errors])
        axes.set_ylim(size - 0.4, -0.6)
        axes.set_xlim(0, most * 1.18 or 1.0)
        _plain_axes(axes, f"{measure} (%)", "", along="x")
        axes.tick_params(axis="y", labelcolor=INK)
        return finish(figure, caption, f"{measure.capitalize()}. {'; '.join(said)}.")


def _curves(
    histories: Mapping[str, History], what: str, axis: str, form: str, caption: str, *, logarithmic: bool = False
) -> Figure:
    from matplotlib.ticker import FuncFormatter

    with drawing(FULL, 3.9) as figure:
        axes = figure.add_subplot()
        ends, kinds, seen = [], dict[str, str](), np.empty(0)
        for number, (name, run) in enumerate(histories.items()):
            colour = SERIES[number % len(SERIES)]
            parts = {part: run[f"{part}_{what}"] for part in _PARTS if run.get(f"{part}_{what}")}
            solid = next((part for part in ("test", "validation", "val", "train") if part in parts), None)
            for part in (part for part in parts if part in {"train", solid}):
                values = np.asarray(parts[part], dtype=np.float64)
                style = "-" if part == solid else "--"
                kinds[style] = _PARTS[part]
                axes.plot(run["step"], values, color=colour, linestyle=style, linewidth=1.7 if style == "-" else 1.0)
                finite = values[np.isfinite(values)]
                seen = np.concatenate([seen, finite])
                if part == solid and finite.size:
                    ends.append((float(run["step"][-1]), float(finite[-1]), name, colour))
        # Within one power of ten a logarithmic axis would have no numbers on it.
        logarithmic = logarithmic and bool(ends) and bool((seen > 0).any()) and seen.max() > 10 * seen[seen > 0].min()
        if logarithmic:
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.minorticks_off()
        else:
            axes.set_ylim(0, float(seen.max(initial=0.0)) * 1.05 or 1.0)
        _plain_axes(axes, "step", axis)
        axes.set_xlim(0, max((x for x, *_ in ends), default=1.0))
        _thousands(axes)
        _label_ends(axes, ends, form, logarithmic)
        if len(kinds) > 1:
            words = {"-": f"{kinds['-']} {what}", "--": f"{kinds['--']} {what}"}
            lines = [
                axes.plot([], [], style, color=MUTED, linewidth=1.3, label=text)[0] for style, text in words.items()
            ]
            axes.legend(
                handles=lines, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderpad=0, labelcolor=MUTED
            )
        said = "; ".join(f"{name} ends at {form.format(value)}" for _, value, name, _ in ends)
        return finish(figure, caption, f"{what.capitalize()} against training step. {said}.")


def _label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]], form: str, logarithmic: bool) -> None:
    low, high = axes.get_ylim()
    if not logarithmic:
        named = [(x, y, f"{label(name)}\u2002{form.format(y)}", colour) for x, y, name, colour in ends]
        end_labels(axes, named, (high - low) * 0.05)
        return
    from striate.report.style import spread

    heights = [math.log10(max(y, low)) for _, y, _, _ in ends]  # a value of 0 is labelled at the foot
    places = spread(heights, math.log10(high / low) * 0.05)
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        end_labels(axes, [(x, 10**place, f"{label(name)}\u2002{form.format(y)}", colour)], 0.0)


def _cell_numbers(axes: "Axes", counts: npt.NDArray[np.generic], opacity: npt.NDArray[np.float64], size: float) -> None:
    for row, column in np.argwhere(counts != 0).tolist():
        strong = opacity[row, column] > 0.8
        axes.text(
            column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=size,
            color="#ffffff" if strong else INK,
        )  # fmt: skip


def _plain_axes(axes: "Axes", x: str, y: str, along: str = "y") -> None:
    """Labels, and quiet rules across the axis that is read (``along``)."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y" if along == "y" else "x")
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(RULE if along == "x" else MUTED)


def _thousands(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter

    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}")
    )
