"""A training that begins with the weights of a trained network: what is taken, what is refused, and exact resuming."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from striate.architectures.backbone import architecture
from striate.cli.options import given, nested
from striate.core import modelfile
from striate.core.errors import InputError
from striate.recipes import run as running
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.training.begin import begin_with

OPTIONS = {"widths": [4, 8], "depths": [1, 1]}
FRESH_HEAD = ["head.linear.weight", "head.linear.bias"]


def signals(path: Path, classes: int) -> Path:
    """120 signals of so many shapes, as NPZ."""
    rng = np.random.default_rng(classes)
    labels = np.arange(120) % classes
    values = rng.normal(0, 0.2, (120, 40)) + np.sin(np.arange(40) * (1 + labels[:, None]) / 6)
    np.savez(path, x=values.astype(np.float32), y=labels)
    return path


def experiment(data: Path, arch: str | None = "small_signals", options: Any = None, **training: object) -> Experiment:
    fields = {"steps": 12, "batch": 16, "precision": "float32", "threads": 1, "validate_every": 6, **training}
    given_options = OPTIONS if options is None and arch else options or {}
    return Experiment.from_settings(
        {
            "data": {"path": str(data), "cache": str(data.parent / "cache")},
            "architecture": {"name": arch, "options": given_options} if arch else {},
            "training": fields,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four classes."""
    home = tmp_path_factory.mktemp("trained")
    train_experiment(experiment(signals(home / "four.npz", 4), steps=40), home / "run")
    return home / "run"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(modelfile.load(run / "model.safetensors").weights)


def test_frozen_rows_are_those_of_the_trained_network_and_the_head_is_new(trained: Path, tmp_path: Path) -> None:
    data, said = signals(tmp_path / "three.npz", 3), list[str]()
    names = [name for name in weights(trained) if not name.startswith("head")]
    rows = sorted({name.split(".")[1] for name in names if name.startswith("backbone.")}) or ["backbone"]
    asked = experiment(data, arch=None, weights=str(trained), freeze=rows)
    train_experiment(asked, tmp_path / "run", say=said.append)
    before, after = weights(trained), weights(tmp_path / "run")
    assert names and all(torch.equal(before[name], after[name]) for name in names)
    assert after["head.linear.weight"].shape == (3, before["head.linear.weight"].shape[1])
    line = next(one for one in said if one.startswith("weights:"))
    assert line == f"weights: from {trained}; drawn anew: {', '.join(FRESH_HEAD)}"


def test_the_architecture_is_that_of_the_model_unless_another_is_asked_for(trained: Path, tmp_path: Path) -> None:
    data = signals(tmp_path / "three.npz", 3)
    result = train_experiment(experiment(data, arch=None, weights=str(trained), steps=1), tmp_path / "same")
    assert result.plan.architecture == architecture("small_signals", OPTIONS)
    assert result.plan.architecture_name == "small_signals"
    asked = experiment(data, arch="mnist1d_conv", options={}, weights=str(trained / "model.safetensors"), steps=1)
    with pytest.raises(InputError, match=r"model\.safetensors: none of its weights has the name and shape"):
        train_experiment(asked, tmp_path / "other")
    assert not (tmp_path / "other" / "experiment.json").exists()


def test_other_weights_give_another_network_and_the_same_ones_the_same(trained: Path, tmp_path: Path) -> None:
    data = signals(tmp_path / "four.npz", 4)
    for name, start in (("one", str(trained)), ("two", str(trained)), ("drawn", None)):
        train_experiment(experiment(data, weights=start), tmp_path / name)
    one, two, drawn = (modelfile.weights_sha256(weights(tmp_path / name)) for name in ("one", "two", "drawn"))
    assert one == two != drawn


class _Cut(Exception):
    pass


@pytest.mark.parametrize("after", [0, 5])
def test_a_run_that_is_cut_resumes_bit_for_bit(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    data = signals(tmp_path / "four.npz", 4)
    start = shutil.copytree(trained, tmp_path / "start")
    asked = experiment(data, weights=str(start), checkpoint_every=5)
    train_experiment(asked, tmp_path / "whole")
    with monkeypatch.context() as patch:
        if after:
            count = iter(range(100))

            def show(done: int, total: int, seen: str) -> None:
                if done >= after and next(count) > 1:
                    raise _Cut
        else:
            patch.setattr(running, "_carry_out", lambda *parts: (_ for _ in ()).throw(_Cut()))

            def show(done: int, total: int, seen: str) -> None:
                raise AssertionError

        with pytest.raises(_Cut):
            train_experiment(asked, tmp_path / "cut", show=show if after else lambda *parts: None)
    if after:
        shutil.rmtree(start)  # the checkpoint has all that is needed
    resume_run(tmp_path / "cut")
    assert modelfile.weights_sha256(weights(tmp_path / "cut")) == modelfile.weights_sha256(weights(tmp_path / "whole"))


def test_weights_that_changed_before_the_first_checkpoint_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signals(tmp_path / "four.npz", 4)
    start = shutil.copytree(trained, tmp_path / "start")
    with monkeypatch.context() as patch:
        patch.setattr(running, "_carry_out", lambda *parts: (_ for _ in ()).throw(_Cut()))
        with pytest.raises(_Cut):
            train_experiment(experiment(data, weights=str(start)), tmp_path / "cut")
    train_experiment(experiment(data, steps=1), tmp_path / "another")
    shutil.copy(tmp_path / "another" / "model.safetensors", start)
    with pytest.raises(InputError, match="not the weights that this run began with"):
        resume_run(tmp_path / "cut")
    shutil.rmtree(start)
    with pytest.raises(InputError, match="start"):
        resume_run(tmp_path / "cut")


def test_weights_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    data = signals(tmp_path / "four.npz", 4)
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.safetensors").write_bytes(b"nothing of the kind")
    for path in ("empty", "no.safetensors", "missing"):
        with pytest.raises(InputError, match=path):
            train_experiment(experiment(data, weights=str(tmp_path / path)), tmp_path / "run")
        assert not (tmp_path / "run" / "experiment.json").exists()


def test_the_option_is_the_setting() -> None:
    assert nested(given({"weights": Path("runs/a")})) == {"training": {"weights": "runs/a"}}


def test_tensors_of_another_shape_or_type_stay_as_drawn() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    drawn = module[0].bias.detach().clone()
    found = begin_with(
        module,
        {
            "0.weight": torch.ones(2, 3),
            "0.bias": torch.ones(3),
            "1.weight": torch.ones(2, dtype=torch.float64),
            "1.running_mean": torch.full((2,), 7.0),
            "other": torch.ones(1),
        },
        "a file",
    )
    assert torch.equal(module[0].weight, torch.ones(2, 3)) and torch.equal(module[0].bias, drawn)
    assert found == ["0.bias", "1.weight", "1.bias", "1.running_var", "1.num_batches_tracked"]
    assert torch.equal(module[1].running_mean, torch.full((2,), 7.0))
    with pytest.raises(InputError, match=r"^a file: none of its weights"):
        begin_with(module, {"1.running_mean": torch.zeros(2)}, "a file")
