"""The generated MNIST-1D is the published one."""

import numpy as np
import pytest

from striate.data.formats.mnist1d import _resampled, generate
from striate.data.reader import open_data


def test_every_value_equals_the_authors_package() -> None:
    oracle = pytest.importorskip("mnist1d.data", reason="the package mnist1d is not installed")
    theirs = oracle.make_dataset(oracle.get_dataset_args())
    ours = generate()
    for mine, name in (
        (ours.train, "x"),
        (ours.train_labels, "y"),
        (ours.test, "x_test"),
        (ours.test_labels, "y_test"),
    ):
        assert np.array_equal(mine, theirs[name])


def test_known_values_without_the_package() -> None:
    made = generate()
    assert (made.train.shape, made.test.shape) == ((4000, 40), (1000, 40))
    assert abs(np.concatenate((made.train, made.test)).std() - 1) < 1e-12
    assert np.bincount(np.concatenate((made.train_labels, made.test_labels))).tolist() == [500] * 10


def test_the_word_opens_it() -> None:
    reader = open_data("mnist1d")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 4000, "test": 1000}
    assert np.array_equal(reader.image(4000)[0], generate().test[0].astype(np.float32))
    assert reader.label(4000) == generate().test_labels[0]
    assert reader.classes == tuple("0123456789")


def test_another_seed_is_another_set_and_odd_sizes_are_refused() -> None:
    assert not np.array_equal(generate(seed=1, samples=50).train, generate(seed=2, samples=50).train)
    with pytest.raises(ValueError, match="multiple of 10"):
        generate(samples=55)


def test_the_set_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        generate(samples=50).train[0, 0] = 1


@pytest.mark.parametrize("points, to", [(12, 60), (48, 60), (60, 40), (72, 60), (60, 7)])
def test_all_signals_are_resampled_as_numpy_does_each(points: int, to: int) -> None:
    signals = np.random.default_rng(points).normal(size=(5, points))
    expected = [np.interp(np.linspace(0, 1, to), np.linspace(0, 1, points), one) for one in signals]
    assert np.array_equal(_resampled(signals, to), expected)
