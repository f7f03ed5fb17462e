"""A run: an experiment with everything decided, carried out in a folder, and resumed from it bit for bit."""

import copy
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate import __version__, architectures, tasks
from striate.architectures.backbone import Architecture, architecture, register_layers
from striate.core import modelfile, strictjson
from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.core.spec import Spec, discover
from striate.core.transform import Compose
from striate.data.collection import ReaderOptions
from striate.data.loader import Loader
from striate.inference.evaluate import measure
from striate.inference.predictor import MODEL_NAME, READER, Predictor, at_once
from striate.layers.graph import expanded
from striate.layers.layer import Layer
from striate.recipes import defaults
from striate.recipes.check import brief
from striate.recipes.experiment import Experiment
from striate.recipes.run_report import single_figures, write_report
from striate.recipes.sources import DataSettings, Source, open_for, open_source
from striate.report.records import shown
from striate.tasks.task import DataFacts, Task, task_for
from striate.training import checkpoint
from striate.training.average import Average
from striate.training.budget import steps_within
from striate.training.choice import choose_precision, choose_step, choose_threads, make_step, restored_threads
from striate.training.loop import History, Progress, train
from striate.training.settings import VALIDATIONS, Precision, StepKind, TrainingSettings
from striate.training.step import lay_out_weights, seed_generators

PLAN_NAME = "experiment.json"
SPLIT_NAME = "split.json"
REPORT_NAME = "report.html"
CHECKPOINTS = "checkpoints"

Say = Callable[[str], None]
Show = Callable[[int, int, str], None]


class RunPlan(Spec):
    """An experiment with nothing left open: what a run's folder keeps, and what a resumed run follows.

    ``watch`` names the splits that are measured while training; the first one's headline figure decides what is best.
    ``precision`` and ``step`` are how the timing came out, so that a resumed run computes alike.
    ``data_fingerprint`` is of the data as it was prepared, ``data_alone`` of the data and how it is read.
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


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves: its folder, history, figures and number of samples by split, and a predictor with the
    kept weights."""

    folder: Path
    plan: RunPlan
    history: History
    figures: dict[str, dict[str, Any]]
    samples: dict[str, int]
    predictor: Predictor

    def lines(self) -> list[str]:
        """The result in a few lines of text."""
        task = self.predictor.task
        found = [
            f"{split}: {task.headline} {shown(figures[task.headline], 4)} on {self.samples[split]} samples"
            for split, figures in self.figures.items()
        ]
        return [*found, f"model: {self.folder / MODEL_NAME}", f"report: {self.folder / REPORT_NAME}"]


