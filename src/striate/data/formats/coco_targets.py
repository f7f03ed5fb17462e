"""The annotations of a COCO set as targets: boxes, keypoints, and semantic masks painted from outlines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import form_of
from striate.core.errors import InputError
from striate.data.formats.coco_index import Objects, Rle
from striate.data.formats.outlines import area, decode_rle, fill, rle_area
from striate.data.imagefiles import ImageFiles

if TYPE_CHECKING:
    from striate.core.sample import Target


def pairs_of(points: Sequence[str]) -> NDArray[np.int64]:
    """The positions (P, 2) of points whose names differ only in beginning with ``left_`` and ``right_``."""
    number = {name.lower(): place for place, name in enumerate(points)}
    pairs = [
        (place, number["right_" + name.removeprefix("left_")])
        for name, place in number.items()
        if name.startswith("left_") and "right_" + name.removeprefix("left_") in number
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


class CocoTargets:
    """The annotations of each sample: objects sorted by sample, read-only, so that threads may share it.

    ``classes`` counts those of a mask, background included; with ``several`` classes a pixel there is none, and masks
    are bit sets. ``points`` are the names of the keypoints; ``most`` is the
    most pixels that run lengths may claim.
    """

    def __init__(
        self,
        objects: Objects,
        images: ImageFiles,
        classes: int,
        points: tuple[str, ...],
        most: int,
        several: bool = False,
    ) -> None:
        position = np.array(objects.position, dtype=np.int64)
        order = np.argsort(position, kind="stable")
        self.starts = np.searchsorted(position[order], np.arange(len(images) + 1))
        self.category = np.array(objects.category, dtype=np.int64)[order]
        self.bounds = np.array(objects.bounds, dtype=np.float64).reshape(-1, 4)[order]
        self.ignored = np.array(objects.ignored, dtype=bool)[order]
        self.outlines = [objects.outlines[place] for place in order] if objects.outlines else []
        self.ids = [objects.ids[place] for place in order] if objects.ids else []
        self.marks = np.zeros((0, len(points), 3))
        if objects.points:
            self.marks = np.stack(objects.points)[order]
        self.images, self.most = images, most
        # uint8 as long as 255 is no class
        self.type: type[np.integer] = np.uint8 if classes <= 255 else np.int32
        self.ignore = 255 if classes <= 255 else 65_535
        self.several = several
        if several:
            self.type, self.ignore = form_of(classes, "COCO categories")
        self.pairs = pairs_of(points)

    def _rows(self, position: int) -> slice:
        return slice(int(self.starts[position]), int(self.starts[position + 1]))

    def boxes(self, position: int) -> "dict[str, Target]":
        """``boxes`` of a sample, as annotated."""
        import torch

        from striate.core.sample import Boxes

        rows = self._rows(position)
        parts = (torch.from_numpy(part[rows].copy()) for part in (self.bounds, self.category, self.ignored))
        return {"boxes": Boxes.from_bounds(*parts)}

    def keypoints(self, position: int) -> "dict[str, Target]":
        """``keypoints`` of a sample: those of every object that has any."""
        import torch

        from striate.core.sample import Keypoints

        marks = torch.from_numpy(self.marks[self._rows(position)].copy())
        return {"keypoints": Keypoints(marks[..., :2], marks[..., 2] > 0, torch.from_numpy(self.pairs.copy()))}

    def mask(self, position: int) -> "dict[str, Target]":
        """``mask`` of a sample, of the size of its image. Errors: ``InputError`` naming the annotation at fault."""
        import torch

        from striate.core.sample import Mask

        return {"mask": Mask(torch.from_numpy(self._painted(position)), self.ignore)}

    def _painted(self, position: int) -> NDArray[np.integer]:
        """Unknown areas first, then objects from the largest to the smallest, so that the smaller stays whole. Of bit
        sets the order does not matter, and what is unknown of one class is unknown."""
        size = self.images.size(position)
        values = np.zeros(size, dtype=self.type)
        rows = range(self.starts[position], self.starts[position + 1])
        places = {}
        for row in rows:
            if not self.outlines[row]:
                y0, x0, y1, x1 = self.bounds[row].tolist()
                box = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
                values[fill([np.clip(box, -1, np.array(size) + 1)], size)] = self.ignore
            elif self.ignored[row]:
                values[self._pixels(row, size, position)] = self.ignore
            else:
                places[row] = self._area(row, position)
        for row in sorted(places, key=lambda row: -places[row]):
            pixels = self._pixels(row, size, position)
            if self.several:
                values[pixels & (values != self.ignore)] |= self.type(1 << int(self.category[row]))
            else:
                values[pixels] = self.category[row] + 1
        return values

    def _area(self, row: int, position: int) -> float:
        outline = self.outlines[row]
        try:
            return area(outline) if not isinstance(outline, Rle) else rle_area(outline.counts)
        except ValueError as error:
            raise self._fault(row, position, error) from None

    def _pixels(self, row: int, size: tuple[int, int], position: int) -> NDArray[np.bool_]:
        outline = self.outlines[row]
        try:
            if not isinstance(outline, Rle):
                return fill(outline, size)
            if outline.size != list(size):
                raise ValueError(f"the size of its run lengths is {str(outline.size)[:60]}, of the image {list(size)}")
            return decode_rle(outline.counts, outline.size, self.most)
        except ValueError as error:
            raise self._fault(row, position, error) from None

    def _fault(self, row: int, position: int, error: ValueError) -> InputError:
        where = f"{self.images.files[position]}, annotation {self.ids[row]}"
        return InputError(where, str(error), "correct the annotation, or remove it")
