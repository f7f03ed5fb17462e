"""What a run will do: an experiment with everything decided, chosen to suit the data and said aloud."""

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from striate import __version__, tasks
from striate.architectures.backbone import Architecture, architecture
from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.sample import Batch
from striate.core.spec import Spec, discover
from striate.core.transform import Compose
from striate.data.augment import Augment
from striate.data.loader import Loader
from striate.inference.measured import Measured
from striate.inference.predictor import Predictor, model_file
from striate.layers.layer import Layer, Shape
from striate.recipes import defaults
from striate.recipes.experiment import ArchitectureSettings, Experiment
from striate.recipes.geometry import drawn_canvases, small_fits
from striate.recipes.sources import DataSettings, Source
from striate.report.records import counted
from striate.tasks.task import DataFacts, Task, task_for
from striate.training.allocation import keep_freed_memory
from striate.training.average import Average
from striate.training.batch_size import SMALLEST, choose_batch, free_bytes, step_bytes
from striate.training.begin import begin_with
from striate.training.budget import steps_within
from striate.training.choice import FITTED, choose_precision, choose_step, choose_threads, make_step
from striate.training.compiled.compiler import compiler
from striate.training.depth import build_optimiser, freeze
from striate.training.settings import VALIDATIONS, Precision, StepKind, TrainingSettings
from striate.training.step import BlockStep, lay_out_weights, measuring, parts, seed_generators

TRIAL = 1_000_000
"""Steps of the training that is only timed."""

FEW = 4
"""Samples of which it is counted what a step keeps of them."""
DEFAULTS = TrainingSettings()
PARTS = {"task", "architecture", "architecture_name"}
"""Of a model's plan, what says which architecture it has."""

Say = Callable[[str], None]


