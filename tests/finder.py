"""A detector that is right by construction, for tests of what becomes of answers: it finds the red rectangle and the
blue one of an image, wherever preprocessing has put them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from striate.core.transform import Compose, Letterbox, Resize
from striate.data.collection import ReaderOptions
from striate.inference.predictor import Predictor
from striate.tasks.detection import Detection

CLASSES = ("blue", "red")
SIZES = ((40, 80), (90, 30), (64, 64), (150, 200), (33, 47))


def rectangles(number: int, size: tuple[int, int]) -> dict[str, tuple[int, int, int, int]]:
    """The bounds (y0, x0, y1, x1) of the rectangles of an image; every third has only a blue one."""
    high, wide = size
    red = (high // 8, wide // 5 + number, high // 8 + high // 3, wide // 5 + number + wide // 4)
    blue = (high // 2 + 1, wide // 2, high - 3, wide // 2 + wide // 3)
    return {"blue": blue} if number % 3 == 2 else {"blue": blue, "red": red}


def image_of(number: int, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """(H, W, 3) uint8 with the rectangles on black."""
    values = np.zeros((*size, 3), dtype=np.uint8)
    for name, (y0, x0, y1, x1) in rectangles(number, size).items():
        values[y0:y1, x0:x1, 0 if name == "red" else 2] = 255
    return values


def write_images(folder: Path) -> list[dict[str, tuple[int, int, int, int]]]:
    """Images of several sizes, 0.png to 4.png; returns their rectangles."""
    folder.mkdir(parents=True)
    for number, size in enumerate(SIZES):
        Image.fromarray(image_of(number, size)).save(folder / f"{number}.png")
    return [rectangles(number, size) for number, size in enumerate(SIZES)]


def _found(images: Tensor) -> dict[str, Tensor]:
    """A box a class, from the sums of its channel over rows and columns: exact also where edges are blurred."""
    values = images.double()
    green = values[:, 1]
    bounds, scores = [], []
    for channel in (2, 0):
        there = (values[:, channel] - green).clamp(min=0)  # grey of the letterbox is no colour
        edges = []
        for axis in (1, 2):
            profile = there.sum(dim=3 - axis)
            middle = (profile * (torch.arange(profile.shape[1]) + 0.5)).sum(dim=1) / profile.sum(dim=1).clamp(min=1e-9)
            edges.append((middle, profile.sum(dim=1) / profile.amax(dim=1).clamp(min=1e-9)))
        (y, high), (x, wide) = edges
        bounds.append(torch.stack((y - high / 2, x - wide / 2, y + high / 2, x + wide / 2), dim=1))
        scores.append(torch.where(there.amax(dim=(1, 2)) > 100, 0.9, 0.0))
    each = torch.stack(scores, dim=1)
    return {"bounds": torch.stack(bounds, dim=1), "scores": torch.diag_embed(each)}


def finder(size: int = 64, steps: tuple[Any, ...] = ()) -> Predictor:
    """The predictor, on a letterboxed canvas by default."""
    return Predictor(
        module=nn.Identity(),
        task=Detection(axes=2),
        preprocessing=Compose(steps=steps or (Letterbox(size=size),)),
        classes=CLASSES,
        input_shape=(3, size, size),
        options=ReaderOptions(colour="rgb", bits=8),
        source="finder",
    )


STEPS = ((), (Resize(size=(64, 64)),), (Resize(size=64, keep="long"), Letterbox(size=(64, 64))))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command loads the finder whatever model is named."""
    monkeypatch.setattr(Detection, "decode", lambda self, raw: _found(raw))
    monkeypatch.setattr("striate.inference.predictor.load", lambda path: finder())
