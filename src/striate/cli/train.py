"""``striate train``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from striate.cli import options
from striate.cli.say import progress_bar, say
from striate.training.interruption import Interrupted

PLAN_NAME = "experiment.json"
"""As in recipes.run, which is imported late, since torch comes with it."""


def train(
    context: typer.Context,
    data: options.Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run (made; must not hold one).")] = None,
    settings: options.Settings = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder, bit for bit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Everything but the training: time and memory.")] = False,
    arch: options.Arch = None,
    set_: options.Set = None,
    task: options.TaskName = None,
    data_format: options.Format = None,
    target: options.Target = None,
    multi_label: options.MultiLabel = None,
    size: options.Size = None,
    validation: options.Validation = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training samples.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length in batches, in place of epochs.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length in time: as many steps as fit, timed first.")] = None,
    batch: options.BatchSize = None,
    accumulate: options.Accumulate = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; striate find-lr suggests one.")] = None,
    optimiser: options.OptimiserName = None,
    schedule: Annotated[str | None, typer.Option(help="one_cycle, cosine, step or constant.")] = None,
    clip: options.Clip = None,
    weights: options.Weights = None,
    freeze: options.Freeze = None,
    depth_decay: options.DepthDecay = None,
    smoothing: options.Smoothing = None,
    balance: options.Balance = False,
    no_augment: options.NoAugment = False,
    patience: Annotated[int | None, typer.Option(help="Stop after so many validations without gain.")] = None,
    precision: options.PrecisionName = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    track: Annotated[str | None, typer.Option(help="Tell figures to tensorboard, mlflow or wandb, locally.")] = None,
    cache: options.Cache = None,
) -> None:
    """Train a network on labelled data; leaves RUN/model.safetensors and RUN/report.html.

    Example: [bold]striate train photos/ --out runs/photos --epochs 20[/bold]
    """
    from striate.core.errors import InputError

    given = options.given(context.params)
    beside = (
        [option for option, _, _ in given]
        + ["--out"] * (out is not None)
        + ["--settings"] * (settings is not None)
        + ["--dry-run"] * dry_run
    )
    if resume is not None and beside:
        raise InputError(
            f"--resume {resume}", f"a resumed run keeps its settings, {beside[0]} came too", "leave it out"
        )
    if resume is None and data is None and settings is None:
        raise InputError("DATA", "no data was named", "type: striate train DATA --out RUN, or see striate train --help")
    if dry_run:
        _dry_run(given, settings, out)
        return
    folder = resume or out
    if folder is None:
        raise InputError("--out", "no folder for the run was named", "add --out RUN")
    with _resumable(folder), progress_bar() as show:
        from striate.recipes.experiment import Experiment
        from striate.recipes.run import resume_run, train_experiment

        if resume is not None:
            result = resume_run(resume, say=say, show=show)
        else:
            experiment = Experiment.from_settings(options.nested(given), settings, options.names_of(given))
            result = train_experiment(experiment, folder, say=say, show=show)
    for line in result.lines():
        print(line)


def _dry_run(given: options.Given, settings: Path | None, out: Path | None) -> None:
    from striate.recipes.dry_run import dry_run
    from striate.recipes.experiment import Experiment

    with progress_bar() as show:
        experiment = Experiment.from_settings(options.nested(given), settings, options.names_of(given))
        found = dry_run(experiment, out, say=say, show=show)
    for line in found.lines():
        print(line)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Ends an interrupted training with one line that says how to go on, and the signal's exit code."""
    try:
        yield
    except Interrupted as stop:
        say(f"striate: {stop}; continue with: striate train --resume {folder}")
        raise SystemExit(stop.exit_code) from None
    except (KeyboardInterrupt, SystemExit) as stop:  # outside the steps: while preparing, timing or measuring
        begun = (folder / PLAN_NAME).exists()
        how = f"continue with: striate train --resume {folder}" if begun else "no step was taken; type it again"
        say(f"striate: stopped; {how}")
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
