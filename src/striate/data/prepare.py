"""Prepare once: every sample is decoded, checked, brought to its working size and written to shards.

Shards are filled in the order of the samples and written whole (temporary file, fsync, rename), each followed by a
small file that says which samples it holds; the index comes last. So a killed preparation continues after its last
whole shard, and what it makes does not depend on when it was killed or on the number of threads. Images are stored raw
when all fit the stated budget, else without loss: as PNG where that has the form (8 bits, 1 or 3 channels, 2 axes),
else compressed by zlib.

A sample is made sound first (:mod:`striate.data.sound`: faulty boxes are dropped and noted), then preprocessed with its
targets; its original size is kept beside it, so that predictions return to the pixels that were annotated.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from striate.core.disk import DISK, Disk, remove_stale
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.transform import Transform
from striate.data.fingerprint import combined
from striate.data.outcomes import Outcome, outcomes
from striate.data.reader import Reader
from striate.data.ready import Prepared, ready
from striate.data.record import PNG, RAW, ZLIB, Schema
from striate.data.shards import INDEX, VERSION, Shards, human
from striate.data.unfinished import (
    OURS,
    PLAN,
    Done,
    Say,
    aside_name,
    continued,
    held,
    shard_name,
    write_array,
    write_json,
    write_shard,
)

SHARD_BYTES = 64 * 1024 * 1024
BUDGET_BYTES = 2 * 1024**3
_TRIED = 32
"""How many samples are prepared to estimate the size of all."""
_CHUNK = 128
"""How many samples a thread takes at a time, at most: fewer where there are few, so that every thread has some."""
_CHUNK_BYTES = 8 * 1024 * 1024
"""How many bytes of samples a thread makes at a time, about: what waits for its turn to be written is in memory."""
Show = Callable[[int, int, str], None]


def fingerprint(reader: Reader, preprocessing: Transform) -> str:
    """A digest that changes when the data, the options or the preprocessing change."""
    return combined(reader.fingerprint(), preprocessing.to_json(), VERSION)


def prepare(
    reader: Reader,
    folder: str | os.PathLike[str],
    preprocessing: Transform,
    *,
    budget_bytes: int = BUDGET_BYTES,
    workers: int | None = None,
    say: Say = lambda text: None,
    show: Show = lambda done, total, seen: None,
    disk: Disk = DISK,
) -> Shards:
    """Write shards of every readable sample into ``folder``, or open those that are there already.

    ``show`` is told the samples done, their number, and in words how many were skipped. A second process preparing the
    same folder waits for the first. Errors: ``InputError`` when the folder holds anything else, when nothing can be
    read, when a class loses all its samples so that too few are left, and when the disk is full: then what this call
    wrote is removed.
    """
    place = Path(folder)
    digest = fingerprint(reader, preprocessing)
    if (place / INDEX).exists():  # without the lock: finished shards may lie where nothing can be written
        return _told(_opened(place, digest, reader), say)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(place, f"the folder cannot be made ({error.strerror})", "give another folder") from None
    with held(place, say):
        if (place / INDEX).exists():
            return _told(_opened(place, digest, reader), say)
        _demand_own(place)
        remove_stale(place, disk)
        schema, done = continued(place, digest, len(reader), say)
        threads, tried = workers or _cores(), dict[int, Prepared]()
        if schema is None:
            schema, tried = _planned(reader, preprocessing, place, budget_bytes, threads, say)
            write_json(place / PLAN, {"fingerprint": digest, "schema": schema.to_json()}, disk)
        before = len(done.files)
        try:
            _run(reader, preprocessing, schema, done, place, tried, threads, show, disk)
            _finish(reader, preprocessing, schema, done, place, digest, disk)
        except InputError:
            for number in range(before, len(done.files) + 1):
                for path in (place / shard_name(number), place / aside_name(number)):
                    path.unlink(missing_ok=True)
            if not before:
                (place / PLAN).unlink(missing_ok=True)
            raise
    for number in range(len(done.files)):
        (place / aside_name(number)).unlink(missing_ok=True)
    (place / PLAN).unlink(missing_ok=True)
    return _told(Shards.open(place), say)


def _told(shards: Shards, say: Say) -> Shards:
    """The shards, after saying what was skipped or noted when they were made: also where they are only opened."""
    if shards.skipped:
        name, reason = shards.skipped[0]
        say(f"{len(shards.skipped)} skipped, all listed in the report; first: {name}: {reason}")
    if shards.notes:
        say(f"{len(shards.notes)} noted; first: {shards.notes[0][0]}: {shards.notes[0][1]}")
    if shards.problems:
        say(f"{len(shards.problems):,} annotations left out or doubtful; `striate check` lists them")
    return shards


def _run(
    reader: Reader,
    preprocessing: Transform,
    schema: Schema,
    done: Done,
    place: Path,
    tried: dict[int, Prepared],
    workers: int,
    show: Show,
    disk: Disk,
) -> None:
    """Prepare the samples from ``done.next`` on, writing each shard as it fills."""
    total, shown = len(reader), time.monotonic()
    for position, outcome in _outcomes(reader, preprocessing, schema, done.next, tried, workers):
        size = sum(map(len, outcome.record))
        if done.size and done.size + size > SHARD_BYTES:
            write_shard(done, place, position, disk)
        if outcome.reason is None:
            done.waiting.append([position, len(done.files), done.size, *outcome.row])
            done.records += outcome.record
            done.size += size
        else:
            done.skipped.append((reader.name(position), outcome.reason))
        if outcome.notes:
            done.notes += [(reader.name(position), note) for note in outcome.notes]
        if time.monotonic() - shown > 0.1 or position + 1 == total:
            shown = time.monotonic()
            show(position + 1, total, f"{len(done.skipped)} skipped")
    if done.waiting:
        write_shard(done, place, total, disk)


def _outcomes(
    reader: Reader,
    preprocessing: Transform,
    schema: Schema,
    first: int,
    tried: dict[int, Prepared],
    workers: int,
) -> Iterator[tuple[int, Outcome]]:
    """The outcome of every sample from ``first`` on, in order, made by threads that keep a bounded distance ahead."""
    each = max((_raw_bytes(sample) for sample, _ in tried.values()), default=_CHUNK_BYTES // 8)
    size = max(1, min(_CHUNK, (len(reader) - first) // (8 * workers), _CHUNK_BYTES // each))

    def chunk(start: int) -> list[Outcome]:
        positions = range(start, min(start + size, len(reader)))
        known = {position: tried.pop(position) for position in positions if position in tried}
        return outcomes(reader, preprocessing, schema, positions, known)

    starts = iter(range(first, len(reader), size))
    pending: deque[tuple[int, Future[list[Outcome]]]] = deque()
    with _pool(workers) as pool:
        for start in starts:
            pending.append((start, pool.submit(chunk, start)))
            if len(pending) > 2 * workers:
                start, future = pending.popleft()
                yield from enumerate(future.result(), start)
        while pending:
            start, future = pending.popleft()
            yield from enumerate(future.result(), start)


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of which each computes alone: torch would otherwise start as many again inside every one of them."""
    threads = torch.get_num_threads()

    def begin() -> None:
        torch.get_num_threads()  # a thread's first question sets its number to the default, so ask before
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(workers, "prepare", begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what threads to come begin with is one number for the process


def _planned(
    reader: Reader, preprocessing: Transform, place: Path, budget: int, workers: int, say: Say
) -> tuple[Schema, dict[int, Prepared]]:
    """Prepare a few samples to find the form of all, and decide how they are stored. The size is said.

    Returns the samples prepared too, by position: they need not be prepared again. Errors: ``InputError`` when none of
    the first samples tried can be read or the disk has too little space.
    """
    places = np.unique(np.linspace(0, len(reader) - 1, min(_TRIED, len(reader))).astype(int)).tolist()
    found: dict[int, Prepared] = {}
    reasons: list[str] = []

    def attempt(positions: Sequence[int]) -> list[Prepared | InputError]:
        return ready(reader, preprocessing, positions)

    with _pool(workers) as pool:
        few = -(-len(places) // (2 * workers))
        first = pool.map(attempt, [places[start : start + few] for start in range(0, len(places), few)])
        results = chain.from_iterable(chain(first, (attempt([position]) for position in range(len(reader)))))
        for number, (position, result) in enumerate(zip(chain(places, range(len(reader))), results, strict=True)):
            if isinstance(result, InputError):
                reasons.append(f"{reader.name(position)}: {result.cause}")
            else:
                found[position] = result
            if found and number + 1 >= len(places):
                break
    if not found:
        raise InputError(
            reader.path, f"none of the {len(reader)} samples can be used (first: {reasons[0]})", "correct the data"
        )
    samples = [sample for sample, _ in found.values()]
    schema = Schema.of(samples[0])
    sizes = [_raw_bytes(sample) for sample in samples]
    raw = sum(sizes) / len(sizes) * len(reader)
    size = raw
    if raw > budget:
        plain = schema.axes == 2 and schema.dtype == "uint8" and schema.channels in (1, 3)
        schema = replace(schema, codec=PNG if plain else ZLIB)
        size = sum(_record_bytes(sample, schema) for sample in samples) / len(samples) * len(reader)
    about = "" if len(set(sizes)) == 1 and schema.codec == RAW else "about "
    why = f"{human(raw)} raw are {'more than' if schema.codec != RAW else 'within'} the budget of {human(budget)}"
    say(f"preparing {len(reader):,} samples into {place}: {about}{human(size)} stored {schema.codec} ({why})")
    free = shutil.disk_usage(place).free
    if size * 1.02 > free:
        raise InputError(
            place, f"{human(size)} are needed and {human(free)} are free", "free some space, or give another folder"
        )
    return schema, found


def _raw_bytes(sample: Sample) -> int:
    """The bytes of a sample that is stored raw."""
    arrays = [one for target in sample.targets.values() for one in target.arrays().values()]
    return sum(one.numel() * one.itemsize for one in (sample.image, *arrays))


def _record_bytes(sample: Sample, schema: Schema) -> int:
    """The bytes of a sample that is stored, 0 for one that does not fit and will be skipped."""
    try:
        return sum(map(len, schema.encode(sample)[0]))
    except InputError:
        return 0


def _finish(
    reader: Reader, preprocessing: Transform, schema: Schema, done: Done, place: Path, digest: str, disk: Disk
) -> None:
    """Write what makes the folder whole, the index last. Errors: ``InputError`` when too little is left."""
    if not done.rows:
        name, reason = done.skipped[0]
        raise InputError(reader.path, f"none of the samples can be used (first: {name}: {reason})", "correct the data")
    rows = np.concatenate(done.rows)
    sources = rows[:, 0]
    if reader.labels is not None:
        labels = np.asarray(reader.labels)[sources]
        left = int(labels.any(axis=0).sum()) if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))
        if reader.options.labelled and left < reader.options.minimum_classes:
            name, reason = done.skipped[0] if done.skipped else ("", "")
            raise InputError(
                reader.path,
                f"samples of {left} class can be used, at least {reader.options.minimum_classes} classes are needed "
                f"({len(done.skipped)} skipped; first: {name}: {reason})",
                "correct or replace the samples that were skipped",
            )
        write_array(place / "labels.npy", labels, disk)
    at = np.full(len(reader), -1, dtype=np.int64)
    at[sources] = np.arange(len(rows))
    splits = {name: at[part][at[part] >= 0].tolist() for name, part in reader.splits.items()}
    groups = [reader.group(source) for source in sources.tolist()]
    names = [reader.name(source) for source in sources.tolist()]
    texts = {"names": names, "groups": groups if any(g is not None for g in groups) else None, "splits": splits}
    write_array(place / "samples.npy", rows, disk)
    write_json(place / "names.json", texts, disk)
    index = {
        "striate_shards": VERSION,
        "fingerprint": digest,
        "data": reader.fingerprint(),
        "preprocessing": preprocessing.to_json(),
        "options": reader.settled.to_json(),
        "format": reader.format,
        "found": reader.found,
        "classes": list(reader.classes),
        "multi_label": reader.multi_label,
        "target": reader.target,
        "schema": schema.to_json(),
        "shards": done.files,
        "skipped": [*reader.skipped, *done.skipped],
        "notes": done.notes,
        "problems": [[one.code, one.file, one.detail] for one in reader.problems],
    }
    write_json(place / INDEX, index, disk)


def _opened(place: Path, digest: str, reader: Reader) -> Shards:
    shards = Shards.open(place)
    if shards.fingerprint != digest:
        what = "data or options" if shards.data_fingerprint != reader.fingerprint() else "preprocessing"
        raise InputError(
            place,
            f"it was prepared from other {what} than these ({reader.path})",
            "give another folder, or delete this one to prepare it again",
        )
    return shards


def _demand_own(place: Path) -> None:
    """Errors: ``InputError`` when the folder holds files that no preparation wrote: they might be the user's."""
    foreign = next((path for path in sorted(place.iterdir()) if not path.name.startswith(OURS)), None)
    if foreign is not None:
        raise InputError(place, f"it holds other files, such as {foreign.name}", "give an empty or new folder")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
