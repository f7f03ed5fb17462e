"""Predictor: the only way from an input to an answer, for evaluation, prediction, reports and the server alike.

It takes a model file or a live network. The preprocessing is the one stored with the model, so that what was trained,
what is measured and what is served cannot differ.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from striate.architectures.backbone import register_layers, window_graph
from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.map import AxisMap, Map
from striate.core.sample import Sample
from striate.core.spec import discover
from striate.core.transform import Compose, Normalise
from striate.data.collection import ReaderOptions
from striate.inference.inputs import Inputs, unlabelled
from striate.inference.tiling import Tiling, tiled
from striate.layers.layer import Layer, Shape
from striate.tasks.task import Place, Task

MOST_POSITIONS = 2**20
"""Positions of all inputs of a batch together: 256 of 64 x 64, 21 of 256 x 192."""

MOST_KEPT = 2**26
"""Values of samples that are kept together to be drawn: 21 photos of a megapixel."""

READER = "reader"
"""Where a model file's experiment holds how its data was read (colour and bits of images, columns of tables)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of a sample: the plain ``record``, and the ``image`` (C, *S) as it was read, where it was kept."""

    record: dict[str, Any]
    image: Tensor | None = None


class Predictor:
    """A network with its task, preprocessing and class names, ready to answer.

    ``options`` are those its data was read with, as they came out. ``input_shape`` is what the network takes,
    (channels, *spatial). The module is kept as it is, on its device, and is left in the mode (training or evaluation)
    in which it was found. ``trained_on`` is the fingerprint of the data it was trained on, where known; ``network`` the
    description of the module, from which windows are laid so that no seam is seen; ``format`` that of the data.
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
        network: Layer | None = None,
        format: str | None = None,
    ) -> None:
        self.module = module
        self.task = task
        self.preprocessing = preprocessing
        self.classes = tuple(classes)
        self.input_shape = tuple(input_shape)
        self.options = options or ReaderOptions()
        self.source = source
        self.trained_on = trained_on
        self.network = network
        self.format = format

    @classmethod
    def from_model(cls, model: modelfile.ModelFile, source: str = "model") -> Self:
        """The predictor of a model file's content. Errors: ``InputError`` when weights and network do not fit."""
        _know_every_kind()
        network = Layer.from_json(model.network, f"{source}: network")
        task = Task.from_json(model.task, f"{source}: task")
        preprocessing = Compose.from_json(model.preprocessing, f"{source}: preprocessing")
        if READER not in model.experiment:
            raise InputError(source, "it does not say how its data was read", "use a model file of `striate train`")
        task.demand_outputs(network, model.input_shape, len(model.classes), source)
        held = sum(tensor.numel() for tensor in model.weights.values())
        if network.parameters(model.input_shape) > held:  # refuse before memory is taken for what is not there
            raise InputError(source, "the file holds fewer weights than its network has", "use a file written whole")
        module = network.build(model.input_shape)
        modelfile.check_weights(model, modelfile.expected_weights(module), source)
        module.load_state_dict(model.weights)
        return cls(
            module=laid_out(module, model.input_shape).eval(),
            task=task,
            preprocessing=preprocessing,
            classes=model.classes,
            input_shape=model.input_shape,
            options=ReaderOptions.from_json(model.experiment[READER], f"{source}: {READER}"),
            source=source,
            trained_on=_trained_on(model.experiment),
            network=network,
            format=_format(model.experiment),
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
        self._demand_values(sample)
        image = self.preprocessing(sample).image
        if tuple(image.shape) != self.input_shape:
            raise InputError(
                sample.name,
                f"size {_times(image.shape)} came, the model takes {_times(self.input_shape)}",
                "give inputs of the size the model was trained on",
            )
        return image

    def place(self, sample: Sample) -> Place:
        """Where the sample's original pixels are on the canvas of :meth:`prepare`."""
        return _placed(sample, self.preprocessing.map(sample.size))

    def decode(self, images: Tensor) -> dict[str, Tensor]:
        """Decoded outputs for prepared inputs (B, C, *S), on the device of the network."""
        device = next((parameter.device for parameter in self.module.parameters()), images.device)
        with evaluating(self.module):
            return self.task.decode(self.module(images.to(device)))

    def predict_samples(
        self,
        samples: Iterable[Sample],
        batch: int = 64,
        skip: Callable[[str, str], None] | None = None,
        tiling: Tiling | None = None,
    ) -> Iterator[dict[str, Any]]:
        """One plain record a sample, in order, each with the sample's ``name``, in pixels of the original sample, and
        with its ``time`` in seconds where it is a frame of a video.

        With ``tiling`` the network goes over every sample window by window, without bringing it to the canvas.
        A sample that does not fit is told to ``skip`` by name and reason; without it that is an ``InputError``.
        Errors: ``InputError`` too for tiling with a task whose answers cannot be blended.
        """
        return (answer.record for answer in self.answers(samples, batch, skip, tiling))

    def answers(
        self,
        samples: Iterable[Sample],
        batch: int = 64,
        skip: Callable[[str, str], None] | None = None,
        tiling: Tiling | None = None,
        *,
        keep: bool = False,
    ) -> Iterator[Answer]:
        """As :meth:`predict_samples`, with the images as they were read where they are to be kept."""
        if tiling is not None and not self.task.blended:
            cause = f"{self.task.kind} does not answer for every position"
            raise InputError("tiling", cause, "predict without it")
        waiting: list[_Waiting] = []
        held = 0
        most = 1 if tiling is not None else at_once(batch, self.input_shape)
        for sample in samples:
            try:
                if tiling is not None:
                    image, place = self._unmoved(sample, tiling)
                else:
                    image, place = self.prepare(sample), self.place(sample)
            except InputError as error:
                if skip is None:
                    raise
                skip(sample.name, error.cause)
                continue
            waiting.append(_Waiting(sample.name, sample.time, place, image, sample.image if keep else None))
            held += sample.image.numel() if keep else 0
            if len(waiting) == most or held > MOST_KEPT:
                yield from self._answer(waiting, tiling)
                waiting, held = [], 0
        if waiting:
            yield from self._answer(waiting, tiling)

    def _answer(self, prepared: Sequence["_Waiting"], tiling: Tiling | None) -> Iterator[Answer]:
        if tiling is None:
            images = torch.stack([one.prepared for one in prepared])
            decoded = {name: tensor.cpu() for name, tensor in self.decode(images).items()}
        else:
            decoded = self.decode_tiled(prepared[0].prepared, tiling)
        records = self.task.records(decoded, self.classes, [one.place for one in prepared])
        for one, record in zip(prepared, records, strict=True):
            time = {} if one.time is None else {"time": one.time}
            yield Answer({"name": one.name, **time, **record}, one.image)

    def decode_tiled(self, image: Tensor, tiling: Tiling) -> dict[str, Tensor]:
        """The blended outputs for one image (C, *S) of any size whose values are scaled, (1, K, *S) each."""
        window = self.input_shape[1:]

        def decode(windows: Tensor) -> dict[str, Tensor]:
            return {name: one.cpu() for name, one in self.decode(windows).items() if name in self.task.blended}

        if tiling.border is None and self.network is not None:
            field = _field(self.network, self.input_shape)
            if field is not None and field < min(window) * tiling.overlap:
                tiling = replace(tiling, border=field - 1)  # more than half of it, since strides put it off the middle
        return tiled(decode, image, window, tiling, at_once(tiling.batch, self.input_shape))

    def _unmoved(self, sample: Sample, tiling: Tiling) -> tuple[Tensor, Place]:
        """A sample at its own size times the tiling's scale, its values scaled, and where its pixels are."""
        self._demand_values(sample)
        moved = tiling.resized(sample)
        by = Map.identity(sample.size) if moved is sample else tiling.resize(sample.size).map(sample.size)
        image = moved.image.float() if self.normalise is None else self.normalise(moved).image
        return image, _placed(sample, by)

    def _demand_values(self, sample: Sample) -> None:
        self.demand_fit(tuple(sample.image.shape), sample.name)
        if sample.image.is_floating_point() and not bool(sample.image.isfinite().all()):
            raise InputError(
                sample.name, "it holds values that are not finite (NaN or infinity)", "correct or remove it"
            )

    def predict(
        self,
        inputs: str | Path | Sequence[str | Path] | ArrayLike,
        batch: int = 64,
        tiling: Tiling | None = None,
        every: int = 1,
    ) -> list[dict[str, Any]]:
        """Predict for paths (files, folders, globs, NPZ, CSV, videos) or for an array of samples (N, C, *S), window by
        window with ``tiling``; of files of several frames every ``every``-th is taken.

        Errors: ``InputError`` naming the first input that cannot be read.
        """
        paths = [inputs] if isinstance(inputs, str | Path) else inputs if isinstance(inputs, list | tuple) else []
        if paths and all(isinstance(one, str | Path) for one in paths):
            run = self.open(paths, every)
            records = list(self.predict_samples(run, batch, tiling=tiling))
            if run.skipped:
                name, reason = run.skipped[0]
                raise InputError(name, reason, "leave it out, or use `striate predict`, which lists what it skips")
            return records
        values = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.asarray(inputs))
        samples = (Sample(image, {}, str(position)) for position, image in enumerate(values))
        return list(self.predict_samples(samples, batch, tiling=tiling))

    def open(self, inputs: Sequence[str | Path], every: int = 1) -> Inputs:
        """The unlabelled samples of files, folders, globs, NPZ, CSV and videos, to be read in order; of files of
        several frames every ``every``-th."""
        return Inputs([str(one) for one in inputs], unlabelled(self.options), self.format, self.input_shape, every)

    def choosing(self, score: float | None = None, most: int | None = None) -> Self:
        """The same network with other boxes chosen: those with at least this ``score``, at most so many a sample (None:
        as it was). Errors: ``InputError`` for a task that chooses none, and for values out of range."""
        chosen = {name: value for name, value in (("score", score), ("most", most)) if value is not None}
        if chosen and not {"score", "most"} <= type(self.task).model_fields.keys():
            raise InputError(
                f"--{next(iter(chosen))}", f"{self.task.kind} finds no boxes to choose from", "leave it out"
            )
        other = copy(self)
        if chosen:
            other.task = Task.from_json({**self.task.to_json(), **chosen}, "score and most")
        return other


