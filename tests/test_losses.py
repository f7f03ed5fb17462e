"""Losses against sums written out by hand, and the promise that parts add up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.ops.losses import binary_cross_entropy, cross_entropy

SHAPES = st.sampled_from([(4, 3), (1, 1), (2, 5, 7), (2, 4, 3, 2), (1, 3, 2, 2, 2)])


def _by_hand(logits, probabilities, weights, smoothing):
    """-sum w q' log p, class by class and position by position, in plain Python."""
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist()
    total = 0.0
    for scores, q in zip(rows, probabilities, strict=True):
        normaliser = math.log(sum(math.exp(score) for score in scores))
        for k, score in enumerate(scores):
            smooth = (1 - smoothing) * q[k] + smoothing / len(scores)
            total -= weights[k] * smooth * (score - normaliser)
    return total


def _case(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    weights = torch.rand(shape[1], generator=generator, dtype=torch.float64) + 0.1
    return logits, target, weights


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())
def test_cross_entropy_is_the_sum_written_out(shape, seed, smoothing, weighted):
    logits, target, weights = _case(shape, seed)
    total, count = cross_entropy(logits, target, smoothing, weights if weighted else None)
    one_hot = torch.nn.functional.one_hot(target.reshape(-1), shape[1]).tolist()
    w = weights.tolist() if weighted else [1.0] * shape[1]
    assert total.item() == pytest.approx(_by_hand(logits, one_hot, w, smoothing), rel=1e-9)
    assert count == pytest.approx(sum(w[k] for k in target.reshape(-1).tolist()))


@settings(deadline=None, max_examples=20)
@given(SHAPES, st.integers(0, 1000), st.sampled_from([0.0, 0.2]), st.booleans())
def test_one_hot_probabilities_give_what_classes_give(shape, seed, smoothing, weighted):
    logits, target, weights = _case(shape, seed)
    one_hot = torch.nn.functional.one_hot(target, shape[1]).movedim(-1, 1).double()
    chosen = weights if weighted else None
    hard, hard_count = cross_entropy(logits, target, smoothing, chosen)
    soft, soft_count = cross_entropy(logits, one_hot, smoothing, chosen)
    torch.testing.assert_close(hard, soft)
    assert hard_count == pytest.approx(soft_count)


def test_mixed_probabilities_are_the_sum_written_out():
    logits, _, weights = _case((5, 4), 1)
    mixed = torch.softmax(torch.randn(5, 4, dtype=torch.float64), dim=1)
    total, count = cross_entropy(logits, mixed, 0.1, weights)
    assert total.item() == pytest.approx(_by_hand(logits, mixed.tolist(), weights.tolist(), 0.1))
    assert count == pytest.approx((mixed * weights).sum().item())


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 20), st.integers(1, 19), st.integers(0, 100), st.booleans())
def test_parts_of_a_batch_add_up(size, cut, seed, weighted):
    logits, target, weights = _case((size, 4), seed)
    chosen = weights if weighted else None
    cut = min(cut, size - 1)
    whole, count = cross_entropy(logits, target, 0.1, chosen)
    parts = [cross_entropy(logits[p], target[p], 0.1, chosen) for p in (slice(cut), slice(cut, None))]
    torch.testing.assert_close(whole, parts[0][0] + parts[1][0])
    assert count == pytest.approx(parts[0][1] + parts[1][1])


def test_ignored_positions_count_for_nothing():
    logits, target, weights = _case((2, 5, 7), 3)
    masked = target.clone()
    masked[:, ::2] = 255
    kept = logits[:, :, 1::2].clone()
    for chosen in (None, weights):
        total, count = cross_entropy(logits, masked, class_weights=chosen, ignore=255)
        expected, expected_count = cross_entropy(kept, target[:, 1::2], class_weights=chosen)
        torch.testing.assert_close(total, expected)
        assert count == pytest.approx(expected_count)


def test_everything_ignored_is_zero_over_zero_with_a_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    total, count = cross_entropy(logits, torch.full((2,), 255), ignore=255)
    total.backward()
    assert (total.item(), count) == (0.0, 0)
    assert logits.grad.abs().sum() == 0


def test_the_default_ignored_label_of_torch_is_not_ignored():
    with pytest.raises(IndexError):
        cross_entropy(torch.zeros(1, 3), torch.tensor([-100]))


def test_counts_are_python_numbers():
    logits, target, weights = _case((4, 3), 0)
    assert type(cross_entropy(logits, target)[1]) is int
    assert type(cross_entropy(logits, target, class_weights=weights)[1]) is float


def test_small_integer_labels_are_taken():
    logits, target, _ = _case((4, 3), 0)
    torch.testing.assert_close(cross_entropy(logits, target.to(torch.uint8))[0], cross_entropy(logits, target)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_added_up_in_float32(dtype):
    logits = torch.zeros(4096, 10, dtype=dtype)
    total, _ = cross_entropy(logits, torch.zeros(4096, dtype=torch.int64))
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(4096 * math.log(10), rel=1e-5)
    assert binary_cross_entropy(logits, logits)[0].item() == pytest.approx(40960 * math.log(2), rel=1e-5)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"need classes of shape \(2,\), \(2, 1\) came"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"batch_size \(2\).*\(4\)"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"probabilities of shape \(2, 4\)"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="no class to ignore"):
        cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), ignore=0)
    with pytest.raises(ValueError, match=r"tags of shape \(2,\)"):
        binary_cross_entropy(torch.zeros(2, 3), torch.zeros(2))


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.integers(0, 1000), st.sampled_from([0.0, 0.2]), st.booleans(), st.booleans())
def test_binary_cross_entropy_is_the_sum_written_out(shape, seed, smoothing, weighted, partial):
    logits, _, weights = _case(shape, seed)
    tags = (torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1)) * 3).floor() - 1  # -1, 0, 1
    if not partial:
        tags = tags.clamp(min=0)
    total, count = binary_cross_entropy(logits, tags, smoothing, weights if weighted else None, -1 if partial else None)
    expected, known = 0.0, 0
    rows = zip(logits.movedim(1, -1).flatten().tolist(), tags.movedim(1, -1).flatten().tolist(), strict=True)
    for place, (score, tag) in enumerate(rows):
        if tag >= 0:
            t, s = (1 - smoothing) * tag + smoothing / 2, 1 / (1 + math.exp(-score))
            weight = weights[place % shape[1]].item() if weighted else 1.0
            expected -= weight * t * math.log(s) + (1 - t) * math.log(1 - s)
            known += 1
    assert total.item() == pytest.approx(expected, rel=1e-7)
    assert count == known


def test_gradients_are_those_of_finite_differences():
    logits, target, weights = _case((3, 4), 5)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, target, 0.1, weights)[0], logits)
    tags = torch.rand(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: binary_cross_entropy(x, tags, 0.1, weights)[0], logits)
