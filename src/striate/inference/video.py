"""Video files as frames, decoded one after the other and never held together, through PyAV (the extra ``video``).

Read: MP4 and QuickTime, Matroska and WebM, AVI, told by their first bytes, and the demuxer is named by them too, so
that no other of FFmpeg's can be reached (playlists that lead elsewhere, above all). Frames are turned as the file says.
Bytes that were changed in a way that the decoder does not notice cannot be told: many codecs have no checksums.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.images import SNIFFED

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_STILL = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis")
_QUICKTIME = (b"moov", b"mdat", b"wide", b"pnot")
_SLACK = 2.5
"""Frames that may be missing at the end of what the header tells before it is said."""


class Frame(NamedTuple):
    """A frame: its number from 0 on, the moment it is shown at in seconds from the beginning, and its picture."""

    number: int
    time: float
    picture: Image.Image


def container_of(first: bytes) -> str | None:
    """FFmpeg's name for the container of a file that begins so (:data:`~striate.data.images.SNIFFED` bytes); None where
    it is no video that is read."""
    if first.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if first[:4] == b"RIFF" and first[8:12] == b"AVI ":
        return "avi"
    if (first[4:8] == b"ftyp" and first[8:12] not in _STILL) or first[4:8] in _QUICKTIME:
        return "mov"
    return None


def is_video(path: str | Path) -> bool:
    """Whether an ordinary file is a video that is read, by its first bytes. Raises nothing."""
    try:
        with open_file(path) as (file, _):
            return container_of(file.read(SNIFFED) or b"") is not None
    except (InputError, OSError):
        return False


def video_frames(
    path: str | Path,
    most: int,
    every: int = 1,
    skip: Callable[[str, str], None] = lambda name, reason: None,
    told: Callable[[int], None] = lambda frames: None,
) -> Iterator[Frame]:
    """Every ``every``-th frame of a video, of at most ``most`` pixels each, in order. ``told`` hears first how many
    frames there are by the header, where that says so.

    What is damaged is left out and told to ``skip`` (name, reason) once at the end, with how much it was. A picture is
    RGB, RGBA where the video has transparency, or 16-bit grey. Errors: ``InputError`` where there is no PyAV, no
    picture at all, or the pixels are too many.
    """
    try:
        import av
    except ImportError:
        raise InputError(path, "videos need PyAV (pip install striate[video])", "install it") from None
    with open_file(path) as (file, _):
        name = container_of(file.read(SNIFFED) or b"")
        file.seek(0)
        try:
            container = av.open(file, mode="r", format=name, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise InputError(path, f"the video is damaged ({_reason(error)})", "replace or remove it") from None
        with container:
            yield from _decoded(container, str(path), most, every, skip, told)


def _decoded(
    container: "InputContainer",
    path: str,
    most: int,
    every: int,
    skip: Callable[[str, str], None],
    told: Callable[[int], None],
) -> Iterator[Frame]:
    streams = [one for one in container.streams.video if not one.disposition & one.disposition.attached_pic]
    if not streams:
        raise InputError(path, "it has no pictures (no stream of video)", "remove it")
    stream = streams[0]
    rate = float(stream.average_rate or stream.base_rate or 25)
    begin = float((stream.start_time or 0) * (stream.time_base or 0))
    damaged: list[tuple[int, str]] = []
    duration = _duration(container, stream)
    if duration is not None:
        told(round(duration * rate))
    number, time = -1, -1 / rate
    for frame in _frames_of(container, stream):
        if isinstance(frame, str):
            damaged.append((number + 1, frame))
            continue
        number += 1
        time = number / rate if frame.pts is None else float(frame.time) - begin
        if frame.is_corrupt:
            damaged.append((number, "a frame is damaged"))
        elif number % every == 0:
            if frame.width * frame.height > most:
                cause = f"{frame.width} x {frame.height} pixels are more than the {most:,} allowed"
                raise InputError(f"{path}:{number}", cause, "make it smaller, or allow more with maximum_pixels")
            yield Frame(number, time, _picture(frame))
    if damaged:
        more = f"; {len(damaged) - 1} more such places" if len(damaged) > 1 else ""
        skip(f"{path}:{damaged[0][0]}", f"{damaged[0][1]}{more}")
    if duration is not None and duration - (time + 1 / rate) > _SLACK / rate:
        skip(path, f"its header tells of {duration:.2f} s, and it ends after {max(0.0, time + 1 / rate):.2f} s")
    elif number < 0:
        skip(path, "it has no frame that can be read")


def _frames_of(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame | str"]:
    """The frames as far as they can be decoded, and in words what is wrong where they cannot."""
    import av

    packets: Iterator[Packet[VideoStream]] = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            yield f"the file is damaged ({_reason(error)})"
            return
        if packet is None:
            return
        if packet.is_corrupt:  # the file ends inside it
            yield "a frame is cut off"
            continue
        try:
            found = packet.decode()
        except av.error.FFmpegError as error:
            yield f"a frame is damaged ({_reason(error)})"
            continue
        yield from found


def _picture(frame: "VideoFrame") -> Image.Image:
    parts = frame.format.components
    if len(parts) == 1 and parts[0].bits > 8 and not frame.format.has_palette:
        values: Any = frame.to_ndarray(format="gray16le").astype(np.uint16)
    else:
        clear = frame.format.has_palette or any(part.is_alpha for part in parts)
        values = frame.to_ndarray(format="rgba" if clear else "rgb24")
    turns = round(frame.rotation / 90) % 4  # counted counterclockwise, as numpy does
    return Image.fromarray(np.ascontiguousarray(np.rot90(values, turns)) if turns else values)


def _duration(container: "InputContainer", stream: "VideoStream") -> float | None:
    """The seconds of pictures that the header tells of; None where it tells none of them alone."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:  # else that of what is left
        return float(stream.frames / stream.average_rate)
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(Fraction(container.duration, 1_000_000))
    return None


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0]
