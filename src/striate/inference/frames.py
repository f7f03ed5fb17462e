"""Images of several frames, one frame after the other: animated GIF, WebP and PNG, and TIFF files of several pages."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.formats.tiffs import is_stack
from striate.data.images import SNIFFED, ImageRules, in_form, opened

_MAY_MOVE = (b"GIF8", b"\x89PNG", b"RIFF")
_TIFF = (b"II*\0", b"MM\0*")
_SUBFILE = 254
"""The TIFF tag whose lowest bit marks a page as a smaller copy of another."""


def frame_count(path: Path, rules: ImageRules) -> int:
    """How many frames an image file has, or pages of one size; 1 for any other, and 2 where there are more than one and
    a damage hides how many. Raises nothing: what is wrong with a file is told when it is read."""
    least = 1
    try:
        with open_file(path) as (file, _):
            first = file.read(SNIFFED) or b""
        stack = first.startswith(_TIFF) and is_stack(path)
        if not stack and not first.startswith(_MAY_MOVE):
            return 1
        with opened(path, rules) as image:
            if stack or getattr(image, "is_animated", False):
                least = 2
                return int(getattr(image, "n_frames", 1))
    except InputError:
        pass
    return least


def frames(path: Path, rules: ImageRules, every: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
    """Every ``every``-th frame with its number, from 0 on, as (C, H, W) in the form of the ``rules``; pages that are
    smaller copies of others are left out. Errors: ``InputError`` at the first frame that cannot be read."""
    with opened(path, rules) as image:
        for number in count(0, every):
            try:
                image.seek(number)
            except EOFError:
                return
            if not getattr(image, "tag_v2", {}).get(_SUBFILE, 0) & 1:
                yield number, in_form(image, rules, path)
