"""A network by depth: which of its rows are frozen, and how fast each of the others learns."""

import difflib
from collections.abc import Sequence

import torch
from torch import nn

from striate.core.errors import InputError
from striate.training.optim import NORMS
from striate.training.settings import TrainingSettings

BACKBONE = "backbone"
"""The row of a network that is opened: its own rows are groups, and may be named without it."""


def build_optimiser(settings: TrainingSettings, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a training: what is to be frozen is (:func:`freeze`, which changes the module), and the rates
    fall towards the input as ``depth_decay`` says.

    Errors: ``InputError`` for a row that does not exist, and where nothing is left to train.
    """
    freeze(module, settings.freeze)
    return settings.optimiser.build(module, rate_factors(module, settings.depth_decay))


def rows(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The rows of a network that hold parameters, from the input to the output, with their dotted names: those of its
    backbone, then the others (decoder, head). A module without rows is one row with the name ''."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        opened = list(child.named_children()) if name == BACKBONE else []
        found += [(f"{name}.{inner}", one) for inner, one in opened] or [(name, child)]
    held = [(name, one) for name, one in found if next(one.parameters(), None) is not None]
    return held or [("", module)]


def groups(module: nn.Module) -> list[list[str]]:
    """The names of :func:`rows`, grouped by depth: a row that holds nothing but norms goes with the one before."""
    found: list[list[str]] = []
    for name, row in rows(module):
        if found and all(
            isinstance(part, NORMS) for part in row.modules() if next(part.parameters(False), None) is not None
        ):
            found[-1].append(name)
        else:
            found.append([name])
    return found


def rate_factors(module: nn.Module, decay: float) -> dict[str, float]:
    """What the rate of each parameter is multiplied by, by name: 1 in the last group (the head), ``decay`` in the one
    before it, decay² in the next, and so on to the stem (Howard and Ruder 2018, arXiv 1801.06146, section 3.2).
    Empty for a decay of 1."""
    if decay == 1:
        return {}
    by_depth = groups(module)
    factors = {}
    for depth, names in enumerate(reversed(by_depth)):
        for name, _ in module.named_parameters():
            if any(_under(name, row) for row in names):
                factors[name] = decay**depth
    return factors


def freeze(module: nn.Module, names: Sequence[str]) -> None:
    """Take the parameters of these rows out of training. A name is that of a row, or of a part of one (``stage1.0``),
    with or without ``backbone.`` before it. Errors: ``InputError`` for a name that is none, and where nothing is left.
    """
    for name in names:
        found = [parameter for other, parameter in module.named_parameters() if _named(other, name)]
        if not found:
            known = [row.removeprefix(f"{BACKBONE}.") for row, _ in rows(module)]
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                "training.freeze", f"no row with weights is named {name!r}", f"{meant}known: {', '.join(known)}"
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError("training.freeze", "every row is frozen, nothing is left to train", "leave the head out")


def frozen_norms(module: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The norms with running statistics that lie in frozen rows: they keep them, also those without parameters."""
    return [
        part
        for place, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and any(_named(f"{place}.", name) for name in names)
    ]


def _named(parameter: str, name: str) -> bool:
    return _under(parameter, name) or _under(parameter, f"{BACKBONE}.{name}")


def _under(parameter: str, row: str) -> bool:
    return not row or parameter.startswith(f"{row}.")
