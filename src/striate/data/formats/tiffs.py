"""What the header of a TIFF file says about its pages, read without any decoder: is it a stack (a volume) or one image?

Only the first two directories are looked at (TIFF 6.0, section 2; BigTIFF the same with 8-byte offsets): a file whose
second directory has an image of the same size, that is no thumbnail (NewSubfileType, bit 0), is a stack.
"""

import os
import struct
from io import FileIO

from striate.core.disk import open_file
from striate.core.errors import InputError

EXTENSIONS = {".tif", ".tiff"}
_MOST_ENTRIES = 4096
_WIDTH, _HEIGHT, _SUBFILE = 256, 257, 254
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def is_stack(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TIFF with several pages of one size. Reads a few hundred bytes; raises nothing."""
    try:
        with open_file(path) as (file, size):
            return _has_two_pages(file, size)
    except (InputError, OSError, struct.error, ValueError, OverflowError):
        return False


def _has_two_pages(file: FileIO, size: int) -> bool:
    start = file.read(16) or b""
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        return False
    version = struct.unpack(order + "H", start[2:4])[0]
    if version not in (42, 43):
        return False
    big = version == 43
    offset = struct.unpack(order + ("Q" if big else "I"), start[8:16] if big else start[4:8])[0]
    first, following = _directory(file, offset, order, big)
    if not following or following >= size or following == offset:
        return False
    second, _ = _directory(file, following, order, big)
    same = all(first.get(tag) == second.get(tag) is not None for tag in (_WIDTH, _HEIGHT))
    return same and not second.get(_SUBFILE, 0) & 1


def _directory(file: FileIO, offset: int, order: str, big: bool) -> tuple[dict[int, int], int]:
    """The whole numbers of the tags that matter here, and the offset of the next directory (0: none)."""
    file.seek(offset)
    count_form, entry_form, offset_form = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    count = struct.unpack(order + count_form, file.read(struct.calcsize(order + count_form)))[0]
    if count > _MOST_ENTRIES:
        raise ValueError("too many entries for a directory")
    room = struct.calcsize(order + offset_form)
    length = struct.calcsize(order + entry_form) + room
    entries = file.read(count * length)
    found = {}
    for start in range(0, len(entries) - length + 1, length):
        tag, kind, number = struct.unpack_from(order + entry_form, entries, start)
        if tag in (_WIDTH, _HEIGHT, _SUBFILE) and number == 1 and kind in _TYPES:
            found[tag] = struct.unpack_from(order + _TYPES[kind], entries, start + length - room)[0]
    return found, struct.unpack(order + offset_form, file.read(room))[0]
