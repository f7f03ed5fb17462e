"""The audit: what a trained function does when its input moves.

f is invariant to t when f(t(x)) = f(x), and equivariant when f(t(x)) = t(f(x)). Here both are measured on callables
and tensors; batches are (B, C, *S), and axis 0 is the first spatial axis.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from striate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Function = Callable[["Tensor"], "Tensor"]


def shifted(inputs: "Tensor", shift: int, axis: int = -1, fill: Literal["zeros", "circular"] = "zeros") -> "Tensor":
    """Inputs (B, C, *S) moved by ``shift`` positions towards higher indices along a spatial axis (-1: the last).

    What enters is zero, or with "circular" what left at the other end. A shift beyond the size leaves only zeros.
    """
    import torch

    dimension = _dimension(inputs, axis)
    if fill == "circular":
        return torch.roll(inputs, shift, dimension)
    size = inputs.shape[dimension]
    moved = torch.zeros_like(inputs)
    kept = size - min(abs(shift), size)
    source, target = (0, size - kept) if shift > 0 else (size - kept, 0)
    moved.narrow(dimension, target, kept).copy_(inputs.narrow(dimension, source, kept))
    return moved


def shift_errors(
    predict: Function,
    inputs: "Tensor",
    labels: "Tensor",
    shifts: Sequence[int],
    axis: int = -1,
    fill: Literal["zeros", "circular"] = "zeros",
    batch: int = 1000,
) -> list[tuple[int, float]]:
    """Fraction of wrong answers at each integer shift of the inputs, as (shift, error) in the order asked for.

    ``predict`` maps (b, C, *S) to scores (b, K), of which the largest is the answer; ``labels`` is (B,).
    Errors: ``InputError`` when there is nothing to predict, or labels and inputs differ in number.
    """
    _check(inputs, labels.shape[0])
    results = []
    for shift in shifts:
        wrong = 0
        for part, answers in zip(_parts(inputs, batch), labels.split(batch), strict=True):
            scores = _quietly(predict, shifted(part, shift, axis, fill))
            if scores.ndim != 2 or scores.shape[0] != part.shape[0]:
                raise InputError("predict", f"scores {tuple(scores.shape)} came back", "return (batch, classes)")
            wrong += int((scores.argmax(1).to(answers.device) != answers).sum())
        results.append((shift, wrong / inputs.shape[0]))
    return results


def flip_error(function: Function, inputs: "Tensor", axis: int = -1, batch: int = 1000) -> float:
    """How far a function is from moving with a mirror: sqrt(sum |f(t x) - t f(x)|^2 / sum |f(x)|^2), t the mirror.

    For outputs (b, K) without axes, t leaves the output alone and the figure measures invariance. 0 is perfect; two
    unrelated outputs of mean zero give about 1.4. A function that is zero everywhere gives 0.
    Errors: ``InputError`` for an empty batch or outputs with another number of axes.
    """
    _check(inputs, inputs.shape[0])
    dimension = _dimension(inputs, axis)
    difference = total = 0.0
    for part in _parts(inputs, batch):
        plain, mirrored = _quietly(function, part), _quietly(function, part.flip(dimension))
        if plain.ndim not in (2, inputs.ndim):
            raise InputError(
                "flip_error", f"outputs {tuple(plain.shape)} came for {tuple(part.shape)}", "keep or drop all axes"
            )
        expected = plain.flip(dimension) if plain.ndim == inputs.ndim else plain
        difference += float((mirrored - expected).double().square().sum())
        total += float(plain.double().square().sum())
    return (difference / total) ** 0.5 if difference else 0.0


def _parts(inputs: "Tensor", batch: int) -> Iterator["Tensor"]:
    yield from inputs.split(batch)


def _quietly(function: Function, inputs: "Tensor") -> "Tensor":
    import torch

    with torch.no_grad():
        return function(inputs)


def _dimension(inputs: "Tensor", axis: int) -> int:
    axes = inputs.ndim - 2
    if not -axes <= axis < axes:
        raise InputError("axis", f"axis {axis} was asked for, inputs have {axes}", "count the spatial axes from 0")
    return inputs.ndim + axis if axis < 0 else 2 + axis


def _check(inputs: "Tensor", labels: int) -> None:
    if inputs.shape[0] == 0 or inputs.shape[0] != labels:
        raise InputError(
            "audit", f"{inputs.shape[0]} inputs and {labels} labels came", "give as many of both, at least one"
        )
