"""JPEG from its bytes: the header read once, then decoded by libjpeg-turbo, whole or at 1/2, 1/4 or 1/8 of its size.

Taken here: 8-bit JPEGs, sequential or progressive, with one component (grey) or three, decoded in full they have the
same pixels as Pillow gives, as both are built on libjpeg-turbo with the same defaults (exact discrete cosine transform,
smooth upsampling of colour). That is tested over sizes, subsamplings, qualities and both codings (3.1.2 here against
3.2.0 in Pillow: no difference); another version of either library might differ by a level. All else (CMYK, arithmetic
coding, lossless, two frame headers, damaged or unusual EXIF) is not looked into: :func:`parse` gives None, and Pillow
decodes. The interpreter is free while a file is decoded, so that threads scale with cores.

A scaled decode computes a smaller cosine transform of every block instead of the pixels and their means: the result is
close to that of shrinking the whole image (not equal), at a quarter of the time or less.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_SEGMENT = struct.Struct(">HH")
_SEQUENTIAL = (0xFFC0, 0xFFC1, 0xFFC2)
"""Frame headers that are taken: baseline, extended sequential and progressive, all of Huffman coding."""
_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_SKIPPED = frozenset((0xFFE0, *range(0xFFE2, 0xFFF0), 0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE))
"""Segments that say nothing that is asked here: applications', tables, comments."""
_SCAN, _APP1, _FILLING = 0xFFDA, 0xFFE1, 0xFFFF
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ORIENTATION, _SHORT = 0x0112, 3
_SLACK = 64
"""As many bytes too many before the end are taken for filling; more are the rest of a scan that lost its place."""
SPARED = 1000
"""A smaller scale is taken only if its last, partial pixel stretches the image by no more than one part in this."""


class JpegHeader(NamedTuple):
    """Size as stored, number of components (1 or 3), and the orientation of the EXIF record (1: none)."""

    height: int
    width: int
    components: int
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as shown."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def parse(data: bytes) -> JpegHeader | None:
    """The header of a JPEG in its first bytes, or None for what :func:`decode` does not take or is not understood."""
    at, frame, exif = 2, None, None
    unpack, skipped, enough = _SEGMENT.unpack_from, _SKIPPED, len(data) - 4
    while at <= enough:
        marker, length = unpack(data, at)
        if marker in skipped and length >= 2:
            at += 2 + length
            continue
        if marker == _FILLING:
            at += 1
            continue
        if marker == _SCAN:
            break
        body, end = at + 4, at + 2 + length
        if marker < 0xFFC0 or 0xFFD0 <= marker <= 0xFFD9 or length < 2 or end > len(data):
            return None
        if marker in _FRAMES:
            if frame is not None or marker not in _SEQUENTIAL or length < 8:
                return None
            frame = data[body:end]
        elif marker == _APP1 and data.startswith(_EXIF, body):
            if exif is not None:
                return None
            exif = data[body + len(_EXIF) : end]
        elif marker == _APP1 and data.startswith(_XMP, body) and b"rientation" in data[body:end]:
            return None
        at = end
    else:
        return None
    if frame is None or frame[0] != 8 or frame[5] not in (1, 3) or len(frame) != 6 + 3 * frame[5]:
        return None
    orientation = 1 if exif is None else _orientation(exif)
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    if orientation is None or not height or not width:
        return None
    return JpegHeader(height, width, frame[5], orientation)


def _orientation(exif: bytes) -> int | None:
    """The orientation in an EXIF record (1 where it says none), or None where the record is damaged or unusual."""
    if exif[:4] == b"II*\0":
        high, low = 1, 0
    elif exif[:4] == b"MM\0*":
        high, low = 0, 1
    else:
        return None
    start = int.from_bytes(exif[4:8], "little" if high else "big")
    if start < 8 or start + 2 > len(exif):
        return None
    found = 0
    first = start + 2
    last = first + 12 * (exif[start + high] << 8 | exif[start + low])
    if last > len(exif):
        return None
    tag = _ORIENTATION.to_bytes(2, "little" if high else "big")
    at = exif.find(tag, first, last)
    while at >= 0:
        if (at - first) % 12:  # not where an entry begins
            at = exif.find(tag, at + 1, last)
            continue
        kind, value = (exif[at + by + high] << 8 | exif[at + by + low] for by in (2, 8))
        if kind != _SHORT or found:
            return None
        found = value or 1
        at = exif.find(tag, at + 12, last)
    return found if found in range(1, 9) else 1


def factor(size: tuple[int, int], at_least: int) -> int:
    """The largest of 8, 4, 2 and 1 by which both sides can be divided so that the shorter keeps ``at_least`` pixels
    (0: always 1). Left out are those whose rounding up of a side would stretch it by more than 1/:data:`SPARED`."""
    if at_least <= 0:
        return 1
    for number in (8, 4, 2):
        smaller = [-(-n // number) for n in size]
        if min(smaller) >= at_least and all(m * number - n <= n // SPARED for n, m in zip(size, smaller, strict=True)):
            return number
    return 1


def decode(data: bytes, header: JpegHeader, space: str, at_least: int = 0) -> NDArray[np.uint8]:
    """The pixels (H, W, C) as shown, orientation applied. ``space`` is ``GRAY``, ``RGB`` or ``RGBA`` (opaque).

    ``GRAY`` of a colour image is its luma as stored, which is not quite the grey of its RGB. Errors: ``ValueError``
    with the decoder's words for whatever is wrong with the file, also where a part could be shown: see
    :func:`harmless`.
    """
    by = factor((header.height, header.width), at_least)
    if by == 1:
        pixels = simplejpeg.decode_jpeg(data, space)
    else:
        height, width = -(-header.height // by), -(-header.width // by)
        pixels = simplejpeg.decode_jpeg(data, space, min_height=height, min_width=width, min_factor=by)
    return pixels if header.orientation == 1 else upright(pixels, header.orientation)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, C) as stored turned to how they are shown, for an EXIF orientation of 1 to 8."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def harmless(complaint: str) -> bool:
    """Whether what the decoder said of a file leaves its picture whole: a few bytes of filling before the end, or an
    unusual note in a header. Where data are missing or a scan has lost its place it does not."""
    words = complaint.split()
    if "extraneous" in words and complaint.endswith("before marker 0xd9"):
        count = words[words.index("extraneous") - 1]
        return count.isdigit() and int(count) <= _SLACK
    return any(part in complaint for part in ("SOS parameters", "JFIF revision", "color transform"))
