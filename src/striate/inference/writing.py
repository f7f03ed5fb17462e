"""Predictions as CSV or JSON lines, or as forms of detection data (:mod:`striate.inference.boxforms`); those that are
maps of class numbers as files of their own beside the table.

Where a position may have several classes there is a map for each, of 0 and 255 (128: nothing was predicted there), in
the folder of its class: ``masks/disc/1.png``, as such sets are read. Signals have one table, with classes as ``a|b``.

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
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.inference.boxforms import BOX_FORMS, ImageIds, demand_boxes, write_coco, write_voc, write_yolo
from striate.inference.places import Names, new_folder

TABLES = ("csv", "jsonl")
FORMS = (*TABLES, *BOX_FORMS)
ANSWERS = "predictions"
"""Name of the table in a folder of predictions."""
MASKS = "masks"
UNSEEN = 128
"""In the map of one class: nothing was predicted there."""


def write_records(
    records: Iterable[Mapping[str, Any]],
    out: Path | None,
    form: str | None = None,
    inputs: Sequence[str] = (),
    classes: Sequence[str] = (),
    *,
    ids: ImageIds | None = None,
    timed: bool = False,
) -> int:
    """Write records to a file or to standard output; returns how many. ``form`` is by the file's name if not given.

    Where the first record has a map of class numbers (a value that is an array), ``out`` is a folder, which is made if
    need be: the records go to ``predictions.csv`` in it (or of another ``form``), the maps into its folder ``masks``,
    those of signals with the names of the ``classes``. The forms ``coco`` (a file), ``yolo`` and ``voc`` (new folders)
    are those of boxes in images, see :mod:`striate.inference.boxforms`, with the ``ids`` of an annotation file.
    A file appears whole or not at all, and only where there are records. In CSV a mapping has a column for each key
    (``key.inner``) and a list is JSON; with ``timed`` there is a column ``time``, also for records without one.

    Errors: ``InputError`` for an unknown form, or one that does not hold these answers, a file that cannot be written,
    one that is among the ``inputs``, a folder that holds anything else than predictions, and maps without a folder.
    """
    chosen = form or (out.suffix.lstrip(".").lower() if out is not None and out.suffix else "csv")
    if chosen not in FORMS:
        raise InputError(f"--form {chosen}", "unknown form of output", f"use one of: {', '.join(FORMS)}")
    if out is not None and not out.parent.is_dir():
        raise InputError(out, "its folder does not exist", "make the folder, or write elsewhere")
    if ids is not None and chosen != "coco":
        raise InputError("--ids-of", f"{chosen} has no ids", "add --form coco, or leave it out")
    following = iter(records)
    first = next(following, None)
    if first is None:
        return 0
    counted = _Counted(chain([first], following))
    if chosen in BOX_FORMS:
        demand_boxes(first, chosen)
        _write_boxes(counted, out, chosen, inputs, classes, ids)
        return counted.count
    maps = Maps(out if any(map(_is_map, first.values())) else None, classes)
    if out is None:
        _write(counted, sys.stdout, chosen, maps, timed)
        return counted.count
    if maps.folder is not None:
        _demand_own(out)
        out.mkdir(exist_ok=True)
        out = out / f"{ANSWERS}.{chosen}"
    with _whole(out, inputs) as file:
        _write(counted, file, chosen, maps, timed)
    return counted.count


class _Counted:
    """Records, counted as they pass."""

    def __init__(self, records: Iterable[Mapping[str, Any]]) -> None:
        self.records = records
        self.count = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for record in self.records:
            self.count += 1
            yield record


def _write_boxes(
    records: Iterable[Mapping[str, Any]],
    out: Path | None,
    form: str,
    inputs: Sequence[str],
    classes: Sequence[str],
    ids: ImageIds | None,
) -> None:
    if form == "coco" and ids is not None:
        if out is None:
            write_coco(records, sys.stdout, classes, ids)
            return
        with _whole(out, inputs) as file:
            write_coco(records, file, classes, ids)
        return
    if out is None:
        what = "the images' ids go into a file beside it" if form == "coco" else "it is a folder of files"
        raise InputError("--out", f"no place for {form} was named, and {what}", "add --out PLACE")
    if form == "coco":
        beside = out.with_name(f"{out.stem}.images.json")
        if beside.exists() and not out.exists():
            raise InputError(beside, "it is there already, and would be replaced", "write to another file")
        with _whole(out, inputs) as file, _whole(beside, inputs) as second:
            json.dump(write_coco(records, file, classes, None), second)
        return
    with new_folder(out) as folder:
        (write_yolo if form == "yolo" else write_voc)(records, folder, classes)


@contextmanager
def _whole(out: Path, inputs: Sequence[str]) -> Iterator[IO[str]]:
    """A text file that takes its place when all went well. Errors: ``InputError`` for one that is no ordinary file, is
    among the ``inputs``, or cannot be written."""
    if out.exists() and not out.is_file():
        raise InputError(out, "it is no ordinary file", "write to another file")
    if out.exists() and any(os.path.samefile(out, path) for path in inputs if os.path.exists(path)):
        raise InputError(out, "it is one of the inputs and would be replaced", "write to another file")
    partial = out.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        partial.replace(out)
    except OSError as error:
        raise InputError(out, f"it cannot be written ({error.strerror})", "free space, or write elsewhere") from None
    finally:
        partial.unlink(missing_ok=True)


def _demand_own(folder: Path) -> None:
    """Refuse a folder with files of somebody's: predictions lie in one that is new, empty or holds predictions."""
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "maps need a folder, and this is a file", "name a new folder")
    ours = any((folder / f"{ANSWERS}.{form}").exists() for form in TABLES)
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise InputError(folder, "it holds other files than predictions", "name a new folder")


