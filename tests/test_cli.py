"""The commands as a user types them: what they leave, print, and say; options and help."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import SHORT, done, make_arrays, make_images, make_table, picture, refused, run
from striate.recipes.folder import PLAN_NAME

COMMANDS = ("demo", "prepare", "train", "evaluate", "predict", "inspect")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with signals as CSV and NPZ, images in class folders, and a run trained on each kind."""
    folder = tmp_path_factory.mktemp("commands")
    make_table(folder / "signals.csv")
    make_arrays(folder / "signals.npz")
    make_images(folder / "photos")
    done("train", folder / "signals.csv", "--out", folder / "signal_run", *SHORT, "--arch", "mnist1d_conv")
    done("train", folder / "photos", "--out", folder / "photo_run", *SHORT)
    return folder


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    text = " ".join(done(command, "--help").out.split())
    assert f"Example: striate {command}" in text
    assert text == " ".join(done(command, "-h").out.split())


def test_no_word_at_all_shows_the_help() -> None:
    assert done().out == done("--help").out
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", done().out)


def test_help_and_the_first_errors_do_not_import_torch() -> None:
    code = (
        "import sys\nfrom striate.cli.main import main\n"
        "for words in (['--help'], ['train', '--help'], ['train'], ['train', 'x'], ['nope'], ['--version']):\n"
        "    sys.argv = ['striate', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_version_is_the_packages() -> None:
    import striate

    assert done("--version").out == f"{striate.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_are_errors(command: str) -> None:
    outcome = run(command, "--no-such-option", "x", "y")
    assert outcome.code == 2
    assert re.fullmatch(rf"striate: .*--no-such-option.*; see striate {command} --help\n", outcome.err)


def test_unknown_commands_and_bad_values_are_one_line() -> None:
    assert "frobnicate" in refused("frobnicate")
    assert "--epochs" in refused("train", "x", "--epochs", "many")
    assert "--epochs" in refused("train", "x", "--epoch", "3")
    assert "--seeds" in refused("demo", "--seeds", "0")
    assert "MODEL" in refused("predict")


def test_training_without_a_word_says_what_to_type() -> None:
    assert "striate train DATA --out RUN" in refused("train")
    assert "--out RUN" in refused("train", "data")


def test_a_run_leaves_model_and_report_and_says_so(place: Path) -> None:
    for name in ("signal_run", "photo_run"):
        assert (place / name / "model.safetensors").stat().st_size > 1000
        assert "<html" in (place / name / "report.html").read_text()[:1000]


def test_training_keeps_results_and_progress_apart(place: Path, tmp_path: Path) -> None:
    outcome = done("train", place / "signals.npz", "--out", tmp_path / "run", *SHORT)
    assert re.search(r"^val: top1 [01]\.\d{4} on \d+ samples$", outcome.out, re.MULTILINE)
    assert f"model: {tmp_path}/run/model.safetensors\n" in outcome.out
    assert f"report: {tmp_path}/run/report.html\n" in outcome.out
    assert len(outcome.out.splitlines()) == 3
    last = outcome.err.splitlines()[-1]
    assert re.search(r"12/12 .*loss \d.* val/top1 \d.* rate \d.* steps/s", last)


def test_evaluating_prints_one_object_with_plain_names(place: Path) -> None:
    outcome = done("evaluate", place / "photo_run", place / "photos", "--json")
    found = json.loads(outcome.out)
    assert outcome.out.count("\n") == 1
    assert 0 <= found["top1"] <= 1 and "top5" not in found  # of two classes it is always 1
    low, high = found["top1_interval"]
    assert low <= found["top1"] <= high and low < high
    assert found["count"] == 24
    assert found["classes"] == ["blue", "red"]
    for name in ("precision", "recall", "f1", "support"):
        assert len(found[name]) == 2
    assert np.array(found["confusion"]).sum() == 24
    assert {"expected_calibration_error", "negative_log_likelihood", "split", "model", "data"} <= found.keys()
    assert "24 images" in outcome.err


def test_evaluating_for_people_prints_tables(place: Path) -> None:
    text = done("evaluate", place / "photo_run" / "model.safetensors", place / "photos").out
    assert re.search(r"^top1 +[01]", text, re.MULTILINE)
    assert re.search(r"^blue +", text, re.MULTILINE)


def test_a_split_that_is_not_there_is_refused_before_preparing(place: Path) -> None:
    line = refused("evaluate", place / "photo_run", place / "photos", "--split", "test")
    assert "no split 'test'; choose one of: all" in line


def test_inspecting_prints_the_figures_for_scripts() -> None:
    found = json.loads(done("inspect", "resnet18", "--input", "3x224x224", "--json").out)
    assert found["parameters"] == 11_689_512
    assert found["multiply_adds"] == 1_814_073_344
    assert all("receptive_field" in layer for layer in found["layers"])


def test_inspecting_a_run_is_inspecting_its_model(place: Path) -> None:
    run_json = json.loads(done("inspect", place / "signal_run", "--json").out)
    file_json = json.loads(done("inspect", place / "signal_run" / "model.safetensors", "--json").out)
    assert run_json["layers"] == file_json["layers"]


def test_predicting_takes_files_folders_and_globs(place: Path) -> None:
    photos, model = place / "photos", place / "photo_run"
    assert [row["name"] for row in table(done("predict", model, photos / "red" / "1.png").out)] == [
        str(photos / "red" / "1.png")
    ]
    whole = done("predict", model, photos)
    assert len(table(whole.out)) == 24
    assert "24 predicted, 0 skipped" in whole.err
    assert {row["class"] for row in table(whole.out)} <= {"blue", "red"}
    some = table(done("predict", model, photos / "*" / "1*.png", photos / "blue").out)
    assert len(some) == 6 + 12
    assert all(Path(row["name"]).is_file() for row in some)


def test_predicting_takes_tables_and_arrays_with_or_without_labels(place: Path, tmp_path: Path) -> None:
    model = place / "signal_run"
    labelled = table(done("predict", model, place / "signals.csv").out)
    text = (place / "signals.csv").read_text().splitlines()
    (tmp_path / "bare.csv").write_text("\n".join(line.partition(",")[2] for line in text) + "\n")
    bare = table(done("predict", model, tmp_path / "bare.csv").out)
    assert [row["probability"] for row in bare] == [row["probability"] for row in labelled]
    assert [row["name"].rpartition(":")[2] for row in bare] == [row["name"].rpartition(":")[2] for row in labelled]
    np.savez(tmp_path / "bare.npz", x=np.load(place / "signals.npz")["x"])
    arrays = [table(done("predict", model, path).out) for path in (place / "signals.npz", tmp_path / "bare.npz")]
    assert [row["class"] for row in arrays[0]] == [row["class"] for row in arrays[1]]
    assert len(arrays[0]) == 60


def test_predictions_are_the_same_as_csv_and_json_lines(place: Path, tmp_path: Path) -> None:
    model, photos = place / "photo_run", place / "photos"
    done("predict", model, photos, "--out", tmp_path / "answers.csv")
    done("predict", model, photos, "--out", tmp_path / "answers.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    rows = table((tmp_path / "answers.csv").read_text())
    assert list(rows[0]) == ["name", "class", "probability", "top"] == list(lines[0])
    assert [(row["name"], row["class"], float(row["probability"]), json.loads(row["top"])) for row in rows] == [
        (line["name"], line["class"], line["probability"], line["top"]) for line in lines
    ]
    assert done("predict", model, photos, "--form", "jsonl").out == (tmp_path / "answers.jsonl").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "answers.jsonl"]


def test_tags_are_predicted_one_column_a_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 2, (40, 3))
    np.savez(tmp_path / "tags.npz", x=rng.normal(size=(40, 1, 24)).astype(np.float32), y=tags, classes=["a", "b", "c"])
    done("train", tmp_path / "tags.npz", "--out", tmp_path / "run", *SHORT, "--arch", "mnist1d_conv")
    row = table(done("predict", tmp_path / "run", tmp_path / "tags.npz").out)[0]
    assert list(row) == ["name", "tags", "probabilities.a", "probabilities.b", "probabilities.c"]
    assert isinstance(json.loads(row["tags"]), list)
    np.savez(tmp_path / "single.npz", x=np.zeros((4, 1, 24), np.float32), y=[0, 1, 0, 1])
    line = refused("evaluate", tmp_path / "run", tmp_path / "single.npz")
    assert "is not what the model's task, multi_label_classification, learns" in line


