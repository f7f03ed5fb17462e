"""The command line run as a user types it, inside this process; and the data sets the tests of commands share."""

import hashlib
import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from striate.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run(*words: object) -> Outcome:
    """``striate WORDS...``."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv = ["striate", *map(str, words)]
    code: object = 0
    try:
        with patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    assert isinstance(code, int)
    return Outcome(code, *texts)


def done(*words: object) -> Outcome:
    """A command that must succeed."""
    outcome = run(*words)
    assert outcome.code == 0, outcome.err
    return outcome


def refused(*words: object) -> str:
    """The one line of a command that must fail: it names place, cause and fix, and there is no traceback."""
    outcome = run(*words)
    assert outcome.code not in (0, None), outcome.out
    assert "Traceback" not in outcome.err
    told = [line for line in outcome.err.splitlines() if line.startswith("striate: ")]
    assert len(told) == 1, outcome.err
    assert outcome.err.endswith(told[0] + "\n")
    assert ";" in told[0]
    return told[0]


def contents(folder: Path) -> dict[str, str]:
    """Every path below a folder with a digest of what it is, to show that nothing was changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path.lstat().st_mode)
    return found


def make_table(path: Path, count: int = 60, length: int = 24) -> Path:
    """Signals of two classes as CSV, one row a signal."""
    rng = np.random.default_rng(0)
    rows = [",".join(["label", *(f"v{place}" for place in range(length))])]
    for number in range(count):
        wave = np.sin(np.arange(length) / 3) if number % 2 else np.zeros(length)
        values = wave + rng.normal(0, 0.2, length)
        rows.append(",".join([("flat", "sine")[number % 2], *(f"{value:.4f}" for value in values)]))
    path.write_text("\n".join(rows) + "\n")
    return path


def make_arrays(path: Path, count: int = 60, length: int = 24) -> Path:
    """The like as NPZ, with class names."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 2
    values = labels[:, None] * np.sin(np.arange(length) / 3) + rng.normal(0, 0.2, (count, length))
    np.savez(path, x=values.astype(np.float32), y=labels, classes=["flat", "sine"])
    return path


def picture(path: Path, colour: tuple[int, int, int] = (0, 0, 0), size: int = 12, mode: str = "RGB") -> Path:
    """An image of one colour with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 60, (size, size, 3))
    Image.fromarray((noise + np.array(colour)).clip(0, 255).astype(np.uint8)).convert(mode).save(path)
    return path


def make_images(folder: Path, count: int = 12, below: str = ".") -> Path:
    """Class folders of small images, red and blue."""
    for name, colour in (("blue", (0, 0, 190)), ("red", (190, 0, 0))):
        for number in range(count):
            picture(folder / below / name / f"{number}.png", colour)
    return folder


SHORT = ("--steps", 12, "--batch", 8, "--precision", "float32", "--seed", 0)
"""Options of a training that takes no time."""
