"""The fully connected layer, and the flattening before it."""

from math import prod
from typing import TYPE_CHECKING

from striate.core.graph import Reach
from striate.layers.layer import Layer, Shape
from striate.layers.sizes import Positive, only

if TYPE_CHECKING:
    from torch import nn


class Linear(Layer):
    """h[c] = bias[c] + sum over i of weight[c, i] x[i]: (inputs,) -> (features,). Weights inputs x features."""

    features: Positive
    bias: bool = True

    def output_shape(self, *inputs: Shape) -> Shape:
        only(self.kind, inputs, range(1))
        return (self.features,)

    def parameters(self, *inputs: Shape) -> int:
        return self.features * (only(self.kind, inputs, range(1))[0] + self.bias)

    def multiply_adds(self, *inputs: Shape) -> int:
        """Output elements x weights of each."""
        return self.features * only(self.kind, inputs, range(1))[0]

    def window(self, *inputs: Shape) -> Reach:
        return Reach.EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.Linear(only(self.kind, inputs, range(1))[0], self.features, bias=self.bias)


class Flatten(Layer):
    """(C, *S) -> (C prod(S),): channel by channel, each row by row."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(only(self.kind, inputs, range(4))),)

    def window(self, *inputs: Shape) -> Reach:
        return Reach.EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        self.output_shape(*inputs)
        return nn.Flatten()
