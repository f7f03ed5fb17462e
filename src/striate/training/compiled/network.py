"""A chain of layers as what the compiled step computes: tensors laid out in rows, and operations between them.

A *row* is one value of every sample of a part of the batch, in consecutive lanes of vector registers. A tensor (C, *S)
is a row per position and channel, position by position, so that what a window reads along the last axis is one
contiguous stretch of rows, whatever its stride: the operand of a matrix product, without a copy. A tensor that a
convolution reads stands in the middle of its zero padding, which is written once.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, final

from striate.core.geometry import AdaptiveWindow, Window
from striate.layers.conv import Convolution
from striate.layers.layer import Layer, LayerRow, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import GELU, Identity, LeakyReLU, Permutation, ReLU, Sigmoid, SiLU, Tanh
from striate.layers.pooling import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMeanPool, MaxPool, MeanPool

Function = Literal["relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh"]

ACTIVATIONS = (ReLU, LeakyReLU, GELU, SiLU, Sigmoid, Tanh)
POOLS = (MaxPool, MeanPool, AdaptiveMaxPool, AdaptiveMeanPool, GlobalMeanPool)
SAME = (Identity, Flatten)
FIXED = (*ACTIVATIONS, *POOLS, *SAME, Permutation)
"""Layers without weights: before the first weights they are applied to the data once."""
KNOWN = (*FIXED, Convolution, Linear)
LARGEST_TABLE = 1 << 15
"""Most entries of one table of positions: beyond it a network is not small, and its C text not either."""
LARGEST_WEIGHTS = 1 << 20
"""Most weights of a network."""


@final
@dataclass(frozen=True)
class Rows:
    """A tensor's layout: ``positions`` are the first rows of each position, in order, of ``count`` rows in all (with
    padding). Its gradient has no padding: position p begins at row p C."""

    channels: int
    positions: tuple[int, ...]
    count: int

    @property
    def values(self) -> int:
        """Rows without the padding."""
        return self.channels * len(self.positions)


@final
@dataclass(frozen=True)
class Run:
    """A stretch of a patch: ``length`` rows from ``row`` after the patch's first one, with the weights from ``tap``."""

    row: int
    tap: int
    length: int


@final
@dataclass(frozen=True)
class Affine:
    """A convolution or a linear layer: y[p, o] = bias[o] + sum over k of weight[k, o] x[base p + row of k].

    ``weights`` (K, outputs) begin at that place of the flat weights, ``bias`` (outputs,) too (None: there is none).
    ``patches`` is the first row of each position's patch. ``sources`` has per input position the pairs (row of the
    output's gradient, first row of the weights) that its gradient sums up; empty for the first layer. ``leak`` is the
    slope below zero of the ReLU that follows at once, or None.
    ``columns`` are the columns of the linear layer's matrix in the order of the rows, or None for a convolution.
    """

    name: str
    inputs: int
    outputs: int
    weights: int
    bias: int | None
    runs: tuple[Run, ...]
    patches: tuple[int, ...]
    sources: tuple[tuple[tuple[int, int], ...], ...]
    channels: int
    leak: float | None
    columns: tuple[int, ...] | None


@final
@dataclass(frozen=True)
class Activation:
    """y = f(x), row by row."""

    function: Function
    slope: float = 0.0


@final
@dataclass(frozen=True)
class Pool:
    """The maximum of each window's positions, or their sum times ``scales``."""

    largest: bool
    windows: tuple[tuple[int, ...], ...]
    scales: tuple[float, ...]


Operation = Affine | Activation | Pool


@final
@dataclass(frozen=True)
class Lowered:
    """The operations of a chain after its ``fixed`` first rows; ``tensors`` has one more, the input first.

    ``weights`` and ``biases`` are the sizes of the two parts of the flat weights, the biases after the weights.
    """

    fixed: tuple[LayerRow, ...]
    operations: tuple[Operation, ...]
    tensors: tuple[Rows, ...]
    weights: int
    biases: int
    classes: int

    @property
    def affine(self) -> list[Affine]:
        """The operations with weights, in order."""
        return [one for one in self.operations if isinstance(one, Affine)]


def lowered(network: Layer, input_shape: Shape) -> Lowered | None:
    """The operations of a network, or None where it is not a small chain of layers that are known here."""
    rows = list(network.leaves(input_shape))
    names = ["input", *(row.name for row in rows)]
    for row, before in zip(rows, names, strict=False):
        if row.sources != (before,) or type(row.layer) not in KNOWN:  # a subclass may compute something else
            return None
    first = next((place for place, row in enumerate(rows) if isinstance(row.layer, Convolution | Linear)), None)
    if first is None or len(rows[-1].output_shape) != 1 or rows[-1].output_shape[0] < 2:
        return None
    if any(not _fits(row, place < first) for place, row in enumerate(rows)):
        return None
    if sum(row.parameters for row in rows) > LARGEST_WEIGHTS:
        return None
    return _lower(tuple(rows[:first]), rows[first:])


