"""Optimisers as specs, and their state as named tensors.

Weight decay is for weights that multiply: it is left off every parameter with at most one axis, which are the biases
and the scales and shifts of norms (He et al. 2019, "Bag of Tricks for Image Classification", section 3.1), and
off every parameter that belongs to a norm, however many axes it has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, cast, final

import torch
from pydantic import Field
from torch import nn

from striate.core.errors import InputError
from striate.core.spec import Spec

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Modules whose parameters are never decayed."""
_STATES = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")
_FUSED_DEVICES = {"cpu", "cuda"}
_FACTOR = "factor"
"""Entry of a parameter group: what its rate is multiplied by."""
NO_FACTORS: Mapping[str, float] = MappingProxyType({})
"""Every parameter learns at the same rate."""


class Optimiser(Spec, ABC):
    """An optimiser: its peak ``rate``, which a schedule multiplies, and its ``weight_decay``."""

    rate: Positive
    weight_decay: NonNegative = 0.0

    @abstractmethod
    def build(self, module: nn.Module, factors: Mapping[str, float] = NO_FACTORS) -> torch.optim.Optimizer:
        """Torch's optimiser over the module's trainable parameters. ``factors`` are what the rate is multiplied by, by
        the names of parameters (others: 1). Errors: ``InputError`` when there are none."""


@final
class SGD(Optimiser):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013, section 2).

    g = gradient + weight_decay w;  v = momentum v + g;  w -= rate v, or with ``nesterov`` w -= rate (g + momentum v).
    """

    rate: Positive = 0.1
    momentum: BelowOne = 0.9
    nesterov: bool = False

    def build(self, module: nn.Module, factors: Mapping[str, float] = NO_FACTORS) -> torch.optim.SGD:
        """Errors: ``InputError`` for Nesterov's form without momentum, and for a module with nothing to train."""
        if self.nesterov and self.momentum == 0:
            raise InputError(
                "sgd.nesterov", "it needs momentum, and momentum is 0", "set momentum or leave nesterov out"
            )
        groups = _groups(module, self.rate, self.weight_decay, factors)
        return torch.optim.SGD(
            groups,
            lr=self.rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=_can_fuse(groups),
        )


@final
class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    m, v are the moving averages of g and g² with ``betas``; w -= rate (weight_decay w + m̂ / (sqrt(v̂) + eps)).
    """

    kind: ClassVar[str] = "adamw"
    rate: Positive = 1e-3
    weight_decay: NonNegative = 0.01
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: Positive = 1e-8

    def build(self, module: nn.Module, factors: Mapping[str, float] = NO_FACTORS) -> torch.optim.AdamW:
        """Errors: ``InputError`` for a module with nothing to train."""
        groups = _groups(module, self.rate, self.weight_decay, factors)
        return torch.optim.AdamW(groups, lr=self.rate, betas=self.betas, eps=self.eps, fused=_can_fuse(groups))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step: of every parameter group this one, multiplied by the group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(_FACTOR, 1.0)


def optimiser_tensors(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, torch.Tensor]:
    """The optimiser's state as ``PARAMETER.momentum_buffer``, ``.exp_avg``, ``.exp_avg_sq``, ``.step``.

    The tensors are the live ones, not copies. A parameter that was never updated has none.
    Errors: ``TypeError`` for an optimiser whose state is not of these tensors.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in _trained(optimiser, module).items():
        for key, value in optimiser.state.get(parameter, {}).items():
            if value is None:
                continue
            if key not in _STATES or not isinstance(value, torch.Tensor):
                raise TypeError(f"{type(optimiser).__name__} keeps {key} ({type(value).__name__}), which is not stored")
            tensors[f"{name}.{key}"] = value
    return tensors


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    where: object = "checkpoint",
) -> None:
    """Put back what :func:`optimiser_tensors` gave, bit for bit, on each parameter's device and memory layout.

    Errors: ``InputError`` naming ``where`` for states of unknown parameters, of another optimiser or another shape;
    the optimiser is then unchanged.
    """
    parameters = _trained(optimiser, module)
    states: dict[str, dict[str, torch.Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition(".")
        if name not in parameters or key not in _STATES:
            _misfit(where, f"the optimiser state {full_name!r} belongs to no trained parameter")
        wanted = torch.Size() if key == "step" else parameters[name].shape
        if tensor.shape != wanted:
            _misfit(where, f"the optimiser state {full_name!r} has shape {tuple(tensor.shape)}, not {tuple(wanted)}")
        states.setdefault(name, {})[key] = tensor
    needed = _state_names(optimiser)
    for name, state in states.items():
        if state.keys() != needed:
            came, expected = ", ".join(sorted(state)), ", ".join(sorted(needed)) or "none"
            _misfit(where, f"the optimiser state of {name!r} is {came}, and {expected} was expected")
    optimiser.state.clear()
    for name, state in states.items():
        parameter = parameters[name]
        optimiser.state[parameter] = {key: _placed(value, key, parameter, optimiser) for key, value in state.items()}


def _placed(value: torch.Tensor, key: str, parameter: torch.Tensor, optimiser: torch.optim.Optimizer) -> torch.Tensor:
    if key == "step":  # torch counts on the CPU unless the step itself runs in one kernel on the device
        on_device = any(optimiser.defaults.get(option) for option in ("fused", "capturable"))
        return value.detach().to(parameter.device if on_device else "cpu", copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value.detach())


def _state_names(optimiser: torch.optim.Optimizer) -> set[str]:
    if isinstance(optimiser, torch.optim.SGD):
        return {"momentum_buffer"} if optimiser.defaults["momentum"] else set()
    return {"exp_avg", "exp_avg_sq", "step"} | ({"max_exp_avg_sq"} if optimiser.defaults.get("amsgrad") else set())


def _trained(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, nn.Parameter]:
    held = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    named = {name: parameter for name, parameter in module.named_parameters() if id(parameter) in held}
    if len(named) != len(held):
        raise ValueError("the optimiser was built for another module")
    return named


def _groups(module: nn.Module, rate: float, weight_decay: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """A group for each factor of the rate, and for each of these, where anything decays, one with and one without."""
    normed = {
        id(parameter)
        for part in module.modules()
        if isinstance(part, NORMS)
        for parameter in cast(nn.Module, part).parameters(recurse=False)
    }
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            spared = not weight_decay or parameter.ndim <= 1 or id(parameter) in normed
            found.setdefault((factors.get(name, 1.0), spared), []).append(parameter)
    if not found:
        raise InputError(type(module).__name__, "it has no parameter to train", "add a layer with weights")
    groups = []
    for factor, spared in sorted(found):
        group = {"params": found[factor, spared], "weight_decay": 0.0 if spared else weight_decay}
        groups.append(group | ({} if factor == 1 else {"lr": rate * factor, _FACTOR: factor}))
    return groups


def _can_fuse(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Whether torch's one-kernel step applies.

    It is the fastest for small networks and large ones: on one CPU core, with momentum, 97 microseconds against 184
    (foreach) and 193 (a loop) for the 8 tensors of the MNIST-1D network, and 9 ms against 17 and 16 for ResNet-18.
    """
    return all(
        parameter.device.type in _FUSED_DEVICES and parameter.is_floating_point()
        for group in groups
        for parameter in group["params"]
    )


def _misfit(where: object, cause: str) -> None:
    raise InputError(where, cause, "resume with the optimiser and network of the run")
