"""Two runs side by side: the settings that differ, every figure, and the curves over one another."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.recipes.runs import RunRecord
from striate.report.html import demand_page, write
from striate.report.plots import figure_curves, loss_curves
from striate.report.records import Block, Cell, Report, Section, Table, Text


@dataclass(frozen=True)
class Compared:
    """Two runs, by what a reader calls them."""

    runs: tuple[RunRecord, RunRecord]
    names: tuple[str, str]

    def settings(self) -> Table:
        """The settings in which they differ; what one does not have is a dash."""
        one, other = (_settings(run) for run in self.runs)
        rows: list[tuple[Cell, ...]] = [
            (name, _shown(one.get(name)), _shown(other.get(name)))
            for name in dict.fromkeys((*one, *other))
            if one.get(name) != other.get(name)
        ]
        return Table(("setting", *self.names), tuple(rows), ("left",) * 3)

    def figures(self) -> Table:
        """Every figure of both, by split, and what they cost."""
        rows: list[tuple[Cell, ...]] = [
            ("steps", *(run.steps for run in self.runs)),
            ("minutes", *(run.seconds / 60 for run in self.runs)),
            ("parameters", *(run.parameters for run in self.runs)),
        ]
        known = dict.fromkeys(
            (split, name) for run in self.runs for split, each in run.figures.items() for name in each
        )
        rows += [
            (f"{split} {name}", *(run.figures.get(split, {}).get(name) for run in self.runs)) for split, name in known
        ]
        return Table(("figure", *self.names), tuple(rows), ("left", "right", "right"))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: both runs, and the settings that differ."""
        differ = {row[0]: list(row[1:]) for row in self.settings().rows}
        return {"runs": [run.to_json() for run in self.runs], "differ": differ}


def compare(one: RunRecord, other: RunRecord) -> Compared:
    """Two runs to be held against one another. Errors: ``InputError`` for one whose plan cannot be read."""
    for run in (one, other):
        if run.plan is None:
            raise InputError(run.folder, f"it cannot be compared: {run.cause}", "name another run")
    short = (one.folder.name, other.folder.name)
    return Compared((one, other), short if short[0] != short[1] else (str(one.folder), str(other.folder)))


def write_comparison(found: Compared, path: Path) -> None:
    """The comparison as a page. Errors: ``InputError`` when there is a file that is no page of ours."""
    demand_page(path, "give another --report")
    settings = found.settings()
    same: Block = settings if settings.rows else Text("They have the same settings.")
    sections = [Section("Figures", (found.figures(),))]
    curves = _curves(found)
    if curves:
        sections.append(Section("Training", curves))
    sections.append(Section("Settings that differ", (same,)))
    first, second = found.names
    write(Report(f"{first} and {second}", "two runs side by side", tuple(sections)), path)


def _curves(found: Compared) -> tuple[Block, ...]:
    pairs = [(name, run) for name, run in zip(found.names, found.runs, strict=True) if run.validations]
    if not pairs:
        return ()
    losses = {
        name: {"step": [row["step"] for row in run.validations], "train_loss": [row["loss"] for row in run.validations]}
        for name, run in pairs
    }
    blocks: list[Block] = [loss_curves(losses, "Training loss.")]
    steps, curves = dict[str, list[float]](), dict[str, list[float]]()
    headlines = {run.plan.task.headline for _, run in pairs if run.plan is not None}
    for name, run in pairs:
        for split in run.plan.watch if run.plan is not None and len(headlines) == 1 else ():
            values = [row.get(f"{split}/{next(iter(headlines))}") for row in run.validations]
            steps[f"{name} {split}"] = [row["step"] for row in run.validations]
            curves[f"{name} {split}"] = [math.nan if one is None else one for one in values]
    if any(math.isfinite(one) for values in curves.values() for one in values):
        what = next(iter(headlines)).replace("_", " ")
        blocks.insert(0, figure_curves(steps, curves, what, f"{what} while training."))
    return tuple(blocks)


def _settings(run: RunRecord) -> dict[str, Cell]:
    assert run.plan is not None
    versions = {f"versions.{name}": one for name, one in run.plan.versions.items()}
    return {**run.plan.settings(), **versions, "data fingerprint": run.plan.data_alone[:16]}


def _shown(value: Cell) -> Cell:
    """As it is written in a settings file; None stays a dash."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
