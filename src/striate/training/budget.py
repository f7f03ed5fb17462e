"""How many steps fit into a time: a moment of training is timed, and the answer is written down before it begins.

The length of a run is decided once, so that the schedule knows its end and a resumed run follows the same plan.
"""

import math
import time
from collections.abc import Callable, Mapping

from striate.training.step import BlockStep

SHARE = 0.04
"""Part of the time that is spent on timing."""
MEASURING = 0.08
"""Part of the time that validations may take."""
FIRST = 3
"""Steps that warm up and are not timed."""


def seconds_a_step(step: BlockStep, seconds: float, first: int = 0) -> float:
    """Mean seconds of the steps from ``first`` on, timed for about ``seconds`` after a few that warm up. The step's
    weights change."""
    step.run(first, FIRST)
    started, done = time.perf_counter(), 0
    while done < FIRST or time.perf_counter() - started < seconds:
        step.run(first + FIRST + done, 1)
        done += 1
    return (time.perf_counter() - started) / done


def mean_seconds(step: BlockStep, seconds: float, parts: Mapping[int, float]) -> float:
    """Mean seconds of a step, timed for about ``seconds``. ``parts`` are the first of some steps that cost alike, with
    their share in the training."""
    return sum(share * seconds_a_step(step, seconds / len(parts), first) for first, share in parts.items())


def steps_within(
    minutes: float,
    step: BlockStep,
    validate: Callable[[], None],
    validations: int,
    say: Callable[[str], None],
    parts: Mapping[int, float] | None = None,
) -> tuple[int, int]:
    """Steps that take about ``minutes``, and steps between two validations, of which there are at most so many as
    asked and no more than take :data:`MEASURING` of the time. The timing is included; at least one step, said aloud.

    ``step`` runs on a copy of the network; ``validate`` measures once as the training will. ``parts`` are the first of
    some steps that cost alike, with their share in the training, where not all do.
    """
    began = time.perf_counter()
    each = mean_seconds(step, 60 * minutes * SHARE, parts or {0: 1.0})
    started = time.perf_counter()
    validate()
    measuring = time.perf_counter() - started
    left = 60 * minutes - (time.perf_counter() - began)
    times = min(validations, max(1, int(left * MEASURING / measuring)))
    steps = max(1, int((left - (times + 1) * measuring) / each))  # and one at the end for the report
    period = max(1, math.ceil(steps / times))
    say(
        f"length: {steps:,} steps in {minutes:g} minutes, validated every {period:,}"
        f" (a step takes {each:.3g} s, a validation {measuring:.3g} s)"
    )
    return steps, period
