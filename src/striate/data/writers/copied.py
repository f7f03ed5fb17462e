"""Samples copied into a new folder: file names that are safe and each there once, and the images themselves."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

from striate.core.errors import InputError
from striate.data.formats.folders import EXTENSIONS
from striate.data.paths import said
from striate.data.reader import Reader
from striate.data.writers.folders import write_png

_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif"}


def stems(reader: Reader) -> list[str]:
    """A file name without ending for every sample: its own where no other sample has it, else with its folders before
    it. No name is hidden, or has what would break a line of a list."""
    paths = [PurePosixPath(re.sub(r"[\x00-\x1f\x7f]", "_", reader.name(place))) for place in range(len(reader))]
    plain = [_stem(path.name) for path in paths]
    count = Counter(name.lower() for name in plain)
    found: list[str] = []
    taken: set[str] = set()
    for path, name in zip(paths, plain, strict=True):
        if count[name.lower()] > 1:
            name = _stem("_".join(part for part in path.parts if part not in ("/", "..")))
        unique, number = name, 1
        while unique.lower() in taken:
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique.lower())
        found.append(unique)
    return found


def _stem(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return (stem if ending.lower() in EXTENSIONS else name).strip().lstrip(".") or "image"


def put(reader: Reader, position: int, place: Path) -> Path:
    """Write the image of a sample at ``place``, which lacks its ending; returns where it is then.

    A file is copied byte for byte and keeps its ending (one that is none of an image gets that of its content); what is
    no file becomes PNG. Errors: ``InputError`` when it cannot be read, or written.
    """
    source = reader.source_file(position)
    if source is None:
        target = place.with_name(f"{place.name}.png")
        write_png(target, reader.image(position))
        return target
    ending = source.suffix
    if ending.lower() not in EXTENSIONS:
        header = reader.header(position)
        ending = _ENDINGS.get(header.format if header is not None else "", ".png")
    target = place.with_name(f"{place.name}{ending}")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise InputError(target, f"{source} cannot be copied ({said(error)})", "check the disk and the file") from error
    return target


def make(folder: Path) -> Path:
    """Make a folder with those above it, and give it back. Errors: ``InputError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(folder, f"the folder cannot be made ({said(error)})", "check the disk") from error
    return folder


def save(path: Path, text: str, errors: str = "surrogateescape") -> None:
    """Write a text file of a new set, UTF-8. A set that is cut short is made again, so it is not synced. Errors:
    ``InputError``."""
    try:
        path.write_bytes(text.encode("utf-8", errors))
    except OSError as error:
        raise InputError(path, f"it cannot be written ({said(error)})", "check the disk and its space") from error