class RunPlan(Spec):
    """An experiment with nothing left open: what a run's folder keeps, and what a resumed run follows.

    ``watch`` names the splits that are measured while training; the first one's headline figure decides what is best.
    ``precision`` and ``step`` are how the timing came out, so that a resumed run computes alike.
    ``data_fingerprint`` is of the data as it was prepared, ``data_alone`` of the data and how it is read, and
    ``weights_sha256`` of the weights that the training begins with, where it is given some.
    """

    data: DataSettings
    data_fingerprint: str
    data_alone: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    architecture: Architecture
    architecture_name: str
    task: Task
    preprocessing: Compose
    training: TrainingSettings
    precision: Precision
    step: StepKind
    watch: tuple[str, ...]
    versions: dict[str, str]
    weights_sha256: str = ""

    def settings(self) -> dict[str, str | int | float | bool | None]:
        """Every setting as a plain value by its dotted name, without what only the data decides; a list as text."""
        tables = self.to_json()
        kept = ("data", "architecture", "architecture_name", "task", "training", "precision", "step", "watch")
        return dict(_flat({name: tables[name] for name in kept}))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str | int | float | bool | None]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(one, f"{place}.{key}" if place else key)
    else:
        yield place, json.dumps(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Settled:
    """An experiment with its network, task and settings chosen to suit the data; nothing is timed yet."""

    source: Source
    architecture: Architecture
    architecture_name: str
    task: Task
    network: Layer
    training: TrainingSettings
    watched: tuple[str, ...]
    begun: modelfile.ModelFile | None = None

    def built(self, precision: str = "float32") -> nn.Module:
        """A network with the weights that a training begins with, its rows frozen as they will be."""
        seed_generators(self.training.seed)
        shape = self.source.input_shape
        module = lay_out_weights(self.network.build(shape), precision, shape)
        if self.begun is not None:
            begin_with(module, self.begun.weights, self.training.weights)
        freeze(module, self.training.freeze)
        return module


def settle(experiment: Experiment, source: Source, watch: tuple[str, ...], say: Say) -> Settled:
    """What the experiment leaves open and no timing is needed for, said aloud."""
    facts = DataFacts(
        target=source.shards.target,
        classes=source.classes,
        counts=source.class_counts("train"),
        multi_label=source.shards.multi_label,
        axes=len(source.input_shape) - 1,
        canvas=source.input_shape[1:],
        ignore=source.ignore,
    )
    discover(tasks)
    begun = model_begun_with(experiment.training)
    chosen, spec = _architecture(experiment.architecture, begun, source.input_shape, facts.target)
    training = defaults.training_for(experiment.training, source.input_shape, len(source.splits["train"]), facts.target)
    watched = tuple(split for split in watch if split in source.splits)
    for field, needed in (("patience", training.patience), ("keep", training.keep == "best")):
        if needed and not watched:
            fix = "hold out a share for validation, or leave it out"
            raise InputError(f"training.{field}", "there is no validation split to judge by", fix)
    suited = {} if experiment.architecture.name else defaults.task_options_for(source.input_shape, facts.target)
    task = task_for(facts, experiment.task.name, {**suited, **experiment.task.options})
    network = task.network(spec, len(source.classes))
    parameters = network.parameters(source.input_shape)
    network.output_shape(source.input_shape)
    say(f"task: {task.kind}; network: {chosen}, {parameters:,} parameters, input {_times(source.input_shape)}")
    within: tuple[Layer, Task, tuple[int, ...], int] = (network, task, source.input_shape, len(source.classes))
    asked = "small_until" in experiment.training.model_fields_set
    if training.small_until and not asked and not small_fits(_augment(training) or Augment(), *within):
        training = training.replace(small_until=0.0)  # a default must not refuse a network
    for line in drawn_canvases(_augment(training), training.small_until, *within):
        say(line)
    if begun is not None:
        training = training.replace(weights=os.path.abspath(str(training.weights)))
        new = begin_with(network.build(source.input_shape), begun.weights, training.weights)
        drawn = f"; drawn anew: {', '.join(new[:4])}{' and others' if len(new) > 4 else ''}" if new else ""
        say(f"weights: from {training.weights}{drawn}")
    return Settled(source, spec, chosen, task, network, training, watched, begun)


def model_begun_with(training: TrainingSettings) -> modelfile.ModelFile | None:
    """The model whose weights a training begins with. Errors: ``InputError`` for a file that cannot be read."""
    return None if training.weights is None else modelfile.load(model_file(training.weights))


def _architecture(
    asked: ArchitectureSettings, begun: modelfile.ModelFile | None, input_shape: Shape, target: str
) -> tuple[str, Architecture]:
    """The architecture that is asked for by name; else that of the model whose weights are taken, where that is for
    such targets; else what suits the data."""
    plan = begun.experiment.get("plan") if begun is not None and not asked.name else None
    if isinstance(plan, dict) and plan.keys() >= PARTS and Task.from_json(plan["task"]).target == target:
        name = str(plan["architecture_name"])
        spec = architecture(name, asked.options) if asked.options else Architecture.from_json(plan["architecture"])
        return name, spec
    name = asked.name or defaults.architecture_for(input_shape, target)
    return name, architecture(name, asked.options)


def decide(experiment: Experiment, source: Source, watch: tuple[str, ...], say: Say) -> RunPlan:
    """Everything the experiment leaves open, chosen to suit the data, said aloud."""
    return plan_of(experiment, settle(experiment, source, watch, say), say)


def plan_of(experiment: Experiment, settled: Settled, say: Say) -> RunPlan:
    """What is settled, with what only timing on this machine decides: threads, precision, the size of a batch and the
    number of steps where they are asked for so, and the kind of step."""
    source, training, network, task = settled.source, settled.training, settled.network, settled.task
    module, samples = settled.built(), len(source.splits["train"])
    if training.batch == "auto":
        measured = training.replace(
            batch=defaults.training_for(DEFAULTS, source.input_shape, samples, task.target).batch
        )
    else:
        measured = training
    loader = loader_of(source, measured.replace(small_until=0.0), "train")

    def batch_at(step: int) -> Batch:
        return parts(loader.batch(step), training.accumulate)[0]

    prepare_process(training)
    threads, seconds = choose_threads(training.threads, module, task, batch_at, say)
    measured, training = measured.replace(threads=threads), training.replace(threads=threads)
    prepare_process(training)
    precision = choose_precision(training.precision, module, task, batch_at, say, plain=seconds)
    if training.batch == "auto":
        training = training.replace(batch=_measured_batch(settled, measured, precision, loader, say))
        loader = loader_of(source, training.replace(small_until=0.0), "train")
    if training.accumulate > training.samples_a_step:
        cause = f"{training.accumulate} parts of a batch of {counted(training.samples_a_step, 'sample')}"
        raise InputError("training.accumulate", cause, "give a larger batch, or fewer parts")
    if training.accumulate > 1 and any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules()):
        each = -(-training.samples_a_step // training.accumulate)
        say(f"accumulate: the gradient is of {training.samples_a_step} samples, but batch norms see {each} at a time")
    step = choose_step(network, module, task, loader, training, precision, say)
    if training.minutes is not None:
        training = _within(training.minutes, settled, training, precision, step, say)
    return RunPlan(
        data=_findable(experiment.data),
        data_fingerprint=source.fingerprint,
        data_alone=source.shards.data_fingerprint,
        classes=source.classes,
        input_shape=source.input_shape,
        architecture=settled.architecture,
        architecture_name=settled.architecture_name,
        task=task,
        preprocessing=source.preprocessing,
        training=training,
        precision=precision,
        step=step,
        watch=settled.watched,
        versions=versions_of(step, precision),
        weights_sha256="" if settled.begun is None else modelfile.weights_sha256(settled.begun.weights),
    )


def trial_step(
    settled: Settled, training: TrainingSettings, precision: Precision, kind: StepKind = "general"
) -> tuple[BlockStep, nn.Module]:
    """A real step of a training that is only timed or looked at, with the network that it changes."""
    module = settled.built(precision)
    trial = training.replace(minutes=None, epochs=None, steps=TRIAL)
    step = make_step(
        kind,
        network=settled.network,
        module=module,
        task=settled.task,
        loader=loader_of(settled.source, trial, "train"),
        optimiser=build_optimiser(trial, module),
        settings=trial,
        total=TRIAL,
        precision=precision,
        average=None if training.average is None else Average(module, training.average),
    )
    return step, module


def shares_of(training: TrainingSettings) -> dict[int, float]:
    """The first of those steps of a trial that cost alike, with their share in the training."""
    small = training.small_until
    return {0: small, round(small * TRIAL): 1 - small} if 0 < small < 1 else {0: 1.0}


def validate_once(settled: Settled, training: TrainingSettings, module: nn.Module, precision: Precision) -> None:
    """Measure the watched splits as the training will on its way."""
    source = settled.source
    predictor = Predictor(
        module=module,
        task=settled.task,
        preprocessing=source.preprocessing,
        classes=source.classes,
        input_shape=source.input_shape,
    )
    for split in settled.watched:
        loader = Loader(
            source.shards,
            source.splits[split],
            batch=training.samples_a_step,
            seed=training.seed,
            normalise=source.normalise,
            fit=source.fit,
        )
        with measuring(module, precision):
            Measured(predictor, loader, split, source.fit).figures()


def _measured_batch(
    settled: Settled, training: TrainingSettings, precision: Precision, loader: Loader, say: Say
) -> int:
    """The size of a batch by timing real general steps. ``training`` has the size that suits the data, ``loader`` gives
    such batches."""
    module = settled.built(precision)
    whole = training.replace(small_until=0.0)
    few = parts(loader.batch(0), -(-training.samples_a_step // FEW))[0]
    return choose_batch(
        lambda size: trial_step(settled, whole.replace(batch=size), precision)[0],
        step_bytes(module, settled.task, few, precision, training.accumulate),
        len(loader),
        free_bytes(loader.device),
        min(SMALLEST, training.samples_a_step),
        say,
    )


def _within(
    minutes: float, settled: Settled, training: TrainingSettings, precision: Precision, kind: StepKind, say: Say
) -> TrainingSettings:
    """The settings with the number of steps that the minutes allow, timed with a copy of the network."""
    step, module = trial_step(settled, training, precision, kind)
    steps, period = steps_within(
        minutes,
        step,
        lambda: validate_once(settled, training, module, precision),
        1 if training.validate_every or not settled.watched else VALIDATIONS,
        say,
        shares_of(training),
    )
    return training.replace(minutes=None, steps=steps, validate_every=training.validate_every or period)


def _findable(data: DataSettings) -> DataSettings:
    """With the whole path, so that a run can be resumed from another folder; a generated set's word stays."""
    return data.replace(path=os.path.abspath(data.path)) if os.path.exists(data.path) else data


def loader_of(source: Source, settings: TrainingSettings, split: str) -> Loader:
    """The batches of a split: of ``train`` as the settings say, of others every sample as it is."""
    training = split == "train"
    total = settings.total_steps(len(source.splits[split]))
    return Loader(
        source.shards,
        source.splits[split],
        batch=settings.samples_a_step,
        seed=settings.seed,
        augment=_augment(settings) if training else None,
        normalise=source.normalise,
        fit=source.fit,
        mixed_steps=round(settings.mix_until * total) if training else None,
        small_steps=round(settings.small_until * total) if training else 0,
    )


def _augment(settings: TrainingSettings) -> Augment | None:
    """The augmentation of training samples: one that changes nothing where they are only drawn smaller at first."""
    if settings.augmented:
        return settings.augment
    return Augment() if settings.small_until else None


def prepare_process(settings: TrainingSettings, step: StepKind = "general") -> None:
    """Let torch use as many threads as the settings say, but one for the small networks that have a step of their own:
    torch's threads would wait for each other, and for other programs', many times as long as they compute. (The
    compiled step brings its own.) For other steps the process keeps the memory that it frees."""
    if step not in FITTED:
        keep_freed_memory()
    threads = 1 if step in FITTED else settings.threads
    if threads is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def versions_of(step: StepKind, precision: Precision) -> dict[str, str]:
    """What the bits of a run depend on. Errors: ``InputError`` where that is a compiler, and there is none."""
    found = {"striate": __version__, "torch": torch.__version__, "python": platform.python_version()}
    compiled = step == "compiled" or precision.startswith("winograd")
    return {**found, "compiler": compiler().version} if compiled else found


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
