"""Where the convolutions of this package are computed in place of torch's.

Training alone computes so, and what it measures on its way: the last measuring, predicting and exporting use the plain
convolutions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.training.convolutions.gathered import LARGEST_TABLE, GatheredConvolution, Pair, output_size
from striate.training.convolutions.library import Library, lanes, the_library
from striate.training.convolutions.winograd import Buffers, WinogradConvolution

ONE: Pair = (1, 1)


def fits(module: nn.Module) -> bool:
    """Whether there are convolutions in a network that Winograd's method is for."""
    return any(
        type(one) is nn.Conv2d
        and one.padding_mode == "zeros"
        and one.weight.device.type == "cpu"
        and _takes(one.weight, one.groups)
        and _by_winograd(one.weight, _pair(one.stride), _pair(one.padding), _pair(one.dilation))
        for one in module.modules()
    )


@contextmanager
def own_convolutions(module: nn.Module, measuring: bool = False) -> Iterator[None]:
    """Inside, forward passes that are differentiated compute their fitting convolutions so, of inputs (N, C, H, W)
    whose channels are last in memory; others too when ``measuring``.

    Buffers are kept as long as the module is. Errors: ``InputError`` without a compiler that can build the library.
    """
    kept = _KEPT.get(module)
    if kept is None:
        kept = _KEPT[module] = _Convolutions(the_library())
    before, kept.measuring = kept.measuring, measuring
    try:
        with kept:
            yield
    finally:
        kept.measuring = before


class _Convolutions(TorchFunctionMode):
    """Takes over ``torch.conv2d`` where a method fits."""

    def __init__(self, library: Library) -> None:
        super().__init__()
        self.library, self.buffers, self.measuring = library, Buffers(), False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and (self.measuring or torch.is_grad_enabled()):
            found = self._convolution(*args)
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))

    def _convolution(
        self, x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Tensor | None:
        """The output, or None where no method here fits."""
        if x.ndim != 4 or x.dtype != torch.float32 or x.device.type != "cpu" or not _takes(w, groups):
            return None
        stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
        learning = torch.is_grad_enabled()
        if _by_winograd(w, stride, padding, dilation):
            found: Tensor = WinogradConvolution.apply(x, w, self.library, self.buffers, learning)
        elif learning and _by_rows(x, w, stride, padding, dilation):
            found = GatheredConvolution.apply(x, w, (stride, padding, dilation), self.library)
        else:
            return None
        return found if bias is None else found + bias[:, None, None]


_KEPT: "WeakKeyDictionary[nn.Module, _Convolutions]" = WeakKeyDictionary()


def _takes(w: Tensor, groups: int) -> bool:
    return w.dtype == torch.float32 and groups == 1 and not any(n % lanes() for n in w.shape[:2])


def _by_winograd(w: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    return tuple(w.shape[2:]) == (3, 3) and (stride, padding, dilation) == (ONE, ONE, ONE)


def _by_rows(x: Tensor, w: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    size, kernel = (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3])
    made = output_size(size, kernel, stride, padding, dilation)
    table = len(x) * kernel[0] * kernel[1] * max(made[0] * made[1], size[0] * size[1])
    plain = kernel == stride == ONE  # one product of whole matrices, which torch is good at
    return min(made) > 0 and min(padding) >= 0 and not plain and table <= LARGEST_TABLE


def _pair(value: Any) -> Pair:
    """A number of each axis; padding that is given in words is of no method here."""
    if isinstance(value, int):
        return value, value
    return (-1, -1) if isinstance(value, str) else (value[0], value[-1])
