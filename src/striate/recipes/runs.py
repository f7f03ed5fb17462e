"""``striate runs``: what the runs below a folder were, and how two of them differ. Nothing in them is changed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.core import modelfile
from striate.core.disk import DamagedFile
from striate.core.errors import InputError
from striate.recipes.folder import CHECKPOINTS, PLAN_NAME
from striate.recipes.plan import RunPlan
from striate.recipes.run import read_plan
from striate.report.records import Cell, Table
from striate.training import checkpoint

FINISHED, UNFINISHED, DAMAGED = "finished", "unfinished", "damaged"
JUDGED = ("val", "test", "train")
"""The splits by which runs are sorted: the first that was measured."""


@dataclass(frozen=True)
class RunRecord:
    """One run as it lies in its folder. ``figures`` are by split and name: those of the model file, or of an unfinished
    run those of its last validation. ``validations`` are the records of the history. ``cause`` says what is damaged;
    a run whose plan cannot be read has no ``plan``."""

    folder: Path
    state: str
    cause: str = ""
    plan: RunPlan | None = None
    parameters: int | None = None
    steps: int = 0
    seconds: float = 0.0
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    validations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def headline(self) -> float | None:
        """The figure by which it is sorted: its task's headline on the first of :data:`JUDGED` that has one."""
        return next((one for split in JUDGED if (one := self.figure(split)) is not None), None)

    def figure(self, split: str) -> float | None:
        """The headline figure of a split, or None where there is none."""
        return None if self.plan is None else self.figures.get(split, {}).get(self.plan.task.headline)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plan = self.plan
        return {
            "folder": str(self.folder),
            "state": self.state,
            "cause": self.cause or None,
            "task": plan and plan.task.kind,
            "headline": plan and plan.task.headline,
            "network": plan and plan.architecture_name,
            "data": plan and plan.data.path,
            "steps": self.steps,
            "figures": self.figures,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "seed": plan and plan.training.seed,
            "settings": plan and plan.settings(),
        }


def find_runs(folder: Path) -> list[RunRecord]:
    """Every run in a folder and below it, the best of each task first, the damaged ones last.

    Errors: ``InputError`` when there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(folder, "there is no such folder", "name one that holds runs")
    known = [read_run(place) for place in sorted(_places(folder))]
    if not known:
        raise InputError(folder, f"no run lies in it (no {PLAN_NAME})", "name a folder that holds runs")
    return sorted(known, key=_order)


def read_run(folder: Path) -> RunRecord:
    """The run of a folder, as far as it can be read. Errors: ``InputError`` where there is none."""
    if not (folder / PLAN_NAME).is_file():
        raise InputError(folder, f"it holds no run (no {PLAN_NAME})", "name a folder that a training made")
    try:
        plan = read_plan(folder)
    except InputError as error:
        return RunRecord(folder, DAMAGED, f"{PLAN_NAME}: {error.cause}")
    count = plan.task.network(plan.architecture, len(plan.classes)).parameters(plan.input_shape)
    if (folder / modelfile.MODEL_NAME).exists():
        try:
            header = modelfile.read_header(folder / modelfile.MODEL_NAME)
            history = header["experiment"]["history"]
        except (InputError, KeyError) as error:
            cause = error.cause if isinstance(error, InputError) else "it has no history"
            return RunRecord(folder, DAMAGED, f"{modelfile.MODEL_NAME}: {cause}", plan, count)
        return _record(folder, FINISHED, plan, count, history, header["metrics"])
    try:
        history = _last_history(folder / CHECKPOINTS)
    except InputError as error:
        return RunRecord(folder, DAMAGED, f"{CHECKPOINTS}: {error.cause}", plan, count)
    return _record(folder, UNFINISHED, plan, count, history, _last_figures(history))


def runs_table(runs: list[RunRecord]) -> Table:
    """One row a run."""
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        if run.plan is None:
            rows.append((str(run.folder), *(None,) * 10, f"{run.state}: {run.cause}"))
            continue
        plan = run.plan
        rows.append(
            (
                str(run.folder),
                plan.task.kind,
                plan.architecture_name,
                Path(plan.data.path).name,
                run.steps,
                plan.task.headline,
                run.figure("val"),
                run.figure("test"),
                run.parameters,
                run.seconds / 60,
                plan.training.seed,
                f"{run.state}: {run.cause}" if run.cause else run.state,
            )
        )
    names = ("folder", "task", "network", "data", "steps", "figure", "val", "test", "parameters", "minutes", "seed", "")
    return Table(names, tuple(rows))


def _places(folder: Path) -> Iterator[Path]:
    """Folders of runs; a run's own folders are not looked into, nor hidden ones."""
    for place, folders, files in os.walk(folder):
        if PLAN_NAME in files:
            folders.clear()
            yield Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]


def _order(run: RunRecord) -> tuple[int, str, bool, float, str]:
    if run.plan is None:
        return 2, "", True, 0.0, str(run.folder)
    value = run.headline
    worth = 0.0 if value is None else (-value if run.plan.task.larger_is_better else value)
    return int(run.state == DAMAGED), run.plan.task.kind, value is None, worth, str(run.folder)


def _record(
    folder: Path, state: str, plan: RunPlan, parameters: int, history: dict[str, Any], figures: dict[str, Any]
) -> RunRecord:
    return RunRecord(
        folder=folder,
        state=state,
        plan=plan,
        parameters=parameters,
        steps=history.get("step", 0),
        seconds=history.get("seconds", 0.0),
        figures={
            split: {name: one for name, one in found.items() if one is not None} for split, found in figures.items()
        },
        validations=history.get("validations", []),
    )


def _last_history(folder: Path) -> dict[str, Any]:
    """The history in the newest sound checkpoint, or an empty one where there is none yet; nothing is set aside."""
    damaged: DamagedFile | None = None
    for step in reversed(checkpoint.steps(folder)):
        try:
            return dict(checkpoint.load(folder / f"step-{step:08d}.safetensors").state["history"])
        except DamagedFile as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged
    return {}


def _last_figures(history: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The figures of the last validation, by split and name."""
    found: dict[str, dict[str, float]] = {}
    for full, value in (history.get("validations") or [{}])[-1].items():
        split, slash, name = full.partition("/")
        if slash and value is not None:
            found.setdefault(split, {})[name] = value
    return found
