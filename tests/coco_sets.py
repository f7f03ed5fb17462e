"""Small COCO data sets for the tests of its reader and writer."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from striate.core.sample import Boxes, Mask
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]


def image(path: Path, size: tuple[int, int] = (20, 30)) -> None:
    """A picture of (H, W) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 20, 20)).save(path)


def content(names: list[str], annotations: list[Any], categories: list[Any] = CATEGORIES) -> dict[str, Any]:
    images = [{"id": place, "file_name": name, "height": 20, "width": 30} for place, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def box(
    image_id: Any = 0, category: Any = 18, bbox: Any = (1, 2, 3, 4), number: int = 0, **more: Any
) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": bbox, **more}


def written(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def one_image(folder: Path, annotations: list[Any], categories: list[Any] = CATEGORIES) -> Path:
    image(folder / "images" / "a.jpg")
    written(folder / "annotations.json", content(["a.jpg"], annotations, categories))
    return folder


def boxes(reader: Reader, position: int = 0) -> Boxes:
    target = reader.targets(position)["boxes"]
    assert isinstance(target, Boxes)
    return target


def mask(folder: Path, position: int = 0) -> Mask:
    target = open_data(folder, options=ReaderOptions(target="mask")).targets(position)["mask"]
    assert isinstance(target, Mask)
    return target


def said(reader: Reader, code: str) -> list[str]:
    return [f"{problem.file}: {problem.detail}" for problem in reader.problems if problem.code == code]