def _fits(row: LayerRow, before_weights: bool) -> bool:
    layer = row.layer
    if isinstance(layer, Permutation):
        return before_weights
    if isinstance(layer, MaxPool) and layer.indices:
        return False
    if isinstance(layer, LeakyReLU) and not math.isfinite(layer.slope):
        return False
    if isinstance(layer, Convolution) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        return False
    sizes = row.input_shapes[0][1:]
    windows = _windows(row) or tuple(Window(kernel=n) for n in sizes if isinstance(layer, POOLS))
    reads = [w.kernel if isinstance(w, Window) else n // w.outputs + 2 for w, n in zip(windows, sizes, strict=False)]
    return before_weights or math.prod(reads) * math.prod(row.output_shape[1:]) <= LARGEST_TABLE


def _windows(row: LayerRow) -> tuple[Window | AdaptiveWindow, ...]:
    return row.window if isinstance(row.window, tuple) else ()


def _lower(fixed: tuple[LayerRow, ...], rows: Sequence[LayerRow]) -> Lowered | None:
    rows = [row for row in rows if not isinstance(row.layer, Identity)]
    shape, flat_weights, bias = rows[0].input_shapes[0], 0, 0
    biased = [row for row in rows if isinstance(row.layer, Convolution | Linear)]
    total = sum(row.parameters - _biases(row) for row in biased)
    tensors, operations = [_laid_out(shape, rows[0])], list[Operation]()
    for place, row in enumerate(rows):
        if isinstance(row.layer, Flatten):  # the rows are as they are; who reads them knows their order
            continue
        following = next((other for other in rows[place + 1 :] if not isinstance(other.layer, Flatten)), None)
        if isinstance(row.layer, ReLU | LeakyReLU) and _joined(rows, place):
            continue
        reader = following
        operation: Operation
        if isinstance(row.layer, Convolution | Linear):
            leak = None
            if following is not None and _joined(rows, rows.index(following)):
                leak = following.layer.slope if isinstance(following.layer, LeakyReLU) else 0.0
                after = rows[rows.index(following) + 1 :]
                reader = next((other for other in after if not isinstance(other.layer, Flatten)), None)
            begin = (flat_weights, total + bias if row.layer.bias else None)
            operation = _affine(row, shape, tensors[-1], begin, leak, first=not operations)
            flat_weights += operation.inputs * operation.outputs
            bias += _biases(row)
            shape = row.output_shape
        elif isinstance(row.layer, POOLS):
            operation = _pool(row, shape)
            shape = row.output_shape
        else:
            operation = _activation(row.layer)
        operations.append(operation)
        tensors.append(_laid_out(shape, reader))
    if len(tensors[-1].positions) != 1:  # a map flattened into classes: their order would be another one
        return None
    return Lowered(fixed, tuple(operations), tuple(tensors), total, bias, tensors[-1].channels)


def _biases(row: LayerRow) -> int:
    return row.output_shape[0] if isinstance(row.layer, Convolution | Linear) and row.layer.bias else 0


def _joined(rows: Sequence[LayerRow], place: int) -> bool:
    """Whether this row is a ReLU right after weights, whose sign can be read from its result."""
    layer = rows[place].layer
    if not (isinstance(layer, ReLU) or (isinstance(layer, LeakyReLU) and layer.slope >= 0)):
        return False
    before = next((row for row in reversed(rows[:place]) if not isinstance(row.layer, Flatten)), None)
    return before is not None and isinstance(before.layer, Convolution | Linear)


def _laid_out(shape: Shape, reader: LayerRow | None) -> Rows:
    channels, size = shape[0], shape[1:]
    ends = [(0, 0)] * len(size)
    if reader is not None and isinstance(reader.layer, Convolution):
        ends = [(w.before, w.after) for w in _windows(reader) if isinstance(w, Window)]
    padded = [before + n + after for n, (before, after) in zip(size, ends, strict=True)]
    places = itertools.product(*(range(before, before + n) for n, (before, _) in zip(size, ends, strict=True)))
    positions = tuple(channels * _flat(place, padded) for place in places)
    return Rows(channels, positions, channels * math.prod(padded))


def _flat(place: Iterable[int], size: Iterable[int]) -> int:
    """The number of a position, counted row by row."""
    number = 0
    for one, n in zip(place, size, strict=True):
        number = number * n + one
    return number


def _affine(
    row: LayerRow, shape: Shape, x: Rows, begin: tuple[int, int | None], leak: float | None, first: bool
) -> Affine:
    channels, outputs = shape[0], row.output_shape[0]
    if isinstance(row.layer, Linear):
        positions, inputs = len(x.positions), x.values
        # feature c P + p of the flattened tensor is row p C + c
        columns = tuple(c * positions + p for p in range(positions) for c in range(channels))
        sources: tuple[tuple[tuple[int, int], ...], ...] = tuple(((0, p * channels),) for p in range(positions))
        sources = () if first else sources
        return Affine(row.name, inputs, outputs, *begin, (Run(0, 0, inputs),), (0,), sources, channels, leak, columns)
    windows = [window for window in _windows(row) if isinstance(window, Window)]
    size = shape[1:]
    padded = [n + w.before + w.after for n, w in zip(size, windows, strict=True)]
    taps = list(itertools.product(*(range(w.kernel) for w in windows)))
    starts = [channels * _flat([t * w.dilation for t, w in zip(tap, windows, strict=True)], padded) for tap in taps]
    outside = list(itertools.product(*(range(n) for n in row.output_shape[1:])))
    patches = tuple(
        channels * _flat([u * w.stride for u, w in zip(place, windows, strict=True)], padded) for place in outside
    )
    sources = () if first else _conv_sources(size, row.output_shape, windows, taps, channels)
    inputs = channels * len(taps)
    return Affine(row.name, inputs, outputs, *begin, _runs(starts, channels), patches, sources, channels, leak, None)


def _runs(starts: Sequence[int], channels: int) -> tuple[Run, ...]:
    """The taps that begin at these rows, joined to stretches where those come out equally long."""
    runs: list[Run] = []
    for number, start in enumerate(starts):
        if runs and runs[-1].row + runs[-1].length == start:
            runs[-1] = Run(runs[-1].row, runs[-1].tap, runs[-1].length + channels)
        else:
            runs.append(Run(start, number * channels, channels))
    if len({run.length for run in runs}) > 1:
        return tuple(Run(start, number * channels, channels) for number, start in enumerate(starts))
    return tuple(runs)


def _conv_sources(
    size: Shape, output: Shape, windows: Sequence[Window], taps: Sequence[tuple[int, ...]], channels: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Per input position the outputs that read it and through which tap: u s - before + d t = position."""
    found = []
    for place in itertools.product(*(range(n) for n in size)):
        pairs = []
        for number, tap in enumerate(taps):
            reach = [p + w.before - t * w.dilation for p, t, w in zip(place, tap, windows, strict=True)]
            outputs = [r // w.stride for r, w in zip(reach, windows, strict=True)]
            exact = all(r % w.stride == 0 for r, w in zip(reach, windows, strict=True))
            if exact and all(0 <= u < n for u, n in zip(outputs, output[1:], strict=True)):
                pairs.append((output[0] * _flat(outputs, output[1:]), number * channels))
        found.append(tuple(pairs))
    return tuple(found)


def _pool(row: LayerRow, shape: Shape) -> Pool:
    size, layer = shape[1:], row.layer
    reads: list[list[tuple[list[int], int]]] = []  # per axis and output: the positions, and by how many a mean divides
    for axis, n in enumerate(size):
        window = _windows(row)[axis] if _windows(row) else Window(kernel=n, stride=n)
        outputs = row.output_shape[1 + axis] if len(row.output_shape) > 1 else 1
        reads.append([_reads(window, u, n, layer) for u in range(outputs)])
    windows, scales = [], []
    for parts in itertools.product(*reads):
        windows.append(tuple(_flat(place, size) for place in itertools.product(*(part[0] for part in parts))))
        scales.append(1.0 / math.prod(part[1] for part in parts))
    return Pool(isinstance(layer, MaxPool | AdaptiveMaxPool), tuple(windows), tuple(scales))


def _reads(window: Window | AdaptiveWindow, output: int, n: int, layer: Layer) -> tuple[list[int], int]:
    """The positions along one axis that an output pools, in order, and the number that their mean divides by."""
    if isinstance(window, AdaptiveWindow):
        low, high = output * n // window.outputs, -(-(output + 1) * n // window.outputs)
        return list(range(low, high)), high - low
    start = output * window.stride - window.before
    inside = [p for p in range(start, start + window.effective_kernel, window.dilation) if 0 <= p < n]
    if isinstance(layer, MeanPool) and layer.count_padding:  # a window cut by ceil mode counts what the padding has
        return inside, min(start + window.kernel, n + window.after) - start
    return inside, len(inside)


def _activation(layer: Layer) -> Activation:
    if isinstance(layer, LeakyReLU):
        return Activation("leaky_relu", layer.slope)
    if isinstance(layer, GELU):
        return Activation("gelu" if layer.approximate == "none" else "gelu_tanh")
    names: dict[type[Layer], Function] = {ReLU: "relu", SiLU: "silu", Sigmoid: "sigmoid", Tanh: "tanh"}
    return Activation(names[type(layer)])
