"""Boxes written as a YOLO set: ``images/{split}``, ``labels/{split}`` and ``data.yaml``.

Numbers are written in full, as the ``repr`` of the quotients. Read again, edges on whole pixels (and on 2^-32 of them,
where all edges of a YOLO set lie: see ``yolo_lines.bounds_of``) are the same to the last bit, others to 2e-10 pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from striate.core.errors import InputError
from striate.data.collection import ALL
from striate.data.formats.yolo_lines import centred
from striate.data.paths import shortened
from striate.data.reader import Reader
from striate.data.writers.copied import make, put, save, stems

if TYPE_CHECKING:
    from striate.core.sample import Boxes

_FIX = "choose another format with --to"


def write(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Write the samples of ``reader`` into the empty ``folder``; returns what YOLO cannot hold, a line each.

    A set whose splits share samples is written with lists of images (``train.txt``) in place of folders, one without
    splits without ``train`` and ``val`` in its YAML. Errors: ``InputError`` for another target than boxes in images, or
    a disk that cannot be written.
    """
    if reader.target != "boxes":
        fix = "read it with target boxes, or choose another format with --to" if reader.target == "mask" else _FIX
        raise InputError(reader.path, f"its target is {reader.target}, YOLO is written with boxes", fix)
    split_of, shared = _split_of(reader)
    names, lost, ignored, unreadable = stems(reader), list[str](), 0, list[str]()
    written: dict[int, str] = {}
    for split, positions in reader.splits.items():
        say(f"{split}: {len(positions):,} images")
    for position, split in sorted(split_of.items()):
        inner = "" if shared or split == ALL else split
        try:
            text, marks = _text(reader, position)
        except InputError as error:
            unreadable.append(f"{reader.name(position)} ({error.cause})")
            continue
        ignored += marks
        image = put(reader, position, make(folder / "images" / inner) / names[position])
        written[position] = image.relative_to(folder).as_posix()
        save(make(folder / "labels" / inner) / f"{names[position]}.txt", text)
    for split, positions in reader.splits.items() if shared else ():
        save(folder / f"{split}.txt", "".join(f"./{written[one]}\n" for one in positions.tolist() if one in written))
    save(folder / "data.yaml", _described(reader, shared))
    if unreadable:
        lost.append(f"{len(unreadable)} images cannot be read, left out: {shortened(unreadable, 3)}")
    if len(split_of) < len(reader):
        lost.append(f"{len(reader) - len(split_of)} samples of no split: left out")
    if ignored:
        lost.append(f"{ignored:,} ignored marks: YOLO has none, these boxes count like all others")
    if ALL in reader.splits:
        lost.append("the set has no splits: data.yaml names no train and val, which other programs ask for")
    return lost


def _split_of(reader: Reader) -> tuple[dict[int, str], bool]:
    """The split of every sample that is in one, and whether any is in two."""
    found: dict[int, str] = {}
    total = 0
    for split, positions in reader.splits.items():
        total += len(positions)
        for position in positions.tolist():
            found.setdefault(position, split)
    return found, len(found) < total


def _text(reader: Reader, position: int) -> tuple[str, int]:
    """The lines of a label file, and how many boxes are marked as ignored."""
    size = reader.size(position)
    if len(size) != 2:
        raise InputError(reader.path, f"its samples have {len(size)} axes, YOLO's have two", _FIX)
    boxes: Boxes = reader.targets(position)["boxes"]  # type: ignore[assignment]
    rows = zip(boxes.annotated().tolist(), boxes.classes.tolist(), strict=True)
    return "".join(line(number, bounds, size) for bounds, number in rows), int(boxes.marks.sum())


def line(number: int, bounds: Sequence[float], size: Sequence[int], score: float | None = None) -> str:
    """The line of a box (y0, x0, y1, x1) of the class ``number`` in an image of ``size`` (height, width); of a
    prediction its ``score`` follows."""
    y0, x0, y1, x1 = bounds
    (x, across), (y, down) = centred(x0, x1, size[1]), centred(y0, y1, size[0])
    return f"{number} {x!r} {y!r} {across!r} {down!r}{'' if score is None else f' {score!r}'}\n"


def _described(reader: Reader, shared: bool) -> str:
    place = {split: f"{split}.txt" if shared else f"images/{split}" for split in reader.splits if split != ALL}
    return described({"path": ".", **place, "names": dict(enumerate(reader.classes))})


def described(content: Mapping[str, Any]) -> str:
    """The text of ``data.yaml``."""
    return yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False, width=2**30)
