"""What the report shows of a detector: average precision, curves, classes, confusions, causes of error, worst samples.

It reads the figures of :class:`striate.ops.detection_metrics.DetectionMetrics`, and of those only what is there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from striate.report.plots import confusion_matrix
from striate.report.records import Block, Cell, Fact, Facts, Figure, Section, Table, Text, shown
from striate.report.style import FULL, INK, MUTED, RULE, SERIES, drawing, end_labels, finish, label

WHY, WORST, DOUBTFUL = "Why it is not higher", "Worst samples", "Labels to look at"
"""Titles of sections, to which pictures of the samples may be added."""
_NAMED = len(SERIES)
"""Up to how many classes each have a line of their own colour in the curves."""
_AVERAGES: dict[str, str] = {
    "map": "mAP, overlaps .50 to .95",
    "map50": "mAP at overlap .50",
    "map75": "mAP at overlap .75",
    "map_small": "mAP of small objects (up to 32 x 32 pixels of the original)",
    "map_medium": "mAP of medium ones",
    "map_large": "mAP of large ones (from 96 x 96 on)",
    "ar1": "recall with 1 box a class and image",
    "ar10": "recall with 10",
    "ar100": "recall with 100",
    "ar_small": "recall of small objects",
    "ar_medium": "recall of medium ones",
    "ar_large": "recall of large ones",
    "event_map_30_70": "mAP of events, overlaps .30 to .70, whole area",
    "event_map_50_95": "mAP of events, overlaps .50 to .95, whole area",
    "event_f1": "F1 of events within the tolerance",
    "event_precision": "precision of events within the tolerance",
    "event_recall": "recall of events within the tolerance",
}
CAUSES: dict[str, tuple[str, str]] = {
    "class": ("wrong class", "on an object of another class"),
    "localisation": ("wrong place", "the right class, overlap of .1 to .5"),
    "both": ("both wrong", "another class, overlap of .1 to .5"),
    "duplicate": ("found twice", "the object had been found already"),
    "background": ("nothing there", "overlap below .1 with every object"),
    "missed": ("missed", "an object no detection is about"),
}
"""The kinds of ``ops.error_analysis`` in words, and what they mean."""


def sections(figures: Mapping[str, Any], classes: Sequence[str]) -> list[Section]:
    """The sections of a detector's report; one that says so where the data has no boxes."""
    if figures["map"] is None:
        return [Section("Boxes", (Text("There are no boxes in this data: nothing can be measured."),))]
    return [
        Section("Boxes", (_at_threshold(figures), _averages(figures), precision_recall(figures["curves"], classes))),
        Section("Classes", _classes(figures, classes)),
        Section(WHY, _errors(figures["errors"], classes, figures["threshold"])),
        *([Section(WORST, (_worst(figures),))] if figures["worst"] else []),
        *([Section(DOUBTFUL, _doubtful(figures["doubtful"], classes))] if figures["doubtful"] else []),
    ]


def _at_threshold(figures: Mapping[str, Any]) -> Facts:
    """The threshold everything is stated at, and the best one."""
    stated, best = figures["threshold"], figures["best_threshold"]
    return Facts(
        (
            Fact("mAP", shown(figures["map"], 4), "mean of overlaps .50 to .95, as COCO"),
            Fact("mean F1", shown(figures["macro_f1"], 3), f"at the score {stated:g} and overlap .50"),
            Fact("best mean F1", shown(figures["best_f1"], 3), f"at the score {best:g}, chosen on this data"),
        )
    )


def _averages(figures: Mapping[str, Any]) -> Table:
    rows = tuple((words, figures[name]) for name, words in _AVERAGES.items() if name in figures)
    return Table(("average", "value"), rows)


def _classes(figures: Mapping[str, Any], classes: Sequence[str]) -> tuple[Block, ...]:
    names = ("support", "average_precision", "average_precision50", "precision", "recall", "f1")
    rows = tuple(zip(classes, *(figures[name] for name in names), strict=True))
    stated = f"at the score {figures['threshold']:g} and an overlap of .50"
    table = Table(
        ("class", "boxes", "AP", "AP50", "precision", "recall", "F1"),
        rows,
        caption=f"Precision, recall and F1 {stated}; AP is the mean of overlaps .50 to .95. A class without boxes in"
        " this data has no figures.",
    )
    matrix = confusion_matrix(
        figures["confusion"],
        (*classes, "no box"),
        f"Boxes {stated}, as in the table. Row 'no box': detections where nothing is; column 'no box': objects that"
        " were not found.",
        unit="boxes",
        stated=f"score ≥ {figures['threshold']:g}, overlap ≥ .50",
    )
    return table, matrix, f1_curves(figures["curves"], classes, figures["threshold"])


