"""Experiment: what to train, on what, how. Flags, a TOML file and Python all make one."""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from striate.architectures.backbone import architecture
from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.core.spec import Spec, kinds
from striate.recipes.sources import DataSettings
from striate.training.settings import LENGTHS, TrainingSettings

if TYPE_CHECKING:
    from striate.recipes.run import RunResult

MOST_BYTES = 64 * 1024
"""Size up to which a settings file is read."""
_TAGS = ("kind", "name")
"""Entries that say what a table is of."""


class ArchitectureSettings(Spec):
    """An architecture by name, and fields of its spec to change; without a name the data decides."""

    name: str | None = None
    options: dict[str, Any] = {}


class TaskSettings(Spec):
    """A task by name, and its options (for classification: ``label_smoothing``, ``balance``)."""

    name: str | None = None
    options: dict[str, Any] = {}


class Experiment(Spec):
    """Data, architecture, task and training. What is not set is chosen to suit the data and then written down.

    The same four sections are the tables of a settings file::

        [data]
        path = "photos"
        [training]
        epochs = 20
        optimiser = {kind = "adamw", rate = 0.001}
    """

    data: DataSettings
    architecture: ArchitectureSettings = ArchitectureSettings()
    task: TaskSettings = TaskSettings()
    training: TrainingSettings = TrainingSettings()

    @classmethod
    def from_settings(
        cls,
        given: Mapping[str, Mapping[str, Any] | Spec],
        file: Path | None = None,
        names: Mapping[str, str] | None = None,
        besides: tuple[str, ...] = (),
    ) -> "Experiment":
        """The experiment of a settings file, changed by what is ``given``; entries that are None are not given.

        ``names`` says how given entries are called where they were given: ``{"training.rate": "--rate"}``. ``besides``
        names tables of the file that are read elsewhere.
        Errors: ``InputError`` naming the file and line, or the option, for a bad value or an unknown key.
        """
        text = _read(file) if file is not None else ""
        merged = {name: table for name, table in _parsed(text, file).items() if name not in besides}
        for section, fields in given.items():
            table, fresh = merged.get(section, {}), _entries(section, fields)
            if not isinstance(table, dict):
                raise InputError(_file_place(section, text, file), "a table was expected", f"write it as [{section}]")
            if section == "training" and set(LENGTHS) & fresh.keys():
                table = {key: value for key, value in table.items() if key not in LENGTHS}
            if fresh:
                merged[section] = _merged(table, fresh)
        try:
            experiment = cls.from_json({"data": {}, **merged, "kind": cls.kind}, "")
        except InputError as error:
            place = error.where.removeprefix(": experiment").strip(".")
            where = _given_place(place, names or {}, given) or _file_place(place, text, file)
            if place == "data.path" and error.cause.startswith("Field required"):
                raise InputError("DATA", "no data was named", "name a folder, a file or a generated set") from None
            raise InputError(where, error.cause, _fix(place, error.cause)) from None
        if experiment.architecture.name is not None:  # before hours of preparing, not after
            architecture(experiment.architecture.name, experiment.architecture.options)
        return experiment


