"""What a sweep has found: its trials in order, the front of error against multiply-adds, and both as text and JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.recipes.folder import REPORT_NAME
from striate.recipes.sweep_trials import Outcome, Settled
from striate.report.records import Alignment, Cell, Table, counted, shown

BEST_NAME = "best.toml"
TRIALS = "trials"


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: what was tried, and what each trial reached in each of its rungs."""

    folder: Path
    settled: Settled
    threads: int
    outcomes: tuple[tuple[Outcome, ...], ...]

    @property
    def found(self) -> tuple[Outcome, ...]:
        """The best training of each trial, of whatever length, the best trial first and failed ones last: a trial that
        did worse when it was trained longer is what it was before."""
        kept: dict[int, Outcome] = {}
        for one in ranked(self.settled, [one for rung in reversed(self.outcomes) for one in rung]):
            kept.setdefault(one.trial.number, one)
        return tuple(kept.values())

    @property
    def best(self) -> Outcome:
        """The best of all trainings. Errors: ``InputError`` when every trial failed."""
        first = self.found[0]
        if first.failed is not None:
            raise InputError(self.folder / TRIALS, f"every trial failed, the first one: {first.failed}", "see there")
        return first

    @property
    def front(self) -> tuple[Outcome, ...]:
        """The trials than which no other has a lower error at as few multiply-adds or fewer, cheapest first."""
        error, found = self.settled.error, list[Outcome]()
        done = [one for one in self.found if one.failed is None]
        for one in sorted(done, key=lambda one: (one.trial.multiply_adds, error(one.mean), one.trial.number)):
            if not found or error(one.mean) < error(found[-1].mean):
                found.append(one)
        return tuple(found)

    def table(self) -> Table:
        """One row a trial, the best first."""
        best, headline = self.best, self.settled.headline
        names = tuple(self.settled.sweep.fields)
        seeds, shares = self.settled.sweep.settings.seeds, self.settled.sweep.settings.shares
        rows: list[tuple[Cell, ...]] = []
        for one in self.found:
            figures: tuple[Cell, ...] = (None,)
            if one.failed is None:
                figures = (one.mean, statistics.stdev(one.figures)) if seeds > 1 else (one.mean,)
            elif seeds > 1:
                figures = (None, None)
            trial = one.trial
            rows.append(
                (
                    str(trial.number),
                    *(written(trial.values[name]) for name in names),
                    *((f"{one.rung + 1} ({100 * shares[one.rung]:.3g} %)",) if len(shares) > 1 else ()),
                    *figures,
                    trial.parameters,
                    trial.multiply_adds,
                    f"{one.seconds:,.1f} s" if one.failed is None else "failed",
                )
            )
        figure = (f"val {headline}", "deviation") if seeds > 1 else (f"val {headline}",)
        short = short_names(names)
        rung = ("rung",) if len(shares) > 1 else ()
        columns = ("trial", *short, *rung, *figure, "parameters", "multiply-adds", "time")
        return Table(columns, tuple(rows), sides_of(1 + len(names), len(columns)), self._note(), self.found.index(best))

    def _note(self) -> str:
        seeds, shares = self.settled.sweep.settings.seeds, self.settled.sweep.settings.shares
        manner = f"Mean and standard deviation over {seeds} seeds. " if seeds > 1 else ""
        length = "Each trial in its best training, with its share of the whole length. " if len(shares) > 1 else ""
        time = "; time is that of all seeds" if seeds > 1 else ""
        return f"{manner}{length}Multiply-adds are per sample{time}."

    def lines(self) -> list[str]:
        """The best trial in a few lines of text."""
        best = self.best
        values = ", ".join(f"{name} = {written(value)}" for name, value in best.trial.values.items())
        length = self.settled.sweep.settings.shares[best.rung]
        after = "" if length == 1 else f" after {100 * length:.3g} % of the length: no longer training was better"
        test = ""
        if best.test:
            test = f", test {self.settled.headline} {shown(sum(best.test) / len(best.test), 4)}"
        return [
            f"best: trial {best.trial.number} of {len(self.settled.trials)}: {values}",
            f"val: {self.settled.headline} {shown(best.mean, 4)}{test}{after}",
            f"folder: {best.folders[0]}",
            f"train it anywhere: {self.command}",
            f"report: {self.folder / REPORT_NAME}",
        ]

    @property
    def command(self) -> str:
        """What trains the best trial again, alone."""
        return f"striate train --settings {self.folder / BEST_NAME} --out RUN"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON. Test figures are there for the trials of the front and the best one alone."""
        best, front = self.best, {one.trial.number for one in self.front}
        shares = self.settled.sweep.settings.shares
        shown_test = front | {best.trial.number}
        return {
            "headline": self.settled.headline,
            "larger_is_better": self.settled.larger_is_better,
            "shares": list(shares),
            "best": best.trial.number,
            "folder": str(best.folders[0]),
            "command": self.command,
            "report": str(self.folder / REPORT_NAME),
            "trials": [
                {
                    "trial": one.trial.number,
                    "values": one.trial.values,
                    "rung": one.rung + 1,
                    "steps": one.trial.steps[one.rung],
                    "val": list(one.figures),
                    "test": list(one.test) if one.trial.number in shown_test else None,
                    "parameters": one.trial.parameters,
                    "multiply_adds": one.trial.multiply_adds,
                    "seconds": one.seconds,
                    "front": one.trial.number in front,
                    "failed": one.failed,
                    "folders": [str(folder) for folder in one.folders],
                }
                for one in self.found
            ],
        }


def ranked(settled: Settled, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best first, of equal ones the longer training and then the lower number, those that failed last."""
    done = [one for one in outcomes if one.failed is None]
    done.sort(key=lambda one: (settled.error(one.mean), -one.rung, one.trial.number))
    return done + [one for one in outcomes if one.failed is not None]


