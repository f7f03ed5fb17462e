"""One sample looked at: what is wrong with it by itself, and the little that is kept of it for comparison."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.data.doctor.alike import Print, print_of
from striate.data.doctor.check_boxes import box_faults
from striate.data.doctor.check_masks import mask_faults, pixel_counts
from striate.data.doctor.check_signals import signal_faults
from striate.data.doctor.diagnosis import Fault
from striate.data.doctor.endings import ends_early
from striate.data.images import ImageHeader
from striate.data.reader import Reader

if TYPE_CHECKING:
    from striate.core.sample import Target

SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}
"""The endings of the names of each format."""
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a sample. A few hundred bytes, whatever its size.

    ``digest`` identifies its values (empty: not decoded, unreadable or constant), ``target`` what it is labelled with,
    ``print`` is for finding images like it. ``sides`` (N, A) and ``classes`` (N,) are of its boxes, ``pixels`` (K,) of
    its mask. ``values`` is (channels, bits).
    """

    position: int
    faults: tuple[Fault, ...] = ()
    readable: bool = True
    digest: bytes = b""
    target: bytes = b""
    print: Print | None = None
    size: tuple[int, ...] = ()
    header: ImageHeader | None = None
    sides: NDArray[np.float32] | None = None
    classes: NDArray[np.int64] | None = None
    pixels: NDArray[np.int64] | None = None


@dataclass
class _Notes:
    """What is being found about one sample."""

    position: int
    name: str
    faults: list[Fault] = field(default_factory=list)

    def add(self, code: str, detail: str) -> None:
        """A fault of this sample."""
        self.faults.append(Fault(code, self.name, detail, (self.position,)))


def look(reader: Reader, position: int, *, decode: bool = True) -> Seen:
    """Look at one sample; with ``decode`` False at its header and its label, boxes or interval alone."""
    notes = _Notes(position, reader.name(position))
    known: dict[str, Any] = {}
    try:
        known["header"] = header = reader.header(position)
        known["size"] = size = reader.size(position)
        _check_header(header, notes)
        if decode:
            known |= _decoded(reader, position, notes)
    except InputError as error:
        early = "truncated" in error.cause or _ends_early(reader, position)
        notes.add("truncated" if early else "unreadable", error.cause)
        return Seen(position, tuple(notes.faults), readable=False, header=known.get("header"))
    if decode or reader.target != "mask":
        known |= _labelled(reader, position, size, notes)
    return Seen(position, tuple(notes.faults), **known)


def _check_header(header: ImageHeader | None, notes: _Notes) -> None:
    if header is None:
        return
    if header.orientation != 1:
        turned = {2: "mirrored", 3: "upside down", 4: "mirrored upside down"}.get(header.orientation, "on its side")
        notes.add("orientation", f"stored {turned} (EXIF orientation {header.orientation})")
    suffix = os.path.splitext(notes.name)[1].lower()
    belongs = next((name for name, suffixes in SUFFIXES.items() if suffix in suffixes), None)
    if belongs is not None and header.format in SUFFIXES and belongs != header.format:
        notes.add("format-mismatch", f"it holds {header.format}")


def _decoded(reader: Reader, position: int, notes: _Notes) -> dict[str, Any]:
    """Digest and print of the decoded values, with the faults they show. Errors: ``InputError``."""
    values = np.ascontiguousarray(reader.image(position))
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        notes.add("not-finite", f"{count:,} of {values.size:,} values are NaN or infinite")
        return {"digest": _digested([values])}
    if values.ndim == 2:
        for code, detail in signal_faults(values):
            notes.add(code, detail)
        even = not values.size or bool((values == values[:, :1]).all())
        return {} if even else {"digest": _digested([values])}
    flat = values.reshape(len(values), -1)
    if (flat == flat[:, :1]).all():
        notes.add("constant-image", f"every pixel is {', '.join(f'{value:g}' for value in flat[:, 0].tolist())}")
        return {}
    if reader.source_file(position) is not None and _ends_early(reader, position):
        notes.add("truncated", "the file has no end, what is missing was filled in")
    print_ = print_of(values) if values.ndim == 3 else None
    return {"digest": _digested([values]), "print": print_}


def _labelled(reader: Reader, position: int, size: tuple[int, ...], notes: _Notes) -> dict[str, Any]:
    """What a sample is labelled with, checked."""
    if reader.labels is not None and not reader.multi_label and reader.labels[position] < 0:
        notes.add("image-without-label", "")
    try:
        targets = reader.targets(position)
    except InputError as error:
        code = "mask-size" if reader.target == "mask" and "size" in error.cause else "label-unreadable"
        notes.add(code, error.cause)
        return {}
    found: dict[str, Any] = {"target": _target_digest(targets)}
    target = targets.get(reader.target)
    if target is not None and target.kind == "boxes":
        found |= _boxes(target, reader.classes, size, notes)
    elif target is not None and target.kind == "mask":
        found |= _mask(target, reader, position, size, notes)
    return found


def _boxes(target: Any, names: Sequence[str], size: tuple[int, ...], notes: _Notes) -> dict[str, Any]:
    bounds, classes = target.annotated().numpy(), target.classes.numpy()
    if not len(bounds):
        notes.add("no-boxes", "")
    if bounds.shape[1] == 2 * len(size):
        for fault in box_faults(bounds, classes, size, names, target.marks.numpy()):
            notes.add(fault.code, fault.detail)
    axes = bounds.shape[1] // 2
    return {"sides": np.abs(bounds[:, axes:] - bounds[:, :axes]).astype(np.float32), "classes": classes}


def _mask(target: Any, reader: Reader, position: int, size: tuple[int, ...], notes: _Notes) -> dict[str, Any]:
    values = target.values.numpy()
    unknown, several = unknown_values(reader, position), reader.multi_label
    for code, detail in mask_faults(values, target.ignore, reader.classes, size, unknown, several):
        notes.add(code, detail)
    return {"pixels": pixel_counts(values, len(reader.classes), several)}


def unknown_values(reader: Reader, position: int) -> Iterable[int]:
    """The values in a sample's mask that are no class, where its reader can tell."""
    told = getattr(reader, "unknown_values", None)
    return () if told is None else tuple(told(position))


def _target_digest(targets: "dict[str, Target]") -> bytes:
    named = [(name, tensor.numpy()) for _, one in sorted(targets.items()) for name, tensor in one.arrays().items()]
    return _digested([array for _, array in named])


def _digested(arrays: Sequence[NDArray[Any]]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _ends_early(reader: Reader, position: int) -> bool:
    file = reader.source_file(position)
    return file is not None and ends_early(file)
