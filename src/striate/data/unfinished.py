"""An unfinished preparation: the shards written so far, how the next is written, and how it is found again.

A shard is written whole; the file aside of it, written next, says which samples it holds and makes it count. The plan,
written first, says of which data and in which form. All three go when the index is written.
"""

import fcntl
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.disk import Disk, write_file
from striate.core.errors import InputError
from striate.data.record import Schema
from striate.data.shards import INDEX

PLAN = "plan.json"
LOCK = "lock"
OURS = ("shard-", ".striate-", PLAN, LOCK, "samples.npy", "labels.npy", "names.json", INDEX)
"""How the names of all files begin that a preparation writes."""
Say = Callable[[str], None]


@dataclass
class Done:
    """What has been prepared so far, from the first sample up to ``next``, and what waits for its shard: ``records`` of
    ``size`` bytes together, and their rows ``waiting``."""

    next: int = 0
    files: list[tuple[str, int]] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    size: int = 0
    waiting: list[list[int]] = field(default_factory=list)
    listed: tuple[int, int] = (0, 0)


def write_shard(done: Done, place: Path, following: int, disk: Disk) -> None:
    """Write the waiting records as the next shard, then the file aside that makes it count."""
    number = len(done.files)
    rows = np.array(done.waiting, dtype=np.int64)
    write_file(place / shard_name(number), done.records, done.size, disk)
    texts = {
        "next": following,
        "bytes": done.size,
        "skipped": done.skipped[done.listed[0] :],
        "notes": done.notes[done.listed[1] :],
    }
    _write_both(place / aside_name(number), disk, rows=rows, texts=np.frombuffer(json.dumps(texts).encode(), np.uint8))
    done.files.append((shard_name(number), done.size))
    done.rows.append(rows)
    done.listed = (len(done.skipped), len(done.notes))
    done.records, done.size, done.waiting = [], 0, []


def continued(place: Path, digest: str, samples: int, say: Say) -> tuple[Schema | None, Done]:
    """The plan and whole shards of a preparation that was broken off, if it was of the same data."""
    done = Done()
    try:
        plan = json.loads((place / PLAN).read_text())
        schema = Schema.from_json(plan["schema"]) if plan["fingerprint"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        schema = None
    while schema is not None:
        number = len(done.files)
        try:
            with np.load(place / aside_name(number), allow_pickle=False) as arrays:
                rows, texts = arrays["rows"], json.loads(arrays["texts"].tobytes())
            if (place / shard_name(number)).stat().st_size != texts["bytes"]:
                break
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            break
        done.files.append((shard_name(number), texts["bytes"]))
        done.rows.append(rows)
        done.skipped += [(name, reason) for name, reason in texts["skipped"]]
        done.notes += [(name, note) for name, note in texts["notes"]]
        done.next, done.listed = texts["next"], (len(done.skipped), len(done.notes))
    if schema is None and any(place.glob("shard-*")):
        say(f"the unfinished preparation in {place} was of other data: beginning again")
    for path in [*place.glob("shard-*.bin"), *place.glob("shard-*.npz")]:
        if int(path.stem.removeprefix("shard-")) >= len(done.files):
            path.unlink()
    if done.files:
        say(f"continuing the preparation in {place} after {done.next:,} of {samples:,} samples")
    return schema, done


@contextmanager
def held(place: Path, say: Say) -> Iterator[None]:
    """The folder for this process alone; others wait. The lock goes with the process, however it ends."""
    try:
        descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(place, f"nothing can be written there ({error.strerror})", "give another folder") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {place}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


def write_json(path: Path, value: dict[str, Any], disk: Disk) -> None:
    """Write JSON whole or not at all. Names that are no UTF-8 survive as escapes."""
    data = json.dumps(value).encode("ascii")
    write_file(path, [data], len(data), disk)


def write_array(path: Path, array: NDArray[Any], disk: Disk) -> None:
    """Write an NPY file whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_file(path, [buffer.getbuffer()], buffer.getbuffer().nbytes, disk)


def _write_both(path: Path, disk: Disk, rows: NDArray[Any], texts: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, texts=texts)
    write_file(path, [buffer.getbuffer()], buffer.getbuffer().nbytes, disk)


def shard_name(number: int) -> str:
    """The file of a shard."""
    return f"shard-{number:05d}.bin"


def aside_name(number: int) -> str:
    """The file aside of a shard, which goes when all is done."""
    return f"shard-{number:05d}.npz"
