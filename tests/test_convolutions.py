"""The package's own convolutions: equal to the plain ones up to rounding, forward and backward, only where they fit."""

import itertools
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._C import DisableTorchFunction

from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.tasks.classification import Classification
from striate.training.choice import choose_precision
from striate.training.compiled import compiler
from striate.training.convolutions import takeover as tested
from striate.training.convolutions.gathered import Pair, Sums, geometry, output_size
from striate.training.convolutions.library import source, the_library
from striate.training.convolutions.takeover import fits, own_convolutions
from striate.training.convolutions.winograd import MANY_TILES
from striate.training.convolutions.winograd_source import INPUT, KERNEL, OUTPUT
from striate.training.step import backward, lay_out_weights

THREADS = torch.get_num_threads()

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, compiler.NAMES)), reason="no C compiler is installed (apt-get install gcc)"
)


def conv(channels: int, outputs: int, **settings: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    made = nn.Conv2d(channels, outputs, **{"kernel_size": 3, "padding": 1, **settings})
    lay_out_weights(made, "float32 channels-last", (channels, 8, 8))
    return made


def maps(*shape: int) -> Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def results(module: nn.Module, x: Tensor, gradient: Tensor, transformed: bool) -> list[Tensor]:
    """The output, and the gradients of the input and of the weights."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    if transformed:
        with own_convolutions(module):
            y = module(x)
    else:
        y = module(x)
    return [y.detach(), *torch.autograd.grad(y, (x, *module.parameters()), gradient)]


def gap(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((one.double() - two).norm() / two.norm()) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("m", list(INPUT))
def test_the_matrices_compute_a_correlation_exactly(m: int) -> None:
    tile = [[(5 * i + 3 * j * j) % 7 - 3 for j in range(m + 2)] for i in range(m + 2)]
    kernel = [[(2 * i + j) % 5 - 2 for j in range(3)] for i in range(3)]

    def both(matrix: Any, inner: Any) -> Any:
        half = [
            [sum(f * row[j] for f, row in zip(line, inner, strict=True)) for j in range(len(inner[0]))]
            for line in matrix
        ]
        return [[sum(f * v for f, v in zip(line, row, strict=True)) for line in matrix] for row in half]

    moved, learnt = both(INPUT[m], tile), both(KERNEL[m], kernel)
    product = [[a * b for a, b in zip(one, two, strict=True)] for one, two in zip(moved, learnt, strict=True)]
    plain = [
        [sum(tile[y + i][x + j] * kernel[i][j] for i in range(3) for j in range(3)) for x in range(m)] for y in range(m)
    ]
    assert both(OUTPUT[m], product) == plain


@pytest.mark.parametrize(
    "n, channels, outputs, height, width, bias",
    [
        (8, 16, 32, 16, 16, False),
        (16, 32, 16, 12, 16, True),
        (2, 16, 16, 9, 7, True),
        (3, 32, 48, 2, 5, False),
        (1, 16, 16, 1, 1, True),
        (40, 16, 16, 7, 6, False),
        (1, 64, 64, 46, 50, True),
    ],
)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    n: int, channels: int, outputs: int, height: int, width: int, bias: bool
) -> None:
    module, x, gradient = (
        conv(channels, outputs, bias=bias),
        maps(n, channels, height, width),
        maps(n, outputs, height, width),
    )
    exact = results(conv(channels, outputs, bias=bias).double(), x.double(), gradient.double(), False)
    found = results(module, x, gradient, True)
    assert gap(found, exact) <= 8e-6
    again = results(module, x, gradient, True)
    assert all(torch.equal(one, two) for one, two in zip(found, again, strict=True))
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    plain = results(module, x, gradient, False)
    assert not all(torch.equal(one, two) for one, two in zip(found, plain, strict=True)) or height * width == 1


def test_both_sizes_of_tiles_are_met_above() -> None:
    tiles = {n * -(-h // 4) * -(-w // 4) >= MANY_TILES for n, h, w in ((8, 16, 16), (16, 12, 16), (2, 9, 7))}
    assert tiles == {False, True}


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": 2},
        {"groups": 2, "stride": 2},
        {"kernel_size": 1, "padding": 0},
        {"padding": "same"},
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(settings: dict[str, Any]) -> None:
    module, x = conv(16, 32, **settings), maps(2, 16, 10, 10)
    assert not fits(nn.Sequential(module))
    gradient = torch.randn_like(module(x))
    found, plain = (results(module, x, gradient, transformed) for transformed in (True, False))
    assert all(torch.equal(one, two) for one, two in zip(found, plain, strict=True))


@pytest.mark.parametrize(
    "n, channels, outputs, height, width, settings",
    [
        (4, 16, 32, 12, 14, {"stride": 2}),
        (2, 16, 24, 11, 9, {"stride": 2, "bias": False}),
        (3, 32, 16, 7, 8, {"kernel_size": 1, "stride": 2, "padding": 0}),
        (2, 24, 16, 13, 10, {"kernel_size": (5, 2), "stride": (3, 1), "padding": (4, 0)}),
        (2, 16, 40, 17, 12, {"kernel_size": 3, "stride": 2, "padding": 3, "dilation": (2, 3)}),
        (1, 272, 16, 6, 6, {"stride": 3, "padding": 0}),
        (70, 16, 16, 5, 5, {"kernel_size": 2, "stride": 4, "padding": 0}),
        (1, 16, 512, 9, 9, {"stride": 2}),
        (2, 16, 32, 10, 9, {"padding": 0}),
        (3, 32, 16, 9, 11, {"dilation": 2, "padding": 2}),
        (2, 16, 16, 9, 8, {"kernel_size": (3, 1), "padding": (1, 0)}),
        (2, 16, 16, 9, 8, {"kernel_size": 5, "padding_mode": "reflect"}),
    ],
    ids=str,
)
def test_gradients_of_other_convolutions_gather_rows(
    n: int, channels: int, outputs: int, height: int, width: int, settings: dict[str, Any]
) -> None:
    module, x = conv(channels, outputs, **settings), maps(n, channels, height, width)
    assert not fits(nn.Sequential(module))
    gradient = torch.randn_like(module(x))
    exact = results(conv(channels, outputs, **settings).double(), x.double(), gradient.double(), False)
    with own_convolutions(module):
        made = module(x).grad_fn
    assert "GatheredConvolution" in f"{made} {made.next_functions}"
    found, again = (results(module, x, gradient, True) for _ in range(2))
    assert gap(found, exact) <= 2e-6
    assert all(torch.equal(one, two) for one, two in zip(found, again, strict=True))
    torch.set_num_threads(1)
    try:
        alone = results(module, x, gradient, True)
    finally:
        torch.set_num_threads(THREADS)
    assert all(torch.equal(one, two) for one, two in zip(found, alone, strict=True))


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("kernel, padding, dilation", [((3, 2), (1, 0), (1, 1)), ((1, 3), (2, 2), (2, 2))])
def test_the_tables_say_what_reads_what(stride: Pair, kernel: Pair, padding: Pair, dilation: Pair) -> None:
    """Against the definition: output o reads through tap t the input s o - p + d t."""
    size, images = (7, 6), 2
    found = geometry(images, size, kernel, stride, padding, dilation)
    (height, width), (rows, columns) = output_size(size, kernel, stride, padding, dilation), size
    expected = set()
    for n, y, x, ty, tx in itertools.product(
        range(images), range(height), range(width), range(kernel[0]), range(kernel[1])
    ):
        at = stride[0] * y - padding[0] + dilation[0] * ty, stride[1] * x - padding[1] + dilation[1] * tx
        if 0 <= at[0] < rows and 0 <= at[1] < columns:
            output = (n * height + y) * width + x
            expected.add((output, ty * kernel[1] + tx, (n * rows + at[0]) * columns + at[1]))
    taps = np.arange(kernel[0] * kernel[1], dtype=np.int32)
    forward = Sums(np.arange(images * height * width, dtype=np.int32), taps, found.forward)
    assert triples(forward) == expected
    backward = [(output, tap, at) for part in found.backward for at, tap, output in triples(part)]
    assert len(backward) == len(expected) and set(backward) == expected
    every = np.concatenate([part.to for part in found.backward])
    assert sorted(every) == list(range(images * rows * columns))  # each pixel gets a gradient, if only zero


def triples(sums: Sums) -> set[tuple[int, int, int]]:
    """(row of the result, tap, row read) of every term."""
    taps, rows = np.nonzero(sums.at >= 0)
    return {(int(sums.to[i]), int(sums.which[t]), int(sums.at[t, i])) for t, i in zip(taps, rows, strict=True)}


def test_channels_that_fill_no_vector_are_left_alone() -> None:
    assert not fits(conv(3, 16)) and not fits(conv(16, 17)) and fits(nn.Sequential(conv(16, 32)))


def test_measuring_is_plain() -> None:
    module, x = conv(16, 16), maps(8, 16, 16, 16)
    with torch.no_grad():
        plain = module(x)
        with own_convolutions(module):
            assert torch.equal(module(x), plain)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_measuring_may_be_as_training_is(mode: Callable[[], Any]) -> None:
    module, x = conv(16, 16), maps(8, 16, 16, 16)
    with mode(), own_convolutions(module, measuring=True):
        module(x)
    with own_convolutions(module):
        learnt = module(x)
    learnt.sum().backward()
    waiting = sum(map(len, tested._KEPT[module].buffers.free.values()))
    with mode(), own_convolutions(module, measuring=True):
        assert torch.equal(module(x), learnt) and not torch.equal(learnt, plainly(module, x))
    assert sum(map(len, tested._KEPT[module].buffers.free.values())) == waiting  # nothing is kept for gradients
    with torch.no_grad(), own_convolutions(module):
        assert torch.equal(module(x), plainly(module, x))


def plainly(module: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv2d)
    with DisableTorchFunction(), torch.no_grad():
        return nn.functional.conv2d(x, module.weight, module.bias, padding=1)


def test_frozen_weights_and_inputs_get_no_gradient() -> None:
    module, x = conv(16, 16, bias=False), maps(8, 16, 16, 16)
    with own_convolutions(module):
        module(x).sum().backward()
    assert x.grad is None and module.weight.grad is not None
    module.weight.grad = None
    module.weight.requires_grad_(False)
    x.requires_grad_()
    with own_convolutions(module):
        module(x).sum().backward()
    assert x.grad is not None and module.weight.grad is None


def test_buffers_are_used_again_and_a_second_backward_is_refused() -> None:
    module, x = conv(16, 16), maps(8, 16, 16, 16)
    for _ in range(3):
        results(module, x, torch.ones(8, 16, 16, 16), True)
        free = {size: len(found) for size, found in tested._KEPT[module].buffers.free.items()}
        assert sum(free.values()) == 5  # kernel and input kept, the output's gradient, and those of kernel and input
    with own_convolutions(module):
        total = module(x).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        total.backward()


def test_what_reckons_memory_sees_what_is_kept_for_the_gradients() -> None:
    module, x = conv(16, 32), maps(8, 16, 16, 16)
    kept: list[int] = []

    def keep(one: Tensor) -> Tensor:
        kept.append(one.numel())
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one), own_convolutions(module):
        module(x)
    assert {36 * 8 * 16 * 16, 36 * 32 * 16} <= set(kept)  # the input in tiles of 6 x 6 (4 x 4 outputs), the kernels


def test_a_network_learns_the_same() -> None:
    layers = (
        conv(3, 16),
        nn.ReLU(),
        conv(16, 16),
        nn.ReLU(),
        conv(16, 32, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    torch.manual_seed(0)
    network = nn.Sequential(*layers, nn.Linear(32, 5))
    batch = Batch(torch.randn(8, 3, 20, 20), {"label": torch.arange(8) % 5}, torch.arange(8))
    found = {}
    for precision in ("float32 channels-last", "winograd channels-last"):
        network.zero_grad()
        lay_out_weights(network, precision, (3, 20, 20))
        loss = backward(network, Classification(), batch, precision)
        found[precision] = [loss, *(one.grad for one in network.parameters() if one.grad is not None)]
    plain, moved = found.values()
    assert len(moved) == len(plain) == 9
    assert gap(moved, [one.double() for one in plain]) <= 1e-5


def test_without_a_compiler_it_is_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    the_library.cache_clear()
    try:
        with (
            pytest.raises(InputError, match=r"training\.precision: .*Winograd.*no C compiler") as caught,
            own_convolutions(conv(16, 16)),
        ):
            pass
        assert "float32 channels-last" in caught.value.fix
        said: list[str] = []
        monkeypatch.setattr("striate.training.choice.LONG_PASS", 0.0)
        batch = Batch(torch.randn(2, 16, 8, 8), {"label": torch.arange(2)}, torch.arange(2))
        module = nn.Sequential(conv(16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        chosen = choose_precision("auto", module, Classification(), lambda step: batch, said.append, repeats=1)
        assert not chosen.startswith("winograd") and "no C compiler" in said[0]
    finally:
        the_library.cache_clear()


def test_the_text_is_for_any_width_of_vectors() -> None:
    for lanes in (4, 8, 16):
        assert f"#define LANES {lanes}" in source(lanes)
