"""Lists of the samples of each split beside images and masks: ``train.txt``, ``val.txt``, ``test.txt``.

A line names an image by its path or its name, with or without extension; what stands behind it (SegNet's lists name the
mask too) is not needed. Looked for in the set's folder, in ``splits`` and in ``ImageSets/Segmentation``.
"""

import os
from collections import Counter
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import ALL
from striate.data.formats.maskpairs import Pairs, split_named
from striate.data.formats.splitlists import read_lines
from striate.data.problems import Problem

_PLACES = ("", "splits", "ImageSets/Segmentation")
_Rows = list[tuple[str, Path, Path]]


def by_lists(found: Pairs, base: Path, problems: list[Problem]) -> tuple[_Rows, list[Path]]:
    """The pairs with the splits that lists give them, and the lists; as they are where folders name splits.

    Where no list is of training, what no list names is for training; else it is left out, which is added to
    ``problems`` as are lines that name nothing. Errors: ``InputError`` for a list that names no image, or all but none.
    """
    if {split for split, _, _ in found.pairs} != {ALL}:
        return found.pairs, []
    lists = _lists(base)
    if not lists:
        return found.pairs, []
    stems = Counter(image.stem for _, image, _ in found.pairs)
    place = {os.path.relpath(image, base): row for row, (_, image, _) in enumerate(found.pairs)}
    place.update({image.stem: row for row, (_, image, _) in enumerate(found.pairs) if stems[image.stem] == 1})
    split_of: dict[int, str] = {}
    for split, path in lists.items():
        for number, line in enumerate(read_lines(path), start=1):
            if not line or line.startswith("#"):
                continue
            row = _row(line, place)
            if row is None:
                problems.append(Problem("listed-missing", f"{path.name}:{number}", f"{line[:80]!r} is no image here"))
            elif split_of.setdefault(row, split) != split:
                name = os.path.relpath(found.pairs[row][1], base)
                problems.append(
                    Problem("listed-twice", name, f"{path.name}:{number} lists it; it stays in {split_of[row]}")
                )
    if not split_of:
        raise InputError(next(iter(lists.values())), "none of its lines names an image here", "correct or remove it")
    rows: _Rows = []
    for row, (_, image, mask) in enumerate(found.pairs):
        if row not in split_of and "train" in lists:
            detail = f"none of {', '.join(path.name for path in lists.values())} names it; it is left out"
            problems.append(Problem("not-in-a-split", os.path.relpath(image, base), detail))
        else:
            rows.append((split_of.get(row, "train"), image, mask))
    return rows, list(lists.values())


def _lists(base: Path) -> dict[str, Path]:
    for inner in _PLACES:
        try:
            files = sorted(one for one in (base / inner).iterdir() if one.suffix.lower() == ".txt" and one.is_file())
        except OSError:
            continue
        found = {split: one for one in reversed(files) if (split := split_named(one.stem)) is not None}
        if found:
            return dict(sorted(found.items()))
    return {}


def _row(line: str, place: dict[str, int]) -> int | None:
    for text in (line, line.split()[0]):
        plain = os.path.normpath(text.strip("'\",").replace("\\", "/"))
        for name in (plain, os.path.basename(plain), os.path.splitext(os.path.basename(plain))[0]):
            if name in place:
                return place[name]
    return None
