"""Errors tied to what the doctor found, and pictures of answers held against the truth."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from memory_reader import MemoryReader
from striate.core.targets import Boxes
from striate.core.transform import Compose
from striate.data.doctor.diagnosis import Diagnosis, Fault, concerned
from striate.data.prepare import prepare
from striate.ops.box_sets import FoundBoxes, TrueBoxes
from striate.ops.error_analysis import KINDS, error_analysis
from striate.recipes.findings import Concern, concerns, notes, tied
from striate.recipes.run_pictures import spread
from striate.report.html import demand_page, render
from striate.report.outlines import MARKS, Outline
from striate.report.overlays import Shown, pictures
from striate.report.records import Report, Section, Table, Text, counted
from striate.tasks.detection_boxes import Found, compared

A, B, FAR = (0.0, 0, 10, 10), (50.0, 50, 60, 60), (200.0, 200, 220, 220)


def errors(by_image: list[list[int]]) -> dict[str, object]:
    totals = np.array([row[1:] for row in by_image]).sum(axis=0)
    return {"by_image": by_image, "counts": dict(zip(KINDS, totals.tolist(), strict=True))}


def words(blocks: tuple[object, ...]) -> str:
    page = render(Report("r", "", (Section("s", tuple(blocks)),)))  # type: ignore[arg-type]
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main", 1)[1]).replace("&#x27;", "'").split())


def test_errors_on_samples_with_findings_are_counted_and_named() -> None:
    by_image = [[2, 0, 1, 0, 0, 12, 0], [5, 2, 0, 0, 0, 28, 1]]
    found = (Concern("box-duplicate", "the same box twice", (1, 2)),)
    blocks = tied(errors(by_image), found, [f"{n}.jpg" for n in range(8)], 8, True)
    said = words(blocks)
    assert "There are 44 errors at this threshold." in said
    told = "1 of 1 'wrong place' and 12 of 40 'nothing there' errors are on the 2 samples"
    assert f"{told} where the doctor found the same box twice: 1.jpg, 2.jpg." in said
    table = next(block for block in blocks if isinstance(block, Table))
    assert table.rows == (("the same box twice", 2, "25 %", 13, "30 %", "1.jpg, 2.jpg"),)
    assert "no proof" in table.caption


def test_no_finding_and_a_finding_without_errors_are_said() -> None:
    nothing = tied(errors([[0, 0, 0, 0, 0, 1, 0]]), (), ["a"], 1, True)
    assert "The doctor found nothing wrong with the samples measured here. Written" in words(nothing)
    assert "striate check looks at all" in words(tied(errors([[0, 0, 0, 0, 0, 1, 0]]), (), ["a"], 1, False))
    blocks = tied(errors([[0, 0, 0, 0, 0, 1, 0]]), (Concern("leak", "a leak", (1,)),), ["a", "b"], 2, True)
    assert "There is 1 error at this threshold. None is on a sample with a finding." in words(blocks)


def test_findings_are_of_the_samples_measured_and_not_of_how_they_are_stored(tmp_path: Path) -> None:
    images = [np.full((1, 8, 8), number, np.uint8) for number in range(4)]
    reader = MemoryReader(images, labels=[0, 1, 0, 1], classes=("a", "b"))
    shards = prepare(reader, tmp_path / "shards", Compose())
    faults = [
        Fault("duplicate", "0", samples=(0, 2)),
        Fault("leak", "3", samples=(3, 1)),
        Fault("orientation", "2", samples=(2,)),
        Fault("imbalance", ""),
    ]
    assert concerned(faults) == {
        "duplicate": frozenset({0, 2}),
        "leak": frozenset({1, 3}),
        "orientation": frozenset({2}),
    }
    diagnosis = Diagnosis(tmp_path, "m", "m", 4, {}, ("a", "b"), {}, (), concerned=concerned(faults))
    found = concerns(diagnosis, shards, np.array([2, 3]))
    assert [(one.code, one.samples) for one in found] == [("leak", (3,)), ("duplicate", (2,))]
    assert notes(found, 2) == "the doctor found: the same file more than once" and notes(found, 0) == ""
    assert spread(shards, np.arange(4), 2).tolist() == [0, 1]  # a sample of each class, not two of the first


def test_errors_by_image_add_up_and_doubtful_answers_are_the_surest_few_of_an_image() -> None:
    found = FoundBoxes.of_images(
        [[FAR, B, A, (300, 300, 310, 310), (400, 0, 410, 9)], [A], [FAR]],
        [[0, 1, 1, 0, 0], [0], [1]],
        [[0.9, 0.8, 0.7, 0.95, 0.6], [0.99], [0.4]],
    )
    truth = TrueBoxes.of_images([[A, B], [A], [B]], [[0, 1], [0], [0]])
    made = error_analysis(found, truth, 2)
    rows = made.by_image()
    assert [row[0] for row in rows] == [0, 2]
    assert np.array([row[1:] for row in rows]).sum(axis=0).tolist() == list(made.counts().values())
    doubtful = made.doubtful(0.5, each=2)
    assert [(one["image"], one["kind"], one["score"]) for one in doubtful] == [
        (0, "background", 0.95),
        (0, "background", 0.9),
    ]
    assert [one["annotated"] for one in made.doubtful(0.5) if one["kind"] == "class"] == [0]
    assert made.doubtful(0.999) == [] and len(made.doubtful(0.0, most=1)) == 1


def test_answers_are_marked_as_found_missed_and_wrong() -> None:
    boxes = Boxes.from_bounds(torch.tensor([A, B, FAR], dtype=torch.float64), torch.tensor([0, 1, 1]))
    answers = Found(
        torch.tensor([A, (51.0, 51, 61, 61), (100, 100, 110, 110)]).double(),
        torch.tensor([0, 0, 1]),
        torch.tensor([0.9, 0.8, 0.7]),
    )
    marked = compared(answers, boxes, ("ant", "bee"), 2)
    assert sorted((one.mark, one.text) for one in marked) == [
        ("found", "ant 90 %"),
        ("missed", "bee"),
        ("missed", "bee"),
        ("wrong", "ant 80 %: wrong class"),
        ("wrong", "bee 70 %: nothing there"),
    ]
    empty = Found(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert [one.mark for one in compared(empty, boxes, ("ant", "bee"), 2)] == ["missed"] * 3


@pytest.mark.parametrize("axes", [1, 2])
def test_the_legend_says_what_lines_mean(axes: int) -> None:
    values = np.zeros((1, 60) if axes == 1 else (1, 60, 60), np.float32)
    bounds = (5.0, 20.0) if axes == 1 else (5.0, 5.0, 20.0, 20.0)
    outlines = tuple(Outline(bounds, 0, mark=mark, text=f"word {mark}") for mark in MARKS)
    drawn = pictures([Shown(values, "a", (*outlines, Outline(bounds, 1, fault=True)))], ("ant", "bee"))
    text = drawn.image.decode()
    for said in (*(mark.words for mark in MARKS.values()), "at fault, with its class", "word wrong", "word missed"):
        assert said in text, said
    assert "ant" not in re.findall(r">([^<]+)</text>", text)  # no class has its colour there
    assert drawn.alt.startswith("1 sample.")


def test_numbers_have_their_nouns() -> None:
    assert [counted(n, "sample") for n in (0, 1, 1200)] == ["0 samples", "1 sample", "1,200 samples"]
    assert counted(2, "box", "boxes") == "2 boxes"
    assert isinstance(tied(errors([[0] * 7]), (), [], 0, True)[0], Text)


def test_a_page_does_not_take_the_place_of_another_file(tmp_path: Path) -> None:
    from striate.core.errors import InputError

    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputError, match="no page of striate"):
        demand_page(tmp_path / "mine.html", "give another")
    with pytest.raises(InputError, match="does not exist"):
        demand_page(tmp_path / "none" / "a.html", "give another")
    demand_page(tmp_path / "new.html", "give another")
