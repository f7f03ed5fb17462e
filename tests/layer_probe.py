"""Brute force for the layer tests: what a built module really holds, multiplies and looks at."""

from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.graph import WindowGraph, WindowRow
from striate.layers.layer import Layer, Shape


def built(layer: Layer, *shapes: Shape) -> nn.Module:
    """The module in double precision and evaluation mode, all its parameters drawn anew."""
    module = layer.build(*shapes).double().eval()
    generator = torch.Generator().manual_seed(1)
    for tensor in (*module.parameters(), *(b for n, b in module.named_buffers() if "running" in n)):
        tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    return module


def example(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed values in double precision."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def main_output(output: Tensor | dict[str, Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output[""]


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def observed(module: nn.Module, *shapes: Shape, seed: int = 0) -> list[NDArray[np.bool_]]:
    """Per axis, which output positions (rows) change when all channels at an input position (columns) are raised.

    All inputs are raised together at the same position, one position at a time. A vector output is one position.
    """
    inputs = [example(1, *shape, seed=seed + number) for number, shape in enumerate(shapes)]
    sizes = shapes[0][1:]
    if not sizes:
        return []
    places = list(product(*(range(size) for size in sizes)))
    raised = []
    for number, tensor in enumerate(inputs):
        batch = tensor.repeat(len(places), *(1,) * (tensor.ndim - 1))
        bump = 30 + 20 * example(tensor.shape[1], seed=seed + 100 + number).abs()
        for row, place in enumerate(places):
            batch[(row, slice(None), *place)] += bump
        raised.append(batch)
    before, after = main_output(module(*inputs)), main_output(module(*raised))
    changed = ((after - before).abs() > 1e-9).any(dim=1).numpy()
    outputs = changed.shape[1:] or (1,) * len(sizes)
    changed = changed.reshape(*sizes, *outputs)
    axes = len(sizes)
    return [
        changed.any(axis=tuple(a for a in range(2 * axes) if a not in (axis, axes + axis))).T for axis in range(axes)
    ]


def claimed(layer: Layer, *shapes: Shape) -> tuple[WindowGraph, str]:
    """The window graph of a layer's rows, and the name of the last one."""
    leaves = list(layer.leaves(*shapes, name="it", sources=tuple(f"input.{n}" for n in range(len(shapes)))))
    rows = tuple(WindowRow(leaf.name, leaf.window, leaf.sources, leaf.output_shape) for leaf in leaves)
    return WindowGraph(shapes[0], rows), rows[-1].name


def claimed_reads(layer: Layer, *shapes: Shape) -> list[NDArray[np.bool_]]:
    """Per axis, which output positions (rows) claim to read which input positions (columns)."""
    graph, name = claimed(layer, *shapes)
    sizes = shapes[0][1:]
    outputs = layer.output_shape(*shapes)[1:] or (1,) * len(sizes)
    reads = []
    for axis, (n, m) in enumerate(zip(sizes, outputs, strict=True)):
        matrix = np.full((m, n), graph.sees_everything(name))
        for u in range(m):
            for low, high in graph.positions(name, axis, u):
                matrix[u, low : high + 1] = True
        reads.append(matrix)
    if any(not matrix.any() for matrix in reads):  # where one axis reads only padding, no output reads anything
        return [np.zeros_like(matrix) for matrix in reads]
    return reads


def assert_claims(layer: Layer, *shapes: Shape, exact: bool = True) -> nn.Module:
    """Shape, parameters and window of ``layer`` are those of its module; the window, without ``exact``, contains it."""
    module = built(layer, *shapes)
    output = main_output(module(*(example(2, *shape) for shape in shapes)))
    assert tuple(output.shape[1:]) == layer.output_shape(*shapes)
    assert parameter_count(module) == layer.parameters(*shapes)
    for says, seen in zip(claimed_reads(layer, *shapes), observed(module, *shapes), strict=True):
        assert (says == seen).all() if exact else (says | ~seen).all()
    return module


def arrays(module: nn.Module) -> list[Any]:
    """Weight and bias as numpy arrays, ``None`` for one that is not there."""
    return [None if p is None else p.detach().numpy() for p in (module.weight, module.bias)]


def assert_same(output: Tensor, expected: NDArray[np.float64]) -> None:
    """Equal shapes, and values equal up to rounding."""
    assert output.shape == expected.shape
    np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-6, atol=1e-9)