def _errors(errors: Mapping[str, Any], classes: Sequence[str], threshold: float) -> tuple[Block, ...]:
    stated = errors["at_threshold"]
    rows = tuple(
        (words, meaning, stated["counts"][name], errors["counts"][name], errors["gains"][name])
        for name, (words, meaning) in CAUSES.items()
    )
    gains = [errors["gains"][name] or 0.0 for name in CAUSES]
    most = int(np.argmax(gains))
    table = Table(
        ("error", "what it is", f"times, score ≥ {threshold:g}", "times, any score", "AP50 gained if right"),
        rows,
        ("left", "left", "right", "right", "right"),
        f"After TIDE (Bolya et al. 2020); gains are over detections of any score, with AP50 at"
        f" {shown(errors['map50'], 3)}. They do not add up: mending one kind changes what another is worth.",
        highlight=most if gains[most] > 0 else None,
    )
    by_class = Table(
        ("class", *(words for words, _ in CAUSES.values())),
        tuple(
            (name, *(stated["counts_by_class"][kind][number] for kind in CAUSES)) for number, name in enumerate(classes)
        ),
        caption=f"How often at the score {threshold:g}, by class of the detection, or of the missed object.",
    )
    return table, by_class


def _worst(figures: Mapping[str, Any]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (one.get("name", one["image"]), one["missed"], one["false_positives"], one["weight"])
        for one in figures["worst"]
    )
    return Table(
        ("sample", "missed", "wrong detections", "weight"),
        rows,
        caption=f"At the score {figures['threshold']:g}; the weight is missed objects plus the scores of wrong"
        " detections. A sample without a name is given by its number, counted from 0.",
    )


def _doubtful(doubtful: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> tuple[Block, ...]:
    words = Text(
        "Where the network is sure of something that the labels contradict. Look at these: it may be a label that is"
        " missing or wrong, and it may as well be the network that is wrong."
    )
    rows = tuple(
        (
            one.get("name", one["image"]),
            classes[one["class"]],
            one["score"],
            "nothing" if one["annotated"] is None else classes[one["annotated"]],
        )
        for one in doubtful
    )
    return words, Table(("sample", "the network says", "score", "the labels say"), rows)


def precision_recall(curves: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """Precision against recall of each class at an overlap of .5, made never to rise, and their mean."""
    lines = [np.asarray(line) if line is not None else None for line in curves["precision"]]
    known = [line for line in lines if line is not None]
    mean = np.mean(known, axis=0)
    caption = f"Precision against recall at an overlap of {curves['overlap']:g}; the area under a line is its AP50."
    return _curves(curves["recalls"], lines, mean, classes, "recall", "precision", caption)


def f1_curves(curves: Mapping[str, Any], classes: Sequence[str], threshold: float) -> Figure:
    """F1 of each class against the score from which on a detection is believed, and their mean."""
    lines = [np.asarray(line) if line is not None else None for line in curves["f1"]]
    caption = (
        f"F1 against the score threshold at an overlap of {curves['overlap']:g}, with the largest of each line;"
        f" precision, recall and the confusion matrix are stated at {threshold:g}."
    )
    mean = np.asarray(curves["mean_f1"])
    return _curves(curves["scores"], lines, mean, classes, "score threshold", "F1", caption, threshold)


def _curves(
    x: Sequence[float],
    lines: Sequence[Any],
    mean: Any,
    classes: Sequence[str],
    across: str,
    up: str,
    caption: str,
    mark: float | None = None,
) -> Figure:
    """Lines over [0, 1] x [0, 1]: coloured and named where they are few, thin and grey under their mean otherwise.

    With a line at the threshold ``mark`` the largest value of each is given, else the mean.
    """
    drawn = [(name, line) for name, line in zip(classes, lines, strict=True) if line is not None]
    said_of = np.mean if mark is None else np.max
    with drawing(FULL, 3.6) as figure:
        axes = figure.add_subplot()
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=0.9, dashes=(4, 3))
        ends = []
        for number, (name, line) in enumerate(drawn):
            few = len(drawn) <= _NAMED
            colour = SERIES[number] if few else MUTED
            axes.plot(x, line, color=colour, linewidth=1.5 if few else 0.6, alpha=1.0 if few else 0.45)
            if few:
                ends.append((1.0, float(line[-1]), f"{label(name)}\u2002{said_of(line):.3f}", colour))
        if len(drawn) > 1:
            axes.plot(x, mean, color=INK, linewidth=2.0)
            ends.append((1.0, float(mean[-1]), f"mean\u2002{said_of(mean):.3f}", INK))
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=across, ylabel=up)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(RULE)
        end_labels(axes, ends, 0.06)
        word = said_of.__name__
        said = "; ".join(f"{label(name)}: {word} {said_of(line):.3f}" for name, line in drawn[:_NAMED])
        return finish(figure, caption, f"{up} against {across} of {len(drawn)} classes. {said}.")
