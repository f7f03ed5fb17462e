"""Slow, obvious numpy versions of every layer, in any number of axes: the oracle that the layers are tested against.

Nothing here is shared with what it checks: sizes come from counting the windows that fit, padding from ``numpy.pad``,
sums from loops over positions. Arrays are (B, C, *S); sizes are given per axis, padding as (before, after) per axis.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import comb, erf, pi, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
ALL = slice(None)
_NUMPY_MODES = {"reflect": "reflect", "circular": "wrap", "replicate": "edge"}


def _positions(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return product(*(range(size) for size in sizes))


def _at(channel: int | slice, place: Sequence[int | slice]) -> Any:
    return (ALL, channel, *place)


def _everywhere(x: NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def pad(x: Array, padding: Pairs, mode: str = "zeros", fill: float = 0.0) -> Array:
    """``x`` with positions added at both ends of every axis."""
    widths = ((0, 0), (0, 0), *padding)
    if mode == "zeros":
        return np.pad(x, widths, constant_values=fill)
    return np.pad(x, widths, mode=_NUMPY_MODES[mode])  # type: ignore[call-overload, no-any-return]


def window_starts(n: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool) -> list[int]:
    """First position, in the padded axis, of every window along an axis of ``n`` positions.

    Windows follow each other while they fit. With ``ceil`` they may stick out by less than the stride, if they start
    inside the input or the padding before it.
    """
    end, span = before + n + after, dilation * (kernel - 1) + 1
    if ceil:
        return [start for start in range(0, before + n, stride) if start + span < end + stride]
    return [start for start in range(0, end, stride) if start + span <= end]


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Pairs,
    mode: str = "zeros",
) -> Array:
    """(B, Ci, *S) with weight (Co, Ci / groups, *k) -> (B, Co, *S')."""
    kernel, sizes = weight.shape[2:], x.shape[2:]
    settings = zip(sizes, kernel, stride, dilation, padding, strict=True)
    starts = [window_starts(n, k, s, d, before, after, False) for n, k, s, d, (before, after) in settings]
    x = pad(x, padding, mode)
    channels_in, channels_out = weight.shape[1], weight.shape[0] // groups
    y = np.zeros((x.shape[0], weight.shape[0], *(len(axis) for axis in starts)))
    for u in _positions(y.shape[2:]):
        for t in _positions(kernel):
            place = tuple(starts[a][u[a]] + dilation[a] * t[a] for a in range(len(u)))
            for c in range(weight.shape[0]):
                first = c // channels_out * channels_in
                for i in range(channels_in):
                    y[_at(c, u)] += weight[c, i][t] * x[_at(first + i, place)]
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


def transposed_convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Pairs,
    output_padding: Sequence[int],
) -> Array:
    """(B, Ci, *S) with weight (Ci, Co / groups, *k) -> (B, Co, *S'): every input spreads out, the ends are cut."""
    kernel, channels_in, channels_out = weight.shape[2:], weight.shape[0] // groups, weight.shape[1]
    settings = list(zip(x.shape[2:], kernel, stride, dilation, strict=True))
    full = [(n - 1) * s + d * (k - 1) + 1 + extra for (n, k, s, d), extra in zip(settings, output_padding, strict=True)]
    y = np.zeros((x.shape[0], channels_out * groups, *full))
    for i in _positions(x.shape[2:]):
        for t in _positions(kernel):
            place = tuple(i[a] * stride[a] + dilation[a] * t[a] for a in range(len(i)))
            for c in range(x.shape[1]):
                for o in range(channels_out):
                    target = c // channels_in * channels_out + o
                    y[_at(target, place)] += weight[c, o][t] * x[_at(c, i)]
    cut = tuple(slice(before, n - after) for n, (before, after) in zip(full, padding, strict=True))
    y = np.asarray(y[_at(ALL, cut)])
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


