"""The contract of a task: what the network's outputs mean, how they are learned, read and measured.

Classification, detection and segmentation differ in target, head, loss, decoding and metrics, and in nothing else.
A task is one file with one concrete :class:`Task`; it is found by being defined.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from striate.architectures.backbone import Architecture
from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.spec import Spec, kinds
from striate.layers.layer import Layer, Shape
from striate.report.overlays import Outline
from striate.report.records import Section


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What a task may know of a data set: the kind of its target, its classes, and how often each is seen in training.

    ``counts`` are samples of each class for labels, boxes for boxes, pixels for masks. ``multi_label`` says that a
    sample may carry several classes at once, ``axes`` how many spatial axes samples have, ``canvas`` the size in pixels
    in which the network sees them (None: not decided yet), ``ignore`` the value of mask pixels that do not count (None:
    the target is no mask).
    """

    target: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    multi_label: bool = False
    axes: int = 2
    canvas: tuple[int, ...] | None = None
    ignore: int | None = None


@dataclass(frozen=True, eq=False)
class Place:
    """Where a sample is on the network's canvas: ``size`` is its original size in pixels, ``by`` the map from it onto
    the canvas. ``by.inverse(size)`` brings an answer back."""

    size: tuple[int, ...]
    by: Map


@dataclass(frozen=True, eq=False)
class Marks:
    """What a picture of a sample shows besides the sample: ``text`` (the class, or what was taken for it), ``outlines``
    of boxes or intervals, and a ``mask`` of class numbers (\\*S), where what is no class is void, or with ``several``
    of bit sets of classes (:mod:`striate.core.bitsets`)."""

    text: str = ""
    outlines: tuple[Outline, ...] = ()
    mask: NDArray[np.integer] | None = None
    several: bool = False


class Metrics(Protocol):
    """Mergeable figures: what several processes or batches saw adds up to what one would have seen."""

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Any,
        index: Tensor | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Take in one batch of decoded outputs and its collated target, both on the canvas; ``index`` (B,) are the
        samples' positions in the data, and ``places`` (B) say where on the canvas the originals are, where they are
        known: what is measured in pixels is then measured in those of the originals."""

    def merge(self, other: Any) -> None:
        """Take in what another instance has seen."""

    def compute(self) -> dict[str, Any]:
        """The figures by their plain names: numbers, and lists for tables."""


class Task(Spec):
    """Base of every task.

    What the network gives, *raw*, is a tensor (B, outputs, ...), or a dictionary of several by name, among which a name
    ``""`` (the main output of a graph) means nothing. Decoding is a pure function of tensors with a fixed shape, so
    that it can be exported; whatever gives a number of answers that depends on the values comes after it, in
    :meth:`select`.
    """

    target: ClassVar[str]
    """Name of the sample's target that is learned."""
    headline: ClassVar[str]
    """The figure that is watched in training, named as :meth:`Metrics.compute` names it. It may be None there: nothing
    could be measured."""
    larger_is_better: ClassVar[bool] = True
    by_name: ClassVar[bool] = False
    """Whether the task is taken only where it is named: another suits the same data better."""
    blended: ClassVar[tuple[str, ...]] = ()
    """Those decoded outputs that have a value for every position of the input, (B, K, \\*S), of which the answers for
    overlapping windows may be averaged; without any the task cannot be asked window by window."""

    @property
    def softmax_smoothing(self) -> float | None:
        """The label smoothing where :meth:`loss` is the softmax cross-entropy of class numbers and nothing else."""
        return None

    @classmethod
    @abstractmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> "Task | None":
        """This task as it suits the data with these options, or None when the data is not for it.

        Errors: ``InputError`` for an option the task does not have.
        """

    @abstractmethod
    def outputs(self, classes: int) -> int:
        """How many outputs the head has for so many classes."""

    def network(self, architecture: Architecture, classes: int) -> Layer:
        """The whole network: the architecture's backbone with the head this task needs."""
        return architecture.network(self.outputs(classes))

    def demand_outputs(self, network: Layer, input_shape: Shape, classes: int, where: object) -> None:
        """Errors: ``InputError`` for a network that does not give, for an input (C, *S), what this task reads."""
        found, wanted = network.output_shape(input_shape), self.outputs(classes)
        if len(found) == 1 and found != (wanted,):
            raise InputError(where, f"{found[0]} outputs for {classes} classes", "use a file written whole")

    @abstractmethod
    def loss(self, raw: Any, target: Any) -> tuple[Tensor, float]:
        """Sum of the losses of a batch, and what to divide it by, so that parts of a batch add up.

        ``target`` is in the batched form of its kind (see :class:`~striate.core.sample.Batch`).
        """

    @abstractmethod
    def decode(self, raw: Any) -> dict[str, Tensor]:
        """Outputs in their meaning (probabilities, boxes), of fixed shape, first dimension the batch, in coordinates
        of the network's canvas."""

    def select(self, decoded: Mapping[str, Tensor]) -> list[Any]:
        """The answers, one item a sample, on the canvas; without more ado the sample's part of each tensor."""
        count = len(next(iter(decoded.values())))
        return [{name: tensor[row] for name, tensor in decoded.items()} for row in range(count)]

    @abstractmethod
    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Fresh figures for a data set with these classes; they select from what is decoded as they need."""

    @abstractmethod
    def renumber(self, target: Any, numbers: Tensor, classes: int) -> Any:
        """The collated target with class c as ``numbers[c]``, for data whose classes are ordered otherwise or fewer."""

    @abstractmethod
    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """One plain record a sample, ready for CSV or JSON.

        What has a position is brought back to the original samples, of which ``places`` says where on the canvas they
        are, and cut to them; without ``places`` it stays on the canvas. A value that is a numpy array (class numbers,
        one a pixel) is for a file of its own, and a mapping of such, by class, for a file each.
        """

    def answer_marks(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[Marks]:
        """The answers as pictures show them, one a sample, on the canvas; without any nothing is drawn."""
        return []

    def compared_marks(self, decoded: Mapping[str, Tensor], target: Any, classes: Sequence[str]) -> list[Marks]:
        """The answers held against the collated target in one picture a sample, on the canvas: what was found, missed
        and wrongly found. Without any, pictures show truth and answer side by side."""
        return []

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """What the report shows of this task's figures beyond the headline."""
        return []


def task_for(facts: DataFacts, name: str | None = None, options: Mapping[str, Any] | None = None) -> Task:
    """The task for the data, or the one named. Errors: ``InputError`` when none or several fit."""
    known = kinds(Task)
    if name is not None and name not in known:
        raise InputError(f"task {name!r}", "there is no such task", f"use one of: {', '.join(known)}")
    candidates = [known[name]] if name else known.values()
    offered = [cls for cls in candidates if name is not None or not cls.by_name]
    found = [task for cls in offered if (task := cls.for_data(facts, options or {})) is not None]
    if not found:
        kind = "several classes a sample" if facts.multi_label else "one target a sample"
        who = "no task learns" if name is None else "it does not learn"
        raise InputError(
            f"task {name or '(by the data)'}",
            f"{who} the target {facts.target!r} of this data ({kind})",
            f"use data for one of: {', '.join(known)}" if name is None else "leave the task out, or use other data",
        )
    if len(found) > 1:
        raise InputError("task", f"several fit: {', '.join(task.kind for task in found)}", "name one with --task")
    return found[0]
