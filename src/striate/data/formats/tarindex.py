"""Where the members of a tar lie, found by its headers alone: nothing is extracted, nothing of it is trusted.

Read: ustar, GNU long names, pax records (POSIX.1-2008, "pax Interchange Format"). Only regular files with a relative
name are members; links, devices, sparse files, absolute names and names with ``..`` are listed with their reason.
"""

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import final

import numpy as np

from striate.core.disk import DamagedFile, open_file, read_into
from striate.core.errors import InputError
from striate.data.images import Blob, ImageSource

BLOCK = 512
MOST_MEMBERS = 10_000_000
MOST_BYTES = 1 << 30
"""A larger member is not read: no sample is that large, and it would be held in memory."""
_MOST_RECORD = 1 << 20
_MOST_LOOKED_BEYOND = 1 << 20
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_LEFT_OUT = {
    b"1": "a hard link, which is not followed",
    b"2": "a symbolic link, which is not followed",
    b"3": "a device, which is not read",
    b"4": "a device, which is not read",
    b"6": "a FIFO, which is not read",
}
_REGULAR = (b"0", b"\0", b"7")
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file inside a tar: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


@dataclass
class TarIndex:
    """``members`` in order, ``skipped`` (name, reason), and ``ended``: whether the mark of the end was met, without
    which a tar may have been cut between two members."""

    members: list[Member] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False


