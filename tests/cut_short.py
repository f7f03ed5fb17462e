"""A training that ends at a checkpoint, as if its process had been stopped there."""

from pathlib import Path

import pytest

from striate.recipes.experiment import Experiment
from striate.recipes.run import train_experiment
from striate.training import loop
from striate.training.interruption import Interrupted


def cut_short(experiment: Experiment, folder: Path, step: int) -> None:
    """Train in the folder until the checkpoint of this step is written; nothing is drawn."""
    saved = loop.checkpoint.save

    def interrupted(home: Path, number: int, *rest: object) -> Path:
        path = saved(home, number, *rest)  # type: ignore[arg-type]
        if number == step:
            raise Interrupted(15, number)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.checkpoint, "save", interrupted)
        with pytest.raises(Interrupted):
            train_experiment(experiment, folder)
