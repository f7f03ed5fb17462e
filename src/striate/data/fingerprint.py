"""Digests that tell whether data has changed."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from striate.core.errors import InputError

CONTENT_LIMIT = 256 * 1024 * 1024
"""Up to so many bytes in at most :data:`CONTENT_FILES` files the content is digested; beyond, names, sizes, times."""
CONTENT_FILES = 64


def combined(*parts: object) -> str:
    """One SHA-256 digest (hex) over plain JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def of_files(paths: Sequence[Path], base: Path) -> str:
    """A digest of files: their content where it is little, else their names under ``base``, sizes and times of change.

    Touching or copying many files makes them other data; for few small files only their content counts.
    Errors: ``OSError`` for a file that has gone, ``InputError`` for one that is no ordinary file.
    """
    stats = [path.stat() for path in paths]
    for path, entry in zip(paths, stats, strict=True):
        if not stat.S_ISREG(entry.st_mode):  # opening a FIFO would wait for ever
            raise InputError(path, "it is no ordinary file any more", "leave the data alone while it is read")
    digest = hashlib.sha256()
    by_content = len(paths) <= CONTENT_FILES and sum(entry.st_size for entry in stats) <= CONTENT_LIMIT
    for path, entry in zip(paths, stats, strict=True):
        digest.update(os.fsencode(os.path.relpath(path, base)) + b"\0")
        if by_content:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(f"{entry.st_size} {entry.st_mtime_ns}\0".encode())
    return digest.hexdigest()
