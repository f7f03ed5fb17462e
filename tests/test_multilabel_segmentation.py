"""Segmentation with several classes a pixel, from masks on disk to masks on disk, by the commands."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from command import done, refused
from layer_sets import NAMES, shapes, write_layers
from striate.core import modelfile
from striate.core.bitsets import names, unpacked
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.transform import Compose, Letterbox
from striate.inference.predictor import Predictor, load
from striate.inference.tiling import Tiling
from striate.inference.writing import write_records
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.tasks.segmentation_multilabel import MultiLabelSegmentationTask, entries
from striate.tasks.task import DataFacts, Place, task_for
from striate.training.interruption import Interrupted

FACTS = DataFacts(target="mask", classes=NAMES, counts=(900, 90, 10), ignore=255, multi_label=True)
TINY = ("--arch", "unet", "--set", "width=6", "--set", "depth=2", "--threads", 1, "--precision", "float32")
SUM = '[{"kind": "focal", "gamma": 1.5}, {"kind": "lovasz", "weight": 0.5}]'
SHORT = (*TINY, "--batch", 6, "--optimiser", "adamw", "--rate", 0.01)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layers(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def run(drawn: Path) -> Path:
    folder = drawn.parent / "run"
    done("train", drawn, "--out", folder, "--steps", 80, "--cache", drawn.parent / "cache", *SHORT)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def layers_of(folder: Path, name: str) -> Any:
    """The true layers of a file, bool (K, H, W)."""
    return np.stack([np.asarray(Image.open(folder / "masks" / one / name)) > 0 for one in NAMES])


def test_the_command_trains_on_masks_that_overlap(drawn: Path, run: Path) -> None:
    model = modelfile.load(run / "model.safetensors")
    assert model.task["kind"] == "multi_label_segmentation" and model.classes == NAMES
    measured = model.metrics["val"]
    assert measured["mean_iou"] > 0.6 and measured["pixels"] > 0
    html = (run / "report.html").read_text().replace("_", " ")
    for said in ("mean iou while training", "as the network saw them", "IoU", "Drawn in colour: disc, square, stripe"):
        assert said in html


def test_the_command_measures_each_class_over_the_whole_set(drawn: Path, run: Path) -> None:
    out = done("evaluate", run, drawn, "--split", "val", "--cache", drawn.parent / "cache", "--json").out
    figures = json.loads(out)
    assert figures["mean_iou"] == pytest.approx(modelfile.load(run / "model.safetensors").metrics["val"]["mean_iou"])
    predictor, right, either = load(run), np.zeros(3), np.zeros(3)
    for path in sorted((drawn / "val" / "images").glob("*.png")):
        masks = predictor.predict(str(path))[0]["masks"]
        answer, truth = np.stack([masks[name] == 1 for name in NAMES]), layers_of(drawn / "val", path.name)
        right += (answer & truth).sum(axis=(1, 2))
        either += (answer | truth).sum(axis=(1, 2))
    assert (right / either).mean() == pytest.approx(figures["mean_iou"], abs=0.05)  # at another size
    assert len(figures["iou"]) == len(figures["precision"]) == 3 and "confusion" not in figures


@pytest.mark.parametrize("windows", [(), ("--windows", "--overlap", 0.5)])
def test_the_command_writes_a_mask_for_each_class(drawn: Path, run: Path, tmp_path: Path, windows: Any) -> None:
    out = tmp_path / "answers"
    done("predict", run, drawn / "val" / "images", "--out", out, *windows)
    rows = table(out / "predictions.csv")
    expected = {"name", *(f"{part}.{name}" for part in ("masks", "shares") for name in NAMES)}
    assert len(rows) == 6 and expected <= set(rows[0])
    for row in rows:
        file = Path(row["name"]).name
        answer = np.stack([np.asarray(Image.open(out / row[f"masks.{name}"])) for name in NAMES])
        assert row["masks.disc"] == f"masks/disc/{file}" and set(np.unique(answer)) <= {0, 255}
        assert ((answer > 0) == layers_of(drawn / "val", file)).mean() > 0.9
        assert float(row["shares.square"]) == pytest.approx((answer[1] > 0).mean())


def test_predictions_are_a_set_that_is_read_again(drawn: Path, run: Path, tmp_path: Path) -> None:
    done("predict", run, drawn / "val" / "images", "--out", tmp_path / "set")
    (tmp_path / "set" / "images").symlink_to(drawn / "val" / "images")
    said = done("check", tmp_path / "set", "--no-steps", "--page", tmp_path / "p.html", "--multi-label").out
    assert "6 samples" in said and "3 classes" in said


def test_data_of_one_class_a_pixel_is_not_measured(drawn: Path, run: Path, tmp_path: Path) -> None:
    image, layers = shapes(np.random.default_rng(0), (40, 48))
    for number in range(2):
        for part, values in (("images", image), ("masks", np.where(layers[0], 1, 0).astype(np.uint8))):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / part / f"{number}.png")
    assert "has one each" in refused("evaluate", run, tmp_path)


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "dice", "lovasz", SUM])
def test_every_loss_is_chosen_on_the_command_line(drawn: Path, tmp_path: Path, loss: str, several: bool) -> None:
    word = "--multi-label" if several else "--no-multi-label"
    asked = (word, "--set", f"task.loss={loss}", "--set", "task.balance=inverse", "--steps", 3)
    done("train", drawn, "--out", tmp_path / "run", "--cache", drawn.parent / "cache", *SHORT, *asked)
    task = modelfile.load(tmp_path / "run" / "model.safetensors").task
    assert task["kind"] == ("multi_label_segmentation" if several else "segmentation")
    wanted = json.loads(loss) if loss.startswith("[") else [{"kind": loss}]
    assert [one["kind"] for one in task["losses"]] == [one["kind"] for one in wanted]
    assert len(task["class_weights"]) == (3 if several else 4)


def test_a_loss_or_option_that_is_none_is_refused_with_those_there_are(drawn: Path, tmp_path: Path) -> None:
    common = ("train", drawn, "--out", tmp_path / "run", "--cache", drawn.parent / "cache", *SHORT)
    told = refused(*common, "--set", "task.loss=dise")
    assert "'dise' is no loss of segmentation, those are cross_entropy, dice, focal, lovasz" in told
    assert "score" in refused(*common, "--set", "task.score=1.5")
    assert "score" in refused(*common, "--no-multi-label", "--set", "task.score=0.4")


def test_the_score_decides_what_is_answered() -> None:
    task = MultiLabelSegmentationTask.for_data(FACTS, {"score": 0.3})
    assert task is not None and task_for(FACTS, options={"score": 0.3}) == task
    decoded = {"probabilities": torch.tensor([[[0.29, 0.3], [0.9, 0.1], [0.3, 0.31]]])}
    assert task.select(decoded)[0].tolist() == [0b110, 0b101]
    record = task.records(decoded, NAMES)[0]
    assert record["masks"]["disc"].tolist() == [0, 1] and record["shares"] == {"disc": 0.5, "square": 0.5, "stripe": 1}
    assert task.answer_marks(decoded, NAMES)[0].several


def test_weights_are_inverse_frequencies_of_mean_one_over_the_pixels_of_classes() -> None:
    task = MultiLabelSegmentationTask.for_data(FACTS, {"balance": True})
    assert task is not None and task.class_weights is not None
    assert sum(w * n for w, n in zip(task.class_weights, FACTS.counts, strict=True)) / 1000 == pytest.approx(1)
    raw, target = torch.randn(2, 3, 9), torch.randint(0, 8, (2, 9))
    parts = [
        t.weight * t.of_each(raw, entries(target, 3), 255, torch.tensor(task.class_weights))[0] for t in task.losses
    ]
    assert float(task.loss(raw, target)[0]) == pytest.approx(float(sum(parts)))


def test_void_and_what_is_no_set_of_the_classes_has_no_say() -> None:
    task = MultiLabelSegmentationTask()
    target = torch.tensor([[0, 5, 255, 2**31 - 1, -1]])
    assert entries(target, 3)[0, :, 0].tolist() == [0, 0, 0] and entries(target, 3)[0, :, 1].tolist() == [1, 0, 1]
    assert bool((entries(target, 3)[..., 2:] == 255).all())
    raw = torch.randn(1, 3, 5)
    other = torch.cat((raw[..., :2], -raw[..., 2:]), dim=2)
    assert torch.equal(task.loss(raw, target)[0], task.loss(other, target)[0])
    found = task.renumber(target, torch.tensor([2, 0, 3]), 4)
    assert found.tolist() == [[0, 0b1100, task.ignore, task.ignore, task.ignore]]
    metrics = task.metrics(NAMES)
    metrics.update({"probabilities": torch.rand(1, 3, 5)}, torch.full((1, 5), 255))
    assert metrics.compute()["mean_iou"] is None and task.sections(metrics.compute(), NAMES) == []
    with pytest.raises(ValueError, match="15 probabilities are not a number"):
        metrics.update({"probabilities": torch.full((1, 3, 5), torch.nan)}, target)


class Cheat(torch.nn.Module):
    """Answers what is painted on its input: channel k is the logit of class k; ``cut`` positions less a side."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for axis in range(2, images.ndim):
            images = images.narrow(axis, self.cut, images.shape[axis] - 2 * self.cut)
        return 40.0 * images - 20.0


