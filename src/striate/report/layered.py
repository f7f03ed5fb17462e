"""Masks of several classes a pixel drawn over images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from striate.core.bitsets import known, unpacked


def layered(
    picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.int64], colours: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) with bit sets (H, W) over it: where a pixel has several classes the mean of their colours,
    and around each class a line in its own, so that it is seen which they are; void darkened."""
    layers = unpacked(mask, len(colours))
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], dtype=np.float64)
    times = layers.sum(axis=0)[..., None]
    tint = np.einsum("khw,kc->hwc", layers.astype(np.float64), table) / np.maximum(times, 1)
    mixed = np.where(times > 0, picture * 0.6 + tint * 0.4, picture)
    mixed = np.where(known(mask, len(colours))[..., None], mixed, picture * 0.3 + 14.0)
    for layer, colour in zip(layers, table, strict=True):
        mixed[_rim(layer)] = colour
    return np.asarray(np.rint(mixed).astype(np.uint8))


def _rim(layer: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels of a layer that have a neighbour inside the image that is not of it."""
    padded = np.pad(layer, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(layer & ~inner)
