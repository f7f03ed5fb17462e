"""JSON as it should be read from a stranger: no duplicate keys, no NaN, no bombs; and one canonical way to write it."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

MAX_NESTING = 256
"""Deepest nesting of arrays and objects that is read by default."""
MAX_CONTAINERS = 1_000_000
"""Most arrays and objects in one text."""

# Possessive, and with an optional closing quote, so that no input makes the scan slower than linear.
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse(data: bytes | str, max_nesting: int = MAX_NESTING) -> Any:
    """The value of a JSON text (bytes are UTF-8).

    Errors: ``ValueError`` with a one-line reason for: bytes that are no UTF-8, invalid JSON, a key that comes twice
    in one object, NaN and infinities (also by overflow, ``1e999``), half surrogate pairs, nesting deeper than
    ``max_nesting``, and more than :data:`MAX_CONTAINERS` arrays and objects. Memory stays proportional to the text.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    _check_nesting(text, max_nesting)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if "\\u" in text or isinstance(data, str):
        _check_text(value)
    return value


def compact(value: object) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces, so that equal values have equal bytes.

    Tuples become arrays. Errors: ``ValueError`` for NaN, infinities and half surrogate pairs; ``TypeError`` for keys
    that are not text and for what JSON does not have.
    """
    _check_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    _encode(text)
    return text


def _check_nesting(text: str, limit: int) -> None:
    depth = containers = 0
    for token in _TOKENS.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            containers += 1
        elif first in "]}":
            depth -= 1
        if depth > limit:
            raise ValueError(f"it is nested deeper than {limit}")
        if containers > MAX_CONTAINERS:
            raise ValueError(f"it has more than {MAX_CONTAINERS:,} arrays and objects")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} comes twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"it has {name} for a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text[:40]}, which is too large")
    return number


def _visit(value: object, check: Callable[[object], None]) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        check(item)
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)


def _check_text(value: object) -> None:
    def check(item: object) -> None:
        if isinstance(item, str):
            _encode(item)
        elif isinstance(item, dict):
            _encode("".join(item))

    _visit(value, check)


def _check_keys(value: object) -> None:
    """``json.dumps`` writes the key 1 as "1", so that a value would come back different."""

    def check(item: object) -> None:
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    raise TypeError(f"the key {key!r} is not text")

    _visit(value, check)


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair, which is no text") from None
