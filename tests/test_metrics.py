"""Metrics against brute force and against scikit-learn; merging in any division gives the same figures."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.ops.intervals import bootstrap_interval, proportion_interval
from striate.ops.metrics import Calibration, Collection, Confusion, NegativeLogLikelihood, TopK, single_label
from striate.ops.multilabel import MultiLabel, average_precision

sklearn = pytest.importorskip("sklearn.metrics")


def _case(seed, count=60, classes=7):
    generator = np.random.Generator(np.random.Philox(seed))
    labels = generator.integers(0, classes, count)
    scores = generator.normal(size=(count, classes)) * 2
    scores[np.arange(count), labels] += 1.5
    return scores, labels


def _flat(value):
    return json.dumps(value, allow_nan=False, sort_keys=True)


def _close(left, right):
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for name in left:
            _close(left[name], right[name])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            _close(a, b)
    else:
        assert left == pytest.approx(right, rel=1e-12, abs=1e-12) if left is not None else right is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 60), max_size=5), st.randoms(use_true_random=False))
def test_any_division_and_order_gives_the_same_figures(seed, cuts, shuffler):
    scores, labels = _case(seed)
    whole = single_label(7)
    whole.update(scores, labels)
    order = list(range(60))
    shuffler.shuffle(order)
    parts = []
    for rows in np.split(np.array(order), sorted(cuts)):
        part = single_label(7)
        part.update(torch.tensor(scores[rows]), torch.tensor(labels[rows]))
        parts.append(part)
    merged = single_label(7)
    for part in parts:
        merged.merge(part)
    _close(merged.compute(), whole.compute())


def test_results_are_plain_and_fit_for_json():
    metric = single_label(7)
    metric.update(*_case(1))
    assert json.loads(_flat(metric.compute())) == metric.compute()


@pytest.mark.parametrize("seed", range(5))
def test_top_k_agrees_with_scikit_learn(seed):
    scores, labels = _case(seed)
    metric = TopK((1, 2, 5))
    metric.update(scores, labels)
    result = metric.compute()
    for k in (1, 2, 5):
        expected = sklearn.top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        assert result[f"top{k}"] == pytest.approx(expected)


def test_equal_scores_are_ranked_by_class_number_as_argmax_does():
    metric = TopK((1, 2))
    metric.update(np.zeros((3, 3)), np.arange(3))
    assert metric.compute()["top1"] == pytest.approx(1 / 3)
    assert metric.compute()["top2"] == pytest.approx(2 / 3)


def test_top_five_of_three_classes_is_one():
    metric = TopK()
    metric.update(np.eye(3), [2, 2, 2])
    assert metric.compute()["top5"] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_confusion_and_scores_per_class_agree_with_scikit_learn(seed):
    scores, labels = _case(seed)
    metric = Confusion(7)
    metric.update(scores, labels)
    result, predicted = metric.compute(), scores.argmax(axis=1)
    assert result["confusion"] == sklearn.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(labels, predicted, labels=range(7))
    _close([result[name] for name in ("precision", "recall", "f1")], [precision.tolist(), recall.tolist(), f1.tolist()])
    assert result["support"] == support.tolist()
    assert result["macro_f1"] == pytest.approx(f1.mean())
    assert result["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))


@pytest.mark.parametrize(("classes", "has"), [(2, False), (5, False), (6, True)])
def test_top_five_is_told_where_it_is_not_always_one(classes, has):
    metric = single_label(classes)
    metric.update(np.eye(classes), np.arange(classes))
    assert ("top5" in metric.compute()) == has


def test_a_class_without_samples_has_no_figures_though_it_is_predicted():
    metric = Confusion(3)
    metric.update(np.array([[1.0, 0, 0], [0, 0, 1.0]]), [0, 0])
    result = metric.compute()
    assert result["precision"] == [1.0, None, None] and result["f1"][2] is None and result["recall"][2] is None
    assert result["confusion"][0][2] == 1 and result["macro_f1"] == pytest.approx(2 / 3)


def test_a_class_without_samples_or_predictions_has_no_recall_and_no_precision():
    metric = Confusion(3)
    metric.update(np.array([[1.0, 0, 0], [1.0, 0, 0]]), [0, 1])
    result = metric.compute()
    assert result["recall"] == [1.0, 0.0, None]
    assert result["precision"] == [0.5, None, None]
    assert result["f1"] == [pytest.approx(2 / 3), 0.0, None]
    assert result["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_the_sum_over_bins_written_out(seed):
    scores, labels = _case(seed, 300)
    metric = Calibration(15)
    metric.update(scores, labels)
    result = metric.compute()
    probabilities = torch.softmax(torch.tensor(scores), dim=1).numpy()
    error, seen = 0.0, 0
    for m, row in enumerate(result["reliability"]):
        inside = [
            (p.max(), p.argmax() == label)
            for p, label in zip(probabilities, labels, strict=True)
            if m / 15 < p.max() <= (m + 1) / 15
        ]
        assert row["count"] == len(inside)
        seen += len(inside)
        if inside:
            confidence, accuracy = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            assert (row["confidence"], row["accuracy"]) == (pytest.approx(confidence), pytest.approx(accuracy))
            error += len(inside) / 300 * abs(accuracy - confidence)
        else:
            assert (row["confidence"], row["accuracy"]) == (None, None)
    assert seen == 300
    assert result["expected_calibration_error"] == pytest.approx(error)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not():
    scores = np.array([[100.0, 0.0]])
    for label, expected in ((0, 0.0), (1, 1.0)):
        metric = Calibration()
        metric.update(scores, [label])
        assert metric.compute()["expected_calibration_error"] == pytest.approx(expected)


def test_likelihood_agrees_with_scikit_learn_and_takes_log_probabilities():
    scores, labels = _case(2)
    probabilities = torch.softmax(torch.tensor(scores), dim=1)
    expected = sklearn.log_loss(labels, probabilities.numpy(), labels=range(7))
    for given_scores in (scores, probabilities.log(), torch.tensor(scores, requires_grad=True)):
        metric = NegativeLogLikelihood()
        metric.update(given_scores, labels)
        assert metric.compute()["negative_log_likelihood"] == pytest.approx(expected)


def test_enormous_scores_do_not_overflow():
    metric = NegativeLogLikelihood()
    metric.update(np.array([[1e300, 0.0]]), [0])
    assert metric.compute()["negative_log_likelihood"] == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), [0], r"\(2, 3\) and \(1,\) came"),
        (np.zeros((2, 3)), [0, 3], "labels from 0 to 3 came with 3 classes"),
        (np.zeros((2, 3)), [-1, 0], "labels from -1 to 0"),
        (np.zeros((2, 3)), [0.0, 1.0], "class numbers"),
        (np.array([[math.nan, 0.0]]), [0], "1 samples have scores that are not a number"),
    ],
)
def test_bad_batches_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        TopK().update(scores, labels)


def test_different_metrics_do_not_merge_and_empty_ones_do_not_compute():
    with pytest.raises(ValueError, match="cannot be merged"):
        Confusion(3).merge(Confusion(4))
    with pytest.raises(ValueError, match="cannot be merged"):
        TopK((1,)).merge(TopK((1, 5)))
    with pytest.raises(ValueError, match="no samples"):
        single_label(3).compute()
    clash = Collection({"a": TopK(), "b": TopK()})
    clash.update(np.eye(3), [0, 1, 2])
    with pytest.raises(ValueError, match="repeats the names count, top1"):
        clash.compute()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5000), st.data())
def test_interval_of_a_share_is_where_the_score_test_rejects(count, data):
    """Wilson: the ends are the shares q at which (p - q)^2 = z^2 q (1 - q) / n, which holds without the closed form."""
    hits = data.draw(st.integers(0, count))
    share, z = hits / count, 1.959963984540054
    low, high = proportion_interval(hits, count)
    assert 0 <= low <= share <= high <= 1 and low < high
    for end in (low, high):
        assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / count, abs=1e-12)


def test_intervals_of_shares_are_those_of_the_textbook_and_all_hits_leave_a_width():
    assert proportion_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert proportion_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert proportion_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_resampling_agrees_with_the_interval_of_a_share():
    correct = np.array([1.0] * 132 + [0.0] * 68)
    sampled = bootstrap_interval(correct, resamples=8000, seed=3)
    assert sampled == pytest.approx(proportion_interval(132, 200), abs=0.011)


def test_interval_depends_on_the_seed_and_not_on_the_order():
    values = np.random.Generator(np.random.Philox(1)).normal(size=50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values[::-1], seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_interval_holds_the_mean_and_has_the_width_of_the_normal_theory():
    values = np.random.Generator(np.random.Philox(4)).normal(size=400)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_interval_of_a_large_share_is_quick_and_sane():
    low, high = proportion_interval(760_000, 1_000_000)
    assert (low, high) == pytest.approx((0.76 - 0.000837, 0.76 + 0.000837), abs=2e-5)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_interval_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_interval(values)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_average_precision_agrees_with_scikit_learn_with_ties(pairs):
    scores = np.array([score for score, _ in pairs], dtype=float)
    truths = np.array([truth for _, truth in pairs])
    if not truths.any():
        assert average_precision(scores, truths) is None
    else:
        assert average_precision(scores, truths) == pytest.approx(sklearn.average_precision_score(truths, scores))


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_multi_label_agrees_with_scikit_learn(threshold):
    generator = np.random.Generator(np.random.Philox(5))
    truths = generator.random((80, 6)) < 0.3
    scores = generator.normal(size=(80, 6)) + 2 * truths - 1
    metric = MultiLabel(6, threshold)
    for rows in np.array_split(np.arange(80), 3):
        part = MultiLabel(6, threshold)
        part.update(torch.tensor(scores[rows]), torch.tensor(truths[rows]).float())
        metric.merge(part)
    result, predicted = metric.compute(), 1 / (1 + np.exp(-scores)) >= threshold
    assert result["mean_average_precision"] == pytest.approx(sklearn.average_precision_score(truths, scores))
    assert result["f1"] == pytest.approx(sklearn.f1_score(truths, predicted, average=None).tolist())
    assert result["macro_f1"] == pytest.approx(sklearn.f1_score(truths, predicted, average="macro"))
    assert result["micro_f1"] == pytest.approx(sklearn.f1_score(truths, predicted, average="micro"))
    assert result["exact_match"] == pytest.approx(sklearn.accuracy_score(truths, predicted))
    assert result["support"] == truths.sum(axis=0).tolist()
    _flat(result)


def test_a_tag_that_never_occurs_is_left_out_of_the_mean():
    metric = MultiLabel(2)
    metric.update([[1.0, -1.0], [-1.0, -1.0]], [[1, 0], [0, 0]])
    result = metric.compute()
    assert (result["average_precision"], result["mean_average_precision"]) == ([1.0, None], 1.0)
    assert (result["macro_f1"], result["exact_match"]) == (1.0, 1.0)


def test_bad_tags_are_refused():
    with pytest.raises(ValueError, match="tags are 0 or 1"):
        MultiLabel(1).update([[0.0]], [[2]])
    with pytest.raises(ValueError, match=r"\(B, 2\) were expected"):
        MultiLabel(2).update([[0.0]], [[1]])
    with pytest.raises(ValueError, match="no samples"):
        MultiLabel(2).compute()