@pytest.mark.parametrize("cut", [0, 3])
@pytest.mark.parametrize("size", [(60,), (40, 48), (12, 10, 14)])
def test_masks_come_back_in_original_pixels(size: tuple[int, ...], cut: int) -> None:
    layers = np.random.default_rng(0).random((3, *(-(-n // 4) for n in size))) < 0.5
    for axis, n in enumerate(size, start=1):
        layers = np.repeat(layers, 4, axis=axis).take(np.arange(n), axis=axis)
    steps = Compose(steps=(Letterbox(size=64),))
    made = Predictor(
        module=Cheat(cut), task=MultiLabelSegmentationTask(), preprocessing=steps, classes=NAMES,
        input_shape=(3, *steps.output_size(size)),
    )  # fmt: skip
    found = next(made.predict_samples([Sample(torch.from_numpy(layers).float())]))["masks"]
    answer = np.stack([found[name] for name in NAMES])
    seen = answer != 255
    assert answer.shape == layers.shape and seen.mean() > 0.2 and bool(seen.all()) == (cut == 0)
    assert ((answer == 1) == layers)[seen].mean() > 0.9  # enlarging and reducing blurs edges of noise
    tiled = next(made.predict_samples([Sample(torch.from_numpy(layers).float())], tiling=Tiling()))["masks"]
    assert (np.stack([tiled[name] for name in NAMES]) == layers).all()


def test_many_classes_are_brought_back_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    task, place = MultiLabelSegmentationTask(), Place((31, 17), Letterbox(size=24).map((31, 17)))
    decoded = {"probabilities": torch.rand(1, 9, 24, 24)}
    whole = task.records(decoded, "abcdefghi", [place])[0]["masks"]
    monkeypatch.setattr("striate.tasks.segmentation._AT_ONCE", 2 * 31 * 17)
    again = task.records(decoded, "abcdefghi", [place])[0]["masks"]
    assert all((again[name] == whole[name]).all() for name in "abcdefghi")


def test_files_are_named_by_class_and_signals_have_one_table(tmp_path: Path) -> None:
    layer = np.array([[0, 1, 255]], np.uint8)
    records = [
        {"name": "x/a.png", "masks": {"a/b": layer, "A:b": layer}},
        {"name": "a.jpg", "masks": {"a/b": layer, "A:b": layer}},
    ]
    assert write_records(records, tmp_path / "out", "jsonl") == 2
    found = sorted(
        str(path.relative_to(tmp_path / "out" / "masks")) for path in (tmp_path / "out" / "masks").rglob("*.png")
    )
    assert found == ["A_b_2/a.png", "A_b_2/a_2.png", "a_b/a.png", "a_b/a_2.png"]
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "a_b" / "a.png")).tolist() == [[0, 255, 128]]
    signal_ = {"walk": np.array([1, 0, 1, 255], np.uint8), "talk": np.array([1, 0, 0, 0], np.uint8)}
    write_records([{"name": "s.csv", "masks": signal_}], tmp_path / "signals")
    assert (tmp_path / "signals" / "masks" / "s.csv").read_text() == "sample,class\n0,walk|talk\n1,\n2,walk\n3,-1\n"
    with pytest.raises(InputError, match=r"--out: .*no folder"):
        write_records(records, None)


def test_resuming_continues_bit_for_bit(drawn: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 12, "batch": 6, "precision": "float32", "threads": 1, "validate_every": 6}
    given = Experiment.from_settings(
        {"data": {"path": str(drawn), "cache": str(drawn.parent / "cache")}, "training": settings,
         "architecture": {"name": "unet", "options": {"width": 4, "depth": 1}}}
    )  # fmt: skip
    train_experiment(given, tmp_path / "whole")

    def stop_at(count: int, total: int, seen: str) -> None:
        if count >= 4 and total == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_experiment(given, tmp_path / "cut", show=stop_at)
    resume_run(tmp_path / "cut")
    weights = [modelfile.load(tmp_path / name / "model.safetensors").weights for name in ("whole", "cut")]
    assert modelfile.weights_sha256(weights[0]) == modelfile.weights_sha256(weights[1])


def acts(rng: np.random.Generator, length: int) -> tuple[Any, list[str]]:
    """Two channels, of steps and of a voice, each on and off in turns of its own; and what is done at every sample."""
    time, values, there = np.arange(length) / 50.0, rng.normal(0, 0.2, (2, length)), np.zeros((2, length), dtype=bool)
    for channel, pace in enumerate((2.0, 9.0)):
        at, on = 0, bool(rng.integers(0, 2))
        while at < length:
            span = int(rng.integers(40, 90))
            there[channel, at : at + span] = on
            at, on = at + span, not on
        values[channel] += there[channel] * np.sin(2 * np.pi * pace * time)
    cells = ["|".join(names(int(two @ [1, 2]), ("walk", "talk"))) for two in there.T]
    return values, ["-1"] * 10 + cells[10:]


def test_every_sample_of_a_signal_has_several_labels_by_the_same_commands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        place = tmp_path / "acts" / ("test" if number >= 12 else "train")
        place.mkdir(parents=True, exist_ok=True)
        values, cells = acts(rng, 400)
        rows = [f"{i / 50:.2f},{a:.4f},{b:.4f},{c}" for i, (a, b, c) in enumerate(zip(*values, cells, strict=True))]
        (place / f"{number:02}.csv").write_text("time,x,y,label\n" + "\n".join(rows) + "\n")
    run = tmp_path / "run"
    common = ("--set", "width=8", "--set", "depth=3", "--cache", tmp_path / "cache", "--batch", 4, "--threads", 1)
    steps = ("--steps", 100, "--optimiser", "adamw", "--rate", 0.005)
    told = done("train", tmp_path / "acts", "--arch", "unet", *common, *steps, "--out", run)
    assert "labels (several divided by | or ;, empty: none, -1: unknown)" in told.err
    model = modelfile.load(run / "model.safetensors")
    assert model.classes == ("talk", "walk") and model.task["kind"] == "multi_label_segmentation"
    assert model.metrics["test"]["mean_iou"] > 0.8 and model.metrics["test"]["pixels"] == 4 * 390
    assert "Drawn in colour: talk, walk" in (run / "report.html").read_text()
    values, cells = acts(rng, 400)
    (tmp_path / "new").mkdir()
    rows = [f"{i / 50:.2f},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(values.T)]
    (tmp_path / "new" / "a.csv").write_text("time,x,y\n" + "\n".join(rows) + "\n")
    done("predict", run, tmp_path / "new", "--out", tmp_path / "out")
    found = table(tmp_path / "out" / "masks" / "a.csv")
    right = [
        set(row["class"].split("|")) == set(c.split("|")) for row, c in zip(found, cells, strict=True) if c != "-1"
    ]
    assert np.mean(right) > 0.85
    done("evaluate", run, tmp_path / "acts", "--cache", tmp_path / "cache", "--split", "test")


def test_pictures_blend_colours_and_draw_a_line_around_every_class() -> None:
    from striate.report.layered import layered

    picture, mask = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), np.int64)
    mask[1:8, 1:6] |= 1
    mask[1:8, 3:8] |= 2
    mask[0] = -1
    drawn = layered(picture, mask, ("#ff0000", "#0000ff"))
    assert drawn[8, 8].tolist() == [100] * 3 and drawn[0, 0].tolist() == [44] * 3
    assert drawn[4, 1].tolist() == [255, 0, 0] and drawn[4, 7].tolist() == [0, 0, 255]  # the lines
    assert drawn[4, 4].tolist() == [111, 60, 111] and drawn[4, 2].tolist() == [162, 60, 60]
    assert unpacked(mask, 2)[:, 4, 4].tolist() == [True, True]
