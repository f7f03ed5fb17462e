"""Predicted boxes as COCO results, YOLO text and VOC XML: right in original pixels, and read again by others and us."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import contents, done, refused
from finder import CLASSES, SIZES, STEPS, finder, found, image_of, rectangles, write_images
from labelled_files import boxes
from striate.core.errors import InputError
from striate.data.reader import open_data
from striate.inference.predictor import Predictor
from striate.inference.writing import write_records

__all__ = ["found"]


@pytest.fixture
def images(tmp_path: Path, found: None) -> Path:
    write_images(tmp_path / "photos")
    return tmp_path / "photos"


def annotations(path: Path, prefix: str = "", leave_out: int | None = None) -> Path:
    """A COCO file of the images with ids that count from 50 in steps of 7, categories 4 (red) and 9 (blue)."""
    numbers = {"red": 4, "blue": 9}
    listed, truth = [], []
    for number, size in enumerate(SIZES):
        if number == leave_out:
            continue
        listed.append(
            {"id": 50 + 7 * number, "file_name": f"{prefix}{number}.png", "height": size[0], "width": size[1]}
        )
        for name, (y0, x0, y1, x1) in rectangles(number, size).items():
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            truth.append({"id": len(truth) + 1, "image_id": 50 + 7 * number, "category_id": numbers[name], **box})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    path.write_text(json.dumps({"images": listed, "annotations": truth, "categories": categories}))
    return path


def records_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def scored(truth: Path, results: Path) -> float:
    """AP over overlaps .5 to .95 by pycocotools, from the saved files alone."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(truth))
        evaluation = COCOeval(known, known.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


@pytest.mark.parametrize("steps", STEPS, ids=["letterboxed", "stretched", "by the long side"])
def test_boxes_are_in_original_pixels_whatever_the_size(
    images: Path, steps: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.inference.predictor.load", lambda path: finder(steps=steps))
    for number, record in enumerate(records_of(done("predict", "m", images, "--form", "jsonl").out)):
        size = SIZES[number]
        assert record["size"] == list(size)
        expected = rectangles(number, size)
        assert {box["class"] for box in record["boxes"]} == expected.keys()
        for box in record["boxes"]:
            # edges are blurred on the canvas: to half a pixel of the coarser of both
            assert box["bounds"] == pytest.approx(expected[box["class"]], abs=0.5 * max(1, max(size) / 64))


def test_coco_results_have_the_ids_of_an_annotation_file_and_score_1(images: Path, tmp_path: Path) -> None:
    truth, out = annotations(tmp_path / "truth.json"), tmp_path / "results.json"
    for prefix in ("", "photos/"):  # file names may have folders, as the path does
        annotations(truth, prefix)
        done("predict", "m", images, "--form", "coco", "--score", 0.001, "--ids-of", truth, "--out", out)
        rows = json.loads(out.read_text())
        assert {row["image_id"] for row in rows} == {50, 57, 64, 71, 78} and {row["category_id"] for row in rows} == {
            4,
            9,
        }
        assert all(row.keys() == {"image_id", "category_id", "bbox", "score"} for row in rows)
        assert scored(truth, out) > 0.85
    assert not (tmp_path / "results.images.json").exists()
    standard = done("predict", "m", images, "--form", "coco", "--ids-of", truth).out
    assert json.loads(standard) == rows


def test_without_an_annotation_file_ids_count_up_and_are_told_beside_the_results(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    out = tmp_path / "results.json"
    done("predict", "m", images, "--form", "coco", "--out", out)
    beside = json.loads((tmp_path / "results.images.json").read_text())
    assert [(one["id"], Path(one["file_name"]).name) for one in beside["images"]] == [
        (number + 1, f"{number}.png") for number in range(5)
    ]
    assert [(one["height"], one["width"]) for one in beside["images"]] == list(SIZES)
    assert beside["categories"] == [{"id": 1, "name": "blue"}, {"id": 2, "name": "red"}]
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO(str(tmp_path / "results.images.json")).loadRes(str(out))
    assert len(loaded.anns) == 9 and loaded.getImgIds() == [1, 2, 3, 4, 5]
    done("predict", "m", images / "0.png", "--form", "coco", "--out", out)  # what is ours is replaced
    assert len(json.loads(out.read_text())) == 2
    out.unlink()
    assert "would be replaced" in refused("predict", "m", images, "--form", "coco", "--out", out)


def test_images_that_the_annotation_file_does_not_know_are_skipped(images: Path, tmp_path: Path) -> None:
    truth = annotations(tmp_path / "truth.json", leave_out=1)
    shutil.copytree(images, tmp_path / "again")
    words = ("predict", "m", images, tmp_path / "again" / "0.png", "--form", "coco", "--ids-of", truth)
    outcome = done(*words)
    assert "4 predicted, 2 skipped" in outcome.err
    assert f"{images}/1.png: {truth} lists no image of this name" in outcome.err
    assert f"it has the same id in {truth} as {images}/0.png" in outcome.err
    assert {row["image_id"] for row in json.loads(outcome.out)} == {50, 64, 71, 78}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}))
    assert "none of the model's classes" in refused(*words[:-1], other)
    fewer = json.loads(truth.read_text())
    fewer["categories"] = fewer["categories"][:1]
    other.write_text(json.dumps(fewer))
    outcome = done(*words[:-1], other)
    assert "no category 'blue'" in outcome.err and {row["category_id"] for row in json.loads(outcome.out)} == {4}


