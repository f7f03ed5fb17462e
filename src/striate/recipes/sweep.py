"""A sweep: many short trainings in place of a guess, over what a settings file lets vary, and one report of them.

It is carried out rung by rung (:mod:`striate.recipes.sweep_settings`). Who goes on is decided when a rung is done, by
the figures on the validation split alone, so that neither the number of cores nor the order in which trainings end
changes anything. The folder holds a copy of the settings, a run's folder for each training, the settings of the best
trial and the report.
"""

import json
import os
import signal
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from striate import __version__
from striate.core import strictjson
from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.recipes.children import Child, counted_steps, run_children
from striate.recipes.experiment import Experiment
from striate.recipes.folder import PLAN_NAME, REPORT_NAME
from striate.recipes.plan import RunPlan
from striate.recipes.run import resume_run, train_experiment
from striate.recipes.sweep_best import write_best
from striate.recipes.sweep_report import write_sweep_report
from striate.recipes.sweep_result import BEST_NAME, TRIALS, SweepResult, ranked
from striate.recipes.sweep_settings import Sweep
from striate.recipes.sweep_trials import (
    FAILED_NAME,
    Outcome,
    Say,
    Settled,
    Show,
    Training,
    Trial,
    outcome_of,
    settle_trials,
)
from striate.report.records import counted
from striate.training import checkpoint
from striate.training.interruption import Interrupted

RECORD_NAME = "sweep.json"
SETTINGS_NAME = "settings.toml"
FORMAT_VERSION = 1
_FAILED = 3
"""Exit code of a training that failed and has said why in its folder."""


def list_trials(file: Path, *, say: Say = lambda line: None, show: Show = lambda done, total, seen: None) -> Settled:
    """Everything but the training: the settings read, the data prepared, every trial settled on it. Errors:
    ``InputError``."""
    return settle_trials(Sweep.read(file), 1, say=say, show=show)


