"""Pooling: maximum, mean, adaptive and global; antialiased and plain subsampling. No parameters, no multiply-adds."""

from typing import TYPE_CHECKING

from striate.core.errors import InputError
from striate.core.geometry import Window, adaptive, same_padding
from striate.core.graph import Reach, WindowOp
from striate.layers.layer import Layer, Shape
from striate.layers.sizes import Paddings, Sizes, check_padding, only, per_axis, sizes_after

if TYPE_CHECKING:
    from torch import nn


class _Pool(Layer):
    """(C, *S) -> (C, *S') by one window per axis."""

    def output_shape(self, *inputs: Shape) -> Shape:
        window, shape = self.window(*inputs), only(self.kind, inputs)
        assert not isinstance(window, Reach), "a pool of this family has windows"
        return (shape[0], *sizes_after(self.kind, window, shape))


def pool_windows(
    kind: str, shape: Shape, kernel: Sizes, stride: Sizes | None, padding: Paddings, dilation: Sizes, ceil: bool
) -> tuple[Window, ...]:
    """The windows of a pooling layer; the stride is the kernel where none is given.

    Errors: ``InputError`` when the padding is more than half the (effective) kernel: a window could miss the input.
    """
    axes = len(shape) - 1
    sizes = per_axis(kind, "kernel", kernel, axes)
    windows = tuple(
        Window(kernel=k, stride=s, dilation=d, before=p, after=p, ceil=ceil)
        for k, s, d, p in zip(
            sizes,
            sizes if stride is None else per_axis(kind, "stride", stride, axes),
            per_axis(kind, "dilation", dilation, axes),
            per_axis(kind, "padding", padding, axes),
            strict=True,
        )
    )
    for window in windows:
        if 2 * window.before > window.effective_kernel:
            raise InputError(
                kind, f"padding {window.before} came for a kernel of {window.kernel}", "pad by half of it at most"
            )
    return windows


class MaxPool(_Pool):
    """The largest value in each window; padding never wins. ``stride`` is ``kernel`` unless given.

    ``ceil`` rounds the output size up. With ``indices`` a part of that name says where each maximum stood, as
    :class:`striate.layers.upsampling.MaxUnpool` needs it.
    """

    kernel: Sizes
    stride: Sizes | None = None
    padding: Paddings = 0
    dilation: Sizes = 1
    ceil: bool = False
    indices: bool = False

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        shape = only(self.kind, inputs)
        return pool_windows(self.kind, shape, self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    def parts(self, *inputs: Shape) -> dict[str, Shape]:
        return {"indices": self.output_shape(*inputs)} if self.indices else {}

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import MAX_POOLS, IndexedMaxPool

        self.output_shape(*inputs)
        windows = self.window(*inputs)
        pool = MAX_POOLS[len(windows)](
            tuple(window.kernel for window in windows),
            stride=tuple(window.stride for window in windows),
            padding=tuple(window.before for window in windows),
            dilation=tuple(window.dilation for window in windows),
            return_indices=self.indices,
            ceil_mode=self.ceil,
        )
        return IndexedMaxPool(pool) if self.indices else pool


class MeanPool(_Pool):
    """The mean of each window. ``count_padding``: zeros of the padding count as values; otherwise they are left out."""

    kernel: Sizes
    stride: Sizes | None = None
    padding: Paddings = 0
    ceil: bool = False
    count_padding: bool = True

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        shape = only(self.kind, inputs)
        windows = pool_windows(self.kind, shape, self.kernel, self.stride, self.padding, 1, self.ceil)
        if len(windows) == 3 and any(n < window.kernel for n, window in zip(shape[1:], windows, strict=True)):
            # torch's kernel for three axes asks for this, padded or not
            raise InputError(self.kind, f"an input of shape {shape} is smaller than the kernel", "use a smaller kernel")
        return windows

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import MEAN_POOLS

        self.output_shape(*inputs)
        windows = self.window(*inputs)
        return MEAN_POOLS[len(windows)](
            tuple(window.kernel for window in windows),
            stride=tuple(window.stride for window in windows),
            padding=tuple(window.before for window in windows),
            ceil_mode=self.ceil,
            count_include_pad=self.count_padding,
        )


class _AdaptivePool(Layer):
    """(C, *S) -> (C, *size): output u pools positions floor(u S / size) .. ceil((u + 1) S / size) - 1."""

    size: Sizes

    def _sizes(self, *inputs: Shape) -> tuple[int, ...]:
        return per_axis(self.kind, "size", self.size, len(only(self.kind, inputs)) - 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *self._sizes(*inputs))

    def window(self, *inputs: Shape) -> WindowOp:
        sizes = self._sizes(*inputs)
        if set(sizes) == {1}:
            return Reach.EVERYTHING
        return tuple(adaptive(n, size) for n, size in zip(inputs[0][1:], sizes, strict=True))


class AdaptiveMeanPool(_AdaptivePool):
    """The mean of as many windows as ``size`` asks for, whatever the input size. At size 1 it sees everything."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import ADAPTIVE_MEAN_POOLS

        sizes = self._sizes(*inputs)
        return ADAPTIVE_MEAN_POOLS[len(sizes)](sizes)


class AdaptiveMaxPool(_AdaptivePool):
    """The maximum of as many windows as ``size`` asks for, whatever the input size. At size 1 it sees everything."""

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import ADAPTIVE_MAX_POOLS

        sizes = self._sizes(*inputs)
        return ADAPTIVE_MAX_POOLS[len(sizes)](sizes)


class GlobalMeanPool(Layer):
    """The mean of every channel over all positions: (C, *S) -> (C,) (Lin et al. 2014, arXiv:1312.4400)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return only(self.kind, inputs)[:1]

    def window(self, *inputs: Shape) -> Reach:
        return Reach.EVERYTHING

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import GlobalMean

        self.output_shape(*inputs)
        return GlobalMean()


class BlurPool(_Pool):
    """Antialiased subsampling (Zhang 2019, arXiv:1904.11486).

    y[u] = sum over t of binomial(taps - 1, t) / 2^(taps - 1) x[u stride + t - before]: a low-pass filter per channel
    and axis, reflected at the borders, then every ``stride``-th position, (C, *S) -> (C, *ceil(S / stride)). With an
    even number of taps the extra position of padding is after.
    """

    stride: Sizes = 2
    taps: Sizes = 3

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        axes = len(only(self.kind, inputs)) - 1
        stride, taps = per_axis(self.kind, "stride", self.stride, axes), per_axis(self.kind, "taps", self.taps, axes)
        windows = []
        for step, count in zip(stride, taps, strict=True):
            before, after = same_padding(count)
            windows.append(Window(kernel=count, stride=step, before=before, after=after, padding_mode="reflect"))
        check_padding(self.kind, windows, inputs[0])
        return tuple(windows)

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import BlurPooling

        windows = self.window(*inputs)
        return BlurPooling(
            [window.stride for window in windows],
            [window.kernel for window in windows],
            [(window.before, window.after) for window in windows],
        )


class Subsample(_Pool):
    """Every ``stride``-th position and nothing of the others: (C, *S) -> (C, *ceil(S / stride)). It aliases."""

    stride: Sizes

    def window(self, *inputs: Shape) -> tuple[Window, ...]:
        axes = len(only(self.kind, inputs)) - 1
        return tuple(Window(stride=step) for step in per_axis(self.kind, "stride", self.stride, axes))

    def build(self, *inputs: Shape) -> "nn.Module":
        from striate.layers.leaf_modules import Subsampling

        return Subsampling([window.stride for window in self.window(*inputs)])
