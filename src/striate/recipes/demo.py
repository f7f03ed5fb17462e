"""The lecture's headline on MNIST-1D: a convolutional network of 2,050 parameters against fully connected ones.

Recipe, as in the lecture: 100,000 steps of SGD without momentum, learning rate 0.01, batches of 100, the 4,000
training signals as they are, tested on the other 1,000. Four networks; each is an ordinary run in a folder of its own,
several at a time, and an interrupted demo continues where it was.
"""

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from threading import Thread
from typing import Any

from striate.analysis.summary import summary
from striate.core import modelfile
from striate.core.errors import InputError
from striate.layers.layer import Layer
from striate.recipes.children import Child, run_children
from striate.recipes.folder import REPORT_NAME
from striate.report.records import Table
from striate.training.compiled.compiler import compiler


@dataclass(frozen=True)
class Contender:
    """One network of the demo: its name in tables, and its architecture with options."""

    key: str
    title: str
    architecture: str
    options: dict[str, Any]


CONTENDERS = (
    Contender("conv", "convolutional", "mnist1d_conv", {}),
    Contender("dense-480", "fully conn. 285-135-60", "fully_connected", {"hidden": (285, 135, 60)}),
    Contender("dense-725", "fully conn. 360-365", "fully_connected", {"hidden": (360, 365)}),
    Contender("permuted", "convolutional, permuted", "mnist1d_conv_permuted", {}),
)


@dataclass(frozen=True)
class Trained:
    """A finished run of the demo, read back from its model file. Errors are fractions of wrong answers."""

    contender: Contender
    seed: int
    model: modelfile.ModelFile

    @property
    def curve(self) -> dict[str, list[float]]:
        """``step``, ``train_error`` and ``test_error``, of one length."""
        rows = self.model.experiment["history"]["validations"]
        return {
            "step": [row["step"] for row in rows],
            "train_error": [1 - row["train/top1"] for row in rows],
            "test_error": [1 - row["test/top1"] for row in rows],
        }

    @property
    def seconds(self) -> float:
        """Time of the training steps and measurements."""
        return float(self.model.experiment["history"]["seconds"])


@dataclass(frozen=True)
class DemoResult:
    """All runs, and where the report is."""

    runs: tuple[Trained, ...]
    steps: int
    report: Path

    def of(self, contender: Contender) -> list[Trained]:
        """The runs of one network, by seed."""
        return [run for run in self.runs if run.contender == contender]

    def table(self) -> Table:
        """One row a network: parameters, multiply-adds, errors with their spread over the seeds, time, kind of step."""
        rows = []
        for contender in CONTENDERS:
            runs = self.of(contender)
            network = Layer.from_json(runs[0].model.network)
            total = summary(network, runs[0].model.input_shape)
            rows.append(
                (
                    contender.title,
                    total.parameters,
                    total.multiply_adds,
                    spread([run.curve["train_error"][-1] for run in runs]),
                    spread([run.curve["test_error"][-1] for run in runs]),
                    f"{statistics.mean(run.seconds for run in runs):.0f} s",
                    ", ".join(sorted({run.model.experiment["plan"]["step"] for run in runs})),
                )
            )
        seeds = len(self.of(CONTENDERS[0]))
        manner = "one seed" if seeds == 1 else f"mean and standard deviation over {seeds} seeds"
        columns = ("network", "parameters", "multiply-adds", "train error", "test error", "time", "step")
        note = (
            f"MNIST-1D after {self.steps:,} steps of SGD, {manner}. Multiply-adds are per signal, biases not counted."
        )
        return Table(columns, tuple(rows), ("left", *("right",) * 5, "left"), note, 0)

    def lines(self) -> list[str]:
        """Where to look next."""
        return [f"report: {self.report}"]


def spread(values: list[float]) -> str:
    """Percent of a fraction: the one value, or mean and sample standard deviation of several."""
    if len(values) == 1:
        return f"{100 * values[0]:.1f} %"
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f} %"


def run_demo(
    out: Path,
    *,
    seeds: int = 1,
    steps: int = 100_000,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> DemoResult:
    """Train every network with every seed, then write ``out/report.html``.

    Errors: ``InputError`` when a training fails; ``Interrupted`` after SIGINT or SIGTERM, with checkpoints written.
    """
    tasks = [(contender, seed) for seed in range(seeds) for contender in CONTENDERS]
    folders = [out / "networks" / f"{contender.key}-seed{seed}-{steps}" for contender, seed in tasks]
    # The largest networks first: the last ones to finish are then small, and no core idles for long.
    order = sorted(range(len(tasks)), key=lambda place: sum(tasks[place][0].options.get("hidden", ())), reverse=True)
    waiting = [place for place in order if not (folders[place] / REPORT_NAME).exists()]  # what a run writes last
    if len(waiting) < len(tasks):
        say(f"{len(tasks) - len(waiting)} of {len(tasks)} networks are trained already in {out / 'networks'}")
    limit = jobs or os.cpu_count() or 1
    if waiting:
        say(f"training {len(waiting)} networks for {steps:,} steps each, {min(limit, len(waiting))} at a time")
        several = len(tasks) <= 2 * limit and _compiles(say)
        work = [(*tasks[place], folders[place], _threads(tasks[place][0], limit, several)) for place in waiting]
        loading = Thread(target=_report_writer)

        def told(done: int, total: int, seen: str) -> None:
            if done and loading.ident is None:  # the trainings have all that they import
                loading.start()
            show(done, total, seen)

        try:
            _train_all(work, steps, limit, told)
        finally:
            if loading.ident is not None:  # what it imports cannot be imported by an interpreter that is ending
                loading.join()
    runs = tuple(
        Trained(contender, seed, modelfile.load(folder / modelfile.MODEL_NAME))
        for (contender, seed), folder in zip(tasks, folders, strict=True)
    )
    result = DemoResult(runs, steps, out / "report.html")
    say("writing the report")
    _report_writer()(result)
    return result


def _report_writer() -> Callable[[DemoResult], None]:
    """What writes the report. It takes seconds to import, and is, while the networks train."""
    from striate.recipes.demo_report import write_demo_report

    return write_demo_report


def _compiles(say: Callable[[str], None]) -> bool:
    """Whether there is a compiler for the fast step; says where there is none."""
    try:
        compiler()
    except InputError as error:
        say(f"{error.cause}; the networks train with a slower step")
        return False
    return True


def _threads(contender: Contender, limit: int, several: bool) -> int:
    """Up to two threads for a network that is not small, where ``several`` suit the compiled step: the second one works
    when a core is idle, as when the largest network is trained on after all others are done, and changes no bit."""
    return min(2, limit) if several and contender.options.get("hidden") else 1


def _train_all(
    work: list[tuple[Contender, int, Path, int]], steps: int, limit: int, show: Callable[[int, int, str], None]
) -> None:
    """Run the trainings in processes of their own, ``limit`` at a time, and show their steps together. The last entry
    of each is how many threads it may have."""
    children = [
        Child(contender.title, _train_one, (contender, seed, steps, folder, threads))
        for contender, seed, folder, threads in work
    ]
    codes = run_children(children, limit, lambda done, names: show(done, steps * len(work), names))
    for (_, _, folder, _), code in zip(work, codes, strict=True):
        if code:
            raise InputError(folder, "this training failed", "see the line above")


def _train_one(
    contender: Contender, seed: int, steps: int, folder: Path, threads: int, counter: "Synchronized[int]"
) -> None:
    """What a training process does; what it takes is imported there, while nobody here waits for it."""
    from striate.recipes.demo_training import train_one

    train_one(contender.architecture, contender.options, seed, steps, folder, threads, counter)
