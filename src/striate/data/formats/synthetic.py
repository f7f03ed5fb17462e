"""Small generated labelled sets, each learned in seconds: waves (1 axis) and shapes (2 axes).

Opened by the words ``waves`` and ``shapes`` in place of a path.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.random import integers, normal, uniform
from striate.data.collection import Collection
from striate.data.formats.arrays import collected
from striate.data.reader import Reader

WAVES = ("sine", "square", "sawtooth")
SHAPES = ("disc", "square", "cross")


def waves(
    count: int, length: int = 64, channels: int = 1, noise: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Waves of three forms with 2 to 5 periods, any phase and normal noise.

    Returns signals (count, channels, length) and their classes (count,), numbers into :data:`WAVES`, in equal shares.
    """
    index = np.arange(count)
    labels = index % len(WAVES)
    periods = 2 + 3 * uniform(seed, "waves/periods", index)[:, :, None]
    phases = uniform(seed, "waves/phases", index, channels)[:, :, None]
    turn = (periods * np.linspace(0, 1, length) + phases) % 1.0
    forms = np.stack((np.sin(2 * np.pi * turn), np.where(turn < 0.5, 1.0, -1.0), 2 * turn - 1))
    signals = forms[labels, index] + noise * normal(seed, "waves/noise", index, channels * length).reshape(turn.shape)
    return signals.astype(np.float32), labels


def shapes(
    count: int, size: int = 28, channels: int = 1, noise: float = 20.0, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bright figures of three forms on dark ground, of any place and size within the image, with normal noise.

    Returns images (count, channels, size, size) and their classes (count,), numbers into :data:`SHAPES`.
    """
    index = np.arange(count)
    labels = index % len(SHAPES)
    radius = (0.15 + 0.15 * uniform(seed, "shapes/radius", index)) * size
    centre = radius[..., None] + uniform(seed, "shapes/centre", index, 2)[:, None] * (size - 2 * radius[..., None])
    grid = np.arange(size) + 0.5
    dy = np.abs(grid[None, :, None] - centre[:, :, 0, None])
    dx = np.abs(grid[None, None, :] - centre[:, :, 1, None])
    edge = radius[:, :, None]
    forms = np.stack(
        (
            dy**2 + dx**2 < edge**2,
            np.maximum(dy, dx) < 0.85 * edge,
            (np.maximum(dy, dx) < edge) & (np.minimum(dy, dx) < 0.3 * edge),
        )
    )[labels, index]
    bright = integers(seed, "shapes/bright", index, 150, 230, channels)[:, :, None, None]
    grain = noise * normal(seed, "shapes/noise", index, channels * size * size).reshape(count, channels, size, size)
    return np.clip(30 + forms[:, None] * (bright - 30) + grain, 0, 255).astype(np.uint8), labels


class SyntheticReader(Reader):
    """600 waves or shapes, 480 of them for training."""

    format = "synthetic"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """The words themselves."""
        return "the word for a generated set" if str(path) in ("waves", "shapes") else None

    def collect(self) -> Collection:
        """Generate the set."""
        images, labels = waves(600) if str(self.path) == "waves" else shapes(600)
        return collected(
            self.path,
            {"train": images[:480], "test": images[480:]},
            {"train": labels[:480], "test": labels[480:]},
            layout="NCL" if images.ndim == 3 else "NCHW",
            others={"classes": np.array(WAVES if images.ndim == 3 else SHAPES)},
        )
