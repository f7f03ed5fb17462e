"""The report of a run: what was learned, how well, from what, seen how."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.analysis.summary import Summary, SummaryRow, summary
from striate.layers.layer import Layer
from striate.recipes.sources import Source
from striate.report.html import write
from striate.report.pictures import Example, examples
from striate.report.plots import class_counts, error_curves, loss_curves
from striate.report.records import Block, Fact, Facts, Figure, Listing, Report, Section, Table, Text, shown

if TYPE_CHECKING:
    from striate.recipes.run import RunResult

SHOWN = 10
"""Samples in a gallery."""


def write_report(result: "RunResult", source: Source, path: Path) -> None:
    """Write the run's report as one self-contained HTML file."""
    task, plan = result.predictor.task, result.plan
    split = next(iter(reversed(result.figures)))
    figures = result.figures[split]
    sections = [
        Section("Result", (_facts(result), _splits_table(result))),
        Section("Training", _curves(result)),
        *task.sections(figures, plan.classes),
        Section("Data", _data(source)),
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
    watched = [split for split in result.plan.watch if f"{split}/top1" in validations[0]]
    if watched:
        curves = {
            "step": steps,
            **{f"{split}_error": [1 - row[f"{split}/top1"] for row in validations] for split in watched},
        }
        blocks.insert(0, error_curves({"error": curves}, "Error while training."))
    return tuple(blocks)


def _data(source: Source) -> tuple[Block, ...]:
    counts = {split: source.class_counts(split) for split in source.splits}
    made = " The validation split was made here and is recorded in split.json." if source.made_validation else ""
    blocks: list[Block] = [
        Text(f"{source.shards.found}.{made}"),
        class_counts(counts, source.classes),
        *_seen(source),
    ]
    if source.shards.skipped:
        rows = tuple((name, reason) for name, reason in source.shards.skipped[:200])
        blocks.append(Table(("skipped", "reason"), rows, caption=f"{len(source.shards.skipped)} samples were skipped."))
    return tuple(blocks)


def _seen(source: Source) -> tuple[Block, ...]:
    """A few training samples at their working size."""
    if len(source.input_shape) not in (2, 3) or source.shards.labels is None or source.shards.labels.ndim != 1:
        return ()
    if len(source.input_shape) == 3 and source.input_shape[0] not in (1, 3):
        return ()
    places = source.splits["train"]
    chosen = places[np.linspace(0, len(places) - 1, min(SHOWN, len(places))).astype(int)]
    items = []
    for place in chosen:
        values = source.shards.read(int(place)).image.numpy()
        truth = source.classes[int(source.shards.labels[place])]
        full = {"uint8": 255.0, "uint16": 65535.0}.get(str(values.dtype))
        items.append(Example(values / full if full else values, truth, truth, name=source.shards.names[place]))
    return (examples(items, "Training samples at their working size, before augmentation."),)


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
