"""Checkpoints: whatever fails, at whichever call, the last good one is there and equal."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.core.disk import DISK, TEMPORARY, Disk
from striate.core.errors import InputError
from striate.core.tensorfile import tensors_sha256, write_tensors
from striate.training.checkpoint import Checkpoint, hold, latest, load, save, steps


def tensors(step: int) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(step)
    return {
        "weights.a": torch.randn(5, 7, generator=made),
        "optimiser.a.step": torch.tensor(float(step)),
        "count": torch.tensor(step),
    }


def state(step: int) -> dict[str, Any]:
    return {"step": step, "best": 0.1 + step, "records": [[step, None], "ü"]}


def assert_is(found: Checkpoint | None, step: int) -> None:
    assert found is not None
    assert (found.step, found.state) == (step, state(step))
    assert tensors_sha256(found.tensors) == tensors_sha256(tensors(step))


def put(folder: Path, step: int, keep: int = 2, disk: Disk = DISK) -> Path:
    return save(folder, step, tensors(step), state(step), keep, disk)


def silent(text: str) -> None:
    raise AssertionError(f"nothing was to be said, and this was: {text}")


class Crash(BaseException):
    """The process ends here: no later call of it happens."""


def faulty(at: int, fault: Callable[[str, tuple[Any, ...]], None], lasting: bool) -> tuple[Disk, list[str]]:
    """A disk whose call number ``at`` fails (and, ``lasting``, every later one), and the list of calls made."""
    calls: list[str] = []

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            if len(calls) - 1 == at or (lasting and len(calls) - 1 > at):
                fault(name, arguments)
            return getattr(DISK, name)(*arguments)

        return call

    return Disk(**{field.name: wrapped(field.name) for field in fields(Disk)}), calls


def number_of_calls(folder: Path) -> int:
    put(folder, 1)
    put(folder, 2)
    disk, calls = faulty(-1, lambda *_: None, False)
    put(folder, 3, 2, disk)
    assert calls == [
        "open_new",
        "write",
        "fsync",
        "close",
        "replace",
        "sync_folder",
        "remove",
    ]
    return len(calls)


CALLS = 7
RENAMED = 5
"""From this call on the new checkpoint is in place."""


def test_a_save_makes_seven_calls(tmp_path: Path) -> None:
    assert number_of_calls(tmp_path) == CALLS


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("at", range(CALLS))
def test_a_fault_at_any_call_leaves_the_last_good_checkpoint(tmp_path: Path, at: int, code: int) -> None:
    def fault(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    put(tmp_path, 1)
    put(tmp_path, 2)
    with pytest.raises(InputError, match="disk"):
        put(tmp_path, 3, 2, faulty(at, fault, False)[0])
    assert not list(tmp_path.glob(TEMPORARY))
    assert_is(latest(tmp_path, silent), 3 if at >= RENAMED else 2)
    put(tmp_path, 4)
    assert_is(latest(tmp_path, silent), 4)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("at", range(CALLS))
def test_a_death_at_any_call_leaves_the_last_good_checkpoint(tmp_path: Path, at: int, torn: bool) -> None:
    def die(name: str, arguments: tuple[Any, ...]) -> None:
        if torn and name == "write":
            os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise Crash

    put(tmp_path, 1)
    put(tmp_path, 2)
    with pytest.raises(Crash):
        put(tmp_path, 3, 2, faulty(at, die, True)[0])
    with hold(tmp_path):
        assert not list(tmp_path.glob(TEMPORARY))
        assert_is(latest(tmp_path, silent), 3 if at >= RENAMED else 2)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        put(tmp_path, step)
    assert steps(tmp_path) == [20, 30]
    put(tmp_path, 40, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000040.safetensors"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    put(tmp_path, 10)
    put(tmp_path, 10)
    assert steps(tmp_path) == [10]


def test_no_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert latest(tmp_path / "none", silent) is None
    assert latest(tmp_path, silent) is None


def test_an_older_step_does_not_go_beside_a_later_one(tmp_path: Path) -> None:
    put(tmp_path, 20)
    with pytest.raises(InputError, match="already has step 20"):
        put(tmp_path, 10)


def test_state_that_does_not_come_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path, 1, {}, {"best": float("inf")})
    assert steps(tmp_path) == []


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "last byte": lambda path: flip(path, -1),
    "first byte": lambda path: flip(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04\x95" + bytes(99)),
    "another file": lambda path: write_tensors(path, {"a": torch.ones(1)}, {}),
    "another text": lambda path: write_tensors(path, {}, {"striate_checkpoint": '{"format_version":1}'}),
    "no text": lambda path: write_tensors(path, {}, {"striate_checkpoint": "["}),
    "a list": lambda path: write_tensors(path, {}, {"striate_checkpoint": "[]"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_falls_back_aloud(tmp_path: Path, damage: str) -> None:
    put(tmp_path, 10)
    newest = put(tmp_path, 20)
    DAMAGES[damage](newest)
    said: list[str] = []
    assert_is(latest(tmp_path, said.append), 10)
    assert str(newest) in said[0]
    assert "damaged" in said[0]
    assert "step 10" in said[1]


def test_any_altered_byte_is_found_or_harmless(tmp_path: Path) -> None:
    path = put(tmp_path, 10)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        flip(path, position)
        try:
            assert_is(load(path), 10)
        except InputError:
            refused += 1
        path.write_bytes(whole)
    assert refused >= len(whole) - 16  # spaces after the header's JSON may become other spaces


def test_a_swapped_step_is_found(tmp_path: Path) -> None:
    path = put(tmp_path, 10)
    path.write_bytes(path.read_bytes().replace(b'\\"step\\":10}', b'\\"step\\":11}'))
    with pytest.raises(InputError, match="checksum"):
        load(path)


def test_a_damaged_one_is_set_aside_and_no_longer_counts(tmp_path: Path) -> None:
    put(tmp_path, 10)
    flip(put(tmp_path, 20), -1)
    latest(tmp_path, lambda text: None)
    assert (tmp_path / "step-00000020.safetensors.damaged").exists()
    put(tmp_path, 15)
    assert steps(tmp_path) == [10, 15]
    assert_is(latest(tmp_path, silent), 15)


def test_when_all_are_damaged_nothing_begins_again_unasked(tmp_path: Path) -> None:
    for step in (10, 20):
        flip(put(tmp_path, step), -1)
    with pytest.raises(InputError, match="every earlier checkpoint is damaged"):
        latest(tmp_path, lambda text: None)
    assert steps(tmp_path) == [10, 20]


def test_a_later_version_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 10)
    with monkeypatch.context() as patch:
        patch.setattr("striate.training.checkpoint.FORMAT_VERSION", 2)
        put(tmp_path, 20)
    with pytest.raises(InputError, match="upgrade"):
        latest(tmp_path, silent)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for use in (lambda folder: put(folder, 1), lambda folder: latest(folder, silent), lambda f: hold(f).__enter__()):
        with pytest.raises(InputError, match="file"):
            use(tmp_path / "file")


# Two runs into one folder


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with hold(tmp_path):
        with pytest.raises(InputError, match=f"another run .process {os.getpid()}. is writing here"), hold(tmp_path):
            pass
        assert (tmp_path / ".striate.lock").exists()
    with hold(tmp_path):
        pass


def test_the_hold_ends_with_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from striate.training.checkpoint import hold\n"
        f"with hold({str(tmp_path)!r}):\n    print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert other.stdout is not None
    with other.stdout:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), hold(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait(10)
    with hold(tmp_path):
        pass
