"""How every task there is takes options, measures, records and reports; then what is particular to classification.

What a task must keep in 1, 2 and 3 axes is in test_task_contract.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import striate.tasks
from striate.architectures.backbone import Architecture, architecture
from striate.core.errors import InputError
from striate.core.map import AxisMap, Map
from striate.core.sample import Boxes
from striate.core.spec import discover, kinds
from striate.inference.predictor import evaluating
from striate.report.records import Section
from striate.tasks import task as contract
from striate.tasks.classification import Classification, MultiLabelClassification
from striate.tasks.task import DataFacts, Place, Task, task_for

discover(striate.tasks)
TASKS = {kind: cls for kind, cls in kinds(Task).items() if cls.__module__.startswith("striate.tasks.")}
CLASSES = ("ant", "bee", "cat")
SAMPLES = 30


@dataclass(frozen=True)
class Synthetic:
    """Data of one kind that some task learns: what is known of it, its images and collated targets, a small network
    that can learn them, and options of the task that keep it small."""

    facts: DataFacts
    drawn: Callable[[], tuple[Tensor, Any]]
    network: Architecture
    steps: int = 120
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


def single() -> tuple[Tensor, Tensor]:
    return torch.randn(SAMPLES, 1, 20), torch.arange(SAMPLES) % len(CLASSES)


def tags() -> tuple[Tensor, Tensor]:
    """Every combination of tags in turn."""
    columns = [torch.arange(SAMPLES) // 2**tag % 2 for tag in range(len(CLASSES))]
    return torch.randn(SAMPLES, 1, 20), torch.stack(columns, dim=1).float()


def levels() -> tuple[Tensor, Tensor]:
    """Noisy signals of three levels, a class each; some samples are void, one signal is wholly."""
    target = torch.stack([(torch.arange(32) // 8 + row) % len(CLASSES) for row in range(SAMPLES)])
    images = target[:, None] - 1 + 0.1 * torch.randn(SAMPLES, 1, 32)
    target[::3, 5:9] = 255
    target[4] = 255
    return images, target


def layers() -> tuple[Tensor, Tensor]:
    """Noisy signals of three channels, a class each, that overlap, as bit sets; some samples are void, one wholly."""
    there = torch.stack(
        [torch.stack([(torch.arange(32) + 5 * row) // 4 % (k + 2) == 0 for k in range(3)]) for row in range(SAMPLES)]
    )
    images = there.float() + 0.1 * torch.randn(SAMPLES, 3, 32)
    target = (there.long() << torch.arange(3)[:, None]).sum(dim=1)
    target[::3, 5:9] = 255
    target[4] = 255
    return images, target


def events() -> tuple[Tensor, list[Boxes]]:
    """Signals with an event of one of three heights; the last has none."""
    images, target = 0.2 * torch.randn(SAMPLES, 1, 64), []
    for row in range(SAMPLES):
        low, label, count = 8 + 5 * (row % 7), row % 3, int(row < SAMPLES - 1)
        images[row, 0, low : low + 16] += count * (label - 1 or 2) * 2.0
        target.append(Boxes.from_bounds(torch.tensor([[low, low + 16.0]])[:count], torch.tensor([label])[:count]))
    return images, target


def facts(target: str, **more: Any) -> DataFacts:
    return DataFacts(target=target, classes=CLASSES, counts=(5, 3, 2), axes=1, **more)


DENSE = architecture("unet", {"width": 6, "depth": 2})
CONVOLUTIONAL = architecture("detector_nano", {"widths": (8, 16, 16, 24, 32), "depths": (0, 1, 1, 0)})
VECTOR = architecture("fully_connected", {"hidden": (64,)})
DATA = {
    "classes": Synthetic(facts("label"), single, VECTOR),
    "tags": Synthetic(facts("label", multi_label=True), tags, VECTOR),
    "masks": Synthetic(facts("mask", ignore=255), levels, DENSE),
    "layers": Synthetic(facts("mask", ignore=255, multi_label=True), layers, DENSE),
    "boxes": Synthetic(
        facts("boxes", canvas=(64,)),
        events,
        CONVOLUTIONAL,
        120,
        {
            "detection": {"channels": 24, "depth": 1, "strides": [8, 16]},
            "yolo_v1": {"channels": 48, "depth": 1, "grid": 8},
        },
    ),
}
"""A new kind of target adds a line."""


def made(kind: str) -> tuple[Task, Synthetic]:
    """The task as it suits the first data it is for."""
    for data in DATA.values():
        task = TASKS[kind].for_data(data.facts, data.options.get(kind, {}))
        if task is not None:
            return task, data
    raise AssertionError(f"{kind} takes none of the synthetic data: add a line to DATA")


@cache
def learned(kind: str) -> tuple[Task, Any, Any, float]:
    """The task, a set's target, the raw outputs of a network that has learned it by heart, and its mean loss."""
    task, data = made(kind)
    torch.manual_seed(0)
    images, target = data.drawn()
    module = task.network(data.network, len(CLASSES)).build(tuple(images.shape[1:]))
    steps = data.steps if kind != "yolo_v1" else 3 * data.steps
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        total, count = task.loss(module(images), target)
        (total / count).backward()
        optimiser.step()
        schedule.step()
    with evaluating(module):
        raw = module(images)
    return task, target, changed(raw, torch.clone), float(total.detach() / count)


