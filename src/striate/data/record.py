"""How one sample lies in a shard: its image, encoded or raw, then the arrays of its targets, end to end.

A row of whole numbers beside the shard says where the record begins and what shape everything has: ``source, shard,
start, stored, targets`` (bytes of the image and of the targets as stored), the image's shape (C, *spatial), the shape
of every target array in the order of the schema, then the sample's original size, one number an axis.

Pixels of 8-bit images with 3 or 4 channels lie interleaved (H, W, C), so that a crop's rows are one run of bytes and
torch resizes them two to three times as fast; all else lies channel by channel.

Targets are exact: boxes and keypoints are the float64 they were computed in. They are compressed (zlib, level 1) where
the images are encoded too, to save space, and only where that makes them smaller; beside raw images they are raw, as a
mask of 360 x 480 takes 0.4 ms to decompress (from 5 % of its size), which is longer than to read it.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.sample import Sample, Target
from striate.data.images import decode_png, encode_png

RAW, PNG, ZLIB = "raw", "png", "zlib"
_AGAIN = "delete the folder and prepare again"
IMAGE_TYPES = ("uint8", "uint16", "float32")
TARGET_TYPES = ("bool", "uint8", "int16", "int32", "int64", "float32", "float64")
FIXED = 5
"""Columns of a row before the first shape."""
_WORTH = 1024
"""Targets of fewer bytes are not compressed."""

Stored = tuple[tuple[bytes, bytes], list[int]]
"""A record (the bytes of an image and of its targets) and its row from ``stored`` on."""


@dataclass(frozen=True)
class TargetArray:
    """One named array of a target: its type and number of dimensions."""

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class Schema:
    """What all records of a set have in common: types, numbers of dimensions, channels, and how images are stored.

    ``targets`` maps the name of a target to its kind and arrays.
    """

    dtype: str
    channels: int
    axes: int
    codec: str
    targets: Mapping[str, tuple[str, tuple[TargetArray, ...]]]

    @classmethod
    def of(cls, sample: Sample, codec: str = RAW) -> Self:
        """The schema of a set whose samples are like this one. Errors: ``InputError`` for types that are not stored."""
        dtype = str(sample.image.dtype).removeprefix("torch.")
        if dtype not in IMAGE_TYPES:
            raise InputError(sample.name, f"an image of type {dtype}", f"give one of {', '.join(IMAGE_TYPES)}")
        targets = {}
        for name, target in sorted(sample.targets.items()):
            arrays = [
                TargetArray(key, str(value.dtype).removeprefix("torch."), value.ndim)
                for key, value in sorted(target.arrays().items())
            ]
            targets[name] = (target.kind, tuple(arrays))
        return cls(dtype, sample.image.shape[0], sample.image.ndim - 1, codec, targets)

    @property
    def columns(self) -> int:
        """How many numbers a row has."""
        return int(self.original_columns.stop)

    @property
    def image_columns(self) -> slice:
        """Where in a row the shape of the image is."""
        return slice(FIXED, FIXED + 1 + self.axes)

    @property
    def original_columns(self) -> slice:
        """Where in a row the original size is."""
        ranks = sum(array.rank for _, arrays in self.targets.values() for array in arrays)
        start = self.image_columns.stop + ranks
        return slice(start, start + self.axes)

    @property
    def interleaved(self) -> bool:
        """Whether the channels of a pixel lie side by side, (H, W, C), unless a codec has its own order."""
        return self.axes == 2 and self.dtype == "uint8" and self.channels in (3, 4)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        targets = {
            name: {"kind": kind, "arrays": [[array.name, array.dtype, array.rank] for array in arrays]}
            for name, (kind, arrays) in self.targets.items()
        }
        return {
            "dtype": self.dtype,
            "channels": self.channels,
            "axes": self.axes,
            "codec": self.codec,
            "targets": targets,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back. Errors: ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        targets = {}
        for name, entry in data["targets"].items():
            arrays = tuple(TargetArray(str(key), str(dtype), int(rank)) for key, dtype, rank in entry["arrays"])
            if any(array.dtype not in TARGET_TYPES or not 0 <= array.rank <= 8 for array in arrays):
                raise ValueError("unknown type of a target array")
            targets[str(name)] = (str(entry["kind"]), arrays)
        schema = cls(str(data["dtype"]), int(data["channels"]), int(data["axes"]), str(data["codec"]), targets)
        if schema.dtype not in IMAGE_TYPES or schema.codec not in (RAW, PNG, ZLIB) or not 1 <= schema.axes <= 3:
            raise ValueError("unknown type or codec of images")
        return schema

    def encode(self, sample: Sample) -> Stored:
        """The record of a sample (the bytes of its image and of its targets) and its row from ``stored`` on.

        Errors: ``InputError`` if it is unlike the others.
        """
        image = sample.image.numpy()
        original = sample.size if sample.original is None else sample.original
        same = image.dtype == self.dtype and len(image) == self.channels and image.ndim == self.axes + 1
        same = same and sample.targets.keys() == self.targets.keys() and len(original) == self.axes
        parts: list[bytes] = []
        shapes: list[int] = []
        for name, (kind, arrays) in self.targets.items() if same else ():
            target = sample.targets[name]
            values = target.arrays()
            same = same and target.kind == kind and len(values) == len(arrays)
            for array in arrays if same else ():
                value = values[array.name].numpy()
                same = same and value.dtype == array.dtype and value.ndim == array.rank
                parts.append(value.tobytes())
                shapes += value.shape
        if not same:
            raise InputError(sample.name, _difference(sample, self), "bring all samples to one form")
        stored = _encoded(image, self.codec, self.interleaved)
        targets = _packed(b"".join(parts), self.codec)
        return (stored, targets), [len(stored), len(targets), *image.shape, *shapes, *original]

    def encode_labelled(
        self, images: NDArray[Any], labels: NDArray[Any] | None, originals: Sequence[tuple[int, ...]]
    ) -> list[Stored] | None:
        """What :meth:`encode` gives for n samples of one size with a label or no target, all at once.

        ``images`` (n, C, *spatial); ``labels`` int64 (n,), float32 (n, K) for tags, or None. None is returned where
        any would be unlike the others of the set.
        """
        wanted = {} if labels is None else {"label": ("label", (_label_array(labels),))}
        like = images.dtype == self.dtype and images.shape[1] == self.channels and images.ndim == self.axes + 2
        if not like or self.targets != wanted or any(len(one) != self.axes for one in originals):
            return None
        parts = [b""] * len(images) if labels is None else [_packed(label.tobytes(), self.codec) for label in labels]
        shape = [*images.shape[1:], *(() if labels is None else labels.shape[1:])]
        stored = (_encoded(image, self.codec, self.interleaved) for image in images)
        return [
            ((image, part), [len(image), len(part), *shape, *original])
            for image, part, original in zip(stored, parts, originals, strict=True)
        ]

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes of the whole record for each row (n, columns)."""
        return np.asarray(rows[:, 3] + rows[:, 4])

    def raw_image_bytes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes of the decoded image for each row."""
        return np.asarray(rows[:, self.image_columns].prod(axis=1) * np.dtype(self.dtype).itemsize)

    def image(self, row: NDArray[np.int64], stored: memoryview, where: object) -> NDArray[Any]:
        """The image (C, *spatial) in its stored bytes, interleaved ones as a view. Errors: ``InputError`` when they are
        damaged or of another size."""
        channels, *size = row[self.image_columns].tolist()
        if self.codec == PNG:
            image = decode_png(bytes(stored), where)
            if image.shape != (channels, *size):
                cause = f"a stored image of shape {image.shape} where {(channels, *size)} was written"
                raise InputError(where, cause, _AGAIN)
            return image
        dtype = np.dtype(self.dtype)
        data = _unpacked(stored, channels * math.prod(size) * dtype.itemsize, self.codec, where, "image")
        values = np.frombuffer(data, dtype=dtype)
        return (
            values.reshape(*size, channels).transpose(2, 0, 1) if self.interleaved else values.reshape(channels, *size)
        )

    def target_values(self, row: NDArray[np.int64], stored: memoryview, where: object) -> dict[str, Target]:
        """The targets in the bytes behind the image. Errors: ``InputError`` when they are damaged."""
        found: dict[str, Target] = {}
        shapes: list[tuple[int, ...]] = []
        at = self.image_columns.stop
        for _, arrays in self.targets.values():
            for array in arrays:
                shapes.append(tuple(row[at : at + array.rank].tolist()))
                at += array.rank
        types = [np.dtype(array.dtype) for _, arrays in self.targets.values() for array in arrays]
        lengths = [math.prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, types, strict=True)]
        data = _unpacked(stored, sum(lengths), ZLIB if len(stored) < sum(lengths) else RAW, where, "target")
        number = start = 0
        for name, (kind, arrays) in self.targets.items():
            tensors = {}
            for array in arrays:
                values = np.frombuffer(data[start : start + lengths[number]], dtype=types[number])
                tensors[array.name] = torch.from_numpy(values.reshape(shapes[number]).copy())
                start += lengths[number]
                number += 1
            found[name] = Target.kinds[kind].from_arrays(tensors)
        return found


def _difference(sample: Sample, other: Schema) -> str:
    own = Schema.of(sample)
    pairs = (
        (own.channels, other.channels, "channels"),
        (own.axes, other.axes, "axes"),
        (own.dtype, other.dtype, "values"),
    )
    return next(
        (f"{mine} {what} where the set has {theirs}" for mine, theirs, what in pairs if mine != theirs),
        "other targets than the set",
    )


def _label_array(labels: NDArray[Any]) -> TargetArray:
    return TargetArray("index" if labels.ndim == 1 else "tags", str(labels.dtype), labels.ndim - 1)


def _packed(targets: bytes, codec: str) -> bytes:
    """Targets as stored beside images of this codec: compressed where that is worth it."""
    if codec == RAW or len(targets) < _WORTH:
        return targets
    return min(zlib.compress(targets, 1), targets, key=len)


def _encoded(image: NDArray[Any], codec: str, interleaved: bool) -> bytes:
    """The bytes of an image (C, *spatial) under a codec, without loss."""
    if codec == PNG:
        return encode_png(image)
    data = (image.transpose(1, 2, 0) if interleaved else image).tobytes()
    return zlib.compress(data, 1) if codec == ZLIB else data


def _unpacked(stored: memoryview, size: int, codec: str, where: object, what: str) -> bytes | memoryview:
    """``size`` bytes. Errors: ``InputError`` when there are more or fewer, or they are damaged."""
    data: bytes | memoryview = stored
    if codec == ZLIB:
        try:
            data = zlib.decompressobj().decompress(stored, size + 1)
        except zlib.error as error:
            raise InputError(where, f"a stored {what} is damaged ({error})", _AGAIN) from None
    if len(data) != size:
        raise InputError(where, f"a stored {what} of {len(data):,} bytes where {size:,} were written", _AGAIN)
    return data
