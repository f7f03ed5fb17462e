"""What commands tell on standard error while they work; results go to standard output."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int, int, str], None]

LINE_SECONDS = 30.0
"""Off a terminal, progress is a line every tenth of the whole, and one at least this often."""


def say(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress_bar() -> Iterator[Show]:
    """A bar on a terminal, now and then a line elsewhere, both with the time left; call it with (done, total, text).

    When the total changes or less is done than before, something else has begun, and the bar starts again.
    """
    if not sys.stderr.isatty():
        yield progress_lines(say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def update(done: int, total: int, seen: str) -> None:
            if bar.tasks and (bar.tasks[0].total != total or done < bar.tasks[0].completed):
                bar.remove_task(bar.tasks[0].id)
            if not bar.tasks:  # the bar appears with its first figures, and knows its total from then on
                bar.add_task(seen, total=total, completed=done)
            bar.update(bar.tasks[0].id, completed=done, description=seen)

        yield update


def progress_lines(write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Show:
    """Progress as lines given to ``write``. The time left is told from the second line on, at the mean speed so far."""
    whole, begun_at, begun, last, last_at = -1, 0.0, 0, -1, 0.0

    def show(done: int, total: int, seen: str) -> None:
        nonlocal whole, begun_at, begun, last, last_at
        now = clock()
        if total != whole or done < last:
            whole, begun_at, begun, last = total, now, done, -1
        new = last < 0 or 10 * done // max(total, 1) != 10 * last // max(total, 1) or now - last_at >= LINE_SECONDS
        if not new or done == last:
            return
        left = ""
        if begun < done < total:
            left = f"{_duration((now - begun_at) / (done - begun) * (total - done))} left  "
        write(f"  {done:,}/{total:,}  {left}{seen}".rstrip())
        last, last_at = done, now

    return show


def _duration(seconds: float) -> str:
    """Seconds as 12 s, 3 min 05 s or 2 h 07 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
