"""Small sets of images with masks, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.data.reader import Reader

SIZE = (12, 16)


def photo(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def mask(path: Path, values: Any, palette: list[int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    if palette is not None:
        image = Image.fromarray(np.asarray(values, dtype=np.uint8), "L").convert("L")
        made = Image.frombytes("P", image.size, image.tobytes())
        made.putpalette(palette)
        image = made
    image.save(path)
    return path


def halves(low: int, high: int, kind: Any = np.uint8) -> np.ndarray[Any, Any]:
    values = np.full(SIZE, low, dtype=kind)
    values[:, 8:] = high
    return values


def pairs(base: Path, masks: list[Any], images: str = "images", folder: str = "masks", end: str = "") -> Path:
    for number, values in enumerate(masks):
        photo(base / images / f"p{number}.png")
        mask(base / folder / f"p{number}{end}.png", values)
    return base


def values_of(reader: Reader, position: int = 0) -> set[int]:
    return set(reader.targets(position)["mask"].arrays()["values"].unique().tolist())


THREE = [halves(0, 1), halves(1, 2), halves(0, 2)]
