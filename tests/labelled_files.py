"""Labelled image files for the tests of detection formats: laying them out, and reading what came of them."""

from pathlib import Path

from PIL import Image

from striate.core.sample import Boxes
from striate.data.reader import Reader


def put(folder: Path, files: dict[str, str | None], size: tuple[int, int] = (40, 80)) -> Path:
    """Files by path: text, or None for an image of size (height, width)."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", size[::-1]).save(path)
        else:
            path.write_text(text)
    return folder


def boxes(reader: Reader, position: int = 0) -> Boxes:
    target = reader.targets(position)["boxes"]
    assert isinstance(target, Boxes)
    return target


def codes(reader: Reader) -> list[tuple[str, str]]:
    return [(problem.code, problem.file) for problem in reader.problems]


def numbers(reader: Reader) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in reader.splits.items()}


def names(reader: Reader) -> list[str]:
    return [reader.name(position) for position in range(len(reader))]
