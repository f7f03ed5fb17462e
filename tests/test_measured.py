"""Measuring in pixels of the originals, the worst samples, windows, and the split that a run held out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import SHORT, done, make_arrays, refused
from striate.core.targets import Boxes
from striate.core.transform import CenterCrop, Compose, Letterbox, Normalise, Resize
from striate.data.prepare import prepare
from striate.data.reader import open_data
from striate.inference.evaluate import evaluate, stored_and_fit
from striate.inference.measured import places
from striate.inference.predictor import load
from striate.ops.detection_metrics import DetectionMetrics
from striate.recipes.sources import DataSettings, open_source
from striate.tasks.detection_boxes import DetectionFigures
from striate.tasks.task import Place
from test_evaluation import cells
from test_segmentation import write_set


def test_areas_are_those_of_original_pixels_and_not_of_the_canvas() -> None:
    """A box of 20 x 20 pixels of the canvas is small; in an original four times as large it is medium."""
    bounds = torch.tensor([[8.0, 8.0, 28.0, 28.0]])
    decoded = {"bounds": bounds[None], "scores": torch.tensor([[[0.9]]])}
    target = [Boxes.from_bounds(bounds.double(), torch.tensor([0]))]
    by = Letterbox(size=64).map((128, 256))
    figures = {}
    for name, where in (("canvas", None), ("original", [Place((256, 256), Resize(size=64).map((256, 256)))])):
        metrics = DetectionFigures(DetectionMetrics(1), 0.6)
        metrics.update(decoded, target, None, where)
        figures[name] = metrics.compute()
    assert figures["canvas"]["map_small"] == pytest.approx(1.0) and figures["canvas"]["map_medium"] is None
    assert figures["original"]["map_small"] is None and figures["original"]["map_large"] is None
    assert figures["original"]["map_medium"] == figures["original"]["map"] == pytest.approx(1.0)
    metrics = DetectionFigures(DetectionMetrics(1), 0.6)
    metrics.update(decoded, target, None, [Place((128, 256), by)])  # half of the box is in the letterbox's margin
    assert metrics.measured.images[0].found.bounds.tolist() == [[0.0, 32.0, 48.0, 112.0]]


def test_boxes_come_back_from_the_shards_exactly_as_they_were_annotated(tmp_path: Path) -> None:
    cells(tmp_path / "cells", "train", 6, 3)
    source = open_source(DataSettings(path=str(tmp_path / "cells"), size=96, validation=0.0, cache=str(tmp_path / "c")))
    reader = open_data(tmp_path / "cells")
    rows = np.arange(len(source.shards))
    for position, place in zip(rows.tolist(), places(source.shards, rows, source.fit), strict=True):
        sample = source.shards.read(position)
        assert place.size == reader.size(position) and source.fit is not None
        moved = source.fit(sample).targets["boxes"].move(place.by.inverse(place.size))
        expected = reader.targets(position)["boxes"]
        assert isinstance(moved, Boxes) and isinstance(expected, Boxes)
        torch.testing.assert_close(moved.bounds(), expected.bounds(), rtol=0, atol=1e-9)


def test_only_what_shrinks_comes_before_the_shards() -> None:
    shrink, fit = Resize(size=64, keep="long", enlarge=False), Letterbox(size=64)
    assert stored_and_fit(Compose(steps=(shrink, fit))) == (Compose(steps=(shrink,)), Compose(steps=(fit,)))
    for steps in ((), (shrink,), (Resize(size=64), CenterCrop(size=32)), (shrink, Normalise())):
        assert stored_and_fit(Compose(steps=steps)) == (Compose(steps=steps), None)


def test_places_know_of_samples_that_were_cropped_before_they_were_stored(tmp_path: Path) -> None:
    cells(tmp_path / "cells", "train", 3, 3)
    by = Compose(steps=(Resize(size=80, keep="short"), CenterCrop(size=64)))
    shards = prepare(open_data(tmp_path / "cells"), tmp_path / "shards", by)
    found = places(shards, np.arange(3), None)
    assert [place.by.matrix.tolist() for place in found] == [by.map(place.size).matrix.tolist() for place in found]
    assert {place.by.canvas for place in found} == {(64, 64)}


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signals without a validation split, and a run that held some of them out."""
    folder = tmp_path_factory.mktemp("held")
    make_arrays(folder / "waves.npz")
    done("train", folder / "waves.npz", "--out", folder / "run", "--arch", "mnist1d_conv", *SHORT)
    return folder


