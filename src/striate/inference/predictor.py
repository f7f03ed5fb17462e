"""Predictor: the only way from an input to an answer, for evaluation, prediction, reports and the server alike.

It takes a model file or a live network. The preprocessing is the one stored with the model, so that what was trained,
what is measured and what is served cannot differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from striate.architectures.backbone import register_layers
from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.spec import discover
from striate.core.transform import Compose, Normalise
from striate.data.collection import ReaderOptions
from striate.inference.inputs import Inputs, unlabelled
from striate.layers.layer import Layer, Shape
from striate.tasks.task import Task

MODEL_NAME = "model.safetensors"
"""Name of the model file in a run's folder."""


READER = "reader"
"""Where a model file's experiment holds how its data was read (colour and bits of images, columns of tables)."""


class Predictor:
    """A network with its task, preprocessing and class names, ready to answer.

    ``options`` are those its data was read with, as they came out. ``input_shape`` is what the network takes,
    (channels, *spatial). The module is kept as it is, on its device, and is left in the mode (training or evaluation)
    in which it was found. ``trained_on`` is the fingerprint of the data it was trained on, where known.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        task: Task,
        preprocessing: Compose,
        classes: Sequence[str],
        input_shape: Shape,
        options: ReaderOptions | None = None,
        source: str = "live network",
        trained_on: str | None = None,
    ) -> None:
        self.module = module
        self.task = task
        self.preprocessing = preprocessing
        self.classes = tuple(classes)
        self.input_shape = tuple(input_shape)
        self.options = options or ReaderOptions()
        self.source = source
        self.trained_on = trained_on

    @classmethod
    def from_model(cls, model: modelfile.ModelFile, source: str = "model") -> Self:
        """The predictor of a model file's content. Errors: ``InputError`` when weights and network do not fit."""
        _know_every_kind()
        network = Layer.from_json(model.network, f"{source}: network")
        task = Task.from_json(model.task, f"{source}: task")
        preprocessing = Compose.from_json(model.preprocessing, f"{source}: preprocessing")
        if READER not in model.experiment:
            raise InputError(source, "it does not say how its data was read", "use a model file of `striate train`")
        outputs, wanted = network.output_shape(model.input_shape), task.outputs(len(model.classes))
        if len(outputs) == 1 and outputs != (wanted,):
            raise InputError(
                source, f"{outputs[0]} outputs for {len(model.classes)} classes", "use a file written whole"
            )
        held = sum(tensor.numel() for tensor in model.weights.values())
        if network.parameters(model.input_shape) > held:  # refuse before memory is taken for what is not there
            raise InputError(source, "the file holds fewer weights than its network has", "use a file written whole")
        module = network.build(model.input_shape)
        modelfile.check_weights(model, modelfile.expected_weights(module), source)
        module.load_state_dict(model.weights)
        return cls(
            module=module.eval(),
            task=task,
            preprocessing=preprocessing,
            classes=model.classes,
            input_shape=model.input_shape,
            options=ReaderOptions.from_json(model.experiment[READER], f"{source}: {READER}"),
            source=source,
            trained_on=_trained_on(model.experiment),
        )

    @property
    def geometry(self) -> Compose:
        """The part of the preprocessing that brings samples to their working size: what shards are prepared with."""
        return Compose(steps=tuple(step for step in self.preprocessing.steps if not isinstance(step, Normalise)))

    @property
    def normalise(self) -> Normalise | None:
        """The part of the preprocessing that scales values, applied after augmentation."""
        return next((step for step in self.preprocessing.steps if isinstance(step, Normalise)), None)

    def demand_fit(self, shape: Shape, where: object) -> None:
        """Errors: ``InputError`` for an input (C, *S) whose channels or number of axes are not the model's."""
        if len(shape) != len(self.input_shape) or shape[0] != self.input_shape[0]:
            raise InputError(
                where,
                f"shape {_times(shape)} came, the model takes {_times(self.input_shape)}",
                "give inputs with the channels and axes the model was trained on",
            )

    def prepare(self, sample: Sample) -> Tensor:
        """The network's input for one sample, (C, *S) float32. Errors: ``InputError`` when it does not fit, and for
        values that are not finite."""
        self.demand_fit(tuple(sample.image.shape), sample.name)
        if sample.image.is_floating_point() and not bool(sample.image.isfinite().all()):
            raise InputError(
                sample.name, "it holds values that are not finite (NaN or infinity)", "correct or remove it"
            )
        image = self.preprocessing(sample).image
        if tuple(image.shape) != self.input_shape:
            raise InputError(
                sample.name,
                f"size {_times(image.shape)} came, the model takes {_times(self.input_shape)}",
                "give inputs of the size the model was trained on",
            )
        return image

    def decode(self, images: Tensor) -> dict[str, Tensor]:
        """Decoded outputs for prepared inputs (B, C, *S)."""
        with evaluating(self.module):
            return self.task.decode(self.module(images))

    def predict_samples(
        self, samples: Iterable[Sample], batch: int = 64, skip: Callable[[str, str], None] | None = None
    ) -> Iterator[dict[str, Any]]:
        """One plain record a sample, in order, each with the sample's ``name``.

        A sample that does not fit is told to ``skip`` by name and reason; without it that is an ``InputError``.
        """
        waiting: list[tuple[str, Tensor]] = []
        for sample in samples:
            try:
                waiting.append((sample.name, self.prepare(sample)))
            except InputError as error:
                if skip is None:
                    raise
                skip(sample.name, error.cause)
            if len(waiting) == batch:
                yield from self._answer(waiting)
                waiting = []
        if waiting:
            yield from self._answer(waiting)

    def _answer(self, prepared: Sequence[tuple[str, Tensor]]) -> Iterator[dict[str, Any]]:
        device = next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))
        decoded = self.decode(torch.stack([image for _, image in prepared]).to(device))
        decoded = {name: tensor.cpu() for name, tensor in decoded.items()}
        for (name, _), record in zip(prepared, self.task.records(decoded, self.classes), strict=True):
            yield {"name": name, **record}

    def predict(self, inputs: str | Path | Sequence[str | Path] | ArrayLike, batch: int = 64) -> list[dict[str, Any]]:
        """Predict for paths (files, folders, globs, NPZ, CSV) or for an array of samples (N, C, *S).

        Errors: ``InputError`` naming the first input that cannot be read.
        """
        paths = [inputs] if isinstance(inputs, str | Path) else inputs if isinstance(inputs, list | tuple) else []
        if paths and all(isinstance(one, str | Path) for one in paths):
            run = self.open(paths)
            records = list(self.predict_samples(run, batch))
            if run.skipped:
                name, reason = run.skipped[0]
                raise InputError(name, reason, "leave it out, or use `striate predict`, which lists what it skips")
            return records
        values = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.asarray(inputs))
        samples = (Sample(image, {}, str(position)) for position, image in enumerate(values))
        return list(self.predict_samples(samples, batch))

    def open(self, inputs: Sequence[str | Path]) -> Inputs:
        """The unlabelled samples of files, folders, globs, NPZ and CSV, to be read in order."""
        return Inputs([str(one) for one in inputs], unlabelled(self.options))


def load(path: str | Path) -> Predictor:
    """The predictor of a model file, or of the model in a run's folder.

    Errors: ``InputError`` for whatever is wrong with the file; nothing in it is executed.
    """
    place = Path(path)
    if place.is_dir():
        place = place / MODEL_NAME
        if not place.exists():
            raise InputError(
                path,
                f"there is no {MODEL_NAME} in this folder",
                f"name a model file, or finish the run with: striate train --resume {path}",
            )
    return Predictor.from_model(modelfile.load(place), str(place))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside; each module's mode is as before afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _trained_on(experiment: dict[str, Any]) -> str | None:
    plan = experiment.get("plan")
    found = plan.get("data_alone") if isinstance(plan, dict) else None
    return found if isinstance(found, str) else None


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _know_every_kind() -> None:
    """Import what defines kinds of specs, so that a model file's names are known."""
    import striate.tasks

    register_layers()
    discover(striate.tasks)