class Maps:
    """Writes maps of class numbers into the folder ``masks`` of ``folder`` (None: there is none), each under a name of
    its own."""

    def __init__(self, folder: Path | None, classes: Sequence[str] = ()) -> None:
        self.folder = folder
        self.classes = classes
        self.names = Names()
        self.named: dict[str, str] = {}

    def write(self, values: NDArray[Any] | Mapping[str, NDArray[Any]], name: str) -> str | dict[str, str]:
        """Write the map of the sample ``name``, or those of its classes (0, 1, and else nothing was predicted); returns
        its place from the folder on, or theirs by class. Errors: ``InputError``."""
        if self.folder is None:
            cause = "the answers are maps, a file for each sample, and no folder for them was named"
            raise InputError("--out", cause, "add --out FOLDER")
        free = self.names.free(name)
        if not isinstance(values, Mapping):
            return self._put(f"{MASKS}/{free}", *self._encoded(values))
        if next(iter(values.values())).ndim == 1:
            return self._put(f"{MASKS}/{free}", _joined(values), ".csv")
        places = {}
        for label, layer in values.items():
            shown = np.select([layer == 0, layer == 1], [0, 255], UNSEEN).astype(np.uint8)
            places[label] = self._put(f"{MASKS}/{self._folders(values)[label]}/{free}", *self._encoded(shown))
        return places

    def _put(self, place: str, data: bytes, ending: str) -> str:
        assert self.folder is not None
        target = self.folder / f"{place}{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, [data], len(data))
        return f"{place}{ending}"

    def _folders(self, classes: Iterable[str]) -> dict[str, str]:
        """A folder for each class, called as it is but for what no folder may be called."""
        if not self.named:
            names = Names()
            self.named = {label: names.given(label, "class") for label in classes}
        return self.named

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


def _joined(layers: Mapping[str, NDArray[Any]]) -> bytes:
    """Layers (L,) of a signal as a table: the classes of each sample, divided by ``|`` (or by ``;`` where a class has
    that in its name); -1 where nothing was predicted, as such tables are read."""
    mark = ";" if any("|" in name for name in layers) else "|"
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("sample", "class"))
    for place, values in enumerate(zip(*(layer.tolist() for layer in layers.values()), strict=True)):
        there = mark.join(name for name, value in zip(layers, values, strict=True) if value == 1)
        rows.writerow((place, "-1" if any(value not in (0, 1) for value in values) else there))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _write(records: Iterable[Mapping[str, Any]], file: IO[str], form: str, maps: Maps, timed: bool) -> None:
    writer: Any = None
    for place, found in enumerate(records, 1):
        name = str(found.get("name", place))
        if timed and "time" not in found:
            found = {"name": name, "time": None, **found}
        record = {key: maps.write(value, name) if _is_map(value) else value for key, value in found.items()}
        if form == "jsonl":
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            continue
        row = dict(_cells(record))
        if writer is None:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _is_map(value: object) -> bool:
    """Whether a value is a map, or one for each class."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(one, np.ndarray) for one in value.values())
    return isinstance(value, np.ndarray)


def _cells(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", entry) for inner, entry in value.items())
        else:
            yield key, json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