def load(path: str | Path) -> Predictor:
    """The predictor of a model file, or of the model in a run's folder.

    Errors: ``InputError`` for whatever is wrong with the file; nothing in it is executed.
    """
    place = model_file(path)
    return Predictor.from_model(modelfile.load(place), str(place))


def model_file(path: str | Path) -> Path:
    """The file itself, or that of the run in a folder. Errors: ``InputError`` for a folder that has none."""
    place = Path(path)
    if not place.is_dir():
        return place
    if not (place / modelfile.MODEL_NAME).exists():
        raise InputError(
            path,
            f"there is no {modelfile.MODEL_NAME} in this folder",
            f"name a model file, or finish the run with: striate train --resume {path}",
        )
    return place / modelfile.MODEL_NAME


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


def laid_out(module: nn.Module, input_shape: Shape) -> nn.Module:
    """The module, changed in place, as it lies in memory when it answers: the kernels of networks for images with
    their channels last, which is faster (resnet18 on a processor: 1.3 to 1.4 times). One layout, because rounding
    follows it."""
    return module.to(memory_format=torch.channels_last if len(input_shape) == 3 else torch.contiguous_format)


def at_once(asked: int, input_shape: Shape) -> int:
    """How many inputs (C, *S) go through the network together: as many as asked, of large ones fewer, so that maps of
    many channels fit into memory."""
    return max(1, min(asked, MOST_POSITIONS // max(1, math.prod(input_shape[1:]))))


class _Waiting(NamedTuple):
    """A prepared sample of a batch."""

    name: str
    time: float | None
    place: Place
    prepared: Tensor
    image: Tensor | None


def _placed(sample: Sample, by: Map) -> Place:
    """The place of a sample's original, of which the image may be a reduced copy, by the map of the image."""
    original = sample.original or sample.size
    rows = tuple(AxisMap(axis, m / n, 0.0) for axis, (n, m) in enumerate(zip(original, sample.size, strict=True)))
    return Place(original, by @ Map.aligned(rows, sample.size))


def _field(network: Layer, input_shape: Shape) -> int | None:
    """The largest side of the receptive field of the main output, in pixels; None where it sees everything."""
    graph = window_graph(network, input_shape)
    fields = [graph.receptive_field(graph.rows[-1].name, axis) for axis in range(len(input_shape) - 1)]
    sizes = [field.size for field in fields if field.size is not None and not field.everything]
    return max(sizes) if len(sizes) == len(fields) else None


def _trained_on(experiment: dict[str, Any]) -> str | None:
    plan = experiment.get("plan")
    found = plan.get("data_alone") if isinstance(plan, dict) else None
    return found if isinstance(found, str) else None


def _format(experiment: dict[str, Any]) -> str | None:
    plan = experiment.get("plan")
    data = plan.get("data") if isinstance(plan, dict) else None
    found = data.get("format") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _know_every_kind() -> None:
    """Import what defines kinds of specs, so that a model file's names are known."""
    import striate.tasks

    register_layers()
    discover(striate.tasks)