def test_yolo_text_is_a_set_once_the_images_are_beside_it(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "yolo"
    done("predict", "m", images, "--form", "yolo", "--out", out)
    assert {len(line.split()) for line in (out / "labels" / "0.txt").read_text().splitlines()} == {6}
    shutil.copytree(images, out / "images")
    reader = open_data(out)
    assert (reader.format, reader.classes, len(reader), reader.problems) == ("yolo", CLASSES, 5, [])
    assert "scores are passed over" in reader.found
    records = records_of(done("predict", "m", images, "--form", "jsonl").out)
    for position, record in enumerate(records):
        target = boxes(reader, position)
        assert [CLASSES[number] for number in target.classes.tolist()] == [box["class"] for box in record["boxes"]]
        np.testing.assert_allclose(target.bounds().numpy(), [box["bounds"] for box in record["boxes"]], atol=1e-9)


def test_voc_xml_is_a_set_once_the_images_are_beside_it(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "voc"
    done("predict", "m", images, "--form", "voc", "--out", out)
    assert (out / "Annotations" / "0.xml").read_text().count("<score>0.") == 2
    shutil.copytree(images, out / "JPEGImages")
    reader = open_data(out)
    assert (reader.format, reader.classes, len(reader), reader.problems) == ("voc", CLASSES, 5, [])
    records = records_of(done("predict", "m", images, "--form", "jsonl").out)
    for position, record in enumerate(records):
        assert boxes(reader, position).annotated().tolist() == [box["bounds"] for box in record["boxes"]]
        assert reader.size(position) == tuple(record["size"])


def test_images_without_boxes_have_a_file_too(images: Path, tmp_path: Path) -> None:
    for form in ("coco", "yolo", "voc"):
        done("predict", "m", images, "--form", form, "--score", 0.95, "--out", tmp_path / form)
    assert json.loads((tmp_path / "coco").read_text()) == []
    assert [path.read_text() for path in (tmp_path / "yolo" / "labels").iterdir()] == [""] * 5
    assert len(list((tmp_path / "voc" / "Annotations").iterdir())) == 5


def test_images_of_one_name_do_not_share_a_file(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "more")
    done("predict", "m", images, tmp_path / "more", "--form", "yolo", "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "labels").iterdir())
    assert names == sorted([f"{n}.txt" for n in range(5)] + [f"{n}_2.txt" for n in range(5)])


def test_score_and_most_choose_boxes_and_nothing_else_takes_them(images: Path, tmp_path: Path) -> None:
    few = records_of(done("predict", "m", images, "--form", "jsonl", "--most", 1).out)
    assert [len(record["boxes"]) for record in few] == [1] * 5
    for words in (("--score", 1.5), ("--score", -1), ("--most", 0)):
        assert "score and most" in refused("predict", "m", images, *words)
    other = Predictor(
        module=finder().module, task=__import__("striate.tasks.segmentation", fromlist=["x"]).SegmentationTask(),
        preprocessing=finder().preprocessing, classes=CLASSES, input_shape=(3, 64, 64),
    )  # fmt: skip
    with pytest.raises(InputError, match="--score: segmentation finds no boxes"):
        other.choosing(score=0.1)
    assert len(finder().choosing(most=1).predict(images)[0]["boxes"]) == 1


def test_forms_of_boxes_are_refused_where_there_are_none(tmp_path: Path) -> None:
    signal = {"name": "a", "size": [100], "boxes": [{"class": "x", "score": 0.5, "bounds": [1.0, 2.0]}]}
    for record, words in (({"name": "a", "class": "cat"}, "the answers have none"), (signal, "the boxes have 1 axis")):
        for form in ("coco", "yolo", "voc"):
            with pytest.raises(InputError, match=f"--form {form}: .*{words}; use csv or jsonl"):
                write_records([record], tmp_path / "out", form)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_others_is_replaced_and_nothing_half_is_left(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = annotations(tmp_path / "truth.json")
    before = contents(tmp_path)
    for form in ("yolo", "voc"):
        assert "not empty" in refused("predict", "m", images, "--form", form, "--out", images)
        assert "it is a file" in refused("predict", "m", images, "--form", form, "--out", truth)
        assert "--out" in refused("predict", "m", images, "--form", form)
    words = ("predict", "m", images, "--form", "coco")
    assert "inputs" in refused(*words, "--ids-of", truth, "--out", truth)
    assert "--out" in refused(*words)
    assert "has no ids" in refused("predict", "m", images, "--ids-of", truth)
    assert "coco, yolo, voc" in refused("predict", "m", images, "--form", "xml")
    monkeypatch.setattr(
        "striate.data.writers.yolo.line", lambda *parts: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert "No space left" in refused("predict", "m", images, "--form", "yolo", "--out", tmp_path / "out")
    assert contents(tmp_path) == before


def test_a_path_that_is_missing_does_not_refuse_the_others(images: Path) -> None:
    outcome = done("predict", "m", images / "0.png", "nowhere.png", "no/*.png", "--form", "jsonl")
    assert len(records_of(outcome.out)) == 1 and "1 predicted, 2 skipped" in outcome.err
    assert "skipped nowhere.png: it does not exist" in outcome.err
    assert "skipped no/*.png: nothing matches this glob" in outcome.err
    assert "nowhere.png: it does not exist" in refused("predict", "m", "nowhere.png")
    with pytest.raises(InputError, match=r"nowhere\.png: it does not exist"):
        finder().predict([images / "0.png", "nowhere.png"])


@pytest.mark.slow
def test_saved_predictions_are_scored_by_pycocotools_as_evaluate_does(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from PIL import Image

    for split, first in (("train", 0), ("val", 40)):
        (tmp_path / "set" / split).mkdir(parents=True)
        (tmp_path / "set" / "annotations").mkdir(exist_ok=True)
        listed, truth = [], []
        for number in range(first, first + 20):
            size = SIZES[number % 4]
            Image.fromarray(image_of(number % 5, size)).save(tmp_path / "set" / split / f"{number}.png")
            listed.append({"id": number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
            for name, (y0, x0, y1, x1) in rectangles(number % 5, size).items():
                row = {"id": 1000 + len(truth), "image_id": number, "category_id": 3 + CLASSES.index(name)}
                truth.append({**row, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0})
        categories = [{"id": 3 + place, "name": name} for place, name in enumerate(CLASSES)]
        content = {"images": listed, "annotations": truth, "categories": categories}
        (tmp_path / "set" / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    run, cache = tmp_path / "run", tmp_path / "cache"
    words = ("--size", 64, "--steps", 60, "--batch", 10, "--no-augment", "--precision", "float32", "--cache", cache)
    done("train", tmp_path / "set", "--out", run, *words)
    measured = json.loads(done("evaluate", run, tmp_path / "set", "--split", "val", "--cache", cache, "--json").out)
    truth_file, out = tmp_path / "set" / "annotations" / "instances_val.json", tmp_path / "results.json"
    options = ("--form", "coco", "--score", 0.001, "--most", 3000, "--ids-of", truth_file, "--out", out)
    done("predict", run, tmp_path / "set" / "val", *options)
    assert measured["map"] > 0.05
    assert scored(truth_file, out) == pytest.approx(measured["map"], abs=1e-6)
