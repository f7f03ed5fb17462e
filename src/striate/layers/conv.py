"""Convolution and transposed convolution in one, two and three axes: the axes come from the input shape."""

from math import prod
from typing import TYPE_CHECKING

from striate.core.errors import InputError
from striate.core.geometry import PaddingMode, Window
from striate.layers.layer import Layer, Shape
from striate.layers.sizes import (
    NamedPaddings,
    Positive,
    Sizes,
    UnevenPaddings,
    check_groups,
    check_padding,
    only,
    paddings,
    per_axis,
    sizes_after,
)

if TYPE_CHECKING:
    from torch import nn


class Convolution(Layer):
    """h[c, u] = bias[c] + sum over c', t of weight[c, c', t] x[c', u stride - before + dilation t].

    (Ci, *S) -> (channels, *S'), S' = floor((S + before + after - d (k - 1) - 1) / s) + 1. Sizes are a number for every
    axis or one per axis; ``padding`` is a number, one per axis, ((before, after), ...), "same" (output ceil(S / s), an
    odd position of padding goes after) or "valid". Parameters Ci channels k1..kn / groups (+ channels).
    """

    channels: Positive
    kernel: Sizes
    stride: Sizes = 1
    dilation: Sizes = 1
    groups: Positive = 1
    padding: NamedPaddings = 0
    padding_mode: PaddingMode = "zeros"
    bias: bool = True

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        axes = len(only(self.kind, inputs)) - 1
        kernel = per_axis(self.kind, "kernel", self.kernel, axes)
        stride = per_axis(self.kind, "stride", self.stride, axes)
        dilation = per_axis(self.kind, "dilation", self.dilation, axes)
        return tuple(
            Window(kernel=k, stride=s, dilation=d, before=before, after=after, padding_mode=self.padding_mode)
            for k, s, d, (before, after) in zip(
                kernel, stride, dilation, paddings(self.kind, self.padding, kernel, dilation), strict=True
            )
        )

    def output_shape(self, *inputs: Shape) -> Shape:
        windows, shape = self.window(*inputs), inputs[0]
        check_groups(self.kind, self.groups, shape[0], self.channels)
        check_padding(self.kind, windows, shape)
        return (self.channels, *sizes_after(self.kind, windows, shape))

    def _weights_per_filter(self, *inputs: Shape) -> int:
        return inputs[0][0] // self.groups * prod(window.kernel for window in self.window(*inputs))

    def parameters(self, *inputs: Shape) -> int:
        return self.channels * (self._weights_per_filter(*inputs) + self.bias)

    def multiply_adds(self, *inputs: Shape) -> int:
        """Output elements x weights per filter."""
        return prod(self.output_shape(*inputs)) * self._weights_per_filter(*inputs)

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import CONVOLUTIONS, PaddedConvolution

        self.output_shape(*inputs)
        windows = self.window(*inputs)
        even = all(window.before == window.after for window in windows)
        convolution = CONVOLUTIONS[len(windows)](
            inputs[0][0],
            self.channels,
            tuple(window.kernel for window in windows),
            stride=tuple(window.stride for window in windows),
            padding=tuple(window.before for window in windows) if even else 0,
            dilation=tuple(window.dilation for window in windows),
            groups=self.groups,
            bias=self.bias,
            padding_mode=self.padding_mode,
        )
        if even:
            return convolution
        return PaddedConvolution(convolution, [(window.before, window.after) for window in windows], self.padding_mode)


class TransposedConvolution(Layer):
    """The transpose of a convolution: every input adds ``weight`` times its value to the outputs that a convolution
    of the same sizes would have read (Zeiler et al. 2010, doi 10.1109/CVPR.2010.5539957).

    (Ci, *S) -> (channels, *S'), S' = (S - 1) s - before - after + d (k - 1) + output_padding + 1: padding is *cut*
    from the output, ``output_padding`` (below stride or dilation) positions are added at its end. Parameters
    Ci channels k1..kn / groups (+ channels).
    """

    channels: Positive
    kernel: Sizes
    stride: Sizes = 1
    dilation: Sizes = 1
    groups: Positive = 1
    padding: UnevenPaddings = 0
    output_padding: int | tuple[int, ...] = 0
    bias: bool = True

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        axes = len(only(self.kind, inputs)) - 1
        kernel = per_axis(self.kind, "kernel", self.kernel, axes)
        stride = per_axis(self.kind, "stride", self.stride, axes)
        dilation = per_axis(self.kind, "dilation", self.dilation, axes)
        extra = per_axis(self.kind, "output_padding", self.output_padding, axes)
        for e, s, d in zip(extra, stride, dilation, strict=True):
            if not 0 <= e < max(s, d):
                raise InputError(
                    self.kind, f"output_padding {e} came for stride {s}, dilation {d}", "keep it below one of them"
                )
        return tuple(
            Window(kernel=k, stride=s, dilation=d, before=before, after=after, transposed=True, output_padding=e)
            for k, s, d, (before, after), e in zip(
                kernel, stride, dilation, paddings(self.kind, self.padding, kernel, dilation), extra, strict=True
            )
        )

    def output_shape(self, *inputs: Shape) -> Shape:
        windows, shape = self.window(*inputs), inputs[0]
        check_groups(self.kind, self.groups, shape[0], self.channels)
        return (self.channels, *sizes_after(self.kind, windows, shape))

    def _weights_per_input(self, *inputs: Shape) -> int:
        return self.channels // self.groups * prod(window.kernel for window in self.window(*inputs))

    def parameters(self, *inputs: Shape) -> int:
        return inputs[0][0] * self._weights_per_input(*inputs) + self.bias * self.channels

    def multiply_adds(self, *inputs: Shape) -> int:
        """Input elements x k1..kn x channels / groups."""
        self.output_shape(*inputs)
        return prod(inputs[0]) * self._weights_per_input(*inputs)

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import TRANSPOSED_CONVOLUTIONS, CroppedTransposedConvolution

        self.output_shape(*inputs)
        windows = self.window(*inputs)
        common = [min(window.before, window.after) for window in windows]
        convolution = TRANSPOSED_CONVOLUTIONS[len(windows)](
            inputs[0][0],
            self.channels,
            tuple(window.kernel for window in windows),
            stride=tuple(window.stride for window in windows),
            padding=tuple(common),
            output_padding=tuple(window.output_padding for window in windows),
            groups=self.groups,
            bias=self.bias,
            dilation=tuple(window.dilation for window in windows),
        )
        cuts = [(w.before - least, w.after - least) for w, least in zip(windows, common, strict=True)]
        if not any(map(any, cuts)):
            return convolution
        return CroppedTransposedConvolution(convolution, cuts)
