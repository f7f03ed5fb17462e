"""Masks written as index PNG beside copies of their images: ``{split}/images`` and ``{split}/masks``, ``classes.txt``.

Read again, the set has the same images, class numbers, names and splits, pixel for pixel. Masks are uint8 with 255 for
void, or uint16 with 65535 of more than 255 classes. Of several classes a pixel every class has a folder,
``{split}/masks/{class}``, with 255 where it is, 0 where it is not and 128 for void. Not datumaro: it writes its own
``dataset_meta.json`` or coloured masks, and encodes images anew. Not supervision: it writes masks only as polygons.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.core import bitsets
from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.data.collection import ALL
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.maskbits import UNKNOWN
from striate.data.formats.maskclasses import VOID_NAMES, read_table
from striate.data.formats.maskpairs import split_named
from striate.data.paths import said, shortened
from striate.data.reader import Reader

_FIX = "convert it to another format, or choose another target"


def write(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Write the samples of ``reader`` into the empty ``folder``; returns what the masks cannot hold, a line each.

    Image files are copied byte for byte, other samples become PNG (floats: TIFF). Errors: ``InputError`` for another
    target than masks, axes other than two, images of other than 1, 3 or 4 channels, a class that no folder can be
    called where every class needs one, or a disk that cannot be written.
    """
    if reader.target != "mask":
        raise InputError(reader.path, f"its target is {reader.target}, and masks are written of masks only", _FIX)
    lost = _Lost()
    if reader.multi_label:
        _demand_folders(reader)
    try:
        lost.respelled = _write_classes(reader, folder)
        for split, positions in reader.splits.items():
            say(f"{split}: {len(positions):,} images")
            place = folder if split == ALL else folder / split
            for inner in ("images", "masks"):
                (place / inner).mkdir(parents=True, exist_ok=True)
            names = unique_names([reader.name(int(position)) for position in positions])
            for position, name in zip(positions, names, strict=True):
                _write_sample(reader, int(position), place, name, lost)
    except OSError as error:
        raise InputError(error.filename or folder, said(error), "check the folder and its disk") from None
    placed = {int(position) for positions in reader.splits.values() for position in positions}
    lost.outside = len(reader) - len(placed)
    return lost.lines()


class _Lost:
    """What could not be written, counted."""

    def __init__(self) -> None:
        self.unreadable: list[str] = []
        self.unknown: dict[int, int] = {}
        self.respelled: list[str] = []
        self.outside = 0

    def lines(self) -> list[str]:
        """One line a kind of loss."""
        found = []
        if self.unreadable:
            found.append(f"{len(self.unreadable)} samples cannot be read, left out: {shortened(self.unreadable, 3)}")
        if self.unknown:
            values, pixels = sorted(self.unknown), sum(self.unknown.values())
            found.append(f"{pixels:,} pixels of values that are no class ({shortened(values)}): written as void")
        if self.respelled:
            found.append(f"{len(self.respelled)} class names lose spaces or line breaks: {shortened(self.respelled)}")
        if self.outside:
            found.append(f"{self.outside} samples are in no split: left out")
        return found


def unique_names(names: Sequence[str]) -> list[str]:
    """A file name for each sample: the last part of its name, with the folders before it where that occurs twice, and a
    number where that still does. They differ without their extension and whatever their case."""
    taken: set[str] = set()
    found = []
    for name in names:
        parts = [part for part in Path(name).parts if part not in ("..", ".", os.sep)] or ["sample"]
        spelled = parts[-1].lstrip(".") or "sample"
        if _stem(spelled) in taken:
            spelled = "_".join(parts).lstrip(".")
        plain, extension = os.path.splitext(spelled)
        number = 2
        while _stem(spelled) in taken:
            spelled = f"{plain}_{number}{extension}"
            number += 1
        taken.add(_stem(spelled))
        found.append(spelled)
    return found


def _demand_folders(reader: Reader) -> None:
    """Errors: ``InputError`` where a class cannot be the name of a folder that is read as that class again."""
    seen: set[str] = set()
    for name in reader.classes:
        bad = not name.strip(". ") or name != name.strip() or re.search(r"[/\\\\:\x00-\x1f]", name) or name[0] == "."
        if bad or name.casefold() in seen or split_named(name) is not None:
            raise InputError(reader.path, f"the class {name!r} cannot be the name of its folder of masks", "rename it")
        seen.add(name.casefold())


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()


