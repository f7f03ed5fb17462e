"""Telling a training's figures to a tracker besides: TensorBoard, MLflow or Weights & Biases, each in a local folder.

The loop knows none of them: it shows its progress, and :class:`Followed` passes it on. Nothing goes over the network:
MLflow writes to a folder and its telemetry is switched off, Weights & Biases is offline unless ``WANDB_MODE`` says
otherwise. The packages are imported where they are used: TensorBoard's is the extra ``track``; the other two bring
versions of many packages of their own, and are installed by themselves.
"""

import importlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from striate.core.errors import InputError

TrackerName = Literal["tensorboard", "mlflow", "wandb"]
INSTALL: dict[TrackerName, str] = {"tensorboard": "striate[track]", "mlflow": "mlflow", "wandb": "wandb"}
"""What is installed for each."""
PROJECT = "striate"
"""What runs are filed under where a tracker has projects."""


class Tracker(Protocol):
    """Takes in the figures of a run."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures by name (``train/loss``, ``val/top1``) after so many steps."""

    def close(self) -> None:
        """Write what is not written yet; nothing is logged afterwards."""


class Followed:
    """Tells a tracker what a loop shows: the loss, the rate and the speed each time, and each validation once."""

    def __init__(self, tracker: Tracker, since: int = 0) -> None:
        self.tracker = tracker
        self.validated = max(0, since - 1)  # a resumed loop may begin with the validation of this very step

    def show(self, step: int, loss: float, rate: float, speed: float, validation: Mapping[str, Any]) -> None:
        """Progress after ``step`` steps; ``validation`` is the last validation's record, with its ``step``, or empty.
        Figures that are no finite number are left out."""
        seen = validation.get("step", 0)
        if seen > self.validated:
            self.validated = seen
            self.tracker.log(seen, numbers({name: one for name, one in validation.items() if "/" in name}))
        self.tracker.log(step, numbers({"train/loss": loss, "train/rate": rate, "train/steps_per_second": speed}))

    def finish(self, step: int, figures: Mapping[str, Any]) -> None:
        """What was measured at the end, after ``step`` steps."""
        self.tracker.log(step, numbers(figures))


@contextmanager
def following(
    name: TrackerName | None, folder: Path, settings: Mapping[str, Any], since: int = 0
) -> Iterator[Followed | None]:
    """The tracker of this name inside (None: none), closed however it ends; see :func:`open_tracker`."""
    if name is None:
        yield None
        return
    tracker = open_tracker(name, folder, settings, since)
    try:
        yield Followed(tracker, since)
    finally:
        tracker.close()


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those figures that are finite numbers."""
    return {
        name: float(one)
        for name, one in figures.items()
        if isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
    }


def demand_tracker(name: TrackerName) -> None:
    """Errors: ``InputError`` saying what to install where the tracker's package is absent."""
    _import(name)


def open_tracker(name: TrackerName, folder: Path, settings: Mapping[str, Any], since: int = 0) -> Tracker:
    """The tracker of the run in ``folder``, which gets a folder in it; ``settings`` are plain values by dotted names.

    ``since`` is the step from which a resumed run goes on: a run that was tracked before is continued.
    Errors: ``InputError`` saying what to install where the tracker's package is absent.
    """
    package = _import(name)
    if name == "tensorboard":
        return TensorBoard(package, folder, settings, since)
    return Mlflow(package, folder, settings) if name == "mlflow" else Wandb(package, folder, settings)


class TensorBoard:
    """Event files in RUN/tensorboard: look at them with ``tensorboard --logdir RUN``."""

    def __init__(self, package: Any, folder: Path, settings: Mapping[str, Any], since: int) -> None:
        # of the points after the checkpoint from which a run goes on, the new ones count
        self.writer = package.SummaryWriter(str(folder / "tensorboard"), purge_step=since + 1 if since else None)
        if not since:
            rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
            self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self.writer.close()


class Mlflow:
    """A database in RUN/mlflow: look at it with ``mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db``."""

    def __init__(self, package: Any, folder: Path, settings: Mapping[str, Any]) -> None:
        home = folder.absolute() / "mlflow"
        home.mkdir(exist_ok=True)
        self.client = package.MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
        known = self.client.get_experiment_by_name(PROJECT)
        fresh = {"artifact_location": (home / "artifacts").as_uri()}
        place = known.experiment_id if known else self.client.create_experiment(PROJECT, **fresh)
        begun = self.client.search_runs([place], max_results=1)
        if begun:
            self.run = begun[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
        else:
            self.run = self.client.create_run(place, run_name=folder.name).info.run_id
            for key, value in settings.items():
                self.client.log_param(self.run, key, str(value)[:500])

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        for name, value in figures.items():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self.client.set_terminated(self.run)


class Wandb:
    """An offline run in RUN/wandb: ``wandb sync`` uploads it, if and when its user wants that. A resumed training is a
    run of its own there."""

    def __init__(self, package: Any, folder: Path, settings: Mapping[str, Any]) -> None:
        self.run = package.init(
            project=PROJECT,
            name=folder.name,
            dir=str(folder),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=package.Settings(console="off", silent=True),
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        self.run.log(dict(figures), step=step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self.run.finish()


def _import(name: TrackerName) -> Any:
    """The tracker's package; where it would speak to its makers by itself, it is told not to first."""
    if name == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if name == "wandb":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        return importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
    except ImportError as error:
        cause = f"its package cannot be imported ({error})"
        raise InputError(f"training.track: {name}", cause, f"install it: pip install {INSTALL[name]}") from None
