"""The compiled step is the general step with torch's optimiser, to rounding, for every chain it takes."""

import shutil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chain_probe import BATCH, CLASSES, Case, signals
from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.core.modelfile import weights_sha256
from striate.layers.conv import Convolution, TransposedConvolution
from striate.layers.graph import Chain, Concat, Residual
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import (
    GELU,
    BatchNorm,
    Dropout,
    Identity,
    LeakyReLU,
    Permutation,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from striate.layers.pooling import AdaptiveMaxPool, AdaptiveMeanPool, GlobalMeanPool, MaxPool, MeanPool
from striate.training.compiled import compiler, layout
from striate.training.compiled.layout import Target
from striate.training.compiled.network import LARGEST_WEIGHTS, lowered
from striate.training.compiled.source import source
from striate.training.compiled.step import RETRIED, TRIAL, CompiledStep
from striate.training.optim import SGD, AdamW, optimiser_tensors
from striate.training.schedule import OneCycle

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, compiler.NAMES)), reason="no C compiler is installed (apt-get install gcc)"
)

HEAD = (Flatten(), Linear(features=CLASSES))
SGDS = SGD(rate=0.01, momentum=0.8, weight_decay=1e-3)


@pytest.fixture(autouse=True, scope="module")
def _quick_builds() -> Any:
    """Less of the compiler's care: the arithmetic is the same, and these programs run for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "OPTIONS", ("-O1", *compiler.OPTIONS[2:]))
        yield


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settings": SGD(rate=0.005, momentum=0.9)},
        {"settings": SGD(rate=0.005, momentum=0.9, nesterov=True, weight_decay=0.01), "smoothing": 0.1},
        {"settings": SGD(rate=0.01, momentum=0.0, weight_decay=0.01)},
        {"schedule": OneCycle(warmup=10), "smoothing": 0.2},
        {"settings": AdamW(rate=1e-3)},
        {"settings": AdamW(rate=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3), "schedule": OneCycle()},
        {"batch": 1},
        {"batch": 37},
    ],
    ids=str,
)
def test_200_steps_of_a_signal_network_agree_with_autograd_and_torch(changes: dict[str, Any]) -> None:
    assert Case(*signals(), **changes).gap(200, "compiled") <= 1e-5


C4 = Convolution(channels=4, kernel=3)
EVERY = (GELU(), GELU(approximate="tanh"), SiLU(), Sigmoid(), Tanh(), LeakyReLU(slope=0.1))
SMOOTH = tuple(layer for activation in EVERY for layer in (Linear(features=7), activation))
BARE = (Convolution(channels=4, kernel=3, bias=False), ReLU(), Flatten(), Linear(features=CLASSES, bias=False))
CHAINS: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "linear": ((7,), (Linear(features=CLASSES),)),
    "no bias": ((2, 10), BARE),
    "fully connected": ((2, 10), (Flatten(), Linear(features=30), ReLU(), Linear(features=9), ReLU(), HEAD[1])),
    "wide": ((70,), (Linear(features=61), ReLU(), Linear(features=67), ReLU(), HEAD[1])),
    "wide, of several inputs at once": ((140,), (Linear(features=27), ReLU(), Linear(features=200), ReLU(), HEAD[1])),
    "one position, several stretches": ((3, 4, 5), (Convolution(channels=30, kernel=3, stride=5), ReLU(), *HEAD)),
    "deep sums": ((600,), (Linear(features=9), ReLU(), HEAD[1])),
    "relu twice": ((1, 20), (C4, ReLU(), ReLU(), Identity(), *HEAD)),
    "activation after flatten": ((1, 20), (C4, Flatten(), ReLU(), Linear(features=6), Tanh(), HEAD[1])),
    "same": ((2, 17), (C4, ReLU(), Convolution(channels=5, kernel=4, padding="same", stride=3), ReLU(), *HEAD)),
    "dilated": ((2, 23), (C4, ReLU(), Convolution(channels=5, kernel=3, padding=((3, 1),), dilation=4), ReLU(), *HEAD)),
    "positions left over": ((1, 18), (C4, ReLU(), Convolution(channels=3, kernel=2, stride=3), *HEAD)),
    "2 axes": (
        (3, 9, 8),
        (
            Convolution(channels=4, kernel=3, padding=1),
            ReLU(),
            Convolution(channels=5, kernel=(2, 3), stride=(1, 2), padding=((1, 0), (0, 2)), dilation=(2, 1)),
            LeakyReLU(slope=0.2),
            *HEAD,
        ),
    ),
    "3 axes": ((2, 5, 6, 4), (C4, ReLU(), Convolution(channels=4, kernel=(2, 3, 2)), ReLU(), *HEAD)),
    "max pooling": ((2, 9, 8), (C4, ReLU(), MaxPool(kernel=2), Convolution(channels=4, kernel=2), *HEAD)),
    "overlapping": ((1, 20), (C4, MaxPool(kernel=3, stride=2, padding=1, ceil=True), ReLU(), *HEAD)),
    "dilated pooling": ((1, 20), (C4, LeakyReLU(), MaxPool(kernel=3, stride=1, dilation=2), *HEAD)),
    "mean pooling": ((2, 9, 8), (C4, ReLU(), MeanPool(kernel=2, stride=2, padding=1, ceil=True), *HEAD)),
    "means of what is there": ((1, 21), (C4, MeanPool(kernel=3, padding=1, count_padding=False, ceil=True), *HEAD)),
    "adaptive": ((2, 11, 7), (C4, ReLU(), AdaptiveMeanPool(size=(4, 2)), AdaptiveMaxPool(size=2), *HEAD)),
    "global": ((1, 20), (C4, ReLU(), GlobalMeanPool(), HEAD[1])),
    "global at the end": ((1, 20), (C4, ReLU(), Convolution(channels=CLASSES, kernel=3), GlobalMeanPool())),
    "one position": ((1, 20), (C4, AdaptiveMaxPool(size=1), Flatten(), HEAD[1])),
    "pooling before weights": ((2, 20), (MaxPool(kernel=2), Tanh(), C4, ReLU(), *HEAD)),
    "permutation first": ((1, 40), (Permutation(seed=3), *signals())),
    "negative slope": ((1, 20), (C4, LeakyReLU(slope=-0.3), *HEAD)),
    "activations": (
        (8,),
        (*SMOOTH, HEAD[1]),
    ),
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_every_kind_of_chain_agrees_with_autograd_and_torch(name: str) -> None:
    shape, layers = CHAINS[name]
    assert Case(*layers, shape=shape, settings=SGDS, smoothing=0.1).gap(40, "compiled") <= 2e-5


POOLS = (MaxPool(kernel=2), MeanPool(kernel=2, stride=1), MaxPool(kernel=3, stride=2, padding=1))


def _fits(layers: tuple[Layer, ...], shape: Shape) -> bool:
    try:
        Chain(layers=layers).output_shape(shape)
    except InputError:
        return False
    return True


@st.composite
def chains(draw: st.DrawFn) -> tuple[Shape, tuple[Layer, ...]]:
    """A small chain of one or two axes that fits its input."""
    axes = draw(st.integers(1, 2))
    shape = (draw(st.integers(1, 5)), *(draw(st.integers(6, 12)) for _ in range(axes)))
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        small = st.integers(1, 3)
        convolution = st.builds(
            Convolution,
            channels=st.integers(1, 9),
            kernel=small,
            stride=small,
            dilation=st.integers(1, 2),
            padding=st.sampled_from([0, 1, "same", ((2, 1),) * axes]),
            bias=st.booleans(),
        )
        smooth = st.sampled_from([ReLU(), LeakyReLU(slope=0.1), GELU(), Tanh(), SiLU(), Sigmoid()])
        for layer in (draw(convolution), draw(smooth), draw(st.none() | st.sampled_from(POOLS))):
            if layer is not None and _fits((*layers, layer), shape):
                layers.append(layer)
    hidden = (Linear(features=draw(st.integers(2, 20))), ReLU()) if draw(st.booleans()) else ()
    return shape, (*layers, Flatten(), *hidden, Linear(features=CLASSES))


@pytest.mark.slow
@settings(max_examples=25)
@given(
    drawn=chains(),
    batch=st.integers(1, 48),
    optimiser=st.sampled_from([SGDS, SGD(rate=0.02, momentum=0.9, nesterov=True), AdamW(rate=1e-3)]),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_drawn_chains_agree(drawn: Any, batch: int, optimiser: Any, smoothing: float) -> None:
    shape, layers = drawn
    case = Case(*layers, shape=shape, settings=optimiser, smoothing=smoothing, batch=batch)
    _, _, general = case.general()
    _, _, compiled = case.compiled()
    torch.testing.assert_close(compiled.run(0, 12), general.run(0, 12), rtol=1e-4, atol=1e-5)


def run_in_blocks(case: Case, cuts: list[int], threads: int = 1) -> tuple[str, Tensor]:
    """SHA-256 of weights and state after blocks of these lengths, and all losses."""
    module, optimiser, step = case.compiled(threads)
    losses, done = [], 0
    for count in cuts:
        losses.append(step.run(done, count))
        done += count
    return weights_sha256({**module.state_dict(), **optimiser_tensors(optimiser, module)}), torch.cat(losses)


@pytest.mark.parametrize(
    "optimiser", [SGD(rate=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3), AdamW()], ids=str
)
def test_how_steps_are_cut_into_blocks_changes_no_bit(optimiser: Any) -> None:
    case = Case(*signals(), settings=optimiser)
    whole, losses = run_in_blocks(case, [30])
    for cuts in ([1] * 30, [7, 23], [10, 19, 1]):
        found, others = run_in_blocks(case, cuts)
        assert found == whole and torch.equal(others, losses)


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "WORKING_SET", 1 << 10)
    case = Case(*signals(), settings=SGDS, batch=45)
    _, _, step = case.compiled(3)
    assert step.threads == 3 and len(step.layout.parts) >= 4  # type: ignore[attr-defined]
    alone = run_in_blocks(case, [20])
    for threads in (2, 3):
        found = run_in_blocks(case, [5, 15], threads)
        assert found[0] == alone[0] and torch.equal(found[1], alone[1])


@pytest.mark.parametrize("settings", [SGDS, AdamW()], ids=str)
def test_threads_that_share_a_whole_batch_change_no_bit(settings: Any) -> None:
    shape, layers = CHAINS["wide, of several inputs at once"]
    case = Case(*layers, shape=shape, settings=settings, smoothing=0.1, batch=45)
    _, _, step = case.compiled(3)
    assert isinstance(step, CompiledStep) and step.threads == 3 and len(step.layout.parts) == 1
    alone = run_in_blocks(case, [20])
    for threads in (2, 3):
        found = run_in_blocks(case, [5, 15], threads)
        assert found[0] == alone[0] and torch.equal(found[1], alone[1])


def test_threads_that_are_slower_are_left_out_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "WORKING_SET", 1 << 10)
    _, _, step = Case(*signals(), settings=SGDS, batch=45, total=10_000).compiled(2)
    assert isinstance(step, CompiledStep)
    count = 3 * TRIAL
    assert list(step._pieces(3)) == [(1, 3)]  # too few to try both
    assert list(step._pieces(count)) == [(1, TRIAL), (2, TRIAL), (1, TRIAL)]
    for fast, slow in ((1, 2), (2, 1)):
        step.speeds = {slow: 10.0, fast: 30.0}
        pieces = [piece for _ in range(2 * RETRIED) for piece in step._pieces(count)]
        assert sum(steps for _, steps in pieces) == 2 * RETRIED * count
        assert [steps for threads, steps in pieces if threads == slow] == [TRIAL, TRIAL]
    assert list(step._pieces(0)) == []


def test_a_batch_in_parts_is_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "WORKING_SET", 1 << 10)
    assert Case(*signals(), settings=SGDS, batch=45).gap(40, "compiled") <= 1e-5


@pytest.mark.parametrize("registers, lanes", [(32, 16), (16, 4), (32, 4)])
def test_every_size_of_register_gives_the_same_network(
    monkeypatch: pytest.MonkeyPatch, registers: int, lanes: int
) -> None:
    monkeypatch.setattr(compiler, "_target", lambda macros: Target(registers, lanes))
    compiler._found.cache_clear()
    try:
        shape, layers = CHAINS["max pooling"]
        assert Case(*layers, shape=shape, settings=SGDS).gap(20, "compiled") <= 1e-5
        assert Case(*signals(), settings=AdamW()).gap(20, "compiled") <= 1e-5
        shape, layers = CHAINS["wide"]
        assert Case(*layers, shape=shape, settings=SGDS).gap(20, "compiled") <= 1e-5
    finally:
        compiler._found.cache_clear()


def test_very_small_numbers_stay_as_they_were_for_the_caller() -> None:
    _, _, step = Case(*signals()).compiled()
    step.run(0, 1)
    assert float(torch.tensor(1e-39) * 0.5) > 0


def test_a_loss_that_is_not_finite_is_given_back_so() -> None:
    case = Case(*signals())
    case.images[3] = torch.nan
    _, _, step = case.compiled()
    assert torch.isnan(step.run(0, 30)).any()


def test_rows_and_labels_outside_the_data_are_refused() -> None:
    case = Case(*signals())
    _, _, step = case.compiled()
    step.order = lambda first, count: case.order(first, count) + 40  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="outside the 48 samples"):
        step.run(0, 2)
    case.labels[0] = CLASSES
    with pytest.raises(ValueError, match="labels outside 0 to 4"):
        case.compiled()


class Strange(ReLU):
    """A layer someone derived from a known one: what it computes is not known here."""


REFUSED: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "groups": ((4, 20), (Convolution(channels=4, kernel=3, groups=2), *HEAD)),
    "reflect": ((1, 20), (Convolution(channels=4, kernel=3, padding=1, padding_mode="reflect"), *HEAD)),
    "transposed": ((1, 20), (TransposedConvolution(channels=4, kernel=3), *HEAD)),
    "batch norm": ((1, 20), (C4, BatchNorm(), ReLU(), *HEAD)),
    "dropout": ((1, 20), (C4, Dropout(probability=0.5), *HEAD)),
    "a derived layer": ((1, 20), (C4, Strange(), *HEAD)),
    "residual": ((4, 20), (Residual(body=Convolution(channels=4, kernel=3, padding=1)), *HEAD)),
    "branches": ((1, 20), (Concat(branches=(Convolution(channels=2, kernel=3),) * 2), *HEAD)),
    "softmax at the end": ((1, 20), (*HEAD, Softmax())),
    "permutation later": ((1, 20), (C4, Permutation(), *HEAD)),
    "a map as classes": ((1, 20), (C4, Flatten())),
    "no weights": ((5, 1), (Flatten(),)),
    "many weights": ((1100,), (Linear(features=LARGEST_WEIGHTS // 1000), HEAD[1])),
    "many positions": ((1, 300, 300), (C4, MaxPool(kernel=30), *HEAD)),
    "an endless slope": ((1, 20), (C4, LeakyReLU(slope=float("inf")), *HEAD)),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_the_compiled_step_cannot_do_is_refused(name: str) -> None:
    shape, layers = REFUSED[name]
    Chain(layers=layers).output_shape(shape)
    assert lowered(Chain(layers=layers), shape) is None


def test_the_demo_networks_are_taken() -> None:
    for name in ("mnist1d_conv", "mnist1d_conv_permuted", "fully_connected"):
        network = lowered(architecture(name).network(10), (1, 40))
        assert network is not None
        parts = layout.layout(network, 100, Target(16, 8)).parts
        assert [low for low, _ in parts] == [0, *(low + count for low, count in parts[:-1])]
        assert sum(count for _, count in parts) == 100


def test_the_text_is_of_numbers_and_fixed_names_alone() -> None:
    """Names that a user gives to rows get into no program."""
    network = lowered(Chain(layers=signals(), names=tuple(f"evil{n}" for n in range(len(signals())))), (1, 40))
    assert network is not None
    plan = layout.layout(network, BATCH, Target(16, 8))
    assert "evil" not in source(network, plan)
