"""``striate runs``: a table of runs, the best first, damaged ones named; and two of them side by side."""

import json
import shutil
from pathlib import Path

import pytest

from command import SHORT, contents, done, make_table, refused
from striate.core.errors import InputError
from striate.recipes.runs import find_runs, read_run
from striate.recipes.runs_compared import compare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, one of them below another folder."""
    home = tmp_path_factory.mktemp("runs")
    table = make_table(home / "waves.csv")
    words = ("train", table, "--cache", home / "cache", "--arch", "mnist1d_conv", *SHORT)
    done(*words, "--out", home / "runs" / "slow", "--rate", 1e-6)
    done(*words, "--out", home / "runs" / "deep" / "fast", "--rate", 0.05, "--seed", 3)
    return home / "runs"


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "runs"))


def test_runs_are_listed_the_best_first_with_what_they_were(folder: Path) -> None:
    before = contents(folder)
    found = json.loads(done("runs", folder, "--json").out)
    best = found[0]
    assert Path(best["folder"]).name == "fast" and len(found) == 2
    assert (best["task"], best["network"], best["steps"], best["seed"]) == ("classification", "mnist1d_conv", 12, 3)
    assert best["state"] == "finished" and best["headline"] == "top1" and best["parameters"] > 100
    assert best["figures"]["val"]["top1"] >= found[1]["figures"]["val"]["top1"]
    assert best["settings"]["training.optimiser.rate"] == 0.05
    assert contents(folder) == before, "looking changes nothing"


def test_the_table_names_every_run(folder: Path) -> None:
    lines = done("runs", folder).out.splitlines()
    assert lines[0].split()[:3] == ["folder", "task", "network"]
    assert "fast" in lines[2] and "slow" in lines[3] and lines[2].endswith("finished")


def test_unfinished_and_damaged_runs_are_listed_as_such(copied: Path) -> None:
    (copied / "slow" / "model.safetensors").unlink()
    (copied / "deep" / "fast" / "model.safetensors").write_bytes(b"\x08")
    (copied / "plan").mkdir()
    (copied / "plan" / "experiment.json").write_text("{")
    (copied / "begun").mkdir()
    shutil.copy(copied / "slow" / "experiment.json", copied / "begun")
    before = contents(copied)
    found = {run.folder.name: run for run in find_runs(copied)}
    assert (found["slow"].state, found["slow"].steps) == ("unfinished", 12)
    assert found["slow"].headline is not None, "its last validation is in the checkpoint"
    assert (found["begun"].state, found["begun"].steps, found["begun"].headline) == ("unfinished", 0, None)
    assert found["fast"].state == "damaged" and found["fast"].cause.startswith("model.safetensors: ")
    assert found["plan"].state == "damaged" and "experiment.json" in found["plan"].cause
    assert [*found][-1] == "plan"
    table = done("runs", copied).out
    assert "damaged: experiment.json" in table and "unfinished" in table
    assert contents(copied) == before


def test_a_damaged_checkpoint_is_passed_over_and_left_alone(copied: Path) -> None:
    (copied / "slow" / "model.safetensors").unlink()
    place = copied / "slow" / "checkpoints"
    (place / "step-00000099.safetensors").write_bytes(b"\x08")
    assert read_run(copied / "slow").steps == 12
    for path in place.iterdir():
        path.write_bytes(b"\x08")
    assert read_run(copied / "slow").state == "damaged"


def test_two_runs_side_by_side(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "compared.html"
    one, other = folder / "slow", folder / "deep" / "fast"
    out = done("runs", one, other, "--report", page).out
    rows = [line.split() for line in out.splitlines()]
    assert ["training.seed", "0", "3"] in rows
    assert ["training.optimiser.rate", "1e-06", "0.05"] in rows
    assert not any(row and row[0] == "training.batch" for row in rows), "only what differs"
    assert any(row[:2] == ["val", "top1"] for row in rows)
    text = page.read_text()
    assert "Training loss" in text and "slow" in text and "fast" in text
    found = json.loads(done("runs", one, other, "--json").out)
    assert set(found["differ"]) == {"training.seed", "training.optimiser.rate"} and len(found["runs"]) == 2


def test_the_same_run_twice_has_the_same_settings(folder: Path) -> None:
    assert "the settings are the same" in done("runs", folder / "slow", folder / "slow").out


def test_bad_input_is_one_line(folder: Path, copied: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in refused("runs", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no run lies in it" in refused("runs", tmp_path / "empty")
    assert "one folder or two runs" in refused("runs", folder, folder, folder)
    assert "two were not named" in refused("runs", folder, "--report", tmp_path / "page.html")
    assert "holds no run" in refused("runs", folder, folder / "slow")
    (copied / "slow" / "experiment.json").write_text("{")
    with pytest.raises(InputError, match="cannot be compared"):
        compare(read_run(copied / "slow"), read_run(folder / "slow"))
