"""How a step is computed: precision and kind are chosen by timing, clipped, repeatable, and resumed bit for bit."""

import copy
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.data.loader import Loader
from striate.layers.conv import Convolution
from striate.layers.graph import Chain
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import Dropout, ReLU
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.recipes.sources import DataSettings, open_source
from striate.tasks.classification import Classification
from striate.training import choice, loop
from striate.training.choice import choose_precision, choose_step, make_step
from striate.training.interruption import Interrupted
from striate.training.optim import SGD, AdamW, Optimiser
from striate.training.schedule import Constant, Cosine
from striate.training.settings import Precision, TrainingSettings
from striate.training.step import GeneralStep, backward, lay_out_weights

TASK = Classification()
CHANNELS_LAST: tuple[Precision, ...] = ("float32 channels-last", "bfloat16 channels-last")


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("striate.recipes.run.write_report", lambda *parts: None)


def tiny(shape: Shape, *extra: Layer) -> nn.Module:
    """A convolution and a linear layer for three classes, with any number of axes."""
    torch.manual_seed(0)
    layers = (Convolution(channels=4, kernel=3), ReLU(), *extra, Flatten(), Linear(features=3))
    return Chain(layers=layers).build(shape)


def batch_of(shape: Shape) -> Callable[[int], Batch]:
    """Batches as a function of the step."""

    def batch_at(step: int) -> Batch:
        made = torch.Generator().manual_seed(step)
        labels = torch.randint(0, 3, (6,), generator=made)
        return Batch(torch.randn(6, *shape, generator=made), {"label": labels}, torch.arange(6))

    return batch_at


def general(module: nn.Module, shape: Shape, optimiser: Optimiser | None = None, **changes: Any) -> GeneralStep:
    chosen = optimiser or SGD(rate=0.1, momentum=0.9)
    fields: dict[str, Any] = {"schedule": Constant(), "total": 100, "seed": 0, "rate": chosen.rate, **changes}
    return GeneralStep(module=module, task=TASK, batch_at=batch_of(shape), optimiser=chosen.build(module), **fields)


@pytest.mark.parametrize(
    "seconds, bfloat16, expected",
    [
        ((1.0, 0.99, 0.93), True, "float32"),
        ((1.0, 0.95, 0.93), True, "float32 channels-last"),
        ((1.0, 0.8, 0.7), True, "bfloat16 channels-last"),
        ((1.0, 0.8, 0.9), True, "float32 channels-last"),
        ((1.0, 0.8, 0.1), False, "float32 channels-last"),
        ((1.0, 1.2, 0.1), False, "float32"),
        ((0.09, 0.08, 0.1, 0.01), False, "float32 channels-last"),  # too quick for transforms to be tried
        ((1.0, 0.8, 0.1, 0.7), False, "winograd channels-last"),
        ((1.0, 0.8, 0.1, 0.92), False, "float32 channels-last"),  # not clearly faster
    ],
)
def test_the_precision_is_the_fastest_if_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], bfloat16: bool, expected: str
) -> None:
    table = dict(zip(("float32", *CHANNELS_LAST, "winograd channels-last"), seconds, strict=False))
    monkeypatch.setattr(choice, "fits", lambda module: len(seconds) == 4)
    monkeypatch.setattr(choice, "the_library", lambda: None)
    monkeypatch.setattr(choice, "_seconds", lambda module, task, batch, precision, repeats: table[precision])
    monkeypatch.setattr(choice, "has_bfloat16", lambda device: bfloat16)
    said: list[str] = []
    shape = (1, 8, 8)
    assert choose_precision("auto", tiny(shape), TASK, batch_of(shape), said.append) == expected
    assert len(said) == 1 and said[0].startswith(f"precision: {expected} (timed")