def _write_classes(reader: Reader, folder: Path) -> list[str]:
    """``classes.txt``, one name a line, with numbers where names alone would be misread; returns the names changed."""
    names = [
        " ".join(name.split()) if name != name.strip() or "\n" in name or "\r" in name else name
        for name in reader.classes
    ]
    path = folder / "classes.txt"
    void = 255 if len(names) <= 255 else 65_535
    plain = [*names, ""]
    # of one or two names 255 could be taken for the foreground, and a class may be called void
    if len(names) > 2 and not any(name.lower() in VOID_NAMES for name in names):
        _write_lines(path, plain)
        if list(read_table(path, folder).names.values()) == names:
            return [name for name in reader.classes if name not in names]
    _write_lines(path, [*(f"{number}: {name}" for number, name in enumerate(names)), f"{void}: void", ""])
    return [name for name in reader.classes if name not in names]


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    write_file(path, [data], len(data))


def _write_sample(reader: Reader, position: int, place: Path, name: str, lost: _Lost) -> None:
    try:
        mask = reader.targets(position)["mask"].arrays()
        source = reader.source_file(position)
        image = reader.image(position) if source is None else None
    except InputError as error:
        lost.unreadable.append(f"{reader.name(position)} ({error.cause})")
        return
    values, ignore = mask["values"].numpy(), int(mask["ignore"])
    if values.ndim != 2:
        raise InputError(reader.path, f"its masks have {values.ndim} axes, PNG has two", _FIX)
    if source is None:
        assert image is not None
        name = _write_image(image, place / "images", name, reader.path)
    else:
        header = reader.header(position)
        known = source.suffix if source.suffix.lower() in EXTENSIONS or header is None else f".{header.format.lower()}"
        name = name if name.lower().endswith(known.lower()) else name + known
        shutil.copyfile(source, place / "images" / name)
    file = f"{os.path.splitext(name)[0]}.png"
    if reader.multi_label:
        void = ~bitsets.known(values, len(reader.classes))
        for label, layer in zip(reader.classes, bitsets.unpacked(values, len(reader.classes)), strict=True):
            (place / "masks" / label).mkdir(exist_ok=True)
            data = _encoded(np.where(void, UNKNOWN, np.where(layer, 255, 0)).astype(np.uint8), "PNG")
            write_file(place / "masks" / label / file, [data], len(data))
    else:
        data = _as_png(values, ignore, len(reader.classes), lost)
        write_file(place / "masks" / file, [data], len(data))
    # values that the reader has already replaced by void
    replaced = getattr(reader, "unknown_values", None)
    for value, pixels in (replaced(position) if replaced is not None else {}).items():
        lost.unknown[value] = lost.unknown.get(value, 0) + pixels


def _as_png(values: NDArray[Any], ignore: int, classes: int, lost: _Lost) -> bytes:
    strange = (values != ignore) & ((values < 0) | (values >= classes))
    for value, pixels in zip(*np.unique(values[strange], return_counts=True), strict=True):
        lost.unknown[int(value)] = lost.unknown.get(int(value), 0) + int(pixels)
    void, kind = (255, np.uint8) if classes <= 255 else (65_535, np.uint16)
    numbers = np.where(strange | (values == ignore), void, values).astype(kind)
    return _encoded(numbers, "PNG")


def _encoded(values: NDArray[Any], form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(buffer, form)
    return buffer.getvalue()


def _write_image(image: NDArray[Any], folder: Path, name: str, where: Path) -> str:
    """Write an image that is no file; returns its file name."""
    if image.ndim != 3 or (len(image) not in (1, 3, 4) if image.dtype == np.uint8 else len(image) != 1):
        cause = f"{name} is {image.dtype} {image.shape}, which no image file holds"
        raise InputError(where, cause, "use 8-bit images of 1, 3 or 4 channels, or grey")
    values = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    form, ending = ("TIFF", ".tif") if image.dtype == np.float32 else ("PNG", ".png")
    data = _encoded(values, form)
    name = name if name.lower().endswith(ending) else name + ending
    write_file(folder / name, [data], len(data))
    return name
