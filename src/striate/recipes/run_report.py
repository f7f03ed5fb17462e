"""The report of a run: what was learned, how well, from what, seen how."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.analysis.summary import Summary, SummaryRow, summary
from striate.data.doctor.diagnosis import Diagnosis
from striate.layers.layer import Layer
from striate.recipes.measured_sections import measured_sections
from striate.recipes.run_pictures import seen_in_training
from striate.recipes.sources import Source
from striate.report.html import write
from striate.report.plots import class_counts, figure_curves, loss_curves
from striate.report.records import Block, Fact, Facts, Figure, Listing, Report, Section, Table, Text, counted, shown

if TYPE_CHECKING:
    from striate.recipes.run import RunResult

UNITS = {"boxes": "boxes", "mask": "pixels"}
"""What is counted of each class, where that is not samples."""


def write_report(result: "RunResult", source: Source, diagnosis: Diagnosis, path: Path) -> None:
    """Write the run's report as one self-contained HTML file."""
    task, plan = result.predictor.task, result.plan
    split = next(iter(reversed(result.figures)))
    figures = result.figures[split]
    sections = [
        Section("Result", (_facts(result), _splits_table(result))),
        Section("Training", _curves(result)),
        *measured_sections(result.measured[split], figures, diagnosis),
        Section("Data", _data(result, source)),
        Section("Network", _network(result)),
        Section("How to repeat it", _repeat(result)),
    ]
    name = Path(plan.data.path).name or plan.data.path
    write(
        Report(f"{plan.architecture_name} on {name}", f"{task.kind}, measured on the {split} split", tuple(sections)),
        path,
    )


def _facts(result: "RunResult") -> Facts:
    task, plan, history = result.predictor.task, result.plan, result.history
    facts = [
        Fact(f"{task.headline} ({split})", shown(figures[task.headline], 4), _interval(figures, task.headline))
        for split, figures in result.figures.items()
    ]
    network = task.network(plan.architecture, len(plan.classes))
    facts.append(Fact("parameters", network.parameters(plan.input_shape)))
    early = "stopped early" if history.stopped_early else "as planned"
    facts.append(Fact("steps", history.step, early))
    facts.append(Fact("training time", f"{history.seconds:.0f} s", "with validation"))
    return Facts(tuple(facts))


def _interval(figures: dict[str, Any], headline: str) -> str:
    ends = figures.get(f"{headline}_interval")
    return f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}" if ends else ""


def _splits_table(result: "RunResult") -> Table:
    """Every single figure, one column a split."""
    singles = {split: single_figures(figures) for split, figures in result.figures.items()}
    names = dict.fromkeys(name for figures in singles.values() for name in figures)
    rows = tuple((name, *(figures.get(name) for figures in singles.values())) for name in names)
    return Table(("figure", *result.figures), rows)


def _curves(result: "RunResult") -> tuple[Block, ...]:
    validations = result.history.validations
    if len(validations) < 2:
        return (Text("Too few validations for a curve."),)
    steps = [row["step"] for row in validations]
    blocks: list[Figure] = [
        loss_curves({"loss": {"step": steps, "train_loss": [row["loss"] for row in validations]}}, "Training loss.")
    ]
    headline = result.plan.task.headline
    curves = {
        split: [math.nan if (value := row.get(f"{split}/{headline}")) is None else value for row in validations]
        for split in result.plan.watch
    }
    if any(math.isfinite(value) for values in curves.values() for value in values):
        said = f"{headline} while training."
        blocks.insert(0, figure_curves(steps, curves, headline.replace("_", " "), said))
    return tuple(blocks)


def _data(result: "RunResult", source: Source) -> tuple[Block, ...]:
    counts = {split: source.class_counts(split) for split in source.splits}
    made = " The validation split was made here and is recorded in split.json." if source.made_validation else ""
    blocks: list[Block] = [
        Text(f"{source.shards.found}.{made}"),
        class_counts(counts, source.classes, unit=UNITS.get(result.plan.task.target, "samples")),
        seen_in_training(source, result.plan.training, result.plan.task.target),
    ]
    if source.shards.skipped:
        rows = tuple((name, reason) for name, reason in source.shards.skipped[:200])
        blocks.append(Table(("skipped", "reason"), rows, caption=_skipped(len(source.shards.skipped))))
    return tuple(blocks)


def _skipped(count: int) -> str:
    return f"{counted(count, 'sample')} {'was' if count == 1 else 'were'} skipped."


def _network(result: "RunResult") -> tuple[Block, ...]:
    plan = result.plan
    network: Layer = result.predictor.task.network(plan.architecture, len(plan.classes))
    total = summary(network, plan.input_shape)
    costs = f"{total.parameters:,} parameters, {total.multiply_adds:,} multiply-adds a sample (biases not counted)."
    return (Text(costs), network_table(total))


def _seen_by(row: SummaryRow) -> str:
    """The receptive field in words: 15, 3x3, all, or 7 + all for a windowed path beside a global one."""
    windows = "x".join(map(str, row.receptive_field))
    return " + ".join(filter(None, (windows, "all" if row.sees_everything else "")))


def network_table(found: Summary) -> Table:
    """The layer table as a record of the report."""
    rows = tuple(
        (
            row.name,
            f"{row.kind} {row.described}".strip(),
            "x".join(map(str, row.output_shape)),
            row.parameters or None,
            row.multiply_adds or None,
            _seen_by(row),
        )
        for row in found.rows
    )
    columns = ("layer", "what", "output", "parameters", "multiply-adds", "receptive field")
    return Table(columns, rows, ("left", "left", "right", "right", "right", "right"))


def _repeat(result: "RunResult") -> tuple[Block, ...]:
    plan = result.plan
    versions = ", ".join(f"{name} {version}" for name, version in sorted(plan.versions.items()))
    settings = json.dumps({"task": plan.task.to_json(), "training": plan.training.to_json()}, indent=1)
    return (
        Text(
            f"Seed {plan.training.seed}, {plan.precision}, {plan.step} step; {versions}. All settings: experiment.json."
        ),
        Listing(settings, "Settings as they were used."),
    )


def single_figures(figures: Mapping[str, Any]) -> dict[str, int | float]:
    """Those figures that are one finite number: not tables, nor what has no value for want of samples."""
    return {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
