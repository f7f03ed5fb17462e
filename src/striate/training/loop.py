"""The training loop, read from top to bottom: it knows no task, no model and no data set by name."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.core.errors import InputError
from striate.training import checkpoint
from striate.training.average import Average, averaged
from striate.training.interruption import Interrupted, stop_on_signals
from striate.training.optim import optimiser_tensors, restore_optimiser
from striate.training.settings import TrainingSettings
from striate.training.step import BlockStep

BLOCK_SECONDS = 0.5
"""A block is as many steps as take about this long: short enough to stop promptly, long enough to cost nothing."""


@dataclass(frozen=True)
class Progress:
    """What the loop tells while it runs: ``loss`` is the mean over the last steps, ``rate`` the learning rate of the
    last one, ``remaining`` in seconds, ``figures`` the last validation's record."""

    step: int
    total: int
    loss: float
    rate: float
    steps_per_second: float
    remaining: float
    figures: dict[str, Any]


@dataclass
class History:
    """The state of a run that is not a tensor: written in every checkpoint, and what the report is drawn from.

    ``validations`` has one record a validation: its ``step``, the mean training ``loss`` since the one before, and the
    figures. ``pending`` holds the losses since the last one, so that a checkpoint in between splits no mean.
    ``best_step`` is where the headline figure was ``best``, ``since_best`` counts the validations after it.
    """

    step: int = 0
    seconds: float = 0.0
    pending: list[float] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    since_best: int = 0
    stopped_early: bool = False


def train(
    *,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: BlockStep,
    settings: TrainingSettings,
    total: int,
    period: int,
    validate: Callable[[bool], dict[str, Any]],
    headline: str,
    larger_is_better: bool,
    folder: Path,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
    average: Average | None = None,
) -> tuple[History, dict[str, Tensor]]:
    """Train for ``total`` steps, validating every ``period``, from the newest good checkpoint in ``folder`` if any.

    ``validate`` is told whether the last step was taken, and returns plain figures; the one named ``headline``, where
    it is among them, decides what is best; None, a figure that could not be measured, is worse than any number.
    With an ``average``, which ``step`` keeps, its weights are validated and kept in place of the module's own.
    Returns the history and the weights to keep. Errors: :class:`Interrupted` after SIGINT or SIGTERM, with a checkpoint
    written, at whatever step it comes; ``InputError`` when the loss or a weight is no longer finite, naming the step
    and the last good checkpoint.
    """
    history, best_weights = _resume(module, optimiser, average, folder, say)
    block, last_saved, unsaved = 1, time.monotonic(), history.step == 0
    progress: Progress | None = None
    with stop_on_signals() as stop:
        while True:
            # A stop goes before a validation, which may be long; the resumed run then begins with it.
            at_end = history.step % period == 0 or history.step == total
            if history.pending and at_end and stop.number is None:
                _demand_finite_weights(module, history.step, folder)
                started = time.monotonic()
                loss = sum(history.pending) / len(history.pending)
                with averaged(module, average):
                    figures = validate(history.step == total)
                history.validations.append({"step": history.step, "loss": loss, **figures})
                history.pending, unsaved = [], True
                history.seconds += time.monotonic() - started
                if headline in figures and _better(figures[headline], history.best, larger_is_better):
                    history.best, history.best_step, history.since_best = figures[headline], history.step, 0
                    if settings.kept == "best":
                        best_weights = {name: tensor.clone() for name, tensor in _kept(module, average).items()}
                elif headline in figures:
                    history.since_best += 1
                    history.stopped_early = settings.patience is not None and history.since_best >= settings.patience

            if progress is not None:
                show(replace(progress, figures=history.validations[-1] if history.validations else {}))
            finished = history.step >= total or history.stopped_early
            if settings.checkpoint_every:
                due = history.step % settings.checkpoint_every == 0
            else:
                due = time.monotonic() - last_saved >= settings.checkpoint_seconds
            if unsaved and (finished or stop.number is not None or (due and history.step > 0)):
                _demand_finite_weights(module, history.step, folder)
                _save(module, optimiser, average, history, best_weights, folder)
                last_saved, unsaved = time.monotonic(), False
            if stop.number is not None:
                raise Interrupted(stop.number, history.step)
            if finished:
                break

            until = [total, (history.step // period + 1) * period]
            if settings.checkpoint_every:
                until.append((history.step // settings.checkpoint_every + 1) * settings.checkpoint_every)
            count = min(block, min(until) - history.step)
            started = time.monotonic()
            losses = step.run(history.step, count)
            seconds = max(time.monotonic() - started, 1e-6)
            _demand_finite(losses, history.step, folder)
            history.step, unsaved = history.step + count, True
            history.seconds += seconds
            history.pending += losses.tolist()
            speed = count / seconds
            block = max(1, min(4 * block, int(speed * BLOCK_SECONDS)))
            rate = settings.optimiser.rate * settings.schedule.factor(history.step - 1, total)
            left = (total - history.step) * history.seconds / history.step
            progress = Progress(history.step, total, float(losses.mean()), rate, speed, left, {})
    return history, best_weights or _kept(module, average)


def _kept(module: nn.Module, average: Average | None) -> dict[str, Tensor]:
    return dict(module.state_dict()) if average is None else average.tensors


def _better(figure: float | None, best: float | None, larger_is_better: bool) -> bool:
    if figure is None or best is None:
        return figure is not None
    return figure > best if larger_is_better else figure < best


def _save(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None,
    history: History,
    best_weights: dict[str, Tensor],
    folder: Path,
) -> None:
    """Write a checkpoint: weights, optimiser state, best weights so far where they are kept, and the history."""
    tensors = {f"weights.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"optimiser.{name}": tensor for name, tensor in optimiser_tensors(optimiser, module).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best_weights.items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    checkpoint.save(folder, history.step, tensors, {"history": asdict(history)})


def _resume(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[History, dict[str, Tensor]]:
    """The state of the newest good checkpoint put into place, or a fresh history where there is none."""
    found = checkpoint.latest(folder, say)
    if found is None:
        return History(), {}
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimiser": {}, "best": {}, "average": {}}
    for name, tensor in found.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    module.load_state_dict(parts["weights"], strict=True)
    restore_optimiser(optimiser, module, parts["optimiser"])
    if average is not None:
        average.restore(parts["average"])
    history = History(**found.state["history"])
    say(f"continuing after step {history.step}")
    return history, parts["best"]


def _demand_finite(losses: Tensor, first: int, folder: Path) -> None:
    """Refuse to go on after a loss that is NaN or infinite."""
    bad = torch.nonzero(~torch.isfinite(losses)).flatten()
    if len(bad):
        _stop(f"the loss of step {first + int(bad[0]) + 1} is {float(losses[bad[0]])}", folder)


def _demand_finite_weights(module: nn.Module, step: int, folder: Path) -> None:
    """Refuse to keep weights that are NaN or infinite."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            _stop(f"after step {step} {name} holds values that are not finite", folder)


def _stop(cause: str, folder: Path) -> None:
    kept = checkpoint.steps(folder)
    good = f"the last good checkpoint is that of step {kept[-1]}" if kept else "no checkpoint had been written yet"
    raise InputError(folder.parent, f"{cause}; {good}", "lower the learning rate, or set a gradient clip")
