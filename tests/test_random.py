"""core/random: counter-based draws, keyed by name."""

import numpy as np
import pytest

from striate.core import random

KNOWN = [  # (counter, key, output): the known answers that accompany Salmon et al. 2011 for Philox4x32-10
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_known_answers(counter, key, answer):
    out = random.philox(np.array(counter, dtype=np.uint64)[:, None], key)
    assert tuple(int(word) for word in out[:, 0]) == answer


def test_philox_leaves_its_input_alone():
    words = np.arange(12, dtype=np.uint64).reshape(4, 3)
    random.philox(words, (1, 2))
    assert np.array_equal(words, np.arange(12, dtype=np.uint64).reshape(4, 3))


def test_a_draw_does_not_depend_on_the_batch_it_is_in():
    together = random.uniform(7, "flip", np.array([5, 0, 123_456_789_012, 5]), 3)
    for row, counter in zip(together, [5, 0, 123_456_789_012, 5], strict=True):
        assert np.array_equal(row, random.uniform(7, "flip", counter, 3))


def test_asking_for_more_numbers_changes_none_of_the_first():
    counters = np.arange(10)
    assert np.array_equal(random.uniform(1, "a", counters, 5)[:, :2], random.uniform(1, "a", counters, 2))


def test_another_name_draws_other_numbers_and_shifts_none():
    before = random.uniform(3, "shift", np.arange(100), 2)
    other = random.uniform(3, "cutout", np.arange(100), 2)
    assert np.array_equal(before, random.uniform(3, "shift", np.arange(100), 2))
    assert not np.isin(before, other).any()


def test_seed_epoch_counter_and_position_all_separate_draws():
    draws = [
        random.uniform(seed, "x", np.arange(50), 4, epoch).ravel() for seed in (0, 1, -1, 2**70) for epoch in (0, 1, 9)
    ]
    assert len(np.unique(np.concatenate(draws))) == 12 * 200


def test_one_epoch_for_each_counter_equals_asking_one_by_one():
    counters, epochs = np.array([4, 4, 9]), np.array([0, 1, 1])
    rows = random.uniform(0, "x", counters, 2, epochs)
    alone = [random.uniform(0, "x", int(c), 2, int(e)) for c, e in zip(counters, epochs, strict=True)]
    assert np.array_equal(rows, np.stack(alone))


def test_shapes_follow_the_counters():
    assert random.uniform(0, "x", 3).shape == (1,)
    assert random.uniform(0, "x", np.zeros((2, 5), dtype=np.int64), 3).shape == (2, 5, 3)
    assert random.uniform(0, "x", np.zeros(0, dtype=np.int64), 3).shape == (0, 3)


def test_uniform_numbers_are_even_and_uncorrelated():
    draws = random.uniform(11, "even", np.arange(20_000), 4)
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, bins=64, range=(0, 1))[0]
    expected = draws.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120  # chi-square, 63 degrees: beyond 1e-5
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03


def test_integers_fill_their_range_evenly():
    draws = random.integers(2, "n", np.arange(10_000), -3, 4)
    counts = np.bincount(draws.ravel() + 3, minlength=7)
    assert counts.shape == (7,)
    assert (np.abs(counts - 10_000 / 7) < 5 * np.sqrt(10_000 / 7)).all()


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    draws = random.normal(5, "noise", np.arange(20_000), 3).ravel()
    moments = [draws.mean(), draws.var(), (draws**3).mean(), (draws**4).mean()]
    assert np.allclose(moments, [0, 1, 0, 3], atol=0.1)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_a_permutation_holds_every_number_once(n):
    order = random.permutation(0, "order", 4, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_permutations_of_different_epochs_differ_and_are_even():
    orders = np.stack([random.permutation(0, "order", epoch, 10) for epoch in range(2000)])
    counts = np.stack([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    assert np.abs(counts - 200).max() < 6 * np.sqrt(200)


def test_the_numbers_are_these_for_ever():
    """A change here changes every run that was ever recorded."""
    assert random.permutation(0, "order", 0, 8).tolist() == [4, 5, 3, 1, 7, 2, 0, 6]
    words = random.bits(42, "augment.flip", np.array([0, 1]), 1, 3)
    assert words.ravel().tolist() == [10976678229750264573, 10575078414261347411]
    assert random.torch_seed(0, 1, 2) == 8690656648001069344


def test_torch_seeds_differ_by_step_and_rank_and_fit():
    seeds = {random.torch_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in range(3)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("counter", "size", "epoch"), [(-1, 1, 0), (0, -1, 0), (0, 1, -1), (0, 1, 2**32)])
def test_impossible_counters_are_refused(counter, size, epoch):
    with pytest.raises(ValueError, match="non-negative"):
        random.bits(0, "x", counter, size, epoch)


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (0, 2**32 + 1)])
def test_impossible_ranges_are_refused(low, high):
    with pytest.raises(ValueError, match="range"):
        random.integers(0, "x", 0, low, high)
