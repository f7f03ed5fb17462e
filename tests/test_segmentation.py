"""Segmentation from masks on disk to masks on disk: options, original pixels, runs that resume, one mechanism."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from striate.architectures.backbone import architecture
from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.sample import Mask, Sample
from striate.core.transform import CenterCrop, Compose, Crop, Flip, Letterbox, Pad, Resize
from striate.inference.evaluate import evaluate
from striate.inference.predictor import Predictor, load
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.tasks.segmentation import Focal, Lovasz, SegmentationTask, central
from striate.tasks.task import DataFacts, Place, task_for
from striate.training.interruption import Interrupted

CLASSES = ("background", "disc", "square")
FACTS = DataFacts(target="mask", classes=CLASSES, counts=(900, 90, 10), ignore=255)
TINY = {"name": "unet", "options": {"width": 6, "depth": 2}}


def painted(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A picture (H, W, 3) uint8 with a bright disc and a dark square, and its class numbers."""
    image = rng.integers(90, 150, (*size, 3))
    mask = np.zeros(size, dtype=np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    half = size[1] // 2
    row, column = rng.integers(8, size[0] - 8), rng.integers(8, half - 8)
    disc = (y - row) ** 2 + (x - column) ** 2 <= 36
    square = (abs(y - rng.integers(8, size[0] - 8)) <= 6) & (abs(x - half - column) <= 6)
    mask[disc], mask[square] = 1, 2
    image[disc] += 80
    image[square] -= 80
    return image.astype(np.uint8), mask


def write_set(folder: Path, count: int = 24, sizes: tuple[tuple[int, int], ...] = ((40, 48),)) -> None:
    """Images with index masks, train and val, the classes by name."""
    rng = np.random.default_rng(0)
    for number in range(count):
        image, mask = painted(rng, sizes[number % len(sizes)])
        place = folder / ("val" if number % 4 == 3 else "train")
        for part, values in (("images", image), ("masks", mask)):
            (place / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(place / part / f"{number:02}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_set(folder)
    return folder


def experiment(data: Path, steps: int = 60, **training: Any) -> Experiment:
    settings = {"steps": steps, "batch": 6, "precision": "float32", "threads": 1, "validate_every": 20, **training}
    return Experiment.from_settings(
        {"data": {"path": str(data), "cache": str(data.parent / "cache")}, "architecture": TINY, "training": settings}
    )


@pytest.fixture(scope="module")
def run(shapes: Path) -> Path:
    folder = shapes.parent / "run"
    train_experiment(experiment(shapes, steps=150), folder)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


class Cheat(torch.nn.Module):
    """A network that answers what is painted on its input: channel k of the input is the logit of class k."""

    def forward(self, images: Tensor) -> Tensor:
        return 20.0 * images


def cheating(preprocessing: Compose, size: tuple[int, ...]) -> Predictor:
    canvas = preprocessing.output_size(size)
    return Predictor(
        module=Cheat(),
        task=SegmentationTask(),
        preprocessing=preprocessing,
        classes=CLASSES,
        input_shape=(3, *canvas),
    )


@pytest.mark.parametrize(
    "steps, lost",
    [
        ((Resize(size=(80, 96)),), 0),
        ((Resize(size=(30, 40)),), 0.03),
        ((Letterbox(size=64),), 0),
        ((Resize(size=48, keep="long"), Letterbox(size=(32, 64))), 0.06),
        ((Flip(axes=(0, 1)),), 0),
        ((Pad(before=3, after=(0, 9)),), 0),
        ((Resize(size=(80, 96)), Flip(), Letterbox(size=128)), 0),
    ],
    ids=str,
)
def test_masks_come_back_in_original_pixels(steps: tuple[Any, ...], lost: float) -> None:
    _, mask = painted(np.random.default_rng(3), (40, 48))
    image = torch.nn.functional.one_hot(torch.from_numpy(mask).long(), 3).movedim(-1, 0).float()
    record = cheating(Compose(steps=steps), (40, 48)).predict(image[None].numpy())[0]
    assert record["mask"].shape == (40, 48) and record["mask"].dtype == np.uint8
    assert (record["mask"] != mask).mean() <= lost


@pytest.mark.parametrize("size", [(60,), (24, 20), (12, 10, 14)])
def test_a_crop_is_put_back_where_it_was(size: tuple[int, ...]) -> None:
    mask = torch.randint(0, 3, size, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.one_hot(mask, 3).movedim(-1, 0).float()
    middle = tuple(n // 2 for n in size)
    for step in (CenterCrop(size=middle), Crop(start=2, size=middle)):
        found = cheating(Compose(steps=(step,)), size).predict(image[None].numpy())[0]["mask"]
        inside = step.map(size).inverse(size)
        low = [round(row.offset) for row in inside.aligned_axes() or ()]
        where = tuple(slice(at, at + n) for at, n in zip(low, middle, strict=True))
        assert (found[where] == mask.numpy()[where]).all()


def test_a_reduced_copy_comes_back_at_the_size_that_was_annotated() -> None:
    sample = Sample(torch.rand(3, 20, 24), original=(40, 48))
    made = cheating(Compose(steps=(Letterbox(size=32),)), (20, 24))
    assert next(made.predict_samples([sample]))["mask"].shape == (40, 48)


def test_many_classes_are_brought_back_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    task, place = SegmentationTask(), Place((31, 17), Letterbox(size=24).map((31, 17)))
    decoded = {"probabilities": torch.rand(1, 9, 24, 24)}
    whole = task.records(decoded, "abcdefghi", [place])[0]["mask"]
    monkeypatch.setattr("striate.tasks.segmentation._AT_ONCE", 2 * 31 * 17)
    assert (task.records(decoded, "abcdefghi", [place])[0]["mask"] == whole).all()


def test_what_a_network_of_valid_windows_does_not_see_is_void() -> None:
    task = SegmentationTask()
    decoded = task.decode(torch.zeros(1, 3, 11, 12))
    mask = task.records(decoded, CLASSES, [Place((16, 16), Letterbox(size=16).map((16, 16)))])[0]["mask"]
    expected = np.full((16, 16), 255)
    expected[2:13, 2:14] = 0
    assert (mask == expected).all()


def test_a_network_of_valid_windows_is_compared_with_the_middle() -> None:
    target = torch.randint(0, 3, (2, 64, 61), generator=torch.Generator().manual_seed(0))
    spec = architecture("unet_valid", {"width": 2, "depth": 2})
    task = SegmentationTask()
    network = task.network(spec, 3)
    task.demand_outputs(network, (1, 64, 61), 3, "model")
    raw = network.build((1, 64, 61))(torch.randn(2, 1, 64, 61))
    middle = central(target, tuple(raw.shape[2:]))
    low = [(n - m) // 2 for n, m in zip(target.shape[1:], middle.shape[1:], strict=True)]
    assert torch.equal(middle, target[:, low[0] : low[0] + middle.shape[1], low[1] : low[1] + middle.shape[2]])
    assert torch.equal(task.loss(raw, target)[0], task.loss(raw, middle)[0])
    perfect = {"probabilities": torch.nn.functional.one_hot(middle, 3).movedim(-1, 1).float()}
    metrics = task.metrics(CLASSES)
    metrics.update(perfect, target)
    assert metrics.compute()["mean_iou"] == 1


def test_weights_are_inverse_frequencies_with_the_mean_of_one_and_a_limit() -> None:
    assert task_for(FACTS).class_weights is None  # type: ignore[attr-defined]
    root = SegmentationTask.for_data(FACTS, {"balance": True})
    inverse = SegmentationTask.for_data(FACTS, {"balance": "inverse"})
    assert root is not None and root.class_weights is not None
    assert inverse is not None and inverse.class_weights is not None
    assert sum(w * n for w, n in zip(root.class_weights, FACTS.counts, strict=True)) / 1000 == pytest.approx(1)
    assert root.class_weights[2] / root.class_weights[0] == pytest.approx(90**0.5)
    assert inverse.class_weights[1] / inverse.class_weights[0] == pytest.approx(10)
    assert max(inverse.class_weights) == 10


@pytest.mark.parametrize(
    "given, kinds",
    [
        ("dice", ["dice"]),
        (["cross_entropy", {"kind": "lovasz", "weight": 0.5}], ["cross_entropy", "lovasz"]),
        ([{"kind": "focal", "gamma": 1.5}], ["focal"]),
    ],
)
def test_losses_are_named_alone_or_added(given: Any, kinds: list[str]) -> None:
    task = SegmentationTask.for_data(FACTS, {"loss": given})
    assert task is not None and [term.kind for term in task.losses] == kinds
    raw, target = torch.randn(2, 3, 9), torch.randint(0, 3, (2, 9))
    parts = [term.weight * term.of(raw, target, 255, None)[0] for term in task.losses]
    assert float(task.loss(raw, target)[0]) == pytest.approx(float(sum(parts)))
    assert SegmentationTask.from_json(task.to_json()) == task


@pytest.mark.parametrize("given", ["dise", [], [{"kind": "dice", "weight": 0}], [{"kind": "adamw"}]])
def test_a_loss_that_is_none_is_an_error(given: Any) -> None:
    with pytest.raises(InputError, match=r"task options.*loss"):
        SegmentationTask.for_data(FACTS, {"loss": given})


def test_a_decoder_may_be_chosen() -> None:
    task = SegmentationTask.for_data(FACTS, {"decoder": {"kind": "unet_decoder", "width": 4, "depth": 1}})
    assert task is not None
    network = task.network(architecture("detector_nano"), 3)
    assert network.output_shape((3, 40, 48)) == (3, 40, 48)
    assert network.parameters((3, 40, 48)) < SegmentationTask().network(architecture("detector_nano"), 3).parameters(
        (3, 40, 48)
    )


def test_values_that_are_no_class_of_other_data_are_void() -> None:
    found = SegmentationTask().renumber(torch.tensor([[0, 1, 7, 65_535, -1]]), torch.tensor([2, 0]), 3)
    assert found.tolist() == [[2, 0, 255, 255, 255]]


def test_data_that_is_all_void_has_no_figures() -> None:
    metrics = SegmentationTask().metrics(CLASSES)
    metrics.update({"probabilities": torch.rand(1, 3, 5)}, torch.full((1, 5), 255))
    figures = metrics.compute()
    assert figures["mean_iou"] is None and SegmentationTask().sections(figures, CLASSES) == []
    with pytest.raises(ValueError, match="no middle"):
        metrics.update({"probabilities": torch.rand(1, 3, 6)}, torch.full((1, 5), 255))


def test_masks_train_with_the_same_call_and_answer_as_they_were_measured(shapes: Path, run: Path) -> None:
    measured = modelfile.load(run / "model.safetensors").metrics["val"]
    assert measured["mean_iou"] > 0.9
    again = evaluate(run, shapes, split="val", cache=shapes.parent / "cache")
    assert again.figures["mean_iou"] == pytest.approx(measured["mean_iou"])
    images = sorted((shapes / "val" / "images").glob("*.png"))
    records = load(run).predict([str(path) for path in images])
    joint = np.zeros((3, 3), dtype=np.int64)
    for path, record in zip(images, records, strict=True):
        truth = np.asarray(Image.open(path.parent.parent / "masks" / path.name))
        np.add.at(joint, (truth, record["mask"]), 1)
    union = joint.sum(0) + joint.sum(1) - np.diag(joint)
    assert (np.diag(joint) / union).mean() == pytest.approx(measured["mean_iou"], abs=0.02)  # at another size


def test_the_report_shows_masks_and_their_figures(run: Path) -> None:
    html = (run / "report.html").read_text()
    for said in ("mean iou while training", "samples as the network saw them", "Answers", "truth", "IoU", "pixels"):
        assert said in html.replace("_", " ")


def test_predictions_are_files_of_class_numbers(shapes: Path, run: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from striate.cli.main import app

    out = tmp_path / "answers"
    for windows in ([], ["--windows", "--overlap", "0.5"]):
        result = CliRunner().invoke(
            app, ["predict", str(run), str(shapes / "val" / "images"), "--out", str(out), *windows]
        )
        assert result.exit_code == 0, result.output
        rows = table(out / "predictions.csv")
        assert len(rows) == 6 and set(rows[0]) == {"name", "mask", *(f"shares.{name}" for name in CLASSES)}
        for row in rows:
            mask = np.asarray(Image.open(out / row["mask"]))
            truth = np.asarray(Image.open(shapes / "val" / "masks" / Path(row["name"]).name))
            assert mask.shape == truth.shape and (mask == truth).mean() > 0.9
            assert float(row["shares.disc"]) == pytest.approx((mask == 1).mean())


def test_masks_never_go_where_other_files_are(shapes: Path, run: Path, tmp_path: Path) -> None:
    from striate.inference.writing import write_records

    records = [{"name": "a/b.png", "mask": np.zeros((2, 2), np.uint8)}, {"name": "c/b.jpg", "mask": np.ones((2, 2))}]
    with pytest.raises(InputError, match="holds other files than predictions"):
        write_records(records, shapes)
    with pytest.raises(InputError, match=r"--out: .*no folder"):
        write_records(records, None)
    (tmp_path / "file.csv").touch()
    with pytest.raises(InputError, match="maps need a folder"):
        write_records(records, tmp_path / "file.csv")
    assert write_records(records, tmp_path / "new", "jsonl") == 2
    assert sorted(path.name for path in (tmp_path / "new" / "masks").iterdir()) == ["b.png", "b_2.png"]


def test_maps_of_volumes_are_pages_and_of_signals_names(tmp_path: Path) -> None:
    from striate.inference.writing import write_records

    volume = np.arange(24).reshape(2, 3, 4).astype(np.uint8)
    records = [{"name": "v", "mask": volume}, {"name": "s", "mask": np.array([0, 2, 255], np.uint8)}]
    write_records(records, tmp_path / "out", classes=CLASSES)
    with Image.open(tmp_path / "out" / "masks" / "v.tif") as pages:
        assert pages.n_frames == 2
        pages.seek(1)
        assert (np.asarray(pages) == volume[1]).all()
    assert (tmp_path / "out" / "masks" / "s.csv").read_text() == "sample,class\n0,background\n1,square\n2,\n"


def test_images_of_several_sizes_train_on_one_canvas(tmp_path: Path) -> None:
    write_set(tmp_path / "mixed", 12, ((40, 48), (48, 40), (36, 60)))
    result = train_experiment(experiment(tmp_path / "mixed", steps=4), tmp_path / "run")
    found = load(tmp_path / "run").predict(str(tmp_path / "mixed" / "val" / "images"))
    assert [one["mask"].shape for one in found] == [(40, 48), (48, 40), (36, 60)]
    assert result.figures["val"]["pixels"] > 0


def test_resuming_continues_bit_for_bit(shapes: Path, tmp_path: Path) -> None:
    given = experiment(shapes, steps=16, optimiser={"kind": "adamw", "rate": 0.003}, validate_every=8)
    train_experiment(given, tmp_path / "whole")

    def stop_at(done: int, total: int, seen: str) -> None:
        if done >= 5 and total == 16:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_experiment(given, tmp_path / "cut", show=stop_at)
    resume_run(tmp_path / "cut")
    weights = [modelfile.load(tmp_path / name / "model.safetensors").weights for name in ("whole", "cut")]
    assert modelfile.weights_sha256(weights[0]) == modelfile.weights_sha256(weights[1])


def rhythm(rng: np.random.Generator, length: int) -> tuple[np.ndarray[Any, Any], list[str]]:
    """A signal as of a worn sensor: rest, walking (steps, with a second harmonic) and shaking, in turns of random
    length, over drift and noise; and the name of what is done at every sample, some unknown."""
    time, signal_ = np.arange(length) / 50.0, np.zeros(length)
    names: list[str] = []
    while len(names) < length:
        kind, span = rng.integers(0, 3), int(rng.integers(40, 90))
        part, pace = slice(len(names), min(len(names) + span, length)), rng.uniform(0.9, 1.1)
        if kind == 1:
            signal_[part] = np.sin(2 * np.pi * 2 * pace * time[part]) + 0.4 * np.sin(2 * np.pi * 4 * pace * time[part])
        elif kind == 2:
            signal_[part] = 1.2 * np.sin(2 * np.pi * 8 * pace * time[part])
        names += [("rest", "walk", "shake")[kind]] * (part.stop - part.start)
    names[: length // 20] = ["-1"] * (length // 20)
    return signal_ + 0.3 * np.sin(2 * np.pi * time / 9) + rng.normal(0, 0.15, length), names


def test_every_sample_of_a_signal_is_labelled_by_the_same_commands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        place = tmp_path / "moves" / ("test" if number >= 16 else "train")
        place.mkdir(parents=True, exist_ok=True)
        values, names = rhythm(rng, 400)
        rows = [f"{i / 50:.2f},{value:.4f},{name}" for i, (value, name) in enumerate(zip(values, names, strict=True))]
        (place / f"{number:02}.csv").write_text("time,x,label\n" + "\n".join(rows) + "\n")
    from typer.testing import CliRunner

    from striate.cli.main import app

    common = ["--set", "width=8", "--set", "depth=3", "--cache", str(tmp_path / "cache"), "--batch", "4"]
    steps = ["--steps", "150", "--threads", "1", "--optimiser", "adamw", "--rate", "0.005"]
    run = tmp_path / "run"
    train = ["train", str(tmp_path / "moves"), "--arch", "unet", *common, *steps, "--out", str(run)]
    result = CliRunner().invoke(app, train)
    assert result.exit_code == 0, result.output
    figures = modelfile.load(run / "model.safetensors").metrics["test"]
    assert figures["mean_iou"] > 0.75 and figures["pixels"] == 4 * 380
    unlabelled = tmp_path / "new"
    unlabelled.mkdir()
    values, names = rhythm(rng, 400)
    (unlabelled / "a.csv").write_text("time,x\n" + "".join(f"{i / 50:.2f},{v:.4f}\n" for i, v in enumerate(values)))
    answer = CliRunner().invoke(app, ["predict", str(run), str(unlabelled), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    rows = table(tmp_path / "out" / "masks" / "a.csv")
    right = [row["class"] == name for row, name in zip(rows, names, strict=True) if name != "-1"]
    assert np.mean(right) > 0.8


def test_focal_and_lovasz_learn_too() -> None:
    for term in (Focal(), Lovasz()):
        task, target = SegmentationTask(losses=(term,)), torch.tensor([[0, 1, 2, 2, 255]])
        raw = torch.zeros(1, 3, 5, requires_grad=True)
        optimiser = torch.optim.Adam([raw], lr=0.3)
        for _ in range(60):
            optimiser.zero_grad()
            task.loss(raw, target)[0].backward()
            optimiser.step()
        assert task.select(task.decode(raw.detach()))[0][:4].tolist() == [0, 1, 2, 2]


def test_a_mask_on_a_canvas_beside_the_image_is_not_learned() -> None:
    moved = Mask(torch.zeros(4, 6, dtype=torch.uint8), 255).move(Letterbox(size=8).map((4, 6)))
    task = SegmentationTask()
    assert int((Mask.collate([moved]) != task.ignore).sum()) == 5 * 8
