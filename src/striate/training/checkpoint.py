"""Checkpoints of a run: ``step-00001234.safetensors`` in the run's folder, each whole, checked, and two of them kept.

A checkpoint is one safetensors file. Its metadata holds the step, the state (JSON) and a SHA-256 over step, state and
every tensor's name, type, shape and bytes, which is verified on reading: whatever happened to the file, it is either
the checkpoint that was saved or it is refused. A save writes the new file whole before an old one goes, so that a
crash, a kill or a full disk at any moment leaves the last good checkpoint.

Security: as for :mod:`striate.core.tensorfile`: data only, no pickle. The checksum guards against accidents, not
against someone who can write to the folder.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from striate.core import strictjson
from striate.core.disk import DISK, DamagedFile, Disk, remove_stale
from striate.core.errors import InputError
from striate.core.modelfile import CHECKPOINT_KEY, check_version
from striate.core.tensorfile import read_tensors, tensors_sha256, write_tensors

FORMAT_VERSION = 1
LOCK = ".striate.lock"
"""Name of the file in a run's folder that the running process holds a lock on. The file stays; the lock does not."""

_NAME = re.compile(r"step-(\d{8,12})\.safetensors")


@final
@dataclass(frozen=True)
class Checkpoint:
    """The tensors (CPU) and JSON state after ``step`` steps."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def save(
    folder: str | os.PathLike[str],
    step: int,
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    keep: int = 2,
    disk: Disk = DISK,
) -> Path:
    """Write the checkpoint of a step, then remove all but the ``keep`` newest; makes the folder. Returns the file.

    ``state`` is plain JSON: tuples come back as lists, and NaN and infinities are refused (write None).
    Errors: ``InputError`` for a full disk and the like (older checkpoints are untouched), and when the folder has a
    later step than this one, which only another run can have left; ``ValueError`` or ``TypeError`` for a state that is
    no JSON.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step {step} and keep {keep}: at least 0 and 1 were expected")
    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(home, f"the folder cannot be made ({error.strerror})", "choose another folder") from None
    path = home / f"step-{step:08d}.safetensors"
    later = [other for other in steps(home) if other > step]
    if later:
        raise InputError(path, f"the folder already has step {later[-1]}", "resume that run or choose another folder")
    text = strictjson.compact(dict(state))
    document = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "state": text,
        "sha256": _checksum(step, text, tensors),
    }
    write_tensors(path, tensors, {CHECKPOINT_KEY: strictjson.compact(document)}, disk)
    for old in steps(home)[:-keep]:
        _remove(home / f"step-{old:08d}.safetensors", disk)
    return path


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify one checkpoint.

    Errors: ``DamagedFile`` when it is not what was saved; ``InputError`` when it is missing, cannot be read, or is of
    a later format version.
    """
    tensors, metadata = read_tensors(path)
    if CHECKPOINT_KEY not in metadata:
        raise DamagedFile(path, "it is not a checkpoint", "give a file of a run's folder")
    try:
        document = strictjson.parse(metadata[CHECKPOINT_KEY])
    except ValueError as error:
        raise DamagedFile(path, f"its description cannot be read: {error}", "use the one before") from None
    check_version(document.get("format_version") if isinstance(document, dict) else None, FORMAT_VERSION, path)
    if document.keys() != {"format_version", "step", "state", "sha256"}:
        raise DamagedFile(path, "its description has other keys than a checkpoint's", "use the one before")
    step, text = document["step"], document["state"]
    if type(step) is not int or not isinstance(text, str) or document["sha256"] != _checksum(step, text, tensors):
        raise DamagedFile(path, "its checksum does not match: it was altered after it was saved", "use the one before")
    return Checkpoint(step, tensors, strictjson.parse(text))


def steps(folder: str | os.PathLike[str]) -> list[int]:
    """The steps whose checkpoints lie in a folder, sound or not, in order; none when there is no folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(os.fspath(folder), f"it cannot be listed ({error.strerror})", "check the path") from None
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def latest(folder: str | os.PathLike[str], say: Callable[[str], None]) -> Checkpoint | None:
    """The newest sound checkpoint, or None when the folder has none at all.

    A damaged one is said aloud through ``say``, set aside as ``NAME.damaged`` once a sound one is found (so that it
    no longer counts as one of those kept), and the one before is tried.
    Errors: ``InputError`` when there are checkpoints and every one is damaged (starting again unasked would hide the
    loss), and when one cannot be opened or is of a later format version.
    """
    damaged: list[Path] = []
    for step in reversed(steps(folder)):
        path = Path(folder) / f"step-{step:08d}.safetensors"
        try:
            found = load(path)
        except DamagedFile as error:
            say(f"{error.where}: damaged ({error.cause}); trying the checkpoint before it")
            damaged.append(path)
            continue
        for other in damaged:
            _set_aside(other, say)
        if damaged:
            say(f"{path}: this checkpoint of step {found.step} is sound and is used instead")
        return found
    if damaged:
        raise InputError(damaged[0], "this and every earlier checkpoint is damaged", "restore one or start a new run")
    return None


@contextmanager
def hold(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a run's folder, made if need be, against other processes; removes what a killed run left half-written in it,
    and a folder that was made here if nothing comes into it.

    The lock is the kernel's (flock), so that it ends with the process however that ends, SIGKILL included.
    Errors: ``InputError`` when another run holds the folder, naming its process.
    """
    home = Path(folder)
    fresh = not home.exists()
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(home, f"it cannot be used for a run ({error.strerror})", "choose another folder") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            raise InputError(
                home, f"another run (process {holder}) is writing here", "wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise InputError(
                home, f"it cannot be locked ({error.strerror})", "choose a folder on a local disk"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        remove_stale(home)
        yield
    finally:
        if fresh and os.listdir(home) == [LOCK]:  # refused before anything was written
            (home / LOCK).unlink()
            home.rmdir()
        os.close(descriptor)


def _checksum(step: int, state: str, tensors: Mapping[str, torch.Tensor]) -> str:
    text = strictjson.compact([step, state, tensors_sha256(tensors)])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _remove(path: Path, disk: Disk) -> None:
    try:
        disk.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(path, f"this old checkpoint cannot be removed ({error.strerror})", "check the disk") from None


def _set_aside(path: Path, say: Callable[[str], None]) -> None:
    aside = path.with_name(path.name + ".damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        say(f"{path}: could not be renamed to {aside.name} ({error.strerror})")
