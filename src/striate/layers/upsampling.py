"""Upsampling without weights: duplicating, linear interpolation, max-unpooling and pixel shuffle."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from striate.core.errors import InputError
from striate.core.geometry import Window, linear_upsampling
from striate.layers.layer import Layer, LayerRow, Shape
from striate.layers.pooling import pool_windows
from striate.layers.sizes import Paddings, Sizes, only, per_axis, sizes_after

if TYPE_CHECKING:
    from torch import nn


class Duplicate(Layer):
    """Every value ``factor`` times along each axis: (C, *S) -> (C, *(factor S)), output u reads floor(u / factor)."""

    factor: Sizes

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        factors = per_axis(self.kind, "factor", self.factor, len(only(self.kind, inputs)) - 1)
        return tuple(Window(kernel=factor, stride=factor, transposed=True) for factor in factors)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *sizes_after(self.kind, self.window(*inputs), inputs[0]))

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import Duplicating

        return Duplicating([window.stride for window in self.window(*inputs)])


class LinearUpsample(Layer):
    """Linear interpolation along every axis between pixel centres: (C, *S) -> (C, *(factor S)).

    Output u lies at (u + 1/2) / factor - 1/2 and mixes the two inputs around it; at the borders the last input repeats.
    """

    factor: Sizes

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        factors = per_axis(self.kind, "factor", self.factor, len(only(self.kind, inputs)) - 1)
        return tuple(linear_upsampling(factor) for factor in factors)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *sizes_after(self.kind, self.window(*inputs), inputs[0]))

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        from striate.layers.leaf_modules import LINEAR_MODES

        factors = tuple(float(window.stride) for window in self.window(*inputs))
        return nn.Upsample(scale_factor=factors, mode=LINEAR_MODES[len(factors)], align_corners=False)


class MaxUnpool(Layer):
    """The inverse of a max pooling of these sizes: values return to where the maxima stood, zeros fill the rest
    (Zeiler and Fergus 2014, arXiv:1311.2901).

    Inputs: values (C, *S), indices (C, *S) from ``MaxPool(indices=True)``, and optionally a map whose spatial size is
    restored; without it the smallest size that pools to S: (S - 1) stride - 2 padding + kernel.
    """

    kernel: Sizes
    stride: Sizes | None = None
    padding: Paddings = 0

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        if len(inputs) not in (2, 3):
            raise InputError(self.kind, f"{len(inputs)} inputs came", "give values, indices and maybe a map")
        values, indices = inputs[:2]
        only(self.kind, [values])
        if values != indices:
            raise InputError(
                self.kind, f"values {values} and indices {indices} differ", "take the indices of the matching pooling"
            )
        windows = pool_windows(self.kind, values, self.kernel, self.stride, self.padding, 1, False)
        smallest = [replace(window, transposed=True) for window in windows]
        if len(inputs) == 2:
            return tuple(smallest)
        wanted = inputs[2][1:]
        for pool, n, size in zip(windows, wanted, values[1:], strict=True):
            if size not in (pool.output_size(n), replace(pool, ceil=True).output_size(n)):
                raise InputError(
                    self.kind, f"a map of {wanted} does not pool to {values[1:]}", "name the row that was pooled"
                )
        return tuple(
            replace(window, output_padding=n - window.output_size(size))
            for window, n, size in zip(smallest, wanted, values[1:], strict=True)
        )

    def output_shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *sizes_after(self.kind, self.window(*inputs), inputs[0]))

    def leaves(self, *inputs: Shape, name: str = "", sources: tuple[str, ...] = ("input",)) -> Iterator[LayerRow]:
        """One row, which reads the values and the indices: of a third source only the size is used."""
        for row in super().leaves(*inputs, name=name, sources=sources):
            yield replace(row, sources=sources[:2])

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import MaxUnpooling

        self.output_shape(*inputs)
        windows = self.window(*inputs)
        return MaxUnpooling(
            [window.kernel for window in windows],
            [window.stride for window in windows],
            [window.before for window in windows],
        )


class PixelShuffle(Layer):
    """Blocks of channels become positions: (C prod(factor), *S) -> (C, *(factor S)).

    Along each axis output u reads floor(u / factor); input channel c prod(factor) + r gives the positions of phase r of
    output channel c (Shi et al. 2016, arXiv:1609.05158).
    """

    factor: Sizes

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        factors = per_axis(self.kind, "factor", self.factor, len(only(self.kind, inputs)) - 1)
        return tuple(Window(kernel=factor, stride=factor, transposed=True) for factor in factors)

    def output_shape(self, *inputs: Shape) -> Shape:
        windows, shape = self.window(*inputs), inputs[0]
        block = prod(window.stride for window in windows)
        if shape[0] % block:
            raise InputError(self.kind, f"{shape[0]} channels came for blocks of {block}", "give a multiple")
        return (shape[0] // block, *sizes_after(self.kind, windows, shape))

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import PixelShuffling

        self.output_shape(*inputs)
        return PixelShuffling([window.stride for window in self.window(*inputs)])
