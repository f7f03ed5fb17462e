"""How many steps fit into a time: a moment of training is timed, and the answer is written down before it begins.

The length of a run is decided once, so that the schedule knows its end and a resumed run follows the same plan.
"""

import time
from collections.abc import Callable

from striate.training.step import BlockStep

SHARE = 0.04
"""Part of the time that is spent on timing."""
FIRST = 3
"""Steps that warm up and are not timed."""


def seconds_a_step(step: BlockStep, seconds: float) -> float:
    """Mean seconds of a step, timed for about ``seconds`` after a few that warm up. The step's weights change."""
    step.run(0, FIRST)
    started, done = time.perf_counter(), 0
    while done < FIRST or time.perf_counter() - started < seconds:
        step.run(FIRST + done, 1)
        done += 1
    return (time.perf_counter() - started) / done


def steps_within(
    minutes: float, step: BlockStep, validate: Callable[[], None], validations: int, say: Callable[[str], None]
) -> int:
    """Steps that with so many validations take about ``minutes``, the timing included; at least one, said aloud.

    ``step`` runs on a copy of the network; ``validate`` measures once as the training will.
    """
    began = time.perf_counter()
    each = seconds_a_step(step, 60 * minutes * SHARE)
    started = time.perf_counter()
    validate()
    measuring = time.perf_counter() - started
    left = 60 * minutes - (time.perf_counter() - began) - (validations + 1) * measuring
    steps = max(1, int(left / each))
    say(f"length: {steps:,} steps in {minutes:g} minutes (a step takes {each:.3g} s, a validation {measuring:.3g} s)")
    return steps
