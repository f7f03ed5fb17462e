"""The contract of a task, over every task there is; then what is particular to classification."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import striate.tasks
from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.core.spec import discover, kinds
from striate.report.records import Section
from striate.tasks import task as contract
from striate.tasks.classification import Classification, MultiLabelClassification
from striate.tasks.task import DataFacts, Task, task_for

discover(striate.tasks)
TASKS = {kind: cls for kind, cls in kinds(Task).items() if cls.__module__.startswith("striate.tasks.")}
CLASSES = ("ant", "bee", "cat")
SAMPLES = 30


def single(classes: int) -> Tensor:
    return torch.arange(SAMPLES) % classes


def tags(classes: int) -> Tensor:
    """Every combination of tags in turn."""
    return torch.stack([torch.arange(SAMPLES) // 2**tag % 2 for tag in range(classes)], dim=1).float()


FACTS = {
    "classes": (DataFacts(target="label", classes=CLASSES, counts=(5, 3, 2), axes=1), single),
    "tags": (DataFacts(target="label", classes=CLASSES, counts=(5, 3, 2), axes=1, multi_label=True), tags),
}
"""Synthetic data of each kind that some task learns: a new target kind adds a line."""


def made(kind: str) -> tuple[Task, Tensor]:
    """The task as it suits the first data it is for, and targets of 30 samples."""
    for facts, targets in FACTS.values():
        task = TASKS[kind].for_data(facts, {})
        if task is not None:
            return task, targets(len(CLASSES))
    raise AssertionError(f"{kind} takes none of the synthetic data: add a line to FACTS")


def best_outputs(task: Task, target: Tensor) -> Tensor:
    """Raw outputs that minimise the loss, found by descent on the outputs themselves."""
    raw = torch.zeros(len(target), task.outputs(len(CLASSES)), requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.5)
    for _ in range(100):
        optimiser.zero_grad()
        task.loss(raw, target)[0].backward()
        optimiser.step()
    return raw.detach()


def is_perfect(task: Task, value: float) -> bool:
    return value == pytest.approx(1.0 if task.larger_is_better else 0.0, abs=1e-2)


@pytest.mark.parametrize("kind", TASKS)
class TestEveryTask:
    """Every task that is found."""

    def test_it_takes_exactly_its_own_data(self, kind: str) -> None:
        taken = [name for name, (facts, _) in FACTS.items() if TASKS[kind].for_data(facts, {}) is not None]
        assert len(taken) == 1
        facts = FACTS[taken[0]][0]
        assert task_for(facts) == task_for(facts, kind) == TASKS[kind].for_data(facts, {})

    def test_it_refuses_a_target_it_does_not_learn(self, kind: str) -> None:
        facts = DataFacts(target="weather", classes=CLASSES, counts=(1, 1, 1))
        assert TASKS[kind].for_data(facts, {}) is None
        with pytest.raises(InputError, match=rf"task {kind}: it does not learn the target 'weather'"):
            task_for(facts, kind)

    def test_an_unknown_option_is_an_error(self, kind: str) -> None:
        task, _ = made(kind)
        facts = next(facts for facts, _ in FACTS.values() if TASKS[kind].for_data(facts, {}) == task)
        with pytest.raises(InputError, match="no_such_option"):
            TASKS[kind].for_data(facts, {"no_such_option": 1})

    def test_it_comes_back_from_json(self, kind: str) -> None:
        task, _ = made(kind)
        assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task

    def test_a_network_overfits_its_synthetic_set(self, kind: str) -> None:
        task, target = made(kind)
        torch.manual_seed(0)
        network = task.network(architecture("fully_connected", {"hidden": (64,)}), len(CLASSES))
        module, images = network.build((1, 20)), torch.randn(SAMPLES, 1, 20)
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(120):
            optimiser.zero_grad()
            total, count = task.loss(module(images), target)
            (total / count).backward()
            optimiser.step()
        metrics = task.metrics(CLASSES)
        metrics.update(task.decode(module(images).detach()), target)
        assert is_perfect(task, metrics.compute()[task.headline])
        assert float(total.detach() / count) < 0.1

    def test_the_loss_of_parts_adds_up(self, kind: str) -> None:
        task, target = made(kind)
        raw = torch.randn(SAMPLES, task.outputs(len(CLASSES)), generator=torch.Generator().manual_seed(0))
        total, count = task.loss(raw, target)
        parts = [task.loss(raw[part], target[part]) for part in torch.arange(SAMPLES).split(7)]
        assert sum(float(part) for part, _ in parts) == pytest.approx(float(total), rel=1e-5)
        assert sum(number for _, number in parts) == pytest.approx(count)

    def test_the_best_outputs_score_perfectly_and_wrong_ones_do_not(self, kind: str) -> None:
        task, target = made(kind)
        raw = best_outputs(task, target)
        for outputs, perfect in ((raw, True), (-raw, False)):
            metrics = task.metrics(CLASSES)
            metrics.update(task.decode(outputs), target)
            assert is_perfect(task, metrics.compute()[task.headline]) is perfect

    def test_figures_of_parts_merge(self, kind: str) -> None:
        task, target = made(kind)
        raw = torch.randn(SAMPLES, task.outputs(len(CLASSES)), generator=torch.Generator().manual_seed(0))
        whole = task.metrics(CLASSES)
        whole.update(task.decode(raw), target)
        first, second = task.metrics(CLASSES), task.metrics(CLASSES)
        for metrics, part in ((first, slice(0, 11)), (second, slice(11, 20)), (second, slice(20, SAMPLES))):
            metrics.update(task.decode(raw[part]), target[part])
        first.merge(second)
        expected, found = whole.compute(), first.compute()
        assert found.keys() == expected.keys()
        assert json.loads(json.dumps(found), parse_float=rounded) == json.loads(
            json.dumps(expected), parse_float=rounded
        )

    def test_figures_and_records_are_plain_and_one_a_sample(self, kind: str) -> None:
        task, target = made(kind)
        decoded = task.decode(best_outputs(task, target))
        assert all(len(tensor) == SAMPLES for tensor in decoded.values())
        records = task.records(decoded, CLASSES)
        assert len(records) == SAMPLES and json.loads(json.dumps(records)) == records

    def test_the_report_shows_the_figures(self, kind: str) -> None:
        task, target = made(kind)
        metrics = task.metrics(CLASSES)
        metrics.update(task.decode(best_outputs(task, target)), target)
        assert all(isinstance(section, Section) for section in task.sections(metrics.compute(), CLASSES))

    def test_data_in_another_order_of_classes_scores_the_same(self, kind: str) -> None:
        task, target = made(kind)
        numbers = torch.tensor([2, 0, 1])
        moved = task.renumber(target, numbers, len(CLASSES))
        metrics = task.metrics(CLASSES)
        metrics.update(task.decode(best_outputs(task, moved)), moved)
        assert is_perfect(task, metrics.compute()[task.headline])
        back = task.renumber(moved, numbers.argsort(), len(CLASSES))
        assert torch.equal(back, target) and not torch.equal(moved, target)

    def test_a_softmax_step_may_stand_for_its_loss_only_if_it_is_that(self, kind: str) -> None:
        task, target = made(kind)
        if task.softmax_smoothing is None:
            return
        raw = torch.randn(SAMPLES, len(CLASSES), generator=torch.Generator().manual_seed(0))
        total, count = task.loss(raw, target)
        expected = nn.functional.cross_entropy(raw, target, label_smoothing=task.softmax_smoothing)
        torch.testing.assert_close(total / count, expected)


def rounded(text: str) -> float:
    """Sums of parts differ in the last bits."""
    return round(float(text), 9)


def test_there_are_tasks_for_classes_and_for_tags() -> None:
    assert {"classification", "multi_label_classification"} <= set(TASKS)


def test_data_for_no_task_is_refused_with_what_came() -> None:
    facts = DataFacts(target="weather", classes=(), counts=())
    with pytest.raises(InputError, match=r"no task learns the target 'weather' .*use data for one of: .*class"):
        task_for(facts)


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"task 'clasify': there is no such task; use one of: .*classification"):
        task_for(FACTS["classes"][0], "clasify")


def test_a_task_for_other_labels_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"it does not learn the target 'label' .*\(several classes a sample\)"):
        task_for(FACTS["tags"][0], "classification")


def test_two_tasks_that_fit_must_be_chosen_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "kinds", lambda base: {"one": Classification, "two": Classification})
    with pytest.raises(InputError, match=r"several fit: .*name one with --task"):
        task_for(FACTS["classes"][0])


@pytest.mark.parametrize("axes, expected", [(1, 0.0), (2, 0.1), (3, 0.0)])
@pytest.mark.parametrize("kind", ["classes", "tags"])
def test_images_are_smoothed_unless_told_otherwise(axes: int, expected: float, kind: str) -> None:
    facts = DataFacts(target="label", classes=CLASSES, counts=(1, 1, 1), axes=axes, multi_label=kind == "tags")
    assert task_for(facts).label_smoothing == expected  # type: ignore[attr-defined]
    assert task_for(facts, options={"label_smoothing": 0.3}).label_smoothing == 0.3  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [-0.1, 1.0, "much"])
def test_a_label_smoothing_out_of_range_is_an_error(value: Any) -> None:
    with pytest.raises(InputError, match=r"task options: .*label_smoothing"):
        task_for(FACTS["classes"][0], options={"label_smoothing": value})


def test_balanced_weights_are_inverse_frequencies_of_mean_one_over_the_samples() -> None:
    counts = (6, 3, 0)
    facts = DataFacts(target="label", classes=CLASSES, counts=counts, axes=1)
    task = Classification.for_data(facts, {"balance": True})
    assert task is not None and task.class_weights is not None
    assert task.class_weights[1] / task.class_weights[0] == pytest.approx(2.0)
    balanced = Classification.for_data(FACTS["classes"][0], {"balance": True})
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
        task_for(FACTS["tags"][0], options={"balance": True})


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
