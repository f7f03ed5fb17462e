"""What small text members of a tar say of the class of a sample, and classes numbered from that."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core import strictjson
from striate.core.errors import InputError
from striate.data.formats.labels import from_text
from striate.data.formats.tarindex import Member
from striate.data.paths import shortened

Value = int | str
LABELS = ("cls", "json", "txt")
"""Endings of the members that say a class, the first that is there is taken."""
KEYS = ("label", "class", "cls")
"""Keys of a JSON object that say a class."""
MOST_BYTES = 1 << 20
_LONGEST = 200
_WHOLE = re.compile(r"-?[0-9]{1,9}")


def read_value(read: Callable[[Member], bytes], parts: Mapping[str, Member]) -> Value | None:
    """The class that the members of one sample say, by their endings: a number, a name, or None where none says any.

    Errors: ``ValueError`` with the reason for members that make no sense; ``InputError`` when the tar cannot be read.
    """
    for ending in LABELS:
        if ending not in parts:
            continue
        member = parts[ending]
        if member.size > MOST_BYTES:
            raise ValueError(f".{ending} of {member.size:,} bytes")
        data = read(member)
        value = _from_json(data) if ending == "json" else _from_text(data, ending)
        if value is not None:
            return value
    return None


def numbered(
    values: Sequence[Value], given: tuple[str, ...] | None, where: object
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers int64 (n,), -1 for what ``given``, the names by number, does not know, and the classes.

    Without names: whole numbers in order, then text in natural order. Errors: ``InputError`` for text that is no class,
    because nearly every sample has another (descriptions of images), and for measurements.
    """
    if given is not None:
        number = {name: index for index, name in enumerate(given)}
        known = [value if isinstance(value, int) else number.get(value, -1) for value in values]
        rows = np.array(known, dtype=np.int64)
        return np.where((rows >= 0) & (rows < len(given)), rows, -1), given
    text = {value for value in values if isinstance(value, str)}
    if len(text) > 50 and 2 * len(text) > len(values):
        raise InputError(
            where,
            f"{len(text):,} different texts for {len(values):,} samples, such as {min(text)[:60]!r}, are no classes",
            "give the class of each sample as a member .cls with its number",
        )
    # a number under zero means "no class" wherever it is used
    read = from_text([str(value) for value in values if not _negative(value)], None, where)
    assert read.values is not None
    labels = np.full(len(values), -1, dtype=np.int64)
    labels[[place for place, value in enumerate(values) if not _negative(value)]] = read.values
    return labels, read.classes


def read_names(lines: Sequence[str], where: object) -> tuple[str, ...]:
    """Class names, one a line. Errors: ``InputError`` when one comes twice or there is none."""
    names = tuple(line for line in lines if line)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice or not names:
        raise InputError(where, f"class names that come twice ({shortened(twice)})" if twice else "no class name",
                         "give one name a line")  # fmt: skip
    return names


def _negative(value: Value) -> bool:
    return isinstance(value, int) and value < 0


def _from_json(data: bytes) -> Value | None:
    value: Any = strictjson.parse(data)
    if isinstance(value, dict):
        key = next((key for key in KEYS if key in value), None)
        if key is None:
            return None
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f".json whose class is {str(value)[:40]!r}, no number and no name")
    return _from_text(value.encode(), "json") if isinstance(value, str) else value


def _from_text(data: bytes, ending: str) -> Value | None:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f".{ending} that is no UTF-8 text") from None
    if not text:
        raise ValueError(f".{ending} that is empty")
    if _WHOLE.fullmatch(text):
        return int(text)
    if not text.isprintable() or len(text) > _LONGEST:
        raise ValueError(f".{ending} that is no name of a class ({text[:40]!r})")
    return text
