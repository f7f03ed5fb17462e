"""Walking and naming files: what is listed, in which order, and how things on the disk are called in messages."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path


def visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder in order of name, but for hidden ones and what operating systems strew about.

    Errors: ``OSError``.
    """
    litter = {"thumbs.db", "desktop.ini", "__macosx"}
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: natural(entry.name))
    return (entry for entry in listed if not entry.name.startswith(".") and entry.name.lower() not in litter)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which 'class10' comes after 'class9'."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def shortened(names: Sequence[object], most: int = 5) -> str:
    """A few of the names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def kind_of(mode: int) -> str:
    """What a file of this mode is, in words, where it is no regular file."""
    tests = {
        "a folder": stat.S_ISDIR,
        "a FIFO": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
        "a device": _is_device,
    }
    return next((words for words, test in tests.items() if test(mode)), "a special file")


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def said(error: Exception) -> str:
    """The cause of an operating system's error in plain words."""
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "permission to read it is denied"
    if "symbolic link" in str(error).lower() or "symlink loop" in str(error).lower():
        return "it is a symbolic link that leads back to itself"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
