"""A chain network, its data, and the ways to train copies of it: by autograd, by hand in torch, compiled."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.core.sample import Batch
from striate.layers.conv import Convolution
from striate.layers.graph import Chain
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import ReLU
from striate.tasks.classification import Classification
from striate.training.chain import ChainStep, chain_rows
from striate.training.compiled.network import lowered
from striate.training.compiled.step import CompiledStep
from striate.training.optim import SGD, AdamW, Optimiser, optimiser_tensors
from striate.training.schedule import Constant, Schedule
from striate.training.step import BlockStep, GeneralStep

SAMPLES, BATCH, CLASSES = 48, 12, 5

Trained = tuple[nn.Module, torch.optim.Optimizer, BlockStep]


def signals() -> tuple[Layer, ...]:
    """The network of the lecture, smaller."""
    convolution = Convolution(channels=6, kernel=3, stride=2)
    return convolution, ReLU(), convolution, ReLU(), convolution, ReLU(), Flatten(), Linear(features=CLASSES)


class Case:
    """A network, its data, and the three ways to train copies of it."""

    def __init__(
        self,
        *layers: Layer,
        shape: Shape = (1, 40),
        settings: Optimiser | None = None,
        schedule: Schedule | None = None,
        smoothing: float = 0.0,
        total: int = 200,
        batch: int = BATCH,
    ) -> None:
        torch.manual_seed(0)
        self.network, self.shape, self.total = Chain(layers=layers), shape, total
        self.settings, self.schedule = settings or SGD(rate=0.01, momentum=0.0), schedule or Constant()
        self.smoothing, self.batch_size = smoothing, batch
        self.module = self.network.build(shape)
        self.images, self.labels = torch.randn(SAMPLES, *shape), torch.randint(0, CLASSES, (SAMPLES,))

    def order(self, first: int, count: int) -> NDArray[np.int64]:
        """The rows of each step's batch: a function of its number."""
        steps = range(first, first + count)
        return np.stack([np.random.default_rng(step).permutation(SAMPLES)[: self.batch_size] for step in steps])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        rows = torch.from_numpy(self.order(step, 1)[0])
        return Batch(self.images[rows], {"label": self.labels[rows]}, rows)

    def general(self) -> Trained:
        """By autograd."""
        module = copy.deepcopy(self.module)
        optimiser = self.settings.build(module)
        step = GeneralStep(
            module=module,
            task=Classification(label_smoothing=self.smoothing),
            batch_at=self.batch,
            optimiser=optimiser,
            rate=self.settings.rate,
            schedule=self.schedule,
            total=self.total,
            seed=0,
        )
        return module, optimiser, step

    def chained(self) -> Trained:
        """By hand, in torch."""
        assert isinstance(self.settings, SGD)
        module = copy.deepcopy(self.module)
        optimiser = self.settings.build(module)
        rows = chain_rows(self.network, self.shape, self.batch_size)
        assert rows is not None
        step = ChainStep(
            module=module,
            rows=rows,
            images=self.images,
            labels=self.labels,
            order=self.order,
            batch=self.batch_size,
            smoothing=self.smoothing,
            optimiser=optimiser,
            settings=self.settings,
            schedule=self.schedule,
            total=self.total,
        )
        return module, optimiser, step

    def compiled(self, threads: int = 1) -> Trained:
        """In C, built for the network."""
        assert isinstance(self.settings, SGD | AdamW)
        module = copy.deepcopy(self.module)
        optimiser = self.settings.build(module)
        network = lowered(self.network, self.shape)
        assert network is not None
        step = CompiledStep(
            module=module,
            network=network,
            images=self.images,
            labels=self.labels,
            order=self.order,
            batch=self.batch_size,
            smoothing=self.smoothing,
            optimiser=optimiser,
            settings=self.settings,
            schedule=self.schedule,
            total=self.total,
            threads=threads,
        )
        return module, optimiser, step

    def gap(self, steps: int, kind: str) -> float:
        """The largest relative difference of loss over so many steps from the general step's, weights and the
        optimiser's state compared at the end. ``kind`` is ``chained`` or ``compiled``."""
        one, one_optimiser, general = self.general()
        other, other_optimiser, another = self.chained() if kind == "chained" else self.compiled()
        expected, found = general.run(0, steps), another.run(0, steps)
        torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            optimiser_tensors(other_optimiser, other), optimiser_tensors(one_optimiser, one), rtol=1e-2, atol=1e-3
        )
        assert float(expected[-1]) != float(expected[0])
        return float(((found - expected).abs() / expected).max())