def test_predicting_skips_counts_and_lists(place: Path, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "new", 2)
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = done("predict", place / "photo_run", folder, tmp_path / "new" / "red" / "broken.png")
    assert len(table(outcome.out)) == 4
    assert "4 predicted, 2 skipped" in outcome.err
    assert outcome.err.count("broken.png: ") == 2


def test_predicting_never_replaces_an_input(place: Path, tmp_path: Path) -> None:
    path = make_table(tmp_path / "signals.csv")
    before = path.read_bytes()
    assert "inputs" in refused("predict", place / "signal_run", path, "--out", path)
    model = tmp_path / "model.safetensors"
    model.write_bytes((place / "signal_run" / model.name).read_bytes())
    assert "inputs" in refused("predict", model, path, "--out", model, "--form", "csv")
    assert path.read_bytes() == before


def test_an_answer_file_that_cannot_be_written_is_named(place: Path, tmp_path: Path) -> None:
    model, data = place / "signal_run", place / "signals.csv"
    assert "nowhere/x.csv" in refused("predict", model, data, "--out", tmp_path / "nowhere" / "x.csv")
    assert "parquet" in refused("predict", model, data, "--out", tmp_path / "x.parquet")
    assert "ordinary file" in refused("predict", model, data, "--out", tmp_path, "--form", "csv")
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf8_survive(place: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    picture(tmp_path / "x.png").rename(tmp_path / name)
    rows = table(done("predict", place / "photo_run", tmp_path / name).out)
    assert rows[0]["name"] == str(tmp_path / name)


def test_seed_zero_and_other_falsy_values_count_as_given(place: Path, tmp_path: Path) -> None:
    data = place / "signals.npz"
    done("train", data, "--out", tmp_path / "run", *SHORT, "--validation", 0, "--smoothing", 0)
    plan = json.loads((tmp_path / "run" / PLAN_NAME).read_text())
    assert plan["data"]["validation"] == 0
    for option, value in (("--seed", 0), ("--validation", 0), ("--smoothing", 0), ("--clip", 0)):
        assert option in refused("train", "--resume", tmp_path / "run", option, value)
    for flag in ("--balance", "--no-augment"):
        assert flag in refused("train", "--resume", tmp_path / "run", flag)


def test_values_out_of_range_name_the_option(place: Path, tmp_path: Path) -> None:
    for option, value in (
        ("--size", 0),
        ("--validation", 1.5),
        ("--epochs", -1),
        ("--steps", 0),
        ("--batch", 0),
        ("--clip", 0),
        ("--seed", -1),
        ("--patience", 0),
        ("--threads", 0),
        ("--precision", "float8"),
        ("--optimiser", "sdg"),
        ("--schedule", "never"),
    ):
        assert refused("train", place / "signals.csv", "--out", tmp_path / "r", option, value).startswith(
            f"striate: {option}: "
        )
    assert "use one of: adamw, sgd" in refused("train", "x", "--out", tmp_path / "r", "--optimiser", "sdg")
    assert not (tmp_path / "r").exists()


def test_an_unknown_architecture_is_refused_before_anything_is_prepared(place: Path, tmp_path: Path) -> None:
    line = refused("train", place / "photos", "--out", tmp_path / "r", "--arch", "resnet19")
    assert "did you mean resnet18" in line
    line = refused("train", place / "photos", "--out", tmp_path / "r", "--arch", "resnet18", "--set", "width=3")
    assert "use one of" in line
    assert not (tmp_path / "r").exists()


def test_preparing_prints_what_it_made_and_is_found_again(place: Path, tmp_path: Path) -> None:
    first = done("prepare", place / "photos", "--out", tmp_path / "shards", "--size", 8)
    assert "24" in first.out
    again = done("prepare", place / "photos", "--out", tmp_path / "shards", "--size", 8)
    assert again.out == first.out
    assert "preparing" not in again.err


def test_images_of_every_form_are_predicted_by_the_documented_rules(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "forms"
    for name, mode in (("cmyk.tiff", "CMYK"), ("grey.png", "L"), ("one.png", "1"), ("palette.png", "P")):
        picture(folder / name, (190, 0, 0), mode=mode)
    Image.fromarray(np.full((12, 12), 40000, np.uint16)).save(folder / "deep.png")
    frames = [Image.new("RGB", (12, 12), (value, 0, 0)) for value in (200, 0)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    picture(folder / "alpha.png", (190, 0, 0), mode="RGBA")
    picture(folder / "photo.jpg", (190, 0, 0))
    outcome = done("predict", place / "photo_run", folder)
    assert "9 predicted, 0 skipped" in outcome.err  # of the animation both frames
