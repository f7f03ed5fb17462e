"""How a step is computed on this machine: what there is, is timed for a moment, and the fastest is taken and said."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.data.loader import Loader
from striate.layers.layer import Layer
from striate.tasks.task import Task
from striate.training.average import Average
from striate.training.chain import ChainStep, chain_rows
from striate.training.compiled.compiler import compiler
from striate.training.compiled.network import lowered
from striate.training.compiled.step import CompiledStep
from striate.training.convolutions.library import the_library
from striate.training.convolutions.takeover import fits
from striate.training.optim import SGD, AdamW
from striate.training.settings import Precision, StepKind, TrainingSettings
from striate.training.step import MEMORY_FORMATS, BlockStep, GeneralStep, backward, lay_out_weights

GAIN = 1.1
"""How many times faster than the plain way another must be to be taken."""
LAYOUT_GAIN = 1.02
"""The same for another layout in memory, which costs nothing: only the order of sums is another."""
FITTED: tuple[StepKind, ...] = ("chain", "compiled")
"""The kinds of step that know some networks alone."""
TIMED_STEPS = 20
LONG_PASS = 0.1
"""Seconds of a pass from which on all threads are taken untried, and Winograd's convolutions are tried too: quicker
networks have other costs than arithmetic."""
PATIENCE = 1.0
"""Seconds after which a way to compute a pass is tried no more often."""
WORTH_BUILDING = 6.0
"""Seconds that a training must take without it for the compiled step to be built: building takes a few."""


def make_step(
    kind: StepKind,
    *,
    network: Layer,
    module: nn.Module,
    task: Task,
    loader: Loader,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    total: int,
    precision: str,
    average: Average | None = None,
) -> BlockStep:
    """The step of this kind for a network and its module.

    Errors: ``InputError`` for a chain or compiled step that does not fit, and for a compiled one without a compiler.
    """
    if kind not in FITTED:
        return GeneralStep(
            module=module,
            task=task,
            batch_at=loader.batch,
            optimiser=optimiser,
            rate=settings.optimiser.rate,
            schedule=settings.schedule,
            total=total,
            seed=settings.seed,
            clip=settings.clip,
            precision=precision,
            average=average,
            accumulate=settings.accumulate,
            freeze=settings.freeze,
        )
    _demand(kind, misfit(kind, network, task, loader, settings, precision))
    labels = _labels(loader, task)
    assert labels is not None and loader.images is not None and task.softmax_smoothing is not None
    if kind == "compiled":
        chain = lowered(network, loader.shape)
        assert chain is not None and isinstance(settings.optimiser, SGD | AdamW)
        return CompiledStep(
            module=module,
            network=chain,
            images=loader.images,
            labels=labels,
            order=loader.order,
            batch=loader.batch_size,
            smoothing=task.softmax_smoothing,
            optimiser=optimiser,
            settings=settings.optimiser,
            schedule=settings.schedule,
            total=total,
            threads=settings.threads or torch.get_num_threads(),
        )
    rows = chain_rows(network, loader.shape, loader.batch_size)
    assert rows is not None and isinstance(settings.optimiser, SGD)
    return ChainStep(
        module=module,
        rows=rows,
        images=loader.images,
        labels=labels,
        order=loader.order,
        batch=loader.batch_size,
        smoothing=task.softmax_smoothing,
        optimiser=optimiser,
        settings=settings.optimiser,
        schedule=settings.schedule,
        total=total,
    )


def misfit(
    kind: StepKind, network: Layer, task: Task, loader: Loader, settings: TrainingSettings, precision: str
) -> str | None:
    """Why the chain or the compiled step would not compute what the general one does, or None where it does."""
    if precision != "float32":
        return f"it computes in float32, not in {precision}"
    if loader.device.type != "cpu" or loader.world != 1:
        return "it runs in one process on the CPU"
    if not loader.normalised:
        return "the samples are augmented, or too many for memory"
    if settings.clip is not None or settings.average is not None:
        return "it knows neither clipping nor averaging"
    if settings.accumulate > 1 or settings.freeze or settings.depth_decay != 1:
        return "it knows neither accumulation nor freezing nor rates by depth"
    if not isinstance(settings.optimiser, SGD if kind == "chain" else SGD | AdamW):
        return f"it does not know {settings.optimiser.kind}"
    if task.softmax_smoothing is None or _labels(loader, task) is None:
        return "it knows the plain cross-entropy of one class a sample"
    if kind == "chain" and chain_rows(network, loader.shape, loader.batch_size) is None:
        return "the network is not a small chain of plain convolutions, ReLU and linear layers"
    if kind == "compiled" and lowered(network, loader.shape) is None:
        return "the network is not a small chain of plain convolutions, pooling, activations and linear layers"
    return None


def _demand(kind: StepKind, cause: str | None) -> None:
    if cause:
        raise InputError("training.step", f"the {kind} step cannot be used: {cause}", "leave it to auto")


def _labels(loader: Loader, task: Task) -> Tensor | None:
    """The class numbers of all samples, where those are the target."""
    held = (loader.targets or {}).get(task.target)
    return held if isinstance(held, Tensor) and held.dtype == torch.int64 and held.ndim == 1 else None


def choose_step(
    network: Layer,
    module: nn.Module,
    task: Task,
    loader: Loader,
    settings: TrainingSettings,
    precision: str,
    say: Callable[[str], None],
) -> StepKind:
    """The kind of step that is asked for; for "auto" the fastest of those that fit, if it is clearly faster than the
    general one, said aloud. The compiled step is tried where it saves more time than building it may take.

    Errors: ``InputError`` when the chain or compiled step is asked for and cannot be had.
    """
    if settings.step in FITTED:
        _demand(settings.step, misfit(settings.step, network, task, loader, settings, precision))
    if settings.step == "compiled":
        compiler()
    if settings.step != "auto":
        return settings.step
    steps: dict[StepKind, BlockStep] = {}

    def add(kind: StepKind) -> None:
        copied = copy.deepcopy(module)
        steps[kind] = make_step(
            kind,
            network=network,
            module=copied,
            task=task,
            loader=loader,
            optimiser=settings.optimiser.build(copied),
            settings=settings.replace(threads=1),  # as torch has while they are timed
            total=1000,
            precision=precision,
        )

    fitting: list[StepKind] = [
        kind for kind in FITTED if misfit(kind, network, task, loader, settings, precision) is None
    ]
    if not fitting:
        return "general"
    add("general")
    if "chain" in fitting:
        add("chain")
    seconds = _timed(steps)
    if "compiled" in fitting and _lasts(settings, min(seconds.values()) / TIMED_STEPS, len(loader)) > WORTH_BUILDING:
        try:
            add("compiled")
            seconds = _timed(steps)
        except InputError as error:
            say(f"step: {error.cause}")
    if len(seconds) == 1:
        return "general"
    ratios: dict[StepKind, float] = {kind: seconds["general"] / seconds[kind] for kind in steps if kind != "general"}
    best = max(ratios, key=lambda kind: ratios[kind])
    chosen: StepKind = best if ratios[best] > GAIN else "general"
    times = " and ".join(f"the {kind} step is {ratio:.1f} times" for kind, ratio in ratios.items())
    say(f"step: {chosen} ({times} as fast as the general one here)")
    return chosen


def _lasts(settings: TrainingSettings, seconds: float, samples: int) -> float:
    """Seconds that the training takes where a step takes so many."""
    return 60 * settings.minutes if settings.minutes is not None else seconds * settings.total_steps(samples)


def _timed(steps: Mapping[StepKind, BlockStep]) -> dict[StepKind, float]:
    """The least seconds of a block of each kind, on one thread of torch's: more of them gain a network this small
    little, and where other programs use the cores they wait for each other for seconds."""
    seconds: dict[StepKind, list[float]] = {kind: [] for kind in steps}
    with restored_threads():
        torch.set_num_threads(1)
        for _ in range(4):  # in turn, so that all meet the same noise; the first round warms up
            for kind, step in steps.items():
                started = time.perf_counter()
                step.run(0, TIMED_STEPS)
                seconds[kind].append(time.perf_counter() - started)
    return {kind: min(found[1:]) for kind, found in seconds.items()}


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.backends.cpu.get_cpu_capability()
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "AVX512" in capabilities and bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def choose_threads(
    asked: int | None,
    module: nn.Module,
    task: Task,
    batch_at: Callable[[int], Batch],
    say: Callable[[str], None],
    repeats: int = 3,
) -> tuple[int, float | None]:
    """The number of processor threads that is asked for; for None all that torch takes, unless one is about as fast:
    a small network gains nothing from more, and loses much where other programs use the same cores. A long pass is not
    tried with one. With it the seconds of a pass in plain float32 with so many threads, where that was timed."""
    available = torch.get_num_threads()
    if asked is not None or available == 1:
        return asked or 1, None
    batch, seconds = batch_at(0), dict[int, float]()
    try:
        for count in (available, 1):
            torch.set_num_threads(count)
            seconds[count] = _seconds(copy.deepcopy(module).train(), task, batch, "float32", repeats)
            if seconds[count] > LONG_PASS:
                say(f"threads: {available}")
                return available, seconds[count]
    finally:
        torch.set_num_threads(available)
    ratio = seconds[1] / seconds[available]
    chosen = available if ratio > GAIN else 1
    say(f"threads: {chosen} ({available} are {ratio:.1f} times as fast as one here)")
    return chosen, seconds[chosen]


@contextmanager
def restored_threads() -> Iterator[None]:
    """Whatever number of threads is set inside, the one before holds again afterwards."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def choose_precision(
    asked: Precision,
    module: nn.Module,
    task: Task,
    batch_at: Callable[[int], Batch],
    say: Callable[[str], None],
    repeats: int = 3,
    plain: float | None = None,
) -> Precision:
    """The precision that is asked for; for "auto" a few forward and backward passes of a copy of the network are timed
    in each the device offers, the fastest wins if it is faster than plain float32, and clearly so where it is less
    exact, and the choice is said. ``plain`` is the seconds of a pass in plain float32 where they are known.

    Errors: ``InputError`` for a channels-last layout of inputs that have none.
    """
    batch = batch_at(0)
    if asked.endswith("channels-last") and batch.images.ndim not in MEMORY_FORMATS:
        raise InputError("training.precision", f"{asked}: signals have no such layout", "use float32 or auto")
    if asked != "auto":
        return asked
    candidates: list[Precision] = ["float32"]
    if batch.images.ndim in MEMORY_FORMATS:
        candidates.append("float32 channels-last")
        if has_bfloat16(batch.images.device):
            candidates.append("bfloat16 channels-last")
    if len(candidates) == 1:
        return candidates[0]
    known = {} if plain is None else {"float32": plain}
    seconds = {
        name: known.get(name) or _seconds(copy.deepcopy(module).train(), task, batch, name, repeats)
        for name in candidates
    }
    if min(seconds.values()) > LONG_PASS and fits(module):
        try:
            the_library()
            candidates.append("winograd channels-last")
            seconds[candidates[-1]] = _seconds(copy.deepcopy(module).train(), task, batch, candidates[-1], repeats)
        except InputError as error:
            say(f"precision: {error.cause}")
    chosen: Precision = "float32"
    for name in sorted(candidates, key=lambda name: seconds[name]):
        gain = LAYOUT_GAIN if name.startswith("float32") else GAIN
        if seconds["float32"] > gain * seconds[name]:
            chosen = name
            break
    ratios = ", ".join(f"{name} {seconds['float32'] / seconds[name]:.2f}x" for name in candidates[1:])
    say(f"precision: {chosen} (timed against plain float32: {ratios})")
    return chosen


def _seconds(module: nn.Module, task: Task, batch: Batch, precision: str, repeats: int) -> float:
    """Median seconds of a pass after one to warm up; of slow passes, which vary less, there are fewer."""
    module = lay_out_weights(module, precision, tuple(batch.images.shape[1:]))
    times: list[float] = []
    while len(times) <= repeats and (len(times) < 2 or sum(times) < PATIENCE):
        started = time.perf_counter()
        float(backward(module, task, batch, precision))
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
