"""The convolution that ends a head: how many outputs there are may follow from the axes, and where they start."""

from math import prod
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from striate.layers.layer import Layer, Shape
from striate.layers.sizes import NonNegative, only

if TYPE_CHECKING:
    from torch import nn


class OutputConvolution(Layer):
    """A convolution of kernel 1 with bias: (Ci, *S) -> (channels + per_axis A, *S) for an input of A axes.

    A box has two sides an axis, so a head that predicts boxes has outputs ``per_axis``. Weights start normal with
    ``deviation`` and the biases at ``bias`` (Lin et al. 2017, arXiv:1708.02002, section 4.1), so that what a fresh head
    says hardly depends on its input. Parameters (Ci + 1) (channels + per_axis A).
    """

    channels: NonNegative
    per_axis: NonNegative = 0
    bias: float = 0.0
    deviation: Annotated[float, Field(gt=0)] = 0.01

    @model_validator(mode="after")
    def _some_output(self) -> Self:
        if self.channels + self.per_axis == 0:
            raise ValueError("channels and per_axis are both 0: there would be no output")
        return self

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = only(self.kind, inputs)
        return (self.channels + self.per_axis * (len(shape) - 1), *shape[1:])

    def parameters(self, *inputs: Shape) -> int:
        return self.output_shape(*inputs)[0] * (inputs[0][0] + 1)

    def multiply_adds(self, *inputs: Shape) -> int:
        """Output elements x input channels."""
        return prod(self.output_shape(*inputs)) * inputs[0][0]

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        from striate.layers.leaf_modules import CONVOLUTIONS

        shape = self.output_shape(*inputs)
        convolution = CONVOLUTIONS[len(shape) - 1](inputs[0][0], shape[0], 1)
        for name, parameter in convolution.named_parameters():
            if name == "bias":
                nn.init.constant_(parameter, self.bias)
            else:
                nn.init.normal_(parameter, std=self.deviation)
        return convolution
