"""The weights that a training begins with where they are not drawn: those of a trained network, as far as they fit."""

from collections.abc import Mapping

from torch import Tensor, nn

from striate.core.errors import InputError


def begin_with(module: nn.Module, weights: Mapping[str, Tensor], where: object) -> list[str]:
    """Copy into the module, in place, each tensor of its state that ``weights`` has by the same name, shape and type,
    norms' statistics included; returns the names of those that it has not, which stay as they were drawn: those of the
    head, where the classes are others. ``where`` is whose weights they are.

    Errors: ``InputError`` when none of them fits.
    """
    state = module.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in state and _alike(tensor, state[name])}
    if not any(name in fitting for name, _ in module.named_parameters()):
        cause = "none of its weights has the name and shape of one of this network's"
        raise InputError(where, cause, "name a model of this architecture, or choose the model's with --arch")
    module.load_state_dict(fitting, strict=False)
    return [name for name in state if name not in fitting]


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype
