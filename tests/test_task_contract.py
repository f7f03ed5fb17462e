"""What every task there is keeps, in 1, 2 and 3 axes: found by being defined, tested by one entry in task_sets.py."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import striate.tasks
from command import done
from striate.core import modelfile
from striate.core.sample import Boxes, Label, Mask, Sample, Target
from striate.core.spec import discover, kinds
from striate.core.transform import CenterCrop, Compose, Letterbox, Resize
from striate.inference.predictor import Predictor, evaluating
from striate.recipes import run as recipe
from striate.recipes.experiment import Experiment
from striate.recipes.run import train_experiment
from striate.tasks.task import Task
from striate.training.interruption import Interrupted
from task_sets import CANVAS, SETS, VOID, TaskSet, collated, drawn, look, made, task_set

discover(striate.tasks)
TASKS = sorted(kind for kind, cls in kinds(Task).items() if cls.__module__.startswith("striate.tasks."))
CASES = [(kind, axes) for kind in TASKS for axes in (SETS[kind].axes if kind in SETS else (1,))]
"""A task without an entry is a case too, whose tests fail and say what to add."""
EVERY = pytest.mark.parametrize("kind, axes", CASES)


def part_of(raw: Any, rows: Any) -> Any:
    return {name: one[rows] for name, one in raw.items()} if isinstance(raw, dict) else raw[rows]


def headline(task: Task, own: TaskSet, raw: Any, target: Any) -> Any:
    metrics = task.metrics(own.classes)
    metrics.update(task.decode(raw), target)
    return metrics.compute()[task.headline]


def test_every_task_that_is_found_has_a_synthetic_set() -> None:
    for kind in TASKS:
        task_set(kind)
    assert set(SETS) <= set(TASKS), "an entry of a task that is gone"


def test_a_task_without_one_fails_and_says_what_to_add() -> None:
    with pytest.raises(AssertionError, match=r"'weather' .*add one entry 'weather': TaskSet.* in tests/task_sets\.py"):
        made("weather", 1)


@pytest.mark.slow
@EVERY
def test_a_small_network_overfits_the_synthetic_set(kind: str, axes: int) -> None:
    task, own = made(kind, axes)
    images, truth = drawn(own, axes, 3 if axes == 3 else 12)
    target = collated(truth)
    torch.manual_seed(0)
    module = task.network(own.network, len(own.classes)).build((1, *CANVAS[axes]))
    optimiser = torch.optim.AdamW(module.parameters(), lr=own.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, own.rate, total_steps=own.steps)
    first = last = 0.0
    for step in range(own.steps):
        total, count = task.loss(module(images), target)
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
        schedule.step()
        last = float(total.detach() / count)
        first = first if step else last
    with evaluating(module):
        found = headline(task, own, module(images), target)
    assert found > own.bar if task.larger_is_better else found < own.bar
    assert last < first / 2


def hard(own: TaskSet, axes: int) -> tuple[Any, Any]:
    """A batch of 8 with samples that nothing is in, masks that are partly and wholly void, and a box to ignore; and
    perfect outputs of other scenes, with noise."""
    _, truth = drawn(own, axes, 8)
    _, other = drawn(own, axes, 8, seed=3)
    for place, one in enumerate(truth):
        if isinstance(one, Mask):
            values = one.values.clone()
            values[(slice(0, 5),) * axes if place % 2 else ...] = VOID if place % 4 < 2 else 0
            truth[place] = Mask(values, one.ignore)
        elif isinstance(one, Boxes) and place % 3 == 0:
            truth[place] = one.take(torch.arange(0))
        elif isinstance(one, Boxes):
            truth[place] = Boxes(one.points, one.classes, torch.arange(len(one.classes)) > 0)
    return collated(truth), collated(other)


@EVERY
@pytest.mark.parametrize("step", [1, 3])
def test_the_loss_does_not_change_when_the_batch_is_split(kind: str, axes: int, step: int) -> None:
    task, own = made(kind, axes)
    target, other = hard(own, axes)
    generator = torch.Generator().manual_seed(0)

    def noisy(one: Tensor) -> Tensor:
        return one * 0.1 + torch.rand(one.shape, generator=generator)

    best = own.perfect(task, other, CANVAS[axes])
    raw = {name: noisy(one) for name, one in best.items()} if isinstance(best, dict) else noisy(best)
    total, count = task.loss(raw, target)
    parts = [slice(start, start + step) for start in range(0, 8, step)]
    sums = [task.loss(part_of(raw, rows), target[rows]) for rows in parts]
    assert count > 0 and bool(total.isfinite()) and float(total) > 0
    assert all(bool(part.isfinite()) for part, _ in sums)
    assert float(sum(part for part, _ in sums)) == pytest.approx(float(total), rel=1e-5)
    assert sum(number for _, number in sums) == pytest.approx(count, rel=1e-5)


@EVERY
def test_decoded_perfect_outputs_score_1_and_those_of_other_scenes_do_not(kind: str, axes: int) -> None:
    task, own = made(kind, axes)
    target, other = (collated(drawn(own, axes, 12, seed=seed)[1]) for seed in (0, 1))
    best = 1.0 if task.larger_is_better else 0.0
    assert headline(task, own, own.perfect(task, target, CANVAS[axes]), target) == pytest.approx(best, abs=1e-9)
    turned = task.renumber(other, torch.roll(torch.arange(len(own.classes)), 1), len(own.classes))
    assert headline(task, own, own.perfect(task, turned, CANVAS[axes]), target) != pytest.approx(best, abs=0.2)


@pytest.mark.slow
@EVERY
def test_a_run_that_is_cut_ends_bit_for_bit_as_if_it_had_not_been(
    kind: str, axes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything on that is drawn anew or kept between steps: geometry, appearance, mosaic that ends, another
    canvas for every step, an average of the weights, a schedule, momenta."""
    monkeypatch.setattr(recipe, "write_report", lambda *parts: None)
    own, steps = task_set(kind), 8
    augment: dict[str, Any] = {"flip": [-1], "scale": [0.8, 1.2], "translate": 0.1, "noise": 0.02, "mosaic": 0.5}
    if own.any_size:
        augment |= {"canvas_scale": [0.6, 1.4], "canvas_multiple": 16}
    spec = own.network.to_json()
    settings = {
        "data": {"path": f"scenes-{axes}d", "options": own.command, "validation": 0.1},
        "architecture": {
            "name": "detector_nano",
            "options": {name: spec[name] for name in ("widths", "depths")},
        },
        "task": {"name": kind, "options": own.options},
        "training": {
            "steps": steps,
            "batch": 4,
            "optimiser": {"kind": "adamw", "rate": 0.003},
            "augment": augment,
            "average": 0.9,
            "mix_until": 0.75,
            "precision": "float32",
            "threads": 1,
            "validate_every": 3,
        },
    }

    def stop_halfway(at: int, total: int, seen: str) -> None:
        if total == steps and at >= steps // 2:
            os.kill(os.getpid(), signal.SIGTERM)

    train_experiment(Experiment.from_settings(settings), tmp_path / "whole")
    with pytest.raises(Interrupted) as stopped:
        train_experiment(Experiment.from_settings(settings), tmp_path / "cut", show=stop_halfway)
    assert steps // 2 <= stopped.value.step < steps
    done("train", "--resume", tmp_path / "cut")
    weights = [modelfile.load(tmp_path / name / "model.safetensors").weights for name in ("whole", "cut")]
    assert modelfile.weights_sha256(weights[0]) == modelfile.weights_sha256(weights[1])


