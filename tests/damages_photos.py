"""Damage planted among photos in class folders. Each function returns the file that a finding must name."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from damage_sets import Damage, files_of


def _cut_short(data: Path) -> str:
    file = files_of(data / "train" / "3")[1]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file.name


def _emptied(data: Path) -> str:
    file = files_of(data / "train" / "3")[1]
    file.write_bytes(b"")
    return file.name


def _text_as_image(data: Path) -> str:
    (data / "train" / "3" / "note.jpg").write_text("not an image")
    return "note.jpg"


def _header_alone(data: Path) -> str:
    file = files_of(data / "val" / "3")[0]
    file.write_bytes(file.read_bytes()[:2] + b"\0" * 500)
    return file.name


def _copied(data: Path) -> str:
    shutil.copyfile(files_of(data / "train" / "3")[1], data / "train" / "3" / "again.jpg")
    return "again.jpg"


def _copied_to_another_class(data: Path) -> str:
    shutil.copyfile(files_of(data / "train" / "3")[1], data / "train" / "4" / "again.jpg")
    return "again.jpg"


def _compressed_again(data: Path) -> str:
    with Image.open(files_of(data / "train" / "3")[1]) as image:
        image.save(data / "train" / "3" / "again.jpg", quality=40)
    return "again.jpg"


def _leaked(data: Path) -> str:
    shutil.copyfile(files_of(data / "train" / "3")[1], data / "val" / "3" / "again.jpg")
    return "again.jpg"


def _leaked_compressed_again(data: Path) -> str:
    with Image.open(files_of(data / "train" / "3")[1]) as image:
        image.resize((90, 90)).save(data / "val" / "3" / "again.jpg", quality=60)
    return "again.jpg"


def _turned(data: Path) -> str:
    file = files_of(data / "train" / "3")[1]
    with Image.open(file) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(file, exif=exif)
    return file.name


def _greyed(data: Path) -> str:
    file = files_of(data / "train" / "3")[1]
    with Image.open(file) as image:
        image.convert("L").save(file)
    return file.name


def _sixteen_bits(data: Path) -> str:
    values = np.random.default_rng(0).integers(0, 65535, (100, 100)).astype(np.uint16)
    Image.fromarray(values).save(data / "train" / "3" / "deep.png")
    return "deep.png"


def _one_value(data: Path) -> str:
    Image.new("RGB", (100, 100), (9, 9, 9)).save(data / "train" / "3" / "black.png")
    return "black.png"


def _misnamed(data: Path) -> str:
    file = files_of(data / "train" / "3")[1]
    with Image.open(file) as image:
        image.load()
        image.save(data / "train" / "3" / "really.jpg", format="PNG")
    file.unlink()
    return "really.jpg"


def _alike_names(data: Path) -> str:
    for split in ("train", "val"):
        (data / split / "3").rename(data / split / "Three")
        (data / split / "4").rename(data / split / "three ")
    return "three"


def _rare(data: Path) -> str:
    for file in files_of(data / "train" / "3")[1:]:
        file.unlink()
    return "3"


def _unequal(data: Path) -> str:
    for name in "0124":
        for file in files_of(data / "train" / name)[2:]:
            file.unlink()
    generator = np.random.default_rng(0)
    for number in range(150):
        values = generator.integers(0, 255, (100, 100, 3)).astype(np.uint8)
        Image.fromarray(values).save(data / "train" / "9" / f"made{number}.png")
    return "9"


def _not_measured(data: Path) -> str:
    shutil.rmtree(data / "val" / "3")
    return "3"


def _never_trained(data: Path) -> str:
    shutil.rmtree(data / "train" / "3")
    return "3"


def _pipe(data: Path) -> str:
    os.mkfifo(data / "train" / "3" / "pipe.jpg")
    return "pipe.jpg"


def _outside_classes(data: Path) -> str:
    shutil.copyfile(files_of(data / "train" / "3")[1], data / "train" / "loose.jpg")
    return "loose.jpg"


DAMAGES: tuple[Damage, ...] = (
    Damage("an image cut short", "photos", _cut_short, "truncated"),
    Damage("an empty file", "photos", _emptied, "unreadable"),
    Damage("text named as an image", "photos", _text_as_image, "unreadable"),
    Damage("an image that is nothing but its first bytes", "photos", _header_alone, "unreadable"),
    Damage("the same file twice", "photos", _copied, "duplicate"),
    Damage("the same file in two classes", "photos", _copied_to_another_class, "duplicate-labels-differ"),
    Damage("an image compressed again", "photos", _compressed_again, "near-duplicate"),
    Damage("a training image in validation", "photos", _leaked, "leak"),
    Damage("a training image in validation, resized", "photos", _leaked_compressed_again, "near-leak"),
    Damage("a photo with an orientation", "photos", _turned, "orientation"),
    Damage("a grey photo among colour", "photos", _greyed, "mixed-channels"),
    Damage("a 16-bit image among 8-bit", "photos", _sixteen_bits, "mixed-bits"),
    Damage("an image of one value", "photos", _one_value, "constant-image"),
    Damage("a PNG named .jpg", "photos", _misnamed, "format-mismatch"),
    Damage("two spellings of a class", "photos", _alike_names, "class-names-alike"),
    Damage("a class of one sample", "photos", _rare, "class-rare"),
    Damage("classes of very unequal size", "photos", _unequal, "imbalance"),
    Damage("a class that validation lacks", "photos", _not_measured, "class-missing-in-split"),
    Damage("a class that training lacks", "photos", _never_trained, "class-never-trained"),
    Damage("a pipe among the images", "photos", _pipe, "unreadable"),
    Damage("an image outside the classes", "photos", _outside_classes, "skipped"),
)
