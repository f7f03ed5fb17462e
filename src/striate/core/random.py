"""Counter-based random numbers, keyed by name.

Every draw is a pure function of (seed, name, epoch, counter, position): there is no state, so a batch can be drawn
again from any step, in any order, by any number of processes, and adding a draw under a new name shifts no other.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
doi 10.1145/2063384.2063405), vectorised over counters. One round on the words (c0, c1, c2, c3) under the key (k0, k1):

    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0));  k0 += W0, k1 += W1 (mod 2^32)

The 64-bit key is a hash of (seed, name); the 128-bit counter is (position within the draw, epoch, counter low, counter
high). All integer arithmetic, hence the same bits on every machine and for every version of numpy.
"""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_M = np.array([[0xCD9E8D57], [0xD2511F53]], dtype=np.uint64)  # multiplies (c2, c0)
_W = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

Counter = int | NDArray[np.integer]
"""A sample index, step or other number in [0, 2^63), or an array of them."""


def philox(words: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox4x32-10 of ``words`` (4, n), each below 2^32, under a key of two 32-bit words; (4, n) of the same form."""
    even, odd = words[[2, 0]], words[[1, 3]]
    for round_key in _schedule(key):
        product = even * _M  # rows: M1 c2, M0 c0
        odd ^= product >> _SHIFT
        odd ^= round_key  # rows: the new c0, c2
        product &= _LOW  # rows: the new c1, c3
        even, odd = odd[::-1], product
    return np.stack((even[1], odd[0], even[0], odd[1]))


@lru_cache(maxsize=1024)
def _schedule(key: tuple[int, int]) -> tuple[NDArray[np.uint64], ...]:
    """The key of each round, as a column: ready to combine with rows of counters."""
    rounds = [[[(word + step * extra) & 0xFFFFFFFF] for word, extra in zip(key, _W, strict=True)] for step in range(10)]
    return tuple(np.array(rounds, dtype=np.uint64))


@lru_cache(maxsize=1024)
def key(seed: int, name: str) -> tuple[int, int]:
    """The Philox key of a named draw: the first 64 bits of BLAKE2b over ``seed`` (any integer) and ``name``."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def bits(seed: int, name: str, counter: Counter, size: int = 1, epoch: Counter = 0) -> NDArray[np.uint64]:
    """``size`` random 64-bit words for each counter: uint64 of shape (*counter.shape, size).

    ``epoch`` (below 2^32, broadcast against ``counter``) separates repeated draws for one counter. The words of one
    (epoch, counter) depend on no other. Errors: ``ValueError`` for a negative counter, epoch or size, or a large epoch.
    """
    counters, epochs = np.broadcast_arrays(np.asarray(counter, dtype=np.int64), np.asarray(epoch, dtype=np.int64))
    if size < 0 or (counters.size and (counters.min() < 0 or epochs.min() < 0 or epochs.max() >= 2**32)):
        raise ValueError(f"size {size}, counters and epochs must be non-negative and epochs below 2^32")
    flat = counters.astype(np.uint64).reshape(-1, 1)
    blocks = (size + 1) // 2  # one Philox block of 128 bits holds two words
    words = np.empty((4, flat.shape[0], blocks), dtype=np.uint64)
    words[0] = np.arange(blocks, dtype=np.uint64)
    words[1] = epochs.astype(np.uint64).reshape(-1, 1)
    words[2] = flat & _LOW
    words[3] = flat >> _SHIFT
    out = philox(words.reshape(4, -1), key(seed, name))
    pairs = np.stack((out[0] << _SHIFT | out[1], out[2] << _SHIFT | out[3]), axis=-1)
    return pairs.reshape(*counters.shape, 2 * blocks)[..., :size]


def uniform(seed: int, name: str, counter: Counter, size: int = 1, epoch: Counter = 0) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits each: float64 of shape (*counter.shape, size). See :func:`bits`."""
    words = bits(seed, name, counter, size, epoch)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(
    seed: int, name: str, counter: Counter, low: int, high: int, size: int = 1, epoch: Counter = 0
) -> NDArray[np.int64]:
    """Integers in [low, high): int64 of shape (*counter.shape, size).

    Errors: ``ValueError`` when the range is empty or wider than 2^32 (beyond which 53 bits would be visibly uneven).
    """
    if not 0 < high - low <= 2**32:
        raise ValueError(f"the range [{low}, {high}) must hold between 1 and 2^32 integers")
    return low + np.floor(uniform(seed, name, counter, size, epoch) * (high - low)).astype(np.int64)


def normal(seed: int, name: str, counter: Counter, size: int = 1, epoch: Counter = 0) -> NDArray[np.float64]:
    """Standard normal numbers, float64 of shape (*counter.shape, size).

    Box and Muller (1958, doi 10.1214/aoms/1177706645): sqrt(-2 ln(1 - u)) cos(2 pi v). The logarithm and cosine are
    the C library's, so the last bit may differ between machines.
    """
    draws = uniform(seed, name, counter, 2 * size, epoch)
    return np.sqrt(-2.0 * np.log1p(-draws[..., :size])) * np.cos(2.0 * np.pi * draws[..., size:])


def permutation(seed: int, name: str, counter: int, n: int) -> NDArray[np.int64]:
    """A random order of 0..n-1 (int64, shape (n,)) for one counter, such as the order of one epoch.

    The order that sorts n random 64-bit words (ties, of probability n^2 / 2^65, keep their order), so unlike a numpy
    Generator's it does not change with the version of numpy.
    """
    return np.argsort(bits(seed, name, counter, n), kind="stable").astype(np.int64, copy=False)


def torch_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed in [0, 2^63) for torch's generator before step ``step`` in process ``rank``."""
    digest = hashlib.blake2b(f"{seed}\0torch\0{step}\0{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
