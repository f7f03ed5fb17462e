"""The options that commands share which train: how they are written, and which setting each of them is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

TASK = "task."
"""How the fields of ``--set`` begin that are the task's."""

Data = Annotated[
    str | None, typer.Argument(metavar="DATA", help="Folder, file, or the word of a generated set.", show_default=False)
]
Settings = Annotated[Path | None, typer.Option(help="TOML file; the options below go before it.")]
Arch = Annotated[str | None, typer.Option(help="Architecture by name; default by the data.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Field of the architecture, key=value; task.key=value of the task."),
]
TaskName = Annotated[str | None, typer.Option(help="Task by name; default by the data.")]
Format = Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")]
Target = Annotated[str | None, typer.Option(help="label, boxes, mask or keypoints.")]
MultiLabel = Annotated[bool | None, typer.Option(help="Several labels a sample, or classes a pixel; default: found.")]
Size = Annotated[int | None, typer.Option(help="Working size in pixels; default by the data.")]
Validation = Annotated[float | None, typer.Option(help="Share held out where no split is given.")]
BatchSize = Annotated[str | None, typer.Option(metavar="N|auto", help="Samples a step; auto measures a good number.")]
Accumulate = Annotated[int | None, typer.Option(help="Parts in which the network sees a batch; saves memory.")]
OptimiserName = Annotated[str | None, typer.Option(help="sgd or adamw.")]
Clip = Annotated[float | None, typer.Option(help="Largest norm of the gradient.")]
Weights = Annotated[Path | None, typer.Option(help="Model file or run whose weights to begin with.")]
Freeze = Annotated[list[str] | None, typer.Option(help="Row of the network that is not trained; may be repeated.")]
DepthDecay = Annotated[float | None, typer.Option(help="Factor of the rate from each group of rows to the one before.")]
Smoothing = Annotated[float | None, typer.Option(help="Label smoothing.")]
Balance = Annotated[bool, typer.Option("--balance", help="Weigh classes by inverse frequency.")]
NoAugment = Annotated[bool, typer.Option("--no-augment", help="Show each sample as it is.")]
PrecisionName = Annotated[str | None, typer.Option(help="auto, float32, ...; auto times a few steps.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads.")]
Cache = Annotated[Path | None, typer.Option(help="Where prepared data is kept.")]

_PLACES = {
    "data": ("DATA", "data.path"),
    "data_format": ("--format", "data.format"),
    "target": ("--target", "data.options.target"),
    "multi_label": ("--multi-label", "data.options.multi_label"),
    "size": ("--size", "data.size"),
    "validation": ("--validation", "data.validation"),
    "cache": ("--cache", "data.cache"),
    "arch": ("--arch", "architecture.name"),
    "task": ("--task", "task.name"),
    "smoothing": ("--smoothing", "task.options.label_smoothing"),
    "balance": ("--balance", "task.options.balance"),
    "epochs": ("--epochs", "training.epochs"),
    "steps": ("--steps", "training.steps"),
    "minutes": ("--minutes", "training.minutes"),
    "batch": ("--batch", "training.batch"),
    "accumulate": ("--accumulate", "training.accumulate"),
    "rate": ("--rate", "training.rate"),
    "optimiser": ("--optimiser", "training.optimiser.kind"),
    "schedule": ("--schedule", "training.schedule.kind"),
    "clip": ("--clip", "training.clip"),
    "weights": ("--weights", "training.weights"),
    "freeze": ("--freeze", "training.freeze"),
    "depth_decay": ("--depth-decay", "training.depth_decay"),
    "no_augment": ("--no-augment", "training.augmented"),
    "patience": ("--patience", "training.patience"),
    "precision": ("--precision", "training.precision"),
    "seed": ("--seed", "training.seed"),
    "threads": ("--threads", "training.threads"),
    "track": ("--track", "training.track"),
}
"""By a command's parameter: the option, and the setting that it is."""

Given = list[tuple[str, str, Any]]
"""What was given: the option, the dotted name of the setting, the value."""


def given(parameters: Mapping[str, Any]) -> Given:
    """The settings among a command's parameters that were given, in the order of the command's options.

    Errors: ``InputError`` for fields of ``--set`` that cannot be read.
    """
    from striate.architectures.backbone import read_options

    found: Given = []
    for name, value in parameters.items():
        if name == "set_":
            fields = read_options(value or ())
            mine = {key: one for key, one in fields.items() if not key.startswith(TASK)}
            tasks = {key[len(TASK) :]: one for key, one in fields.items() if key.startswith(TASK)}
            found += [("--set", "architecture.options", mine)] * bool(mine)
            found += [("--set", "task.options", tasks)] * bool(tasks)
        elif name in _PLACES and value is not None and (name == "multi_label" or _is_given(value)):
            found.append((*_PLACES[name], _read(name, value)))
    return found


def names_of(found: Given) -> dict[str, str]:
    """The options by the settings that they are, for errors."""
    return {place.removesuffix(".kind"): option for option, place, _ in found}


def nested(found: Given) -> dict[str, dict[str, Any]]:
    """Values by dotted places, as tables in tables."""
    tables: dict[str, dict[str, Any]] = {}
    for _, place, value in found:
        *parts, last = place.split(".")
        table: dict[str, Any] = tables
        for part in parts:
            table = table.setdefault(part, {})
        table[last] = {**table.get(last, {}), **value} if isinstance(value, dict) else value
    return tables


def _is_given(value: Any) -> bool:
    """Whether a switch is on, or an option that may be repeated was there at all."""
    return value is not False and not (isinstance(value, list | tuple) and not value)


def _read(name: str, value: Any) -> Any:
    """A parameter as its setting takes it."""
    if name == "no_augment":
        return False
    if name == "weights":
        return str(value)
    return int(value) if name == "batch" and str(value).isdecimal() else value
