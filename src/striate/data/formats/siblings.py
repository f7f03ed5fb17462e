"""Finding a folder of images that a set names and does not hold.

Several sets made from one collection often share their images: the files of one task name a folder that only the folder
of another task, beside it, has. The search is short on purpose, and its answer is always said.
"""

import os
from pathlib import Path

from striate.data.paths import visible

_MOST_CHILDREN = 200


def find_folder(base: Path, relative: str, stems: set[str]) -> tuple[Path, str] | None:
    """The folder that a set in ``base`` calls ``relative``, and words that say where it was found.

    Looked for in this order: as named; in the set; in the folder the set lies in; in that folder's other children, and
    no deeper. A leading ``..`` and the front of a path from another machine are left away when the folder as named does
    not exist. ``stems`` are names of files without their ending: the folder has one of them, or (in other children)
    half of them; of several children the one with most. No stems: it is enough that the folder exists. None: not found.
    """
    named = Path(os.path.normpath(base / relative))
    if _share(named, stems) > 0:
        return named, "as named"
    for inner in _inner_paths(relative):
        here = base / inner
        if here != named and _share(here, stems) > 0:
            return here, f"in the set, as {inner} (not {relative})"
        beside = base.absolute().parent / inner
        if beside != named and _share(beside, stems) > 0:
            return beside, f"in ../{inner}, as there is no {relative}"
        found = [(_share(child / inner, stems), child) for child in _children(base)]
        best = max(found, key=lambda one: one[0], default=(0.0, base))
        if best[0] >= 0.5:
            return best[1] / inner, f"in ../{best[1].name}/{inner}, as there is no {relative} here"
    return None


def _inner_paths(relative: str) -> list[Path]:
    """The path without what leads out of the set, longest first; at least two folders of a longer path are kept."""
    path = Path(os.path.normpath(relative))
    parts = [part for part in path.parts if part not in ("..", ".", path.anchor)]
    if not parts:
        return []
    shortest = len(parts) if not path.is_absolute() else min(2, len(parts))
    return [Path(*parts[-length:]) for length in range(len(parts), shortest - 1, -1)]


def _children(base: Path) -> list[Path]:
    here = base.absolute()
    try:
        entries = [Path(entry.path) for entry in visible(here.parent) if entry.is_dir() and entry.name != here.name]
    except OSError:
        return []
    return entries[:_MOST_CHILDREN]


def _share(folder: Path, stems: set[str]) -> float:
    """Which share of the stems the files in a folder have; 1 for no stems."""
    try:
        if not folder.is_dir():
            return 0.0
        if not stems:
            return 1.0
        names = {os.path.splitext(name)[0] for name in os.listdir(folder)}
    except (OSError, ValueError):
        return 0.0
    return len(names & stems) / len(stems)
