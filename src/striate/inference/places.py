"""Where predictions of many files go: a folder that appears whole or not at all, and a free name for each sample."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from striate.core.errors import InputError
from striate.data.paths import said

_INSIDE = re.compile(r"^(?P<stem>.+)\.\w+:(?P<part>.+)$")
"""A sample inside a file: ``clip.mp4:12``, ``table.csv:walk-1``."""
_UNFIT = re.compile(r"[\x00-\x1f\x7f:/\\]")


class Names:
    """File names without ending, each given once (compared without case)."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def free(self, name: str) -> str:
        """The last part of a sample's name without its ending, with a number behind it where that is taken. A frame
        keeps its number, in six digits: ``clip_000012`` of ``clip.mp4:12``."""
        last = os.path.basename(name.replace("\\", "/"))
        inside = _INSIDE.match(last)
        if inside is None:
            return self.given(os.path.splitext(last)[0], "sample")
        part = inside["part"]
        return self.given(f"{inside['stem']}_{part.zfill(6) if part.isdecimal() else part}", "sample")

    def given(self, name: str, otherwise: str) -> str:
        """A name as one of a file (no folders, no drive, no control characters, not hidden; ``otherwise`` where nothing
        is left), with a number behind it where that is taken."""
        plain = _UNFIT.sub("_", name).lstrip(".") or otherwise
        found, number = plain, 2
        while found.casefold() in self.taken:
            found, number = f"{plain}_{number}", number + 1
        self.taken.add(found.casefold())
        return found


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place ``out`` when all went well and it is not empty; else nothing is left.

    Errors: ``InputError`` where something is there already (an empty folder may be), and for a disk that is full.
    """
    fix = "name a new folder"
    if out.exists() and not out.is_dir():
        raise InputError(out, "it is a file", fix)
    if out.is_dir() and any(out.iterdir()):
        raise InputError(out, "it is there already and not empty", fix)
    if not out.parent.is_dir():
        raise InputError(out, "its folder does not exist", "make the folder, or write elsewhere")
    temporary = out.with_name(f".striate-{secrets.token_hex(8)}.partial")
    try:
        temporary.mkdir()
        yield temporary
        if any(temporary.iterdir()):
            temporary.replace(out)  # onto an empty folder too
    except InputError as error:
        if str(temporary) in error.where:
            raise InputError(error.where.replace(str(temporary), str(out)), error.cause, error.fix) from None
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(out, f"it cannot be written ({said(error)})", "free space, or write elsewhere") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
