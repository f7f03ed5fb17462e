"""``striate train``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.cli.say import progress_bar, say
from striate.training.interruption import Interrupted

PLAN_NAME = "experiment.json"
"""As in recipes.run, which is imported late, since torch comes with it."""


def train(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Folder, file, or the word mnist1d.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run (made; must not hold one).")] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file; the options below go before it.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder, bit for bit.")] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture by name; default by the data.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Field of the architecture, key=value.")] = None,
    task: Annotated[str | None, typer.Option(help="Task by name; default by the data.")] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")] = None,
    target: Annotated[str | None, typer.Option(help="label, boxes, mask or keypoints.")] = None,
    size: Annotated[int | None, typer.Option(help="Working size in pixels; default by the data.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share held out where no split is given.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the training samples.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length in batches, in place of epochs.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Length in time: as many steps as fit, timed first.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="sgd or adamw.")] = None,
    schedule: Annotated[str | None, typer.Option(help="one_cycle, cosine, step or constant.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    smoothing: Annotated[float | None, typer.Option(help="Label smoothing.")] = None,
    balance: Annotated[bool, typer.Option("--balance", help="Weigh classes by inverse frequency.")] = False,
    no_augment: Annotated[bool, typer.Option("--no-augment", help="Show each sample as it is.")] = False,
    patience: Annotated[int | None, typer.Option(help="Stop after so many validations without gain.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, ...; auto times a few steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where prepared data is kept.")] = None,
) -> None:
    """Train a network on labelled data; leaves RUN/model.safetensors and RUN/report.html.

    Example: [bold]striate train photos/ --out runs/photos --epochs 20[/bold]
    """
    from striate.architectures.backbone import read_options
    from striate.core.errors import InputError

    options: tuple[tuple[str, str, Any], ...] = (
        ("DATA", "data.path", data),
        ("--format", "data.format", data_format),
        ("--target", "data.options.target", target),
        ("--size", "data.size", size),
        ("--validation", "data.validation", validation),
        ("--cache", "data.cache", cache),
        ("--arch", "architecture.name", arch),
        ("--set", "architecture.options", read_options(set_) if set_ else None),
        ("--task", "task.name", task),
        ("--smoothing", "task.options.label_smoothing", smoothing),
        ("--balance", "task.options.balance", True if balance else None),
        ("--epochs", "training.epochs", epochs),
        ("--steps", "training.steps", steps),
        ("--minutes", "training.minutes", minutes),
        ("--batch", "training.batch", batch),
        ("--rate", "training.rate", rate),
        ("--optimiser", "training.optimiser.kind", optimiser),
        ("--schedule", "training.schedule.kind", schedule),
        ("--clip", "training.clip", clip),
        ("--no-augment", "training.augmented", False if no_augment else None),
        ("--patience", "training.patience", patience),
        ("--precision", "training.precision", precision),
        ("--seed", "training.seed", seed),
        ("--threads", "training.threads", threads),
    )
    given = [(option, place, value) for option, place, value in options if value is not None]
    beside = (
        [option for option, _, _ in given] + ["--out"] * (out is not None) + ["--settings"] * (settings is not None)
    )
    if resume is not None and beside:
        raise InputError(
            f"--resume {resume}", f"a resumed run keeps its settings, {beside[0]} came too", "leave it out"
        )
    if resume is None and data is None and settings is None:
        raise InputError("DATA", "no data was named", "type: striate train DATA --out RUN, or see striate train --help")
    folder = resume or out
    if folder is None:
        raise InputError("--out", "no folder for the run was named", "add --out RUN")
    with _resumable(folder), progress_bar() as show:
        from striate.recipes.experiment import Experiment
        from striate.recipes.run import resume_run, train_experiment

        if resume is not None:
            result = resume_run(resume, say=say, show=show)
        else:
            names = {place.removesuffix(".kind"): option for option, place, _ in given}
            experiment = Experiment.from_settings(_nested(given), settings, names)
            result = train_experiment(experiment, folder, say=say, show=show)
    for line in result.lines():
        print(line)


def _nested(given: list[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Values by dotted places, as tables in tables."""
    tables: dict[str, dict[str, Any]] = {}
    for _, place, value in given:
        *parts, last = place.split(".")
        table: dict[str, Any] = tables
        for part in parts:
            table = table.setdefault(part, {})
        table[last] = value
    return tables


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
