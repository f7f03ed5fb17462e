"""Prepared data: a folder of shards, read with pread, so that a truncated file is an error message and not a signal.

A folder holds ``shard-00000.bin``, ... (records end to end, see :mod:`striate.data.record`), ``samples.npy`` (a row of
whole numbers a sample), ``labels.npy`` (where samples have labels), ``names.json`` and, written last, ``index.json``.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.core.sample import Label, Sample, Target
from striate.data.npy import read_npy
from striate.data.problems import Problem
from striate.data.record import RAW, Schema

VERSION = 2
INDEX = "index.json"
_AGAIN = "delete the folder and prepare again"
_WORKERS = min(8, os.cpu_count() or 1)


class Shards:
    """A prepared data set of n samples; positions are 0..n-1. Nothing is decoded until it is read.

    Attributes: ``folder``, ``fingerprint`` (of data, options and preprocessing), ``data_fingerprint`` (of data and
    options), ``classes``, ``multi_label``, ``target``, ``labels`` (int64 (n,), bool (n, K), or None), ``names``,
    ``groups`` (or None), ``splits`` (name to positions), ``sample_shape`` (C, *spatial), or None where it differs
    between samples, ``dtype``, ``preprocessing`` and ``options`` (JSON of the specs they were made with), ``found``
    (what the reader said), ``skipped`` and ``notes`` (pairs of name and reason), ``problems`` (what the reader left out
    or doubted), ``rows`` (the index: a row of whole numbers a sample, see :mod:`striate.data.record`).
    """

    def __init__(self, folder: Path, index: dict[str, Any], rows: NDArray[np.int64], texts: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = index["fingerprint"]
        self.data_fingerprint: str = index["data"]
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.multi_label: bool = bool(index["multi_label"])
        self.target: str = index["target"]
        self.found: str = index["found"]
        self.preprocessing: dict[str, Any] = index["preprocessing"]
        self.options: dict[str, Any] = index["options"]
        self.skipped: list[tuple[str, str]] = [(name, reason) for name, reason in index["skipped"]]
        self.notes: list[tuple[str, str]] = [(name, note) for name, note in index["notes"]]
        self.problems = [Problem(code, file, detail) for code, file, detail in index["problems"]]
        self.schema = Schema.from_json(index["schema"])
        self.dtype = self.schema.dtype
        self.files: list[tuple[str, int]] = [(str(name), int(size)) for name, size in index["shards"]]
        self.names: list[str] = texts["names"]
        self.groups: list[str | None] | None = texts["groups"]
        self.labels: NDArray[Any] | None = None
        self.rows = rows
        self.splits = {name: np.asarray(part, dtype=np.int64) for name, part in texts["splits"].items()}
        shapes = rows[:, self.schema.image_columns]
        same = bool((shapes == shapes[0]).all())
        self.sample_shape: tuple[int, ...] | None = tuple(shapes[0].tolist()) if same else None

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Shards":
        """Open a prepared folder, checking that everything is there and as long as it was.

        Errors: ``InputError`` when it is not prepared, was made by another version, or a file is damaged or cut.
        """
        place = Path(folder)
        if not (place / INDEX).exists():
            raise InputError(place, "it holds no finished prepared data (no index.json)", "prepare it first")
        try:
            index = _json(place / INDEX)
            if index.get("striate_shards") != VERSION:
                raise InputError(place / INDEX, f"version {index.get('striate_shards')} of shards", _AGAIN)
            rows = read_npy(place / "samples.npy")
            shards = cls(place, index, rows, _json(place / "names.json"))
            if (place / "labels.npy").exists():
                shards.labels = read_npy(place / "labels.npy")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(place, f"the prepared data is damaged ({error!r})", _AGAIN) from None
        shards._demand_whole()
        return shards

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def originals(self) -> NDArray[np.int64]:
        """The spatial size (n, A) that each sample had when it was annotated, before it was prepared."""
        return self.rows[:, self.schema.original_columns]

    def read(self, position: int) -> Sample:
        """One sample with its targets and original size. Errors: ``InputError`` when its shard is cut or damaged."""
        row = self.rows[position]
        data = self._bytes(row, int(row[3] + row[4]))
        stored = int(row[3])
        image = self.schema.image(row, data[:stored], self._where(row))
        return Sample(
            torch.from_numpy(image if image.flags.writeable else image.copy()),
            self.schema.target_values(row, data[stored:], self._where(row)),
            self.names[position],
            self.groups[position] if self.groups else None,
            tuple(row[self.schema.original_columns].tolist()),
        )

    def image(self, position: int) -> NDArray[Any]:
        """The image of one sample, (C, *spatial), without its targets. Errors: ``InputError``."""
        row = self.rows[position]
        return self.schema.image(row, self._bytes(row, int(row[3])), self._where(row))

    def region(self, position: int, low: Sequence[int], high: Sequence[int]) -> NDArray[Any]:
        """A part of one image: (C, *(high - low)) from pixel ``low`` up to, not including, ``high`` of every axis.

        Of raw images only the rows needed are read: what a crop leaves out costs nothing. Errors: ``InputError`` when
        the shard is cut or damaged; ``ValueError`` for a part that is empty or not inside the image.
        """
        row = self.rows[position]
        channels, *size = row[self.schema.image_columns].tolist()
        fits = len(low) == len(high) == len(size)
        if not fits or not all(0 <= a < b <= n for a, b, n in zip(low, high, size, strict=True)):
            raise ValueError(f"the part from {tuple(low)} to {tuple(high)} of an image of {_x(size)} pixels")
        parts = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        if self.schema.codec != RAW:
            return self.image(position)[:, *parts]
        rows = high[0] - low[0]
        across, pitch = size[1:], math.prod(size[1:])
        runs, each = (1, (*across, channels)) if self.schema.interleaved else (channels, tuple(across))
        out = np.empty((runs, rows, *each), dtype=self.dtype)
        line = pitch * out.itemsize * (channels // runs)
        start, plane = int(row[2]) + low[0] * line, size[0] * line
        with _open(self._where(row)) as descriptor:
            if rows == size[0]:
                _fill_from(descriptor, out.data.cast("B"), start, self._where(row))
            else:
                for run in range(runs):
                    _fill_from(descriptor, out[run].data.cast("B"), start + run * plane, self._where(row))
        image = out[0].transpose(2, 0, 1) if self.schema.interleaved else out
        return image[:, :, *parts[1:]]

    def images(self, positions: NDArray[np.integer]) -> NDArray[Any]:
        """The images of samples of one shape: (len(positions), C, *spatial), packed. Errors: ``InputError``."""
        shape = self.demand_one_shape()
        out = np.empty((len(positions), *shape), dtype=self.dtype)
        raw = self.schema.codec == RAW
        if raw and len(positions) > len(self) // 4:
            self._fill(out, np.asarray(positions))
            return out

        def put(place: int) -> None:
            row = self.rows[positions[place]]
            if raw and not self.schema.interleaved:
                _pread(self._where(row), out[place].data.cast("B"), int(row[2]))
            else:
                out[place] = self.image(int(positions[place]))

        if out.nbytes < 1 << 20 and raw:
            for place in range(len(out)):
                put(place)
        else:
            for _ in _pool().map(put, range(len(out))):
                pass
        return out

    def targets(self, positions: NDArray[np.integer]) -> dict[str, torch.Tensor | list[Target]]:
        """The targets by name: labels as one tensor (int64 (n,) or float32 (n, K)), other kinds as a list."""
        found: dict[str, torch.Tensor | list[Target]] = {}
        others = [name for name, (kind, _) in self.schema.targets.items() if kind != Label.kind or name != "label"]
        if "label" in self.schema.targets and "label" not in others and self.labels is not None:
            values = self.labels[positions]
            found["label"] = torch.from_numpy(values.astype(np.float32 if values.ndim == 2 else np.int64))
        if others:
            read = [self._targets_of(int(position)) for position in positions]
            found |= {name: [one[name] for one in read] for name in others}
        return found

    def resident(self, positions: NDArray[np.integer]) -> tuple[torch.Tensor, dict[str, torch.Tensor | list[Target]]]:
        """Images and targets of samples of one shape, whole, in memory. Errors: ``InputError``."""
        return torch.from_numpy(self.images(positions)), self.targets(positions)

    def describe(self) -> str:
        """What the folder holds, in a few lines."""
        shape = _x(self.sample_shape) if self.sample_shape else "several shapes"
        size = sum(size for _, size in self.files)
        splits = ", ".join(f"{name} {len(part):,}" for name, part in self.splits.items())
        lines = [
            f"{self.folder}: {len(self):,} samples, {shape} {self.dtype}, {len(self.classes)} classes",
            f"{human(size)} {self.schema.codec} in {len(self.files)} shards; splits: {splits}",
            f"{len(self.skipped)} skipped, {len(self.notes)} noted, {len(self.problems)} problems",
            *(f"  skipped {name}: {reason}" for name, reason in self.skipped),
            *(f"  noted {name}: {note}" for name, note in self.notes),
        ]
        return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines)

    def counts(self, positions: NDArray[np.integer]) -> tuple[int, ...]:
        """How many of these samples have each class."""
        if self.labels is None:
            return (0,) * len(self.classes)
        values = self.labels[positions]
        if values.ndim == 2:
            return tuple(int(count) for count in values.sum(axis=0))
        return tuple(np.bincount(values[values >= 0], minlength=len(self.classes)).tolist())

    def statistics(
        self, positions: NDArray[np.integer], most: int = 10_000
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over (at most ``most``, evenly spread) samples, in float64."""
        chosen = np.asarray(positions)[:: max(1, -(-len(positions) // most))]
        total = square = np.zeros(self.schema.channels)
        count = 0
        for start in range(0, len(chosen), 256):
            part = chosen[start : start + 256]
            images = [self.images(part)] if self.sample_shape else [self.image(int(p))[None] for p in part]
            for image in images:
                values = image.astype(np.float64).swapaxes(0, 1).reshape(self.schema.channels, -1)
                total = total + values.sum(axis=1)
                square = square + (values**2).sum(axis=1)
                count += values.shape[1]
        mean = total / max(count, 1)
        deviation = np.sqrt(np.maximum(square / max(count, 1) - mean**2, 0))
        return tuple(mean.tolist()), tuple(deviation.tolist())

    def image_bytes(self, positions: NDArray[np.integer]) -> int:
        """The size of the decoded images in bytes."""
        return int(self.schema.raw_image_bytes(self.rows[positions]).sum())

    def demand_one_shape(self) -> tuple[int, ...]:
        """The shape of every sample. Errors: ``InputError`` where they differ."""
        if self.sample_shape is None:
            shapes = sorted({tuple(row) for row in self.rows[:, self.schema.image_columns].tolist()})
            raise InputError(
                self.folder,
                f"samples of {len(shapes)} shapes ({_x(shapes[0])} to {_x(shapes[-1])}) cannot be batched",
                "bring them to one size in the preprocessing (resize, letterbox or crop)",
            )
        return self.sample_shape

    def _targets_of(self, position: int) -> dict[str, Target]:
        row = self.rows[position]
        return self.schema.target_values(row, self._bytes(row, int(row[4]), int(row[3])), self._where(row))

    def _where(self, row: NDArray[np.int64]) -> Path:
        return self.folder / self.files[int(row[1])][0]

    def _bytes(self, row: NDArray[np.int64], size: int, offset: int = 0) -> memoryview:
        path = self._where(row)
        buffer = bytearray(size)
        _pread(path, memoryview(buffer), int(row[2]) + offset)
        return memoryview(buffer)

    def _fill(self, out: NDArray[Any], positions: NDArray[np.integer]) -> None:
        """Read raw images shard by shard. Records of one length lie evenly, so a shard is one strided view."""
        sizes = self.schema.sizes(self.rows)
        length = int(self.rows[0, 3])
        of_shard = self.rows[positions, 1]
        for shard, (name, size) in enumerate(self.files):
            places = np.flatnonzero(of_shard == shard)
            if not len(places):
                continue
            buffer = np.empty(size, dtype=np.uint8)
            _pread(self.folder / name, buffer.data, 0)
            chosen = positions[places]
            starts = self.rows[chosen, 2]
            stride = int(sizes[chosen[0]])
            if (sizes[self.rows[:, 1] == shard] == stride).all() and not (starts % stride).any() and size % stride == 0:
                stored = buffer.reshape(-1, stride)[starts // stride, :length]
            else:
                stored = np.stack([buffer[start : start + length] for start in starts])
            if self.schema.interleaved:
                channels, *spatial = out.shape[1:]
                out[places] = stored.reshape(-1, *spatial, channels).transpose(0, 3, 1, 2)
            else:
                out.reshape(len(out), -1).view(np.uint8)[places] = stored

    def _demand_whole(self) -> None:
        """Errors: ``InputError`` when a file is missing, cut or grown, or a row points outside its shard."""
        for name, size in self.files:
            path = self.folder / name
            if os.path.basename(name) != name:
                raise InputError(self.folder / INDEX, f"the name {name!r} of a shard leads elsewhere", _AGAIN)
            there = path.stat().st_size if path.exists() else -1
            if there != size:
                what = "is missing" if there < 0 else f"has {there:,} bytes where {size:,} were written"
                raise InputError(path, f"the shard {what}", _AGAIN)
        rows, count = self.rows, len(self.rows)
        sizes = np.array([size for _, size in self.files], dtype=np.int64)
        ok = rows.ndim == 2 and count > 0 and rows.shape[1] == self.schema.columns and rows.min() >= 0
        ok = ok and rows[:, 1].max() < len(sizes)
        ok = ok and bool(
            (rows[:, 2:] <= 1 << 40).all() and (rows[:, 2] + self.schema.sizes(rows) <= sizes[rows[:, 1]]).all()
        )
        ok = ok and (self.schema.codec != RAW or bool((self.schema.raw_image_bytes(rows) == rows[:, 3]).all()))
        ok = ok and len(self.names) == count and (self.groups is None or len(self.groups) == count)
        ok = ok and (self.labels is None or len(self.labels) == count)
        ok = ok and all(len(part) == 0 or (part.min() >= 0 and part.max() < count) for part in self.splits.values())
        if not ok:
            raise InputError(self.folder, "the prepared data is damaged (its index does not fit its shards)", _AGAIN)


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that read and decode, started when first needed and kept: starting them costs as much as a batch."""
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="shards")


def _pread(path: Path, buffer: memoryview, start: int) -> None:
    """Fill the buffer from a position of a file. Errors: ``InputError`` when it ends before, or cannot be read."""
    with _open(path) as descriptor:
        _fill_from(descriptor, buffer, start, path)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(path, f"the shard cannot be opened ({error.strerror})", _AGAIN) from None
    try:
        yield descriptor
    except OSError as error:
        raise InputError(path, f"the shard cannot be read ({error.strerror})", "check the disk") from None
    finally:
        os.close(descriptor)


def _fill_from(descriptor: int, buffer: memoryview, start: int, path: Path) -> None:
    filled = 0
    while filled < len(buffer):
        count = os.preadv(descriptor, [buffer[filled : filled + (1 << 30)]], start + filled)
        if not count:
            raise InputError(path, f"the shard ends at byte {start + filled:,}, more was written", _AGAIN)
        filled += count


def _json(path: Path) -> dict[str, Any]:
    # not the strict JSON of model files: names that are no UTF-8 hold half surrogates here
    with open_file(path) as (file, _):
        data = json.loads((file.readall() or b"").decode("ascii"))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no object")
    return data


def _x(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def human(size: float) -> str:
    """A number of bytes for people."""
    power = min(4, int(math.log(max(size, 1), 1024)))
    return f"{size / 1024**power:.{0 if not power else 1}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