def max_pool(
    x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], ceil: bool
) -> tuple[Array, NDArray[np.int64]]:
    """The maximum of each window, and its flat position within (*S)."""
    sizes = x.shape[2:]
    settings = zip(sizes, kernel, stride, dilation, padding, strict=True)
    starts = [window_starts(n, k, s, d, p, p, ceil) for n, k, s, d, p in settings]
    y = np.full((*x.shape[:2], *(len(axis) for axis in starts)), -np.inf)
    where = np.zeros(y.shape, dtype=np.int64)
    for u in _positions(y.shape[2:]):
        for t in _positions(kernel):
            place = tuple(starts[a][u[a]] - padding[a] + dilation[a] * t[a] for a in range(len(u)))
            if all(0 <= p < n for p, n in zip(place, sizes, strict=True)):
                value, output = x[_at(ALL, place)], _at(ALL, u)
                better = value > y[output]
                where[output] = np.where(better, np.ravel_multi_index(place, sizes), where[output])
                y[output] = np.where(better, value, y[output])
    return y, where


def mean_pool(
    x: Array, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool, count_padding: bool
) -> Array:
    """The mean of each window: over the input in it or, with ``count_padding``, over the padded input in it."""
    sizes = x.shape[2:]
    starts = [window_starts(n, k, s, 1, p, p, ceil) for n, k, s, p in zip(sizes, kernel, stride, padding, strict=True)]
    y = np.zeros((*x.shape[:2], *(len(axis) for axis in starts)))
    for u in _positions(y.shape[2:]):
        total, count = np.zeros(x.shape[:2]), 0
        for t in _positions(kernel):
            place = tuple(starts[a][u[a]] - padding[a] + t[a] for a in range(len(u)))
            if all(0 <= p < n for p, n in zip(place, sizes, strict=True)):
                total, count = total + x[_at(ALL, place)], count + 1
            elif count_padding and all(p < n + edge for p, n, edge in zip(place, sizes, padding, strict=True)):
                count += 1
        y[_at(ALL, u)] = total / count
    return y


def _shared(u: tuple[int, ...], outputs: Sequence[int], sizes: Sequence[int]) -> Any:
    ends = [
        (int(np.floor(p * n / m)), int(np.ceil((p + 1) * n / m))) for p, m, n in zip(u, outputs, sizes, strict=True)
    ]
    return _at(ALL, [slice(low, high) for low, high in ends])


def adaptive_mean_pool(x: Array, outputs: Sequence[int]) -> Array:
    """The mean of ``outputs`` windows per axis, which share the positions as evenly as they can."""
    y = np.zeros((*x.shape[:2], *outputs))
    for u in _positions(outputs):
        y[_at(ALL, u)] = x[_shared(u, outputs, x.shape[2:])].mean(_everywhere(x))
    return y


def adaptive_max_pool(x: Array, outputs: Sequence[int]) -> Array:
    """The maximum of ``outputs`` windows per axis."""
    y = np.zeros((*x.shape[:2], *outputs))
    for u in _positions(outputs):
        y[_at(ALL, u)] = x[_shared(u, outputs, x.shape[2:])].max(_everywhere(x))
    return y


def global_mean_pool(x: Array) -> Array:
    """(B, C, *S) -> (B, C)."""
    return np.asarray(x.mean(_everywhere(x)))


