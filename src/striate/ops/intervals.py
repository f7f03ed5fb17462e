"""Percentile bootstrap intervals (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3)."""

import numpy as np
import numpy.typing as npt

from striate.core import random

_CHUNK = 2_000_000
"""Draws held at once."""


def bootstrap_interval(
    values: npt.ArrayLike, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``values`` (n,), say of per-sample correctness or loss.

    Each of ``resamples`` draws n values with replacement, by counter-based numbers keyed by ``seed``, and takes their
    mean; the interval is between the (1 - level)/2 and (1 + level)/2 quantiles of the means. The values are put in
    order first, so that the interval does not depend on the order in which samples came.
    Errors: ``ValueError`` for no values, values that are not finite, or a level outside (0, 1).
    """
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"a bootstrap interval needs finite values, {array.size} values came")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, and resamples {resamples} be positive")
    step = max(1, _CHUNK // array.size)
    means = []
    for first in range(0, resamples, step):
        counters = np.arange(first, min(first + step, resamples))
        draws = random.uniform(seed, "bootstrap", counters, array.size)
        means.append(array[(draws * array.size).astype(np.int64)].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def proportion_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of a share, as if by infinitely many resamples: no draws, no seed.

    The mean of n values drawn with replacement from ``hits`` ones and ``count - hits`` zeros is a Binomial(n, hits/n)
    number over n, so the quantiles of the bootstrap distribution are those of the binomial: the least j with
    P(J <= j) >= q. When all or no samples are hits both ends coincide, as for every percentile bootstrap.
    Errors: ``ValueError`` unless 0 <= hits <= count, count > 0 and 0 < level < 1.
    """
    if not 0 <= hits <= count or count == 0 or not 0 < level < 1:
        raise ValueError(f"{hits} hits of {count} at level {level} have no interval")
    if hits in (0, count):
        return hits / count, hits / count
    share = hits / count
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    j = np.arange(count + 1)
    log_mass = (
        log_factorial[count] - log_factorial - log_factorial[::-1] + j * np.log(share) + (count - j) * np.log1p(-share)
    )
    below = np.cumsum(np.exp(log_mass))
    low, high = np.searchsorted(below / below[-1], [(1 - level) / 2, (1 + level) / 2])
    return float(low) / count, float(high) / count
