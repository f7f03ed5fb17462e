"""Charts of several trainings held against each other: what error costs, what a setting does, and how they learn.

Errors here are in the unit they are to be shown in (per cent, or a loss).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.report.records import Figure
from striate.report.style import FULL, INK, MARKERS, MUTED, RULE, SERIES, drawing, finish, label, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
"""Panels side by side."""
_NAMED = 12
"""Most values of a setting that each get a place, a name and their mean."""


@dataclass(frozen=True)
class Point:
    """A training as the trade-off shows it: its name, its network's multiply-adds, its error, and which group (rung) of
    trainings it belongs to."""

    name: str
    cost: float
    error: float
    group: int = 0


def trade_off(
    points: Sequence[Point], front: Sequence[Point], best: Point, groups: Sequence[str], what: str, caption: str = ""
) -> Figure:
    """Error against multiply-adds: every point, marked by its group, and the line of those that none beats in both,
    labelled. ``groups`` names the groups, ``what`` the error."""
    with drawing(FULL, 4.4) as figure:
        axes = figure.add_subplot()
        costs, errors = [point.cost for point in points], [point.error for point in points]
        if min(costs) > 0 and max(costs) > 4 * min(costs):
            axes.set_xscale("log")
        for number, name in enumerate(groups):
            some = [point for point in points if point.group == number]
            if some:
                axes.plot(
                    [point.cost for point in some], [point.error for point in some], linestyle="",
                    marker=MARKERS[number % len(MARKERS)], color=MUTED, markersize=5, markerfacecolor="none",
                    markeredgewidth=1.0, label=name,
                )  # fmt: skip
        _room(axes, costs, errors)
        right, top = axes.get_xlim()[1], axes.get_ylim()[1]
        if front:  # nothing is had below the first cost, nothing better is had beyond the last
            x = [front[0].cost, *(point.cost for point in front), right]
            y = [top, *(point.error for point in front), front[-1].error]
            axes.step(x, y, where="post", color=SERIES[0], linewidth=1.2, alpha=0.75, zorder=1)
        for point in front:
            marker = MARKERS[point.group % len(MARKERS)]
            axes.plot(point.cost, point.error, marker=marker, color=SERIES[0], markersize=6, linestyle="", zorder=3)
        axes.plot(
            best.cost, best.error, "o", color=SERIES[1], markersize=12, markerfacecolor="none", markeredgewidth=1.5,
            label="best", zorder=4, linestyle="",
        )  # fmt: skip
        for point in front if best in front else [*front, best]:
            axes.annotate(
                label(point.name, 16), (point.cost, point.error), (7, -11), textcoords="offset points", fontsize=8.5,
                color=SERIES[1] if point == best else SERIES[0],
            )  # fmt: skip
        axes.plot([], [], color=SERIES[0], linewidth=1.2, label="front")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, borderpad=0, labelcolor=MUTED, handlelength=1.2)
        _quiet(axes, "multiply-adds per sample", what)
        _short_numbers(axes)
        said = "; ".join(f"{point.name}: {point.cost:,.0f} multiply-adds, {point.error:.3g}" for point in front)
        return finish(figure, caption, f"{what} against multiply-adds of {len(points)} trials. The front: {said}.")


def effects(
    fields: Mapping[str, Sequence[object]], errors: Sequence[float], best: int, what: str, caption: str = ""
) -> Figure:
    """The error of each training against each setting that varies, one panel a setting; a bar is the mean at a value.

    ``fields`` holds the value of each training, in the order of ``errors``; ``best`` is the number of one to mark.
    """
    names = list(fields)
    rows = -(-len(names) // ACROSS)
    across = min(ACROSS, len(names))
    with drawing(FULL if across > 1 else FULL * 0.7, 0.4 + 2.6 * rows) as figure:
        panels = figure.subplots(rows, across, sharey=True, squeeze=False)
        for number, panel in enumerate(panels.flat):
            if number >= len(names):
                panel.set_visible(False)
                continue
            places = _along(panel, fields[names[number]], errors)
            panel.plot(places, errors, "o", color=SERIES[0], markersize=4, alpha=0.55, markeredgewidth=0)
            panel.plot(
                places[best], errors[best], "o", color=SERIES[1], markersize=9, markerfacecolor="none",
                markeredgewidth=1.4,
            )  # fmt: skip
            _quiet(panel, label(names[number], 34), what if number % across == 0 else "")
        panels.flat[0].margins(y=0.08)
        return finish(figure, caption, f"{what} of {len(errors)} trials against {', '.join(names)}.")


def rung_curves(
    rungs: Sequence[tuple[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]], best: str, what: str,
    caption: str = "",
) -> Figure:  # fmt: skip
    """Curves of all trainings, a panel a rung; each rung is its title and its curves by name (steps and values). The
    one named ``best`` stands out and the ends of the others are named where there is room."""
    rows = -(-len(rungs) // ACROSS)
    across = min(ACROSS, len(rungs))
    with drawing(FULL, 0.4 + (3.4 if rows == 1 else 2.8) * rows) as figure:
        panels = figure.subplots(rows, across, sharey=True, squeeze=False)
        for number, panel in enumerate(panels.flat):
            if number >= len(rungs):
                panel.set_visible(False)
                continue
            title, curves = rungs[number]
            for name, (steps, values) in curves.items():
                style = {"color": SERIES[1], "linewidth": 1.9, "zorder": 3} if name == best else {}
                marker = "o" if len(steps) == 1 else None
                panel.plot(steps, values, **{"color": MUTED, "linewidth": 0.9, "alpha": 0.8, "marker": marker, **style})
            panel.set_title(title)
            _quiet(panel, "step", what if number % across == 0 else "")
            panel.set_xlim(left=0)
            _short_numbers(panel)
            _name_ends(panel, curves, best)
        ends = (values[-1] for _, curves in rungs for name, (_, values) in curves.items() if name == best)
        said = ", ".join(f"{value:.3g}" for value in ends)
        return finish(figure, caption, f"{what} against step in {len(rungs)} rungs; {best} ends at {said}.")


def _name_ends(panel: "Axes", curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], best: str) -> None:
    """Names at the ends of the lines: of all where they are few, else of the best one."""
    named = [name for name in curves if len(curves) <= 5 or name == best]
    if not named:
        return
    low, high = panel.get_ylim()
    places = spread([curves[name][1][-1] for name in named], (high - low) * 0.055)
    for name, place in zip(named, places, strict=True):
        panel.annotate(
            label(name, 12), (curves[name][0][-1], place), (4, 0), textcoords="offset points", fontsize=8, va="center",
            color=SERIES[1] if name == best else MUTED, annotation_clip=False,
        )  # fmt: skip


def _along(panel: "Axes", values: Sequence[object], errors: Sequence[float]) -> list[float]:
    """Where values go on the axis. Numbers of which none comes twice go by their size (by their logarithm where they
    span tenfold); else each value has a place of its own, with its name and a bar at the mean."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    distinct = list(dict.fromkeys(map(_word, values)))
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values) and (len(distinct) == len(values) > 2 or len(distinct) > _NAMED):
        if min(numbers) > 0 and max(numbers) >= 10 * min(numbers):
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return numbers
    if len(numbers) == len(values):
        distinct.sort(key=float)
    places = [float(distinct.index(_word(value))) for value in values]
    for place in range(len(distinct)):
        some = [error for error, own in zip(errors, places, strict=True) if own == place]
        mean = sum(some) / len(some)
        panel.hlines(mean, place - 0.3, place + 0.3, color=INK, linewidth=1.6, zorder=2)
    crowded = sum(map(len, distinct)) > 26
    panel.set_xticks(
        range(len(distinct)), [label(one, 14) for one in distinct], rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
    )  # fmt: skip
    panel.set_xlim(-0.6, len(distinct) - 0.4)
    return places


def _word(value: object) -> str:
    """A value as its place is named."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _room(axes: "Axes", costs: Sequence[float], errors: Sequence[float]) -> None:
    """Limits with room for labels; errors begin near the least one, since small differences are what is looked at."""
    low, high = min(errors), max(errors)
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    if axes.get_xscale() == "log":
        width = math.log10(max(costs) / min(costs))
        axes.set_xlim(min(costs) / 10 ** (0.06 * width), max(costs) * 10 ** (0.14 * width))
    else:
        width = (max(costs) - min(costs)) or max(costs)
        axes.set_xlim(max(0.0, min(costs) - 0.06 * width), max(costs) + 0.14 * width)


def _quiet(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(axis="x", colors=MUTED)


def _short_numbers(axes: "Axes") -> None:
    """1,500 as 1.5 k, and on a logarithmic axis numbers at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    def words(value: float, place: int | None) -> str:
        for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
            if abs(value) >= size:
                return f"{value / size:g}{letter}"
        return f"{value:g}"

    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", color=RULE, linewidth=0.4)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(words))