@pytest.mark.parametrize(
    "asked, several, one, expected, tried",
    [(None, 0.02, 0.03, 2, [2, 1]), (None, 0.02, 0.021, 1, [2, 1]), (None, 0.2, 0.1, 2, [2]), (3, 0, 0, 3, [])],
)
def test_one_thread_is_tried_against_all_where_a_pass_is_short(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, several: float, one: float, expected: int, tried: list[int]
) -> None:
    met: list[int] = []

    def seconds(*given: Any) -> float:
        met.append(torch.get_num_threads())
        return one if met[-1] == 1 else several

    monkeypatch.setattr(choice, "_seconds", seconds)
    shape = (1, 8, 8)
    with choice.restored_threads():
        torch.set_num_threads(2)
        found = choice.choose_threads(asked, tiny(shape), TASK, batch_of(shape), lambda line: None)
        assert found == (expected, None if asked else one if expected == 1 else several)
        assert torch.get_num_threads() == 2 and met == tried


def test_a_pass_that_was_timed_is_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[str] = []
    monkeypatch.setattr(
        choice, "_seconds", lambda module, task, batch, precision, repeats: met.append(precision) or 0.5
    )
    monkeypatch.setattr(choice, "has_bfloat16", lambda device: False)
    shape = (1, 8, 8)
    chosen = choose_precision("auto", tiny(shape), TASK, batch_of(shape), lambda line: None, plain=1.0)
    assert chosen == "float32 channels-last" and met == ["float32 channels-last"]


def test_timing_leaves_the_network_as_it_was() -> None:
    module = tiny((1, 8, 8))
    before = copy.deepcopy(module.state_dict())
    choose_precision("auto", module, TASK, batch_of((1, 8, 8)), lambda line: None, repeats=1)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.is_contiguous() for parameter in module.parameters())


def test_signals_have_one_precision_and_nothing_is_said() -> None:
    said: list[str] = []
    assert choose_precision("auto", tiny((1, 8)), TASK, batch_of((1, 8)), said.append) == "float32"
    assert not said


@pytest.mark.parametrize("asked", CHANNELS_LAST)
def test_a_layout_that_signals_lack_is_refused(asked: Precision) -> None:
    with pytest.raises(InputError, match=r"^training\.precision: .*signals have no such layout; use float32"):
        choose_precision(asked, tiny((1, 8)), TASK, batch_of((1, 8)), print)


def test_a_precision_that_is_asked_for_is_taken_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_seconds", None)
    asked = "bfloat16 channels-last"
    assert choose_precision(asked, tiny((1, 8, 8)), TASK, batch_of((1, 8, 8)), print) == asked


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    """32 signals of 40 values in memory, normalised."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", x=rng.normal(size=(32, 40)).astype(np.float32), y=np.arange(32) % 3)
    settings = DataSettings(path=str(tmp_path / "set.npz"), cache=str(tmp_path / "cache"), validation=0)
    source = open_source(settings)
    return Loader(source.shards, source.splits["train"], batch=8, seed=0, normalise=source.normalise)


NETWORK = Chain(layers=(Convolution(channels=4, kernel=3), ReLU(), Flatten(), Linear(features=3)))


class _Timed:
    """A step that takes so many seconds of a clock that stands still otherwise."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def run(self, first: int, count: int) -> None:
        self.clock[0] += self.seconds


@pytest.mark.parametrize(
    "chain_seconds, compiled_seconds, expected",
    [(0.5, 0.6, "chain"), (0.5, 0.25, "compiled"), (0.95, 0.95, "general"), (2.0, 1.5, "general")],
)
def test_the_step_is_the_fastest_one(
    monkeypatch: pytest.MonkeyPatch, loader: Loader, chain_seconds: float, compiled_seconds: float, expected: str
) -> None:
    clock = [0.0]
    monkeypatch.setattr(choice.time, "perf_counter", lambda: clock[0])
    times = {"general": 1.0, "chain": chain_seconds, "compiled": compiled_seconds}
    monkeypatch.setattr(choice, "make_step", lambda kind, **parts: _Timed(clock, times[kind]))
    said: list[str] = []
    module = NETWORK.build((1, 40))
    settings = TrainingSettings(steps=1000)
    assert choose_step(NETWORK, module, TASK, loader, settings, "float32", said.append) == expected
    assert said == [
        f"step: {expected} (the chain step is {1 / chain_seconds:.1f} times and the compiled step is "
        f"{1 / compiled_seconds:.1f} times as fast as the general one here)"
    ]


