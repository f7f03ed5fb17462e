"""One Experiment from flags, a settings file and Python: what goes before what, and where a fault is named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate
from command import SHORT, done, make_arrays, make_images, make_table
from striate.core.errors import InputError
from striate.recipes.experiment import ArchitectureSettings, Experiment
from striate.training.optim import SGD, AdamW
from striate.training.settings import TrainingSettings

FAST = {"steps": 8, "batch": 8, "precision": "float32"}

FILE = """\
# an experiment
[data]
path = "photos"
validation = 0.2

[architecture]
name = "resnet18"
options = {stem = "small"}

[training]
epochs = 20
seed = 3
optimiser = {kind = "adamw", rate = 0.001}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def told(given: Mapping[str, Any], file: Path | None = None, names: Mapping[str, str] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        Experiment.from_settings(given, file, names)
    return str(caught.value)


def test_a_file_alone_is_a_whole_experiment(file: Path) -> None:
    found = Experiment.from_settings({}, file)
    assert found.data.path == "photos"
    assert found.data.validation == 0.2
    assert found.architecture == ArchitectureSettings(name="resnet18", options={"stem": "small"})
    assert found.training.epochs == 20
    assert found.training.optimiser == AdamW(rate=0.001)
    assert Experiment.from_json(found.to_json()) == found


def test_what_is_given_goes_before_the_file_and_none_is_not_given(file: Path) -> None:
    found = Experiment.from_settings({"data": {"path": "other", "size": None}, "training": {"seed": 0}}, file)
    assert found.data.path == "other"
    assert found.data.validation == 0.2
    assert found.training.seed == 0
    assert found.training.epochs == 20


def test_steps_replace_epochs_and_the_other_way_round(file: Path) -> None:
    found = Experiment.from_settings({"training": {"steps": 5}}, file)
    assert (found.training.steps, found.training.epochs) == (5, None)
    assert "one of epochs, steps, minutes" in told({"training": {"steps": 5, "epochs": 2}}, file)


def test_another_kind_takes_over_nothing_and_the_same_kind_is_changed(file: Path) -> None:
    assert Experiment.from_settings({"training": {"optimiser": {"kind": "sgd"}}}, file).training.optimiser == SGD()
    changed = Experiment.from_settings({"training": {"optimiser": {"weight_decay": 0.5}}}, file)
    assert changed.training.optimiser == AdamW(rate=0.001, weight_decay=0.5)
    other = Experiment.from_settings({"architecture": {"name": "mnist1d_conv"}}, file)
    assert other.architecture == ArchitectureSettings(name="mnist1d_conv")
    same = Experiment.from_settings({"architecture": {"options": {"widths": [8, 8, 8, 8]}}}, file)
    assert same.architecture.options == {"stem": "small", "widths": [8, 8, 8, 8]}


def test_sections_may_be_specs_paths_and_specs_inside(tmp_path: Path) -> None:
    training = TrainingSettings(optimiser=SGD(rate=0.5), seed=0)
    found = Experiment.from_settings({"data": {"path": tmp_path, "cache": tmp_path / "c"}, "training": training})
    assert found.data.path == str(tmp_path)
    assert found.data.cache == str(tmp_path / "c")
    assert found.training.optimiser == SGD(rate=0.5)
    assert found.training.model_fields_set == {"optimiser", "seed"}


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("seed = 3", "sed = 3", 12, "training.sed: unknown key; did you mean seed? known here: epochs, steps"),
        ("validation", "valdation", 4, "data.valdation: unknown key; did you mean validation?"),
        ("[training]", "[trainig]", 10, "trainig: unknown key; did you mean training?"),
        ("rate =", "rat =", 13, "training.optimiser.adamw.rat: unknown key; did you mean rate?"),
        ('"adamw"', '"adam"', 13, "training.optimiser: unknown kind 'adam'; use one of: adamw, sgd"),
        ("seed = 3", "seed = -3", 12, "training.seed: "),
        ("seed = 3", 'seed = """\nthree\n"""', 14, "training.seed: "),
        ("0.001", "[\n1,\n2]", 15, "training.optimiser.adamw.rate: "),
        ("seed = 3", "augment.shift = 3\naugment.fip = 1", 13, "training.augment.fip: unknown key; did you mean flip?"),
        ("seed = 3", "seed == 3", 12, "this is not TOML"),
        ("seed = 3", "seed = 3\nseed = 4", 13, "this is not TOML"),
        ('path = "photos"', "path = 3", 3, "data.path: "),
    ],
)
def test_a_fault_in_the_file_names_its_line(file: Path, old: str, new: str, line: int, words: str) -> None:
    file.write_text(FILE.replace(old, new))
    assert told({}, file).startswith(f"{file}:{line}: {words}")


def test_a_fault_in_what_was_given_is_not_laid_on_the_file(file: Path) -> None:
    names = {"training.seed": "--seed", "training.optimiser": "--optimiser"}
    assert told({"training": {"seed": -1}}, file, names).startswith("--seed: ")
    assert told({"training": {"seed": -1}}, file).startswith("training.seed: ")
    assert told({"training": {"optimiser": {"kind": "sdg"}}}, file, names).startswith("--optimiser: unknown kind 'sdg'")
    assert told({"training": {"epoch": 1}}, file).startswith("training.epoch: unknown key; did you mean epochs?")


