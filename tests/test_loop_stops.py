"""Signals at any step, faults at any disk operation: what is left is whole, and the resumed run ends alike."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loop_probe import Run, saved, scripted, stop_before
from striate.core.disk import DISK, TEMPORARY, Disk
from striate.core.errors import InputError
from striate.core.modelfile import weights_sha256
from striate.training import checkpoint, loop
from striate.training.interruption import Interrupted, deaf_to_ctrl_c, stop_on_signals


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("at", range(12))
def test_a_signal_at_any_step_leaves_a_checkpoint_that_resumes_to_equal_weights(
    tmp_path: Path, at: int, number: int, code: int
) -> None:
    whole_history, weights = Run(tmp_path / "whole").go()
    run = Run(tmp_path / "cut")
    run.step.before = stop_before(at, number)
    with pytest.raises(Interrupted, match="checkpoint written") as stopped:
        run.go()
    assert stopped.value.exit_code == code
    assert saved(tmp_path / "cut").step == stopped.value.step > at
    history, found = Run(tmp_path / "cut").go()
    assert weights_sha256(found) == weights_sha256(weights)
    assert history.validations == whole_history.validations


def test_a_stop_does_not_wait_for_a_validation(tmp_path: Path) -> None:
    run = Run(tmp_path, total=8, period=4, checkpoint_every=1)
    run.step.before = stop_before(3)
    with pytest.raises(Interrupted, match="after step 4"):
        run.go()
    assert not run.validated
    assert len(saved(tmp_path).pending) == 4
    resumed = Run(tmp_path, total=8, period=4, checkpoint_every=1)
    history, _ = resumed.go()
    assert len(resumed.validated) == 2
    assert [row["step"] for row in history.validations] == [4, 8]


def test_a_stop_at_the_last_step_leaves_the_rest_to_the_resumed_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step.before = stop_before(11)
    with pytest.raises(Interrupted, match="after step 12"):
        run.go()
    resumed = Run(tmp_path)
    history, _ = resumed.go()
    assert resumed.step.blocks == [] and len(resumed.validated) == 1
    assert [row["step"] for row in history.validations] == [4, 8, 12]
    assert saved(tmp_path).validations == history.validations


def test_a_finished_run_computes_nothing_again(tmp_path: Path) -> None:
    first = Run(tmp_path)
    digest = first.digest()
    again = Run(tmp_path)
    assert again.digest() == digest
    assert again.step.blocks == [] and again.validated == [] and again.said == ["continuing after step 12"]


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path, total=100, period=2, patience=1)
    run.figures = scripted([0.5, 0.4])
    run.go()
    again = Run(tmp_path, total=100, period=2, patience=1)
    assert again.go()[0].step == 4 and again.step.blocks == []


def test_losses_that_wait_for_a_validation_are_in_the_checkpoint(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole", total=10, period=10).go()[0]
    run = Run(tmp_path / "cut", total=10, period=10, checkpoint_every=3)
    run.step.before = stop_before(6)
    with pytest.raises(Interrupted):
        run.go()
    assert len(saved(tmp_path / "cut").pending) == 9
    assert Run(tmp_path / "cut", total=10, period=10, checkpoint_every=3).go()[0].validations == whole.validations


def test_the_history_is_in_the_checkpoint(tmp_path: Path) -> None:
    history, _ = Run(tmp_path).go()
    assert saved(tmp_path) == history


def test_checkpoints_come_no_sooner_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    run = Run(tmp_path, total=20, period=20, checkpoint_seconds=10)
    written: list[int] = []
    monkeypatch.setattr(loop.checkpoint, "save", lambda folder, step, *rest: written.append(step))

    def tick(first: int, count: int) -> None:
        clock[0] += 3.0 * count

    run.step.before = tick
    run.go()
    assert written == [4, 8, 12, 16, 20]


class Crash(BaseException):
    """The process ends here."""


def fail(name: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die(name: str) -> None:
    raise Crash


def disk_failing_at(at: int, fault: Callable[[str], None]) -> tuple[Disk, list[str]]:
    """A disk whose call number ``at`` and every later one fail, and the list of calls made."""
    calls: list[str] = []

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) - 1 >= at:
                fault(name)
            return getattr(DISK, name)(*arguments)

        return call

    return Disk(**{field.name: wrapped(field.name) for field in fields(Disk)}), calls


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Disk], None]:
    """Makes the loop's checkpoints go through a disk."""
    save = checkpoint.save
    return lambda disk: monkeypatch.setattr(loop.checkpoint, "save", partial(save, disk=disk))


@pytest.mark.parametrize("fault", [fail, die], ids=["full disk", "death"])
def test_a_fault_at_every_disk_operation_then_resume_ends_in_equal_weights(
    tmp_path: Path, on_disk: Callable[[Disk], None], fault: Callable[[str], None]
) -> None:
    disk, calls = disk_failing_at(10**9, fault)
    on_disk(disk)
    expected = Run(tmp_path / "whole", checkpoint_every=3).digest()
    assert len(calls) >= 24 and {"open_new", "write", "fsync", "replace", "sync_folder", "remove"} <= set(calls)
    for at in range(len(calls)):
        folder = tmp_path / str(at)
        on_disk(disk_failing_at(at, fault)[0])
        with pytest.raises((Crash, InputError)):
            Run(folder, checkpoint_every=3).go()
        on_disk(DISK)
        assert Run(folder, checkpoint_every=3).digest() == expected, f"call {at}, {calls[at]}"
        checkpoint.remove_stale(folder)
        assert checkpoint.steps(folder / "checkpoints")[-1] == 12 and not list(folder.rglob(TEMPORARY))


def test_a_damaged_checkpoint_falls_back_aloud_and_ends_in_equal_weights(tmp_path: Path) -> None:
    expected = Run(tmp_path / "whole", checkpoint_every=3).digest()
    run = Run(tmp_path / "cut", checkpoint_every=3)
    run.step.before = stop_before(7)
    with pytest.raises(Interrupted):
        run.go()
    newest = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    resumed = Run(tmp_path / "cut", checkpoint_every=3)
    assert resumed.digest() == expected
    assert "damaged" in resumed.said[0] and resumed.said[-1] == "continuing after step 6"


def test_a_second_ctrl_c_acts_at_once() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_act_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals(), deaf_to_ctrl_c():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
