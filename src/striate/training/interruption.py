"""Ctrl-C and SIGTERM as a flag that the loop reads between blocks, so that a checkpoint is written first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """Training was asked to stop by a signal and has written a checkpoint. ``exit_code`` is 128 + signal number."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number, step)
        self.number = number
        self.step = step
        self.exit_code = 128 + number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name} after step {self.step}; checkpoint written"


class StopFlag:
    """The signal that has arrived, if any."""

    def __init__(self) -> None:
        self.number: int | None = None


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside do not hear Ctrl-C, which a terminal sends to them too, until they choose to.

    Whoever starts them passes it on as SIGTERM. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While inside, SIGINT and SIGTERM set the flag; a second Ctrl-C acts as usual, for the impatient.

    Outside the main thread, where Python takes no signals, the flag is never set.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(number: int, frame: FrameType | None) -> None:
        if flag.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.number = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, action in before.items():
            signal.signal(number, action)
