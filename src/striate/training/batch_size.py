"""The size of a batch, measured: as large as steps go on getting faster by, and as fits into the memory."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from striate.core.sample import Batch
from striate.tasks.task import Task
from striate.training.budget import FIRST
from striate.training.step import BlockStep, backward

SHARE = 0.5
"""Part of the free memory that a step may take: what it needs is reckoned from what it keeps, not from every buffer."""
RISE = 1.1
"""How many times as many samples a second a larger batch must bring."""
SMALLEST = 16
"""Where doubling begins, or with less where less suits the data: where samples a second do not rise at all, as on one
core, the smallest batch that fits would be the fastest and learn worst."""
LARGEST = 4096
TIMED_SECONDS = 0.4
MOST_SECONDS = 60.0
"""No larger batch is tried that would take measuring beyond this."""
STATES = 4
"""Copies of the weights that a step keeps: themselves, their gradients and what an optimiser holds, at most two."""


@contextmanager
def kept_bytes(module: nn.Module) -> Iterator[Callable[[], int]]:
    """Count what autograd keeps for the backward pass of what is computed inside, in bytes, the weights left out."""
    held = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(size for address, size in saved.items() if address not in held)


def step_bytes(
    module: nn.Module, task: Task, batch: Batch, precision: str, accumulate: int = 1
) -> Callable[[int], int]:
    """About how many bytes a step on so many samples takes: the weights :data:`STATES` times, the batch, and what one
    of its ``accumulate`` parts keeps for the backward pass, in proportion to what ``batch`` does. Gradients are left
    in the module."""
    with kept_bytes(module) as kept:
        backward(module, task, batch, precision)
    weights = sum(one.numel() * one.element_size() for one in module.parameters())
    images = batch.images.numel() * batch.images.element_size()

    def needed(size: int) -> int:
        return STATES * weights + int((images + kept() / accumulate) * size / len(batch))

    return needed


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; for the processor what the system calls available, within the limit of the
    process's control group where there is one. Errors: ``OSError`` where the system tells neither."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # a system without it, as macOS: half of what there is at all
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([free, *_group_bytes()])


def _group_bytes() -> Iterator[int]:
    """What the control group of the process leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        held = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if limit.isdecimal():
        yield max(0, int(limit) - used + int(held.get("inactive_file", 0)))


def choose_batch(
    make: Callable[[int], BlockStep],
    needed: Callable[[int], int],
    samples: int,
    free: int,
    first: int,
    say: Callable[[str], None],
) -> int:
    """The number of samples a step: doubled from ``first`` on, by half at the end, as long as the samples a second rise
    by a tenth and as a step takes at most :data:`SHARE` of the ``free`` bytes.

    ``make(size)`` gives a real step of this size on a copy of the network, ``needed(size)`` the bytes it takes, as
    reckoned by :func:`step_bytes`: a step that would not fit is never taken. A batch is at most an eighth of the
    ``samples``, so that an epoch has some steps. What was measured is said.
    """
    most = max(1, min(LARGEST, samples // 8))
    size, spent, ended = min(first, most), 0.0, ""
    while size > 1 and needed(size) > SHARE * free:
        size //= 2
    seconds = _seconds(make(size))
    rates = {size: size / seconds}
    while True:
        spent += max(TIMED_SECONDS, 2 * FIRST * seconds)
        fitting = [one for one in (2 * size, 3 * size // 2) if size < one <= most]
        if not fitting:
            ended = f"no more than {most:,} are tried, an eighth of {samples:,} samples and at most {LARGEST:,}"
            break
        larger = next((one for one in fitting if needed(one) <= SHARE * free), None)
        if larger is None:
            takes = _mebibytes(needed(fitting[-1]))
            ended = f"{fitting[-1]} take {takes}, over {SHARE:.0%} of the {_mebibytes(free)} that are free"
            break
        if spent + 3 * FIRST * seconds * larger / size > MOST_SECONDS:
            ended = f"{larger} would take over {MOST_SECONDS:.0f} s to measure"
            break
        step = make(larger)
        seconds = _seconds(step)
        if larger / seconds < RISE * rates[size]:  # another program may have been in the way
            seconds = min(seconds, _seconds(step))
        rates[larger] = larger / seconds
        if rates[larger] < RISE * rates[size]:
            ended = f"{larger} are not a tenth faster"
            break
        size = larger
    told = ", ".join(f"{one}: {rate:,.3g}" for one, rate in rates.items())
    say(f"batch: {size}, since {ended} (samples a second by size: {told}; a step takes {_mebibytes(needed(size))})")
    return size


def _seconds(step: BlockStep) -> float:
    """Median seconds of a step after a few that warm up: now and then another program is in the way."""
    step.run(0, FIRST)
    found: list[float] = []
    while len(found) < FIRST or sum(found) < TIMED_SECONDS:
        started = time.perf_counter()
        step.run(FIRST + len(found), 1)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
