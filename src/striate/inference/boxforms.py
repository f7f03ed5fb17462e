"""Predicted boxes in the forms of detection data: COCO results, YOLO text, VOC XML, in pixels of the originals.

They are written from plain records (``name``, ``size`` and ``boxes``) as these come, so that there may be any number:

- COCO: a list of ``{image_id, category_id, bbox, score}``, as ``loadRes`` of pycocotools takes it. Ids are those of an
  annotation file (:class:`ImageIds`); without one both count from 1, and a file beside it, ``NAME.images.json``, says
  of what: a COCO file of images and categories without annotations.
- YOLO: ``labels/NAME.txt`` with lines ``class x y w h score``, and ``data.yaml`` with the names of the classes.
- VOC: ``Annotations/NAME.xml`` with a ``<score>`` an object, coordinates as edges from 0 (told by ``<path>``), and
  ``classes.txt``.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.data.formats.coco_index import load
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.voc_xml import corners_of
from striate.data.problems import Problem
from striate.data.writers import coco, voc, yolo
from striate.data.writers.copied import make, save
from striate.inference.places import Names

Record = Mapping[str, Any]

BOX_FORMS = ("coco", "yolo", "voc")
"""What boxes in images can be written as, besides a table."""


class ImageIds:
    """The ids of images and categories in a COCO annotation file, ``images`` by the parts of their file names. Errors:
    ``InputError`` for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        problems: list[Problem] = []
        document = load(path, path.name, False, problems)
        self.path = path
        self.categories = {category.name: category.id for category in reversed(document.categories)}
        self._of: dict[str, list[tuple[tuple[str, ...], int | str]]] = {}
        for entry in document.entries:
            parts = Path(os.path.normpath(entry.file_name)).parts
            if parts:
                self._of.setdefault(parts[-1], []).append((parts, entry.id))

    def of(self, name: str) -> int | str:
        """The id of the image whose file name the path ``name`` ends with, of several the longest. Errors:
        ``InputError`` where there is none, or two are alike."""
        parts = Path(os.path.abspath(name)).parts
        found = [(len(own), number) for own, number in self._of.get(parts[-1], []) if parts[-len(own) :] == own]
        best = [number for length, number in found if length == max(found)[0]]
        if len(set(best)) != 1:
            cause = f"{self.path} lists no image of this name" if not best else f"{self.path} lists it twice"
            raise InputError(name, cause, "give the annotation file of these images")
        return best[0]

    def among(self, samples: Iterable[Sample], skip: Any) -> Iterator[Sample]:
        """The samples that have an id; the others, and a second one of the same id, are told to ``skip`` (name,
        reason)."""
        seen: dict[int | str, str] = {}
        for sample in samples:
            try:
                number = self.of(sample.name)
            except InputError as error:
                skip(sample.name, error.cause)
                continue
            if seen.setdefault(number, sample.name) != sample.name:
                skip(sample.name, f"it has the same id in {self.path} as {seen[number]}")
                continue
            yield sample

    def unknown(self, classes: Sequence[str]) -> list[str]:
        """The classes that are no categories here: their boxes are left out. Errors: ``InputError`` if all are."""
        found = [name for name in classes if name not in self.categories]
        if len(found) == len(classes):
            known = ", ".join(list(self.categories)[:10])
            cause = f"none of the model's classes is among its categories ({known or 'there are none'})"
            raise InputError(self.path, cause, "give the annotation file of the data the model is for")
        return found


def demand_boxes(record: Record, form: str) -> None:
    """Errors: ``InputError`` where a record is not one of boxes in an image."""
    axes = len(record.get("size", ()))
    if "boxes" not in record or axes != 2:
        what = (
            f"the boxes have {axes} {'axis' if axes == 1 else 'axes'}" if "boxes" in record else "the answers have none"
        )
        raise InputError(f"--form {form}", f"it holds boxes in images, and {what}", "use csv or jsonl")


def write_coco(
    records: Iterable[Record], file: IO[str], classes: Sequence[str], ids: ImageIds | None
) -> dict[str, Any]:
    """Write the results of all records; returns what the ids mean, as a COCO file without annotations. Of what ``ids``
    knows no category boxes are left out."""
    counted = {name: place for place, name in enumerate(classes, 1)}
    numbers: Mapping[str, int | float] = counted if ids is None else ids.categories
    images: list[dict[str, Any]] = []
    before = "[\n"
    for place, record in enumerate(records, 1):
        number = place if ids is None else ids.of(record["name"])
        height, width = record["size"]
        time = {"time": record["time"]} if "time" in record else {}
        images.append({"id": number, "file_name": record["name"], "height": height, "width": width, **time})
        for box in record["boxes"]:
            if box["class"] in numbers:
                known = {"image_id": number, "category_id": numbers[box["class"]]}
                row = {**known, "bbox": coco.box_of(box["bounds"]), "score": box["score"]}
                file.write(before + json.dumps(row))
                before = ",\n"
    file.write("[]\n" if before == "[\n" else "\n]\n")
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": [], "categories": categories}


def write_yolo(records: Iterable[Record], folder: Path, classes: Sequence[str]) -> None:
    """Write a label file for every record, also of no boxes, and ``data.yaml``, into an empty folder. Lay the images
    into ``images`` there, and it is a YOLO set: ``scores: true`` says that the last number of a line is none of the
    box. Errors: ``InputError``."""
    number = {name: place for place, name in enumerate(classes)}
    names, labels = Names(), make(folder / "labels")
    for record in records:
        rows = [yolo.line(number[box["class"]], box["bounds"], record["size"], box["score"]) for box in record["boxes"]]
        save(labels / f"{names.free(record['name'])}.txt", "".join(rows))
    save(folder / "data.yaml", yolo.described({"path": ".", "scores": True, "names": dict(enumerate(classes))}))


def write_voc(records: Iterable[Record], folder: Path, classes: Sequence[str]) -> None:
    """Write an XML file for every record, also of no boxes, and ``classes.txt``, into an empty folder. Errors:
    ``InputError``, also for a class that XML cannot hold."""
    voc.demand_names(classes, "--form voc")
    names, annotations = Names(), make(folder / "Annotations")
    for record in records:
        boxes, stem = record["boxes"], names.free(record["name"])
        ending = os.path.splitext(record["name"])[1]
        corners = corners_of(np.array([box["bounds"] for box in boxes], dtype=np.float64).reshape(-1, 4), 0)
        text = voc.annotation(
            f"{stem}{ending}" if ending.lower() in EXTENSIONS else stem,
            record["size"],
            corners,
            [box["class"] for box in boxes],
            [False] * len(boxes),
            [box["score"] for box in boxes],
            edges=True,
        )
        save(annotations / f"{stem}.xml", text, errors="replace")
    save(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
