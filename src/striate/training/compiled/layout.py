"""Where the values of a batch lie while its step is computed: parts of whole vectors, and places in one arena."""

import itertools
import math
from dataclasses import dataclass
from typing import final

from striate.training.compiled.network import Affine, Lowered

WORKING_SET = 1 << 18
"""Bytes of activations and gradients that a part of the batch may have: what a second-level cache holds with room."""
LARGEST_GRADIENTS = 1 << 20
"""Bytes of weights' gradients, one set a part, beyond which there are two parts at most."""
MOST_PARTS = 16


@final
@dataclass(frozen=True)
class Target:
    """The vector registers there are: how many, and how many floats one holds."""

    registers: int
    lanes: int


@final
@dataclass(frozen=True)
class Layout:
    """How a batch is divided and where things lie, in floats.

    ``parts`` are (first sample, samples), computed one after the other or by threads; ``row`` is the length of a row.
    ``values`` and ``gradients`` are where each tensor begins in the arena, ``turned`` where a gradient is written once
    more with its samples apart (see :func:`turned_width`), ``arena`` the length of it all for one thread.
    """

    batch: int
    target: Target
    parts: tuple[tuple[int, int], ...]
    row: int
    values: tuple[int, ...]
    gradients: tuple[int, ...]
    turned: int
    arena: int


def layout(network: Lowered, batch: int, target: Target) -> Layout:
    """The batch cut into equal parts of whole vectors, small enough that a part's values stay near the processor."""
    rows = sum(tensor.count + tensor.values for tensor in network.tensors)
    vectors = -(-batch // target.lanes)
    wanted = max(1, math.ceil(4 * rows * vectors * target.lanes / WORKING_SET))
    most = max(2, LARGEST_GRADIENTS // (4 * (network.weights + network.biases)))
    wanted = min(MOST_PARTS, most, vectors, 1 << (wanted - 1).bit_length())  # so that 2, 4, 8 threads share them evenly
    cuts = [round(part * vectors / wanted) * target.lanes for part in range(wanted + 1)]
    parts = tuple((low, min(high, batch) - low) for low, high in itertools.pairwise(cuts))
    row = max(-(-count // target.lanes) for _, count in parts) * target.lanes
    values, gradients, place = [], [], 0
    for tensor in network.tensors:
        values.append(place * row)
        gradients.append((place + tensor.count) * row)
        place += tensor.count + tensor.values
    width = max((turned_width(layer, target) for layer in network.affine), default=0)
    return Layout(batch, target, parts, row, tuple(values), tuple(gradients), place * row, place * row + width * row)


def turned_width(layer: Affine, target: Target) -> int:
    """The outputs of a layer, rounded up to whole vectors, where the gradient of its weights is best summed up sample
    by sample: in wide layers of one position, whose few samples would not repay adding up lanes. 0 elsewhere."""
    if len(layer.patches) > 1 or layer.outputs < 3 * target.lanes:
        return 0
    return -(-layer.outputs // target.lanes) * target.lanes