def index_tar(path: Path, most: int | None = None) -> TarIndex:
    """The members of a tar, of the first ``most`` headers where given.

    Errors: ``InputError`` naming the tar when it is compressed, no tar, damaged, or ends inside a member.
    """
    with open_file(path) as (file, size):
        return _Walk(path, file, size).index(most)


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of a member. Errors: ``InputError`` when the tar cannot be read or has become shorter."""
    with reading(path) as read:
        return read(member)


@contextmanager
def reading(path: Path) -> Iterator[Callable[[Member], bytes]]:
    """What reads members of a tar that stays open meanwhile, for many small ones. Errors: as :func:`read_member`."""
    with open_file(path) as (file, _):

        def read(member: Member) -> bytes:
            data = bytearray(member.size)
            file.seek(member.offset)
            read_into(file, memoryview(data), f"{path}: {member.name}")
            return bytes(data)

        yield read


@final
class MemberBlob(Blob):
    """An image inside a tar, whose bytes are read each time they are asked for, so that a list of them is small.

    Errors of ``data``: ``InputError`` as :func:`read_member`.
    """

    def __init__(self, path: Path, member: Member) -> None:
        object.__setattr__(self, "name", f"{path}: {member.name}")
        object.__setattr__(self, "_place", (path, member))

    @property
    def data(self) -> bytes:
        """The bytes of the image."""
        path, member = object.__getattribute__(self, "_place")
        return read_member(path, member)


@final
class TarImages(Sequence[ImageSource]):
    """Members of tars as image sources: arrays of places, and a :class:`MemberBlob` made when one is asked for."""

    def __init__(self, tars: Sequence[Path], which: Sequence[int], members: Sequence[Member]) -> None:
        self._tars = tars
        self._which = np.array(which, dtype=np.int64)
        self._names = [member.name for member in members]
        self._places = np.array([(one.offset, one.size) for one in members], dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        offset, size = self._places[position].tolist()
        return MemberBlob(self._tars[self._which[position]], Member(self._names[position], offset, size))


@dataclass
class _Walk:
    """One walk over the headers of an open tar."""

    path: Path
    file: FileIO
    size: int
    offset: int = 0

    def index(self, most: int | None) -> TarIndex:
        found = TarIndex()
        records: dict[str, str] = {}  # what extended headers say of the next member
        headers = 0
        self._demand_plain()
        while self.offset < self.size and (most is None or headers < most):
            header = self._read(BLOCK, "a header")
            if header == _ZEROS:
                found.ended = self._ends(found)
                break
            kind, size = self._checked(header, first=not headers)
            headers += 1
            if headers > MOST_MEMBERS:
                raise InputError(self.path, f"it has more than {MOST_MEMBERS:,} members", "divide it into shards")
            if kind in (b"x", b"g", b"L", b"K"):
                said = self._extended(kind, size)
                if kind != b"g":
                    records |= said
                continue
            self._member(found, header, kind, size, records)
            records = {}
        return found

    def _member(self, found: TarIndex, header: bytes, kind: bytes, size: int, records: dict[str, str]) -> None:
        name = records.get("path") or _name(header)
        size = self._number(records.get("size"), size)
        sparse = kind == b"S" or any(key.startswith("GNU.sparse") for key in records)
        if kind == b"S":
            self._pass_sparse_map(header)
        start = self.offset
        if kind == b"5" or (kind == b"\0" and name.endswith("/")):
            return
        if kind in _LEFT_OUT:
            found.skipped.append((name, _LEFT_OUT[kind]))
            return
        self.offset += -(-size // BLOCK) * BLOCK
        if start + size > self.size:
            raise self._cut(f"inside {name!r}, which should have {size:,} bytes")
        reason = "a sparse file, which is not read" if sparse else _unfit(name, size)
        if reason is None and kind not in _REGULAR:
            reason = f"a member of the unknown type {kind!r}"
        if reason is None:
            plain = name if "./" not in name and "//" not in name else posixpath.normpath(name)
            found.members.append(Member(plain, start, size))
        else:
            found.skipped.append((name, reason))

    def _read(self, size: int, what: str) -> bytes:
        data = os.pread(self.file.fileno(), size, self.offset)
        if len(data) < size:
            raise self._cut(f"inside {what}")
        self.offset += size
        return data

    def _cut(self, where: str) -> InputError:
        return DamagedFile(self.path, f"the tar is cut off: it ends {where}", "copy or download it again")

    def _checked(self, header: bytes, first: bool) -> tuple[bytes, int]:
        """The type and size that a header states, after its checksum has been compared."""
        try:
            stated, size = _parsed(header[148:156]), _parsed(header[124:136])
        except ValueError:
            raise self._damaged(first) from None
        total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        # some old programs added the bytes up as signed numbers
        if stated != total and stated != total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
            raise self._damaged(first)
        return header[156:157], size

    def _demand_plain(self) -> None:
        start = os.pread(self.file.fileno(), 8, 0)
        packed = next((name for magic, name in _COMPRESSED if start.startswith(magic)), None)
        if packed is not None:
            raise InputError(
                self.path,
                f"the tar is compressed ({packed}), so that its samples cannot be read one by one",
                "decompress it first: the images inside are compressed already",
            )

    def _damaged(self, first: bool) -> InputError:
        if first:
            return InputError(self.path, "it is no tar", "give tar files")
        return DamagedFile(self.path, f"the tar is damaged at byte {self.offset - BLOCK:,}", "copy it again")

    def _extended(self, kind: bytes, size: int) -> dict[str, str]:
        if size > _MOST_RECORD:
            raise DamagedFile(self.path, f"an extended header of {size:,} bytes", "make the tar again")
        data = self._read(-(-size // BLOCK) * BLOCK, "an extended header")[:size]
        if kind == b"L":
            return {"path": os.fsdecode(data.rstrip(b"\0"))}
        if kind == b"K":
            return {}
        try:
            return _pax(data)
        except ValueError as error:
            raise DamagedFile(self.path, f"a damaged extended header ({error})", "make the tar again") from None

    def _number(self, text: str | None, otherwise: int) -> int:
        if text is None:
            return otherwise
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise DamagedFile(self.path, f"an extended header with the size {text[:20]!r}", "make the tar again")
        return int(text)

    def _pass_sparse_map(self, header: bytes) -> None:
        """GNU's sparse members have further blocks of their map between header and data."""
        more = header[482]
        while more:
            more = self._read(BLOCK, "a sparse header")[504]

    def _ends(self, found: TarIndex) -> bool:
        """Whether a second block of zeros follows. Tars joined end to end have more after it, which is said."""
        rest = os.pread(self.file.fileno(), _MOST_LOOKED_BEYOND, self.offset)
        if rest[BLOCK:].strip(b"\0"):
            found.skipped.append(
                (self.path.name, "what follows the mark of its end: tars that were joined are read to the first end")
            )
        return len(rest) >= BLOCK and not rest[:BLOCK].strip(b"\0")


def _parsed(text: bytes) -> int:
    """A number in a header: octal digits, or base 256 where the first bit is set. Errors: ``ValueError``."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError("no octal number")
    return int(digits or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return os.fsdecode(prefix + b"/" + name if prefix else name)


def _unfit(name: str, size: int) -> str | None:
    if not name or "\0" in name:
        return "its name is empty or has a zero byte"
    if name.startswith("/"):
        return "its name is absolute"
    if ".." in name.split("/"):
        return "its name leads out of the tar (..)"
    return f"it has {size:,} bytes, more than {MOST_BYTES:,}" if size > MOST_BYTES else None


def _pax(data: bytes) -> dict[str, str]:
    """The records ``length key=value`` of a pax header. Errors: ``ValueError``."""
    found = {}
    at = 0
    while at < len(data) and data[at] != 0:
        head, space, _ = data[at : at + 12].partition(b" ")
        if not space or not head.isdigit():
            raise ValueError("a record without its length")
        end = at + int(head)
        record = data[at + len(head) + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(data) or not equals or record[-1:] != b"\n":
            raise ValueError("a record of another length than it states")
        found[os.fsdecode(key)] = os.fsdecode(value)
        at = end
    return found
