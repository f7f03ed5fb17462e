"""Gradient accumulation: a batch in parts gives the gradient of the whole, in the step and in a whole run."""

import copy
import json
from pathlib import Path

import pytest
import torch

from command import done, make_table, refused
from cut_short import cut_short
from striate.core.errors import InputError
from striate.core.modelfile import load, weights_sha256
from striate.core.sample import Batch
from striate.layers.conv import Convolution
from striate.layers.graph import Chain
from striate.layers.layer import Layer
from striate.layers.linear import Linear
from striate.layers.norm_act import BatchNorm, ReLU
from striate.layers.pooling import GlobalMeanPool
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.tasks.classification import Classification
from striate.tasks.segmentation import SegmentationTask
from striate.tasks.task import Task
from striate.training.step import backward, parts

SHAPE = (2, 12)


def network(*between: Layer, dense: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    end: tuple[Layer, ...] = () if dense else (GlobalMeanPool(), Linear(features=3))
    first = Convolution(channels=3 if dense else 4, kernel=3)
    return Chain(layers=(first, *between, *end)).build(SHAPE)


def batch(size: int = 7) -> Batch:
    made = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (size,), generator=made)
    return Batch(torch.randn(size, *SHAPE, generator=made), {"label": labels}, torch.arange(size))


def gradients(module: torch.nn.Module, task: Task, whole: Batch, accumulate: int) -> tuple[float, list[torch.Tensor]]:
    copied = copy.deepcopy(module)
    loss = float(backward(copied, task, whole, "float32", accumulate))
    return loss, [parameter.grad for parameter in copied.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("accumulate", [2, 3, 7, 20])
def test_parts_give_the_gradient_of_the_whole_batch(accumulate: int) -> None:
    module = network(ReLU())
    loss, expected = gradients(module, Classification(), batch(), 1)
    seen, found = gradients(module, Classification(), batch(), accumulate)
    assert seen == pytest.approx(loss, rel=1e-6)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)


def test_parts_in_which_different_numbers_count_are_weighed_by_them() -> None:
    masks = torch.zeros(4, 12, dtype=torch.int64)
    masks[0, :11], masks[2] = 255, 255  # one pixel of the first sample counts, none of the third
    whole = Batch(batch(4).images, {"mask": masks}, torch.arange(4))
    task = SegmentationTask()
    module = network(dense=True)
    loss, expected = gradients(module, task, whole, 1)
    seen, found = gradients(module, task, whole, 4)
    assert seen == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-7)


def test_a_batch_norm_sees_the_parts() -> None:
    module = network(BatchNorm())
    _, expected = gradients(module, Classification(), batch(8), 1)
    _, found = gradients(module, Classification(), batch(8), 4)
    assert not torch.allclose(found[0], expected[0], rtol=1e-3)


def test_every_sample_is_in_one_part_with_its_targets() -> None:
    found = parts(batch(7), 3)
    assert [len(one) for one in found] == [3, 2, 2]
    assert torch.cat([one.index for one in found]).tolist() == list(range(7))
    assert torch.equal(torch.cat([one.targets["label"] for one in found]), batch(7).targets["label"])


def experiment(folder: Path, **training: object) -> Experiment:
    fields = {"steps": 9, "batch": 6, "precision": "float32", "checkpoint_every": 4, **training}
    data = {"path": str(folder / "waves.csv"), "cache": str(folder / "cache")}
    return Experiment.from_settings({"data": data, "architecture": {"name": "mnist1d_conv"}, "training": fields})


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("striate.recipes.run.write_report", lambda *parts: None)


@pytest.mark.usefixtures("quiet")
def test_a_run_in_parts_resumes_bit_for_bit_and_learns_what_the_whole_batches_do(tmp_path: Path) -> None:
    make_table(tmp_path / "waves.csv")
    straight = train_experiment(experiment(tmp_path, accumulate=3), tmp_path / "straight")
    plain = train_experiment(experiment(tmp_path, step="general"), tmp_path / "plain")
    assert straight.plan.step == "general", "the fast steps know no accumulation"
    cut_short(experiment(tmp_path, accumulate=3), tmp_path / "resumed", 4)
    resume_run(tmp_path / "resumed")
    first, second, whole = (
        load(tmp_path / name / "model.safetensors").weights for name in ("straight", "resumed", "plain")
    )
    assert weights_sha256(first) == weights_sha256(second)
    assert plain.history.step == 9
    for name, tensor in whole.items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-3, atol=1e-4)


def test_the_command_says_what_batch_norms_see_and_refuses_more_parts_than_samples(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--steps", 2, "--batch", 6, "--precision", "float32")
    outcome = done(*words, "--out", tmp_path / "run", "--accumulate", 3)
    assert "accumulate: the gradient is of 6 samples, but batch norms see 2 at a time" in outcome.err
    assert json.loads((tmp_path / "run" / "experiment.json").read_text())["training"]["accumulate"] == 3
    line = refused(*words, "--out", tmp_path / "other", "--accumulate", 7)
    assert "training.accumulate: 7 parts of a batch of 6 samples" in line
    assert not (tmp_path / "other").exists()
    assert "--accumulate" in refused(*words, "--out", tmp_path / "other", "--accumulate", 0)


def test_a_batch_in_which_nothing_counts_teaches_nothing() -> None:
    whole = Batch(batch(4).images, {"mask": torch.full((4, 12), 255)}, torch.arange(4))
    loss, found = gradients(network(dense=True), SegmentationTask(), whole, 2)
    assert loss == 0 and all(not one.any() for one in found)


def test_the_fast_steps_are_refused_with_it(tmp_path: Path) -> None:
    make_table(tmp_path / "waves.csv")
    with pytest.raises(InputError, match="neither accumulation nor freezing nor rates by depth"):
        train_experiment(experiment(tmp_path, accumulate=3, step="chain", augmented=False), tmp_path / "run")
