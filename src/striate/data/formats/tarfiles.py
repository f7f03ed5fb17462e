"""Which tars a path means, and of which split each is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES
from striate.data.paths import shortened, visible
from striate.data.problems import Problem

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Endings of compressed tars, which are found so that they can be refused with a reason."""
RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
"""A range of numbers in a name: ``{000000..000123}``."""
_MOST = 100_000


@dataclass(frozen=True)
class Tar:
    """A tar and its split (``all`` where none has one)."""

    path: Path
    split: str


def find_tars(path: Path, problems: list[Problem]) -> list[Tar]:
    """The tars of a file, a folder (with folders of splits), or a range of numbers in a name, in order.

    Tars of a range that are missing, and those of no split beside others of one, are added to ``problems``. Errors:
    ``OSError``, ``InputError`` where two splits are named.
    """
    if not path.is_dir():
        if RANGE.search(path.name) and not path.exists():
            return _with_splits(_in_range(path, problems), problems)
        return [Tar(path, ALL)] if _is_tar(path.name) and path.is_file() else []
    tars: list[tuple[Path, str | None]] = []
    for entry in visible(path):
        if entry.is_dir() and entry.name.lower() in SPLIT_NAMES:
            inside = [one for one in visible(Path(entry.path)) if _is_tar(one.name) and one.is_file()]
            tars += [(Path(one.path), SPLIT_NAMES[entry.name.lower()]) for one in inside]
        elif _is_tar(entry.name) and entry.is_file():
            tars.append((Path(entry.path), split_of_name(Path(entry.path))))
    return _with_splits(tars, problems)


def split_of_name(path: Path) -> str | None:
    """The split that a word of a tar's name says. Errors: ``InputError`` when it says two."""
    words = re.split(r"[^a-zA-Z]+", path.name[: path.name.lower().rindex(".t")].lower())
    splits = list(dict.fromkeys(SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES))
    if len(splits) > 1:
        raise InputError(path, f"its name says {' and '.join(splits)}", "put the tars of each split into a folder")
    return splits[0] if splits else None


def _is_tar(name: str) -> bool:
    return name.lower().endswith((".tar", *PACKED))


def _with_splits(tars: Sequence[tuple[Path, str | None]], problems: list[Problem]) -> list[Tar]:
    named = [(path, split) for path, split in tars if split is not None]
    if not named:
        return [Tar(path, ALL) for path, _ in tars]
    others = [path.name for path, split in tars if split is None]
    known = shortened(sorted({split for _, split in named}))
    problems += [Problem("not-in-a-split", name, f"its name says no split, others say {known}") for name in others]
    return [Tar(path, split) for path, split in named]


def _in_range(path: Path, problems: list[Problem]) -> list[tuple[Path, str | None]]:
    """Every name of the range that is there."""
    match = RANGE.search(path.name)
    assert match is not None
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if last - first >= _MOST or last < first:
        raise InputError(path, f"a range of {last - first + 1:,} names", f"give 1 to {_MOST:,}")
    names = [path.name.replace(match[0], f"{number:0{width}}", 1) for number in range(first, last + 1)]
    found = [path.with_name(name) for name in names]
    problems += [Problem("listed-missing", one.name, "a tar of the range") for one in found if not one.is_file()]
    return [(one, split_of_name(one)) for one in found if one.is_file()]
