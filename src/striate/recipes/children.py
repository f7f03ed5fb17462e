"""Trainings in processes of their own, several at a time, that stop together and leave checkpoints."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from striate.training.interruption import Interrupted, deaf_to_ctrl_c, stop_on_signals

POLL_SECONDS = 0.2
PATIENCE = 60.0
"""Seconds that a process has for its last checkpoint before it is killed."""


@dataclass(frozen=True)
class Child:
    """A training: ``body(*arguments, counter)`` runs in its own process and keeps its number of steps in the counter,
    whose lock need not be taken. ``name`` is what progress calls it."""

    name: str
    body: Callable[..., None]
    arguments: tuple[Any, ...]


def run_children(work: Sequence[Child], limit: int, show: Callable[[int, str], None]) -> list[int]:
    """Run them in their order, at most ``limit`` at once, and return their exit codes (negative: the signal that ended
    one). ``show`` is told the steps of all together and the names of those that run.

    SIGINT and SIGTERM are passed on as SIGTERM. Errors: :class:`Interrupted` then, when all have ended.
    """
    context = multiprocessing.get_context("spawn")
    counters = [context.Value("q", 0) for _ in work]
    running: dict[int, BaseProcess] = {}
    codes = [0] * len(work)
    following = 0
    with stop_on_signals() as stop:
        try:
            while following < len(work) or running:
                while following < len(work) and len(running) < limit and stop.number is None:
                    child = work[following]
                    arguments = (*child.arguments, counters[following])
                    process: BaseProcess = context.Process(target=child.body, args=arguments, name=child.name)
                    with deaf_to_ctrl_c():
                        process.start()
                    running[following] = process
                    following += 1
                time.sleep(POLL_SECONDS)
                for place, process in list(running.items()):
                    if process.exitcode is not None:
                        del running[place]
                        codes[place] = process.exitcode
                done = sum(counter.value for counter in counters)
                if done:  # while they only start there is nothing to tell the speed by
                    show(done, ", ".join(work[place].name for place in running))
                if stop.number is not None:
                    raise Interrupted(stop.number, done)
        finally:
            for process in running.values():
                if process.pid is not None and process.exitcode is None:
                    os.kill(process.pid, signal.SIGTERM)
            end = time.monotonic() + PATIENCE
            for process in running.values():
                process.join(max(0.0, end - time.monotonic()))
                if process.exitcode is None:
                    process.kill()
    return codes


def counted_steps(counter: "Synchronized[int]") -> Callable[[int, int, str], None]:
    """Progress of a training inside a child: keeps the steps in the counter, and stops, as after SIGTERM, when the
    process that started it is gone: nobody would wait for it any more, and its folder would stay held."""
    parent = multiprocessing.parent_process()

    def show(done: int, total: int, seen: str) -> None:
        counter.value = done
        if parent is not None and not parent.is_alive():
            os.kill(os.getpid(), signal.SIGTERM)

    return show
