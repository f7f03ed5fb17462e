"""How a block of steps is run. The loop hands over a first step and a count, and gets back one loss a step.

Step k is a pure function of (weights, optimiser state, data, seed, k): the batch comes from the loader by its number,
and torch's generator is seeded from (seed, k) before it for what is random inside the network.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from striate.core.random import torch_seed
from striate.core.sample import Batch
from striate.tasks.task import Task
from striate.training.average import Average
from striate.training.convolutions.takeover import own_convolutions
from striate.training.depth import frozen_norms
from striate.training.optim import set_rate
from striate.training.schedule import Schedule

MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Channels-last layouts by the number of dimensions of a batch; 1-D signals have none."""


class BlockStep(Protocol):
    """Runs steps ``first`` to ``first + count - 1``; returns the mean training loss of each, (count,) float32."""

    def run(self, first: int, count: int) -> Tensor:
        """Run the block. Weights and optimiser state are changed in place."""


class GeneralStep:
    """Forward, loss, backward and update by autograd, for any network and task.

    ``batch_at(k)`` gives the batch of step k on the device. ``precision`` is ``float32``, ``float32 channels-last``,
    ``winograd channels-last`` (float32 by :mod:`striate.training.convolutions`) or ``bfloat16 channels-last``. ``rate``
    is multiplied by the schedule's factor. ``clip`` bounds the norm of the gradient of all weights together (Pascanu et
    al. 2013, arXiv:1211.5063). ``average`` takes in the weights of every step. ``accumulate`` is in how many parts the
    network sees a batch (:func:`backward`). The norms in rows named by ``freeze`` keep their statistics; their
    parameters were frozen before (:func:`striate.training.depth.freeze`).
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        task: Task,
        batch_at: Callable[[int], Batch],
        optimiser: torch.optim.Optimizer,
        rate: float,
        schedule: Schedule,
        total: int,
        seed: int,
        clip: float | None = None,
        precision: str = "float32",
        average: Average | None = None,
        accumulate: int = 1,
        freeze: Sequence[str] = (),
    ) -> None:
        self.average = average
        self.accumulate = accumulate
        self.still = frozen_norms(module, freeze)
        self.module = module
        self.task = task
        self.batch_at = batch_at
        self.optimiser = optimiser
        self.schedule = schedule
        self.total = total
        self.seed = seed
        self.clip = clip
        self.precision = precision
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.rate = rate

    def run(self, first: int, count: int) -> Tensor:
        """See :class:`BlockStep`."""
        self.module.train()
        for norm in self.still:
            norm.eval()
        losses = []
        for number in range(first, first + count):
            set_rate(self.optimiser, self.rate * self.schedule.factor(number, self.total))
            seed_generators(torch_seed(self.seed, number))
            batch = self.batch_at(number)
            self.optimiser.zero_grad(set_to_none=True)
            losses.append(backward(self.module, self.task, batch, self.precision, self.accumulate))
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.clip)
            self.optimiser.step()
            if self.average is not None:
                self.average.update(number + 1)
        return torch.stack(losses).float().cpu()


def seed_generators(seed: int) -> None:
    """Seed torch's generators on the processor and, where there is one in use, the accelerator."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def backward(module: nn.Module, task: Task, batch: Batch, precision: str, accumulate: int = 1) -> Tensor:
    """Leave the gradient of the batch's mean loss in the weights, which have none; returns that loss, detached.

    With ``accumulate`` above 1 the network sees the batch in so many parts, one after the other. A loss is a sum and
    what to divide it by, so that with parts p the gradient is that of the whole batch up to rounding:

        grad (sum_p L_p / sum_p n_p) = (sum_p grad L_p) / (sum_p n_p)

    What depends on other samples of the batch (batch norm) or is drawn inside the network (dropout) sees the parts.
    """
    if accumulate == 1:
        total, count = _loss(module, task, batch, precision)
        loss = total / (count or 1)  # a batch in which nothing counts (masks that are all void) teaches nothing
        loss.backward()
        return loss.detach()
    summed, counted = torch.zeros(()), 0.0
    for part in parts(batch, accumulate):
        total, count = _loss(module, task, part, precision)
        total.backward()
        summed, counted = summed + total.detach().float().cpu(), counted + count
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    torch._foreach_div_(gradients, counted or 1.0)
    return summed / (counted or 1.0)


def parts(batch: Batch, count: int) -> list[Batch]:
    """The batch in ``count`` consecutive parts whose sizes differ by one at most; no part is empty."""
    found, first = [], 0
    for images in batch.images.tensor_split(min(count, len(batch))):
        place = slice(first, first + len(images))
        targets = {name: one[place] for name, one in batch.targets.items()}
        found.append(Batch(images, targets, batch.index[place]))
        first = place.stop
    return found


def _loss(module: nn.Module, task: Task, batch: Batch, precision: str) -> tuple[Tensor, float]:
    """The sum of the losses of a batch, with its graph, and what to divide it by."""
    images = lay_out(batch.images, precision)
    if precision.startswith("bfloat16"):
        with torch.autocast(images.device.type, torch.bfloat16):
            raw = module(images)
        raw = {name: one.float() for name, one in raw.items()} if isinstance(raw, dict) else raw.float()
    elif precision.startswith("winograd"):
        with own_convolutions(module):
            raw = module(images)
    else:
        raw = module(images)
    return task.loss(raw, batch.targets[task.target])


def measuring(module: nn.Module, precision: str) -> AbstractContextManager[None]:
    """Inside, forward passes that nothing is learnt from are computed as fast as those of the training are, where that
    is as exact up to rounding."""
    return own_convolutions(module, measuring=True) if precision.startswith("winograd") else nullcontext()


def lay_out(images: Tensor, precision: str) -> Tensor:
    """The batch in the memory layout that the precision's name asks for."""
    if precision.endswith("channels-last"):
        return images.contiguous(memory_format=MEMORY_FORMATS[images.ndim])
    return images


def lay_out_weights(module: nn.Module, precision: str, input_shape: tuple[int, ...]) -> nn.Module:
    """The module, changed in place, with its kernels in the layout that the precision asks for, for inputs (C, *S)."""
    if precision.endswith("channels-last"):
        return module.to(memory_format=MEMORY_FORMATS[1 + len(input_shape)])
    return module
