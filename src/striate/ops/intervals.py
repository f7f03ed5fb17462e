"""Intervals of a mean by the percentile bootstrap (Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
section 13.3), and of a share by its score (Wilson 1927)."""

import math
from statistics import NormalDist

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
    """The score interval of a share of ``hits`` in ``count`` independent trials (Wilson 1927, "Probable inference, the
    law of succession, and statistical inference", J. Amer. Statist. Assoc. 22, 209 to 212).

    With p = hits / count, n = count and z the (1 + level) / 2 quantile of the normal distribution,

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    It has a width also where all or no trials are hits, unlike the bootstrap, and stays within [0, 1]; it covers near
    its level on average at any n (Brown, Cai and DasGupta 2001, Statist. Sci. 16, 101 to 133).
    Errors: ``ValueError`` unless 0 <= hits <= count, count > 0 and 0 < level < 1.
    """
    if not 0 <= hits <= count or count == 0 or not 0 < level < 1:
        raise ValueError(f"{hits} hits of {count} at level {level} have no interval")
    share, z = hits / count, NormalDist().inv_cdf((1 + level) / 2)
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = (middle - half) / scale, (middle + half) / scale
    return (0.0 if hits == 0 else low), (1.0 if hits == count else high)  # which rounding would miss by an ulp
