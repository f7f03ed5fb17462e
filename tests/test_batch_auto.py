"""The size of a batch, measured: it grows while steps get faster by it and fit, and is written down."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from command import done, make_table
from striate.core.sample import Batch
from striate.layers.graph import Chain
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import ReLU
from striate.tasks.classification import Classification
from striate.training import batch_size
from striate.training.batch_size import choose_batch, free_bytes, step_bytes


class Timed:
    """A step that takes a fixed time on a clock of its own."""

    now = 0.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, first: int, count: int) -> torch.Tensor:
        Timed.now += self.seconds * count
        return torch.zeros(count)


def chosen(
    seconds: Callable[[int], float], monkeypatch: pytest.MonkeyPatch, samples: int = 100_000, free: int = 10**12
) -> tuple[int, list[int], str]:
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: Timed.now))
    tried: list[int] = []
    said: list[str] = []

    def make(size: int) -> Timed:
        tried.append(size)
        return Timed(seconds(size))

    size = choose_batch(make, lambda count: 1000 * count, samples, free, 4, said.append)
    assert len(said) == 1
    return size, tried, said[0]


def test_it_doubles_until_more_is_not_a_tenth_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    size, tried, said = chosen(lambda size: 0.008 if size <= 32 else 0.008 * size / 32, monkeypatch)
    assert size == 32 and tried == [4, 8, 16, 32, 64]
    assert said.startswith("batch: 32, since 64 are not a tenth faster (samples a second by size: 4:")


def test_half_of_the_free_memory_is_the_limit_and_half_more_is_tried_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, tried, said = chosen(lambda size: 0.004, monkeypatch, free=2 * 24_000)
    assert size == 24 and tried == [4, 8, 16, 24]
    assert "over 50% of the" in said and "free" in said


def test_what_would_not_fit_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    size, tried, _ = chosen(lambda size: 0.004, monkeypatch, free=2 * 2500)
    assert size == 2 and tried == [2]


def test_it_is_at_most_an_eighth_of_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(lambda size: 0.004, monkeypatch, samples=100)[0] == 12
    assert chosen(lambda size: 0.004, monkeypatch, samples=5)[0] == 1


def test_no_batch_is_tried_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "MOST_SECONDS", 10.0)
    size, tried, said = chosen(lambda size: 1.0, monkeypatch)
    assert tried == [4] and size == 4 and "s to measure" in said


def test_the_bytes_of_a_step_are_its_weights_and_what_it_keeps() -> None:
    module = Chain(layers=(Flatten(), Linear(features=100), ReLU(), Linear(features=3))).build((1, 50))
    batch = Batch(torch.zeros(4, 1, 50), {"label": torch.zeros(4, dtype=torch.int64)}, torch.arange(4))
    needed = step_bytes(module, Classification(), batch, "float32")
    weights = 4 * (50 * 100 + 100 + 100 * 3 + 3)
    assert needed(0) == 4 * weights
    each = (needed(8) - needed(0)) / 8
    assert 4 * (50 + 100) <= each <= 4 * (50 + 50 + 2 * 100 + 10 * 3)
    assert needed(16) - needed(0) == 2 * (needed(8) - needed(0))
    assert step_bytes(module, Classification(), batch, "float32", 4)(8) < needed(8)


def test_there_is_some_free_memory() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20


def test_the_command_writes_the_measured_size_into_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "TIMED_SECONDS", 0.01)
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--arch", "mnist1d_conv", "--precision", "float32")
    outcome = done(*words, "--steps", 3, "--batch", "auto", "--out", tmp_path / "run")
    size = json.loads((tmp_path / "run" / "experiment.json").read_text())["training"]["batch"]
    assert f"batch: {size}, since " in outcome.err
    assert 1 <= size <= 60 // 8
    done("train", "--resume", tmp_path / "run")
