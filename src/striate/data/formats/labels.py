"""Labels of any form (numbers, text, rows of 0 and 1, several in one cell) as class numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.paths import natural, shortened

MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Labels:
    """``values``: int64 (n,), or bool (n, K) where a sample may carry several; None for no labels."""

    values: NDArray[Any] | None = None
    classes: tuple[str, ...] = ()


def read_labels(
    parts: Sequence[NDArray[Any]], names: NDArray[Any] | None, multi_label: bool | None, where: object
) -> Labels:
    """Labels in arrays, one of each split: (n,) or (n, 1) numbers or text, or (n, K) zeros and ones.

    Classes are the different values in order; ``names``, one each, replaces them, by position where labels are numbers.
    Errors: ``InputError``.
    """
    columns = {part.shape[1:] for part in parts}
    if len(columns) > 1:
        raise InputError(where, f"labels of different shapes {shortened(sorted(columns))}", "give all in one form")
    array = np.concatenate([np.asarray(part) for part in parts])
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    given = None if names is None else tuple(_text(name) for name in names.reshape(-1).tolist())
    if array.ndim == 2:
        return _from_rows(array, given, multi_label, where)
    if array.ndim != 1:
        raise InputError(where, f"labels of shape {array.shape}", "give one label a sample, or a row of 0 and 1")
    if array.dtype.kind in "US":
        return from_text([_text(value) for value in array.tolist()], None, where)
    return _from_numbers(array, given, where)


def _from_rows(rows: NDArray[Any], given: tuple[str, ...] | None, multi_label: bool | None, where: object) -> Labels:
    if rows.dtype.kind not in "biuf" or not np.isin(rows, (0, 1)).all():
        raise InputError(where, f"rows of labels of shape {rows.shape} hold more than 0 and 1", "give 0 or 1 a class")
    classes = given or tuple(map(str, range(rows.shape[1])))
    if len(classes) != rows.shape[1]:
        raise InputError(where, f"{len(classes)} class names for {rows.shape[1]} columns of labels", "give one each")
    if multi_label or (multi_label is None and (rows.sum(axis=1) != 1).any()):
        return Labels(rows.astype(bool), classes)
    if (rows.sum(axis=1) != 1).any():
        raise InputError(where, "a row of labels has not exactly one 1", "set multi_label, or correct the row")
    return Labels(rows.argmax(axis=1).astype(np.int64), classes)


def _from_numbers(array: NDArray[Any], given: tuple[str, ...] | None, where: object) -> Labels:
    if array.dtype.kind not in "biuf" or not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise InputError(
            where, f"labels of type {array.dtype} that are no whole numbers", "give a class for each sample"
        )
    values, numbers = np.unique(array.astype(np.int64), return_inverse=True)
    if len(values) > MOST_CLASSES:
        raise InputError(where, f"{len(values):,} different labels", f"give at most {MOST_CLASSES:,} classes")
    if given is not None and len(values):
        if values[0] < 0 or values[-1] >= len(given):
            raise InputError(where, f"the label {values[-1]} has no name: there are {len(given)}", "name every class")
        return Labels(array.astype(np.int64), given)
    return Labels(numbers.astype(np.int64), tuple(map(str, values.tolist())))


def from_text(values: Sequence[str], separator: str | None, where: object) -> Labels:
    """Labels as text, one a sample, or several divided by ``separator``. Classes are in natural order.

    Errors: ``InputError`` when they look like measurements instead of classes.
    """
    if separator is not None:
        sets = [{part.strip() for part in value.split(separator)} - {""} for value in values]
        classes = tuple(sorted(set().union(*sets), key=natural))
        number = {name: index for index, name in enumerate(classes)}
        rows = np.zeros((len(values), len(classes)), dtype=bool)
        for row, tags in enumerate(sets):
            rows[row, [number[tag] for tag in tags]] = True
        return Labels(rows, classes)
    unique = set(values)
    odd = next((value for value in sorted(unique) if _fraction(value)), None)
    if odd is not None:
        raise InputError(where, f"the label {odd} is a measurement, not a class", "give a column of classes")
    plain = {value: _whole(value) for value in unique}
    classes = tuple(sorted(set(plain.values()), key=_by_number))
    number = {name: index for index, name in enumerate(classes)}
    return Labels(np.array([number[plain[value]] for value in values], dtype=np.int64), classes)


def _by_number(name: str) -> tuple[int, int, Any]:
    """Whole numbers by value (negative ones too), then text in natural order."""
    digits = name.removeprefix("-")
    return (0, int(name), ()) if digits.isascii() and digits.isdecimal() else (1, 0, natural(name))


def _whole(value: str) -> str:
    """A label written 3.0 is the class 3."""
    head, dot, tail = value.partition(".")
    return head if dot and head.removeprefix("-").isdecimal() and not tail.strip("0") else value


def _fraction(value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return np.isfinite(number) and number != round(number)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