def run_sweep(
    file: Path,
    out: Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> SweepResult:
    """Carry out the sweep of a settings file in the folder ``out`` (made), ``jobs`` trainings at once (None: as many as
    the cores allow) with so many ``threads`` each.

    Errors: ``InputError`` before anything is trained for bad settings or data, or a folder with a sweep; when every
    trial failed; or when a training ended without saying why. ``Interrupted`` after SIGINT or SIGTERM, with
    checkpoints written.
    """
    sweep = Sweep.read(file)
    _demand_free(out)
    settled = settle_trials(sweep, threads, say=say, show=show)
    with checkpoint.hold(out):
        _demand_free(out)  # again, now that nobody else can begin one
        _write(out / SETTINGS_NAME, sweep.text.encode())
        _write(out / RECORD_NAME, (json.dumps(_record(settled, threads), indent=1) + "\n").encode())
        return _carry_out(settled, out, jobs, threads, say, show)


def resume_sweep(
    out: Path,
    *,
    jobs: int | None = None,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> SweepResult:
    """Continue the sweep in ``out``: what is trained is not trained again, what is not goes on from its checkpoint.

    Errors: ``InputError`` when there is no sweep or its settings or data have changed; else as for a new one.
    """
    path = out / RECORD_NAME
    if not path.is_file():
        raise InputError(out, f"there is no sweep to resume (no {RECORD_NAME})", "name a folder that a sweep made")
    with checkpoint.hold(out):
        try:
            record = strictjson.parse(path.read_bytes())
            threads, known = record["threads"], record["path"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"it cannot be read: {error}", "restore it, or start a new sweep") from None
        sweep = Sweep.read(out / SETTINGS_NAME)
        settled = settle_trials(sweep, threads, path=known, precision=record.get("precision"), say=say, show=show)
        now = strictjson.parse(strictjson.compact(_record(settled, threads)))
        if now != {**record, "version": now["version"]}:
            what = "data is" if now["trials"] == record.get("trials") else "trials are"
            raise InputError(out, f"the {what} not what this sweep began with", "restore that, or start a new sweep")
        return _carry_out(settled, out, jobs, threads, say, show)


def _record(settled: Settled, threads: int) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "path": settled.path,
        "fingerprints": list(settled.fingerprints),
        "threads": threads,
        "precision": settled.precision,
        "trials": [trial.values for trial in settled.trials],
    }


def _demand_free(out: Path) -> None:
    if (out / RECORD_NAME).exists():
        cause = f"continue it with striate sweep --resume {out}, or choose another folder"
        raise InputError(out, "it already holds a sweep", cause)
    for name in (SETTINGS_NAME, BEST_NAME, REPORT_NAME, TRIALS, PLAN_NAME):
        if (out / name).exists():
            raise InputError(out / name, "it is there already, and no sweep's", "choose another folder for the sweep")


def _write(path: Path, data: bytes) -> None:
    write_file(path, [data], len(data))


def _carry_out(settled: Settled, out: Path, jobs: int | None, threads: int, say: Say, show: Show) -> SweepResult:
    settings = settled.sweep.settings
    limit = jobs or max(1, (os.cpu_count() or 1) // threads)
    chosen = list(settled.trials)
    outcomes: list[tuple[Outcome, ...]] = []
    for rung, share in enumerate(settings.shares):
        groups = [[_training(out, trial, rung, extra) for extra in range(settings.seeds)] for trial in chosen]
        waiting = [one for group in groups for one in group if not one.finished()]
        known = sum(map(len, groups)) - len(waiting)
        state = f", {known} of them done before" if known else ""
        state += f", {min(limit, len(waiting))} at a time" if waiting else ""
        what = f"rung {rung + 1} of {len(settings.shares)} ({100 * share:.3g} % of the length): "
        trainings = counted(sum(map(len, groups)), "training")
        say(f"{what if len(settings.shares) > 1 else ''}{trainings}{state}")
        if waiting:
            _train(settled, waiting, limit, threads, show)
        outcomes.append(tuple(outcome_of(group, settled.headline) for group in groups))
        for one in outcomes[-1]:
            if one.failed is not None:
                say(f"trial {one.trial.number} failed: {one.failed}")
        left = [one.trial for one in ranked(settled, outcomes[-1]) if one.failed is None]
        chosen = left[: settings.kept(len(groups))]
        if not chosen:
            break
    result = SweepResult(out, settled, threads, tuple(outcomes))
    best = result.best
    plan = RunPlan.from_json(strictjson.parse((best.folders[0] / PLAN_NAME).read_bytes()), str(best.folders[0]))
    write_best(out / BEST_NAME, settled.experiment(best.trial, best.rung, best.trial.seed, threads), plan)
    write_sweep_report(result, out / REPORT_NAME)
    return result


def _training(out: Path, trial: Trial, rung: int, extra: int) -> Training:
    seed = trial.seed + extra
    return Training(trial, rung, seed, out / TRIALS / f"{trial.number:04d}-rung{rung + 1}-seed{seed}")


def _train(settled: Settled, waiting: list[Training], limit: int, threads: int, show: Show) -> None:
    """Carry out trainings of one rung, the longest first, so that no core idles for long at the end."""
    waiting = sorted(waiting, key=lambda one: -one.steps * one.trial.multiply_adds)
    for one in waiting:
        if one.folder.exists():
            with checkpoint.hold(one.folder):  # errors where another process still trains in it
                pass
    work = [
        Child(
            name=f"trial {one.trial.number}",
            body=train_one,
            arguments=(settled.experiment(one.trial, one.rung, one.seed, threads), one.folder),
        )
        for one in waiting
    ]
    total = sum(one.steps for one in waiting)
    codes = run_children(work, limit, lambda done, names: show(min(done, total), total, names))
    for one, code in zip(waiting, codes, strict=True):
        if not one.finished():
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            home = one.folder.parent.parent
            cause = f"this training was ended {how}; the others of its rung are done"
            raise InputError(one.folder, cause, f"continue with: striate sweep --resume {home}")


def train_one(experiment: Experiment, folder: Path, counter: "Synchronized[int]") -> None:
    """The body of a training process: an ordinary run, new or continued. What it is refused for is written down."""
    show: Callable[[int, int, str], None] = counted_steps(counter)
    try:
        if (folder / PLAN_NAME).exists():
            resume_run(folder, show=show)
        else:
            train_experiment(experiment, folder, show=show)
    except Interrupted as stopped:
        raise SystemExit(stopped.exit_code) from None
    except KeyboardInterrupt:  # a second one, for the impatient
        raise SystemExit(128 + signal.SIGINT) from None
    except InputError as error:
        folder.mkdir(parents=True, exist_ok=True)
        reason = str(error).removeprefix(f"{folder}: ")
        _write(folder / FAILED_NAME, (json.dumps({"reason": reason}) + "\n").encode())
        raise SystemExit(_FAILED) from None
