"""Measure the steps of MNIST-1D's convolutional network: the textbook loop in PyTorch against ours, on one thread.

    .venv/bin/python benchmarks/mnist1d_steps.py --rounds 7

The recipe is the lecture's: 2,050 parameters, batches of 100 of 4,000 signals, SGD (here with momentum 0.9, so that it
is part of the step). Measured in turn, in rounds of one run, so that what else the machine does hits all alike:

- textbook: torch.utils.data.DataLoader with shuffling, zero_grad, forward, backward, torch.optim.SGD's step, and the
  loss of every step as a number;
- general, chain, compiled: `striate.training.loop.train` as `striate train` runs it, with each kind of step: ordering,
  gathering, losses, checks and a checkpoint at the end included; validation left out, as the textbook loop has none;
- matrix: the rate of a float32 matrix product (512 x 512 x 512) on one thread, which sets the arithmetic limit at 5.97
  million operations a step.

Times are of the processor (process and children's threads), which other programs disturb less than the wall's; both are
printed. Ratios are of rates, by round (least, median, greatest): above 1, the compiled step is faster.

Loss gap: the largest relative difference of the compiled step's losses from those of a plain PyTorch loop over the
first 200 steps, from the same weights, in the same order, for several draws of the weights and two recipes (the one
above, and the lecture's own, rate 0.01 without momentum). Beside it stands PyTorch's gap between float32 and float64:
where a ReLU's input lies within rounding of 0, two float32 computations may take different sides, and at a large rate
a difference grows by powers of ten in a few steps, whoever computes.
"""

import argparse
import copy
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.data.loader import Loader
from striate.layers.graph import expanded
from striate.layers.layer import Layer
from striate.recipes.sources import DataSettings, open_source
from striate.tasks.classification import Classification
from striate.training.choice import make_step
from striate.training.compiled.compiler import compiler
from striate.training.loop import train
from striate.training.optim import SGD
from striate.training.schedule import Constant
from striate.training.settings import StepKind, TrainingSettings
from striate.training.step import BlockStep

BATCH, CLASSES, SHAPE = 100, 10, (1, 40)
FAST, LECTURE = (0.05, 0.9), (0.01, 0.0)
"""Rate and momentum of the two recipes."""
DRAWS = 5
STEPS: dict[str, int] = {"textbook": 800, "general": 1200, "chain": 4000, "compiled": 20_000}
"""Steps of one round of each, about a second and a half."""
GAP_STEPS, GAP_ALLOWED, WANTED = 200, 1e-4, 12.0
OPERATIONS = 2 * BATCH * (3 * 10_230 - 3 * 15 * 19)
"""Multiplications and additions of a step: forward, and both gradients, of which the first layer needs one."""


