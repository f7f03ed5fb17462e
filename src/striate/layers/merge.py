"""Layers that take several inputs: the sum of a residual block and the channel join of a U-Net or inception block."""

from typing import TYPE_CHECKING

from striate.core.errors import InputError
from striate.layers.layer import Layer, Shape

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

        return ChannelJoin(self.output_shape(*inputs)[1:])
