"""Losses of segmentation against their equations written out pixel by pixel, and against finite differences."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.ops.segmentation_losses import Summed, lovasz_softmax, pixel_cross_entropy, soft_dice

IGNORE = 255
SIZES = {1: (7,), 2: (4, 5), 3: (3, 2, 4)}
LOSSES: dict[str, Callable[..., Summed]] = {
    "cross_entropy": pixel_cross_entropy,
    "focal": lambda *given, **more: pixel_cross_entropy(*given, **more, gamma=2.0),
    "dice": soft_dice,
    "lovasz": lovasz_softmax,
}


def drawn(axes: int, seed: int, batch: int = 3, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Logits and a target of which some pixels, and all of the second sample, do not count."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes - 1, (batch, *SIZES[axes]), generator=generator)  # the last class never occurs
    target[torch.rand(target.shape, generator=generator) < 0.2] = IGNORE
    target[1] = IGNORE
    return torch.randn(batch, classes, *SIZES[axes], generator=generator, dtype=torch.float64), target


def pixels(logits: Tensor, target: Tensor) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The probabilities (n, K) and classes of one sample's pixels that count."""
    p = logits.softmax(dim=0).flatten(1).T.numpy()
    numbers = target.flatten().tolist()
    kept = [place for place, number in enumerate(numbers) if number != IGNORE]
    return p[kept], [numbers[place] for place in kept]


def naive_cross_entropy(logits: Tensor, target: Tensor, weights: list[float], gamma: float = 0.0) -> float:
    p, t = pixels(logits, target)
    return sum(-weights[k] * (1 - row[k]) ** gamma * math.log(row[k]) for row, k in zip(p, t, strict=True)) / len(t)


def naive_dice(logits: Tensor, target: Tensor, weights: list[float]) -> float:
    p, t = pixels(logits, target)
    total = 0.0
    for k in set(t):
        both = sum(row[k] for row, number in zip(p, t, strict=True) if number == k)
        total += weights[k] * (1 - 2 * both / (sum(row[k] ** 2 for row in p) + t.count(k)))
    return total / sum(weights[k] for k in set(t))


def naive_lovasz(logits: Tensor, target: Tensor, weights: list[float]) -> float:
    p, t = pixels(logits, target)
    total = 0.0
    for k in set(t):
        errors = [abs(float(number == k) - row[k]) for row, number in zip(p, t, strict=True)]
        order = sorted(range(len(t)), key=lambda place: -errors[place])
        truth, before = {place for place in order if t[place] == k}, 0.0
        for count, place in enumerate(order, start=1):
            wrong = set(order[:count])
            answer = (truth - wrong) | (wrong - truth)
            jaccard = 1 - len(truth & answer) / len(truth | answer)
            total += weights[k] * errors[place] * (jaccard - before)
            before = jaccard
    return total / sum(weights[k] for k in set(t))


NAIVE = {
    "cross_entropy": naive_cross_entropy,
    "focal": lambda *given: naive_cross_entropy(*given, gamma=2.0),
    "dice": naive_dice,
    "lovasz": naive_lovasz,
}


@pytest.mark.parametrize("name, axes, weighted", list(product(LOSSES, (1, 2, 3), (False, True))))
def test_the_loss_is_its_equation_summed_over_samples_that_count(name: str, axes: int, weighted: bool) -> None:
    logits, target = drawn(axes, seed=axes)
    weights = [0.5, 2.0, 1.0, 3.0] if weighted else [1.0] * 4
    total, count = LOSSES[name](logits, target, IGNORE, torch.tensor(weights) if weighted else None)
    expected = sum(NAIVE[name](logits[row], target[row], weights) for row in (0, 2))
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
def test_perfect_answers_lose_nothing_and_void_pixels_have_no_say(name: str) -> None:
    _, target = drawn(2, seed=1)
    truth = torch.where(target == IGNORE, 0, target)
    logits = 50.0 * torch.nn.functional.one_hot(truth, 4).movedim(-1, 1).double()
    assert float(LOSSES[name](logits, target, IGNORE)[0]) == pytest.approx(0.0, abs=1e-9)
    other = torch.where((target == IGNORE)[:, None], -logits, logits)
    assert float(LOSSES[name](other, target, IGNORE)[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_void_counts_nothing_and_has_a_gradient_of_nothing(name: str) -> None:
    logits = torch.randn(2, 3, 6, requires_grad=True)
    total, count = LOSSES[name](logits, torch.full((2, 6), IGNORE), IGNORE)
    total.backward()
    assert count == 0 and float(total.detach()) == 0 and logits.grad is not None and not bool(logits.grad.any())


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"need a target \(2, 6\), \(2, 5\) came"):
        LOSSES[name](torch.zeros(2, 3, 6), torch.zeros(2, 5, dtype=torch.int64), IGNORE)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name: str) -> None:
    logits, target = drawn(2, seed=3)
    half = logits.to(torch.bfloat16)
    assert float(LOSSES[name](half, target, IGNORE)[0]) == pytest.approx(
        float(LOSSES[name](half.float(), target, IGNORE)[0])
    )
