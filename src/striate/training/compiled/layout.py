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
WHOLE = 0.25
"""Weights to a value and its gradient, of all samples of a batch, from which on it is better not divided: it would be
the weights, read and learnt again with every part, that the caches do not hold."""
LINE = 16
"""Floats in a line of the caches."""
LEARNT = 64
"""Rows of a matrix of weights whose gradients are summed up, and which are then updated, before the next ones."""


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

    ``parts`` are (first sample, samples), computed one after the other or by threads; where there is but one, threads
    share its samples. ``row`` is the length of a row. ``values`` and ``gradients`` are where each tensor begins in the
    arena, ``turned`` where, by the number of an operation, the gradient of its result is written once more with its
    samples apart (see :func:`turned_width`), ``arena`` the length of it all.
    """

    batch: int
    target: Target
    parts: tuple[tuple[int, int], ...]
    row: int
    values: tuple[int, ...]
    gradients: tuple[int, ...]
    turned: dict[int, int]
    arena: int

    @property
    def vectors(self) -> int:
        """The vectors in the longest part of a row."""
        return -(-max(count for _, count in self.parts) // self.target.lanes)


def layout(network: Lowered, batch: int, target: Target) -> Layout:
    """The batch cut into equal parts of whole vectors, small enough that a part's values stay near the processor."""
    rows = sum(tensor.count + tensor.values for tensor in network.tensors)
    vectors = -(-batch // target.lanes)
    wanted = max(1, math.ceil(4 * rows * vectors * target.lanes / WORKING_SET))
    most = max(2, LARGEST_GRADIENTS // (4 * (network.weights + network.biases)))
    wanted = min(MOST_PARTS, most, vectors, 1 << (wanted - 1).bit_length())  # so that 2, 4, 8 threads share them evenly
    if network.weights > WHOLE * rows * batch:
        wanted = 1
    cuts = [round(part * vectors / wanted) * target.lanes for part in range(wanted + 1)]
    parts = tuple((low, min(high, batch) - low) for low, high in itertools.pairwise(cuts))
    # whole cache lines, so that threads that share a row's samples do not share a line of them
    row = math.ceil(max(count for _, count in parts) / LINE) * LINE
    values, gradients, place = [], [], 0
    for tensor in network.tensors:
        values.append(place * row)
        gradients.append((place + tensor.count) * row)
        place += tensor.count + tensor.values
    turned = {}
    for number, operation in enumerate(network.operations):
        if isinstance(operation, Affine) and (width := turned_width(operation, target)):
            turned[number] = place * row
            place += width
    return Layout(batch, target, parts, row, tuple(values), tuple(gradients), turned, place * row)


def turned_width(layer: Affine, target: Target) -> int:
    """The outputs of a layer, rounded up to whole vectors, where the gradient of its weights is best summed up sample
    by sample: in wide layers of one position, read in one stretch, whose few samples would not repay adding up lanes.
    0 elsewhere."""
    if len(layer.patches) > 1 or len(layer.runs) > 1 or layer.outputs < 3 * target.lanes:
        return 0
    return -(-layer.outputs // target.lanes) * target.lanes
