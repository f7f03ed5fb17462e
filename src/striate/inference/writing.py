"""Predictions as CSV or JSON lines, and those that are maps of class numbers as files of their own beside them.

A map of a signal becomes a CSV table (``sample``, ``class``), of an image a PNG of class numbers, of a volume a TIFF of
several pages. They lie in the folder ``masks``, named as their samples are, and in the records stands where.
"""

import csv
import io
import json
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.core.disk import write_file
from striate.core.errors import InputError

FORMS = ("csv", "jsonl")
ANSWERS = "predictions"
"""Name of the table in a folder of predictions."""
MASKS = "masks"


def write_records(
    records: Iterable[Mapping[str, Any]],
    out: Path | None,
    form: str | None = None,
    inputs: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> int:
    """Write records to a file or to standard output; returns how many. ``form`` is by the file's name if not given.

    Where the first record has a map of class numbers (a value that is an array), ``out`` is a folder, which is made if
    need be: the records go to ``predictions.csv`` in it (or of another ``form``), the maps into its folder ``masks``,
    those of signals with the names of the ``classes``.
    A file appears whole or not at all, and only where there are records. In CSV a mapping has a column for each key
    (``key.inner``) and a list is JSON. Errors: ``InputError`` for an unknown form, a file that cannot be written,
    one that is among the ``inputs``, a folder that holds anything else than predictions, and maps without a folder.
    """
    chosen = form or (out.suffix.lstrip(".").lower() if out is not None and out.suffix else "csv")
    if chosen not in FORMS:
        raise InputError(f"--form {chosen}", "unknown form of output", f"use one of: {', '.join(FORMS)}")
    if out is not None and not out.parent.is_dir():
        raise InputError(out, "its folder does not exist", "make the folder, or write elsewhere")
    following = iter(records)
    first = next(following, {})
    records = chain([first], following) if first else ()
    maps = Maps(out if any(isinstance(value, np.ndarray) for value in first.values()) else None, classes)
    if out is None:
        return _write(records, sys.stdout, chosen, maps)
    if maps.folder is not None:
        _demand_own(out)
        out.mkdir(exist_ok=True)
        out = out / f"{ANSWERS}.{chosen}"
    if out.exists() and not out.is_file():
        raise InputError(out, "it is no ordinary file", "write to another file")
    if out.exists() and any(os.path.samefile(out, path) for path in inputs if os.path.exists(path)):
        raise InputError(out, "it is one of the inputs and would be replaced", "write to another file")
    partial = out.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            count = _write(records, file, chosen, maps)
        if count:
            partial.replace(out)
    except OSError as error:
        raise InputError(out, f"it cannot be written ({error.strerror})", "free space, or write elsewhere") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def _demand_own(folder: Path) -> None:
    """Refuse a folder with files of somebody's: predictions lie in one that is new, empty or holds predictions."""
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "maps need a folder, and this is a file", "name a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / f"{ANSWERS}.{form}").exists() for form in FORMS):
        raise InputError(folder, "it holds other files than predictions", "name a new folder")


class Maps:
    """Writes maps of class numbers into the folder ``masks`` of ``folder`` (None: there is none), each under a name of
    its own."""

    def __init__(self, folder: Path | None, classes: Sequence[str] = ()) -> None:
        self.folder = folder
        self.classes = classes
        self.taken: set[str] = set()

    def write(self, values: NDArray[Any], name: str) -> str:
        """Write the map of the sample ``name``; returns its place from the folder on. Errors: ``InputError``."""
        if self.folder is None:
            cause = "the answers are maps, a file for each sample, and no folder for them was named"
            raise InputError("--out", cause, "add --out FOLDER")
        data, ending = self._encoded(values)
        place = f"{MASKS}/{self._free(name)}{ending}"
        (self.folder / MASKS).mkdir(exist_ok=True)
        write_file(self.folder / place, [data], len(data))
        return place

    def _free(self, name: str) -> str:
        """The last part of a name without its ending, with a number behind it where that is taken."""
        stem = os.path.splitext(os.path.basename(name.replace("\\", "/")))[0].lstrip(".").replace(":", "_") or "sample"
        found, number = stem, 2
        while found.casefold() in self.taken:
            found, number = f"{stem}_{number}", number + 1
        self.taken.add(found.casefold())
        return found

    def _encoded(self, values: NDArray[Any]) -> tuple[bytes, str]:
        if values.ndim == 1:
            text = io.StringIO()
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(("sample", "class"))
            known = dict(enumerate(self.classes))
            rows.writerows((place, known.get(number, "")) for place, number in enumerate(values.tolist()))
            return text.getvalue().encode("utf-8", "surrogateescape"), ".csv"
        kind = np.uint8 if values.dtype == np.uint8 else np.uint16
        pages = [Image.fromarray(page) for page in values.astype(kind)] if values.ndim == 3 else []
        buffer = io.BytesIO()
        if pages:
            pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
        else:
            Image.fromarray(np.ascontiguousarray(values.astype(kind))).save(buffer, "PNG")
        return buffer.getvalue(), ".tif" if pages else ".png"


def _write(records: Iterable[Mapping[str, Any]], file: IO[str], form: str, maps: Maps) -> int:
    count = 0
    writer: Any = None
    for found in records:
        count += 1
        record = {
            key: maps.write(value, str(found.get("name", count))) if isinstance(value, np.ndarray) else value
            for key, value in found.items()
        }
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