def sides_of(words: int, columns: int) -> tuple[Alignment, ...]:
    """The sides of a table whose first columns hold words, and the others numbers."""
    sides: list[Alignment] = ["left" if number < words else "right" for number in range(columns)]
    return tuple(sides)


def written(value: Any) -> str:
    """A value as it would be typed."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def short_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The last parts of dotted places, as many of them as tell them apart."""
    found = []
    for name in names:
        parts = name.split(".")
        tails = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        found.append(next((t for t in tails if sum(f".{one}".endswith(f".{t}") for one in names) == 1), name))
    return tuple(found)


def listing(settled: Settled) -> tuple[Table, list[str]]:
    """The trials as a table, and how many steps they take, as lines of text."""
    names, shares = tuple(settled.sweep.fields), settled.sweep.settings.shares
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (str(one.number), *(written(one.values[name]) for name in names), one.parameters, one.multiply_adds, *one.steps)
        for one in settled.trials
    )
    rungs = [f"steps, rung {rung + 1}" if len(shares) > 1 else "steps" for rung in range(len(shares))]
    columns = ("trial", *short_names(names), "parameters", "multiply-adds", *rungs)
    seeds, lines, total, sure = settled.sweep.settings.seeds, list[str](), 0, True
    for rung, (trials, steps, certain) in enumerate(settled.steps_by_rung()):
        most = "" if certain else "at most "
        each = f" with {seeds} seeds each" if seeds > 1 else ""
        length = f"{100 * shares[rung]:.3g} % of the length, "
        lines.append(f"rung {rung + 1}: {counted(trials, 'trial')}{each}, {length}{most}{steps:,} steps")
        total, sure = total + steps, sure and certain
    if len(lines) == 1:
        lines = [f"{counted(len(settled.trials), 'trial')}{f' with {seeds} seeds each' if seeds > 1 else ''}"]
    lines.append(f"altogether {'' if sure else 'at most '}{total:,} steps")
    return Table(columns, rows, sides_of(1 + len(names), len(columns))), lines


def listing_json(settled: Settled) -> dict[str, Any]:
    """The trials and what they cost, as plain JSON; ``steps`` are rung by rung."""
    rungs = settled.steps_by_rung()
    return {
        "headline": settled.headline,
        "shares": list(settled.sweep.settings.shares),
        "seeds": settled.sweep.settings.seeds,
        "steps_at_most": sum(steps for _, steps, _ in rungs),
        "trials": [
            {
                "trial": one.number,
                "values": one.values,
                "parameters": one.parameters,
                "multiply_adds": one.multiply_adds,
                "steps": list(one.steps),
            }
            for one in settled.trials
        ],
    }
