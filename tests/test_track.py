"""Trackers: fed from what the loop shows, each in a local folder; absent ones say what to install."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from command import SHORT, done, make_table, refused
from cut_short import cut_short
from striate.core.errors import InputError
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.training.track import Followed, demand_tracker, following, numbers, open_tracker


class Noted:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.told.append((step, dict(figures)))

    def close(self) -> None:
        self.closed = True


def test_each_validation_is_told_once_and_the_loss_each_time() -> None:
    noted = Noted()
    followed = Followed(noted)
    validation = {"step": 4, "loss": 1.0, "val/top1": 0.5, "val/absent": None}
    followed.show(3, 2.0, 0.1, 9.0, {})
    followed.show(4, 1.5, 0.1, 9.0, validation)
    followed.show(6, float("nan"), 0.1, 9.0, validation)
    assert [step for step, _ in noted.told] == [3, 4, 4, 6]
    assert noted.told[1][1] == {"val/top1": 0.5}
    assert noted.told[2][1] == {"train/loss": 1.5, "train/rate": 0.1, "train/steps_per_second": 9.0}
    assert "train/loss" not in noted.told[3][1]


def test_a_resumed_training_does_not_tell_old_validations_again() -> None:
    noted = Noted()
    followed = Followed(noted, since=4)
    followed.show(5, 1.0, 0.1, 9.0, {"step": 3, "val/top1": 0.5})
    followed.show(6, 1.0, 0.1, 9.0, {"step": 4, "val/top1": 0.6})
    assert [step for step, figures in noted.told if "val/top1" in figures] == [4]


def test_only_finite_numbers_are_figures() -> None:
    assert numbers({"a": 1, "b": True, "c": "x", "d": float("inf"), "e": 0.5, "f": [1]}) == {"a": 1.0, "e": 0.5}


def test_a_tracker_is_closed_however_a_training_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noted = Noted()
    monkeypatch.setattr("striate.training.track.open_tracker", lambda *given: noted)
    with pytest.raises(KeyboardInterrupt), following("wandb", tmp_path, {}):
        raise KeyboardInterrupt
    assert noted.closed
    with following(None, tmp_path, {}) as followed:
        assert followed is None


class Fake(ModuleType):
    """Stands in for mlflow and wandb: remembers how it was called."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []
        self.known: list[Any] = []

    def MlflowClient(self, tracking_uri: str) -> "Fake":
        self.calls.append(("client", tracking_uri))
        return self

    def Settings(self, **given: Any) -> dict[str, Any]:
        return given

    def init(self, **given: Any) -> "Fake":
        self.calls.append(("init", given))
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        self.calls.append(("log", (step, figures)))

    def finish(self) -> None:
        self.calls.append(("finish", None))

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7") if self.known else None

    def create_experiment(self, name: str, artifact_location: str) -> str:
        self.calls.append(("experiment", artifact_location))
        return "7"

    def search_runs(self, places: list[str], max_results: int) -> list[Any]:
        return self.known

    def create_run(self, place: str, run_name: str) -> Any:
        self.known.append(SimpleNamespace(info=SimpleNamespace(run_id="r1")))
        return self.known[0]

    def update_run(self, run: str, status: str) -> None:
        self.calls.append(("update", (run, status)))

    def log_param(self, run: str, key: str, value: str) -> None:
        self.calls.append(("param", (key, value)))

    def log_metric(self, run: str, key: str, value: float, step: int) -> None:
        self.calls.append(("metric", (step, key, value)))

    def set_terminated(self, run: str) -> None:
        self.calls.append(("end", run))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Fake:
    made = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    for name in ("WANDB_MODE", "WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return made


@pytest.mark.parametrize("fake", ["mlflow"], indirect=True)
def test_mlflow_writes_into_the_run_and_goes_on_where_it_was(fake: Fake, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = open_tracker("mlflow", tmp_path, {"training.batch": 8})
        tracker.log(3, {"val/top1": 0.5})
        tracker.close()
    said = [call for call, _ in fake.calls]
    assert said == ["client", "experiment", "param", "metric", "end", "client", "update", "metric", "end"]
    assert fake.calls[0][1] == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert fake.calls[1][1].startswith("file://") and str(tmp_path) in fake.calls[1][1]
    assert ("metric", (3, "val/top1", 0.5)) in fake.calls
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize("fake", ["wandb"], indirect=True)
def test_wandb_is_offline_unless_its_user_says_otherwise(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = open_tracker("wandb", tmp_path / "mine", {"seed": 0})
    tracker.log(3, {"val/top1": 0.5})
    tracker.close()
    (_, first), told, _ = fake.calls
    assert first["mode"] == "offline" and first["dir"] == str(tmp_path / "mine") and first["name"] == "mine"
    assert first["config"] == {"seed": 0} and told == ("log", (3, {"val/top1": 0.5}))
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    monkeypatch.setenv("WANDB_MODE", "online")
    open_tracker("wandb", tmp_path, {})
    assert fake.calls[-1][1]["mode"] == "online"


@pytest.mark.parametrize("name, told", [("mlflow", "pip install mlflow"), ("tensorboard", "striate[track]")])
def test_an_absent_package_says_what_to_install(name: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(InputError) as caught:
        demand_tracker(name)
    assert name in caught.value.where and told in caught.value.fix


def test_the_command_refuses_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    table = make_table(tmp_path / "waves.csv")
    line = refused("train", table, "--out", tmp_path / "run", "--track", "mlflow", "--cache", tmp_path / "cache")
    assert "pip install mlflow" in line
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    assert "'tensorboard', 'mlflow' or 'wandb'" in refused("train", table, "--out", tmp_path / "run", "--track", "foo")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {name: {one.step: one.value for one in found.Scalars(name)} for name in found.Tags()["scalars"]}


with_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard (the extra track) is not installed"
)


@with_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_curves_of_a_run(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--arch", "mnist1d_conv", *SHORT)
    done(*words, "--out", tmp_path / "run", "--track", "tensorboard")
    found = scalars(tmp_path / "run")
    assert {"train/loss", "train/rate", "val/top1"} <= found.keys()
    assert max(found["val/top1"]) == 12


@with_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_resumed_run_is_tracked_on_and_tracking_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.recipes.run.write_report", lambda *parts: None)
    make_table(tmp_path / "waves.csv")
    training = {"steps": 8, "batch": 8, "precision": "float32", "checkpoint_every": 4, "validate_every": 2}
    data = {"path": str(tmp_path / "waves.csv"), "cache": str(tmp_path / "cache")}

    def experiment(**more: object) -> Experiment:
        return Experiment.from_settings(
            {"data": data, "architecture": {"name": "mnist1d_conv"}, "training": {**training, **more}}
        )

    plain = train_experiment(experiment(step="general"), tmp_path / "plain")
    cut_short(experiment(track="tensorboard", step="general"), tmp_path / "run", 4)
    tracked = resume_run(tmp_path / "run")
    assert tracked.history.validations == plain.history.validations
    assert {2, 4, 6, 8} == scalars(tmp_path / "run")["val/top1"].keys()
