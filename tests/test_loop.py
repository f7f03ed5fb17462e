"""The loop: where blocks end, what is best and kept, what is recorded, and which numbers stop it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from loop_probe import OPTIMISER, SCHEDULE, Run, saved, scripted, stop_before
from striate.core.errors import InputError
from striate.core.modelfile import weights_sha256
from striate.training import checkpoint, loop
from striate.training.interruption import Interrupted


@pytest.mark.parametrize("period, every", [(7, 5), (1, None), (100, 3), (6, 6), (4, None)])
def test_no_block_reaches_over_a_validation_or_a_checkpoint(tmp_path: Path, period: int, every: int | None) -> None:
    run = Run(tmp_path, total=40, period=period, checkpoint_every=every)
    history, _ = run.go()
    assert [first for first, _ in run.step.blocks] == [0, *(first + n for first, n in run.step.blocks[:-1])]
    for boundary in {period, every} - {None}:
        assert all(first // boundary == (first + count - 1) // boundary for first, count in run.step.blocks)
    assert [row["step"] for row in history.validations] == sorted({*range(period, 41, period), 40})
    assert sum(count for _, count in run.step.blocks) == history.step == 40


def test_blocks_grow_to_half_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    run = Run(tmp_path, total=1000, period=1000)

    def slow(first: int, count: int) -> Tensor:
        clock[0] += count / 128
        return torch.ones(count)

    run.step.before = slow
    run.go()
    assert [count for _, count in run.step.blocks[:5]] == [1, 4, 16, 64, 64]


def test_progress_tells_rate_loss_and_time_left(tmp_path: Path) -> None:
    run = Run(tmp_path, total=12, period=4)
    run.go()
    last = run.shown[-1]
    assert (last.step, last.total, last.remaining) == (12, 12, 0)
    assert last.rate == OPTIMISER.rate * SCHEDULE.factor(11, 12)
    assert last.figures["step"] == 12 and "val/top1" in last.figures
    assert all(one.remaining > 0 and one.steps_per_second > 0 for one in run.shown[:-1])


def test_a_validation_records_the_mean_loss_since_the_last(tmp_path: Path) -> None:
    run = Run(tmp_path, total=5, period=2)
    values = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5])
    run.step.before = lambda first, count: values[first : first + count]
    history, _ = run.go()
    assert [(row["step"], row["loss"]) for row in history.validations] == [(2, 4.0), (4, 1.5), (5, 0.5)]
    assert history.pending == []


def test_patience_stops_after_so_many_validations_without_gain(tmp_path: Path) -> None:
    run = Run(tmp_path, total=100, period=2, patience=3)
    run.figures = scripted([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    history, _ = run.go()
    assert history.stopped_early and history.step == 10
    assert (history.best, history.best_step, history.since_best) == (0.5, 4, 3)
    assert saved(tmp_path).step == 10


def test_a_smaller_figure_is_better_where_the_task_says_so() -> None:
    assert loop._better(0.1, 0.2, larger_is_better=False) and not loop._better(0.2, 0.2, larger_is_better=False)
    assert loop._better(0.3, 0.2, larger_is_better=True) and loop._better(0.3, None, larger_is_better=False)


def test_without_the_figure_nothing_is_best_and_nothing_stops(tmp_path: Path) -> None:
    run = Run(tmp_path, total=20, period=2, patience=2)
    run.figures = dict
    history, weights = run.go()
    assert (history.step, history.best, history.stopped_early) == (20, None, False)
    assert weights_sha256(weights) == weights_sha256(run.module.state_dict())


@pytest.mark.parametrize("keep, patience", [("best", None), (None, 99), ("last", 99)])
def test_which_weights_are_kept(tmp_path: Path, keep: Any, patience: int | None) -> None:
    run = Run(tmp_path, total=12, period=4, keep=keep, patience=patience)
    run.figures = lambda: {"val/top1": [0.1, 0.9, 0.2][len(digests) - 1]}
    digests: list[str] = []
    inner = run.figures

    def figures() -> dict[str, Any]:
        digests.append(weights_sha256(run.module.state_dict()))
        return inner()

    run.figures = figures
    assert weights_sha256(run.go()[1]) == digests[2 if keep == "last" else 1]


def test_the_best_weights_survive_a_resume(tmp_path: Path) -> None:
    run = Run(tmp_path, total=12, period=4, keep="best")
    run.figures = scripted([0.9])
    run.step.before = stop_before(4)
    with pytest.raises(Interrupted):
        run.go()
    best = checkpoint.latest(tmp_path / "checkpoints", print)
    assert best is not None
    resumed = Run(tmp_path, total=12, period=4, keep="best")
    resumed.figures = scripted([0.5, 0.6])
    _, weights = resumed.go()
    assert torch.equal(weights["weight"], best.tensors["best.weight"])
    assert not torch.equal(weights["weight"], resumed.module.weight)
    finished = Run(tmp_path, total=12, period=4, keep="best").go()[1]
    assert weights_sha256(finished) == weights_sha256(weights)


@pytest.mark.parametrize("value, shown", [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_with_step_and_checkpoint(tmp_path: Path, value: float, shown: str) -> None:
    run = Run(tmp_path, total=20, period=10, checkpoint_every=3)

    def bad(first: int, count: int) -> Tensor | None:
        return torch.tensor([1.0] * (7 - first) + [value] * (count - 7 + first)) if first + count > 7 else None

    run.step.before = bad
    message = rf"the loss of step 8 is {shown}; the last good checkpoint is that of step 6; lower the learning rate"
    with pytest.raises(InputError, match=message):
        run.go()
    assert checkpoint.steps(tmp_path / "checkpoints") == [3, 6]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, total=20, period=10, checkpoint_every=5)

    def spoil(first: int, count: int) -> None:
        if first >= 5:
            run.module.bias.data[0] = float("inf")
            run.module.weight.data.zero_()

    run.step.before = lambda first, count: spoil(first, count) or torch.ones(count)
    with pytest.raises(InputError, match=r"after step 10 bias holds values that are not finite; .* step 5"):
        run.go()
    assert checkpoint.steps(tmp_path / "checkpoints") == [5]


def test_it_is_said_when_there_is_no_checkpoint_yet(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step.before = lambda first, count: torch.full((count,), float("nan"))
    with pytest.raises(InputError, match="step 1 is nan; no checkpoint had been written yet"):
        run.go()
