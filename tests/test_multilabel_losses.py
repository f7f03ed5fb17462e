"""Losses of masks with several classes a pixel against their equations written out pixel by pixel."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.ops.multilabel_masks import Summed, binary_dice, lovasz_hinge, pixel_binary_cross_entropy
from striate.ops.segmentation_losses import pixel_cross_entropy

IGNORE = 255
SIZES = {1: (7,), 2: (4, 5), 3: (3, 2, 4)}
LOSSES: dict[str, Callable[..., Summed]] = {
    "cross_entropy": pixel_binary_cross_entropy,
    "focal": lambda *given, **more: pixel_binary_cross_entropy(*given, **more, gamma=2.0),
    "dice": binary_dice,
    "lovasz": lovasz_hinge,
}


def drawn(axes: int, seed: int, batch: int = 3) -> tuple[Tensor, Tensor]:
    """Logits and a target in which some entries, a class of the first and all of the second sample do not count, and
    the last class never is."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 2, (batch, 4, *SIZES[axes]), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = IGNORE
    target[:, 3][target[:, 3] == 1] = 0
    target[0, 0] = target[1] = IGNORE
    return torch.randn(batch, 4, *SIZES[axes], generator=generator, dtype=torch.float64), target


def entries(logits: Tensor, target: Tensor) -> tuple[list[float], list[int]]:
    """Logits and truth of the entries of one class of one sample that count."""
    kept = target.flatten() != IGNORE
    return logits.flatten()[kept].tolist(), target.flatten()[kept].tolist()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def naive_cross_entropy(f: list[float], g: list[int], gamma: float = 0.0) -> float:
    right = [sigmoid(value) if there else 1 - sigmoid(value) for value, there in zip(f, g, strict=True)]
    return sum(-((1 - q) ** gamma) * math.log(q) for q in right) / len(f)


def naive_dice(f: list[float], g: list[int]) -> float:
    p = [sigmoid(value) for value in f]
    both = sum(a * b for a, b in zip(p, g, strict=True))
    return 1 - (2 * both + 1) / (sum(a * a for a in p) + sum(g) + 1)


def naive_lovasz(f: list[float], g: list[int]) -> float:
    errors = [max(0.0, 1 - value if there else 1 + value) for value, there in zip(f, g, strict=True)]
    order = sorted(range(len(f)), key=lambda place: -errors[place])
    truth, total, before = {place for place, there in enumerate(g) if there}, 0.0, 0.0
    for count, place in enumerate(order, start=1):
        wrong = set(order[:count])
        answer = truth ^ wrong
        jaccard = 1 - len(truth & answer) / len(truth | answer)
        total += errors[place] * (jaccard - before)
        before = jaccard
    return total


NAIVE = {
    "cross_entropy": naive_cross_entropy,
    "focal": lambda *given: naive_cross_entropy(*given, gamma=2.0),
    "dice": naive_dice,
    "lovasz": naive_lovasz,
}


@pytest.mark.parametrize("name, axes, weighted", list(product(LOSSES, (1, 2, 3), (False, True))))
def test_the_loss_is_its_equation_class_by_class(name: str, axes: int, weighted: bool) -> None:
    logits, target = drawn(axes, seed=axes)
    weights = [0.5, 2.0, 1.0, 3.0] if weighted else [1.0] * 4
    total, count = LOSSES[name](logits, target, IGNORE, torch.tensor(weights) if weighted else None)
    expected = 0.0
    for row, classes in ((0, (1, 2, 3)), (2, (0, 1, 2, 3))):
        each = [weights[k] * NAIVE[name](*entries(logits[row, k], target[row, k])) for k in classes]
        expected += sum(each) / len(each)
    assert count == 2 and float(total) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 5))
def test_dividing_a_batch_changes_nothing(name: str, seed: int, cut: int) -> None:
    logits, target = drawn(2, seed, batch=5)
    total, count = LOSSES[name](logits, target, IGNORE)
    parts = [LOSSES[name](logits[part], target[part], IGNORE) for part in (slice(0, cut), slice(cut, 5))]
    assert sum(float(part) for part, _ in parts) == pytest.approx(float(total))
    assert sum(number for _, number in parts) == count


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_small_steps(name: str) -> None:
    logits, target = drawn(1, seed=8)
    assert torch.autograd.gradcheck(lambda given: LOSSES[name](given, target, IGNORE)[0], logits.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_perfect_answers_lose_nothing_and_void_entries_have_no_say(name: str) -> None:
    _, target = drawn(2, seed=1)
    logits = 50.0 * (2 * (target == 1).double() - 1)
    assert float(LOSSES[name](logits, target, IGNORE)[0]) == pytest.approx(0.0, abs=1e-9)
    other = torch.where(target == IGNORE, -logits, logits)
    assert float(LOSSES[name](other, target, IGNORE)[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_class_that_is_nowhere_is_pushed_down(name: str) -> None:
    logits = torch.full((1, 1, 9), 0.5, requires_grad=True)
    LOSSES[name](logits, torch.zeros(1, 1, 9, dtype=torch.int64), IGNORE)[0].backward()
    assert logits.grad is not None and bool((logits.grad >= 0).all()) and bool((logits.grad > 0).any())


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_void_counts_nothing_and_has_a_gradient_of_nothing(name: str) -> None:
    logits = torch.randn(2, 3, 6, requires_grad=True)
    total, count = LOSSES[name](logits, torch.full((2, 3, 6), IGNORE), IGNORE)
    total.backward()
    assert count == 0 and float(total.detach()) == 0 and logits.grad is not None and not bool(logits.grad.any())


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"need a target of that shape, \(2, 6\) came"):
        LOSSES[name](torch.zeros(2, 3, 6), torch.zeros(2, 6, dtype=torch.int64), IGNORE)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name: str) -> None:
    logits, target = drawn(2, seed=3)
    half = logits.to(torch.bfloat16)
    expected = float(LOSSES[name](half.float(), target, IGNORE)[0])
    assert float(LOSSES[name](half, target, IGNORE)[0]) == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_a_small_gamma_has_a_finite_slope_where_nothing_counts_and_where_all_is_right(gamma: float) -> None:
    layers = torch.tensor([[[60.0, 0.0, 1.0]]], requires_grad=True)
    pixel_binary_cross_entropy(layers, torch.tensor([[[1, IGNORE, 0]]]), IGNORE, gamma=gamma)[0].backward()
    classes = torch.tensor([[[60.0, 0.0, 1.0], [-60.0, 0.0, 2.0]]], requires_grad=True)
    pixel_cross_entropy(classes, torch.tensor([[0, IGNORE, 1]]), IGNORE, gamma=gamma)[0].backward()
    for one in (layers, classes):
        assert one.grad is not None and bool(one.grad.isfinite().all()) and bool(one.grad[..., 2].any())
        assert not bool(one.grad[..., :2].any())
