"""Which images are nearly the same: a 64-bit hash finds candidates among hundreds of thousands, small pictures decide.

The hash holds the signs of the 64 lowest frequencies of a 32 x 32 grey picture about their median, after Zauner (2010),
"Implementation and Benchmarking of Perceptual Image Hash Functions", chapter 3.2.2. Two hashes that differ in at most
b bits agree in one of b + 1 pieces (Norouzi, Punjani and Fleet 2012, "Fast Search in Hamming Space with Multi-Index
Hashing"), so only images that share a piece are compared. Of the candidates, those are alike whose small pictures
correlate strongly: neighbouring frames of a film, a copy that was compressed again, made smaller or brighter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Height and width of the grey picture that is hashed."""
KEPT = 16
"""Height and width of the picture that is kept for comparison."""
MOST_BITS = 7
"""How many of the 64 bits may differ."""
CORRELATION = 0.975
"""How strongly two small pictures must correlate to be nearly the same: different hands making one sign on one
background reach 0.971, one slide in two focal planes 0.983, films 0.99."""
FLAT = 3.0
"""Standard deviation, in grey levels of 255, up to which a picture is too even to be compared with another."""
MOST_COMPARED = 500_000
"""How many candidates are compared at most: a set of thousands of copies of one image would have too many pairs."""
_ROWS, _AT_ONCE = 1024, 50_000

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Print:
    """What is kept of an image to find others like it: its hash (64 bits) and its small grey picture, flattened."""

    hash: int
    picture: bytes


@dataclass(frozen=True)
class Pairs:
    """``first`` and ``second`` (P,), numbers of prints that are alike, first < second, with their ``correlation``;
    ``complete`` is False when there were more candidates than are compared."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: NDArray[np.float64]
    complete: bool = True


def small_grey(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """An image (C, H, W) of uint8, uint16 or float32 as grey (32, 32) in [0, 255], each the mean of its area."""
    values = image[:3] if len(image) in (3, 4) else image[:1]
    if values.dtype == np.uint8:
        layered = np.ascontiguousarray(values.transpose(1, 2, 0)) if len(values) == 3 else values[0]
        picture = Image.fromarray(np.asarray(layered, dtype=np.uint8)).convert("L")
        return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    grey = values.astype(np.float32).mean(axis=0)
    low, high = float(grey.min()), float(grey.max())
    scaled = (grey - low) * (255.0 / (high - low)) if high > low else np.zeros_like(grey)
    return np.asarray(Image.fromarray(scaled).resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)


def print_of(image: NDArray[np.generic]) -> Print | None:
    """The print of an image (C, H, W), or None where it is too even to be told from another one."""
    grey = small_grey(image)
    if not np.isfinite(grey).all() or grey.std() <= FLAT:
        return None
    waves = (_WAVES @ grey @ _WAVES.T).reshape(-1)
    bits = waves > np.median(waves[1:])
    number = int.from_bytes(np.packbits(bits).tobytes(), "big")
    kept = grey.reshape(KEPT, SIDE // KEPT, KEPT, SIDE // KEPT).mean(axis=(1, 3))
    return Print(number, np.clip(np.rint(kept), 0, 255).astype(np.uint8).tobytes())


def _cosines() -> NDArray[np.float64]:
    """The 8 slowest waves of the discrete cosine transform of 32 values, (8, 32)."""
    place, wave = np.arange(SIDE), np.arange(8)
    return np.asarray(np.cos(np.pi * (2 * place[None] + 1) * wave[:, None] / (2 * SIDE)))


_WAVES = _cosines()
_NONE = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


def alike(prints: list[Print], *, bits: int = MOST_BITS, correlation: float = CORRELATION) -> Pairs:
    """The pairs of prints that are nearly the same, each once, ordered by their numbers."""
    if len(prints) < 2:
        return _NONE
    hashes = np.array([one.hash for one in prints], dtype=np.uint64)
    pictures = np.frombuffer(b"".join(one.picture for one in prints), dtype=np.uint8).reshape(len(prints), -1)
    centred = pictures.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True)), 1e-6)
    firsts, seconds, strengths = [], [], []
    left, complete = MOST_COMPARED, True
    for first, second in _candidates(hashes, bits):
        if len(first) > left:
            first, second, complete = first[:left], second[:left], False
        left -= len(first)
        parts = [slice(begin, begin + _AT_ONCE) for begin in range(0, len(first), _AT_ONCE)]
        products = [np.einsum("ij,ij->i", centred[first[part]], centred[second[part]]) for part in parts]
        strength = np.concatenate(products) if products else np.zeros(0, dtype=np.float32)
        near = strength >= correlation
        firsts.append(first[near])
        seconds.append(second[near])
        strengths.append(strength[near])
        if not left:
            complete = False
            break
    if not firsts:
        return _NONE
    low = np.concatenate([np.minimum(a, b) for a, b in zip(firsts, seconds, strict=True)])
    high = np.concatenate([np.maximum(a, b) for a, b in zip(firsts, seconds, strict=True)])
    _, kept = np.unique(low * len(prints) + high, return_index=True)
    return Pairs(low[kept], high[kept], np.concatenate(strengths)[kept].astype(np.float64), complete)


def _candidates(hashes: NDArray[np.uint64], bits: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of numbers of hashes that differ in at most ``bits`` bits; a pair may come more than once."""
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        piece = (hashes >> np.uint64(start)) & np.uint64((1 << (stop - start)) - 1)
        order = np.argsort(piece, kind="stable")
        cuts = np.flatnonzero(np.diff(piece[order])) + 1
        for run in np.split(order, cuts):
            for begin in range(0, len(run) - 1, _ROWS):
                rows, others = run[begin : begin + _ROWS], run[begin:]
                apart = np.bitwise_count(hashes[rows][:, None] ^ hashes[others][None])
                near_row, near_other = np.nonzero(apart <= bits)
                fresh = near_other > near_row
                if fresh.any():
                    yield rows[near_row[fresh]], others[near_other[fresh]]
