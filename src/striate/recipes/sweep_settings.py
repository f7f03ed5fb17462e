"""What a sweep varies: the table ``[sweep]`` of a settings file, and the trials that it stands for.

Successive halving: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"
(AISTATS 2016, arXiv 1502.07943). All trials get a share of the training; of n of them the best floor(n / factor) get a
longer one, and so on up to the whole.
"""

import difflib
import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from striate.core.errors import InputError
from striate.core.random import uniform
from striate.core.spec import Spec
from striate.recipes.experiment import Experiment, read_settings

TABLE = "sweep"
FIRST = 0.1
"""Share of the training in the first rung where halving is asked for and nothing is said."""
MOST_TRIALS = 10_000
_DRAWN = ("low", "high", "log")
_DATA = ("data.size", "data.normalise")
"""What may vary of the data: everything else would change what the trials are judged by."""
_REFUSED = {
    "task.name": ("trials of several tasks cannot be compared", "make a sweep for each task"),
    "training.seed": ("seeds are repeated, not searched", "write seeds = 3 in [sweep]"),
    "training.threads": ("the sweep decides how many threads a trial has", "give --threads"),
    "training.minutes": ("trials are compared after as many steps, not minutes", "give epochs or steps"),
    "training.track": ("it changes no trial", "set it in [training]"),
}
_LENGTHS = ("training.epochs", "training.steps")