def train(
    source: str | Path | Experiment,
    out: str | Path,
    *,
    data: Mapping[str, Any] | Spec | None = None,
    architecture: Mapping[str, Any] | Spec | None = None,
    task: Mapping[str, Any] | Spec | None = None,
    training: Mapping[str, Any] | Spec | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> "RunResult":
    """Train from Python: ``striate.train("photos", "runs/photos", training={"epochs": 20}, say=print)``.

    ``source`` is the path of the data or a ready experiment; the other sections are those of :class:`Experiment`.
    Returns the run's result: figures, paths, and a ready predictor. Errors: ``InputError``, ``Interrupted``.
    """
    from striate.recipes.run import train_experiment

    sections = {"data": data, "architecture": architecture, "task": task, "training": training}
    given = {section: _entries(section, fields) for section, fields in sections.items() if fields is not None}
    if isinstance(source, Experiment):
        if given:
            raise InputError(f"train({min(given)}=...)", "the experiment has its settings", "leave the others out")
        return train_experiment(source, Path(out), say=say, show=show)
    given["data"] = {**given.get("data", {}), "path": str(source)}
    return train_experiment(Experiment.from_settings(given), Path(out), say=say, show=show)


def read_settings(file: Path) -> tuple[str, dict[str, Any]]:
    """The text of a settings file, and its tables. Errors: ``InputError`` naming the file and line."""
    text = _read(file)
    return text, _parsed(text, file)


def _read(file: Path) -> str:
    with open_file(file) as (opened, size):
        if size > MOST_BYTES:
            raise InputError(file, f"it has {size:,} bytes, a settings file a few hundred", "name a settings file")
        data = opened.read(size)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(file, f"it is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None


def _parsed(text: str, file: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+), column \d+\)", str(error))
        where = f"{file}:{line[1]}" if line else str(file)
        raise InputError(where, f"this is not TOML: {error}", "correct it") from None
    except RecursionError:
        raise InputError(str(file), "it is nested too deep", "name a settings file") from None


def _entries(section: str, fields: Mapping[str, Any] | Spec) -> dict[str, Any]:
    """What is given of a section: of a spec the fields that were set, of a mapping what is not None."""
    if isinstance(fields, Spec):
        fields = {name: getattr(fields, name) for name in fields.model_fields_set}
    if not isinstance(fields, Mapping):
        raise InputError(section, "a table was expected", f"give {section}={{...}}")
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in fields.items()}
    return {key: value for key, value in plain.items() if value is not None}


def _merged(table: Any, fresh: Mapping[str, Any]) -> dict[str, Any]:
    """A table with fresh entries put in. Another kind or name is another thing, which takes over nothing."""
    if not isinstance(table, dict) or any(tag in table and table[tag] != fresh.get(tag, table[tag]) for tag in _TAGS):
        table = {}
    inner = {key: _merged(table.get(key), value) for key, value in fresh.items() if isinstance(value, Mapping)}
    return {**table, **fresh, **inner}


def _given_place(place: str, names: Mapping[str, str], given: Mapping[str, Any]) -> str | None:
    """How the entry at fault is called where it was given, or None when it was not given."""
    for known, name in names.items():
        if place == known or place.startswith(known + "."):
            return name
    section, _, rest = place.partition(".")
    return place if rest.partition(".")[0] in given.get(section, {}) else None


def _file_place(place: str, text: str, file: Path | None) -> str:
    """``file:line: place``; the line is that with which the entry, as far as the file has it, is complete."""
    if file is None:
        return place
    whole, path = _deepest(tomllib.loads(text), place), 0
    lines = text.splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        try:
            path = _deepest(tomllib.loads("".join(lines[:number])), place)
        except tomllib.TOMLDecodeError:  # within a value of several lines
            continue
        if path == whole > 0:
            return f"{file}:{number}: {place}"
    return f"{file}: {place}"


def _deepest(table: Any, place: str) -> int:
    """How many parts of a dotted place a table has; the kinds of specs, which are values there, do not count."""
    depth = 0
    for part in place.split("."):
        if isinstance(table, list) and part.isdecimal() and int(part) < len(table):
            table, depth = table[int(part)], depth + 1
        elif isinstance(table, dict) and part in table:
            table, depth = table[part], depth + 1
    return depth


def _fix(place: str, cause: str) -> str:
    """What is known there, for an unknown key or kind, and what was probably meant."""
    *parts, last = place.split(".")
    spec: type[Spec] | None = Experiment
    for part in parts:
        field = spec.model_fields.get(part) if spec else None
        spec = kinds(Spec).get(part) if field is None else _spec_in(field.annotation)
    if spec is None:
        return "correct it"
    if cause == "unknown key":
        near = difflib.get_close_matches(last, spec.model_fields, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"{meant}known here: {', '.join(spec.model_fields)}"
    base = _spec_in(spec.model_fields[last].annotation) if last in spec.model_fields else None
    return f"use one of: {', '.join(kinds(base))}" if base and cause.startswith("unknown kind") else "correct it"


def _spec_in(annotation: Any) -> type[Spec] | None:
    """The spec that a field holds, itself or as one of several types."""
    types = (annotation, *get_args(annotation))
    return next((one for one in types if isinstance(one, type) and issubclass(one, Spec)), None)
