"""The modules behind the layer specs: tables of torch.nn's by number of axes, and the few that torch.nn lacks.

Imported only when a layer is built.
"""

from collections.abc import Callable, Mapping, Sequence
from math import comb, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.core.random import permutation

CONVOLUTIONS: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVOLUTIONS: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
MAX_POOLS: Mapping[int, Callable[..., nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN_POOLS: Mapping[int, Callable[..., nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
ADAPTIVE_MAX_POOLS: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.AdaptiveMaxPool1d,
    2: nn.AdaptiveMaxPool2d,
    3: nn.AdaptiveMaxPool3d,
}
ADAPTIVE_MEAN_POOLS: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
BATCH_NORMS: Mapping[int, Callable[..., nn.Module]] = {
    0: nn.BatchNorm1d,
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
INSTANCE_NORMS: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}

_CONVOLVE: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONVOLVE_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_UNPOOL: Mapping[int, Callable[..., Tensor]] = {1: F.max_unpool1d, 2: F.max_unpool2d, 3: F.max_unpool3d}
_FILL = {"zeros": "constant", "reflect": "reflect", "circular": "circular", "replicate": "replicate"}


def pad_list(paddings: Sequence[tuple[int, int]]) -> list[int]:
    """Padding (before, after) per axis as ``F.pad`` wants it: last axis first."""
    return [value for pair in reversed(paddings) for value in pair]


class PaddedConvolution(nn.Module):
    """A convolution with another padding before than after, which nn.ConvNd cannot hold. (B, Ci, *S) -> (B, Co, *S').

    It takes the parameters of ``convolution`` (one without padding), so that they are named weight and bias as ever.
    """

    def __init__(self, convolution: nn.Module, paddings: Sequence[tuple[int, int]], mode: str) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.dilation, self.groups = convolution.stride, convolution.dilation, convolution.groups
        self.padding, self.mode = pad_list(paddings), _FILL[mode]

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        x = F.pad(x, self.padding, mode=self.mode)
        convolve = _CONVOLVE[x.ndim - 2]
        return convolve(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class CroppedTransposedConvolution(nn.Module):
    """A transposed convolution with different cuts at the two ends. (B, Ci, *S) -> (B, Co, *S').

    ``cuts`` (before, after) per axis come on top of the even padding of ``convolution``, whose parameters it takes.
    """

    def __init__(self, convolution: nn.Module, cuts: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.padding, self.dilation = convolution.stride, convolution.padding, convolution.dilation
        self.output_padding, self.groups = convolution.output_padding, convolution.groups
        self.cuts = pad_list([(-before, -after) for before, after in cuts])

    def forward(self, x: Tensor) -> Tensor:
        """Convolve transposed, then cut."""
        convolve = _CONVOLVE_TRANSPOSED[x.ndim - 2]
        x = convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
        return F.pad(x, self.cuts)


class IndexedMaxPool(nn.Module):
    """Max pooling that also gives the flat position of each maximum, as {"": values, "indices": positions}."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, *S) -> two tensors (B, C, *S'); a position counts within (*S), row by row."""
        values, indices = self.pool(x)
        return {"": values, "indices": indices}


class MaxUnpooling(nn.Module):
    """Puts each value back where its maximum came from, zeros elsewhere."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = list(kernel), list(stride), list(padding)

    def forward(self, values: Tensor, indices: Tensor, like: Tensor | None = None) -> Tensor:
        """(B, C, *S), the same, and (B, any, *S') for the size: (B, C, *S')."""
        size = None if like is None else list(like.shape[2:])
        return _UNPOOL[values.ndim - 2](values, indices, self.kernel, self.stride, self.padding, size)


class GlobalMean(nn.Module):
    """Mean over all positions: (B, C, *S) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean per channel."""
        return x.mean(tuple(range(2, x.ndim)))


class BlurPooling(nn.Module):
    """Binomial low-pass filter, then subsampling, per channel: (B, C, *S) -> (B, C, *S'). No parameters."""

    kernel: Tensor

    def __init__(self, stride: Sequence[int], taps: Sequence[int], paddings: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.stride, self.padding = tuple(stride), pad_list(paddings)
        kernel = torch.ones(())
        for count in taps:
            row = torch.tensor([comb(count - 1, tap) for tap in range(count)], dtype=torch.float64) / 2 ** (count - 1)
            kernel = kernel[..., None] * row
        self.register_buffer("kernel", kernel.to(torch.get_default_dtype())[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Reflect at the borders, then filter and subsample in one depthwise convolution."""
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, *self.kernel.shape[1:])
        x = F.pad(x, self.padding, mode="reflect") if any(self.padding) else x
        return _CONVOLVE[x.ndim - 2](x, kernel, None, self.stride, 0, 1, channels)


class Subsampling(nn.Module):
    """Every ``stride``-th position: (B, C, *S) -> (B, C, *ceil(S / stride))."""

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        """Slice."""
        return x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]


class Duplicating(nn.Module):
    """Every value ``factor`` times along each axis: (B, C, *S) -> (B, C, *(f S)).

    nn.Upsample divides in floating point and can repeat a neighbour instead at large factors.
    """

    def __init__(self, factor: Sequence[int]) -> None:
        super().__init__()
        self.factor = tuple(factor)

    def forward(self, x: Tensor) -> Tensor:
        """A new axis of size f after each axis, then merged with it."""
        sizes = x.shape[2:]
        for axis, factor in enumerate(self.factor):
            x = x.unsqueeze(3 + 2 * axis)
            x = x.expand(*x.shape[: 3 + 2 * axis], factor, *x.shape[4 + 2 * axis :])
        return x.reshape(*x.shape[:2], *(n * f for n, f in zip(sizes, self.factor, strict=True)))


class PixelShuffling(nn.Module):
    """Channels become positions: (B, C prod(f), *S) -> (B, C, *(f S)), in the channel order of nn.PixelShuffle."""

    def __init__(self, factor: Sequence[int]) -> None:
        super().__init__()
        self.factor = tuple(factor)

    def forward(self, x: Tensor) -> Tensor:
        """Split the channels into (C, *f), then interleave each factor with its axis."""
        axes, sizes = len(self.factor), x.shape[2:]
        x = x.reshape(x.shape[0], x.shape[1] // prod(self.factor), *self.factor, *sizes)
        order = [place for axis in range(axes) for place in (2 + axes + axis, 2 + axis)]
        x = x.permute(0, 1, *order)
        return x.reshape(x.shape[0], x.shape[1], *(n * f for n, f in zip(sizes, self.factor, strict=True)))


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels at each position: (B, C, *S) -> the same shape (Ba et al. 2016, arXiv:1607.06450).

    y = weight (x - mean_c x) / sqrt(var_c x + eps) + bias.
    """

    def __init__(self, channels: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Channels last, normalise, channels first."""
        if x.ndim == 2:
            return F.layer_norm(x, (self.channels,), self.weight, self.bias, self.eps)
        x = F.layer_norm(x.movedim(1, -1), (self.channels,), self.weight, self.bias, self.eps)
        return x.movedim(-1, 1)


class Shuffled(nn.Module):
    """A fixed permutation of the values of an example, channels and positions together. The shape stays."""

    order: Tensor

    def __init__(self, seed: int, count: int) -> None:
        super().__init__()
        order = torch.from_numpy(permutation(seed, "permutation layer", 0, count))
        self.register_buffer("order", order, persistent=False)  # the seed in the spec gives it again

    def forward(self, x: Tensor) -> Tensor:
        """Output value i is input value order[i]."""
        return x.flatten(1)[:, self.order].view_as(x)