class Seeing(nn.Module):
    """A network whose answer is known: it sees on its canvas, pixel by pixel, where the object is, and says that."""

    def __init__(self, task: Task, own: TaskSet) -> None:
        super().__init__()
        self.task, self.own = task, own

    def forward(self, images: Tensor) -> Any:
        canvas = tuple(images.shape[2:])
        return self.own.perfect(self.task, collated(self.own.truth(look(images, canvas))), canvas)


SIZES = {1: (97,), 2: (51, 70), 3: (37, 29, 33)}
PREPROCESSING: dict[str, Any] = {
    "resize": lambda size: (Resize(size=tuple(n - 8 for n in size)),),
    "shrinking": lambda size: (Resize(size=tuple(n // 2 + 3 for n in size)),),
    "enlarging": lambda size: (Resize(size=tuple(2 * n + 1 for n in size)),),
    "stretching": lambda size: (Resize(size=tuple(n + 31 - 11 * axis for axis, n in enumerate(size))),),
    "letterbox": lambda size: (Letterbox(size=64),),
    "letterbox, enlarging": lambda size: (Letterbox(size=tuple(120 - axis for axis, _ in enumerate(size))),),
    "longer side, then letterbox": lambda size: (Resize(size=40, keep="long"), Letterbox(size=47, enlarge=False)),
    "crop": lambda size: (CenterCrop(size=tuple(n - 12 for n in size)),),
    "shorter side, then crop": lambda size: (Resize(size=45, keep="short"), CenterCrop(size=41)),
    "crop beyond": lambda size: (CenterCrop(size=tuple(n + 9 for n in size)),),
}


@EVERY
@pytest.mark.parametrize("way", PREPROCESSING)
def test_answers_come_back_in_original_coordinates(kind: str, axes: int, way: str) -> None:
    """Within a pixel of the original, or one and a half of the canvas where that is more; masks have its exact size."""
    size = SIZES[axes]
    fit = Compose(steps=PREPROCESSING[way](size))
    by = fit.map(size)
    task, own = made(kind, axes, by.canvas)
    images, truth = drawn(own, axes, 6, size=size, noise=0.0, least=1, most=1)
    module = Seeing(task, own)
    predictor = Predictor(module=module, task=task, preprocessing=fit, classes=own.classes, input_shape=(1, *by.canvas))
    slack = max(1.0, *(1.5 / row.scale for row in by.aligned_axes() or ()))
    back = by.inverse(size).points(np.array([[0.0] * axes, list(by.canvas)]))
    seen = np.concatenate((np.maximum(back[0], 0), np.minimum(back[1], size)))
    samples = [Sample(image, {}, str(place)) for place, image in enumerate(images)]
    records = list(predictor.predict_samples(samples, batch=4))
    assert [record["name"] for record in records] == [sample.name for sample in samples]
    checked = 0
    for record, one in zip(records, truth, strict=True):
        if isinstance(one, Label) or _shows(one, seen):
            assert own.says(record, one, size, slack, seen), (record, one)
            checked += 1
    assert checked >= 3


def _shows(one: Target, seen: np.ndarray[Any, Any]) -> bool:
    """Whether enough of the object is in what was seen of the original that its level can be read."""
    axes = len(seen) // 2
    if isinstance(one, Boxes):
        cut = np.clip(one.bounds().numpy().reshape(2, axes), seen[:axes], seen[axes:])
    else:
        inside = np.argwhere(one.arrays()["values"].numpy() > 0)
        cut = np.clip(np.stack((inside.min(axis=0), inside.max(axis=0) + 1)), seen[:axes], seen[axes:])
    return bool(((cut[1] - cut[0]) >= 4).all())