def test_a_short_training_is_not_worth_building_for(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    clock = [0.0]
    monkeypatch.setattr(choice.time, "perf_counter", lambda: clock[0])
    times = {"general": 1.0, "chain": 0.5}
    monkeypatch.setattr(choice, "make_step", lambda kind, **parts: _Timed(clock, times[kind]))
    module, said = NETWORK.build((1, 40)), list[str]()
    settings = TrainingSettings(steps=int(choice.WORTH_BUILDING / 0.5 * choice.TIMED_STEPS) - 1)
    assert choose_step(NETWORK, module, TASK, loader, settings, "float32", said.append) == "chain"
    assert said == ["step: chain (the chain step is 2.0 times as fast as the general one here)"]


def test_timing_the_steps_leaves_the_network_as_it_was(loader: Loader) -> None:
    module = NETWORK.build((1, 40))
    before = copy.deepcopy(module.state_dict())
    choose_step(NETWORK, module, TASK, loader, TrainingSettings(steps=10), "float32", lambda line: None)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    "settings, task, network, precision, reason",
    [
        ({"optimiser": AdamW()}, TASK, NETWORK, "float32", "does not know adamw"),
        ({"average": 0.99}, TASK, NETWORK, "float32", "neither clipping nor averaging"),
        ({"clip": 1.0}, TASK, NETWORK, "float32", "neither clipping nor averaging"),
        ({}, Classification(class_weights=(1.0, 2.0, 3.0)), NETWORK, "float32", "plain cross-entropy"),
        ({}, TASK, Chain(layers=(Dropout(), *NETWORK.layers)), "float32", "not a small chain"),
        ({}, TASK, NETWORK, "bfloat16 channels-last", "computes in float32"),
    ],
)
def test_a_chain_step_that_cannot_be_had_is_refused_with_the_reason(
    loader: Loader, settings: dict[str, Any], task: Classification, network: Chain, precision: Precision, reason: str
) -> None:
    module = network.build((1, 40))
    with pytest.raises(InputError, match=rf"^training\.step: .*{reason}.*; leave it to auto"):
        choose_step(network, module, task, loader, TrainingSettings(step="chain", **settings), precision, print)
    auto = TrainingSettings(**settings)
    assert choose_step(network, module, task, loader, auto, precision, print) == "general"
    with pytest.raises(InputError, match=reason):
        make_step(
            "chain",
            network=network,
            module=module,
            task=task,
            loader=loader,
            optimiser=auto.optimiser.build(module),
            settings=auto,
            total=10,
            precision=precision,
        )


def test_clipping_bounds_the_norm_of_what_is_learned() -> None:
    shape = (1, 10)
    moved = {}
    for clip in (None, 0.01):
        module = tiny(shape)
        before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
        general(module, shape, SGD(rate=1.0, momentum=0.0), clip=clip).run(0, 1)
        moved[clip] = nn.utils.parameters_to_vector(module.parameters()).detach() - before
    assert float(moved[0.01].norm()) == pytest.approx(0.01, rel=1e-3)
    assert float(moved[None].norm()) > 0.1
    torch.testing.assert_close(moved[0.01] / moved[0.01].norm(), moved[None] / moved[None].norm())


def test_the_rate_follows_the_schedule() -> None:
    shape = (1, 10)
    schedule = Cosine()
    step = general(tiny(shape), shape, SGD(rate=0.5), schedule=schedule, total=8)
    step.run(0, 6)
    assert step.optimiser.param_groups[0]["lr"] == pytest.approx(0.5 * schedule.factor(5, 8))


def test_losses_are_the_batches_mean_before_each_update() -> None:
    shape = (2, 10)
    module = tiny(shape)
    batch = batch_of(shape)(0)
    expected = nn.functional.cross_entropy(module(batch.images), batch.targets["label"])
    losses = general(module, shape).run(0, 4)
    assert losses.shape == (4,) and losses.dtype == torch.float32 and not losses.requires_grad
    torch.testing.assert_close(losses[0], expected.detach())


def dropped(seed: int, cuts: tuple[int, ...], disturb: bool) -> str:
    """The weights after 6 steps of a network with dropout."""
    shape = (1, 10)
    module = tiny(shape, Dropout(probability=0.5))
    step, done = general(module, shape, seed=seed), 0
    for count in cuts:
        if disturb:
            torch.manual_seed(done + 77)
            torch.randn(5)
        step.run(done, count)
        done += count
    return modelfile.weights_sha256(module.state_dict())


