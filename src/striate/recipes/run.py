"""A run: an experiment with everything decided, carried out in a folder, and resumed from it bit for bit."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from striate import architectures, tasks
from striate.architectures.backbone import register_layers
from striate.core import modelfile, strictjson
from striate.core.disk import write_file
from striate.core.errors import InputError
from striate.core.spec import discover
from striate.data.collection import ReaderOptions
from striate.data.doctor.examine import Diagnosis, examine
from striate.data.reader import Reader
from striate.inference.held import SPLIT_NAME
from striate.inference.measured import Measured
from striate.inference.predictor import READER, Predictor, laid_out
from striate.layers.graph import expanded
from striate.recipes.check import brief
from striate.recipes.experiment import Experiment
from striate.recipes.folder import CHECKPOINTS, PLAN_NAME, REPORT_NAME
from striate.recipes.plan import RunPlan, Say, decide, loader_of, model_begun_with, prepare_process, versions_of
from striate.recipes.run_report import single_figures, write_report
from striate.recipes.sources import Source, open_for, open_source
from striate.report.records import counted, shown
from striate.training import checkpoint
from striate.training.average import Average
from striate.training.begin import begin_with
from striate.training.choice import make_step, restored_threads
from striate.training.depth import build_optimiser
from striate.training.loop import History, Progress, train
from striate.training.step import lay_out_weights, measuring, seed_generators
from striate.training.track import demand_tracker, following

Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves: its folder, history, figures by split and what they were measured on, and a predictor
    with the kept weights."""

    folder: Path
    plan: RunPlan
    history: History
    figures: dict[str, dict[str, Any]]
    measured: dict[str, Measured]
    predictor: Predictor

    def lines(self) -> list[str]:
        """The result in a few lines of text."""
        task = self.predictor.task
        found = [
            f"{split}: {task.headline} {shown(figures[task.headline], 4)}"
            f" on {counted(len(self.measured[split].loader), 'sample')}"
            for split, figures in self.figures.items()
        ]
        return [*found, f"model: {self.folder / modelfile.MODEL_NAME}", f"report: {self.folder / REPORT_NAME}"]


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
    demand_free(out)
    if experiment.training.track is not None:
        demand_tracker(experiment.training.track)
    opened = open_for(experiment.data, say=say)
    looked = brief(opened, experiment.architecture.name, say=say)
    experiment = experiment.replace(data=experiment.data.replace(format=opened.reader.format))
    source = open_source(experiment.data, opened=opened, say=say, show=show)
    with checkpoint.hold(out), restored_threads():
        demand_free(out)  # again, now that nobody else can begin one
        plan = decide(experiment, source, watch, say)
        _write_json(out / SPLIT_NAME, source.split_record())
        _write_json(out / PLAN_NAME, plan.to_json())  # last: from here on the run can be resumed
        return _carry_out(plan, source, (opened.reader, looked), out, say, show)


def resume_run(out: Path, *, say: Say = lambda line: None, show: Show = lambda done, total, seen: None) -> RunResult:
    """Continue the run in ``out`` to its end; a finished run only has its report written again.

    Errors: ``InputError`` when there is no run or its data has changed; ``Interrupted`` as for training.
    """
    if not (out / PLAN_NAME).is_file():
        raise InputError(out, f"there is no run to resume (no {PLAN_NAME})", "name a folder that a training made")
    with checkpoint.hold(out), restored_threads():
        plan = read_plan(out)
        opened = open_for(plan.data, say=say)
        source = open_source(plan.data, opened=opened, say=say, show=show)
        if source.fingerprint != plan.data_fingerprint:
            raise InputError(
                plan.data.path, "the data is not what this run began with", "restore it, or start a new run"
            )
        found = versions_of(plan.step, plan.precision)
        changed = [
            f"{name} {old}, now {found.get(name)}" for name, old in plan.versions.items() if found.get(name) != old
        ]
        if changed:
            say(f"the run began with {'; '.join(changed)}: it goes on, but perhaps not bit for bit")
        return _carry_out(plan, source, (opened.reader, None), out, say, show)


def read_plan(folder: Path) -> RunPlan:
    """The plan of the run in a folder. Errors: ``InputError`` for one that cannot be read."""
    register_layers()
    discover(architectures)
    discover(tasks)
    return RunPlan.from_json(_read_json(folder / PLAN_NAME), str(folder / PLAN_NAME))


