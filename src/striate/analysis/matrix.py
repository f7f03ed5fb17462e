"""A convolution as a special case of the fully connected layer: its weight matrix, and the way back.

A convolutional layer computes h = M x + b for flattened x and h. M is the matrix of a fully connected layer in which
most weights are zero and the others are shared: M[o, i] = w[t] where output o reads input i with tap t, that is
i = o s - p + d t along every axis (s stride, p padding, d dilation).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.core.errors import InputError
from striate.core.geometry import Window, padding_source
from striate.layers.conv import Convolution, TransposedConvolution
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Linear

if TYPE_CHECKING:
    from torch import nn

LARGEST = 50_000_000
"""Most entries of a matrix that is written out (400 MB in float64)."""


def taps(window: Window, n: int) -> np.ndarray:
    """(outputs, kernel, n) zeros and ones: which input position each tap of each output reads, along one axis."""
    outputs = window.output_size(n)
    reads = np.zeros((outputs, window.kernel, n))
    for tap in range(window.kernel):
        for position in range(outputs):
            if window.transposed:
                source, rest = divmod(position + window.before - window.dilation * tap, window.stride)
                place = source if rest == 0 and 0 <= source < n else None
            else:
                place = padding_source(
                    position * window.stride - window.before + window.dilation * tap, n, window.padding_mode
                )
            if place is not None:
                reads[position, tap, place] = 1.0
    return reads


def weight_matrix(layer: Layer, weight: Any, input_shape: Shape) -> np.ndarray:
    """(outputs, inputs) matrix of a linear, convolutional or transposed convolutional layer, without its bias.

    ``weight`` is the layer's weight as torch keeps it: (C_out, C_in / groups, *kernel), transposed (C_in,
    C_out / groups, *kernel), linear (outputs, inputs). Rows and columns run over (channel, *position) in C order.
    Errors: ``InputError`` for another kind of layer, a misshapen weight, or a matrix too large to write out.
    """
    values = np.asarray(weight, dtype=np.float64)
    entries = prod(layer.output_shape(input_shape)) * prod(input_shape)
    if entries > LARGEST:
        raise InputError(f"matrix of {layer.kind}", f"it has {entries:,} entries", "use a smaller input")
    if isinstance(layer, Linear):
        _expect(values, (layer.output_shape(input_shape)[0], prod(input_shape)), layer)
        return values
    if not isinstance(layer, Convolution | TransposedConvolution):
        raise InputError(f"matrix of {layer.kind}", "only layers with a weight have one", "use conv or linear layers")
    windows = layer.window(input_shape)
    assert isinstance(windows, tuple), "convolutions have a window per axis"
    dense = _ungrouped(values, layer, input_shape[0], tuple(window.kernel for window in windows))
    for window, n in zip(windows, input_shape[1:], strict=True):
        assert isinstance(window, Window)
        # (C_out, C_in, k, rest...) with (o, k, n) -> (C_out, C_in, rest..., o, n): each axis in turn goes to the end
        dense = np.tensordot(dense, taps(window, n), axes=((2,), (1,)))
    axes = len(windows)
    order = (0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2))
    return dense.transpose(order).reshape(prod(layer.output_shape(input_shape)), prod(input_shape))


def _expect(values: np.ndarray, shape: Shape, layer: Layer) -> None:
    if values.shape != shape:
        raise InputError(f"matrix of {layer.kind}", f"a weight {values.shape} came for {shape}", "pass its own weight")


def _ungrouped(
    values: np.ndarray, layer: Convolution | TransposedConvolution, inputs: int, kernel: Shape
) -> np.ndarray:
    """The weight of ``groups`` groups as (C_out, C_in, *kernel), zero between groups."""
    groups, outputs, transposed = layer.groups, layer.channels, isinstance(layer, TransposedConvolution)
    narrow = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    _expect(values, (*narrow, *kernel), layer)
    dense = np.zeros((outputs, inputs, *kernel))
    out, into = outputs // groups, inputs // groups
    for group in range(groups):
        rows, columns = slice(group * out, (group + 1) * out), slice(group * into, (group + 1) * into)
        block = values[columns].swapaxes(0, 1) if transposed else values[rows]
        dense[rows, columns] = block
    return dense


def weight_matrices(network: Layer, weights: Mapping[str, Any], input_shape: Shape) -> dict[str, np.ndarray]:
    """The matrix of every convolutional and linear row of a network, by row name; ``weights`` has its module's names.

    Errors: ``InputError`` when a weight is missing or does not fit.
    """
    matrices = {}
    for leaf in network.leaves(input_shape):
        if isinstance(leaf.layer, Convolution | TransposedConvolution | Linear):
            name = f"{leaf.name}.weight" if leaf.name else "weight"
            if name not in weights:
                raise InputError(name, "the weights do not have it", "pass the weights of this network")
            matrices[leaf.name] = weight_matrix(leaf.layer, weights[name], leaf.input_shapes[0])
    return matrices


def probed_matrix(module: "nn.Module", input_shape: Shape) -> np.ndarray:
    """(outputs, inputs) matrix of any affine module, by feeding it every unit vector: slow, obvious, general."""
    import torch

    inputs = prod(input_shape)
    reference = next((p for p in module.parameters()), torch.zeros(()))
    basis = torch.eye(inputs, dtype=reference.dtype, device=reference.device).reshape(inputs, *input_shape)
    with torch.no_grad():
        columns = (module(basis) - module(torch.zeros_like(basis[:1]))).reshape(inputs, -1)
    matrix: np.ndarray = columns.T.double().cpu().numpy()
    return matrix


@dataclass(frozen=True)
class ConvolutionAnswer:
    """A single-channel 1-D convolution that has a given matrix.

    ``unseen`` lists the taps that only ever meet padding: any weight there gives the same matrix, 0 is written.
    """

    weights: tuple[float, ...]
    stride: int
    dilation: int
    padding: int
    unseen: tuple[int, ...] = ()


def convolutions_of(matrix: Any) -> list[ConvolutionAnswer]:
    """Every convolution that has this (outputs, inputs) matrix: fewest taps first, then least padding.

    Output o reads input o s - p + d t with tap t, zeros beyond the borders, and there are
    floor((n + 2 p - d (k - 1) - 1) / s) + 1 outputs. For each stride and dilation the answers of fewest taps are given.
    What the matrix cannot show is not varied: of the strides of a matrix of one row the least is given, and a dilation
    above 1 only where at least two taps are seen. Strides of n and more are left out when there are several rows: with
    them no weight is shared, and *every* matrix would be a convolution. Empty: no convolution has this matrix.
    Errors: ``InputError`` for anything but a matrix of finite numbers.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise InputError("matrix", f"an array {values.shape} came", "give an (outputs, inputs) array of finite numbers")
    rows, n = values.shape
    answers: dict[tuple[object, ...], ConvolutionAnswer] = {}
    for stride in range(1, max(n, 2) if rows > 1 else n + 1):
        diagonals = _diagonals(values, stride)
        if diagonals is None:
            continue
        for dilation in range(1, n + (rows - 1) * stride + 1):
            for answer in _fewest_taps(diagonals, rows, n, stride, dilation):
                shown = stride if rows > 1 else None
                answers.setdefault((answer.weights, answer.padding, dilation, shown), answer)
    found = answers.values()
    return sorted(found, key=lambda a: (len(a.weights), a.padding, a.stride, a.dilation, a.weights))


