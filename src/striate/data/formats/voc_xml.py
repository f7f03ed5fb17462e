"""One annotation file of the Pascal VOC form, and which pixel its coordinates count from.

The VOC development kit counts pixels from 1 and includes the last (Everingham and Winn, "The PASCAL Visual Object
Classes Challenge 2007 Development Kit", 2007: the upper left pixel is (1, 1)): xmin and xmax are the edges xmin - 1 and
xmax. LabelImg and most others write edges counted from 0. Nothing in a file says which; :func:`origin_of`
goes by what the whole set shows.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAXIMUM_BYTES = 8 << 20
"""The largest annotation file that is read."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a file says: ``corners`` float64 (N, 4) as written (xmin, ymin, xmax, ymax), the classes' ``names`` (N),
    ``difficult`` bool (N,), the ``size`` it declares (height, width; None: none), the image's ``filename``, whether it
    has a ``<path>`` as LabelImg's files do, and ``faults``: the objects that make no sense, in words."""

    corners: NDArray[np.float64]
    names: tuple[str, ...]
    difficult: NDArray[np.bool_]
    size: tuple[int, int] | None
    filename: str
    pathed: bool
    faults: tuple[str, ...]


def read_annotation(path: Path) -> Annotation | None:
    """Read one file; None when it is XML of something else. Errors: ``InputError``: too large, not XML, or entities."""
    with open_file(path) as (file, size):
        if size > MAXIMUM_BYTES:
            raise InputError(path, f"{size:,} bytes are more than the {MAXIMUM_BYTES:,} allowed", "split it")
        data = file.readall() or b""
    try:
        root = fromstring(data)
    except ParseError as error:
        line = error.position[0]
        raise InputError(f"{path}:{line}", f"it is not XML ({error})", "write it again") from None
    except DefusedXmlException as error:
        raise InputError(path, f"it declares entities ({error})", "remove the <!ENTITY> declarations") from None
    except (ValueError, LookupError, RecursionError) as error:
        raise InputError(path, f"it is not XML that is read ({error})", "write it again as UTF-8") from None
    return _annotation(root) if root.tag == "annotation" else None


def _annotation(root: "Element") -> Annotation:
    corners, names, difficult, faults = [], [], [], []
    for number, item in enumerate(root.findall("object"), 1):
        name = (item.findtext("name") or "").strip()
        try:
            if not name:
                raise ValueError("it has no name")
            corners.append(_corners(item.find("bndbox")))
        except ValueError as error:
            faults.append(f"object {number}{f' ({name})' if name else ''}: {error}")
            continue
        names.append(name)
        difficult.append((item.findtext("difficult") or "").strip().lower() in ("1", "true", "yes"))
    height, width = _whole(root.findtext("size/height")), _whole(root.findtext("size/width"))
    return Annotation(
        np.array(corners, dtype=np.float64).reshape(-1, 4),
        tuple(names),
        np.array(difficult, dtype=np.bool_),
        (height, width) if height > 0 and width > 0 else None,
        (root.findtext("filename") or "").strip(),
        root.find("path") is not None,
        tuple(faults),
    )


def _corners(box: "Element | None") -> list[float]:
    if box is None:
        raise ValueError("it has no bndbox")
    values = []
    for name in _CORNERS:
        text = (box.findtext(name) or "").strip()
        if not text:
            raise ValueError(f"its bndbox has no {name}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"its {name} is {text[:40]!r}, not a number")
        values.append(value)
    return values


def _whole(text: str | None) -> int:
    try:
        value = float(text or "")
    except ValueError:
        return 0
    return int(value) if math.isfinite(value) else 0


def origin_of(annotations: Iterable[tuple[NDArray[np.float64], bool]]) -> tuple[int, str]:
    """0 or 1, the coordinate of the first pixel, and why: of the (corners, has a path) of every file of a set.

    0 (edges) when a coordinate is below 1, most files have LabelImg's ``<path>`` (it raises 0 to 1), a box has no width
    or height (nobody draws one of a single pixel), or most boxes have fractions; else 1 (pixels, the last included).
    """
    files = list(annotations)
    corners = np.concatenate([one for one, _ in files]) if files else np.zeros((0, 4))
    pathed = sum(has for _, has in files)
    if len(corners) and corners.min() < 1:
        return 0, f"a coordinate is {corners.min():g}"
    if 2 * pathed > len(files):
        return 0, "files with <path>, as LabelImg writes them"
    if (corners[:, :2] == corners[:, 2:]).any():
        return 0, "a box begins and ends at the same coordinate"
    if 2 * (corners % 1 != 0).any(axis=1).sum() > len(corners):
        return 0, "most boxes have fractions of pixels"
    return 1, "no coordinate is below 1"


def bounds_of(corners: NDArray[np.float64], origin: int) -> NDArray[np.float64]:
    """Corners (N, 4) as written (xmin, ymin, xmax, ymax) as edges (N, 4): y0, x0, y1, x1, with origin 0 or 1."""
    bounds = corners[:, [1, 0, 3, 2]].copy()
    bounds[:, :2] -= origin
    return bounds


def corners_of(bounds: NDArray[np.float64], origin: int) -> NDArray[np.float64]:
    """The inverse of :func:`bounds_of`."""
    corners = bounds[:, [1, 0, 3, 2]].copy()
    corners[:, :2] += origin
    return corners
