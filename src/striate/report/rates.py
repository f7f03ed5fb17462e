"""The curve of a learning-rate range test as a :class:`records.Figure`."""

from collections.abc import Mapping, Sequence

import numpy as np

from striate.report.records import Figure
from striate.report.style import FULL, INK, MUTED, SERIES, drawing, finish


def rate_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    means: Sequence[float],
    marks: Mapping[str, float],
    caption: str = "",
) -> Figure:
    """Loss against the learning rate on a logarithmic axis: ``losses`` as dots, their running ``means`` as a line, all
    of the length of ``rates``, and upright lines at the rates of ``marks`` with their names. Errors: ``ValueError``
    without any rate."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if not rates:
        raise ValueError("a range test without a step cannot be drawn")
    low, high = float(min(means)), float(max(means[: max(1, len(means) // 2)]))
    room = max(high - low, 1e-6)
    with drawing(FULL, 3.6) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.plot(rates, np.clip(losses, low - room, high + room), ".", color=MUTED, markersize=2.5, alpha=0.6)
        axes.plot(rates, means, color=SERIES[0])
        axes.set_ylim(low - 0.15 * room, high + 0.5 * room)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.grid(axis="y")
        for number, (name, rate) in enumerate(marks.items()):
            axes.axvline(rate, color=SERIES[1], linewidth=1.0)
            axes.annotate(
                f"{name} {rate:.2g}", (rate, 0.96 - 0.08 * number), (4, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=INK, fontsize=8.5, va="top",
            )  # fmt: skip
        said = "; ".join(f"{name} at {rate:.2g}" for name, rate in marks.items()) or "it never falls"
        return finish(
            figure, caption, f"Training loss against learning rate from {rates[0]:.2g} to {rates[-1]:.2g}: {said}."
        )
