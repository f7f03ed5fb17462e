"""Whether an image file ends too early, by the marks its format puts at the end: no decoder says so reliably."""

import os
from io import FileIO

from striate.core.disk import open_file
from striate.core.errors import InputError

_LARGEST = 1 << 28


def ends_early(path: str | os.PathLike[str]) -> bool:
    """Whether a JPEG, PNG, GIF, WebP or BMP file lacks its end. False for other files and for what cannot be read."""
    try:
        with open_file(path) as (file, size):
            first = file.read(32) or b""
            if first.startswith(b"\xff\xd8\xff"):
                return _jpeg_ends_early(_whole(file, size))
            if first.startswith(b"\x89PNG\r\n\x1a\n"):
                return b"IEND" not in _whole(file, size)[-65536:]
            if first.startswith((b"GIF87a", b"GIF89a")):
                return b"\x3b" not in _whole(file, size)[-512:]
            if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
                return int.from_bytes(first[4:8], "little") + 8 > size + 1
            return first[:2] == b"BM" and int.from_bytes(first[2:6], "little") > size
    except InputError:
        return False


def _whole(file: FileIO, size: int) -> bytes:
    file.seek(0)
    return file.read(min(size, _LARGEST)) or b""


def _jpeg_ends_early(data: bytes) -> bool:
    """Whether the mark of the end (FFD9) is missing after the first scan. Segments before it, which may hold a whole
    thumbnail, are stepped over by their lengths (ITU-T T.81, annex B)."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return True
        mark = data[place + 1]
        if mark == 0xFF:
            place += 1
        elif mark == 0xDA:
            return data.find(b"\xff\xd9", place) < 0
        elif mark in (0x01, *range(0xD0, 0xD8)):
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return True
