"""Parts of real data sets, copied to be spoilt, and the record of a damage."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Find = Callable[[str], Path]
Plant = Callable[[Path], str]


@dataclass(frozen=True)
class Damage:
    """One kind of damage: in a copy of which set, what is done, and the code of the finding that must name the file."""

    kind: str
    data: str
    plant: Plant
    code: str


def _photos(find: Find, to: Path) -> None:
    """Class folders with splits: fourteen photos of each of ten hand signs."""
    source = find("sign-digits")
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for number, file in enumerate(sorted(folder.iterdir())[::14][:14]):
            place = to / ("train" if number < 10 else "val") / folder.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / file.name)


def _cells(find: Find, to: Path) -> None:
    """Pascal VOC: the first forty training and twenty validation images with sound boxes."""
    source = find("bccd") / "BCCD"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (to / folder).mkdir(parents=True)
    for split, count in (("train", 40), ("val", 20)):
        names = (source / "ImageSets" / "Main" / f"{split}.txt").read_text().split()[:count]
        for name in names:
            shutil.copyfile(source / "JPEGImages" / f"{name}.jpg", to / "JPEGImages" / f"{name}.jpg")
            shutil.copyfile(source / "Annotations" / f"{name}.xml", to / "Annotations" / f"{name}.xml")
        (to / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _things(find: Find, to: Path) -> None:
    """YOLO text: forty training and twenty validation photos with a configuration of eighty classes."""
    source = find("coco128") / "object_detection"
    for split, count in (("train2017", 40), ("val2017", 20)):
        for folder in ("images", "labels"):
            (to / folder / split).mkdir(parents=True)
        for file in sorted((source / "images" / split).iterdir())[:count]:
            shutil.copyfile(file, to / "images" / split / file.name)
            label = source / "labels" / split / f"{file.stem}.txt"
            if label.exists():
                shutil.copyfile(label, to / "labels" / split / label.name)
    shutil.copyfile(source / "config.yaml", to / "config.yaml")


def _streets(find: Find, to: Path) -> None:
    """Image and mask pairs: every twelfth street scene."""
    source = find("camvid")
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (to / folder).mkdir(parents=True)
        for file in sorted((source / split).iterdir())[::12]:
            shutil.copyfile(file, to / split / file.name)
            mask = source / f"{split}annot" / f"{file.stem}.png"
            shutil.copyfile(mask, to / f"{split}annot" / mask.name)


def _nuclei(find: Find, to: Path) -> None:
    """Instance masks: thirty microscope images."""
    source = find("nuclei")
    for folder in ("images", "masks"):
        (to / folder).mkdir(parents=True)
    for file in sorted((source / "images").iterdir())[::22][:30]:
        shutil.copyfile(file, to / "images" / file.name)
        shutil.copyfile(source / "masks" / file.name, to / "masks" / file.name)


def _motions(find: Find, to: Path) -> None:
    """Signals of six channels in .ts files."""
    shutil.copytree(find("ucr") / "BasicMotions", to, dirs_exist_ok=True)


SETS: dict[str, Callable[[Find, Path], None]] = {
    "photos": _photos,
    "cells": _cells,
    "things": _things,
    "streets": _streets,
    "nuclei": _nuclei,
    "motions": _motions,
}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