def blur_pool(x: Array, stride: Sequence[int], taps: Sequence[int]) -> Array:
    """Each axis in turn: reflect, filter with the binomial weights, keep every ``stride``-th position."""
    for axis, (step, count) in enumerate(zip(stride, taps, strict=True), start=2):
        weights = [comb(count - 1, t) / 2 ** (count - 1) for t in range(count)]
        widths = [(0, 0)] * x.ndim
        widths[axis] = ((count - 1) // 2, count // 2)
        padded = np.moveaxis(np.pad(x, widths, mode="reflect"), axis, -1)
        outputs = range(0, x.shape[axis], step)
        columns = [sum(weights[t] * padded[..., u + t] for t in range(count)) for u in outputs]
        x = np.moveaxis(np.stack(columns, axis=-1), -1, axis)
    return x


def subsample(x: Array, stride: Sequence[int]) -> Array:
    """Positions 0, stride, 2 stride, ... of every axis."""
    for axis, step in enumerate(stride, start=2):
        x = np.take(x, range(0, x.shape[axis], step), axis=axis)
    return x


def duplicate(x: Array, factor: Sequence[int]) -> Array:
    """Every position ``factor`` times."""
    for axis, times in enumerate(factor, start=2):
        x = np.repeat(x, times, axis=axis)
    return x


def linear_upsample(x: Array, factor: Sequence[int]) -> Array:
    """Each axis in turn: ``numpy.interp`` at (u + 1/2) / f - 1/2, the border values going on outside."""
    for axis, times in enumerate(factor, start=2):
        lines = np.moveaxis(x, axis, -1)
        places = np.arange(x.shape[axis])
        at = (np.arange(x.shape[axis] * times) + 0.5) / times - 0.5
        mixed = np.array([np.interp(at, places, line) for line in lines.reshape(-1, len(places))])
        x = np.moveaxis(mixed.reshape(*lines.shape[:-1], -1), -1, axis)
    return x


def max_unpool(values: Array, indices: NDArray[np.int64], sizes: Sequence[int]) -> Array:
    """Zeros of (B, C, *sizes) with every value at its flat index."""
    y = np.zeros((*values.shape[:2], prod(sizes)))
    for b, c in _positions(values.shape[:2]):
        for value, index in zip(values[b, c].ravel(), indices[b, c].ravel(), strict=True):
            y[b, c, index] = value
    return y.reshape(*values.shape[:2], *sizes)


def pixel_shuffle(x: Array, factor: Sequence[int]) -> Array:
    """Output channel c at position u is input channel c prod(f) + (u mod f, counted row by row) at floor(u / f)."""
    sizes, block = [n * f for n, f in zip(x.shape[2:], factor, strict=True)], prod(factor)
    y = np.zeros((x.shape[0], x.shape[1] // block, *sizes))
    for c in range(y.shape[1]):
        for u in _positions(sizes):
            phase = int(np.ravel_multi_index([p % f for p, f in zip(u, factor, strict=True)], factor))
            source = tuple(p // f for p, f in zip(u, factor, strict=True))
            y[_at(c, u)] = x[_at(c * block + phase, source)]
    return y


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """(B, inputs) with weight (features, inputs) -> (B, features)."""
    y = np.array([[sum(w * v for w, v in zip(row, example, strict=True)) for row in weight] for example in x])
    return y if bias is None else y + bias


def _scaled(x: Array, weight: Array | None, bias: Array | None) -> Array:
    ones = (1,) * (x.ndim - 2)
    x = x if weight is None else x * weight.reshape(-1, *ones)
    return x if bias is None else x + bias.reshape(-1, *ones)


def batch_norm(
    x: Array, mean: Array, variance: Array, eps: float, weight: Array | None = None, bias: Array | None = None
) -> Array:
    """(x - mean) / sqrt(variance + eps) per channel, with statistics of shape (C,)."""
    ones = (1,) * (x.ndim - 2)
    return _scaled((x - mean.reshape(-1, *ones)) / np.sqrt(variance.reshape(-1, *ones) + eps), weight, bias)


def group_norm(x: Array, groups: int, eps: float, weight: Array | None = None, bias: Array | None = None) -> Array:
    """Each group of channels of each example to mean 0 and variance 1; C groups are instance norm."""
    y = np.array(x)
    width = x.shape[1] // groups
    for b in range(x.shape[0]):
        for first in range(0, x.shape[1], width):
            part = x[b, first : first + width]
            y[b, first : first + width] = (part - part.mean()) / np.sqrt(part.var() + eps)
    return _scaled(y, weight, bias)


def layer_norm(x: Array, eps: float, weight: Array | None = None, bias: Array | None = None) -> Array:
    """The channels at each position to mean 0 and variance 1."""
    y = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    return _scaled(y, weight, bias)


def local_response_norm(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Each channel divided by (k + alpha / size x the squares of ``size`` channels around it)^beta."""
    y = np.zeros_like(x)
    for c in range(x.shape[1]):
        around = [i for i in range(c - size // 2, c - size // 2 + size) if 0 <= i < x.shape[1]]
        y[:, c] = x[:, c] / (k + alpha / size * sum(x[:, i] ** 2 for i in around)) ** beta
    return y


def relu(x: Array, slope: float = 0.0) -> Array:
    """x where positive, ``slope`` x elsewhere."""
    return np.where(x > 0, x, slope * x)


def gelu(x: Array, approximate: bool = False) -> Array:
    """x times the normal distribution function at x, or its tanh approximation."""
    if approximate:
        return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / pi) * (x + 0.044715 * x**3))))
    return np.asarray(x * np.vectorize(lambda value: (1 + erf(value / np.sqrt(2))) / 2)(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    """Exponentials over the channels, divided by their sum."""
    y = np.exp(x)
    return np.asarray(y / y.sum(axis=1, keepdims=True))
