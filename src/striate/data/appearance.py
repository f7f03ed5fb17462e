"""Changes of appearance for a batch: colour, gain, blur and noise. Nothing moves, so targets stay as they are.

All changes of colour are one affine map of a pixel's channels, x -> M x + t, so that an 8-bit image is computed with in
float32 and rounded once. In order: a factor f (brightness, gain), contrast c about the image's mean grey m, saturation
s about the pixel's grey, a rotation of the hue by h, and AlexNet's shift of colour d:

    M = H(h) S(s) c f,   t = H(h) S(s) (1 - c) f m + d,   S(s) = s I + (1 - s) 1 g^T

g = (0.299, 0.587, 0.114) are the weights of luminance (ITU-R BT.601), and H(h) turns the plane of I and Q in NTSC's YIQ
space by h and leaves Y: H = T^-1 R(h) T, which leaves greys exactly where they are. It is not the hue of HSV, whose
change is no linear map; for small angles the two look alike.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.resample import from_floating, to_floating
from striate.data.draws import Floats, Looks
from striate.data.shards import Shards

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""How much red, green and blue make grey (ITU-R BT.601)."""
CHROMA = np.array([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""I and Q of NTSC's YIQ space, from red, green and blue."""
IMAGENET_COLOURS = (
    (0.2175, -0.5675, -0.5808, -0.5836),
    (0.0188, 0.7192, -0.0045, -0.6948),
    (0.0045, 0.4009, -0.8140, 0.4203),
)
"""Eigenvalue and eigenvector (red, green, blue) of the colours of ImageNet, values from 0 to 1, as published with
fb.resnet.torch (Gross and Wilber 2016)."""
RANGES = {"uint8": 255.0, "uint16": 65535.0}
"""The range of values of each stored type; that of floating-point samples is their own, from smallest to largest."""


def change(images: Tensor, looks: Looks, stored: str | None = None) -> Tensor:
    """``images`` (B, C, *spatial), changed; the numeric type is kept (integers rounded once and clamped).

    ``stored`` is the type they were stored as, where they are no longer of it: it gives the range of values.
    Errors: ``InputError`` for saturation, hue or colour of samples that have not 3 channels.
    """
    if looks.empty:
        return images
    name = stored or str(images.dtype).removeprefix("torch.")
    values = to_floating(images)
    span = _span(values, name) if looks.colour is not None or looks.noise else np.ones(len(images))
    changed = _recolour(values, looks, span, _widest(images.dtype))
    if looks.sigma is not None:
        changed = torch.stack([blur(one, float(sigma)) for one, sigma in zip(changed, looks.sigma, strict=True)])
    if looks.words is not None:
        deviations = looks.noise * span
        noise = [_noise(changed.shape[1:], *one) for one in zip(looks.words, deviations, strict=True)]
        changed = changed + torch.stack(noise).to(changed)
    return from_floating(changed, images.dtype)


def _span(values: Tensor, stored: str) -> Floats:
    """The range (B,) of values of each sample."""
    if stored in RANGES:
        return np.full(len(values), RANGES[stored])
    flat = values.flatten(1)
    return np.asarray((flat.amax(dim=1) - flat.amin(dim=1)).double().cpu().numpy())


def colour_maps(looks: Looks, grey: Floats, span: Floats, channels: int) -> tuple[Floats, Floats]:
    """M (B, C, C) and t (B, C) of the module's equation; ``grey`` (B,) is the mean grey and ``span`` (B,) the range."""
    count = len(grey)
    if channels != 3:
        for name, drawn in (("saturation", looks.saturation), ("hue", looks.hue), ("pca", looks.colour)):
            if drawn is not None:
                raise InputError(f"augment.{name}", f"{channels} channels came, it takes 3 (rgb)", "leave it out")
    factor = np.ones(count) if looks.factor is None else looks.factor
    contrast = np.ones(count) if looks.contrast is None else looks.contrast
    linear = np.eye(channels) * (factor * contrast)[:, None, None]
    added = np.tile(((1 - contrast) * factor * grey)[:, None], (1, channels))
    if looks.saturation is not None:
        s = looks.saturation[:, None, None]
        linear = (s * np.eye(3) + (1 - s) * np.ones((3, 1)) * LUMINANCE) @ linear  # t is grey, and stays
    if looks.hue is not None:
        linear = hue_maps(looks.hue) @ linear
    if looks.colour is not None:
        added = added + looks.colour * span[:, None]
    return linear, added


def hue_maps(angles: Floats) -> Floats:
    """H (B, 3, 3) of the module's equation for angles (B,) in radians; its rows add up to 1, so greys stay."""
    chroma = CHROMA - CHROMA.mean(axis=1, keepdims=True)  # the published digits leave 1e-4 of a grey
    forth = np.vstack((LUMINANCE, chroma))
    back = np.linalg.inv(forth)
    turns = np.tile(np.eye(3), (len(angles), 1, 1))
    turns[:, 1, 1] = turns[:, 2, 2] = np.cos(angles)
    turns[:, 2, 1] = np.sin(angles)
    turns[:, 1, 2] = -turns[:, 2, 1]
    return np.asarray(back @ turns @ forth)


def _recolour(values: Tensor, looks: Looks, span: Floats, widest: int) -> Tensor:
    drawn = (looks.factor, looks.contrast, looks.saturation, looks.hue, looks.colour)
    if all(one is None for one in drawn):
        return values
    channels, spread = values.shape[1], [1] * (values.ndim - 2)
    grey = np.zeros(len(values)) if looks.contrast is None else _grey(values, widest)
    linear, added = colour_maps(looks, grey, span, channels)
    m, t = torch.from_numpy(linear).to(values), torch.from_numpy(added).to(values)
    added_to = t.reshape(*t.shape, *spread)
    if looks.saturation is None and looks.hue is None:
        own = m.diagonal(dim1=1, dim2=2)
        return values.mul(own.reshape(*own.shape, *spread)).add_(added_to)
    columns = [m[:, :, channel].reshape(*t.shape, *spread) for channel in range(channels)]
    total = values[:, :1].mul(columns[0]).add_(added_to)  # three times as fast as addcmul, which torch does not widen
    for channel in range(1, channels):
        total.add_(values[:, channel : channel + 1].mul(columns[channel]))
    return total


def _widest(dtype: torch.dtype) -> int:
    """How many values of an integer type float32 adds up exactly, in any order; 0 for floating-point types."""
    return 0 if dtype.is_floating_point else (1 << 24) // torch.iinfo(dtype).max


def _grey(values: Tensor, widest: int) -> Floats:
    """The mean grey (B,) of each sample, the same whatever batch it is in.

    Sums of integers along a row are exact in floating point; others are added up sample by sample in one fixed order.
    """
    if values.dtype == torch.float32 and values.shape[-1] <= widest:
        sums = values.sum(dim=-1).double().reshape(*values.shape[:2], -1).sum(dim=2).cpu().numpy()
    else:
        rows = values.cpu().numpy().reshape(len(values), values.shape[1], -1)
        sums = np.array([[np.add.reduce(row, dtype=np.float64) for row in one] for one in rows])
    weights = LUMINANCE if values.shape[1] == 3 else np.full(values.shape[1], 1 / values.shape[1])
    means = sums / values[0, 0].numel()
    return np.asarray((means * weights).sum(axis=1))


def blur(values: Tensor, sigma: float) -> Tensor:
    """Floating ``values`` (C, *spatial) under a Gaussian of deviation ``sigma`` pixels, axis by axis.

    The kernel reaches to 3 sigma, rounded up, and its weights add up to 1; outside, the edge goes on.
    """
    if sigma < 1e-3:
        return values
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps: Sequence[float] = (weights / weights.sum()).tolist()
    for axis in range(1, values.ndim):
        n = values.shape[axis]
        index = (torch.arange(-reach, n + reach, device=values.device)).clamp_(0, n - 1)
        padded = values.index_select(axis, index)
        total = padded.narrow(axis, 0, n) * taps[0]
        for place, weight in enumerate(taps[1:], start=1):
            total = total.add_(padded.narrow(axis, place, n), alpha=weight)
        values = total
    return values


def _noise(shape: tuple[int, ...], words: NDArray[np.uint64], deviation: float) -> Tensor:
    """Normal numbers of numpy's generator Philox under a key of two words: the same on every machine for one version
    of numpy, and a hundred times faster than drawing as many by :mod:`striate.core.random`."""
    generator = np.random.Generator(np.random.Philox(key=words))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32) * np.float32(deviation))


