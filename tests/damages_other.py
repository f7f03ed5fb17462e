"""Damage planted in masks and signals. Each function returns the file that a finding must name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from damage_sets import Damage, files_of


def _mask(data: Path, change: Callable[[np.ndarray], np.ndarray], number: int = 2) -> str:
    file = files_of(data / "trainannot")[number]
    with Image.open(file) as image:
        values = np.array(image)
    Image.fromarray(change(values)).save(file)
    return file.stem


def _other_size(data: Path) -> str:
    return _mask(data, lambda values: values[::2, ::2].copy())


def _no_class(data: Path) -> str:
    def change(values: np.ndarray) -> np.ndarray:
        values[:20, :20] = 77
        return values

    return _mask(data, change)


def _all_void(data: Path) -> str:
    return _mask(data, lambda values: np.full_like(values, 11))


def _as_jpeg(data: Path) -> str:
    file = files_of(data / "trainannot")[2]
    with Image.open(file) as image:
        image.convert("L").save(file.with_suffix(".jpg"), quality=90)
    file.unlink()
    return file.stem


def _mask_gone(data: Path) -> str:
    file = files_of(data / "trainannot")[2]
    file.unlink()
    return file.stem


def _photo_of_mask_gone(data: Path) -> str:
    file = files_of(data / "train")[2]
    file.unlink()
    return file.stem


def _all_background(data: Path) -> str:
    file = files_of(data / "masks")[2]
    with Image.open(file) as image:
        values = np.zeros((image.height, image.width), np.uint16)
    Image.fromarray(values).save(file)
    return file.stem


def _lines(data: Path, change: Callable[[list[str]], None], part: str = "TRAIN") -> str:
    """Change the data lines of a .ts file; sample 3 is the one that is spoilt."""
    file = data / f"BasicMotions_{part}.ts"
    lines = file.read_text(errors="surrogateescape").splitlines()
    start = next(number for number, line in enumerate(lines) if line.lower().startswith("@data")) + 1
    body = [line for line in lines[start:] if line]
    change(body)
    file.write_text("\n".join([*lines[:start], *body]) + "\n", errors="surrogateescape")
    return file.stem


def _channel(change: Callable[[list[str]], list[str]]) -> Callable[[list[str]], None]:
    def spoil(body: list[str]) -> None:
        first, *rest = body[3].split(":")
        body[3] = ":".join((",".join(change(first.split(","))), *rest))

    return spoil


def _flat(data: Path) -> str:
    return _lines(data, _channel(lambda values: ["0.5"] * len(values)))


def _clipped(data: Path) -> str:
    def change(values: list[str]) -> list[str]:
        numbers = np.sin(np.arange(len(values)) / 4) * 3
        return [f"{number:.4f}" for number in numbers.clip(-1.5, 1.5)]

    return _lines(data, _channel(change))


def _missing_value(data: Path) -> str:
    return _lines(data, _channel(lambda values: ["?", *values[1:]]))


def _dimension_short(data: Path) -> str:
    def change(body: list[str]) -> None:
        body[3] = body[3].partition(":")[2]

    return _lines(data, change)


def _class_unheard_of(data: Path) -> str:
    def change(body: list[str]) -> None:
        body[3] = body[3].rpartition(":")[0] + ":Flying"

    return _lines(data, change)


def _test_in_train(data: Path) -> str:
    train = (data / "BasicMotions_TRAIN.ts").read_text(errors="surrogateescape").splitlines()
    line = [one for one in train if one and not one.startswith(("#", "@"))][3]
    return _lines(data, lambda body: body.append(line), "TEST")


DAMAGES: tuple[Damage, ...] = (
    Damage("a mask of another size", "streets", _other_size, "mask-size"),
    Damage("a mask value that is no class", "streets", _no_class, "mask-values"),
    Damage("a mask that is all void", "streets", _all_void, "mask-void"),
    Damage("a mask stored as JPEG", "streets", _as_jpeg, "mask-lossy"),
    Damage("an image without mask", "streets", _mask_gone, "image-without-label"),
    Damage("a mask without image", "streets", _photo_of_mask_gone, "label-without-image"),
    Damage("a mask that is all background", "nuclei", _all_background, "mask-background"),
    Damage("a signal that never changes", "motions", _flat, "constant-signal"),
    Damage("a clipped signal", "motions", _clipped, "clipped-signal"),
    Damage("a missing value", "motions", _missing_value, "not-finite"),
    Damage("a signal with a channel too few", "motions", _dimension_short, "annotation-malformed"),
    Damage("a class that is not declared", "motions", _class_unheard_of, "class-undeclared"),
    Damage("a training signal in the test split", "motions", _test_in_train, "leak"),
)
