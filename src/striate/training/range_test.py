"""The learning-rate range test: the rate grows exponentially from step to step, and the loss is watched.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186, section 3.3), there with rates
along a line; growing by a constant factor looks at every power of ten for as long.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.training.step import GeneralStep

LEAST_RATE, MOST_RATE = 1e-6, 10.0
STEPS = 150
MOST_STEPS = 500
MEMORY = 0.9
"""How much of the running mean of losses a step keeps, by which it is judged whether the loss explodes."""
EXPLODED = 4.0
"""The test ends where that mean is so many times its least value,"""
LOST = 0.5
"""and so much of what the loss had fallen by is lost again, which says more where it had come near to 0."""
SETTLED = 10
"""Steps of which nothing is judged: a mean of too few losses."""
WIDTH = 30
"""One part in so many of the steps is the deviation of the bell by which losses are smoothed for reading."""
BEGUN = 0.1
"""Part of the whole fall of the loss after which it counts as falling: before, slopes are chance."""


@dataclass(frozen=True)
class RangeTest:
    """Rates and what came of them, one a step taken: the ``losses``, and the ``means`` over neighbouring rates.

    ``lowest`` is the rate at which the mean is least. ``tenth`` is a tenth of it: fast, with room to the edge.
    ``steepest`` is the rate at which the mean falls fastest per factor of the rate, before ``lowest``. Both are None
    where the loss never fell. ``exploded`` says that the test ended before its last rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    means: tuple[float, ...]
    lowest: float | None
    tenth: float | None
    steepest: float | None
    exploded: bool


def range_test(
    step: GeneralStep,
    steps: int = STEPS,
    least: float = LEAST_RATE,
    most: float = MOST_RATE,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> RangeTest:
    """Take ``steps`` steps at rates from ``least`` to ``most``, fewer where the loss explodes. ``step`` is one whose
    schedule is constant; its weights are of no use afterwards. A function of the step's data, weights and seed.

    It ends where the running mean m_k = (b m_{k-1} + (1 - b) L_k), divided by 1 - b^(k+1), with b = 0.9, is four times
    its least value and back at half of what it had fallen by. For reading, losses are smoothed by a bell to both sides,
    which moves no minimum.
    """
    rates, losses, exploded = list[float](), list[float](), False
    mean, begun, lowest_mean = 0.0, 0.0, float("inf")
    for number, rate in enumerate(np.geomspace(least, most, steps).tolist()):
        step.rate = rate
        loss = float(step.run(number, 1)[0])
        mean = MEMORY * mean + (1 - MEMORY) * loss
        corrected = mean / (1 - MEMORY ** (number + 1))
        begun = corrected if number <= SETTLED else begun
        edge = max(EXPLODED * lowest_mean, lowest_mean + LOST * (begun - lowest_mean))
        if not np.isfinite(corrected) or (number > SETTLED and corrected > edge):
            exploded = True
            break
        lowest_mean = min(lowest_mean, corrected)
        rates.append(rate)
        losses.append(loss)
        show(number + 1, steps, f"rate {rate:.2g} loss {corrected:.4f}")
    means = _smoothed(losses, max(2.0, steps / WIDTH))
    lowest, steepest = _read(rates, means)
    tenth = None if lowest is None else lowest / 10
    return RangeTest(tuple(rates), tuple(losses), tuple(means.tolist()), lowest, tenth, steepest, exploded)


def _smoothed(losses: list[float], deviation: float) -> NDArray[np.float64]:
    """The mean of the losses around each one, weighted by a bell of this deviation in steps."""
    place = np.arange(len(losses))
    weights = np.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    return np.asarray(weights @ np.array(losses, dtype=np.float64) / weights.sum(axis=1))


def _read(rates: list[float], means: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The rate of the least mean and that of its steepest fall before; None where it never fell."""
    if len(means) <= 2 * SETTLED:
        return None, None
    at = SETTLED + int(means[SETTLED:].argmin())
    level = float(means[: max(2, at // 3)].mean())
    fall = level - float(means[at])
    if fall <= 0.02 * abs(level):
        return None, None
    above = np.flatnonzero(means[:at] >= level - BEGUN * fall)
    first = int(above[-1]) if len(above) else 0
    slope = np.gradient(means, np.log(rates))[first : at + 1]
    return rates[at], rates[first + int(slope.argmin())]
