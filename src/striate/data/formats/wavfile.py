"""One WAV file: its header, and its samples as float32 (channels, frames).

The chunks are walked here. The standard library's ``wave`` knows neither floating point nor (before Python 3.12) the
extensible form in which most 24-bit recorders write, and gives back what is left of a truncated file without a word.
soundfile would read more forms, for a compiled libsndfile that every user of images would have to install too.

Whole numbers of b bits are divided by 2^(b-1), so that they lie in [-1, 1) (8 bits are unsigned with the zero at 128);
floating point is taken as it is, also beyond 1.
"""

import struct
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import open_file, read_into
from striate.core.errors import InputError

_MOST_CHUNKS = 10_000
_MOST_CHANNELS = 1_024
_UNKNOWN = 0xFFFFFFFF
"""The size of the data where it was written as a stream: up to the end of the file."""
_NAMES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3", 255: "AAC"}
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class WavHeader:
    """What the header says: ``rate`` in samples a second, ``channels``, ``frames``, bytes a value, whole or floating.

    ``start`` is where the data begin in the file.
    """

    rate: int
    channels: int
    frames: int
    width: int
    floating: bool
    start: int


def is_wav(start: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is a WAV file."""
    return start[:4] in (b"RIFF", b"RIFX", b"RF64") and start[8:12] == b"WAVE"


def read_wav_header(path: Path) -> WavHeader:
    """The header of a WAV file. Errors: ``InputError`` for another format, a coding that is not read, a file that ends
    before its data do."""
    with open_file(path) as (file, size):
        return _walk(file, size, path)


def read_wav(path: Path, most_values: int) -> NDArray[np.float32]:
    """The samples of a WAV file: float32 (channels, frames).

    Errors: ``InputError`` as :func:`read_wav_header`, and for more than ``most_values`` values in all channels, before
    anything is allocated.
    """
    with open_file(path) as (file, size):
        header = _walk(file, size, path)
        values = header.frames * header.channels
        if values > most_values:
            raise InputError(path, f"{values:,} values, more than {most_values:,}", "cut it, or raise maximum_pixels")
        raw = np.empty(values * header.width, np.uint8)
        file.seek(header.start)
        read_into(file, memoryview(raw.data), path)
    return np.ascontiguousarray(_decoded(raw, header).reshape(header.frames, header.channels).T)


def _decoded(raw: NDArray[np.uint8], header: WavHeader) -> NDArray[np.float32]:
    """Bytes as float32, flat."""
    if header.floating:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and is found as that later
            return np.asarray(raw.view(f"<f{header.width}").astype(np.float32))
    if header.width == 1:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    if header.width == 3:
        four = np.zeros((len(raw) // 3, 4), np.uint8)
        four[:, 1:] = raw.reshape(-1, 3)  # the upper three bytes: 256 times the value
        raw = four.reshape(-1)
    width = 4 if header.width == 3 else header.width
    values: NDArray[np.float32] = raw.view(f"<i{width}").astype(np.float32)
    values *= np.float32(2.0 ** (1 - 8 * width))
    return values


def _walk(file: FileIO, size: int, path: Path) -> WavHeader:
    """Go from chunk to chunk up to the data."""
    first = _bytes(file, 12)
    if not is_wav(first):
        raise InputError(path, "it is empty" if not size else "it is no WAV file", "give WAV files, or remove it")
    if first[:4] != b"RIFF":
        kind = "big-endian" if first[:4] == b"RIFX" else "64-bit"
        raise InputError(path, f"a {kind} WAV file ({first[:4].decode()}), which is not read", "save it as plain WAV")
    form: tuple[int, int, int, bool] | None = None
    place = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = _bytes(file, 8)
        if len(head) < 8:
            break
        name, length = head[:4], int.from_bytes(head[4:], "little")
        place += 8
        if name == b"fmt ":
            form = _form(_bytes(file, min(length, 40)), path)
        elif name == b"data":
            if form is None:
                raise InputError(path, "its data come before its format", "save it again")
            return _header(form, place, size - place if length == _UNKNOWN else length, size, path)
        place += length + length % 2
    cause = "it ends before its data: truncated, or a recording that was never finished"
    raise InputError(path, cause, "copy it again from its source, or remove it")


def _form(chunk: bytes, path: Path) -> tuple[int, int, int, bool]:
    """Channels, rate, bytes a value, and whether it is floating point."""
    if len(chunk) < 16:
        raise InputError(path, f"its format has {len(chunk)} bytes instead of 16", "save it again")
    coding, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunk[:16])
    if coding == _EXTENSIBLE and len(chunk) >= 26:
        coding = int.from_bytes(chunk[24:26], "little")  # the first field of the sub-format's identifier
    if coding not in (1, 3):
        said = _NAMES.get(coding, f"coding {coding}")
        raise InputError(path, f"its sound is compressed ({said})", "save it as PCM or floating point")
    width = block // channels if channels else 0
    widths = (4, 8) if coding == 3 else (1, 2, 3, 4)
    if not 0 < channels <= _MOST_CHANNELS or not rate or width not in widths or width * channels != block:
        said = f"{channels} channels of {bits} bits in blocks of {block} bytes, {rate} a second"
        raise InputError(path, f"a format that makes no sense: {said}", "save it again")
    return channels, rate, width, coding == 3


def _header(form: tuple[int, int, int, bool], start: int, length: int, size: int, path: Path) -> WavHeader:
    channels, rate, width, floating = form
    if start + length > size:
        cause = f"truncated: it ends after {max(0, size - start):,} of {length:,} bytes of sound"
        raise InputError(path, cause, "copy it again from its source, or remove it")
    frames, rest = divmod(length, channels * width)
    if rest:
        raise InputError(path, f"truncated: its last frame has {rest} of {channels * width} bytes", "copy it again")
    if not frames:
        raise InputError(path, "it has no sound (0 bytes)", "record it again, or remove it")
    return WavHeader(rate, channels, frames, width, floating, start)


def _bytes(file: FileIO, count: int) -> bytes:
    """Up to ``count`` bytes; fewer at the end of the file."""
    return file.read(count) or b""
