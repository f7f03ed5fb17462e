"""How one sample lies in a shard: its image, encoded or raw, then the arrays of its targets, end to end.

A row of whole numbers beside the shard says where the record begins and what shape everything has:
``source, shard, start, stored`` (bytes of the image as stored), the image's shape (C, *spatial), then the shape of
every target array in the order of the schema.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.sample import Sample, Target
from striate.data.images import decode_png, encode_png

RAW, PNG, ZLIB = "raw", "png", "zlib"
IMAGE_TYPES = ("uint8", "uint16", "float32")
TARGET_TYPES = ("bool", "uint8", "int16", "int32", "int64", "float32", "float64")
FIXED = 4
"""Columns of a row before the first shape."""


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
        return FIXED + 1 + self.axes + sum(array.rank for _, arrays in self.targets.values() for array in arrays)

    @property
    def image_columns(self) -> slice:
        """Where in a row the shape of the image is."""
        return slice(FIXED, FIXED + 1 + self.axes)

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

    def encode(self, sample: Sample) -> tuple[bytes, list[int]]:
        """The record of a sample and its row from ``stored`` on. Errors: ``InputError`` if it is unlike the others."""
        image = np.ascontiguousarray(sample.image.numpy())
        same = image.dtype == self.dtype and len(image) == self.channels and image.ndim == self.axes + 1
        same = same and sample.targets.keys() == self.targets.keys()
        stored = encode_image(image, self.codec) if same else b""
        parts, row = [stored], [len(stored), *image.shape]
        for name, (kind, arrays) in self.targets.items() if same else ():
            target = sample.targets[name]
            values = target.arrays()
            same = same and target.kind == kind and len(values) == len(arrays)
            for array in arrays if same else ():
                value = values[array.name].numpy()
                same = same and value.dtype == array.dtype and value.ndim == array.rank
                parts.append(value.tobytes())
                row += value.shape
        if not same:
            raise InputError(sample.name, _difference(sample, self), "bring all samples to one form")
        return b"".join(parts), row

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes of the whole record for each row (n, columns)."""
        total = rows[:, 3].copy()
        at = self.image_columns.stop
        for _, arrays in self.targets.values():
            for array in arrays:
                total += rows[:, at : at + array.rank].prod(axis=1) * np.dtype(array.dtype).itemsize
                at += array.rank
        return total

    def raw_image_bytes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes of the decoded image for each row."""
        return np.asarray(rows[:, self.image_columns].prod(axis=1) * np.dtype(self.dtype).itemsize)

    def image(self, row: NDArray[np.int64], stored: memoryview, where: object) -> NDArray[Any]:
        """The image in its stored bytes. Errors: ``InputError`` when they are damaged."""
        shape = tuple(row[self.image_columns].tolist())
        return decode_image(stored, shape, np.dtype(self.dtype), self.codec, where)

    def target_values(self, row: NDArray[np.int64], data: memoryview) -> dict[str, Target]:
        """The targets in the bytes behind the image."""
        found: dict[str, Target] = {}
        at, start = self.image_columns.stop, 0
        for name, (kind, arrays) in self.targets.items():
            tensors = {}
            for array in arrays:
                shape = tuple(row[at : at + array.rank].tolist())
                size = math.prod(shape) * np.dtype(array.dtype).itemsize
                values = np.frombuffer(data[start : start + size], dtype=array.dtype).reshape(shape)
                tensors[array.name] = torch.from_numpy(values.copy())
                at, start = at + array.rank, start + size
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


def encode_image(image: NDArray[Any], codec: str) -> bytes:
    """The bytes of an image (C, *spatial) under a codec, without loss."""
    if codec == PNG:
        return encode_png(image)
    return zlib.compress(image.tobytes(), 1) if codec == ZLIB else image.tobytes()


def decode_image(
    stored: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], codec: str, where: object
) -> NDArray[Any]:
    """What :func:`encode_image` wrote. Errors: ``InputError`` when it is damaged or of another size."""
    fix = "delete the folder and prepare again"
    size = math.prod(shape) * dtype.itemsize
    if codec == PNG:
        image = decode_png(bytes(stored), where)
        if image.shape != shape:
            raise InputError(where, f"a stored image of shape {image.shape} where {shape} was written", fix)
        return image
    data: bytes | memoryview = stored
    if codec == ZLIB:
        try:
            data = zlib.decompressobj().decompress(stored, size + 1)
        except zlib.error as error:
            raise InputError(where, f"a stored image is damaged ({error})", fix) from None
    if len(data) != size:
        raise InputError(where, f"a stored image of {len(data):,} bytes where {size:,} were written", fix)
    return np.frombuffer(data, dtype=dtype).reshape(shape)
