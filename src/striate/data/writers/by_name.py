"""The formats that are written, by name."""

from collections.abc import Callable
from pathlib import Path

from striate.data.reader import Reader
from striate.data.writers import coco, folders, masks, voc, yolo

Writer = Callable[[Reader, Path, Callable[[str], None]], list[str]]
"""``write(reader, folder, say)`` fills a new folder and returns what the format could not hold, a line each."""

WRITERS: dict[str, Writer] = {
    "coco": coco.write,
    "voc": voc.write,
    "yolo": yolo.write,
    "masks": masks.write,
    "folders": folders.write,
}
READ_AS = {"coco": "coco", "voc": "voc", "yolo": "yolo", "masks": "masks", "folders": "image folder"}
"""The formats by which what was written is read again."""
