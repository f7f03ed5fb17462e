"""The trials of a sweep: settled on the prepared data before anything is trained, and read back when they are.

Every training of a trial is a run like any other, in a folder of its own. A trial that goes on to a longer training is
trained anew: the schedule depends on the whole length, and so each figure is exactly that of a plain training.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from striate.core import modelfile, strictjson
from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.recipes.experiment import Experiment
from striate.recipes.folder import REPORT_NAME
from striate.recipes.plan import Settled as SettledTrial
from striate.recipes.plan import loader_of, settle
from striate.recipes.sources import Source, open_source
from striate.recipes.sweep_settings import Sweep
from striate.training.choice import choose_precision, restored_threads
from striate.training.settings import Precision, TrainingSettings
from striate.training.step import parts
from striate.training.track import demand_tracker

WATCHED = "val"
"""The split that decides. No figure of another one is looked at before the last training is done."""
FAILED_NAME = "failed.json"
"""Holds the reason in the folder of a training that could not be carried out."""

Say = Callable[[str], None]
Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trial:
    """One way to set what varies: its number from 1 on, its values by dotted place, what its network costs, its seed,
    and what is set besides (``steps`` or ``epochs``) and how many steps that is, rung by rung."""

    number: int
    values: dict[str, Any]
    parameters: int
    multiply_adds: int
    seed: int
    lengths: tuple[dict[str, int | float], ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Settled:
    """All trials, what they are judged by, and what they have in common. ``fingerprints`` are of the prepared data,
    ``path`` is where that is, ``precision`` what was timed where the settings leave it open (None: nowhere)."""

    sweep: Sweep
    trials: tuple[Trial, ...]
    headline: str
    larger_is_better: bool
    precision: Precision | None
    fingerprints: tuple[str, ...]
    path: str

    def experiment(self, trial: Trial, rung: int, seed: int, threads: int) -> Experiment:
        """The experiment of one training: the trial's, so long, with this seed and so many threads."""
        given: dict[str, Any] = {**trial.lengths[rung], "seed": seed, "threads": threads}
        if self.precision is not None and self.sweep.experiment(trial.values).training.precision == "auto":
            given["precision"] = self.precision
        return self.sweep.experiment(trial.values, given, self.path)

    def error(self, figure: float) -> float:
        """The headline figure as an error, which is better when it is smaller."""
        return 1 - figure if self.larger_is_better else figure

    def steps_by_rung(self) -> list[tuple[int, int, bool]]:
        """For each rung how many trials it has, how many steps they take with all seeds, and whether that is certain:
        where steps differ and it is still to be seen who goes on, it is the most there can be."""
        found, left = list[tuple[int, int, bool]](), len(self.trials)
        for rung in range(len(self.trials[0].steps)):
            left = left if rung == 0 else self.sweep.settings.kept(left)
            costs = sorted((trial.steps[rung] for trial in self.trials), reverse=True)
            certain = left == len(costs) or costs[0] == costs[-1]
            found.append((left, sum(costs[:left]) * self.sweep.settings.seeds, certain))
        return found


def settle_trials(
    sweep: Sweep, threads: int, *, path: str | None = None, precision: Precision | None = None, say: Say, show: Show
) -> Settled:
    """Prepare the data and settle every trial on it. ``precision`` is given where it was timed before.

    Errors: ``InputError`` naming the file and line, for whatever a training would be refused for.
    """
    sources: dict[str, Source] = {}
    trials: list[Trial] = []
    experiments = [sweep.experiment(values, path=path) for values in sweep.trials]
    for values, experiment in zip(sweep.trials, experiments, strict=True):
        training = experiment.training
        if training.minutes is not None:
            _refuse(sweep, "training.minutes", "trials are compared after as many steps", "give epochs or steps")
        if training.batch == "auto":
            _refuse(sweep, "training.batch", "the trials are timed beside each other", "give a number")
        if training.track is not None:
            demand_tracker(training.track)
        key = strictjson.compact(experiment.data.to_json())
        try:
            if key not in sources:
                sources[key] = open_source(experiment.data, say=say, show=show)
            source = sources[key]
            if WATCHED not in source.splits:
                _refuse(sweep, "data.validation", "there is no validation split to judge trials by", "hold out a share")
            settled = settle(experiment, source, (WATCHED,), lambda line: None)
        except InputError as error:
            raise sweep.blamed(error, values) from None
        samples = len(source.splits["train"])
        lengths = tuple(_length(settled.training, share) for share in sweep.settings.shares)
        trials.append(
            Trial(
                number=len(trials) + 1,
                values=values,
                parameters=settled.network.parameters(source.input_shape),
                multiply_adds=settled.network.multiply_adds(source.input_shape),
                seed=training.seed,
                lengths=lengths,
                steps=tuple(_of_length(settled.training, length).total_steps(samples) for length in lengths),
            )
        )
        if precision is None and training.precision == "auto":
            precision = _timed_precision(settled, source, threads, say)
    data = experiments[0].data.path
    return Settled(
        sweep=sweep,
        trials=tuple(trials),
        headline=settled.task.headline,
        larger_is_better=settled.task.larger_is_better,
        precision=precision,
        fingerprints=tuple(source.fingerprint for source in sources.values()),
        path=os.path.abspath(data) if os.path.exists(data) else data,
    )


