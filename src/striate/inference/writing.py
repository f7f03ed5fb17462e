"""Predictions as CSV or JSON lines."""

import csv
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from striate.core.errors import InputError

FORMS = ("csv", "jsonl")


def write_records(
    records: Iterable[Mapping[str, Any]], out: Path | None, form: str | None = None, inputs: Sequence[str] = ()
) -> int:
    """Write records to a file, or to standard output; returns how many. ``form`` is by the file's name if not given.

    A file appears whole or not at all, and only where there are records. In CSV a mapping has a column for each key
    (``key.inner``) and a list is JSON. Errors: ``InputError`` for an unknown form, a file that cannot be written, and
    one that is among the ``inputs``.
    """
    chosen = form or (out.suffix.lstrip(".").lower() if out is not None and out.suffix else "csv")
    if chosen not in FORMS:
        raise InputError(f"--form {chosen}", "unknown form of output", f"use one of: {', '.join(FORMS)}")
    if out is None:
        return _write(records, sys.stdout, chosen)
    if not out.parent.is_dir():
        raise InputError(out, "its folder does not exist", "make the folder, or write elsewhere")
    if out.exists() and not out.is_file():
        raise InputError(out, "it is no ordinary file", "write to another file")
    if out.exists() and any(os.path.samefile(out, path) for path in inputs if os.path.exists(path)):
        raise InputError(out, "it is one of the inputs and would be replaced", "write to another file")
    partial = out.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            count = _write(records, file, chosen)
        if count:
            partial.replace(out)
    except OSError as error:
        raise InputError(out, f"it cannot be written ({error.strerror})", "free space, or write elsewhere") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write(records: Iterable[Mapping[str, Any]], file: IO[str], form: str) -> int:
    count = 0
    writer: Any = None
    for record in records:
        count += 1
        if form == "jsonl":
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            continue
        row = dict(_cells(record))
        if writer is None:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return count


def _cells(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", entry) for inner, entry in value.items())
        else:
            yield key, json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
