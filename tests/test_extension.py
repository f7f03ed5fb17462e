"""A new layer, a new reader and a new task, each one class in this file: found, trained, saved, reloaded and served
with no edit anywhere else. This is what CONTRIBUTING promises."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from striate.architectures.backbone import Architecture
from striate.core.spec import kinds
from striate.data.collection import Collection
from striate.data.reader import Reader, open_data
from striate.inference.evaluate import evaluate
from striate.inference.predictor import load
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.recipes.experiment import ArchitectureSettings, Experiment, TaskSettings
from striate.recipes.run import resume_run, train_experiment
from striate.recipes.sources import DataSettings
from striate.tasks.task import DataFacts, Metrics, Place, Task
from striate.training.settings import TrainingSettings


class Sharpen(Layer):
    """A new layer: x -> x + gain * x^3 with one learned gain a channel."""

    start: float = 0.1

    def output_shape(self, *inputs: Shape) -> Shape:
        """The input's."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> int:
        """A gain a channel."""
        return inputs[0][0]

    def build(self, *inputs: Shape) -> nn.Module:
        """The module."""
        return _Sharpen(inputs[0], self.start)


class _Sharpen(nn.Module):
    def __init__(self, shape: Shape, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((shape[0], *[1] * (len(shape) - 1)), start))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * x**3


class Sharp(Architecture):
    """An architecture that uses it."""

    def backbone(self) -> Graph:
        """One convolution and the new layer."""
        return Graph(
            rows=(Row(name="conv", layer=Convolution(channels=4, kernel=5)), Row(name="sharp", layer=Sharpen()))
        )

    def classifier(self, outputs: int) -> Layer:
        """Flatten and linear."""
        return Chain(layers=(Flatten(), Linear(features=outputs)))


class DotReader(Reader):
    """A new reader: ``*.dots``, a line a sample, the class and then numbers, separated by dots and spaces."""

    format = "dots"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the name."""
        return "its name ends in .dots" if path.suffix == ".dots" else None

    def collect(self) -> Collection:
        """Every line."""
        lines = [line.split(" . ") for line in self.path.read_text().splitlines()]
        values = np.array([[float(v) for v in line[1:]] for line in lines], dtype=np.float32)[:, None]
        classes = tuple(sorted({line[0] for line in lines}))
        return Collection(
            images=list(values),
            found=f"{len(lines)} lines of dots",
            names=[f"line {number}" for number in range(1, len(lines) + 1)],
            labels=np.array([classes.index(line[0]) for line in lines]),
            classes=classes,
            sources=(self.path,),
        )


class OneAgainstRest(Task):
    """A new task: is it the first class or not, by one logit and the logistic loss."""

    target: ClassVar[str] = "label"
    headline: ClassVar[str] = "accuracy"

    @classmethod
    def for_data(cls, facts: DataFacts, options: Mapping[str, Any]) -> Self | None:
        """Only by name, so that it takes no data away from classification."""
        return cls() if options.get("against_rest") else None

    def outputs(self, classes: int) -> int:
        """One logit."""
        return 1

    def loss(self, raw: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Sum of logistic losses."""
        wanted = (target == 0).float()
        return nn.functional.binary_cross_entropy_with_logits(raw[:, 0], wanted, reduction="sum"), float(len(target))

    def decode(self, raw: Tensor) -> dict[str, Tensor]:
        """The probability of the first class."""
        return {"first": raw[:, 0].sigmoid()}

    def metrics(self, classes: Sequence[str]) -> Metrics:
        """Accuracy."""
        return _Accuracy()

    def renumber(self, target: Tensor, numbers: Tensor, classes: int) -> Tensor:
        """Looked up."""
        return numbers[target]

    def records(
        self, decoded: Mapping[str, Tensor], classes: Sequence[str], places: Sequence[Place] | None = None
    ) -> list[dict[str, Any]]:
        """Whether it is the first class, and how probably."""
        return [{"is": classes[0] if p > 0.5 else "other", "probability": p} for p in decoded["first"].tolist()]


class _Accuracy:
    def __init__(self) -> None:
        self.right = self.count = 0

    def update(
        self,
        decoded: Mapping[str, Tensor],
        target: Tensor,
        index: Tensor | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        self.right += int(((decoded["first"] > 0.5) == (target == 0)).sum())
        self.count += len(target)

    def merge(self, other: "_Accuracy") -> None:
        self.right, self.count = self.right + other.right, self.count + other.count

    def compute(self) -> dict[str, Any]:
        return {"accuracy": self.right / self.count, "count": self.count}


@pytest.fixture
def dots(tmp_path: Path) -> Path:
    """Rising and falling lines in the new format."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(120):
        kind = ("falling", "rising")[number % 2]
        values = np.linspace(0, 1 if kind == "rising" else -1, 16) + rng.normal(0, 0.2, 16)
        lines.append(" . ".join([kind, *(f"{value:.4f}" for value in values)]))
    path = tmp_path / "lines.dots"
    path.write_text("\n".join(lines))
    return path


def run(data: Path, out: Path, task: TaskSettings | None = None) -> float:
    """Train on the data with defaults and return the headline figure on the validation split."""
    experiment = Experiment(
        data=DataSettings(path=str(data), cache=str(data.parent / "cache")),
        architecture=ArchitectureSettings(name="mnist1d_conv", options={"channels": (4,)}),
        task=task or TaskSettings(),
        training=TrainingSettings(steps=60, batch=16, precision="float32"),
    )
    result = train_experiment(experiment, out)
    return float(result.figures["val"][result.predictor.task.headline])


def test_a_new_reader_is_found_trained_on_and_served(dots: Path, tmp_path: Path) -> None:
    assert open_data(dots).found == "120 lines of dots"
    assert run(dots, tmp_path / "run") > 0.9
    records = load(tmp_path / "run").predict(dots)
    assert len(records) == 120
    assert evaluate(tmp_path / "run", dots, cache=tmp_path / "cache").figures["top1"] > 0.9


def test_a_new_task_is_found_trained_saved_and_served(dots: Path, tmp_path: Path) -> None:
    task = TaskSettings(name="one_against_rest", options={"against_rest": True})
    assert run(dots, tmp_path / "run", task) > 0.9
    predictor = load(tmp_path / "run")
    assert isinstance(predictor.task, OneAgainstRest)
    assert {record["is"] for record in predictor.predict(dots)} == {"falling", "other"}
    assert evaluate(predictor, dots, cache=tmp_path / "cache").figures["accuracy"] > 0.9


def test_a_new_layer_is_trained_saved_reloaded_and_resumed(
    dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.architectures.backbone.named_architectures", lambda: {"sharp": Sharp()})
    assert kinds(Layer)["sharpen"] is Sharpen
    experiment = Experiment(
        data=DataSettings(path=str(dots), cache=str(tmp_path / "cache")),
        architecture=ArchitectureSettings(name="sharp"),
        training=TrainingSettings(steps=60, batch=16, precision="float32"),
    )
    result = train_experiment(experiment, tmp_path / "run")
    assert result.figures["val"]["top1"] > 0.9
    predictor = load(tmp_path / "run")
    assert "backbone.sharp.gain" in predictor.module.state_dict()
    inputs = torch.randn(3, 1, 16)
    assert torch.equal(predictor.decode(inputs)["logits"], result.predictor.decode(inputs)["logits"])
    assert resume_run(tmp_path / "run").figures == result.figures