def _timed_precision(settled: SettledTrial, source: Source, threads: int, say: Say) -> Precision:
    """The precision that is fastest for one trial while nothing else runs: all are then trained in it."""
    loader = loader_of(source, settled.training.replace(small_until=0.0), "train")

    def batch_at(step: int) -> Batch:
        return parts(loader.batch(step), settled.training.accumulate)[0]

    with restored_threads():
        torch.set_num_threads(threads)
        return choose_precision("auto", settled.built(), settled.task, batch_at, say)


def _refuse(sweep: Sweep, place: str, cause: str, fix: str) -> None:
    raise InputError(f"{sweep.file}: {place}", cause, fix)


def _length(training: TrainingSettings, share: float) -> dict[str, int | float]:
    """A share of the whole length, in what that is given in."""
    if training.steps is not None:
        return {"steps": max(1, round(training.steps * share))}
    return {"epochs": float(f"{(training.epochs or 0) * share:.6g}")}


def _of_length(training: TrainingSettings, length: dict[str, int | float]) -> TrainingSettings:
    return training.replace(**{"steps": None, "epochs": None, **length})


@dataclass(frozen=True)
class Training:
    """One training of a trial: its rung (from 0 on), its seed, and its run's folder."""

    trial: Trial
    rung: int
    seed: int
    folder: Path

    @property
    def steps(self) -> int:
        """How many steps it takes at most."""
        return self.trial.steps[self.rung]

    def finished(self) -> bool:
        """Whether it is done, or failed for good."""
        return (self.folder / REPORT_NAME).exists() or self.failure() is not None

    def failure(self) -> str | None:
        """Why it failed, where it did. Errors: ``InputError`` for a record that cannot be read."""
        path = self.folder / FAILED_NAME
        if not path.exists():
            return None
        try:
            return str(strictjson.parse(path.read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"it cannot be read: {error}", "remove its folder to train it again") from None


@dataclass(frozen=True)
class Outcome:
    """What a trial reached in one rung: the validation's headline figure of each seed, and the curves to it (steps and
    figures), the seconds of all seeds, the kinds of step, or why it failed. ``test`` is not for choosing."""

    trial: Trial
    rung: int
    folders: tuple[Path, ...]
    figures: tuple[float, ...]
    test: tuple[float, ...]
    curves: tuple[tuple[list[int], list[float | None]], ...]
    seconds: float
    step_kinds: tuple[str, ...]
    failed: str | None

    @property
    def mean(self) -> float:
        """The mean over the seeds. Errors: ``ZeroDivisionError`` for one that failed."""
        return sum(self.figures) / len(self.figures)


def outcome_of(trainings: list[Training], headline: str) -> Outcome:
    """What the trainings of one trial in one rung, one a seed, have given. Errors: ``InputError`` for a file that
    cannot be read."""
    trial, rung = trainings[0].trial, trainings[0].rung
    folders = tuple(training.folder for training in trainings)
    reasons = [reason for training in trainings if (reason := training.failure()) is not None]
    found = [] if reasons else [modelfile.read_header(folder / modelfile.MODEL_NAME) for folder in folders]
    if any(headline not in header["metrics"].get(WATCHED, {}) for header in found):
        reasons = [f"its {headline} on the validation split cannot be measured"]
    if reasons:
        return Outcome(trial, rung, folders, (), (), (), 0.0, (), reasons[0])
    histories = [header["experiment"]["history"] for header in found]
    curves = tuple(
        ([row["step"] for row in rows], [row.get(f"{WATCHED}/{headline}") for row in rows])
        for rows in (history["validations"] for history in histories)
    )
    tests = [header["metrics"].get("test", {}).get(headline) for header in found]
    return Outcome(
        trial=trial,
        rung=rung,
        folders=folders,
        figures=tuple(header["metrics"][WATCHED][headline] for header in found),
        test=tuple(value for value in tests if value is not None),
        curves=curves,
        seconds=sum(history["seconds"] for history in histories),
        step_kinds=tuple(sorted({header["experiment"]["plan"]["step"] for header in found})),
        failed=None,
    )