class Range(Spec):
    """Numbers drawn from [low, high], evenly or, with ``log``, evenly in their logarithm. Where both ends are whole
    numbers, whole numbers are drawn, both ends among them."""

    low: int | float = Field(allow_inf_nan=False)
    high: int | float = Field(allow_inf_nan=False)
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be less than high")
        if self.log and self.low <= 0:
            raise ValueError("with log, low must be above 0")
        return self

    def at(self, share: float) -> int | float:
        """The number at a share in [0, 1) of the range; of numbers that are not whole, four figures."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        low, high = float(self.low), float(self.high) + whole
        if self.log:
            found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            found = low + share * (high - low)
        kept = math.floor(found) if whole else float(f"{found:.4g}")
        return min(max(kept, self.low), self.high)


class SweepSettings(Spec):
    """How a sweep goes through what varies.

    Without ``draws`` every combination of the lists is a trial; with it so many trials are drawn, each field on its
    own, by ``seed``. ``seeds`` trains each trial so often, with seeds one apart, and judges the mean. ``halving`` is
    the factor of successive halving, ``first`` the share of the training in its first rung.
    """

    draws: int | None = Field(default=None, gt=0, le=MOST_TRIALS)
    seed: int = Field(default=0, ge=0, lt=2**63)
    seeds: int = Field(default=1, gt=0, le=1000)
    halving: int | None = Field(default=None, ge=2)
    first: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _first_of_several(self) -> Self:
        if self.first is not None and self.halving is None:
            raise ValueError("first is the share of the first rung, and there is no halving")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of the training in each rung: the first one, then about ``halving`` times as much each time, evenly
        spaced in the logarithm so that the last is 1."""
        if self.halving is None:
            return (1.0,)
        first = FIRST if self.first is None else self.first
        times = max(1, round(math.log(1 / first) / math.log(self.halving)))
        return (*(first ** (1 - rung / times) for rung in range(times)), 1.0)

    def kept(self, trials: int) -> int:
        """How many of so many trials go on to the next rung: floor(n / factor), and at least one."""
        return max(1, trials // (self.halving or 1))


@dataclass(frozen=True)
class Sweep:
    """A settings file with its table ``[sweep]`` read.

    ``fields`` are the lists and ranges by the dotted place of what they vary, ``trials`` the values of each trial, in
    order. ``places`` says where each entry of the table stands: ``file:line: sweep.name``.
    """

    file: Path
    text: str
    settings: SweepSettings
    fields: dict[str, list[Any] | Range]
    trials: tuple[dict[str, Any], ...]
    places: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> "Sweep":
        """Read and check the table. Errors: ``InputError`` naming the file and line."""
        text, tables = read_settings(file)
        table = tables.get(TABLE)
        if not isinstance(table, dict):
            cause = "there is no table [sweep]" if table is None else "sweep: a table was expected"
            raise InputError(file, cause, 'add [sweep] and what varies, as "training.rate" = [0.01, 0.1]')
        places, entries = _places(text, file), dict[str, Any]()
        for name, value in _flat(table):
            if name in entries:
                raise InputError(places[name], "it is given twice", "give it once")
            entries[name] = value
        own = {name: value for name, value in entries.items() if name in SweepSettings.model_fields}
        try:
            settings = SweepSettings.from_json({"kind": SweepSettings.kind, **own}, "")
        except InputError as error:
            name = error.where.removeprefix(f": {SweepSettings.kind}").strip(".") or "first"
            raise InputError(places[name], error.cause, "correct or remove it") from None
        fields = {name: _field(name, entries[name], settings, places[name]) for name in entries if name not in own}
        if not fields:
            raise InputError(f"{file}: sweep", "nothing varies", 'add a field, as "training.rate" = [0.01, 0.1]')
        return cls(file, text, settings, fields, _trials(settings, fields, file), places)

    def experiment(
        self, values: Mapping[str, Any], training: Mapping[str, Any] | None = None, path: str | None = None
    ) -> Experiment:
        """The experiment of a trial. ``training`` is set besides, and ``path`` is the data's in place of the file's.

        Errors: ``InputError`` naming the file and the line of the field, or of the setting, at fault.
        """
        given: dict[str, Any] = {"training": dict(training or {}), "data": {"path": path}}
        for name, value in values.items():
            *parts, last = name.split(".")
            table = given
            for part in parts:
                table = table.setdefault(part, {})
            table[last] = value
        try:
            return Experiment.from_settings(given, self.file, self.places, besides=(TABLE,))
        except InputError as error:
            raise self.blamed(error, values) from None

    def blamed(self, error: InputError, values: Mapping[str, Any]) -> InputError:
        """An error of a trial with the line of the field at fault, or at least with the file."""
        if error.where.startswith(str(self.file)):
            return error
        if error.where == "DATA":
            return InputError(f"{self.file}: data.path", error.cause, error.fix)
        words = re.split(r"\W+", error.where)
        at_fault = next((name for name in values if name.rpartition(".")[2] in words), None)
        where = f"{self.file}:" if at_fault is None else f"{self.places[at_fault]}:"
        return InputError(f"{where} {error.where}", error.cause, error.fix)


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by dotted names, however they were written. A table is a range, or holds more fields."""
    for key, value in table.items():
        if isinstance(value, dict) and value and not value.keys() & set(_DRAWN):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _places(text: str, file: Path) -> dict[str, str]:
    """``file:line: sweep.name`` for every entry of the table; the line is that with which the entry is complete."""
    found: dict[str, str] = {}
    lines = text.splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("".join(lines[:number])).get(TABLE)
        except tomllib.TOMLDecodeError:  # within a value of several lines
            continue
        for name, _ in _flat(table) if isinstance(table, dict) else ():
            found.setdefault(name, f"{file}:{number}: {TABLE}.{name}")
    return found


def _field(name: str, value: Any, settings: SweepSettings, place: str) -> list[Any] | Range:
    """One thing that varies: a list that is not empty, or a range. Errors: ``InputError`` naming the ``place``."""
    section, dot, _ = name.partition(".")
    if section not in Experiment.model_fields or not dot:
        known = [*SweepSettings.model_fields, *(f"{one}..." for one in Experiment.model_fields)]
        near = difflib.get_close_matches(section, [*SweepSettings.model_fields, *Experiment.model_fields], n=1)
        meant = f"did you mean {near[0]}? " if near and near[0] != section else ""
        raise InputError(place, "unknown key", f"{meant}known here: {', '.join(known)}")
    cause = fix = ""
    if section == "data" and name not in _DATA:
        cause, fix = "trials on other data cannot be compared", f"of the data only {' and '.join(_DATA)} may vary"
    elif name in _REFUSED:
        cause, fix = _REFUSED[name]
    elif name in _LENGTHS and settings.halving:
        cause, fix = "halving decides how long a trial is trained", "set the whole length in [training]"
    if cause:
        raise InputError(place, f"it cannot vary: {cause}", fix)
    if isinstance(value, dict) and value:
        return _range(value, settings, place)
    if not isinstance(value, list):
        raise InputError(place, f"a list or a range was expected (got {str(value)[:60]!r})", "write [a, b], or a range")
    if not value:
        raise InputError(place, "the list is empty", "give at least one value")
    if len({repr(one) for one in value}) < len(value):
        raise InputError(place, "a value is given twice", "give each once")
    return value


def _range(value: dict[str, Any], settings: SweepSettings, place: str) -> Range:
    unknown = next((key for key in value if key not in _DRAWN), None)
    if unknown is not None:  # before what is missing, which is then probably this one
        raise InputError(f"{place}.{unknown}", "unknown key", f"known here: {', '.join(_DRAWN)}")
    try:
        found = Range.from_json({"kind": Range.kind, **value}, "")
    except InputError as error:
        where = error.where.removeprefix(f": {Range.kind}").strip(".")
        raise InputError(f"{place}.{where}".strip("."), error.cause, "write { low = 0.001, high = 0.1 }") from None
    if settings.draws is None:
        raise InputError(
            place, "from a range numbers are drawn, and draws is missing", "add draws = 20, or give a list"
        )
    return found


def _trials(settings: SweepSettings, fields: Mapping[str, list[Any] | Range], file: Path) -> tuple[dict[str, Any], ...]:
    """The values of every trial: all combinations, the last field changing fastest, or what is drawn, each once."""
    if settings.draws is None:
        lists = [field for field in fields.values() if isinstance(field, list)]
        count = math.prod(map(len, lists))
        if count > MOST_TRIALS:
            cause = f"{count:,} combinations, and at most {MOST_TRIALS:,} are tried"
            raise InputError(f"{file}: sweep", cause, "give shorter lists, or draws")
        return tuple(dict(zip(fields, one, strict=True)) for one in itertools.product(*lists))
    drawn = [
        {
            name: _drawn(field, float(uniform(settings.seed, f"sweep {name}", number)[0]))
            for name, field in fields.items()
        }
        for number in range(settings.draws)
    ]
    return tuple({repr(one): one for one in drawn}.values())


def _drawn(field: list[Any] | Range, share: float) -> Any:
    return field.at(share) if isinstance(field, Range) else field[int(share * len(field))]
