"""Ours and a peer in turn: commands, results that are kept as soon as they are there, and one table with ratios."""

import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import striate

HERE = Path(__file__).resolve().parent.parent
DATA = HERE.parent.parent / "shared" / "data"
RESULTS = HERE / "results"


def peer(name: str) -> Path:
    """The ``bin`` folder of a peer's environment; ends the program with one line where it is not installed."""
    place = HERE / ".peers" / name
    if not (place / "installed").exists():
        sys.exit(f"{name}: not installed; type: benchmarks/setup_peers.sh {name}")
    return place / "bin"


def peer_version(name: str, package: str) -> str:
    """``package version`` as it was installed, or that it is not."""
    place = HERE / ".peers" / name / "installed"
    if not place.exists():
        return f"{package} not installed"
    lines = place.read_text().splitlines()
    return next(line.replace("==", " ") for line in lines if line.lower().startswith(f"{package}=="))


def header(hours: float, *packages: str) -> str:
    """The first line of a benchmark: how long it will take, where it runs, and the versions."""
    ours = f"striate {striate.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return f"estimated: {hours:.2f} hours; {os.cpu_count()} processors, {cpu_name()}; {', '.join((ours, *packages))}"


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def timed(command: Sequence[object], log: Path, place: Path | None = None, **environment: str) -> float:
    """Run a command in the folder ``place`` (None: here) with its output in ``log``; returns wall seconds. Ends the
    program where the command fails."""
    started = time.monotonic()
    with log.open("w") as file:
        code = subprocess.run(
            [str(word) for word in command],
            cwd=place,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        ).returncode
    seconds = time.monotonic() - started
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        sys.exit(f"{' '.join(map(str, command))}\nended with code {code}; the end of {log}:\n{tail}")
    return seconds


@dataclass(frozen=True)
class Kept:
    """Results in a folder named by the settings, so that an interrupted benchmark goes on where it stopped and changed
    settings begin anew."""

    folder: Path

    @classmethod
    def of(cls, benchmark: str, settings: Mapping[str, Any]) -> "Kept":
        """The results of a benchmark with these settings."""
        mark = hashlib.sha256(json.dumps(dict(settings), sort_keys=True, default=str).encode()).hexdigest()[:10]
        folder = RESULTS / benchmark / mark
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def result(self, name: str, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What is kept under ``name``, or else measured now in a folder of its own."""
        place = self.folder / f"{name}.json"
        if place.exists():
            found: dict[str, Any] = json.loads(place.read_text())
            print(f"  {name}: {_line(found)} (kept from before)", flush=True)
            return found
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)  # what an interrupted one left
        work.mkdir()
        found = measure(work)
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1))
        partial.replace(place)
        print(f"  {name}: {_line(found)}", flush=True)
        return found


def table(rows: Mapping[str, Sequence[Mapping[str, float]]], figures: Mapping[str, str]) -> str:
    """A table of one row a contestant: of each figure the median over the seeds with its least and largest, and at the
    end the ratio of the first row's medians to the second's."""
    names = list(rows)
    widths = max(map(len, names))
    lines = [f"{'':{widths}}  " + "  ".join(f"{title:>26}" for title in figures.values())]
    medians: dict[str, dict[str, float]] = {}
    for name, results in rows.items():
        cells = []
        for figure in figures:
            values = [float(result[figure]) for result in results]
            medians.setdefault(name, {})[figure] = statistics.median(values)
            cells.append(f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})")
        lines.append(f"{name:{widths}}  " + "  ".join(f"{cell:>26}" for cell in cells))
    ratios = [f"ratio {medians[names[0]][figure] / medians[names[1]][figure]:.2f}" for figure in figures]
    lines.append(f"{'':{widths}}  " + "  ".join(f"{cell:>26}" for cell in ratios))
    return "\n".join(lines)


def _line(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float))
