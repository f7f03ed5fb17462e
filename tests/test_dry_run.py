"""``--dry-run``: what a training would be, and no run."""

import re
from pathlib import Path

from command import contents, done, make_images, make_table, refused


def test_everything_is_said_and_nothing_but_the_cache_written(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    before = contents(tmp_path)
    words = ("train", table, "--cache", tmp_path / "cache", "--steps", 400, "--batch", 8, "--precision", "float32")
    outcome = done(*words, "--dry-run", "--out", tmp_path / "runs" / "a", "--accumulate", 2)
    after = {name: one for name, one in contents(tmp_path).items() if not name.startswith("cache")}
    assert after == before, "no run folder is made"
    lines = dict(line.split(": ", 1) for line in outcome.out.splitlines()[:-1])
    assert "2 classes; train 54, val 6" in lines["data"].replace("val 6, train 54", "train 54, val 6")
    place = next(line for line in outcome.out.splitlines() if line.startswith("prepared in: "))
    assert Path(place.removeprefix("prepared in: ")).is_dir() and str(tmp_path / "cache") in place
    assert "parameters" in lines["network"] and "multiply-adds a sample" in lines["network"]
    assert lines["training"].startswith("400 steps (59.3 epochs) of 8 samples in 2 parts, sgd at 0.1")
    assert lines["computed"].startswith("general step, float32, 1 thread")
    assert re.fullmatch(
        r"[\d.e-]+ s a step, [\d.e-]+ s a validation, of which there are 40: [\d.]+ (s|minutes) in all", lines["time"]
    )
    assert "MiB a step" in lines["memory"]
    assert "nothing was trained" in outcome.out


def test_what_the_doctor_finds_and_a_bad_option_are_said(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "photos")
    (folder / "red" / "broken.png").write_bytes(b"no picture")
    words = ("train", folder, "--cache", tmp_path / "cache", "--dry-run", "--steps", 3, "--precision", "float32")
    assert "check: " in done(*words).err
    assert "no row with weights" in refused(*words, "--freeze", "nowhere")


def test_a_folder_with_a_run_and_a_run_to_resume_are_refused(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--dry-run", "--steps", 3, "--precision", "float32")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_text("{}")
    assert "already holds a run" in refused(*words, "--out", tmp_path / "run")
    assert "--dry-run came too" in refused("train", "--resume", tmp_path / "run", "--dry-run")


def test_minutes_become_steps(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--arch", "mnist1d_conv", "--precision", "float32")
    outcome = done(*words, "--minutes", 0.03, "--dry-run")
    steps = re.search(r"length: ([\d,]+) steps", outcome.err)
    assert steps and f"training: {steps[1]} steps" in outcome.out
