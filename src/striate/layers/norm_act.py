"""Norms, activations and the other layers that keep the shape. Multiply-adds count zero."""

from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from striate.core.errors import InputError
from striate.core.graph import Reach, WindowOp
from striate.layers.layer import Layer, Shape
from striate.layers.sizes import Positive, only

if TYPE_CHECKING:
    from torch import nn

Eps = Annotated[float, Field(gt=0)]
WITH_AXES, ANY_AXES = range(1, 4), range(4)


class _Elementwise(Layer):
    """(C, *S) -> (C, *S), with or without axes."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return only(self.kind, inputs, ANY_AXES)


class BatchNorm(_Elementwise):
    """y = weight (x - mean) / sqrt(var + eps) + bias per channel, over batch and positions (Ioffe and Szegedy 2015,
    arXiv:1502.03167). In evaluation the running statistics are used, updated by ``momentum`` at each training step."""

    eps: Eps = 1e-5
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.1
    affine: bool = True

    def parameters(self, *inputs: Shape) -> int:
        return 2 * inputs[0][0] * self.affine

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import BATCH_NORMS

        shape = self.output_shape(*inputs)
        return BATCH_NORMS[len(shape) - 1](shape[0], eps=self.eps, momentum=self.momentum, affine=self.affine)


class GroupNorm(_Elementwise):
    """Mean and variance per example over groups of channels and all positions (Wu and He 2018, arXiv:1803.08494)."""

    groups: Positive = 32
    eps: Eps = 1e-5
    affine: bool = True

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = only(self.kind, inputs, ANY_AXES)
        if shape[0] % self.groups:
            raise InputError(self.kind, f"{self.groups} groups came for {shape[0]} channels", "use a divisor")
        return shape

    def parameters(self, *inputs: Shape) -> int:
        return 2 * inputs[0][0] * self.affine

    def window(self, *inputs: Shape) -> WindowOp:
        return Reach.POINTWISE_AND_EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.GroupNorm(self.groups, self.output_shape(*inputs)[0], eps=self.eps, affine=self.affine)


class LayerNorm(_Elementwise):
    """Mean and variance over the channels at each position, as in ConvNeXt (Ba et al. 2016, arXiv:1607.06450)."""

    eps: Eps = 1e-6
    affine: bool = True

    def parameters(self, *inputs: Shape) -> int:
        return 2 * inputs[0][0] * self.affine

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import ChannelLayerNorm

        return ChannelLayerNorm(self.output_shape(*inputs)[0], self.eps, self.affine)


class InstanceNorm(_Elementwise):
    """Mean and variance per example and channel over all positions (Ulyanov et al. 2016, arXiv:1607.08022)."""

    eps: Eps = 1e-5
    affine: bool = False

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = only(self.kind, inputs, WITH_AXES)
        if prod(shape[1:]) < 2:
            raise InputError(self.kind, f"an input of shape {shape} has one position", "it needs two or more")
        return shape

    def parameters(self, *inputs: Shape) -> int:
        return 2 * inputs[0][0] * self.affine

    def window(self, *inputs: Shape) -> WindowOp:
        return Reach.POINTWISE_AND_EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import INSTANCE_NORMS

        shape = self.output_shape(*inputs)
        return INSTANCE_NORMS[len(shape) - 1](shape[0], eps=self.eps, affine=self.affine)


class LocalResponseNorm(_Elementwise):
    """y[c] = x[c] / (k + alpha / size sum over neighbours c' of x[c']^2)^beta: ``size`` channels around c, those that
    exist (Krizhevsky et al. 2012; the paper's alpha is this one divided by ``size``)."""

    size: Positive = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: Annotated[float, Field(gt=0)] = 1.0

    def output_shape(self, *inputs: Shape) -> Shape:
        return only(self.kind, inputs, WITH_AXES)

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        self.output_shape(*inputs)
        return nn.LocalResponseNorm(self.size, alpha=self.alpha, beta=self.beta, k=self.k)


class ReLU(_Elementwise):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.ReLU()


class LeakyReLU(_Elementwise):
    """x where x > 0, ``slope`` x elsewhere."""

    kind: ClassVar[str] = "leaky_relu"
    slope: float = 0.01

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.LeakyReLU(self.slope)


class GELU(_Elementwise):
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016, arXiv:1606.08415); "tanh": its
    approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""

    approximate: Literal["none", "tanh"] = "none"

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.GELU(approximate=self.approximate)


class SiLU(_Elementwise):
    """x / (1 + exp(-x)) (Elfwing et al. 2018, arXiv:1702.03118)."""

    kind: ClassVar[str] = "silu"

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.SiLU()


class Sigmoid(_Elementwise):
    """1 / (1 + exp(-x))."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.Sigmoid()


class Tanh(_Elementwise):
    """tanh(x)."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.Tanh()


class Softmax(_Elementwise):
    """exp(x[c]) / sum over c' of exp(x[c']), over the channels at each position."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.Softmax(dim=1)


class Identity(_Elementwise):
    """x itself."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        return nn.Identity()


class Dropout(_Elementwise):
    """In training each value becomes 0 with ``probability`` and is divided by 1 - probability otherwise; in evaluation
    nothing changes (Srivastava et al. 2014). ``whole_channels`` drops a channel at all positions together."""

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.5
    whole_channels: bool = False

    def build(self, *inputs: Shape) -> "nn.Module":
        from torch import nn

        axes = len(self.output_shape(*inputs)) - 1
        whole = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)[axes]
        return (whole if self.whole_channels else nn.Dropout)(self.probability)


class Permutation(_Elementwise):
    """The values of every example in one fixed shuffled order, channels and positions together, drawn from ``seed``.

    A fully connected network does not notice it; a convolutional one loses its advantage.
    """

    seed: Annotated[int, Field(ge=0)] = 0

    def window(self, *inputs: Shape) -> WindowOp:
        return Reach.EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import Shuffled

        return Shuffled(self.seed, prod(self.output_shape(*inputs)))
