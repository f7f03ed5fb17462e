"""A data set written in another format: read again to check it, and whole or absent, whatever happens meanwhile."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.paths import said, shortened
from striate.data.reader import Reader, open_data
from striate.data.writers.by_name import READ_AS, WRITERS

Say = Callable[[str], None]


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    to: str,
    format: str | None = None,
    options: ReaderOptions | None = None,
    say: Say = lambda line: None,
) -> list[str]:
    """Write the data set ``source`` into the new folder ``destination`` in the format ``to``, and read it again.

    Returns what the format could not hold or is to be known of it, a line each, which is also said. The folder appears
    under its name when it is whole. Errors: ``InputError``; nothing is left then, also when the disk is full.
    """
    if to not in WRITERS:
        raise InputError(f"--to {to}", "there is no such format to write", f"use one of: {', '.join(WRITERS)}")
    target = _demand_place(source, Path(destination))
    options = options or ReaderOptions(minimum_classes=1)
    reader = open_data(source, format, options)
    say(reader.found)
    _say_left_out(reader, say)
    made = _make_parents(target)
    temporary = target.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        temporary.mkdir()
        lost = WRITERS[to](reader, temporary, say)
        again = open_data(temporary, READ_AS[to], _again(reader, options))
        lost = lost + _differences(reader, again, target, lost)
        os.replace(temporary, target)  # onto an empty folder too
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise _explained(error, target) from error
        if isinstance(error, InputError) and str(temporary) in error.where:
            place = error.where.replace(str(temporary), str(target))
            raise InputError(place, error.cause, error.fix) from None
        raise
    for line in lost:
        say(f"note: {line}")
    say(f"written to {target}: {_counted(again)}")
    return lost


def _demand_place(source: str | os.PathLike[str], destination: Path) -> Path:
    """The folder to write, resolved. Errors: ``InputError`` when it is taken, or one of the two lies in the other."""
    fix = "give the path of a new folder"
    try:
        target, origin = destination.resolve(), Path(source).resolve()
        if target.exists() and not target.is_dir():
            raise InputError(destination, "it is a file", fix)
        if target.is_dir() and any(target.iterdir()):
            raise InputError(destination, "it is there already and not empty", fix)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(destination, said(error), fix) from None
    if origin.exists() and target.is_relative_to(origin):
        raise InputError(destination, f"it lies in {source}, of which nothing is changed", fix)
    if origin.exists() and origin.is_relative_to(target):
        raise InputError(destination, f"{source} lies in it", fix)
    return target


def _make_parents(target: Path) -> list[Path]:
    """Make the folders above the target; returns those that were made, the deepest first. Errors: ``InputError``."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(target.parent, f"it cannot be made ({said(error)})", "give another place") from None
    return missing


def _again(reader: Reader, options: ReaderOptions) -> ReaderOptions:
    """How what was written is read: for the same target, by the same rules where these were given."""
    target = None if reader.target == "label" else reader.target
    several = True if reader.multi_label and target == "mask" else None
    most = options.maximum_pixels
    return ReaderOptions(minimum_classes=0, target=target, maximum_pixels=most, multi_label=several)  # type: ignore[arg-type]


def _differences(before: Reader, after: Reader, target: Path, lost: list[str]) -> list[str]:
    """What differs when the set is read again, a line each, where the writer counted something that would be lost.

    Errors: ``InputError`` where no line of ``lost`` begins with a count and something differs.
    """
    found = []
    if len(before) != len(after):
        found.append(f"{len(before)} samples became {len(after)}")
    if before.classes != after.classes:
        found.append(f"the classes {shortened(before.classes)} became {shortened(after.classes)}")
    first, second = _splits(before), _splits(after)
    if first != second:
        found.append(f"the splits {first} became {second}")
    if before.target == after.target == "boxes" and (one := _boxes(before)) != (other := _boxes(after)):
        found.append(f"{one} boxes became {other}")
    if found and not any(line[:1].isdigit() for line in lost):
        raise InputError(
            target, f"what was written does not read the same: {'; '.join(found)}", "report this; nothing was kept"
        )
    return found


def _splits(reader: Reader) -> dict[str, int]:
    return {name: len(places) for name, places in sorted(reader.splits.items()) if len(places)}


def _boxes(reader: Reader) -> int:
    return sum(len(reader.targets(position)["boxes"].arrays()["classes"]) for position in range(len(reader)))


def _counted(reader: Reader) -> str:
    boxes = f", {_boxes(reader)} boxes" if reader.target == "boxes" else ""
    return f"{len(reader)} samples{boxes}, {len(reader.classes)} classes, read again and compared"


def _say_left_out(reader: Reader, say: Say) -> None:
    """What the reader left out is not in the copy either: it is counted, and the first are named."""
    for name, reason in reader.skipped[:5]:
        say(f"skipped: {name}: {reason}")
    if len(reader.skipped) > 5:
        say(f"skipped: {len(reader.skipped) - 5} more")
    if reader.problems:
        first = reader.problems[0]
        say(f"problems: {len(reader.problems)}, the first: {first.file}: {first.detail or first.code}")


def _explained(error: OSError, target: Path) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(target, "the disk is full", "free some space and try again; nothing of it was kept")
    return InputError(error.filename or target, f"it cannot be read or written ({said(error)})", "check the disk")
