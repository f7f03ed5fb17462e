"""Receptive fields: by arithmetic from the window graph, by probing a built module, and the effective one."""

import copy
from math import sqrt
from typing import TYPE_CHECKING

from striate.architectures.backbone import window_graph
from striate.core.errors import InputError
from striate.core.graph import ReceptiveField
from striate.layers.layer import Layer, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn


def receptive_fields(layer: Layer, input_shape: Shape) -> dict[str, tuple[ReceptiveField, ...]]:
    """The receptive field of every leaf row, one per axis of the input (C, *S), by row name."""
    graph = window_graph(layer, input_shape)
    axes = range(len(input_shape) - 1)
    names = [leaf.name or leaf.layer.kind for leaf in layer.leaves(input_shape)]
    return {name: tuple(graph.receptive_field(name, axis) for axis in axes) for name in names}


def effective_sigma(layers: int, kernel: int) -> float:
    """Standard deviation, in input positions, of the influence of inputs on one output: sqrt(n (k^2 - 1) / 12).

    For n layers of k equal taps and stride 1 the influence is the n-fold convolution of a box of variance
    (k^2 - 1) / 12, so it tends to a Gaussian that grows with sqrt(n) while the receptive field grows with n
    (Luo et al. 2016, arXiv:1701.04128). Errors: ``InputError`` below 1 tap or 0 layers.
    """
    if layers < 0 or kernel < 1:
        raise InputError("effective_sigma", f"{layers} layers of {kernel} taps came", "give 0 or more, 1 or more")
    return sqrt(layers * (kernel**2 - 1) / 12)


def influence(module: "nn.Module", input_shape: Shape, axis: int) -> "dict[str, Tensor]":
    """Which input positions reach which output positions along an axis of a built module, probed by brute force.

    Booleans (S, outputs) for every output of the module, the main one under ''. Entry [i, u] says whether output u
    changes, in some channel and at some place of the other axes, when the input is lit at position i in all channels.
    A copy of the module in double precision is fed one lit position at a time, all weights 1 / (number per output) and
    biases 0, so that nothing cancels, saturates or is lost to rounding, and max pooling lets the light pass. For
    modules whose operations keep zero at zero and positive positive. Outputs without axes give one column.
    """
    import torch

    probe = copy.deepcopy(module).double().eval()
    size = input_shape[axis + 1]
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        _make_positive(probe)
        for start in range(0, size, 64):
            positions = torch.arange(start, min(start + 64, size))
            lit = torch.zeros(len(positions), *input_shape, dtype=torch.float64)
            lit.movedim(axis + 2, 1)[torch.arange(len(positions)), positions] = 1.0
            values = probe(lit)
            for name, value in ({"": values} if isinstance(values, torch.Tensor) else values).items():
                reached = (value != 0).movedim(axis + 2, 1) if value.ndim > 2 else (value != 0)[:, None]
                found.setdefault(name, []).append(reached.flatten(2).any(2))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _make_positive(module: "nn.Module") -> None:
    """Weights 1 / (number per output), biases 0, running statistics those of a fresh module."""
    from torch import nn

    for name, parameter in module.named_parameters():
        per_output = parameter.numel() / parameter.shape[0] if parameter.ndim > 1 else 1.0
        parameter.fill_(0.0 if name.endswith("bias") else 1.0 / per_output)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._NormBase):
            part.reset_running_stats()


def measured(module: "nn.Module", input_shape: Shape, output: str = "") -> "Tensor":
    """Mean absolute gradient of the middle output position with respect to each input position, (*S), summing to 1.

    Channels of output and input are summed. This is the effective receptive field of the module as it is, around a
    batch of 16 fixed random inputs.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    reference = next(module.parameters(), torch.zeros(()))
    inputs = torch.randn(16, *input_shape, generator=generator).to(reference).requires_grad_()
    was_training = module.training
    module.eval()
    values = module(inputs)
    value = values if isinstance(values, torch.Tensor) else values[output]
    middle = value[(slice(None), slice(None), *(size // 2 for size in value.shape[2:]))]
    (gradient,) = torch.autograd.grad(middle.sum(), inputs)
    module.train(was_training)
    field = gradient.abs().sum((0, 1))
    return field / field.sum().clamp_min(torch.finfo(field.dtype).tiny)
