"""Runs that end at awkward moments, and data with awkward splits: what a resumed run makes of them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.core import modelfile
from striate.core.errors import InputError
from striate.recipes import run as recipe
from striate.recipes.experiment import Experiment
from striate.recipes.folder import PLAN_NAME, REPORT_NAME
from striate.recipes.run import SPLIT_NAME, resume_run, train_experiment
from striate.training import checkpoint
from striate.training.interruption import Interrupted


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr(recipe, "write_report", lambda *parts: parts[-1].write_text("<html>"))


def signals(path: Path, **splits: int) -> Path:
    """Signals of two shapes as NPZ, in one heap or in splits of these sizes."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (splits or {"": 120}).items():
        labels = np.arange(count) % 2
        values = rng.normal(0, 0.3, (count, 40)) + np.where(labels[:, None] == 0, np.sin(np.arange(40) / 3), 0.0)
        ending = f"_{split}" if split else ""
        arrays |= {f"x{ending}": values.astype(np.float32), f"y{ending}": labels}
    np.savez(path, **arrays)
    return path


def experiment(data: Path, validation: float = 0.1, **training: Any) -> Experiment:
    fields = {"steps": 30, "batch": 16, "validate_every": 8, "step": "general", **training}
    return Experiment.from_settings(
        {
            "data": {"path": str(data), "cache": str(data.parent / "cache"), "validation": validation},
            "architecture": {"name": "mnist1d_conv"},
            "training": fields,
        }
    )


def stop_at(step: int, number: int = signal.SIGTERM) -> Callable[[int, int, str], None]:
    def show(done: int, total: int, seen: str) -> None:
        if total == 30 and done >= step:
            os.kill(os.getpid(), number)

    return show


def sha(folder: Path) -> str:
    return modelfile.weights_sha256(modelfile.load(folder / "model.safetensors").weights)


@pytest.mark.parametrize("at", [1, 8, 13, 30])
@pytest.mark.parametrize("changes", [{}, {"keep": "best"}, {"step": "chain", "augmented": False}], ids=str)
def test_a_run_cut_anywhere_ends_as_if_it_had_not_been(tmp_path: Path, at: int, changes: dict[str, Any]) -> None:
    data = signals(tmp_path / "set.npz")
    whole = train_experiment(experiment(data, **changes), tmp_path / "whole")
    with pytest.raises(Interrupted) as stopped:
        train_experiment(experiment(data, **changes), tmp_path / "cut", show=stop_at(at))
    assert stopped.value.exit_code == 143 and stopped.value.step >= at
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = resume_run(tmp_path / "cut")
    assert sha(tmp_path / "cut") == sha(tmp_path / "whole")
    assert resumed.figures == whole.figures
    assert [row["step"] for row in resumed.history.validations] == [8, 16, 24, 30]
    for mine, theirs in zip(resumed.history.validations, whole.history.validations, strict=True):
        assert mine == pytest.approx(theirs)


def test_a_run_cut_twice_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    data = signals(tmp_path / "set.npz")
    train_experiment(experiment(data), tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_experiment(experiment(data), tmp_path / "cut", show=stop_at(5))
    with pytest.raises(Interrupted):
        resume_run(tmp_path / "cut", show=stop_at(20))
    resume_run(tmp_path / "cut")
    assert sha(tmp_path / "cut") == sha(tmp_path / "whole")


def test_a_run_that_died_before_its_report_is_finished_by_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signals(tmp_path / "set.npz")

    def die(*parts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "write_report", die)
        with pytest.raises(KeyboardInterrupt):
            train_experiment(experiment(data), tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert not (tmp_path / "run" / REPORT_NAME).exists()
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / REPORT_NAME).exists()
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_run_that_can_be_resumed_has_its_split_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, written = signals(tmp_path / "set.npz"), []
    write = recipe._write_json

    def noted(path: Path, content: dict[str, Any]) -> None:
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(recipe, "_write_json", noted)
    train_experiment(experiment(data), tmp_path / "run")
    assert written == [SPLIT_NAME, PLAN_NAME]


def test_without_a_validation_split_the_training_set_is_what_is_measured(tmp_path: Path) -> None:
    result = train_experiment(experiment(signals(tmp_path / "set.npz"), validation=0.0), tmp_path / "run")
    assert list(result.figures) == ["train"] and len(result.measured["train"].loader) == 120
    assert result.plan.watch == ()
    assert all(row.keys() == {"step", "loss"} for row in result.history.validations)


@pytest.mark.parametrize("changes", [{"patience": 2}, {"keep": "best"}], ids=str)
def test_what_needs_a_validation_split_is_refused_without_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^training\.{next(iter(changes))}: there is no validation split"):
        train_experiment(experiment(signals(tmp_path / "set.npz"), validation=0.0, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / PLAN_NAME).exists()


def test_a_test_split_is_measured_at_the_end_and_never_watched(tmp_path: Path) -> None:
    data = signals(tmp_path / "set.npz", train=100, test=40)
    result = train_experiment(experiment(data), tmp_path / "run")
    assert list(result.figures) == ["val", "test"] and len(result.measured["test"].loader) == 40
    assert not [key for row in result.history.validations for key in row if key.startswith("test")]
    assert any("test: top1" in line and "on 40 samples" in line for line in result.lines())


def test_splits_that_are_given_are_taken(tmp_path: Path) -> None:
    data = signals(tmp_path / "set.npz", train=80, val=20, test=20)
    result = train_experiment(experiment(data), tmp_path / "run")
    assert {split: len(one.loader) for split, one in result.measured.items()} == {"val": 20, "test": 20}
    resumed = resume_run(tmp_path / "run")
    assert resumed.figures == result.figures


def test_other_versions_on_resume_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_experiment(experiment(signals(tmp_path / "set.npz")), tmp_path / "run")
    said: list[str] = []
    monkeypatch.setattr(recipe, "versions_of", lambda *decided: {"striate": "9.9", "torch": "2.99", "python": "3.99"})
    resume_run(tmp_path / "run", say=said.append)
    assert any("torch" in line and "now 2.99" in line and "not bit for bit" in line for line in said)


def test_a_damaged_newest_checkpoint_costs_a_few_steps_and_no_bit(tmp_path: Path) -> None:
    data = signals(tmp_path / "set.npz")
    train_experiment(experiment(data), tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_experiment(experiment(data, checkpoint_every=4), tmp_path / "cut", show=stop_at(12))
    folder, said = tmp_path / "cut" / "checkpoints", []
    newest = folder / f"step-{checkpoint.steps(folder)[-1]:08d}.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    resume_run(tmp_path / "cut", say=said.append)
    assert any("damaged" in line for line in said)
    assert sha(tmp_path / "cut") == sha(tmp_path / "whole")


def test_a_figure_that_has_no_value_stops_nothing(tmp_path: Path) -> None:
    """Tags none of which occur in validation have no average precision."""
    rng = np.random.default_rng(0)
    tags = np.zeros((60, 3), dtype=np.float32)
    tags[:40] = rng.integers(0, 2, (40, 3))
    values = rng.normal(size=(60, 1, 40)).astype(np.float32)
    np.savez(tmp_path / "tags.npz", x_train=values[:40], y_train=tags[:40], x_val=values[40:], y_val=tags[40:])
    settings = experiment(tmp_path / "tags.npz")
    settings = settings.replace(data=settings.data.replace(options=settings.data.options.replace(multi_label=True)))
    result = train_experiment(settings, tmp_path / "run")
    assert result.figures["val"]["mean_average_precision"] is None
    assert result.history.best is None
    assert any("mean_average_precision –" in line for line in result.lines())
