"""A run of the smallest network through the loop, one process's part of it at a time."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.core.modelfile import weights_sha256
from striate.core.sample import Batch
from striate.tasks.classification import Classification
from striate.training import checkpoint
from striate.training.loop import History, Progress, train
from striate.training.optim import SGD
from striate.training.schedule import OneCycle
from striate.training.settings import TrainingSettings
from striate.training.step import BlockStep, GeneralStep

OPTIMISER, SCHEDULE = SGD(rate=0.1, momentum=0.9), OneCycle()


def batch_at(step: int) -> Batch:
    made = torch.Generator().manual_seed(step)
    return Batch(
        torch.randn(4, 3, generator=made), {"label": torch.randint(0, 2, (4,), generator=made)}, torch.arange(4)
    )


class Recorded:
    """A step that remembers its blocks and does something before each."""

    def __init__(self, inner: BlockStep, before: Callable[[int, int], Tensor | None] | None = None) -> None:
        self.inner, self.before = inner, before
        self.blocks: list[tuple[int, int]] = []

    def run(self, first: int, count: int) -> Tensor:
        self.blocks.append((first, count))
        instead = self.before(first, count) if self.before else None
        return self.inner.run(first, count) if instead is None else instead


class Run:
    """One process's part of a run of a linear layer: made anew for each resume, in the same folder."""

    def __init__(self, folder: Path, *, total: int = 12, period: int = 4, **settings: Any) -> None:
        torch.manual_seed(0)
        self.folder, self.total, self.period = folder, total, period
        self.module = nn.Linear(3, 2)
        self.optimiser = OPTIMISER.build(self.module)
        self.settings = TrainingSettings(steps=total, optimiser=OPTIMISER, schedule=SCHEDULE, **settings)
        general = GeneralStep(
            module=self.module,
            task=Classification(),
            batch_at=batch_at,
            optimiser=self.optimiser,
            rate=OPTIMISER.rate,
            schedule=SCHEDULE,
            total=total,
            seed=0,
        )
        self.step = Recorded(general)
        self.validated: list[str] = []
        self.shown: list[Progress] = []
        self.said: list[str] = []
        self.figures: Callable[[], dict[str, Any]] = self.score

    def score(self) -> dict[str, Any]:
        """A figure that is a function of the weights."""
        self.validated.append(weights_sha256(self.module.state_dict()))
        return {"val/top1": float(self.module.weight.detach().sum())}

    def go(self) -> tuple[History, dict[str, Tensor]]:
        return train(
            module=self.module,
            optimiser=self.optimiser,
            step=self.step,
            settings=self.settings,
            total=self.total,
            period=self.period,
            validate=lambda at_end: self.figures(),
            headline="val/top1",
            larger_is_better=True,
            folder=self.folder / "checkpoints",
            say=self.said.append,
            show=self.shown.append,
        )

    def digest(self) -> str:
        return weights_sha256(self.go()[1])


def scripted(values: Sequence[float]) -> Callable[[], dict[str, Any]]:
    """Headline figures one after the other."""
    rest = iter(values)
    return lambda: {"val/top1": next(rest)}


def saved(folder: Path) -> History:
    found = checkpoint.latest(folder / "checkpoints", print)
    assert found is not None
    return History(**found.state["history"])


def stop_before(step: int, number: int = signal.SIGTERM) -> Callable[[int, int], None]:
    """Send this process a signal at the block that begins with, or holds, a step."""

    def send(first: int, count: int) -> None:
        if first <= step < first + count:
            os.kill(os.getpid(), number)

    return send
