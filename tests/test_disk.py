"""Writing whole or not at all, whichever system call fails; and strict JSON."""

import errno
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.core import strictjson
from striate.core.disk import DISK, TEMPORARY, Disk, remove_stale, write_file
from striate.core.errors import InputError
from striate.core.tensorfile import read_tensors, tensors_sha256, write_tensors


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert tensors_sha256(found) == tensors_sha256(expected)


def failing(call: str, error: BaseException) -> Disk:
    def fail(*_: object) -> Any:
        raise error

    return replace(DISK, **{call: fail})


@pytest.mark.parametrize("call", ["open_new", "write", "fsync", "close", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["eio", "ctrl-c"]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, call: str, error: BaseException) -> None:
    write_tensors(tmp_path / "x", {"a": torch.ones(3)}, {})
    with pytest.raises((InputError, KeyboardInterrupt)):
        write_tensors(tmp_path / "x", {"a": torch.zeros(3)}, {}, failing(call, error))
    assert_equal(read_tensors(tmp_path / "x")[0], {"a": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_is_said_with_the_bytes_needed(tmp_path: Path) -> None:
    full = failing("write", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(InputError, match=r"the disk is full: 4,0\d\d bytes are needed and .* nothing was lost"):
        write_tensors(tmp_path / "x", {"a": torch.ones(1000)}, {}, full)


def test_a_really_full_device_is_said(tmp_path: Path) -> None:
    def open_full(path: Path) -> int:
        path.touch()
        return os.open("/dev/full", os.O_WRONLY)

    with pytest.raises(InputError, match="the disk is full"):
        write_tensors(tmp_path / "x", {"a": torch.ones(1000)}, {}, replace(DISK, open_new=open_full))
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path) -> None:
    slow = replace(DISK, write=lambda descriptor, data: os.write(descriptor, data[:7]))
    write_tensors(tmp_path / "x", {"a": torch.arange(50)}, {}, slow)
    assert_equal(read_tensors(tmp_path / "x")[0], {"a": torch.arange(50)})


def test_the_order_of_calls_survives_a_power_cut(tmp_path: Path) -> None:
    calls: list[str] = []

    def recorded(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return getattr(DISK, name)(*arguments)

        return call

    disk = Disk(**{field.name: recorded(field.name) for field in fields(Disk)})
    write_tensors(tmp_path / "x", {"a": torch.ones(3)}, {}, disk)
    assert calls == ["open_new", "write", "fsync", "close", "replace", "sync_folder"]


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, kind in (("fifo", "a FIFO"), ("folder", "a folder")):
        with pytest.raises(InputError, match=kind):
            write_file(tmp_path / name, [b"x"], 1)
    with pytest.raises(InputError, match="does not exist"):
        write_file(tmp_path / "none" / "x", [b"x"], 1)
    with pytest.raises(InputError, match="name cannot be used"):
        write_file(tmp_path / "a\0b", [b"x"], 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder"]


def test_unfit_tensors_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for tensors in (
        {"a/b": torch.ones(1)},
        {"a": torch.ones(1, dtype=torch.complex64)},
        {"__metadata__": torch.ones(1)},
    ):
        with pytest.raises(InputError):
            write_tensors(tmp_path / "x", tensors, {})
    assert list(tmp_path.iterdir()) == []


def test_stale_files_are_removed_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in (".striate-00ff.partial", "below/.striate-11.partial", "mine.partial", ".mine"):
        (tmp_path / name).touch()
    assert TEMPORARY == ".striate-*.partial"
    assert remove_stale(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "below", "mine.partial"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [b'"\\', b'\\"', b'"', b"[", b"{", b'{"a":', b"[],", b"1,", b"\\"])
def test_long_hostile_text_is_refused_in_linear_time(unit: bytes) -> None:
    with pytest.raises(ValueError):
        strictjson.parse(b'{"a":' + unit * (4_000_000 // len(unit)))


def test_canonical_json_refuses_what_does_not_come_back() -> None:
    assert strictjson.compact({"b": (1, 2.5), "a": None}) == '{"a":null,"b":[1,2.5]}'
    for value in ({1: 2}, {"a": object()}):
        with pytest.raises(TypeError):
            strictjson.compact(value)
    for number in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError):
            strictjson.compact([number])