def train_experiment(
    experiment: Experiment,
    out: Path,
    *,
    watch: tuple[str, ...] = ("val",),
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> RunResult:
    """Train in the folder ``out`` (made). Errors: ``InputError`` for bad data or settings, or a folder with a run;
    ``Interrupted`` after SIGINT or SIGTERM, with a checkpoint written."""
    _demand_free(out)
    opened = open_for(experiment.data, say=say)
    brief(opened, experiment.architecture.name, say=say)
    experiment = experiment.replace(data=experiment.data.replace(format=opened.reader.format))
    source = open_source(experiment.data, opened=opened, say=say, show=show)
    with checkpoint.hold(out), restored_threads():
        _demand_free(out)  # again, now that nobody else can begin one
        plan = _decide(experiment, source, watch, say)
        _write_json(out / SPLIT_NAME, source.split_record())
        _write_json(out / PLAN_NAME, plan.to_json())  # last: from here on the run can be resumed
        return _carry_out(plan, source, out, say, show)


def resume_run(out: Path, *, say: Say = lambda line: None, show: Show = lambda done, total, seen: None) -> RunResult:
    """Continue the run in ``out`` to its end; a finished run only has its report written again.

    Errors: ``InputError`` when there is no run or its data has changed; ``Interrupted`` as for training.
    """
    if not (out / PLAN_NAME).is_file():
        raise InputError(out, f"there is no run to resume (no {PLAN_NAME})", "name a folder that a training made")
    with checkpoint.hold(out), restored_threads():
        register_layers()
        discover(architectures)
        discover(tasks)
        plan = RunPlan.from_json(_read_json(out / PLAN_NAME), str(out / PLAN_NAME))
        source = open_source(plan.data, say=say, show=show)
        if source.fingerprint != plan.data_fingerprint:
            raise InputError(
                plan.data.path, "the data is not what this run began with", "restore it, or start a new run"
            )
        found = _versions()
        changed = [
            f"{name} {old}, now {found.get(name)}" for name, old in plan.versions.items() if found.get(name) != old
        ]
        if changed:
            say(f"the run began with {'; '.join(changed)}: it goes on, but perhaps not bit for bit")
        return _carry_out(plan, source, out, say, show)


def _demand_free(out: Path) -> None:
    """Refuse a folder that holds a run, or files of somebody's that a run would replace."""
    if (out / PLAN_NAME).exists():
        raise InputError(out, "it already holds a run", f"continue it with --resume {out}, or choose another folder")
    for name in (MODEL_NAME, REPORT_NAME, CHECKPOINTS):
        if (out / name).exists():
            raise InputError(out / name, "it is there already, and no run's", "choose another folder for the run")


def _decide(experiment: Experiment, source: Source, watch: tuple[str, ...], say: Say) -> RunPlan:
    """Everything the experiment leaves open, chosen to suit the data, said aloud."""
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
    chosen = experiment.architecture.name or defaults.architecture_for(source.input_shape, facts.target)
    spec = architecture(chosen, experiment.architecture.options)
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
    loader, module = _loader(source, training, "train"), network.build(source.input_shape)
    training = training.replace(threads=choose_threads(training.threads, module, task, loader.batch, say))
    _set_threads(training)
    precision = choose_precision(training.precision, module, task, loader.batch, say)
    step = choose_step(network, module, task, loader, training, precision, say)
    if training.minutes is not None:
        training = _within(
            training.minutes, training, network, module, task, source, precision, step, bool(watched), say
        )
    return RunPlan(
        data=_findable(experiment.data),
        data_fingerprint=source.fingerprint,
        data_alone=source.shards.data_fingerprint,
        classes=source.classes,
        input_shape=source.input_shape,
        architecture=spec,
        architecture_name=chosen,
        task=task,
        preprocessing=source.preprocessing,
        training=training,
        precision=precision,
        step=step,
        watch=watched,
        versions=_versions(),
    )


def _within(
    minutes: float,
    training: TrainingSettings,
    network: Layer,
    module: nn.Module,
    task: Task,
    source: Source,
    precision: Precision,
    step: StepKind,
    watched: bool,
    say: Say,
) -> TrainingSettings:
    """The settings with the number of steps that the minutes allow, timed with a copy of the network."""
    copied = lay_out_weights(copy.deepcopy(module), precision, source.input_shape)
    trial = training.replace(minutes=None, steps=1_000_000)
    average = None if training.average is None else Average(copied, training.average)
    predictor = Predictor(
        module=copied,
        task=task,
        preprocessing=source.preprocessing,
        classes=source.classes,
        input_shape=source.input_shape,
    )

    def validate() -> None:
        if watched:
            loader = _loader(source, training, "val")
            measure(predictor, loader.sequential(at_once(256, source.input_shape)))

    steps = steps_within(
        minutes,
        make_step(
            step,
            network=network,
            module=copied,
            task=task,
            loader=_loader(source, trial, "train"),
            optimiser=training.optimiser.build(copied),
            settings=trial,
            total=1_000_000,
            precision=precision,
            average=average,
        ),
        validate,
        VALIDATIONS if watched else 0,
        say,
    )
    return training.replace(minutes=None, steps=steps)


def _carry_out(plan: RunPlan, source: Source, out: Path, say: Say, show: Show) -> RunResult:
    settings, task, preprocessing = plan.training, plan.task, plan.preprocessing
    _set_threads(settings)
    network = expanded(task.network(plan.architecture, len(plan.classes)))
    seed_generators(settings.seed)
    module = lay_out_weights(network.build(plan.input_shape), plan.precision, plan.input_shape)
    predictor = Predictor(
        module=module,
        task=task,
        preprocessing=preprocessing,
        classes=plan.classes,
        input_shape=plan.input_shape,
        options=ReaderOptions.from_json(source.shards.options),
        network=network,
    )
    most = at_once(256, plan.input_shape)
    loaders = {split: _loader(source, settings, split) for split in source.splits}
    samples = len(source.splits["train"])
    total = settings.total_steps(samples)
    optimiser = settings.optimiser.build(module)
    average = None if settings.average is None else Average(module, settings.average)

    def validate() -> dict[str, Any]:
        measured = {split: measure(predictor, loaders[split].sequential(most)) for split in plan.watch}
        found = {f"{split}/{name}": v for split, all_ in measured.items() for name, v in single_figures(all_).items()}
        return {headline: None, **found} if headline else found

    headline = f"{plan.watch[0]}/{task.headline}" if plan.watch else ""
    history, weights = train(
        module=module,
        optimiser=optimiser,
        step=make_step(
            plan.step,
            network=network,
            module=module,
            task=task,
            loader=loaders["train"],
            optimiser=optimiser,
            settings=settings,
            total=total,
            precision=plan.precision,
            average=average,
        ),
        average=average,
        settings=settings,
        total=total,
        period=settings.validation_period(samples),
        validate=validate,
        headline=headline,
        larger_is_better=task.larger_is_better,
        folder=out / CHECKPOINTS,
        say=say,
        show=lambda progress: show(progress.step, progress.total, _seen(progress, headline)),
    )
    module.load_state_dict(weights)
    module.to(memory_format=torch.contiguous_format)  # as the model file gives it back, so that the answers are equal
    measured: list[str] = [split for split in ("val", "test") if split in loaders] or ["train"]
    figures = {split: measure(predictor, loaders[split].sequential(most)) for split in measured}
    modelfile.save(
        out / MODEL_NAME,
        modelfile.ModelFile(
            network=network.to_json(),
            task=task.to_json(),
            preprocessing=preprocessing.to_json(),
            input_shape=plan.input_shape,
            classes=plan.classes,
            experiment={READER: source.shards.options, "plan": plan.to_json(), "history": asdict(history)},
            weights={name: tensor.contiguous() for name, tensor in module.state_dict().items()},
            metrics={split: single_figures(found) for split, found in figures.items()},
        ),
    )
    result = RunResult(out, plan, history, figures, {split: len(loaders[split]) for split in measured}, predictor)
    write_report(result, source, out / REPORT_NAME)
    return result


def _findable(data: DataSettings) -> DataSettings:
    """With the whole path, so that a run can be resumed from another folder; a generated set's word stays."""
    return data.replace(path=os.path.abspath(data.path)) if os.path.exists(data.path) else data


def _loader(source: Source, settings: TrainingSettings, split: str) -> Loader:
    training = split == "train"
    return Loader(
        source.shards,
        source.splits[split],
        batch=settings.batch,
        seed=settings.seed,
        augment=settings.augment if training and settings.augmented else None,
        normalise=source.normalise,
        fit=source.fit,
        mixed_steps=round(settings.mix_until * settings.total_steps(len(source.splits[split]))) if training else None,
    )


def _set_threads(settings: TrainingSettings) -> None:
    if settings.threads is not None and torch.get_num_threads() != settings.threads:
        torch.set_num_threads(settings.threads)


def _seen(progress: Progress, headline: str) -> str:
    value = progress.figures.get(headline)
    figure = f" {headline} {value:.4f}" if value is not None else ""
    return f"loss {progress.loss:.4f}{figure} rate {progress.rate:.2g} {progress.steps_per_second:.1f} steps/s"


def _versions() -> dict[str, str]:
    return {"striate": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    data = (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
    write_file(path, [data], len(data))


def _read_json(path: Path) -> Any:
    try:
        return strictjson.parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read: {error}", "restore it, or start a new run") from None