def test_sections_that_are_no_tables_are_named(file: Path) -> None:
    file.write_text('data = "photos"\n')
    assert told({}, file).startswith(f"{file}:1: data: ")
    assert told({"data": {"path": "x"}}, file) == f"{file}:1: data: a table was expected; write it as [data]"
    assert told({"training": 3}).startswith("training: a table was expected")  # type: ignore[dict-item]


def test_data_must_be_named(file: Path) -> None:
    file.write_text("[training]\nseed = 1\n")
    for given in ({}, {"data": {}}, {"data": {"size": 3}}):
        assert told(given, file).startswith("DATA: no data was named")


@pytest.mark.parametrize("text", ["a=" + "[" * 50_000, "x = 1\n" * 20_000, "\x00", "a = '\ud800'"])
def test_files_that_are_no_settings_are_refused(file: Path, text: str) -> None:
    file.write_text(text, "utf-8", errors="surrogatepass")
    assert told({"data": {"path": "x"}}, file).startswith(f"{file}")


def test_an_unknown_network_is_refused_before_the_data_is_opened() -> None:
    assert "did you mean resnet18" in told({"data": {"path": "x"}, "architecture": {"name": "resnet19"}})


def test_flags_file_and_python_make_the_same_run(tmp_path: Path) -> None:
    data, cache = make_table(tmp_path / "signals.csv"), tmp_path / "cache"
    striate.train(
        data, tmp_path / "python", data={"cache": cache}, architecture={"name": "mnist1d_conv"}, training=FAST
    )
    words = ("--cache", cache, "--arch", "mnist1d_conv", "--steps", 8, "--batch", 8, "--precision", "float32")
    done("train", data, "--out", tmp_path / "flags", *words)
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[data]\npath = "{data}"\ncache = "{cache}"\n[architecture]\nname = "mnist1d_conv"\n'
        '[training]\nsteps = 8\nbatch = 8\nprecision = "float32"\n'
    )
    done("train", "--settings", file, "--out", tmp_path / "file")
    plans = [json.loads((tmp_path / name / "experiment.json").read_text()) for name in ("python", "flags", "file")]
    for plan in plans:
        plan.pop("step")  # the faster of two ways, by timing
    assert plans[0] == plans[1] == plans[2]
    again = striate.train(Experiment.from_settings({}, file), tmp_path / "again")
    assert again.plan.training.steps == 8


def test_python_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    data = make_arrays(tmp_path / "signals.npz")
    result = striate.train(data, tmp_path / "run", training={**FAST, "steps": 40})
    assert result.figures["val"]["top1"] > 0.5
    predictor = striate.load(tmp_path / "run" / "model.safetensors")
    records = predictor.predict(data)
    assert [record["name"] for record in records[:2]] == [f"{data}:0", f"{data}:1"]
    values = np.load(data)["x"]
    by_array = predictor.predict(values[:, None])
    assert [record["class"] for record in by_array] == [record["class"] for record in records]
    assert striate.load(tmp_path / "run").predict([data, str(data)])[60:] == records
    truth = np.load(data)["y"]
    right = np.mean([record["class"] == ("flat", "sine")[label] for record, label in zip(records, truth, strict=True)])
    assert striate.evaluate(tmp_path / "run", data).figures["top1"] == pytest.approx(right)
    assert result.predictor.predict(data) == records


def test_python_names_the_input_it_cannot_read(tmp_path: Path) -> None:
    data = make_images(tmp_path / "photos", 4)
    result = striate.train(data, tmp_path / "run", training={"steps": 1, "precision": "float32"})
    (data / "red" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0.png: .*empty"):
        result.predictor.predict(data)
    with pytest.raises(InputError, match="the model takes 3x12x12"):
        result.predictor.predict(np.zeros((2, 1, 12, 12), np.float32))
    with pytest.raises(InputError, match="NaN"):
        result.predictor.predict(np.full((1, 3, 12, 12), np.nan, np.float32))


def test_python_refuses_settings_beside_an_experiment(tmp_path: Path) -> None:
    ready = Experiment.from_settings({"data": {"path": "x"}})
    with pytest.raises(InputError, match=r"train\(training=...\): the experiment has its settings"):
        striate.train(ready, tmp_path / "run", training={"steps": 3})


def test_what_the_command_trains_python_reloads(tmp_path: Path) -> None:
    data = make_images(tmp_path / "photos", 4)
    done("train", data, "--out", tmp_path / "run", *SHORT)
    records = striate.load(tmp_path / "run").predict(data / "red" / "*.png")
    assert len(records) == 4
    assert set(records[0]) == {"name", "class", "probability", "top"}


def test_the_package_is_cheap_to_import_and_says_what_it_has() -> None:
    assert set(striate.__all__) <= set(dir(striate))
    with pytest.raises(AttributeError, match="it has"):
        _ = striate.no_such_name


def test_evaluating_on_the_data_of_training_prepares_nothing_again(tmp_path: Path) -> None:
    for data in (make_images(tmp_path / "photos", 4), make_arrays(tmp_path / "signals.npz")):
        run, cache = tmp_path / f"{data.stem}_run", tmp_path / "cache"
        done("train", data, "--out", run, *SHORT, "--cache", cache)
        outcome = done("evaluate", run, data, "--cache", cache)
        assert "preparing" not in outcome.err
        assert "note: the model was trained on samples of this data" in outcome.err