def changed(raw: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Raw outputs, a tensor or several by name, each changed."""
    return {name: change(one) for name, one in raw.items()} if isinstance(raw, dict) else change(raw)


def noise(raw: Any) -> Any:
    """Raw outputs at random, of the same form."""
    generator = torch.Generator().manual_seed(0)
    return changed(raw, lambda one: torch.rand(one.shape, generator=generator))


def measured(task: Task, *parts: tuple[Any, Any]) -> dict[str, Any]:
    """The figures of outputs and targets, one batch after the other."""
    metrics = task.metrics(CLASSES)
    for raw, target in parts:
        metrics.update(task.decode(raw), target)
    return metrics.compute()


def is_map(value: Any) -> bool:
    """Whether a value of a record is a map, or one for each class."""
    return hasattr(value, "dtype") or (isinstance(value, dict) and all(hasattr(one, "dtype") for one in value.values()))


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    return all(one.equals(other) for one, other in zip(first, second, strict=True))


def is_perfect(task: Task, value: float) -> bool:
    return value == pytest.approx(1.0 if task.larger_is_better else 0.0, abs=2e-2)


@pytest.mark.parametrize("kind", TASKS)
class TestEveryTask:
    """Every task that is found."""

    def test_it_takes_exactly_its_own_data(self, kind: str) -> None:
        taken = [name for name, data in DATA.items() if TASKS[kind].for_data(data.facts, {}) is not None]
        assert len(taken) == 1
        found = DATA[taken[0]].facts
        assert task_for(found, kind) == TASKS[kind].for_data(found, {})
        assert (task_for(found) == task_for(found, kind)) is not TASKS[kind].by_name

    def test_it_refuses_a_target_it_does_not_learn(self, kind: str) -> None:
        weather = DataFacts(target="weather", classes=CLASSES, counts=(1, 1, 1))
        assert TASKS[kind].for_data(weather, {}) is None
        with pytest.raises(InputError, match=rf"task {kind}: it does not learn the target 'weather'"):
            task_for(weather, kind)

    def test_an_unknown_option_is_an_error(self, kind: str) -> None:
        with pytest.raises(InputError, match="no_such_option"):
            TASKS[kind].for_data(made(kind)[1].facts, {"no_such_option": 1})

    def test_it_comes_back_from_json(self, kind: str) -> None:
        task, _ = made(kind)
        assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task

    def test_a_network_overfits_its_synthetic_set(self, kind: str) -> None:
        task, target, raw, loss = learned(kind)
        assert is_perfect(task, measured(task, (raw, target))[task.headline])
        assert task.target == "boxes" or loss < 0.1  # that of boxes has a floor: distributions over whole distances

    def test_wrong_outputs_do_not_score(self, kind: str) -> None:
        task, target, raw, _ = learned(kind)
        assert not is_perfect(task, measured(task, (changed(raw, torch.neg), target))[task.headline])

    def test_a_network_of_other_classes_is_refused(self, kind: str) -> None:
        task, data = made(kind)
        shape = tuple(data.drawn()[0].shape[1:])
        network = task.network(data.network, len(CLASSES))
        task.demand_outputs(network, shape, len(CLASSES), "model")
        with pytest.raises(InputError, match=r"model: .*4 classes"):
            task.demand_outputs(network, shape, 4, "model")

    def test_figures_of_parts_merge(self, kind: str) -> None:
        task, target, best, _ = learned(kind)
        raw = noise(best)
        whole, first, second = (task.metrics(CLASSES) for _ in range(3))
        whole.update(task.decode(raw), target)
        for metrics, part in ((first, slice(0, 11)), (second, slice(11, 20)), (second, slice(20, SAMPLES))):
            metrics.update(task.decode(changed(raw, lambda one, part=part: one[part])), target[part])
        first.merge(second)
        expected, found = whole.compute(), first.compute()
        assert found.keys() == expected.keys()
        assert json.loads(json.dumps(found), parse_float=rounded) == json.loads(
            json.dumps(expected), parse_float=rounded
        )

    def test_figures_are_plain_and_records_one_a_sample(self, kind: str) -> None:
        task, _, raw, _ = learned(kind)
        decoded = task.decode(raw)
        assert all(len(tensor) == SAMPLES for tensor in decoded.values())
        assert len(task.select(decoded)) == SAMPLES
        records = task.records(decoded, CLASSES)
        plain = [{key: one for key, one in row.items() if not is_map(one)} for row in records]
        assert len(records) == SAMPLES and json.loads(json.dumps(plain)) == plain

    def test_answers_at_the_canvas_are_those_without_a_place(self, kind: str) -> None:
        task, _, raw, _ = learned(kind)
        size = tuple(made(kind)[1].drawn()[0].shape[2:])
        decoded = task.decode(raw)
        places = [Place(size, Map.identity(size))] * SAMPLES
        placed = [{**one} for one in task.records(decoded, CLASSES, places)]
        assert all(list(one.pop("size", size)) == list(size) for one in placed)  # only a place tells it
        assert str(placed) == str(task.records(decoded, CLASSES))
        halved = Place((size[0] // 2,), Map.aligned((AxisMap(0, 2.0, 0.0),), size))
        assert len(task.records(decoded, CLASSES, [halved] * SAMPLES)) == SAMPLES

    def test_the_report_shows_the_figures(self, kind: str) -> None:
        task, target, raw, _ = learned(kind)
        assert all(isinstance(section, Section) for section in task.sections(measured(task, (raw, target)), CLASSES))

    def test_numbers_of_classes_are_changed_and_changed_back(self, kind: str) -> None:
        task, target, raw, _ = learned(kind)
        numbers = torch.tensor([2, 0, 1])
        moved = task.renumber(target, numbers, len(CLASSES))
        back = task.renumber(moved, numbers.argsort(), len(CLASSES))
        assert equal(back, target) and not equal(moved, target)
        assert not is_perfect(task, measured(task, (raw, moved))[task.headline])

    def test_a_softmax_step_may_stand_for_its_loss_only_if_it_is_that(self, kind: str) -> None:
        task, target, best, _ = learned(kind)
        if task.softmax_smoothing is None:
            return
        raw = noise(best)
        total, count = task.loss(raw, target)
        expected = nn.functional.cross_entropy(raw, target, label_smoothing=task.softmax_smoothing)
        torch.testing.assert_close(total / count, expected)


def rounded(text: str) -> float:
    """Sums of parts differ in the last bits."""
    return round(float(text), 9)


def test_there_are_tasks_for_every_kind_of_target_there_is() -> None:
    assert {"classification", "multi_label_classification", "segmentation"} <= set(TASKS)


def test_data_for_no_task_is_refused_with_what_came() -> None:
    weather = DataFacts(target="weather", classes=(), counts=())
    with pytest.raises(InputError, match=r"no task learns the target 'weather' .*use data for one of: .*class"):
        task_for(weather)


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"task 'clasify': there is no such task; use one of: .*classification"):
        task_for(DATA["classes"].facts, "clasify")


def test_a_task_for_other_labels_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"it does not learn the target 'label' .*\(several classes a sample\)"):
        task_for(DATA["tags"].facts, "classification")


def test_two_tasks_that_fit_must_be_chosen_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "kinds", lambda base: {"one": Classification, "two": Classification})
    with pytest.raises(InputError, match=r"several fit: .*name one with --task"):
        task_for(DATA["classes"].facts)


@pytest.mark.parametrize("axes, expected", [(1, 0.0), (2, 0.1), (3, 0.0)])
@pytest.mark.parametrize("kind", ["classes", "tags"])
def test_images_are_smoothed_unless_told_otherwise(axes: int, expected: float, kind: str) -> None:
    found = DataFacts(target="label", classes=CLASSES, counts=(1, 1, 1), axes=axes, multi_label=kind == "tags")
    assert task_for(found).label_smoothing == expected  # type: ignore[attr-defined]
    assert task_for(found, options={"label_smoothing": 0.3}).label_smoothing == 0.3  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [-0.1, 1.0, "much"])
def test_a_label_smoothing_out_of_range_is_an_error(value: Any) -> None:
    with pytest.raises(InputError, match=r"task options: .*label_smoothing"):
        task_for(DATA["classes"].facts, options={"label_smoothing": value})


def test_balanced_weights_are_inverse_frequencies_of_mean_one_over_the_samples() -> None:
    counts = (6, 3, 0)
    few = DataFacts(target="label", classes=CLASSES, counts=counts, axes=1)
    task = Classification.for_data(few, {"balance": True})
    assert task is not None and task.class_weights is not None
    assert task.class_weights[1] / task.class_weights[0] == pytest.approx(2.0)
    balanced = Classification.for_data(DATA["classes"].facts, {"balance": True})
    assert balanced is not None and balanced.class_weights is not None
    mean = sum(w * n for w, n in zip(balanced.class_weights, (5, 3, 2), strict=True)) / 10
    assert mean == pytest.approx(1.0)


def test_a_weighted_loss_counts_weights_and_is_not_for_the_softmax_step() -> None:
    task = Classification(class_weights=(1.0, 2.0, 4.0))
    total, count = task.loss(torch.zeros(3, 3), torch.tensor([0, 1, 2]))
    assert count == 7 and float(total / count) == pytest.approx(float(torch.tensor(3.0).log()))
    assert task.softmax_smoothing is None


def test_tags_have_no_frequencies_to_balance() -> None:
    with pytest.raises(InputError, match=r"balance: .*leave the option out"):
        task_for(DATA["tags"].facts, options={"balance": True})


def test_a_prediction_lists_the_most_probable_classes_first() -> None:
    classes = tuple("abcdefg")
    raw = torch.arange(7.0)[None]
    record = Classification().records(Classification().decode(raw), classes)[0]
    assert record["class"] == "g" and [name for name, _ in record["top"]] == list("gfedc")
    assert record["probability"] == pytest.approx(float(raw.softmax(1)[0, 6]))


def test_tags_from_one_half_up_are_given() -> None:
    decoded = MultiLabelClassification().decode(torch.tensor([[3.0, -3.0, 0.0]]))
    record = MultiLabelClassification().records(decoded, CLASSES)[0]
    assert record["tags"] == ["ant", "cat"] and record["probabilities"]["bee"] == pytest.approx(0.0474, abs=1e-3)


def test_data_with_fewer_tags_leaves_the_others_out() -> None:
    found = MultiLabelClassification().renumber(torch.tensor([[1.0, 1.0]]), torch.tensor([2, 0]), 4)
    assert found.tolist() == [[1, 0, 1, 0]]