def demand_free(out: Path) -> None:
    """Refuse a folder that holds a run, or files of somebody's that a run would replace."""
    if (out / PLAN_NAME).exists():
        raise InputError(out, "it already holds a run", f"continue it with --resume {out}, or choose another folder")
    for name in (modelfile.MODEL_NAME, REPORT_NAME, CHECKPOINTS):
        if (out / name).exists():
            raise InputError(out / name, "it is there already, and no run's", "choose another folder for the run")


def _carry_out(
    plan: RunPlan, source: Source, looked: tuple[Reader, Diagnosis | None], out: Path, say: Say, show: Show
) -> RunResult:
    """Train to the end and write what a run leaves; ``looked`` is the data and, if it was looked at, its diagnosis."""
    settings, task, preprocessing = plan.training, plan.task, plan.preprocessing
    prepare_process(settings, plan.step)
    network = expanded(task.network(plan.architecture, len(plan.classes)))
    seed_generators(settings.seed)
    module = lay_out_weights(network.build(plan.input_shape), plan.precision, plan.input_shape)
    if settings.weights is not None and not checkpoint.steps(out / CHECKPOINTS):
        _begin(module, plan)
    predictor = Predictor(
        module=module,
        task=task,
        preprocessing=preprocessing,
        classes=plan.classes,
        input_shape=plan.input_shape,
        options=ReaderOptions.from_json(source.shards.options),
        network=network,
    )
    loaders = {split: loader_of(source, settings, split) for split in source.splits}
    measured = {split: Measured(predictor, loader, split, source.fit) for split, loader in loaders.items()}
    samples = len(source.splits["train"])
    total = settings.total_steps(samples)
    optimiser = build_optimiser(settings, module)
    average = None if settings.average is None else Average(module, settings.average)

    latest: dict[str, dict[str, Any]] = {}

    def validate(at_end: bool) -> dict[str, Any]:
        if at_end:  # as the predictor of the model file has it, so that the answers are equal; nothing is learnt now
            laid_out(module, plan.input_shape)
        with nullcontext() if at_end else measuring(module, plan.precision):
            all_ = {split: measured[split].figures() for split in plan.watch}
        if at_end:
            latest.update(all_)
        found = {f"{split}/{name}": v for split, each in all_.items() for name, v in single_figures(each).items()}
        return {headline: None, **found} if headline else found

    headline = f"{plan.watch[0]}/{task.headline}" if plan.watch else ""
    last: list[str] = [split for split in ("val", "test") if split in loaders] or ["train"]
    done = checkpoint.steps(out / CHECKPOINTS)
    with following(settings.track, out, plan.settings(), done[-1] if done else 0) as followed:

        def told(progress: Progress) -> None:
            show(progress.step, progress.total, _seen(progress, headline))
            if followed is not None:
                followed.show(progress.step, progress.loss, progress.rate, progress.steps_per_second, progress.figures)

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
            show=told,
        )
        module.load_state_dict(weights)
        laid_out(module, plan.input_shape)
        if settings.kept == "best" and history.best_step != history.step:
            latest.clear()
        figures = {split: latest.get(split) or measured[split].figures() for split in last}
        if followed is not None:
            for split in set(last) - set(plan.watch):
                followed.finish(history.step, {f"{split}/{name}": one for name, one in figures[split].items()})
    modelfile.save(
        out / modelfile.MODEL_NAME,
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
    result = RunResult(out, plan, history, figures, {split: measured[split] for split in last}, predictor)
    reader, diagnosis = looked
    write_report(result, source, diagnosis or examine(reader, deep=False), out / REPORT_NAME)
    return result


def _begin(module: nn.Module, plan: RunPlan) -> None:
    """Put the weights into the module that the plan's training begins with, if they are still the same."""
    model = model_begun_with(plan.training)
    if model is None or modelfile.weights_sha256(model.weights) != plan.weights_sha256:
        cause = "these are not the weights that this run began with, and it has no checkpoint yet"
        raise InputError(plan.training.weights, cause, "restore them, or start a new run")
    begin_with(module, model.weights, plan.training.weights)


def _seen(progress: Progress, headline: str) -> str:
    value = progress.figures.get(headline)
    figure = f" {headline} {value:.4f}" if value is not None else ""
    return f"loss {progress.loss:.4f}{figure} rate {progress.rate:.2g} {progress.steps_per_second:.1f} steps/s"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    data = (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
    write_file(path, [data], len(data))


def _read_json(path: Path) -> Any:
    try:
        return strictjson.parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read: {error}", "restore it, or start a new run") from None