def colour_covariance(shards: Shards, positions: NDArray[np.integer], most: int = 2000) -> Floats:
    """The covariance (3, 3) of red, green and blue over all pixels of (at most ``most``, evenly spread) samples, with
    values as a share of their range. Errors: ``InputError`` where samples have not 3 channels."""
    chosen = np.asarray(positions)[:: max(1, -(-len(positions) // most))]
    if shards.schema.channels != 3 or not len(chosen):
        cause = f"{len(chosen)} samples of {shards.schema.channels} channels"
        raise InputError(shards.folder, f"{cause} came for a covariance of colours", "give images of 3 channels")
    largest = RANGES.get(shards.dtype, 1.0)
    count, total, square = 0, np.zeros(3), np.zeros((3, 3))
    for position in chosen:
        values = shards.read(int(position)).image.numpy().reshape(3, -1).astype(np.float64) / largest
        count, total, square = count + values.shape[1], total + values.sum(axis=1), square + values @ values.T
    mean = total / count
    return np.asarray(square / count - np.outer(mean, mean))


def principal_colours(covariance: Floats) -> tuple[tuple[float, ...], ...]:
    """``Augment.pca_basis`` of a covariance (3, 3): rows (eigenvalue, red, green, blue), the largest first."""
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-values)
    rows = [(max(float(values[place]), 0.0), *vectors[:, place].tolist()) for place in order]
    return tuple(tuple(row) for row in rows)
