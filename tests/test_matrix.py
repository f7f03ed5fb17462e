"""The weight matrix of a convolution against brute force, and the way back from a matrix to its convolutions."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.analysis.matrix import (
    ConvolutionAnswer,
    convolutions_of,
    probed_matrix,
    weight_matrices,
    weight_matrix,
)
from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.layers.conv import Convolution, TransposedConvolution
from striate.layers.layer import Layer
from striate.layers.linear import Linear
from striate.layers.norm_act import ReLU


def weight_of(module: torch.nn.Module) -> np.ndarray:
    return module.weight.detach().numpy()


def assert_matrix_is_the_module(layer: Layer, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = layer.build(shape).double()
    matrix = weight_matrix(layer, weight_of(module), shape)
    np.testing.assert_allclose(matrix, probed_matrix(module, shape), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_convolution_is_its_matrix(data: st.DataObject) -> None:
    axes, groups = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    layer = Convolution(
        channels=groups * data.draw(st.integers(1, 2)),
        kernel=tuple(data.draw(st.integers(1, 3)) for _ in range(axes)),
        stride=tuple(data.draw(st.integers(1, 3)) for _ in range(axes)),
        dilation=tuple(data.draw(st.integers(1, 2)) for _ in range(axes)),
        groups=groups,
        padding=tuple((data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(axes)),
        padding_mode=data.draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
    )
    assert_matrix_is_the_module(layer, (groups * data.draw(st.integers(1, 2)), *(5 + axis for axis in range(axes))))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_transposed_convolution_is_its_matrix(data: st.DataObject) -> None:
    axes, groups = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    stride = data.draw(st.integers(1, 3))
    layer = TransposedConvolution(
        channels=groups * data.draw(st.integers(1, 2)),
        kernel=tuple(data.draw(st.integers(2, 4)) for _ in range(axes)),
        stride=stride,
        dilation=data.draw(st.integers(1, 2)),
        groups=groups,
        padding=data.draw(st.integers(0, 1)),
        output_padding=data.draw(st.integers(0, stride - 1)),
    )
    assert_matrix_is_the_module(layer, (groups * data.draw(st.integers(1, 2)), *(4 + axis for axis in range(axes))))


def test_a_transposed_convolution_has_the_transposed_matrix() -> None:
    weight = np.arange(1.0, 4.0).reshape(1, 1, 3)
    down = weight_matrix(Convolution(channels=1, kernel=3, stride=2, padding=1), weight, (1, 9))
    up = weight_matrix(TransposedConvolution(channels=1, kernel=3, stride=2, padding=1), weight, (1, 5))
    np.testing.assert_array_equal(up, down.T)


def test_the_pictures_of_the_lecture() -> None:
    """Kernel 3, stride 1, and kernel 3, stride 2, both with zero padding, for six inputs."""
    weight = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3)
    one = weight_matrix(Convolution(channels=1, kernel=3, padding=1), weight, (1, 6))
    two = weight_matrix(Convolution(channels=1, kernel=3, stride=2, padding=1), weight, (1, 6))
    expected = np.diag([2.0] * 6) + np.diag([1.0] * 5, -1) + np.diag([3.0] * 5, 1)
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(two, expected[::2])
    dense = np.arange(36.0).reshape(6, 6)
    np.testing.assert_array_equal(weight_matrix(Linear(features=6), dense, (6,)), dense)


def test_matrices_of_a_network_multiply_to_its_output() -> None:
    torch.manual_seed(0)
    network = architecture("mnist1d_conv").network(10)
    module = network.build((1, 40)).double()
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    matrices = weight_matrices(network, weights, (1, 40))
    assert {name: matrix.shape for name, matrix in matrices.items()} == {
        "backbone.conv1": (285, 40),
        "backbone.conv2": (135, 285),
        "backbone.conv3": (60, 135),
        "head.linear": (10, 60),
    }
    value = torch.randn(40, dtype=torch.float64)
    expected = module(value.reshape(1, 1, 40))[0].detach().numpy()
    values = value.numpy()
    for number, (name, matrix) in enumerate(matrices.items()):
        bias = weights[f"{name}.bias"]
        values = matrix @ values + np.repeat(bias, matrix.shape[0] // len(bias))
        values = values if number == 3 else np.maximum(values, 0)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_a_matrix_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="only layers with a weight"):
        weight_matrix(ReLU(), np.zeros(3), (1, 3))
    with pytest.raises(InputError, match="entries"):
        weight_matrix(Convolution(channels=64, kernel=3), np.zeros((64, 3, 3, 3)), (3, 224, 224))
    with pytest.raises(InputError, match="weight"):
        weight_matrix(Convolution(channels=2, kernel=3), np.zeros((2, 2, 3)), (1, 8))
    with pytest.raises(InputError, match="weight"):
        weight_matrix(Convolution(channels=2, kernel=3), np.zeros((2, 1, 4)), (1, 8))
    with pytest.raises(InputError, match="weight"):
        weight_matrix(Linear(features=2), np.zeros((2, 5)), (4,))
    with pytest.raises(InputError, match=r"backbone\.conv1\.weight"):
        weight_matrices(architecture("mnist1d_conv").network(10), {}, (1, 40))


def matrix_of(weights: tuple[float, ...], stride: int, dilation: int, padding: int, n: int) -> np.ndarray | None:
    """The matrix written out entry by entry; None where no window fits."""
    span = dilation * (len(weights) - 1) + 1
    if n + 2 * padding < span:
        return None
    matrix = np.zeros(((n + 2 * padding - span) // stride + 1, n))
    for row, (tap, weight) in product(range(len(matrix)), enumerate(weights)):
        column = row * stride - padding + dilation * tap
        if 0 <= column < n:
            matrix[row, column] += weight
    return matrix


def assert_has_matrix(answer: ConvolutionAnswer, matrix: np.ndarray) -> None:
    got = matrix_of(answer.weights, answer.stride, answer.dilation, answer.padding, matrix.shape[1])
    assert got is not None
    np.testing.assert_array_equal(got, matrix)


@settings(max_examples=150, deadline=None)
@given(
    weights=st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=5).map(tuple),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 5),
    n=st.integers(5, 12),
)
def test_what_made_a_matrix_is_found(
    weights: tuple[float, ...], stride: int, dilation: int, padding: int, n: int
) -> None:
    """Every answer has the matrix, and for the true stride and dilation there is one of no more taps."""
    matrix = matrix_of(weights, stride, dilation, padding, n)
    if matrix is None:
        return
    answers = convolutions_of(matrix)
    for answer in answers:
        assert_has_matrix(answer, matrix)
    assert answers == sorted(answers, key=lambda a: (len(a.weights), a.padding, a.stride, a.dilation, a.weights))
    assert answers and len(answers[0].weights) <= len(weights)
    same = [a for a in answers if (a.stride, a.dilation) == (stride, dilation)]
    assert all(len(answer.weights) <= len(weights) for answer in same)
    if len(matrix) > 1 and all(weights) and (dilation == 1 or len(weights) > 1) and padding < dilation:
        assert ConvolutionAnswer(weights, stride, dilation, padding) in same


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 3),
    n=st.integers(2, 4),
    data=st.data(),
)
def test_answers_are_all_there_are(rows: int, n: int, data: st.DataObject) -> None:
    """Against trying strides, dilations, paddings and numbers of taps on small matrices of zeros and ones."""
    matrix = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=rows * n, max_size=rows * n)))
    matrix = matrix.reshape(rows, n)
    answers = convolutions_of(matrix)
    for stride, dilation in product(range(1, n), range(1, 4)):
        fewest: tuple[int, set[int]] | None = None
        for count in range(1, 8):
            paddings = {p: seen_taps(matrix, stride, dilation, count, p) for p in range(10)}
            fits = {p for p, seen in paddings.items() if seen is not None}
            if fits:
                fewest = (count, {p for p in fits if dilation == 1 or (paddings[p] or 0) > 1})
                break
        got = [a for a in answers if (a.stride, a.dilation) == (stride, dilation)]
        for answer in got:
            assert_has_matrix(answer, matrix)
        if fewest is None:
            assert all(len(answer.weights) > 7 or answer.padding > 9 for answer in got)
        else:
            assert {answer.padding for answer in got} == fewest[1]
            assert all(len(answer.weights) == fewest[0] for answer in got)


def seen_taps(matrix: np.ndarray, stride: int, dilation: int, count: int, padding: int) -> int | None:
    """How many taps meet an input, or None when no weights make this matrix."""
    rows, n = matrix.shape
    if (n + 2 * padding - dilation * (count - 1) - 1) // stride + 1 != rows:
        return None
    found: dict[int, float] = {}
    for row, column in product(range(rows), range(n)):
        tap, rest = divmod(column - row * stride + padding, dilation)
        inside = rest == 0 and 0 <= tap < count
        if matrix[row, column] != (found.setdefault(tap, matrix[row, column]) if inside else 0.0):
            return None
    return len(found)


def test_some_matrices_have_several_answers() -> None:
    """Weights 1 0 1 without dilation are weights 1 1 with dilation 2."""
    matrix = matrix_of((1.0, 0.0, 1.0), 1, 1, 0, 9)
    assert matrix is not None
    assert convolutions_of(matrix) == [
        ConvolutionAnswer((1.0, 1.0), 1, 2, 0),
        ConvolutionAnswer((1.0, 0.0, 1.0), 1, 1, 0),
    ]


def test_the_lectures_matrices_have_one_answer_each() -> None:
    for stride in (1, 2):
        matrix = matrix_of((1.0, 2.0, 3.0), stride, 1, 1, 6)
        assert matrix is not None
        assert convolutions_of(matrix) == [ConvolutionAnswer((1.0, 2.0, 3.0), stride, 1, 1)]


def test_a_tap_that_meets_only_padding_is_said_to_be_unseen() -> None:
    answers = convolutions_of([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    for answer in answers:
        assert all(answer.weights[tap] == 0.0 for tap in answer.unseen)
    assert convolutions_of(np.array([[5.0], [7.0]]).T)[0].unseen == ()


def test_a_dense_matrix_is_no_convolution() -> None:
    assert convolutions_of(np.random.default_rng(0).normal(size=(6, 8))) == []


def test_one_row_is_a_kernel_as_long_as_the_input() -> None:
    assert convolutions_of([[1.0, 2.0, 3.0]]) == [ConvolutionAnswer((1.0, 2.0, 3.0), 1, 1, 0)]


def test_zeros_have_the_simplest_answer_first() -> None:
    assert convolutions_of(np.zeros((4, 4)))[0] == ConvolutionAnswer((0.0,), 1, 1, 0)


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros(3), [[np.nan]], np.zeros((2, 2, 2))])
def test_only_a_matrix_of_numbers_is_answered(bad: object) -> None:
    with pytest.raises(InputError, match="finite"):
        convolutions_of(bad)
