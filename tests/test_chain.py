"""The hand-written step is the general step with torch's optimiser, to rounding, and refuses what it cannot do."""

from typing import Any

import pytest
import torch
from torch import Tensor

from chain_probe import BATCH, CLASSES, Case, signals
from striate.architectures.backbone import architecture
from striate.core.modelfile import weights_sha256
from striate.layers.conv import Convolution, TransposedConvolution
from striate.layers.graph import Chain, Concat, Residual
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import GELU, BatchNorm, Dropout, Identity, Permutation, ReLU, Softmax
from striate.layers.pooling import GlobalMeanPool, MaxPool
from striate.training import chain
from striate.training.chain import chain_rows
from striate.training.optim import SGD, optimiser_tensors
from striate.training.schedule import OneCycle
from striate.training.step import GeneralStep


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settings": SGD(rate=0.005, momentum=0.9)},
        {"settings": SGD(rate=0.005, momentum=0.9, nesterov=True)},
        {"settings": SGD(rate=0.01, momentum=0.0, weight_decay=0.01)},
        {"settings": SGD(rate=0.005, momentum=0.9, nesterov=True, weight_decay=0.01), "smoothing": 0.1},
        {"smoothing": 0.2},
        {"schedule": OneCycle(warmup=10)},
    ],
    ids=str,
)
def test_200_steps_of_a_signal_network_agree_with_autograd_and_torch(changes: dict[str, Any]) -> None:
    assert Case(*signals(), **changes).gap(200, "chained") <= 1e-5


HEAD = (Flatten(), Linear(features=CLASSES))
CHAINS: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "linear": ((7,), (Linear(features=CLASSES),)),
    "fully connected": ((2, 10), (Flatten(), Linear(features=30), ReLU(), Linear(features=9), ReLU(), HEAD[1])),
    "no activation between": ((1, 20), (Convolution(channels=4, kernel=3), Convolution(channels=3, kernel=3), *HEAD)),
    "relu twice": ((1, 20), (Convolution(channels=4, kernel=3), ReLU(), ReLU(), Identity(), *HEAD)),
    "same, 1 axis": ((2, 17), (Convolution(channels=4, kernel=4, padding="same"), ReLU(), *HEAD)),
    "same twice": (
        (1, 16),
        (
            Convolution(channels=4, kernel=5, padding="same", stride=2),
            ReLU(),
            Convolution(channels=3, kernel=4, padding="same", stride=3),
            ReLU(),
            *HEAD,
        ),
    ),
    "uneven": (
        (1, 16),
        (
            Convolution(channels=4, kernel=3, padding=((0, 2),)),
            ReLU(),
            Convolution(channels=3, kernel=4, padding=((3, 0),), stride=2),
            ReLU(),
            *HEAD,
        ),
    ),
    "positions left over": (
        (1, 18),
        (Convolution(channels=4, kernel=3, stride=4), ReLU(), Convolution(channels=3, kernel=2, stride=3), *HEAD),
    ),
    "2 axes": (
        (3, 9, 8),
        (
            Convolution(channels=4, kernel=3, padding=1),
            ReLU(),
            Convolution(channels=5, kernel=(2, 3), stride=(1, 2), padding=((1, 0), (0, 2))),
            ReLU(),
            *HEAD,
        ),
    ),
    "3 axes": (
        (2, 5, 6, 4),
        (
            Convolution(channels=3, kernel=3, padding="same"),
            ReLU(),
            Convolution(channels=4, kernel=(2, 3, 2), stride=(1, 2, 2)),
            ReLU(),
            *HEAD,
        ),
    ),
    "permutation first": ((1, 40), (Permutation(seed=3), *signals())),
    "kernel of one": ((4, 6, 6), (Convolution(channels=8, kernel=1), ReLU(), *HEAD)),
    "linear after linear": ((3, 8), (Flatten(), Linear(features=12), Linear(features=8), HEAD[1])),
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_every_shape_of_chain_agrees_with_autograd_and_torch(name: str) -> None:
    shape, layers = CHAINS[name]
    settings = SGD(rate=0.01, momentum=0.8, weight_decay=1e-3)
    assert Case(*layers, shape=shape, settings=settings, smoothing=0.1).gap(40, "chained") <= 1e-5


def run_in_blocks(case: Case, cuts: list[int]) -> tuple[str, Tensor]:
    """SHA-256 of weights and momentum after blocks of these lengths, each by a step made anew, and all losses."""
    module, optimiser, step = case.chained()
    losses, done = [], 0
    for count in cuts:
        losses.append(step.run(done, count))
        done += count
    state = {**module.state_dict(), **optimiser_tensors(optimiser, module)}
    return weights_sha256(state), torch.cat(losses)


