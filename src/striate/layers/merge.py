"""Layers that take several inputs: the sum of a residual block, the channel join of a U-Net or inception block, and
upsampling to the size of another map."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from striate.core.errors import InputError
from striate.core.geometry import Window, linear_upsampling
from striate.layers.layer import Layer, LayerRow, Shape
from striate.layers.sizes import Sizes, only, per_axis

if TYPE_CHECKING:
    from torch import nn


class Add(Layer):
    """The sum of its inputs, all of one shape (the residual connection of He et al. 2016, arXiv:1512.03385)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) < 2 or any(shape != inputs[0] for shape in inputs):
            raise InputError("add", f"inputs of one shape were expected, {inputs} came", "match channels and stride")
        return inputs[0]

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.merge_modules import Sum

        self.output_shape(*inputs)
        return Sum()


class Join(Layer):
    """Its inputs one after the other along the channels; the spatial sizes must agree.

    With ``crop`` larger maps are cut around their centre to the smallest, as the valid-padding U-Net needs
    (Ronneberger et al. 2015, arXiv:1505.04597).
    """

    crop: bool = False

    def output_shape(self, *inputs: Shape) -> Shape:
        sizes = {shape[1:] for shape in inputs}
        if len(inputs) < 2 or len({len(shape) for shape in inputs}) != 1 or (len(sizes) != 1 and not self.crop):
            raise InputError(
                "join", f"inputs of one spatial size were expected, {inputs} came", "match strides, or set crop"
            )
        smallest = tuple(min(axis) for axis in zip(*(shape[1:] for shape in inputs), strict=True))
        return (sum(shape[0] for shape in inputs), *smallest)

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.merge_modules import ChannelJoin

        self.output_shape(*inputs)
        return ChannelJoin(self.crop)


class UpsampleLike(Layer):
    """A map brought to exactly the spatial size of another, so that a skip fits whatever the size of the input.

    Inputs: the coarse map (C, *S) and any map (C', *S'), of which only the size is used; output (C, *S'). Every axis is
    upsampled by ``factor``, "nearest" (output u reads floor(u / factor)) or "linear" (between pixel centres, as
    :class:`striate.layers.upsampling.LinearUpsample`). Then what is too much is cut off at the end; where it is too
    little the last position of the coarse map repeats. So what stands at a place does not depend on the map's size.
    """

    factor: Sizes
    method: Literal["nearest", "linear"] = "nearest"

    def _fit(self, *inputs: Shape) -> list[tuple[int, int, int]]:
        """Per axis the factor, the positions by which the coarse map is extended, and those cut from the result."""
        if len(inputs) != 2 or len(inputs[0]) != len(inputs[1]):
            raise InputError(self.kind, f"inputs {inputs} came", "give a map, and one of as many axes for the size")
        shape = only(self.kind, inputs[:1])
        factors = per_axis(self.kind, "factor", self.factor, len(shape) - 1)
        fits = []
        for factor, n, wanted in zip(factors, shape[1:], inputs[1][1:], strict=True):
            extra = max(0, -(-wanted // factor) - n)
            fits.append((factor, extra, factor * (n + extra) - wanted))
        return fits

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        windows = []
        for factor, _, cut in self._fit(*inputs):
            plain = Window(kernel=factor, stride=factor, transposed=True)
            window = linear_upsampling(factor) if self.method == "linear" else plain
            windows.append(replace(window, after=window.after + cut))
        return tuple(windows)

    def output_shape(self, *inputs: Shape) -> Shape:
        self._fit(*inputs)
        return (inputs[0][0], *inputs[1][1:])

    def leaves(self, *inputs: Shape, name: str = "", sources: tuple[str, ...] = ("input",)) -> Iterator[LayerRow]:
        """One row, which reads the coarse map; before it, where that is too small, a row that repeats its border."""
        (row,) = super().leaves(*inputs, name=name, sources=sources)
        extras = [extra for _, extra, _ in self._fit(*inputs)]
        if not any(extras):
            yield replace(row, sources=sources[:1])
            return
        extended = tuple(n + extra for n, extra in zip(inputs[0][1:], extras, strict=True))
        border = replace(
            row,
            name=f"{name or self.kind}:border",
            sources=sources[:1],
            output_shape=(inputs[0][0], *extended),
            window=tuple(Window(after=extra, padding_mode="replicate") for extra in extras),
        )
        yield border
        yield replace(row, sources=(border.name,), input_shapes=(border.output_shape, inputs[1]))

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.merge_modules import LikeUpsampling

        return LikeUpsampling([factor for factor, _, _ in self._fit(*inputs)], self.method)