def test_dropout_is_a_function_of_seed_and_step() -> None:
    whole = dropped(0, (6,), disturb=False)
    assert dropped(0, (1, 2, 3), disturb=True) == whole
    assert dropped(1, (6,), disturb=False) != whole


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 5, 5, 5)])
@pytest.mark.parametrize("precision, tolerance", [(CHANNELS_LAST[0], 1e-5), (CHANNELS_LAST[1], 2e-2)])
def test_every_precision_computes_the_same_to_its_rounding(shape: Shape, precision: str, tolerance: float) -> None:
    plain, other = tiny(shape), lay_out_weights(tiny(shape), precision, shape)
    expected = backward(plain, TASK, batch_of(shape)(0), "float32")
    found = backward(other, TASK, batch_of(shape)(0), precision)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None and mine.grad.dtype == torch.float32
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=10 * tolerance, atol=tolerance)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """80 small colour images, bright above or below, as NPZ."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    values = rng.integers(0, 120, (80, 3, 8, 8))
    values[labels == 0, :, :4] += 100
    values[labels == 1, :, 4:] += 100
    np.savez(tmp_path / "images.npz", x=values.astype(np.uint8), y=labels)
    return tmp_path / "images.npz"


def image_run(data: Path, precision: str, optimiser: dict[str, Any]) -> Experiment:
    return Experiment.from_settings(
        {
            "data": {"path": str(data), "cache": str(data.parent / "cache")},
            "architecture": {"name": "small_images", "options": {"widths": [4, 6], "depths": [1, 1]}},
            "training": {
                "steps": 24,
                "batch": 16,
                "precision": precision,
                "optimiser": optimiser,
                "augment": {"shift": 1},
                "validate_every": 12,
            },
        }
    )


@pytest.mark.parametrize(
    "precision, optimiser",
    [
        (CHANNELS_LAST[0], {"kind": "sgd", "rate": 0.05, "momentum": 0.9, "nesterov": True}),
        (CHANNELS_LAST[1], {"kind": "sgd", "rate": 0.05, "momentum": 0.9}),
        (CHANNELS_LAST[1], {"kind": "adamw", "rate": 0.01}),
    ],
)
def test_channels_last_runs_train_and_resume_bit_for_bit(
    images: Path, tmp_path: Path, precision: str, optimiser: dict[str, Any]
) -> None:
    whole = train_experiment(image_run(images, precision, optimiser), tmp_path / "whole")
    assert whole.figures["val"]["top1"] > 0.8

    def stop_at(done: int, total: int, seen: str) -> None:
        if total == 24 and done >= 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_experiment(image_run(images, precision, optimiser), tmp_path / "cut", show=stop_at)
    resumed = resume_run(tmp_path / "cut")
    digests = [
        modelfile.weights_sha256(modelfile.load(tmp_path / name / "model.safetensors").weights)
        for name in ("whole", "cut")
    ]
    assert digests[0] == digests[1]
    assert resumed.figures == whole.figures


def test_a_restored_optimiser_keeps_the_layout_of_the_weights(tmp_path: Path) -> None:
    shape = (3, 8, 8)
    module = lay_out_weights(tiny(shape), CHANNELS_LAST[0], shape)
    step = general(module, shape, precision=CHANNELS_LAST[0])
    step.run(0, 2)
    loop._save(module, step.optimiser, None, loop.History(step=2), {}, tmp_path)
    other = lay_out_weights(tiny(shape), CHANNELS_LAST[0], shape)
    again = general(other, shape, precision=CHANNELS_LAST[0])
    loop._resume(other, again.optimiser, None, tmp_path, print)
    for mine, theirs in zip(other.parameters(), module.parameters(), strict=True):
        assert mine.stride() == theirs.stride() and torch.equal(mine, theirs)
        held, kept = again.optimiser.state[mine]["momentum_buffer"], step.optimiser.state[theirs]["momentum_buffer"]
        assert held.stride() == kept.stride() == mine.stride() and torch.equal(held, kept)
    step.run(2, 5)
    again.run(2, 5)
    assert modelfile.weights_sha256(other.state_dict()) == modelfile.weights_sha256(module.state_dict())