@pytest.mark.parametrize("cuts", [[1] * 30, [7, 23], [29, 1], [10, 10, 10]], ids=str)
def test_how_steps_are_cut_into_blocks_changes_no_bit(cuts: list[int]) -> None:
    case = Case(*signals(), settings=SGD(rate=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3))
    whole, losses = run_in_blocks(case, [30])
    found, others = run_in_blocks(case, cuts)
    assert found == whole
    torch.testing.assert_close(others, losses)


def test_a_step_made_anew_continues_bit_for_bit() -> None:
    case = Case(*signals(), settings=SGD(rate=0.02, momentum=0.9))
    module, optimiser, step = case.chained()
    step.run(0, 20)
    whole, _, whole_step = case.chained()
    whole_step.run(0, 10)
    case.module = whole
    resumed, resumed_optimiser, again = case.chained()
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        held = whole_step.optimiser.state[theirs]["momentum_buffer"]  # type: ignore[attr-defined]
        resumed_optimiser.state[mine]["momentum_buffer"] = held.clone()
    again.run(10, 10)
    assert weights_sha256(resumed.state_dict()) == weights_sha256(module.state_dict())
    assert weights_sha256(optimiser_tensors(resumed_optimiser, resumed)) == weights_sha256(
        optimiser_tensors(optimiser, module)
    )


def test_what_a_block_leaves_can_be_trained_on_by_autograd() -> None:
    case = Case(*signals(), settings=SGD(rate=0.02, momentum=0.9))
    module, optimiser, step = case.chained()
    step.run(0, 3)
    _, _, general = case.general()
    assert isinstance(general, GeneralStep)
    general.module, general.optimiser = module, optimiser
    assert torch.isfinite(general.run(3, 3)).all()


class Loud(ReLU):
    """A layer someone derived from a known one: what it computes is not known here."""


REFUSED: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "dilation": ((1, 20), (Convolution(channels=4, kernel=3, dilation=2), *HEAD)),
    "groups": ((4, 20), (Convolution(channels=4, kernel=3, groups=2), *HEAD)),
    "reflect": ((1, 20), (Convolution(channels=4, kernel=3, padding=1, padding_mode="reflect"), *HEAD)),
    "convolution without bias": ((1, 20), (Convolution(channels=4, kernel=3, bias=False), *HEAD)),
    "linear without bias": ((1, 20), (Flatten(), Linear(features=4, bias=False), HEAD[1])),
    "transposed": ((1, 20), (TransposedConvolution(channels=4, kernel=3), *HEAD)),
    "batch norm": ((1, 20), (Convolution(channels=4, kernel=3), BatchNorm(), ReLU(), *HEAD)),
    "dropout": ((1, 20), (Convolution(channels=4, kernel=3), Dropout(probability=0.5), *HEAD)),
    "another activation": ((1, 20), (Convolution(channels=4, kernel=3), GELU(), *HEAD)),
    "a derived layer": ((1, 20), (Convolution(channels=4, kernel=3), Loud(), *HEAD)),
    "max pooling": ((1, 20), (Convolution(channels=4, kernel=3), MaxPool(kernel=2), *HEAD)),
    "global pooling": ((1, 20), (Convolution(channels=4, kernel=3), GlobalMeanPool(), HEAD[1])),
    "residual": ((4, 20), (Residual(body=Convolution(channels=4, kernel=3, padding=1)), *HEAD)),
    "branches": ((1, 20), (Concat(branches=(Convolution(channels=2, kernel=3),) * 2), *HEAD)),
    "softmax at the end": ((1, 20), (*HEAD, Softmax())),
    "relu at the end": ((1, 20), (*HEAD, ReLU())),
    "convolution at the end": ((1, 20), (Convolution(channels=4, kernel=20),)),
    "relu first": ((1, 20), (ReLU(), *HEAD)),
    "permutation later": ((1, 20), (Convolution(channels=4, kernel=3), Permutation(), *HEAD)),
    "no weights": ((5, 1), (Flatten(),)),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_the_chain_step_cannot_do_is_refused(name: str) -> None:
    shape, layers = REFUSED[name]
    network = Chain(layers=layers)
    network.output_shape(shape)
    assert chain_rows(network, shape, BATCH) is None


def test_copies_that_would_not_pay_are_refused() -> None:
    wide = Chain(layers=(Convolution(channels=4, kernel=7, padding="same"), *HEAD))
    assert chain_rows(wide, (3, 32, 32), 8) is not None
    assert chain_rows(wide, (3, 32, 32), 1 + chain.LARGEST_COPY // (147 * 1024)) is None


def test_the_demo_networks_are_chains() -> None:
    for name in ("mnist1d_conv", "mnist1d_conv_permuted", "fully_connected"):
        assert chain_rows(architecture(name).network(10), (1, 40), 100) is not None


def test_the_default_networks_are_not() -> None:
    assert chain_rows(architecture("small_signals").network(3), (1, 40), 16) is None
    assert chain_rows(architecture("small_images").network(3), (1, 28, 28), 16) is None
