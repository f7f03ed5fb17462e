"""Striate: from a folder of labelled images or signals to a convolutional network you can trust.

``striate.train``, ``striate.evaluate``, ``striate.prepare`` and ``striate.load`` are imported when first asked for,
so that ``import striate`` costs nothing and does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from striate.inference.evaluate import evaluate
    from striate.inference.predictor import load
    from striate.recipes.experiment import train
    from striate.recipes.sources import prepare_data as prepare

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load", "prepare", "train"]

_HOMES = {
    "evaluate": ("striate.inference.evaluate", "evaluate"),
    "load": ("striate.inference.predictor", "load"),
    "prepare": ("striate.recipes.sources", "prepare_data"),
    "train": ("striate.recipes.experiment", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'striate' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
