"""The moving average of the weights: its law, what it leaves alone, and that a run with it resumes exactly."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.training.average import Average, averaged
from striate.training.interruption import Interrupted


def test_the_average_follows_its_law() -> None:
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = Average(module, 0.9)
    expected = 0.0
    for step in range(1, 50):
        module.weight.data.fill_(float(step))
        average.update(step)
        keep = 0.9 * (1 - math.exp(-step / 2000))
        expected = keep * expected + (1 - keep) * step
    assert float(average.tensors["weight"]) == pytest.approx(expected, rel=1e-5)


def test_whole_numbers_are_copied_and_the_module_gets_its_own_weights_back() -> None:
    module = nn.BatchNorm1d(3)
    average = Average(module, 0.99)
    module(torch.randn(8, 3))
    average.update(1)
    assert int(average.tensors["num_batches_tracked"]) == 1
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with averaged(module, average):
        assert torch.equal(module.running_mean, average.tensors["running_mean"])
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def experiment(tmp_path: Path, **training: object) -> Experiment:
    given = {"precision": "float32", "threads": 1, "steps": 12, "average": 0.9, "checkpoint_every": 3, **training}
    return Experiment.from_settings({"data": {"path": "waves", "cache": str(tmp_path / "cache")}, "training": given})


def test_a_run_with_an_average_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_experiment(experiment(tmp_path), tmp_path / "whole")
    seen = []

    def stop(done: int, total: int, text: str) -> None:
        seen.append(done)
        if "loss" in text and done >= 6:
            raise Interrupted(2, done)

    with pytest.raises(Interrupted):
        train_experiment(experiment(tmp_path), tmp_path / "cut", show=stop)
    again = resume_run(tmp_path / "cut")
    for name, tensor in whole.predictor.module.state_dict().items():
        assert np.array_equal(tensor.numpy(), again.predictor.module.state_dict()[name].numpy()), name


def test_what_is_kept_is_the_average(tmp_path: Path) -> None:
    plain = train_experiment(experiment(tmp_path, average=None), tmp_path / "plain")
    kept = train_experiment(experiment(tmp_path), tmp_path / "kept")
    first = next(iter(plain.predictor.module.parameters())), next(iter(kept.predictor.module.parameters()))
    assert not torch.equal(*first)
