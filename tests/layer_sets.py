"""Small sets of images with masks in which classes overlap, for tests: shapes of three kinds in three colours."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("disc", "square", "stripe")


def shapes(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A picture (H, W, 3) uint8 and what is there, bool (3, H, W): a disc, a square and a stripe that may overlap, each
    in a channel of its own, each missing in one picture of five."""
    image, layers = rng.integers(90, 140, (*size, 3)), np.zeros((3, *size), dtype=bool)
    y, x = np.mgrid[: size[0], : size[1]]
    for number in range(3):
        row, column = y - rng.integers(12, size[0] - 12), x - rng.integers(12, size[1] - 12)
        drawn = (row**2 + column**2 <= 100, (abs(row) <= 9) & (abs(column) <= 9), abs(row + column) <= 4)[number]
        if rng.random() >= 0.2:
            layers[number] = drawn
            image[..., number][drawn] += 90
    return image.astype(np.uint8), layers


def write_layers(folder: Path, count: int = 24, size: tuple[int, int] = (40, 48), empty: bool = True) -> Path:
    """``{split}/images`` and ``{split}/masks/{class}``; without ``empty`` a class that is not there has no file."""
    rng = np.random.default_rng(0)
    for number in range(count):
        image, layers = shapes(rng, size)
        place = folder / ("val" if number % 4 == 3 else "train")
        save(place / "images" / f"{number:02}.png", image)
        for name, layer in zip(NAMES, layers, strict=True):
            if layer.any() or empty:
                save(place / "masks" / name / f"{number:02}.png", layer * 255)
    return folder


def save(path: Path, values: Any) -> Path:
    """Write an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values).astype(np.uint8)).save(path)
    return path


def small(base: Path, layers: dict[str, list[Any]], form: str = "masks/{name}/{stem}.png") -> Path:
    """Images ``p0``, ``p1``, ... with the masks of each class (None: no file), in files as ``form`` says."""
    for name, masks in layers.items():
        for number, values in enumerate(masks):
            size = next(np.shape(one[number]) for one in layers.values() if one[number] is not None)
            save(base / "images" / f"p{number}.png", np.full((*size, 3), 40 + 9 * number))
            if values is not None:
                save(base / form.format(name=name, stem=f"p{number}"), values)
    return base
