"""``striate train --dry-run``: everything but the training. What would be trained, on what, how, and for how long."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from striate.analysis.summary import summary
from striate.recipes.check import brief
from striate.recipes.experiment import Experiment
from striate.recipes.plan import (
    RunPlan,
    Say,
    Settled,
    loader_of,
    plan_of,
    settle,
    shares_of,
    trial_step,
    validate_once,
)
from striate.recipes.run import demand_free
from striate.recipes.sources import Source, open_for, open_source
from striate.report.records import counted
from striate.training.batch_size import free_bytes, step_bytes
from striate.training.budget import mean_seconds
from striate.training.choice import restored_threads
from striate.training.step import parts
from striate.training.track import demand_tracker

TIMED_SECONDS = 3.0
"""How long steps are timed."""


@dataclass(frozen=True)
class DryRun:
    """What a training would be. Seconds are of a step and of a validation as timed here, ``seconds`` of the whole with
    its ``validations`` and the measurement at the end; bytes are about what a step takes, and what is free."""

    plan: RunPlan
    source: Source
    parameters: int
    multiply_adds: int
    steps: int
    validations: int
    step_seconds: float
    validation_seconds: float
    step_bytes: int
    free_bytes: int

    @property
    def seconds(self) -> float:
        """Estimated time of the whole training."""
        return self.steps * self.step_seconds + (self.validations + 1) * self.validation_seconds

    def lines(self) -> list[str]:
        """All of it in a few lines of text."""
        plan, training = self.plan, self.plan.training
        shape = "x".join(map(str, plan.input_shape))
        sizes = ", ".join(f"{split} {len(places):,}" for split, places in self.source.splits.items())
        batch = counted(training.samples_a_step, "sample")
        in_parts = f" in {training.accumulate} parts" if training.accumulate > 1 else ""
        epochs = self.steps * training.samples_a_step / len(self.source.splits["train"])
        return [
            f"data: {plan.data.path}: {counted(len(plan.classes), 'class', 'classes')}; {sizes}",
            f"prepared in: {self.source.shards.folder}",
            f"network: {plan.architecture_name} for {plan.task.kind}, input {shape}, {self.parameters:,} parameters, "
            f"{self.multiply_adds:,} multiply-adds a sample",
            f"training: {self.steps:,} steps ({epochs:.1f} epochs) of {batch}{in_parts}, {training.optimiser.kind} "
            f"at {training.optimiser.rate:g}, {training.schedule.kind}",
            f"computed: {plan.step} step, {plan.precision}, {counted(training.threads or 1, 'thread')}",
            f"memory: about {self.step_bytes / 2**20:,.0f} MiB a step, {self.free_bytes / 2**20:,.0f} MiB are free",
            f"time: {self.step_seconds:.3g} s a step, {self.validation_seconds:.3g} s a validation, of which there are "
            f"{self.validations:,}: {duration(self.seconds)} in all",
            "nothing was trained, and nothing written but the prepared data",
        ]


def dry_run(
    experiment: Experiment,
    out: Path | None = None,
    *,
    watch: tuple[str, ...] = ("val",),
    say: Say = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> DryRun:
    """Everything that a training does before its first step, and a few steps and one validation with networks that are
    thrown away. ``out`` is only looked at. Errors: those of a training."""
    if out is not None:
        demand_free(out)
    if experiment.training.track is not None:
        demand_tracker(experiment.training.track)
    opened = open_for(experiment.data, say=say)
    brief(opened, experiment.architecture.name, say=say)
    experiment = experiment.replace(data=experiment.data.replace(format=opened.reader.format))
    source = open_source(experiment.data, opened=opened, say=say, show=show)
    with restored_threads():
        settled = settle(experiment, source, watch, say)
        return _timed(settled, plan_of(experiment, settled, say))


def _timed(settled: Settled, plan: RunPlan) -> DryRun:
    training, samples = plan.training, len(settled.source.splits["train"])
    step, module = trial_step(settled, training, plan.precision, plan.step)
    each = mean_seconds(step, TIMED_SECONDS, shares_of(training))
    started = time.perf_counter()
    validate_once(settled, training, module, plan.precision)
    validation = time.perf_counter() - started if settled.watched else 0.0
    loader = loader_of(settled.source, training.replace(small_until=0.0), "train")
    few = parts(loader.batch(0), training.accumulate)[0]
    needed = step_bytes(settled.built(plan.precision), plan.task, few, plan.precision, training.accumulate)
    steps, period = training.total_steps(samples), training.validation_period(samples)
    costs = summary(settled.network, plan.input_shape)
    return DryRun(
        plan=plan,
        source=settled.source,
        parameters=costs.parameters,
        multiply_adds=costs.multiply_adds,
        steps=steps,
        validations=-(-steps // period) if settled.watched else 0,
        step_seconds=each,
        validation_seconds=validation,
        step_bytes=needed(training.samples_a_step),
        free_bytes=free_bytes(loader.device),
    )


def duration(seconds: float) -> str:
    """Seconds as 12 s, 3.4 minutes or 2.1 hours."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"
