"""Training for a time: the steps are counted before it begins, and written down."""

import json
import time
from pathlib import Path

import torch

from command import done
from striate.training.budget import seconds_a_step, steps_within


class Sleeping:
    """A step that takes ten milliseconds."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def run(self, first: int, count: int) -> torch.Tensor:
        self.taken += range(first, first + count)
        time.sleep(0.01 * count)
        return torch.zeros(count)


def test_steps_are_timed_one_after_the_other_without_the_first() -> None:
    step = Sleeping()
    assert seconds_a_step(step, 0.1) >= 0.01
    assert step.taken == list(range(len(step.taken))) and len(step.taken) > 3


def test_validations_and_the_timing_come_out_of_the_time() -> None:
    said: list[str] = []
    few, wide = steps_within(0.02, Sleeping(), lambda: time.sleep(0.1), 10, said.append)
    many, narrow = steps_within(0.02, Sleeping(), lambda: None, 10, said.append)
    assert 1 <= few < many <= 120
    assert wide == few, "one validation at the end: more would take too much of the time"
    assert narrow == -(-many // 10)
    assert len(said) == 2 and said[0].startswith(f"length: {few} steps in 0.02 minutes, validated every {few}")


def test_no_time_at_all_is_one_step() -> None:
    assert steps_within(1e-6, Sleeping(), lambda: None, 1, lambda line: None) == (1, 1)


def test_a_run_for_a_time_keeps_its_number_of_steps(tmp_path: Path) -> None:
    outcome = done("train", "mnist1d", "--out", tmp_path / "run", "--minutes", "0.03")
    plan = json.loads((tmp_path / "run" / "experiment.json").read_text())
    steps = plan["training"]["steps"]
    assert plan["training"]["minutes"] is None and steps >= 1
    assert f"length: {steps:,} steps in 0.03 minutes" in outcome.err
