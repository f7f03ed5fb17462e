"""What can be wrong with the values of one signal."""

import numpy as np
from numpy.typing import NDArray

RUN = 5
"""How many values in a row sit at the limit, at least, where a recording was clipped."""
SHARE = 0.03
"""Share of the values of a channel that sit at the limit, at least."""
FAR = 0.3
"""How far the limit is from the median, as a share of the range: a device that rests at its lowest value is not
clipped, and rests there most of the time."""
DISTINCT = 16
"""How many different values a channel has at least that can be called clipped: a switch has few."""


def signal_faults(values: NDArray[np.generic]) -> list[tuple[str, str]]:
    """(code, detail) of the faults of a signal (C, L): channels that never change or are clipped."""
    faults = []
    for number, channel in enumerate(values.astype(np.float64)):
        name = f"channel {number + 1} of {len(values)}" if len(values) > 1 else "it"
        if len(channel) < 2 or not np.isfinite(channel).all():
            continue
        if channel.min() == channel.max():
            faults.append(("constant-signal", f"{name} is {channel[0]:g} throughout"))
        elif (limit := _limit(channel)) is not None:
            at = channel == limit
            faults.append(
                (
                    "clipped-signal",
                    f"{name} sits at {limit:g} for {int(at.sum())} of {len(at)} values, {longest_run(at)} in a row",
                )
            )
    return faults


def _limit(channel: NDArray[np.float64]) -> float | None:
    """The extreme value at which a channel is clipped, or None."""
    low, high, middle = float(channel.min()), float(channel.max()), float(np.median(channel))
    for limit in (high, low):
        at = channel == limit
        if abs(limit - middle) < FAR * (high - low) or at.mean() < SHARE or longest_run(at) < RUN:
            continue
        if len(np.unique(channel)) >= DISTINCT:
            return limit
    return None


def longest_run(at: NDArray[np.bool_]) -> int:
    """The length of the longest run of true values in (L,)."""
    edges = np.diff(np.concatenate(([0], at.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((ends - starts).max(initial=0))
