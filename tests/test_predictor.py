"""The only inference path: what is measured from shards is what the files are answered with, live or reloaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.inference.evaluate import evaluate
from striate.inference.predictor import Predictor, evaluating, load
from striate.layers.graph import Graph
from striate.recipes.experiment import Experiment
from striate.recipes.run import RunResult, train_experiment

CLASSES = ("left", "right", "top")
SIZES = ((40, 30), (24, 24), (31, 77), (64, 20), (25, 26))


def picture(rng: np.random.Generator, label: int, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A colour image (height, width, 3) uint8 whose bright side is its class."""
    width, height = size
    values = rng.integers(0, 100, (height, width, 3))
    place = [np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[: height // 2]][label]
    values[place] += 120
    return values.astype(np.uint8)


def write_mixed(folder: Path) -> None:
    """30 images of five sizes in every mode that is converted; some lie on their side as EXIF says."""
    rng = np.random.default_rng(0)
    for number in range(30):
        label = number % 3
        image = Image.fromarray(picture(rng, label, SIZES[number % len(SIZES)]))
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        kind = number // 3 % 6
        if kind == 5:
            tags = Image.Exif()
            tags[0x0112] = 6
            image.transpose(Image.Transpose.ROTATE_90).save(place / f"{number}.jpg", exif=tags, quality=95)
        elif kind == 4:
            image.convert("CMYK").save(place / f"{number}.jpg", quality=95)
        else:
            image.convert(("RGB", "L", "P", "RGBA")[kind]).save(place / f"{number}.png")


def write_sixteen_bits(folder: Path) -> None:
    """30 grey images of 16 bits and several sizes."""
    rng = np.random.default_rng(1)
    for number in range(30):
        values = picture(rng, number % 3, SIZES[number % len(SIZES)])[..., 0].astype(np.uint16) * 257
        place = folder / CLASSES[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(place / f"{number}.png")


def trained(data: Path, out: Path, **training: Any) -> RunResult:
    """A few steps of a tiny network at 24 pixels, measured and reported as any run."""
    experiment = Experiment.from_settings(
        {
            "data": {"path": str(data), "cache": str(out.parent / "cache"), "size": 24, "validation": 0.2},
            "architecture": {"name": "small_images", "options": {"widths": [4, 8], "depths": [1, 1]}},
            "training": {"steps": 12, "batch": 8, "precision": "float32", **training},
        }
    )
    return train_experiment(experiment, out)


@pytest.fixture(scope="module", autouse=True)
def _no_reports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("striate.recipes.run.write_report", lambda *parts: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, ``mixed`` and ``sixteen``, and a run on each."""
    home = tmp_path_factory.mktemp("predictor")
    for name, write in (("mixed", write_mixed), ("sixteen", write_sixteen_bits)):
        write(home / name)
        trained(home / name, home / f"{name}-run")
    return home


def probabilities(records: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """(n, classes): all three classes are among the five listed."""
    return np.array([[dict(record["top"])[name] for name in CLASSES] for record in records])


@pytest.mark.parametrize("name, shape", [("mixed", (3, 24, 24)), ("sixteen", (1, 24, 24))])
def test_evaluating_from_shards_equals_predicting_from_the_files(folder: Path, name: str, shape: Any) -> None:
    predictor = load(folder / f"{name}-run")
    assert predictor.input_shape == shape
    figures = evaluate(predictor, folder / name, cache=folder / "cache").figures
    records = predictor.predict(folder / name)
    truth = np.array([CLASSES.index(Path(record["name"]).parent.name) for record in records])
    found = probabilities(records)
    assert len(records) == figures["count"] == 30
    assert figures["top1"] == np.mean(found.argmax(1) == truth)
    likelihood = -np.log(found[np.arange(30), truth]).mean()
    assert figures["negative_log_likelihood"] == pytest.approx(likelihood, rel=1e-5)
    answers = np.zeros((3, 3), dtype=int)
    np.add.at(answers, (truth, found.argmax(1)), 1)
    assert figures["confusion"] == answers.tolist()


def test_a_file_is_answered_alike_alone_in_a_folder_and_by_a_glob(folder: Path) -> None:
    predictor = load(folder / "mixed-run")
    whole = {record["name"]: record for record in predictor.predict(folder / "mixed")}
    by_glob = predictor.predict(str(folder / "mixed" / "*" / "*.jpg"))
    assert len(by_glob) == len(list((folder / "mixed").glob("*/*.jpg"))) > 5
    for record in by_glob:
        alone = predictor.predict(record["name"])[0]
        for other in (alone, whole[record["name"]]):
            assert other["class"] == record["class"]
            assert other["probability"] == pytest.approx(record["probability"], rel=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 30, 64])
def test_the_batch_size_does_not_change_the_answers(folder: Path, batch: int) -> None:
    predictor = load(folder / "mixed-run")
    expected, found = predictor.predict(folder / "mixed"), predictor.predict(folder / "mixed", batch=batch)
    assert [record["name"] for record in found] == [record["name"] for record in expected]
    np.testing.assert_allclose(probabilities(found), probabilities(expected), rtol=1e-5)
    figures = evaluate(predictor, folder / "mixed", batch=batch, cache=folder / "cache").figures
    assert figures["top1"] == evaluate(predictor, folder / "mixed", cache=folder / "cache").figures["top1"]


@pytest.mark.parametrize("precision", ["float32", "float32 channels-last"])
def test_a_live_network_equals_the_model_file(folder: Path, tmp_path: Path, precision: str) -> None:
    result = trained(folder / "mixed", tmp_path / "run", precision=precision)
    reloaded = load(tmp_path / "run")
    inputs = torch.randn(5, 3, 24, 24)
    for name, value in result.predictor.decode(inputs).items():
        assert torch.equal(value, reloaded.decode(inputs)[name])
    assert result.predictor.predict(folder / "mixed") == reloaded.predict(folder / "mixed")
    assert reloaded.preprocessing == result.plan.preprocessing and reloaded.options == result.predictor.options


def test_the_module_is_left_in_the_mode_it_was_in(folder: Path) -> None:
    predictor = load(folder / "mixed-run")
    module = predictor.module
    assert not any(part.training for part in module.modules())
    module.train()
    frozen = next(part for part in module.modules() if isinstance(part, nn.BatchNorm2d)).eval()
    statistics = frozen.running_mean.clone()
    predictor.predict(folder / "mixed" / "left")
    assert [part.training for part in module.modules()] == [part is not frozen for part in module.modules()]
    assert torch.equal(frozen.running_mean, statistics)
    with pytest.raises(KeyError), evaluating(module):
        raise KeyError
    assert module.training and not frozen.training


def test_answers_do_not_depend_on_the_mode_the_module_is_in(folder: Path) -> None:
    predictor = load(folder / "mixed-run")
    expected = predictor.predict(folder / "mixed")
    predictor.module.train()
    assert predictor.predict(folder / "mixed") == expected


def test_arrays_are_answered_as_samples(folder: Path) -> None:
    predictor = load(folder / "mixed-run")
    values = np.random.default_rng(0).integers(0, 256, (4, 3, 24, 24)).astype(np.uint8)
    records = predictor.predict(values)
    assert [record["name"] for record in records] == ["0", "1", "2", "3"]
    assert predictor.normalise is not None
    decoded = predictor.decode(predictor.normalise.images(torch.from_numpy(values)))
    np.testing.assert_allclose(probabilities(records), decoded["probabilities"].numpy(), rtol=1e-6)


def test_a_sample_with_other_channels_is_refused_by_name(folder: Path) -> None:
    predictor = load(folder / "sixteen-run")
    with pytest.raises(InputError, match=r"^odd: .*came, the model takes 1x24x24; give inputs"):
        predictor.prepare(Sample(torch.zeros(2, 24, 24), {}, "odd"))


def test_a_model_with_too_few_weights_is_refused_before_memory_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = modelfile.load(folder / "mixed-run" / "model.safetensors")
    layer = model.network
    while "rows" in layer:
        layer = layer["rows"][0]["layer"]
    layer["channels"] = 10**9
    monkeypatch.setattr(Graph, "build", lambda *parts: pytest.fail("memory was asked for"))
    with pytest.raises(InputError, match="fewer weights than its network has"):
        Predictor.from_model(model)


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    model = modelfile.load(folder / "mixed-run" / "model.safetensors")
    name = next(iter(model.weights))
    model.weights["extra"] = model.weights.pop(name)
    with pytest.raises(InputError, match=f"missing: {name}.*not in the network: extra"):
        Predictor.from_model(model, "it")


def test_data_with_fewer_classes_is_measured_by_their_names(folder: Path, tmp_path: Path) -> None:
    for name in ("right", "top"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for path in (folder / "mixed" / name).iterdir():
            (tmp_path / "two" / name / path.name).write_bytes(path.read_bytes())
    predictor = load(folder / "mixed-run")
    figures = evaluate(predictor, tmp_path / "two", cache=tmp_path / "cache").figures
    whole = evaluate(predictor, folder / "mixed", cache=folder / "cache").figures
    assert figures["support"] == [0, 10, 10]
    assert figures["confusion"][1:] == whole["confusion"][1:]


def test_a_class_the_model_does_not_know_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("left", "sideways"):
        (tmp_path / "odd" / name).mkdir(parents=True)
        source = next((folder / "mixed" / "left").iterdir())
        (tmp_path / "odd" / name / source.name).write_bytes(source.read_bytes())
    with pytest.raises(InputError, match=r"does not know the class 'sideways' \(it knows: left, right, top\)"):
        evaluate(folder / "mixed-run", tmp_path / "odd", cache=tmp_path / "cache")


def test_a_split_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no split 'test'; choose one of: all"):
        evaluate(folder / "mixed-run", folder / "mixed", split="test", cache=folder / "cache")
