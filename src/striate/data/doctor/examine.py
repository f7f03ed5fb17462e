"""The doctor: everything that is wrong with a data set by itself, with the file and the fix.

:func:`examine` decodes every sample once, in threads, and keeps a few hundred bytes of each. What a sample shows by
itself is found in :mod:`striate.data.doctor.look`, what samples show beside one another in
:mod:`striate.data.doctor.check_files`, what classes and splits show in :mod:`striate.data.doctor.check_labels`. What
the reader met is taken over. Every kind of fault is a row of :data:`striate.data.problems.CODES`.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from striate.data.doctor.check_files import compared, mixed, split_numbers
from striate.data.doctor.check_labels import counted, label_faults
from striate.data.doctor.diagnosis import Diagnosis, Fault, Finding, concerned, exit_code, gather
from striate.data.doctor.look import Seen, look
from striate.data.doctor.statistics import gathered
from striate.data.formats.folders import EXTENSIONS
from striate.data.reader import Reader

__all__ = ["Diagnosis", "Finding", "examine", "exit_code"]

Show = Callable[[int, int, str], None]

FEW = 200
"""How many samples are decoded when not all are."""
SECONDS = 1.5
"""How long that may take; annotations and headers may take as long once more."""
_CHUNK, _SMALL_CHUNK = 8, 2
_DOCUMENTS = {".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".doc", ".docx", ".cff", ".bib", ".py", ".sh", ".ipynb"}
_DOCUMENTS |= {".yaml", ".yml", ".toml", ".json", ".xml", ".csv", ".names", ".m"}
_NAMES = {"license", "licence", "readme", "copying", "authors", "makefile", "notice", "citation"}


def _silent(done: int, total: int, text: str) -> None:
    """Show nothing."""


def examine(reader: Reader, *, workers: int | None = None, deep: bool = True, show: Show = _silent) -> Diagnosis:
    """Look at every sample of a data set and say what is wrong with it; nothing is changed.

    ``deep`` False is for a look before every training: about 200 samples are decoded, evenly spread, within some two
    seconds; annotations and headers of the others are read for at most two seconds more. ``show`` is told (done, total,
    text). What is unreadable is a finding, never an exception.
    """
    every = range(len(reader))
    if deep:
        seen = list(_all(reader, every, workers or _cores(), True, show, None))
        decoded = len(seen)
    else:
        few = np.unique(np.linspace(0, len(reader) - 1, min(FEW, len(reader))).astype(int)).tolist()
        seen = list(_all(reader, few, workers or _cores(), True, show, time.monotonic() + SECONDS))
        decoded = len(seen)
        known = {one.position for one in seen}
        rest = [position for position in every if position not in known]
        seen += _all(reader, rest, workers or _cores(), False, show, time.monotonic() + SECONDS)
        seen.sort(key=lambda one: one.position)
    among = compared(reader, seen, split_numbers(reader))
    counts = counted(reader, seen)
    complete = len(seen) == len(reader) and (deep or reader.target != "mask")
    met = list(_from_reader(reader))
    told = {fault.file for fault in met if fault.code == "image-without-label"}
    faults = [
        *met,
        *(fault for one in seen for fault in one.faults if fault.code != "no-boxes" or fault.file not in told),
        *among.faults,
        *mixed(reader, seen),
        *label_faults(reader, counts, reader.problems, complete=complete),
    ]
    return Diagnosis(
        path=reader.path,
        format=reader.format,
        found=reader.found,
        samples=len(reader),
        splits={name: len(positions) for name, positions in reader.splits.items()},
        classes=reader.classes,
        class_counts=counts,
        findings=gather(faults),
        statistics=gathered(seen, reader.classes),
        looked_at=decoded,
        copies=among.copies,
        unreadable=tuple(one.position for one in seen if not one.readable),
        concerned=concerned(faults),
    )


def _from_reader(reader: Reader) -> Iterator[Fault]:
    """What the reader met, and what it passed over."""
    position = {reader.name(number): number for number in range(len(reader))} if reader.problems else {}
    for problem in reader.problems:
        at = position.get(problem.file)
        yield Fault(problem.code, problem.file, problem.detail, () if at is None else (at,))
    told = {problem.file for problem in reader.problems}
    for name, reason in reader.skipped:
        if name not in told:
            yield Fault(_skipped(name, reason), name, reason)


def _skipped(name: str, reason: str) -> str:
    """The code of a file that was passed over: an image that cannot be used, a document, or something else."""
    stem, suffix = os.path.splitext(os.path.basename(name).lower())
    if suffix in EXTENSIONS and "outside" not in reason:  # what lies in the wrong place may be as sound as any
        return "unreadable"
    return "not-a-sample" if suffix in _DOCUMENTS or stem in _NAMES else "skipped"


def _all(
    reader: Reader, positions: Sequence[int], workers: int, decode: bool, show: Show, until: float | None
) -> Iterator[Seen]:
    """The samples at these positions, in order, looked at by threads that keep a bounded distance ahead, until a time
    (monotonic seconds) if one is given."""

    def chunk(start: int) -> list[Seen]:
        return [look(reader, position, decode=decode) for position in positions[start : start + size]]

    size = _CHUNK if until is None else _SMALL_CHUNK  # what is under way when the time is over is still waited for
    pending: deque[Future[list[Seen]]] = deque()
    done, shown, faults = 0, time.monotonic(), 0
    with ThreadPoolExecutor(workers, thread_name_prefix="doctor") as pool:
        starts = iter(range(0, len(positions), size))
        while True:
            while len(pending) <= 2 * workers and (until is None or time.monotonic() < until):
                start = next(starts, None)
                if start is None:
                    break
                pending.append(pool.submit(chunk, start))
            if not pending:
                return
            for one in pending.popleft().result():
                done, faults = done + 1, faults + len(one.faults)
                yield one
            if time.monotonic() - shown > 0.1 or done == len(positions):
                shown = time.monotonic()
                show(done, len(positions), f"{faults:,} found")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
