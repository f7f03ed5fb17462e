"""One training of the demo, in a process of its own."""

import signal
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.recipes.children import counted_steps
from striate.recipes.experiment import ArchitectureSettings, Experiment
from striate.recipes.folder import PLAN_NAME
from striate.recipes.run import resume_run, train_experiment
from striate.recipes.sources import DataSettings
from striate.training.interruption import Interrupted
from striate.training.optim import SGD
from striate.training.schedule import Constant
from striate.training.settings import TrainingSettings


def train_one(
    architecture: str,
    options: dict[str, Any],
    seed: int,
    steps: int,
    folder: Path,
    threads: int,
    counter: "Synchronized[int]",
) -> None:
    """The body of a training process: an ordinary run in a folder, new or continued; its steps are in the counter."""
    experiment = Experiment(
        data=DataSettings(path="mnist1d", validation=0.0, normalise=False),
        architecture=ArchitectureSettings(name=architecture, options=options),
        training=TrainingSettings(
            steps=steps,
            batch=100,
            optimiser=SGD(rate=0.01, momentum=0.0, weight_decay=0.0),
            schedule=Constant(),
            augmented=False,
            seed=seed,
            precision="float32",
            validate_every=max(1, steps // 40),
            threads=threads,
        ),
    )

    show = counted_steps(counter)
    try:
        if (folder / PLAN_NAME).exists():
            resume_run(folder, show=show)
        else:
            train_experiment(experiment, folder, watch=("test", "train"), show=show)
    except Interrupted as stopped:
        raise SystemExit(stopped.exit_code) from None
    except KeyboardInterrupt:  # a second one, for the impatient
        raise SystemExit(128 + signal.SIGINT) from None
    except InputError as error:
        raise SystemExit(f"striate: {error}") from None
