"""Trainings in processes of their own, several at a time, that stop together and leave checkpoints."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from striate.training.interruption import Interrupted, deaf_to_ctrl_c, stop_on_signals

POLL_SECONDS = 0.2
PATIENCE = 60.0
"""Seconds that a process has for its last checkpoint before it is killed."""


@dataclass(frozen=True)
class Child:
    """A training: ``body(*arguments, counter)`` runs in another process and keeps its number of steps in the counter,
    whose lock need not be taken. It ends by returning, or with SystemExit: a message goes to standard error, and its
    exit code is 1. ``name`` is what progress calls it."""

    name: str
    body: Callable[..., None]
    arguments: tuple[Any, ...]


@dataclass
class _Worker:
    """A process that takes one training after the other, and which one it has now."""

    process: BaseProcess
    line: "Connection[Child, int]"
    counter: "Synchronized[int]"
    place: int | None = None


def run_children(work: Sequence[Child], limit: int, show: Callable[[int, str], None]) -> list[int]:
    """Run them in their order, at most ``limit`` at once, and return their exit codes (negative: the signal that ended
    one). ``show`` is told the steps of all together and the names of those that run.

    A process runs several, one after the other, because it takes seconds to start; one that dies is replaced. SIGINT
    and SIGTERM are passed on as SIGTERM. Errors: :class:`Interrupted` then, when all have ended.
    """
    workers: list[_Worker] = []
    codes: dict[int, int] = {}
    following, done = 0, 0
    with stop_on_signals() as stop:
        try:
            while len(codes) < len(work):
                while len(workers) < min(limit, len(work) - len(codes)):
                    workers.append(_started())
                for worker in workers:
                    if worker.place is None and following < len(work) and stop.number is None:
                        worker.place, following = following, following + 1
                        with suppress(OSError):  # it is dead, which is seen below
                            worker.line.send(work[worker.place])
                if stop.number is None:
                    wait([worker.line for worker in workers], POLL_SECONDS)
                for worker in list(workers):
                    code = _code(worker)
                    if code is not None and worker.place is not None:
                        codes[worker.place], worker.place = code, None
                        done += worker.counter.value
                        worker.counter.value = 0
                    if worker.process.exitcode is not None:
                        workers.remove(worker)
                seen = done + sum(worker.counter.value for worker in workers)
                if seen:  # while they only start there is nothing to tell the speed by
                    names = (work[worker.place].name for worker in workers if worker.place is not None)
                    show(seen, ", ".join(names))
                if stop.number is not None:
                    raise Interrupted(stop.number, seen)
        finally:
            _end(workers)
    return [codes[place] for place in range(len(work))]


def _started() -> _Worker:
    """A new process that waits for work."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, counter))
    with deaf_to_ctrl_c():
        process.start()
    there.close()
    return _Worker(process, here, counter)


def _work(line: "Connection[int, Child]", counter: "Synchronized[int]") -> None:
    """The life of a process: trainings, until there is nobody to give it more. It then ends at once: taking apart what
    it has imported takes a second, for which somebody waits."""
    while True:
        try:
            child = line.recv()
        except (EOFError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        code = 0
        try:
            child.body(*child.arguments, counter)
        except SystemExit as end:
            if isinstance(end.code, str):
                sys.stderr.write(f"{end.code}\n")
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        try:
            line.send(code)
        except OSError:
            return


def _code(worker: _Worker) -> int | None:
    """How the training that a process had has ended, None where it has not."""
    try:
        return worker.line.recv() if worker.line.poll() else None
    except (EOFError, OSError):
        worker.process.join()
        return worker.process.exitcode


def _end(workers: Sequence[_Worker]) -> None:
    """Stop what still runs, give it the time for a checkpoint, and wait for it."""
    for worker in workers:
        if worker.place is not None and worker.process.pid is not None and worker.process.exitcode is None:
            os.kill(worker.process.pid, signal.SIGTERM)
        worker.line.close()
    end = time.monotonic() + PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.exitcode is None:
            worker.process.kill()


def counted_steps(counter: "Synchronized[int]") -> Callable[[int, int, str], None]:
    """Progress of a training inside a child: keeps the steps in the counter, and stops, as after SIGTERM, when the
    process that started it is gone: nobody would wait for it any more, and its folder would stay held."""
    parent = multiprocessing.parent_process()

    def show(done: int, total: int, seen: str) -> None:
        counter.value = done
        if parent is not None and not parent.is_alive():
            os.kill(os.getpid(), signal.SIGTERM)

    return show
