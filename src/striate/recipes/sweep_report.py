"""The report of a sweep: what was tried and what came of it, what accuracy costs, and what each setting does."""

import math
import os
import platform
from pathlib import Path

import torch

from striate import __version__
from striate.recipes.sweep_result import SweepResult, short_names, sides_of, written
from striate.recipes.sweep_trials import Outcome
from striate.report.html import write
from striate.report.records import Block, Code, Fact, Facts, Listing, Report, Section, Table, Text, counted, shown
from striate.report.tradeoffs import Point, effects, rung_curves, trade_off


def write_sweep_report(result: SweepResult, path: Path) -> None:
    """Write the report as one self-contained HTML file. Errors: ``InputError``."""
    sections = [
        Section("Result", (_facts(result), _chosen(result), result.table())),
        Section("Error against multiply-adds", _front(result)),
        Section("What each setting does", _effects(result)),
        Section("While they learn", _curves(result)),
    ]
    if any(one.failed is not None for one in result.found):
        sections.append(Section("What failed", _failed(result)))
    sections.append(Section("How this was made", _made(result)))
    name = Path(result.settled.path).name
    title = f"{counted(len(result.settled.trials), 'trial')} on {name}"
    write(Report(title, f"a sweep over {', '.join(result.settled.sweep.fields)}", tuple(sections)), path)


def _percent(result: SweepResult, figure: float) -> float:
    """The error as it is drawn: in per cent where it is one minus a share."""
    return result.settled.error(figure) * (100 if result.settled.larger_is_better else 1)


def _what(result: SweepResult) -> str:
    headline = result.settled.headline
    return f"1 − val {headline} (%)" if result.settled.larger_is_better else f"val {headline}"


def _point(result: SweepResult, one: Outcome) -> Point:
    return Point(f"trial {one.trial.number}", one.trial.multiply_adds, _percent(result, one.mean), one.rung)


def _facts(result: SweepResult) -> Facts:
    best, settled = result.best, result.settled
    seeds = settled.sweep.settings.seeds
    over = f"mean of {seeds} seeds" if seeds > 1 else f"trial {best.trial.number}"
    facts = [Fact(f"{settled.headline} (val)", shown(best.mean, 4), f"the best, {over}; it was chosen by this")]
    if best.test:
        facts.append(Fact(f"{settled.headline} (test)", shown(sum(best.test) / len(best.test), 4), "looked at last"))
    failed = sum(one.failed is not None for one in result.found)
    facts += [
        Fact("parameters", best.trial.parameters, "of the best"),
        Fact("multiply-adds", best.trial.multiply_adds, "of the best, per sample"),
        Fact("trials", len(settled.trials), f"{failed} failed" if failed else "none failed"),
        Fact("training time", f"{sum(one.seconds for rung in result.outcomes for one in rung):,.0f} s", "all together"),
    ]
    return Facts(tuple(facts))


def _chosen(result: SweepResult) -> Text:
    settings, shares = result.settled.sweep.settings, result.settled.sweep.settings.shares
    best = ", ".join(f"{name} = {written(value)}" for name, value in result.best.trial.values.items())
    words = f"The best is trial {result.best.trial.number}: {best}. "
    if len(shares) > 1:
        rungs = ", ".join(
            f"{counted(len(rung), 'trial')} for {100 * share:.3g} %"
            for rung, share in zip(result.outcomes, shares, strict=False)
        )
        words += (
            f"Successive halving with a factor of {settings.halving}: {rungs} of the length. In each rung every trial "
            "is trained anew, with the schedule of that length, so that its figure is that of a plain training. "
        )
    words += "Trials were compared on the validation split alone."
    return Text(((words, " To train it again: ", Code(result.command)),))


