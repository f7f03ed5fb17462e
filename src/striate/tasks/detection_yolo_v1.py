"""YOLO's first version: one look at a coarse grid of cells (Redmon et al. 2016, arXiv:1506.02640).

The canvas is divided into S x S cells. The cell that has the centre of an object answers for it: with one distribution
over the classes, and with that of its B boxes which overlaps the object most. So there is one class a cell, and at
most one object is found in each: what the later detector of :mod:`striate.tasks.detection` is measured against.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, ClassVar, Self, final

from pydantic import Field, model_validator
from torch import Tensor

from striate.architectures.backbone import Architecture, check_outputs
from striate.architectures.decoders import Level
from striate.architectures.heads import YoloV1Head
from striate.core.errors import InputError
from striate.core.targets import Boxes
from striate.layers.graph import Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.sizes import Sizes
from striate.ops.assign import of_objects, pad_boxes, responsible
from striate.ops.boxes import bounds_to_cell_values, cell_values_to_bounds, clip_bounds
from striate.ops.detection_losses import yolo_v1_loss
from striate.tasks.detection_boxes import BoxTask, Share
from striate.tasks.task import DataFacts

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@final
class YoloV1(BoxTask):
    """S x S cells of a ``canvas``, each with ``boxes`` B boxes and one class distribution. It is taken only by name.

    Raw outputs (B (2A + 1) + K, *grid), taken as they are, for nothing is squashed in the paper either: of each box A
    offsets of the centre in cells, A square roots of the sizes in canvases, and the confidence; then K class
    probabilities. The score of a box for a class is confidence times probability (equation 1 of the paper). The loss
    is the paper's sum of squared errors with its weights, ``coordinate_weight`` 5 and ``empty_weight`` .5
    (:func:`striate.ops.detection_losses.yolo_v1_loss`); it is divided by the number of images. The paper's grid is
    7 x 7 with 2 boxes, and its threshold of suppression, of which it only says that it adds 2 to 3 % mAP, is .5 here.

    The head, ``depth`` convolutions of ``channels`` over a map of the backbone pooled to the grid, stands for the
    paper's two fully connected layers.
    """

    by_name: ClassVar[bool] = True
    canvas: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=3)]
    grid: Sizes = 7
    boxes: Annotated[int, Field(ge=1)] = 2
    channels: Annotated[int, Field(ge=1)] = 256
    depth: Annotated[int, Field(ge=0)] = 2
    coordinate_weight: Weight = 5.0
    empty_weight: Weight = 0.5
    score: Share = 0.2
    overlap: Share = 0.5

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        if len(self.canvas) != self.axes or len(self.cells) != self.axes:
            raise ValueError(f"canvas {self.canvas} and grid {self.grid} for boxes with {self.axes} axes")
        return self

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return (self.grid,) * self.axes if isinstance(self.grid, int) else self.grid

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For boxes on a canvas of known size; None also where that is not decided."""
        if facts.target != cls.target or facts.canvas is None:
            return None
        return cls.with_options(options, facts, canvas=facts.canvas)

    def outputs(self, classes: int) -> int:
        """B (2A + 1) + K a cell."""
        return self.boxes * (2 * self.axes + 1) + classes

    def network(self, architecture: Architecture, classes: int) -> Layer:
        """Rows backbone and head. The head reads the coarsest map that has a position for every cell: pooled from
        fewer, neighbouring cells would see the same and say the same.

        Errors: ``InputError`` for a backbone without feature maps, or with none that is as fine as the grid.
        """
        check_outputs(classes)
        fine = [level for level in architecture.levels() if self._has_cells(level)]
        if not fine:
            cause = f"{_x(self.cells)} cells on a canvas of {_x(self.canvas)} are finer than the backbone's finest map"
            raise InputError("task options: grid", cause, "use fewer cells, or larger images")
        head = YoloV1Head(classes=classes, boxes=self.boxes, grid=self.grid, channels=self.channels, depth=self.depth)
        rows = (
            Row(name="backbone", layer=architecture.backbone()),
            Row(name="head", layer=head, inputs=(f"backbone.{fine[-1].name}",)),
        )
        return Graph(rows=rows)

    def _has_cells(self, level: Level) -> bool:
        """Whether a map has a position for every cell."""
        steps = (level.stride,) * self.axes if isinstance(level.stride, int) else level.stride
        return all(-(-n // step) >= cells for n, step, cells in zip(self.canvas, steps, self.cells, strict=True))

    def demand_outputs(self, network: Layer, input_shape: Shape, classes: int, where: object) -> None:
        """Errors: ``InputError`` for a network that does not give the cells of this canvas and so many classes."""
        found, wanted = network.output_shape(input_shape), (self.outputs(classes), *self.cells)
        if found != wanted:
            cause = f"outputs {found} for {classes} classes, {wanted} were expected"
            raise InputError(where, cause, "use a file written whole")
        if tuple(input_shape[1:]) != self.canvas:
            raise InputError(where, f"an input {input_shape} for a canvas of {self.canvas}", "use a file written whole")

    def _read(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, C, P, 2A), confidences (B, C, P) and class probabilities (B, C, K) of C cells with P boxes."""
        width = 2 * self.axes + 1
        cells = raw.flatten(2).transpose(1, 2)
        said = cells[..., : self.boxes * width].unflatten(2, (self.boxes, width))
        return said[..., :-1], said[..., -1], cells[..., self.boxes * width :]

    def loss(self, raw: Tensor, target: Sequence[Boxes]) -> tuple[Tensor, float]:
        """The paper's equation 3 over the batch, and the number of images."""
        values, confidence, probabilities = self._read(raw)
        objects = pad_boxes(target).to(raw.device)
        predicted = cell_values_to_bounds(values.detach(), self.canvas, self.cells)
        assigned = responsible(predicted, objects, self.canvas, self.cells)
        own = of_objects(objects.bounds, assigned.objects)
        return yolo_v1_loss(
            values,
            confidence,
            probabilities,
            bounds_to_cell_values(own, self.canvas, self.cells),
            of_objects(objects.classes, assigned.objects),
            assigned,
            coordinate_weight=self.coordinate_weight,
            empty_weight=self.empty_weight,
        )

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """``bounds`` (B, P, 2A) cut to the canvas, and ``scores`` (B, P, K): confidence times class, both limited to
        [0, 1]. P counts the boxes of the first cell, then those of the second, ..."""
        values, confidence, probabilities = self._read(raw)
        bounds = clip_bounds(cell_values_to_bounds(values, self.canvas, self.cells), self.canvas)
        scores = confidence.clamp(0, 1)[..., None] * probabilities.clamp(0, 1)[:, :, None]
        places = prod(self.cells) * self.boxes
        return {"bounds": bounds.reshape(len(raw), places, -1), "scores": scores.reshape(len(raw), places, -1)}


def _x(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