def test_the_split_that_the_run_held_out_is_measured(signals: Path) -> None:
    record = json.loads((signals / "run" / "split.json").read_text())
    held, learned = record["splits"]["val"], record["splits"]["train"]
    outcome = done("evaluate", signals / "run", signals / "waves.npz", "--split", "val", "--json")
    assert f"split: val as the run divided this data (split.json), {len(held)} samples" in outcome.err
    found = json.loads(outcome.out)
    assert found["count"] == len(held) and found["split"] == "val"
    report = json.loads(done("evaluate", signals / "run", signals / "waves.npz", "--split", "train", "--json").out)
    assert report["count"] == len(learned)
    whole = done("evaluate", signals / "run", signals / "waves.npz", "--json")
    assert json.loads(whole.out)["count"] == len(held) + len(learned)
    assert "flatter it; --split val measures what the run held out" in whole.err
    measured = load(signals / "run")
    assert evaluate(measured, signals / "waves.npz", split="val").figures["top1"] == found["top1"]


def test_other_data_has_not_the_split_of_the_run(signals: Path, tmp_path: Path) -> None:
    held = dict(np.load(signals / "waves.npz"))
    held["x"][0] += 1
    np.savez(tmp_path / "other.npz", **held)
    line = refused("evaluate", signals / "run", tmp_path / "other.npz", "--split", "val")
    assert "no split 'val'; choose one of: all" in line
    broken = tmp_path / "run"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes((signals / "run" / "model.safetensors").read_bytes())
    (broken / "split.json").write_text('{"validation_made_here": true, "splits": {"val": ["nobody"]}}')
    assert "nobody" in refused("evaluate", broken, signals / "waves.npz", "--split", "val")
    (broken / "split.json").write_text("[]")
    assert "split.json: it cannot be read" in refused("evaluate", broken, signals / "waves.npz")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of two sizes, and a segmenter of smaller pictures."""
    folder = tmp_path_factory.mktemp("masks")
    write_set(folder / "shapes", 16, sizes=((72, 96), (80, 64)))
    done(
        "train", folder / "shapes", "--out", folder / "run", "--size", 64, "--steps", 30, "--batch", 4,
        "--arch", "unet", "--set", "width=4", "--set", "depth=2", "--precision", "float32", "--threads", 1,
    )  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--overlap", 0.5, "--scale", 0.8)])
def test_windows_measure_what_is_predicted_by_windows(masks: Path, tmp_path: Path, options: tuple[object, ...]) -> None:
    """The figures of `evaluate --windows` are those of the files that `predict --windows` writes."""
    images, out = masks / "shapes" / "val" / "images", tmp_path / "answers"
    done("predict", masks / "run", images, "--out", out, "--windows", *options)
    outcome = done("evaluate", masks / "run", masks / "shapes", "--split", "val", "--windows", "--json", *options)
    found = json.loads(outcome.out)
    joint = np.zeros((3, 3), dtype=np.int64)
    with (out / "predictions.csv").open() as file:
        for row in csv.DictReader(file):
            truth = np.asarray(Image.open(masks / "shapes" / "val" / "masks" / Path(row["name"]).name))
            np.add.at(joint, (truth, np.asarray(Image.open(out / row["mask"]))), 1)
    assert found["confusion"] == joint.tolist()
    union = joint.sum(0) + joint.sum(1) - np.diag(joint)
    assert found["mean_iou"] == pytest.approx((np.diag(joint) / union).mean())
    assert found["pixels"] == sum(np.asarray(Image.open(path)).size // 3 for path in images.glob("*.png"))
    plain = json.loads(done("evaluate", masks / "run", masks / "shapes", "--split", "val", "--json").out)
    assert plain["pixels"] != found["pixels"]  # measured on the canvas


@pytest.mark.slow
def test_the_samples_of_the_lowest_iou_are_named_and_drawn(masks: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done("evaluate", masks / "run", masks / "shapes", "--split", "val", "--report", page)
    worst = json.loads(done("evaluate", masks / "run", masks / "shapes", "--split", "val", "--json").out)["worst"]
    values = [one["value"] for one in worst]
    assert values == sorted(values) and len(worst) == 4 and all(0 <= value < 1 for value in values)
    text = page.read_text()
    assert all(one["name"] in text for one in worst)
    assert text.count("differs in ") >= 4 and "Worst samples" in text
    assert "Worst samples" in (masks / "run" / "report.html").read_text()