def _diagonals(values: np.ndarray, stride: int) -> dict[int, float] | None:
    """The weight for each offset i - o s, or ``None`` when entries of one offset differ."""
    rows, n = values.shape
    found: dict[int, float] = {}
    for row in range(rows):
        for column in range(n):
            value = float(values[row, column])
            if found.setdefault(column - row * stride, value) != value:
                return None
    return found


def _fewest_taps(diagonals: dict[int, float], rows: int, n: int, stride: int, dilation: int) -> list[ConvolutionAnswer]:
    """The answers of fewest taps for one stride and dilation; none where a least-value rule leaves them out."""
    nonzero = [offset for offset, value in diagonals.items() if value != 0.0]
    low, high = min(nonzero, default=0), max(nonzero, default=0)
    if any((offset - low) % dilation for offset in nonzero):
        return []
    # The number of outputs fixes 2 p to an interval that moves by d with every tap. Once both the lowest and the
    # highest offset have room, what fits depends only on whether the number of taps is even: two more try both.
    enough = max(0, high - low, n - (rows - 1) * stride - 2 * low, 2 * high + rows * stride - n)
    for kernel in range(1, ceil(enough / dilation) + 5):
        reach = dilation * (kernel - 1)
        least, most = max(ceil(((rows - 1) * stride + reach + 1 - n) / 2), 0), (rows * stride + reach - n) // 2
        if nonzero:
            least, most = max(least, -low), min(most, reach - high)
        step = dilation if nonzero else 1
        aligned = least + (-low - least) % step
        answers = [_answer(diagonals, kernel, stride, dilation, padding) for padding in range(aligned, most + 1, step)]
        if answers:
            return [answer for answer in answers if dilation == 1 or kernel - len(answer.unseen) > 1]
    return []


def _answer(diagonals: dict[int, float], kernel: int, stride: int, dilation: int, padding: int) -> ConvolutionAnswer:
    offsets = [dilation * tap - padding for tap in range(kernel)]
    unseen = tuple(tap for tap, offset in enumerate(offsets) if offset not in diagonals)
    weights = tuple(diagonals.get(offset, 0.0) for offset in offsets)
    return ConvolutionAnswer(weights, stride, dilation, padding, unseen)
