"""Schedules of the learning rate: pure functions of the step, so that resuming needs no state."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

from pydantic import Field, StrictFloat, StrictInt, model_validator

from striate.core.spec import Spec

Fraction = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[StrictInt, Field(ge=0)] | Annotated[StrictFloat, Field(ge=0, le=1)]
"""A number of steps when whole (``500``), a fraction of the run when written with a point (``0.05``)."""


class Schedule(Spec, ABC):
    """What the optimiser's rate is multiplied by at each step.

    ``warmup`` steps w come first (a count, or a fraction of the run): the factor rises along a line, (step + 1) / w
    of the schedule's own first factor, reaches it at step w - 1, and the schedule takes the rest of the run from there.
    """

    warmup: Steps = 0

    def factor(self, step: int, total: int) -> float:
        """The factor for ``step`` of 0 .. total - 1. Errors: ``ValueError`` for a step outside the run."""
        if not 0 <= step < total:
            raise ValueError(f"step {step} is outside 0 to {total - 1}")
        first = min(count(self.warmup, total), total - 1)
        if step < first:
            return (step + 1) / first * self._after(first, first, total)
        return self._after(step, first, total)

    @abstractmethod
    def _after(self, step: int, first: int, total: int) -> float:
        """The factor at ``step``, warm-up over, where ``first`` is the first such step: first <= step < total."""


@final
class Constant(Schedule):
    """The same rate throughout: 1."""

    def _after(self, step: int, first: int, total: int) -> float:
        return 1.0


@final
class Cosine(Schedule):
    """Half a cosine from 1 to ``end_factor``: e + (1 - e) (1 + cos(pi t / T)) / 2 (Loshchilov and Hutter 2017, eq. 5).

    t counts from the end of the warm-up, T is what remains of the run then; ``end_factor`` itself would be step T.
    """

    end_factor: Fraction = 0.0

    def _after(self, step: int, first: int, total: int) -> float:
        share = (step - first) / (total - first)
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * share)) / 2


@final
class Step(Schedule):
    """The factor is multiplied by ``drop`` at each of ``milestones``, or again and again ``every`` so many steps.

    Both are counted from the start of the run, warm-up included, in steps or as fractions of the run; give one.
    """

    milestones: tuple[Steps, ...] = ()
    every: Steps | None = None
    drop: Fraction = 0.1

    @model_validator(mode="after")
    def _one_of_two(self) -> "Step":
        if bool(self.milestones) == (self.every is not None):
            raise ValueError("give either milestones or every")
        if self.every == 0:
            raise ValueError("every must be more than 0")
        return self

    def _after(self, step: int, first: int, total: int) -> float:
        if self.every is not None:
            return float(self.drop ** (step // max(count(self.every, total), 1)))
        return float(self.drop ** sum(count(milestone, total) <= step for milestone in self.milestones))


@final
class OneCycle(Schedule):
    """From ``start_factor`` up to 1 at the fraction ``peak`` of the run, then down to ``end_factor`` at its last step.

    Both ways along half a cosine, or a line with ``anneal="linear"`` (Smith and Topin 2018, in two phases). The
    defaults are those of torch: a start of 1/25 and an end of 1/25 of 1/10,000.
    """

    peak: Fraction = 0.3
    start_factor: Fraction = 0.04
    end_factor: Fraction = 4e-6
    anneal: Literal["cosine", "linear"] = "cosine"

    def _after(self, step: int, first: int, total: int) -> float:
        position, last = step - first, total - first - 1
        top = self.peak * (last + 1) - 1
        if position < top:
            return self._between(self.start_factor, 1.0, position / top)
        top = max(top, 0.0)
        return self._between(1.0, self.end_factor, (position - top) / (last - top)) if last > top else 1.0

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def count(steps: int | float, total: int) -> int:
    """A number of steps as it is, or a fraction of ``total`` steps rounded to whole ones."""
    return round(steps * total) if isinstance(steps, float) else steps
