"""Detection: objects as boxes, found without anchors at every cell of a feature pyramid, in any number of axes.

The network is the backbone, a pyramid of maps at several strides, and a head with a branch for the classes and one for
the box at each stride. Cell u of the map of stride s looks from the point (u + 1/2) s and says how sure it is of each
class, and for each of the 2A sides of a box how far away it is, as a distribution over distances. Which cells answer
for which object is decided anew at every step by how well class and box already agree (task-aligned assignment).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from striate.architectures.backbone import Architecture, check_outputs
from striate.architectures.decoders import Decoder, FeaturePyramid, PathAggregation, Strides
from striate.architectures.heads import DetectionHead
from striate.core.errors import InputError
from striate.core.targets import Boxes
from striate.layers.layer import Layer, Shape
from striate.ops.assign import Assignment, of_objects, pad_boxes, task_aligned
from striate.ops.boxes import IouKind, bounds_to_distances, clip_bounds, distances_to_bounds, point_grid
from striate.ops.detection_losses import (
    distribution_focal_loss,
    distribution_mean,
    iou_loss,
    soft_binary_cross_entropy,
)
from striate.tasks.detection_boxes import BoxTask
from striate.tasks.task import DataFacts

STRIDES = (8, 16, 32)
BINS = 16

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Outputs(NamedTuple):
    """What the head says of P points: ``logits`` (B, P, K) of the classes, ``sides`` (B, P, 2A, R), logits of the
    distances of each side in strides 0 .. R - 1; the ``points`` (P, A) and their ``strides`` (P, A) in pixels."""

    logits: Tensor
    sides: Tensor
    points: Tensor
    strides: Tensor

    def bounds(self) -> Tensor:
        """The boxes (B, P, 2A) in pixels: every side at the mean of its distribution."""
        steps = torch.cat((self.strides, self.strides), dim=1)
        return distances_to_bounds(self.points, distribution_mean(self.sides) * steps)


@final
class Detection(BoxTask):
    """Anchor-free detection over a pyramid. Options, and what is taken where none is chosen:

    - the network: maps at ``strides`` (8, 16, 32, and doublings as long as a box as large as the canvas could not be
      said), brought together by ``decoder`` (Lin et al. 2017, arXiv:1612.03144, or with a second way up: Liu et al.
      2018, arXiv:1803.01534) with ``channels``; a head of ``depth`` convolutions a branch (one: a second costs a light
      backbone a fifth of its speed) and ``bins`` distances (about as many as in Li et al. 2020, arXiv:2006.04388);
    - the assignment (Feng et al. 2021, arXiv:2108.07755): ``alpha``, ``beta`` and ``top`` of
      :func:`striate.ops.assign.task_aligned`;
    - the loss of a batch, with scores s and targets t (points x classes):

          sum   = class_weight sum BCE(s, t) |t - s|^focusing
                + box_weight sum w (1 - overlap) + distance_weight sum w DFL
          count = sum w + the number of images

      with ``box_loss`` the kind of overlap (Zheng et al. 2020, arXiv:1911.08287), and w of a point its target over the
      largest target of its object's points. So the best point of every object learns its box at full weight. The paper
      weighs by the target itself, which is near 0 as long as nothing overlaps: a fresh network then unlearns the
      classes before it learns boxes (six tiny volumes were not overfitted in 150 steps; so they are in 100). Sum and
      count are both sums over images, so that any division of a batch gives the same, and what the images add keeps
      the mean finite where there is nothing to find. The weights are those of Xu et al. 2022 (arXiv:2203.16250).
    """

    strides: Strides = STRIDES
    decoder: Literal["feature_pyramid", "path_aggregation"] = "path_aggregation"
    channels: Annotated[int, Field(ge=1)] = 64
    depth: Annotated[int, Field(ge=0)] = 1
    bins: Annotated[int, Field(ge=2)] = BINS
    alpha: Weight = 1.0
    beta: Weight = 6.0
    top: Annotated[int, Field(ge=1)] = 13
    box_loss: IouKind = "ciou"
    class_weight: Weight = 1.0
    box_weight: Weight = 2.5
    distance_weight: Weight = 0.5
    focusing: Weight = 0.0

    @model_validator(mode="after")
    def _focusing_has_a_gradient(self) -> Self:
        if 0 < self.focusing < 1:
            raise ValueError(f"focusing is 0, or 1 or more; {self.focusing} came")
        return self

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """For boxes. Strides are doubled on until one cell can tell both ends of the canvas."""
        if facts.target != cls.target:
            return None
        chosen = dict(options)
        if chosen.get("strides") is None:
            bins = chosen.get("bins", BINS)
            chosen["strides"] = strides_for(facts.canvas, bins if isinstance(bins, int) else BINS)
        return cls.with_options(chosen, facts)

    def outputs(self, classes: int) -> int:
        """Logits of the classes at one cell."""
        return classes

    def network(self, architecture: Architecture, classes: int) -> Layer:
        """Rows backbone, decoder, head. Errors: ``InputError`` for a backbone without maps of the strides."""
        check_outputs(classes)
        head = DetectionHead(
            classes=classes, bins=self.bins, strides=self.strides, channels=self.channels, depth=self.depth
        )
        kind = FeaturePyramid if self.decoder == "feature_pyramid" else PathAggregation
        decoder: Decoder = kind(strides=self.strides, channels=self.channels)
        return decoder.network(architecture, head, head.maps)

    def demand_outputs(self, network: Layer, input_shape: Shape, classes: int, where: object) -> None:
        """Errors: ``InputError`` for a network without the head's outputs for so many classes and axes."""
        axes = len(input_shape) - 1
        found = {name: shape[0] for name, shape in network.parts(input_shape).items()}
        wanted = {f"classes{stride}": classes for stride in self.strides}
        wanted |= {f"boxes{stride}": 2 * axes * self.bins for stride in self.strides}
        for name, count in wanted.items():
            if axes != self.axes or found.get(name) != count:
                came = f"{found[name]} outputs {name}" if name in found else f"no output {name}"
                cause = f"{came} for boxes of {classes} classes with {self.axes} axes, {count} were expected"
                raise InputError(where, cause, "use a file written whole")

    def read(self, raw: Mapping[str, Tensor]) -> Outputs:
        """The head's maps put one after the other. Errors: ``KeyError`` for a map that is not there."""
        logits, sides, points, strides = [], [], [], []
        for stride in self.strides:
            named, placed = raw[f"classes{stride}"], raw[f"boxes{stride}"]
            cells = named.shape[2:]
            logits.append(named.flatten(2).transpose(1, 2))
            split = placed.reshape(len(placed), 2 * len(cells), -1, cells.numel())
            sides.append(split.permute(0, 3, 1, 2))
            steps = (stride,) * len(cells)
            grid = point_grid([n * stride for n in cells], steps, dtype=torch.float32, device=named.device)
            points.append(grid)
            strides.append(torch.full_like(grid, stride))
        return Outputs(torch.cat(logits, dim=1), torch.cat(sides, dim=1), torch.cat(points), torch.cat(strides))

    def loss(self, raw: Mapping[str, Tensor], target: Sequence[Boxes]) -> tuple[Tensor, float]:
        """Sum and count as in the class's description. The step divides the sum of a batch by its count, which is never
        below the number of images."""
        outputs = self.read(raw)
        objects = pad_boxes(target).to(outputs.logits.device)
        bounds = outputs.bounds()
        assigned = task_aligned(
            outputs.logits.detach().sigmoid(),
            bounds.detach(),
            outputs.points,
            objects,
            alpha=self.alpha,
            beta=self.beta,
            top=self.top,
            reach=outputs.strides / 2,
        )
        wanted = assigned.class_targets(objects.classes, outputs.logits.shape[2])
        counted = (~assigned.neither)[..., None].to(outputs.logits.dtype)
        named, _ = soft_binary_cross_entropy(outputs.logits, wanted, counted, self.focusing)
        answers = assigned.positive
        own = of_objects(objects.bounds, assigned.objects)[answers]
        weights = shares(assigned, objects.bounds.shape[1])[answers]
        placed, surely = iou_loss(bounds[answers], own, weights, self.box_loss)
        place = answers.nonzero()[:, 1]
        steps = torch.cat((outputs.strides, outputs.strides), dim=1)[place]
        distances = bounds_to_distances(outputs.points[place], own) / steps
        spread, _ = distribution_focal_loss(outputs.sides[answers], distances, weights)
        total = self.class_weight * named + self.box_weight * placed + self.distance_weight * spread
        return total, surely + len(target)

    def decode(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``bounds`` (B, P, 2A) cut to the finest map's cells, and ``scores`` (B, P, K), the classes' probabilities."""
        outputs = self.read(raw)
        extent = [n * self.strides[0] for n in raw[f"classes{self.strides[0]}"].shape[2:]]
        return {"bounds": clip_bounds(outputs.bounds(), extent), "scores": outputs.logits.sigmoid()}


def shares(assigned: Assignment, objects: int) -> Tensor:
    """The target (B, P) of each point over the largest target of its object, of M = ``objects`` an image; 0 for points
    that answer for nothing, and 1 where no point of the object overlaps it, so that it is learned all the same."""
    place = torch.where(assigned.positive, assigned.objects, objects)
    most = assigned.targets.new_zeros(len(place), objects + 1)
    most = most.scatter_reduce(1, place, assigned.targets, "amax").gather(1, place)
    known = torch.where(most > 0, assigned.targets / torch.where(most > 0, most, 1.0), 1.0)
    return torch.where(assigned.positive, known, 0.0)


def strides_for(canvas: Sequence[int] | None, bins: int = BINS) -> tuple[int, ...]:
    """8, 16, 32, and doublings until a cell in the middle, whose farthest distance is (bins - 1) strides, can tell both
    ends of the longest side of the canvas."""
    strides = list(STRIDES)
    while canvas is not None and 2 * (bins - 1) * strides[-1] < max(canvas):
        strides.append(2 * strides[-1])
    return tuple(strides)
