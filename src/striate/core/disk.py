"""Files that are whole or absent: careful opening for reading, and writing that a crash cannot tear.

Every system call of a save goes through one :class:`Disk`, so that a test can make any single one of them fail.
"""

import errno
import fnmatch
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import final

from striate.core.errors import InputError

TEMPORARY = ".striate-*.partial"
"""Pattern of the names of half-written files: what matches it after a crash is rubbish."""

_MOST_PER_WRITE = 1 << 30
_MOST_PER_READ = 1 << 20


class DamagedFile(InputError):
    """The bytes of a file are not what they should be: cut, altered, unreadable, or another format altogether."""


def _open_new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder, and say so with EINVAL: there the rename is all there is.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


@final
@dataclass(frozen=True)
class Disk:
    """The system calls of a save, one field each; the defaults are the real ones."""

    open_new: Callable[[Path], int] = _open_new
    write: Callable[[int, memoryview], int] = os.write
    fsync: Callable[[int], None] = os.fsync
    close: Callable[[int], None] = os.close
    replace: Callable[[Path, Path], None] = os.replace
    sync_folder: Callable[[Path], None] = _sync_folder
    remove: Callable[[Path], None] = os.unlink


DISK = Disk()


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview], size: int, disk: Disk = DISK) -> None:
    """Write ``parts`` (flat bytes, ``size`` in all) so that ``path`` holds the old content or the new, never a mixture.

    Temporary file in the same folder, write, fsync, rename, fsync of the folder. On any failure, an interrupt
    included, the temporary file is removed and the old file is untouched; only when the last fsync fails is the new
    file, whole, already in place. A symbolic link is replaced by the file, and what it led to stays as it was.
    Errors: ``InputError`` naming ``path``: disk full (with the bytes needed), no such folder, no permission, no file.
    """
    target = Path(path)
    temporary = target.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        _check_target(target)
        try:
            _write_parts(temporary, parts, disk)
            disk.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                disk.remove(temporary)
            raise
        disk.sync_folder(target.parent)
    except ValueError as error:  # a NUL in the name
        raise InputError(_shown(target), f"the name cannot be used ({error})", "give another name") from None
    except OSError as error:
        raise _explained(error, target, size) from error


def remove_stale(folder: str | os.PathLike[str], disk: Disk = DISK) -> int:
    """Remove the half-written files that a killed process left in ``folder`` and below; returns how many there were.

    Only for a folder that no one else is writing to (see ``training.checkpoint.hold``).
    """
    walked = os.walk(folder, followlinks=False)
    stale = [Path(place, name) for place, _, names in walked for name in fnmatch.filter(names, TEMPORARY)]
    for path in stale:
        with suppress(FileNotFoundError):
            disk.remove(path)
    return len(stale)


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[FileIO, int]]:
    """Open an ordinary file for reading; yields it, unbuffered, with its size in bytes.

    A FIFO, device or socket is refused before it is opened, so that nothing hangs, and checked again after.
    Errors: ``InputError`` for a missing, unreadable or special file; ``DamagedFile`` when the disk cannot read it.
    """
    try:
        descriptor, size = _opened(path)
        with FileIO(descriptor) as file:
            yield file, size
    except (OSError, ValueError) as error:
        raise _unreadable(error, path) from None


def read_whole(path: str | os.PathLike[str], most: int) -> bytes | None:
    """All bytes of an ordinary file, or None where it has more than ``most``.

    The same care and errors as with :func:`open_file`, at half its time: many small files are read so.
    """
    try:
        descriptor, size = _opened(path)
        try:
            if size > most:
                return None
            data = os.read(descriptor, size + 1)
            if len(data) != size:  # it was cut off in between, or grew, or says no size
                more = data
                while more and len(data) <= most:
                    more = os.read(descriptor, _MOST_PER_READ)
                    data += more
            return data if len(data) <= most else None
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _unreadable(error, path) from None


def _opened(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The descriptor and size of an ordinary file. What it is is asked before it is opened, as opening alone does
    something to a device or to whoever writes to a FIFO, and again of what was opened."""
    _check_ordinary(os.stat(path).st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        _check_ordinary(found.st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found.st_size


def _unreadable(error: OSError | ValueError, path: str | os.PathLike[str]) -> InputError:
    where = _shown(path)
    if isinstance(error, ValueError):  # a NUL in the name
        return InputError(where, f"the path cannot be used ({error})", "correct the path")
    if isinstance(error, FileNotFoundError):
        return InputError(where, "there is no such file", "correct the path")
    if error.errno == errno.EIO:
        return DamagedFile(where, "the disk cannot read it (input/output error)", "restore a copy")
    return InputError(where, f"it cannot be read ({error.strerror})", "check the path and its permissions")


def read_into(file: FileIO, buffer: memoryview, where: object) -> None:
    """Fill ``buffer`` (bytes) from the file's position on. Errors: ``DamagedFile`` when the file ends too early."""
    filled = 0
    while filled < len(buffer):
        count = file.readinto(buffer[filled:])
        if not count:
            raise DamagedFile(where, "the file became shorter while it was read", "copy it again")
        filled += count


def _write_parts(path: Path, parts: Iterable[bytes | memoryview], disk: Disk) -> None:
    descriptor = disk.open_new(path)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[disk.write(descriptor, rest[:_MOST_PER_WRITE]) :]
        disk.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            disk.close(descriptor)
        raise
    disk.close(descriptor)


def _check_target(target: Path) -> None:
    """A rename would silently put a file in the place of a device or FIFO."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise InputError(_shown(target), f"it is {_kind(mode)}, not a file", "give another name to write to")


def _check_ordinary(mode: int, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(mode):
        raise InputError(_shown(path), f"it is {_kind(mode)}, not a file", "give the path of an ordinary file")


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "a special file")


def _explained(error: OSError, target: Path, size: int) -> InputError:
    where = _shown(target)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(
            where,
            f"the disk is full: {size:,} bytes are needed{_free(target.parent)}",
            "free some space and try again; nothing was lost, what was there before is untouched",
        )
    if error.errno == errno.ENOENT:
        return InputError(where, f"the folder {_shown(target.parent)} does not exist", "make it first")
    reason = error.strerror or type(error).__name__
    return InputError(where, f"it cannot be written ({reason})", "check the folder, its permissions and its disk")


def _free(folder: Path) -> str:
    try:
        return f" and {shutil.disk_usage(folder).free:,} are free"
    except OSError:
        return ""


def _shown(path: str | os.PathLike[str]) -> str:
    """The path as one printable line, whatever characters a hostile name has."""
    name = os.fspath(path)
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def cache_folder() -> Path:
    """``$STRIATE_CACHE``, else ``$XDG_CACHE_HOME/striate``, else ``~/.cache/striate``."""
    named = os.environ.get("STRIATE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "striate"
