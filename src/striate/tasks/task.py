"""The contract of a task: what the network's outputs mean, how they are learned, read and measured.

Classification, detection and segmentation differ in target, head, loss, decoding and metrics, and in nothing else.
A task is one file with one concrete :class:`Task`; it is found by being defined.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from striate.architectures.backbone import Architecture
from striate.core.errors import InputError
from striate.core.spec import Spec, kinds
from striate.layers.layer import Layer
from striate.report.records import Section


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What a task may know of a data set: the kind of its target, its classes, and how often each is seen in training.

    ``multi_label`` says that a sample may carry several classes at once, ``axes`` how many spatial axes samples have.
    """

    target: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    multi_label: bool = False
    axes: int = 2


class Metrics(Protocol):
    """Mergeable figures: what several processes or batches saw adds up to what one would have seen."""

    def update(self, decoded: Mapping[str, Tensor], target: Any) -> None:
        """Take in one batch of decoded outputs and its collated target."""

    def merge(self, other: Any) -> None:
        """Take in what another instance has seen."""

    def compute(self) -> dict[str, Any]:
        """The figures by their plain names: numbers, and lists for tables."""


class Task(Spec):
    """Base of every task. All sizes are tensors with the batch first: raw outputs (B, outputs, ...)."""

    target: ClassVar[str]
    """Name of the sample's target that is learned."""
    headline: ClassVar[str]
    """The figure that is watched in training, named as :meth:`Metrics.compute` names it."""
    larger_is_better: ClassVar[bool] = True

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

    @abstractmethod
    def loss(self, raw: Tensor, target: Any) -> tuple[Tensor, float]:
        """Sum of the losses of a batch, and what to divide it by, so that parts of a batch add up."""

    @abstractmethod
    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """Outputs in their meaning (probabilities, boxes), of fixed shape, first dimension the batch."""

    @abstractmethod
    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Fresh figures for a data set with these classes."""

    @abstractmethod
    def renumber(self, target: Any, numbers: Tensor, classes: int) -> Any:
        """The collated target with class c as ``numbers[c]``, for data whose classes are ordered otherwise or fewer."""

    @abstractmethod
    def records(self, decoded: Mapping[str, Tensor], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One plain record a sample, ready for CSV or JSON."""

    def sections(self, figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
        """What the report shows of this task's figures beyond the headline."""
        return []


def task_for(facts: DataFacts, name: str | None = None, options: Mapping[str, Any] | None = None) -> Task:
    """The task for the data, or the one named. Errors: ``InputError`` when none or several fit."""
    known = kinds(Task)
    if name is not None and name not in known:
        raise InputError(f"task {name!r}", "there is no such task", f"use one of: {', '.join(known)}")
    candidates = [known[name]] if name else known.values()
    found = [task for cls in candidates if (task := cls.for_data(facts, options or {})) is not None]
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
