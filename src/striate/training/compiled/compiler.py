"""The system's C compiler, and the libraries it has built, kept in the user's cache.

Loading a library runs what is in it. So one is loaded only from a folder that belongs to the user and that nobody else
can write to, and only where its bytes have the SHA-256 that its name records; anything else is built anew. The name
also holds a digest of everything that the machine code follows from: the C text, the compiler's version, its options,
and all it says of the processor (its predefined macros), so that a library of another machine is never taken.
"""

import ctypes
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

from striate.core.disk import cache_folder, read_whole, write_file
from striate.core.errors import InputError
from striate.training.compiled.layout import Target

NAMES = ("cc", "gcc", "clang")
NATIVE = ("-march=native", "-mcpu=native")
"""How a compiler is asked for the processor it runs on; which of them it knows depends on the processor."""
OPTIONS = (
    "-O2",
    "-ftree-vectorize",
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-w",
)
SECONDS = 300
LARGEST_LIBRARY = 1 << 26
_FIX = "install a C compiler (gcc or clang), or begin a run that leaves training.step to auto"


@final
@dataclass(frozen=True)
class Compiler:
    """A compiler that answers: its command with the processor's option, its ``version`` in words, the vector registers
    it uses, and a ``digest`` of its version and of the processor it builds for."""

    command: tuple[str, ...]
    version: str
    target: Target
    digest: str


def compiler() -> Compiler:
    """The compiler that ``$CC`` names, else the first of cc, gcc and clang. Errors: ``InputError`` when none works."""
    return _found(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@lru_cache(maxsize=8)
def _found(named: str, path: str) -> Compiler:
    tried = []
    for words in [shlex.split(named)] if named.strip() else [[name] for name in NAMES]:
        program = shutil.which(words[0], path=path)
        if program is None:
            tried.append(f"{words[0]} is not there")
            continue
        for native in NATIVE:
            command = (program, *words[1:], native)
            done = _run((*command, *OPTIONS, "-dM", "-E", "-x", "c", "-"), b"")
            if done.returncode == 0:
                macros = done.stdout.decode("utf-8", "replace")
                version = _run((program, *words[1:], "--version"), b"").stdout.decode("utf-8", "replace")
                digest = hashlib.sha256(f"{version}\0{macros}".encode()).hexdigest()
                first = (version.strip().splitlines() or [words[0]])[0]
                return Compiler(command, f"{first}, {native[1:]} {digest[:8]}", _target(macros), digest)
        tried.append(f"{words[0]} does not work ({_last(done.stderr)})")
    raise _unavailable(f"no C compiler was found ({', '.join(tried)})")


def _target(macros: str) -> Target:
    defined = set(re.findall(r"^#define (\w+)", macros, re.MULTILINE))
    if "__AVX512F__" in defined:
        return Target(registers=32, lanes=16)
    if "__AVX__" in defined:
        return Target(registers=16, lanes=8)
    return Target(registers=32 if "__aarch64__" in defined else 16, lanes=4)


def library(text: str, chosen: Compiler, folder: Path | None = None, extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of a C text: from the cache where a sound one is there, else built and kept. ``extra`` are options
    for the compiler.

    Errors: ``InputError`` when the compiler refuses the text, when the cache's folder is not the user's alone, and when
    the system will not load what was built.
    """
    home = _private(folder or cache_folder() / "compiled")
    key = hashlib.sha256("\0".join((text, chosen.digest, *chosen.command[1:], *OPTIONS, *extra)).encode()).hexdigest()[
        :32
    ]
    for path in sorted(home.glob(f"{key}-*.so")):
        if _sound(path):
            return _loaded(path)
        with suppress(FileNotFoundError):  # damaged, or another run has just removed it
            path.unlink()
    content = _built(text, chosen, extra)
    path = home / f"{key}-{hashlib.sha256(content).hexdigest()}.so"
    write_file(path, [content], len(content))
    return _loaded(path)


def _private(folder: Path) -> Path:
    """The folder, made if need be, if it is the user's own and only the user can write to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = os.lstat(folder)
    except OSError as error:
        raise InputError(folder, f"it cannot be made ({error.strerror})", "set STRIATE_CACHE to another") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        cause = "others can write to this folder, and what lies in it would be run"
        raise InputError(folder, cause, "make it your own (chmod 700), or set STRIATE_CACHE to another")
    return folder


def _sound(path: Path) -> bool:
    """Whether the file is the user's own, nobody else can write to it, and it has the checksum of its name."""
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            return False
        content = read_whole(path, LARGEST_LIBRARY)
    except (OSError, InputError):
        return False
    return content is not None and path.stem.endswith(hashlib.sha256(content).hexdigest())


def _loaded(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise _unavailable(f"the system does not load {path} ({error})") from None


def _built(text: str, chosen: Compiler, extra: tuple[str, ...] = ()) -> bytes:
    with tempfile.TemporaryDirectory(prefix="striate-") as place:
        out = Path(place) / "step.so"
        done = _run((*chosen.command, *OPTIONS, *extra, "-x", "c", "-", "-o", str(out)), text.encode("ascii"))
        if done.returncode != 0 or not out.is_file():
            raise _unavailable(f"{chosen.command[0]} does not build it ({_last(done.stderr)})")
        return out.read_bytes()


def _run(command: Sequence[str], given: bytes) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(command, input=given, capture_output=True, timeout=SECONDS, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, b"", str(error).encode())


def _last(errors: bytes) -> str:
    """What a compiler complained of, in a line."""
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if "error" in line] or ["it says nothing"]
    return lines[0][:200]


def _unavailable(cause: str) -> InputError:
    return InputError("training.step", f"the compiled step cannot be used: {cause}", _FIX)