def _front(result: SweepResult) -> tuple[Block, ...]:
    settled = result.settled
    shares = settled.sweep.settings.shares
    done = [one for one in result.found if one.failed is None]
    groups = [f"trained for {100 * share:.3g} %" if len(shares) > 1 else "trial" for share in shares]
    caption = (
        f"Each trial once{', in its best training' if len(shares) > 1 else ''}. The line is the front: no other is "
        "better at as few multiply-adds or fewer."
    )
    figure = trade_off(
        [_point(result, one) for one in done],
        [_point(result, one) for one in result.front],
        _point(result, result.best),
        groups,
        _what(result),
        caption,
    )
    names = tuple(settled.sweep.fields)
    tested = any(one.test for one in result.front)
    rows = tuple(
        (
            f"trial {one.trial.number}",
            ", ".join(
                f"{short} {written(one.trial.values[name])}"
                for short, name in zip(short_names(names), names, strict=True)
            ),
            f"{100 * shares[one.rung]:.3g} %",
            one.trial.parameters,
            one.trial.multiply_adds,
            one.mean,
            *((sum(one.test) / len(one.test) if one.test else None,) if tested else ()),
        )
        for one in result.front
    )
    columns: tuple[str, ...] = (
        "on the front",
        "settings",
        "length",
        "parameters",
        "multiply-adds",
        f"val {settled.headline}",
    )
    note = "The test split was measured when all was chosen." if tested else ""
    columns += (f"test {settled.headline}",) if tested else ()
    return figure, Table(columns, rows, sides_of(2, len(columns)), note)


def _effects(result: SweepResult) -> tuple[Block, ...]:
    first = [one for one in result.outcomes[0] if one.failed is None]
    fields = {name: [one.trial.values[name] for one in first] for name in result.settled.sweep.fields}
    values = {
        name: [
            one if isinstance(one, int | float | str) and not isinstance(one, bool) else written(one)
            for one in fields[name]
        ]
        for name in fields
    }
    numbers = [one.trial.number for one in first]
    best = numbers.index(result.best.trial.number)
    where = " in the first rung, where all are trained equally long" if len(result.outcomes) > 1 else ""
    caption = (
        f"Error of every trial against each setting{where}. A bar is the mean of the trials with that value, whatever "
        "else they vary in; the ring is the best trial."
    )
    return (effects(values, [_percent(result, one.mean) for one in first], best, _what(result), caption),)


def _curves(result: SweepResult) -> tuple[Block, ...]:
    shares = result.settled.sweep.settings.shares
    rungs = []
    for outcomes, share in zip(result.outcomes, shares, strict=False):
        curves = {}
        for one in outcomes:
            if one.failed is None:
                steps, figures = one.curves[0]
                values = [math.nan if figure is None else _percent(result, figure) for figure in figures]
                curves[f"trial {one.trial.number}"] = (steps, values)
        title = f"{100 * share:.3g} % of the length, {counted(len(curves), 'trial')}"
        rungs.append((title if len(shares) > 1 else counted(len(curves), "trial"), curves))
    seeds = result.settled.sweep.settings.seeds
    caption = f"Error on the validation split while training{', of the first seed' if seeds > 1 else ''}."
    kept = [rung for rung in rungs if rung[1]]
    return (rung_curves(kept, f"trial {result.best.trial.number}", _what(result), caption),)


def _failed(result: SweepResult) -> tuple[Block, ...]:
    rows = tuple((f"trial {one.trial.number}", one.failed) for one in result.found if one.failed is not None)
    note = "A failed trial is not tried again; remove its folder, and the sweep trains it when it is resumed."
    return (Table(("trial", "why"), rows, ("left", "left"), note),)


def _made(result: SweepResult) -> tuple[Block, ...]:
    settled = result.settled
    kinds = sorted({kind for rung in result.outcomes for one in rung for kind in one.step_kinds})
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {platform.system()}"
    rows = (
        ("trainings", sum(len(one.folders) for rung in result.outcomes for one in rung)),
        ("threads of each", result.threads),
        ("precision", settled.precision or "as in the settings"),
        ("kinds of step", ", ".join(kinds)),
        ("machine", machine),
        ("versions", f"striate {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
    )
    text = Text(
        (("Every training is an ordinary run, with its own report, in ", Code("trials/"), " beside this page."),)
    )
    return text, Table(("", ""), rows, ("left", "left")), Listing(settled.sweep.text, "The settings file.")
