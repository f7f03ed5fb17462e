"""The exponential moving average of a network's weights: what is validated and kept where it is asked for."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARM_UP = 2000.0
"""Steps over which the average lengthens: a short training must not remember its random start."""


class Average:
    """Averages the weights and the running statistics of ``module`` (Polyak and Juditsky 1992, doi 10.1137/0330046).

    After step k (from 1): average = d average + (1 - d) weights, with d = ``decay`` (1 - exp(-k / 2000)), so that it is
    a function of the step and a resumed run averages alike. Whole numbers (counts of batches) are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        keep = self.decay * (1.0 - math.exp(-step / WARM_UP))
        fresh = self.module.state_dict()
        moving = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.tensors[name] for name in moving], [fresh[name] for name in moving], 1.0 - keep)
        for name, tensor in self.tensors.items():
            if not tensor.is_floating_point():
                tensor.copy_(fresh[name])

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put a checkpoint's average back. Errors: ``KeyError`` when one is missing."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])


@contextmanager
def averaged(module: nn.Module, average: Average | None) -> Iterator[None]:
    """The module with its averaged weights inside, and with its own again afterwards; without an average as it is."""
    if average is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.load_state_dict(average.tensors)
    try:
        yield
    finally:
        module.load_state_dict(own)
