"""Boxes written as a Pascal VOC set: ``Annotations``, ``JPEGImages``, ``ImageSets/Main`` and ``classes.txt``.

Numbers are written in full, whole ones as whole numbers. The whole set is written as the VOC kit counts, in pixels from
1 with the last included (the low edge + 1, the high edge), where reading it again gives every box to the last bit: no
written coordinate below 1, none lost in adding 1, no sign of the other form (see ``voc_xml.origin_of``). Else edges
from 0 are written, with the ``<path>`` by which LabelImg's files are told: that is exact for every box.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.collection import ALL
from striate.data.formats.voc_xml import bounds_of, corners_of, origin_of
from striate.data.paths import shortened
from striate.data.reader import Reader
from striate.data.writers.copied import make, put, save, stems

_FIX = "choose another format with --to"


class _Boxes(NamedTuple):
    size: tuple[int, ...]
    bounds: NDArray[np.float64]
    classes: list[int]
    ignored: list[bool]


def write(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Write the samples of ``reader`` into the empty ``folder``; returns what VOC does not hold, a line each, and how
    its coordinates count.

    Ignored boxes are marked as difficult. Errors: ``InputError`` for another target than boxes in images, a class name
    that XML cannot hold, or a disk that cannot be written.
    """
    if reader.target != "boxes":
        raise InputError(reader.path, f"its target is {reader.target}, VOC is written with boxes", _FIX)
    demand_names(reader.classes, reader.path)
    boxes, lost = _read(reader)
    origin = _origin([one.bounds for one in boxes.values()])
    names = stems(reader)
    xml, images = make(folder / "Annotations"), make(folder / "JPEGImages")
    for split, positions in reader.splits.items():
        say(f"{split}: {len(positions):,} images")
    for position, one in boxes.items():
        image = put(reader, position, images / names[position])
        # XML cannot hold a file name that is no UTF-8 text; there the stem tells the image
        save(xml / f"{names[position]}.xml", _text(reader, image.name, one, origin), errors="replace")
    for split, positions in reader.splits.items():
        if split != ALL:
            lines = "".join(f"{names[position]}\n" for position in positions.tolist() if position in boxes)
            save(make(folder / "ImageSets" / "Main") / f"{split}.txt", lines)
    save(folder / "classes.txt", "".join(f"{name}\n" for name in reader.classes))
    counted = "pixels from 1, the last included" if origin else "edges from 0 (that is told by <path>)"
    return [*lost, f"coordinates are {counted}"]


def _read(reader: Reader) -> tuple[dict[int, _Boxes], list[str]]:
    """The boxes of every sample that is in a split, and what is lost."""
    from striate.core.sample import Boxes

    placed = sorted({int(position) for positions in reader.splits.values() for position in positions})
    found: dict[int, _Boxes] = {}
    unreadable = []
    for position in placed:
        try:
            size, target = reader.size(position), reader.targets(position)["boxes"]
        except InputError as error:
            unreadable.append(f"{reader.name(position)} ({error.cause})")
            continue
        assert isinstance(target, Boxes)
        if len(size) != 2:
            raise InputError(reader.path, f"its samples have {len(size)} axes, VOC's have two", _FIX)
        found[position] = _Boxes(size, target.annotated().numpy(), target.classes.tolist(), target.marks.tolist())
    lines = [f"{len(unreadable)} images cannot be read, left out: {shortened(unreadable, 3)}"] if unreadable else []
    outside = len(reader) - len(placed)
    return found, [*lines, *([f"{outside} samples of no split: left out"] if outside else [])]


def demand_names(classes: Sequence[str], where: object) -> None:
    """Errors: ``InputError`` for class names that XML cannot hold, or that are not told apart."""
    fix = "rename the class (the option classes)"
    for name in classes:
        if not name or name != name.strip() or not name.isprintable():
            raise InputError(where, f"the class {name!r} has blanks or signs that VOC cannot hold", fix)
    if len(set(classes)) < len(classes):
        raise InputError(where, "two classes have the same name, which is all that VOC tells them by", fix)


def _origin(bounds: list[NDArray[np.float64]]) -> int:
    """1 where the set, written so, is read again to the last bit; else 0."""
    written = [corners_of(one, 1) for one in bounds]
    exact = all((bounds_of(ours, 1) == one).all() for ours, one in zip(written, bounds, strict=True))
    return 1 if exact and origin_of((one, False) for one in written)[0] == 1 else 0


def _text(reader: Reader, image: str, boxes: _Boxes, origin: int) -> str:
    names = [reader.classes[number] for number in boxes.classes]
    corners = corners_of(boxes.bounds, origin)
    return annotation(image, boxes.size, corners, names, boxes.ignored, edges=origin == 0, depth=_depth(reader))


def annotation(
    image: str,
    size: Sequence[int],
    corners: NDArray[np.float64],
    names: Sequence[str],
    ignored: Sequence[bool],
    scores: Sequence[float] = (),
    *,
    edges: bool,
    depth: int = 3,
) -> str:
    """The text of an annotation file, of the ``image`` of that name and ``size`` (height, width): ``corners`` (N, 4) of
    xmin, ymin, xmax, ymax, the classes' ``names`` and marks of being ``ignored``, N each; of predictions the
    ``scores``. ``edges``: coordinates are edges from 0, which is told by ``<path>``."""
    height, width = size
    lines = [
        "<annotation>",
        "\t<folder>JPEGImages</folder>",
        f"\t<filename>{escape(image)}</filename>",
        *([f"\t<path>JPEGImages/{escape(image)}</path>"] if edges else []),
        "\t<source><database>striate</database></source>",
        f"\t<size><width>{width}</width><height>{height}</height><depth>{depth}</depth></size>",
        "\t<segmented>0</segmented>",
    ]
    for place, box in enumerate(corners.tolist()):
        lines += [
            "\t<object>",
            f"\t\t<name>{escape(names[place])}</name>",
            f"\t\t<difficult>{int(ignored[place])}</difficult>",
            *([f"\t\t<score>{scores[place]!r}</score>"] if scores else []),
            "\t\t<bndbox>",
            *(
                f"\t\t\t<{name}>{_number(value)}</{name}>"
                for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
            ),
            "\t\t</bndbox>",
            "\t</object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def _depth(reader: Reader) -> int:
    return {"grey": 1, "rgba": 4}.get(reader.settled.colour, 3)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
