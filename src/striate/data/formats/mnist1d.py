"""MNIST-1D, generated: ten shapes of digits as signals of 40 numbers, made hard by known means.

Greydanus and Kobak, "Scaling down deep learning with MNIST-1D" (arXiv:2011.14439): the 12-point shape of a digit is
padded with 36 to 60 zeros, stretched to 72 points, scaled by up to 20%, turned round by up to 47 points; where it is
zero comes correlated noise (0.25 times normal numbers under a Gaussian of deviation 2 points), then independent noise
(0.02) everywhere, a slope of up to 0.375, and 40 points are taken from the 72 by linear interpolation. The samples are
shuffled and the set standardised as a whole; the first 4/5 are for training.

The published set is defined by its draws: NumPy's legacy Mersenne Twister with seed 42, in the order in which they are
taken here. A test compares every value with the authors' package.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.data.collection import Collection
from striate.data.formats.arrays import collected
from striate.data.reader import Reader

WORD = "mnist1d"
# The heights of the digits 0 to 9 as published: the data set's definition, which cannot be put otherwise.
_HEIGHTS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_POINTS = 72
_PADDING = (36, 60)
_TURN = 48
_SCALE = 0.4
_SLOPE = 0.75
_CORRELATED = 0.25
_INDEPENDENT = 0.02
_DEVIATION = 2.0
_OFFSET = 1e-8
"""Added to the shape, so that a zero inside it is told from padding."""


@dataclass(frozen=True)
class Mnist1d:
    """``train`` (4000, 40) and ``test`` (1000, 40) float64 signals with their classes, int64, for 5000 samples."""

    train: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float64]
    test_labels: NDArray[np.int64]


@lru_cache(maxsize=2)
def generate(seed: int = 42, samples: int = 5000, length: int = 40) -> Mnist1d:
    """The set; the defaults give the published one. ``samples`` counts both splits and is a multiple of 10.

    The arrays are shared and cannot be written to. Errors: ``ValueError`` for another number of samples.
    """
    if samples < 20 or samples % 10:
        raise ValueError(f"the number of samples must be a multiple of 10 from 20 on, got {samples}")
    draws = np.random.RandomState(seed)
    labels = np.repeat(np.arange(10), samples // 10)
    shapes = _shapes()
    signals = _signals(shapes[labels], length, draws)
    order = draws.permutation(samples)
    signals, labels = signals[order], labels[order]
    signals = (signals - signals.mean()) / signals.std()
    cut = samples * 4 // 5
    for array in (signals, labels):
        array.setflags(write=False)
    return Mnist1d(signals[:cut], labels[:cut], signals[cut:], labels[cut:])


def _shapes() -> NDArray[np.float64]:
    """(10, 12): each of mean 0 and deviation 1, moved to begin at 0, a sixth as high."""
    heights = np.array(_HEIGHTS)
    heights = heights - heights.mean(axis=1, keepdims=True)
    heights = heights / heights.std(axis=1, keepdims=True)
    return np.asarray((heights - heights[:, :1]) / 6.0)


def _signals(shapes: NDArray[np.float64], length: int, draws: np.random.RandomState) -> NDArray[np.float64]:
    """(n, length): a signal of each shape. Every signal's draws follow those of the one before."""
    n, (low, high) = len(shapes), _PADDING
    padding, turn = np.empty(n, np.int64), np.empty(n, np.int64)
    scale, slope = np.empty((n, 1)), np.empty((n, 1))
    correlated, independent = np.empty((n, _POINTS)), np.empty((n, _POINTS))
    for k in range(n):
        padding[k] = low + int(draws.random_sample() * (high - low + 1))
        scale[k] = draws.random_sample()
        turn[k] = draws.randint(0, _TURN)
        correlated[k] = draws.standard_normal(_POINTS)
        independent[k] = draws.standard_normal(_POINTS)
        slope[k] = draws.random_sample()
    signals = np.empty((n, _POINTS))
    for points in np.unique(padding):
        rows = np.flatnonzero(padding == points)
        zeros = np.zeros((len(rows), int(points)))
        signals[rows] = _resampled(np.concatenate((shapes[rows] + _OFFSET, zeros), axis=1), _POINTS)
    signals = signals * (1 + _SCALE * (scale - 0.5))
    places = (np.arange(_POINTS) - turn[:, None]) % _POINTS
    signals = np.take_along_axis(signals, places, axis=1)
    signals = np.where(signals != 0, signals, _smoothed(_CORRELATED * correlated))
    signals = signals + _INDEPENDENT * independent
    return _resampled(signals - _SLOPE * (slope - 0.5) * np.linspace(-0.5, 0.5, _POINTS), length)


def _resampled(signals: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """The signals (n, m) at ``points`` evenly spaced places from their first to their last value, linearly
    interpolated: to the last bit what ``numpy.interp`` gives for each."""
    at, known = np.linspace(0, 1, points), np.linspace(0, 1, signals.shape[1])
    left = np.minimum(np.searchsorted(known, at, side="right") - 1, len(known) - 2)
    slopes = (signals[:, left + 1] - signals[:, left]) / (known[left + 1] - known[left])
    found = slopes * (at - known[left]) + signals[:, left]
    found[:, -1] = signals[:, -1]
    return np.asarray(found)


def _smoothed(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signals (n, m) under a Gaussian cut off at four deviations, mirrored at their ends (the end values repeated)."""
    reach, points = int(4 * _DEVIATION + 0.5), noise.shape[1]
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _DEVIATION) ** 2)
    weights = weights / weights.sum()
    padded = np.pad(noise, ((0, 0), (reach, reach)), mode="symmetric")
    smooth = weights[reach] * noise
    for step in range(reach):  # from the far ends inwards: the order of addition decides the last bits
        far = 2 * reach - step
        smooth += weights[step] * (padded[:, step : step + points] + padded[:, far : far + points])
    return np.asarray(smooth)


class Mnist1dReader(Reader):
    """The generated set, opened by the word ``mnist1d`` in place of a path (``./mnist1d`` is a folder so named)."""

    format = "mnist1d"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """The word itself."""
        return "the word for the generated set" if str(path) == WORD else None

    def collect(self) -> Collection:
        """Generate it (about a fifth of a second)."""
        made = generate()
        return collected(
            self.path,
            {"train": made.train, "test": made.test},
            {"train": made.train_labels, "test": made.test_labels},
            layout="NL",
        )
