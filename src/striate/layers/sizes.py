"""What the windowed layers share: the types of their size fields, and the arithmetic from shapes to windows."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from striate.core.errors import InputError
from striate.core.geometry import AnyWindow, Window, same_padding
from striate.layers.layer import Shape

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Sizes = Positive | tuple[Positive, ...]
"""A number for every axis, or one per axis."""
Paddings = NonNegative | tuple[NonNegative, ...]
"""Positions added at both ends: a number for every axis, or one per axis."""
UnevenPaddings = NonNegative | tuple[NonNegative, ...] | tuple[tuple[NonNegative, NonNegative], ...]
"""Like ``Paddings``, or (before, after) per axis."""
NamedPaddings = UnevenPaddings | Literal["same", "valid"]
"""Like ``UnevenPaddings``, or ``"same"``: output ceil(n / stride), or ``"valid"``: none."""

MAX_AXES = 3


def only(kind: str, inputs: Sequence[Shape], axes: range = range(1, MAX_AXES + 1)) -> Shape:
    """The single input shape. Errors: ``InputError`` for several inputs, or a number of axes outside ``axes``."""
    if len(inputs) != 1:
        raise InputError(kind, f"one input was expected, {len(inputs)} came", "give this layer one source")
    shape = inputs[0]
    if len(shape) - 1 not in axes or min(shape, default=0) < 1:
        wanted = f"{axes.start} to {axes.stop - 1} axes" if len(axes) > 1 else f"{axes.start} axes"
        fix = "flatten it first" if axes == range(1) else "give (channels, *sizes), each 1 or more"
        raise InputError(kind, f"an input of shape {shape} came, channels and {wanted} were expected", fix)
    return shape


def per_axis(kind: str, field: str, value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    """``value`` once per axis. Errors: ``InputError`` when a tuple has another length."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        raise InputError(kind, f"{field} {value} came for an input of {axes} axes", "give one number, or one per axis")
    return value


def paddings(
    kind: str, value: NamedPaddings, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Padding (before, after) per axis. Errors: ``InputError`` when a tuple has the wrong length."""
    if value == "same":
        return tuple(same_padding(k, d) for k, d in zip(kernel, dilation, strict=True))
    if value == "valid":
        return ((0, 0),) * len(kernel)
    if isinstance(value, int):
        return ((value, value),) * len(kernel)
    if len(value) != len(kernel):
        raise InputError(kind, f"padding {value} came for {len(kernel)} axes", "give one entry per axis")
    return tuple((entry, entry) if isinstance(entry, int) else entry for entry in value)


def sizes_after(kind: str, windows: Sequence[AnyWindow], shape: Shape) -> tuple[int, ...]:
    """Spatial sizes after one window per axis. Errors: ``InputError`` that names the layer and its input shape."""
    try:
        return tuple(window.output_size(n) for window, n in zip(windows, shape[1:], strict=True))
    except InputError as error:
        raise InputError(kind, f"{error.cause} (input {shape})", error.fix) from None


def check_padding(kind: str, windows: Sequence[Window], shape: Shape) -> None:
    """Reflected padding must be smaller than the input, circular padding no larger. Errors: ``InputError``."""
    for window, n in zip(windows, shape[1:], strict=True):
        most = {"reflect": n - 1, "circular": n}.get(window.padding_mode)
        if most is not None and max(window.before, window.after) > most:
            raise InputError(
                kind,
                f"{window.padding_mode} padding of {max(window.before, window.after)} came for {n} positions",
                "pad less, or use padding_mode 'zeros'",
            )


def check_groups(kind: str, groups: int, inputs: int, outputs: int) -> None:
    """Groups must divide the channels on both sides. Errors: ``InputError``."""
    if inputs % groups or outputs % groups:
        raise InputError(
            kind, f"{groups} groups came for {inputs} channels in and {outputs} out", "use a divisor of both"
        )