def main() -> int:
    """Run the benchmark; 1 when the compiled step is slower than wanted or computes something else."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, 1 thread; about {25 + 9 * rounds} s on a free core")
    try:
        print(f"compiler: {compiler().version}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as place:
        data = DataSettings(path="mnist1d", validation=0.0, normalise=False, cache=str(Path(place) / "data"))
        source = open_source(data)
        loader = Loader(source.shards, source.splits["train"], batch=BATCH, seed=0, normalise=source.normalise)
        torch.manual_seed(0)
        network = expanded(architecture("mnist1d_conv").network(CLASSES))
        module = network.build(SHAPE)
        kinds: tuple[StepKind, ...] = ("general", "chain", "compiled")
        ways: dict[str, Callable[[], tuple[float, float]]] = {"textbook": partial(_textbook, loader)}
        ways |= {kind: partial(_ours, kind, network, module, loader, Path(place)) for kind in kinds}
        gaps = {recipe: [_gap(network, loader, recipe, draw) for draw in range(DRAWS)] for recipe in (FAST, LECTURE)}
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        products: list[float] = []
        for number in range(rounds + 1):
            products.append(_matrix_rate())
            for name, way in ways.items():
                found = way()
                if number:  # the first round warms up
                    rates[name].append(found)
    return _report(rates, products, gaps)


def _report(
    rates: dict[str, list[tuple[float, float]]],
    products: list[float],
    gaps: dict[tuple[float, float], list[tuple[float, float]]],
) -> int:
    print(f"\n{'steps a second of the processor':34}{'least':>9}{'median':>9}{'greatest':>9}   of the wall, greatest")
    for name, found in rates.items():
        times = [one for one, _ in found]
        print(
            f"{name:34}{min(times):9,.0f}{statistics.median(times):9,.0f}{max(times):9,.0f}"
            f"{max(wall for _, wall in found):15,.0f}"
        )
    best = {name: max(one for one, _ in found) for name, found in rates.items()}
    limit = max(products) / OPERATIONS
    print(f"\nmatrix product: {max(products) / 1e9:.1f} GFLOP/s; a step is {OPERATIONS / 1e6:.2f} MFLOP")
    print(f"arithmetic limit: {limit:,.0f} steps/s; the compiled step reaches {best['compiled'] / limit:.2f} of it")
    for name in ("general", "chain"):
        print(f"{name} against textbook: {best[name] / best['textbook']:.1f}")
    by_round = [one / other for (one, _), (other, _) in zip(rates["compiled"], rates["textbook"], strict=True)]
    ratio = statistics.median(by_round)
    print(f"compiled against textbook, by round: {min(by_round):.1f} {ratio:.1f} {max(by_round):.1f}")
    print(f"\nloss gap over {GAP_STEPS} steps, {DRAWS} draws of the weights, least to greatest (PyTorch's float64 gap)")
    for (rate, momentum), found in gaps.items():
        shown = ", ".join(f"{gap:.0e} ({own:.0e})" for gap, own in sorted(found))
        print(f"rate {rate}, momentum {momentum}: {shown}")
    worst = max(gap for gap, _ in gaps[LECTURE])
    middle, own = (statistics.median(pair[place] for pair in gaps[FAST]) for place in (0, 1))
    print(f"loss gap {worst:.1e} (the lecture's recipe, greatest; {GAP_ALLOWED:.0e} is allowed)")
    print(f"ratio {ratio:.1f}")
    return int(ratio < WANTED or worst > GAP_ALLOWED or middle > max(GAP_ALLOWED, 10 * own))


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the processor and of the wall."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - busy, time.perf_counter() - wall


def _rates(steps: int, work: Callable[[], None]) -> tuple[float, float]:
    busy, wall = _seconds(work)
    return steps / busy, steps / wall


def _plain() -> nn.Module:
    """The network as a textbook writes it."""
    return nn.Sequential(
        nn.Conv1d(1, 15, 3, stride=2),
        nn.ReLU(),
        nn.Conv1d(15, 15, 3, stride=2),
        nn.ReLU(),
        nn.Conv1d(15, 15, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(60, CLASSES),
    )


def _samples(loader: Loader) -> tuple[Tensor, Tensor]:
    assert loader.images is not None and loader.targets is not None
    labels = loader.targets["label"]
    assert isinstance(labels, Tensor)
    return loader.images, labels


def _textbook(loader: Loader) -> tuple[float, float]:
    data = torch.utils.data.TensorDataset(*_samples(loader))
    batches = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    model, loss_of, losses = _plain(), nn.CrossEntropyLoss(), list[float]()
    optimiser = torch.optim.SGD(model.parameters(), lr=FAST[0], momentum=FAST[1])

    def work() -> None:
        while len(losses) < STEPS["textbook"]:
            for images, labels in batches:
                optimiser.zero_grad()
                loss = loss_of(model(images), labels)
                loss.backward()
                optimiser.step()
                losses.append(loss.item())

    return _rates(STEPS["textbook"], work)


def _settings(kind: StepKind, steps: int, recipe: tuple[float, float] = FAST) -> TrainingSettings:
    return TrainingSettings(
        steps=steps,
        batch=BATCH,
        optimiser=SGD(rate=recipe[0], momentum=recipe[1], weight_decay=0.0),
        schedule=Constant(),
        augmented=False,
        precision="float32",
        step=kind,
        threads=1,
    )


def _ours(kind: StepKind, network: Layer, module: nn.Module, loader: Loader, place: Path) -> tuple[float, float]:
    copied, settings = copy.deepcopy(module), _settings(kind, STEPS[kind])
    optimiser = settings.optimiser.build(copied)

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            train(
                module=copied,
                optimiser=optimiser,
                step=_step(kind, network, copied, loader, optimiser, settings),
                settings=settings,
                total=STEPS[kind],
                period=STEPS[kind],
                validate=lambda at_end: {},
                headline="",
                larger_is_better=True,
                folder=Path(folder),
                say=lambda line: None,
                show=lambda progress: None,
            )

    return _rates(STEPS[kind], work)


def _step(
    kind: StepKind,
    network: Layer,
    module: nn.Module,
    loader: Loader,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> BlockStep:
    return make_step(
        kind,
        network=network,
        module=module,
        task=Classification(),
        loader=loader,
        optimiser=optimiser,
        settings=settings,
        total=STEPS["compiled"],
        precision="float32",
    )


def _gap(network: Layer, loader: Loader, recipe: tuple[float, float], draw: int) -> tuple[float, float]:
    """The largest relative difference of loss from a plain loop's, from the same weights in the same order, and that
    loop's own between float32 and float64."""
    torch.manual_seed(draw)
    module, settings = network.build(SHAPE), _settings("compiled", GAP_STEPS, recipe)
    plain = {kind: _losses(module, loader, recipe, kind) for kind in (torch.float32, torch.float64)}
    found = _step("compiled", network, module, loader, settings.optimiser.build(module), settings).run(0, GAP_STEPS)
    expected = plain[torch.float32]
    gaps = ((other.double() - expected).abs() / expected for other in (found, plain[torch.float64]))
    gap, own = (float(one.max()) for one in gaps)
    return gap, own


def _losses(module: nn.Module, loader: Loader, recipe: tuple[float, float], kind: torch.dtype) -> Tensor:
    """The losses of a plain loop in this precision, (GAP_STEPS,) float64."""
    model = _plain()
    model.load_state_dict(dict(zip(model.state_dict(), module.state_dict().values(), strict=True)))
    model = model.to(kind)
    optimiser = torch.optim.SGD(model.parameters(), lr=recipe[0], momentum=recipe[1])
    images, labels = _samples(loader)
    losses = []
    for rows in torch.from_numpy(loader.order(0, GAP_STEPS)):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images[rows].to(kind)), labels[rows])
        loss.backward()
        optimiser.step()
        losses.append(loss.detach().double())
    return torch.stack(losses)


def _matrix_rate() -> float:
    """Operations a second of a product of two 512 x 512 matrices, by the processor's time; the best of some."""
    size, times = 512, 10
    one, other, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)

    def work() -> None:
        for _ in range(times):
            torch.mm(one, other, out=out)

    return 2 * size**3 * times / min(_seconds(work)[0] for _ in range(6))


if __name__ == "__main__":
    sys.exit(main())
