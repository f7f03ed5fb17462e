"""``striate check``: what it prints, its exit codes, its page, its JSON; and the brief look before a training."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import done, refused, run


def squares(folder: Path, count: int = 14) -> Path:
    """Two classes of small noisy images in class folders."""
    generator = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            values = generator.integers(0, 120, (40, 40, 3)) + (120 if name == "light" else 0)
            Image.fromarray(values.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_a_sound_set_ends_with_zero_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = done("check", squares(tmp_path / "data"))
    assert "28 samples (all 28), 2 classes, format image folder" in outcome.out
    assert "network: small_images" in outcome.out and "timed: " in outcome.out
    assert "0 errors" in outcome.out
    page = (tmp_path / "check-data.html").read_text()
    assert "Before training: this data and the network" in page


def test_errors_in_the_data_end_with_three_and_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = squares(tmp_path / "data")
    (data / "dark" / "0.png").write_bytes((data / "dark" / "1.png").read_bytes()[:200])
    outcome = run("check", data, "--no-steps")
    assert outcome.code == 3
    assert "truncated" in outcome.out and "dark/0.png" in outcome.out


def test_json_is_json_and_writes_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = json.loads(done("check", squares(tmp_path / "data"), "--json", "--no-steps").out)
    assert found["samples"] == 28 and found["preflight"]["network"] == "small_images"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_page_of_ours_is_written_over_and_nothing_else(tmp_path: Path) -> None:
    data, page = squares(tmp_path / "data"), tmp_path / "page.html"
    page.write_text("my own page")
    assert "no page of striate" in refused("check", data, "--no-steps", "--page", page)
    assert page.read_text() == "my own page"
    page.unlink()
    done("check", data, "--no-steps", "--page", page)
    done("check", data, "--no-steps", "--page", page)


def test_an_unknown_architecture_or_target_is_one_line(tmp_path: Path) -> None:
    data = squares(tmp_path / "data")
    assert "there is no such architecture" in refused("check", data, "--arch", "resnet1800", "--json")
    assert "target" in refused("check", data, "--target", "everything", "--json")


def test_a_corrected_copy_is_written_and_the_data_left_alone(tmp_path: Path) -> None:
    data = squares(tmp_path / "data")
    (data / "dark" / "again.png").write_bytes((data / "dark" / "1.png").read_bytes())
    before = sorted(path.name for path in data.rglob("*"))
    outcome = done("check", data, "--json", "--no-steps", "--fix", tmp_path / "fixed")
    assert any(one["code"] == "duplicate" for one in json.loads(outcome.out)["findings"])
    assert sorted(path.name for path in data.rglob("*")) == before
    assert len(list((tmp_path / "fixed").rglob("*.png"))) == 28


def test_a_training_begins_with_a_brief_look(tmp_path: Path) -> None:
    data = squares(tmp_path / "data")
    (data / "light" / "wrong.png").write_bytes((data / "dark" / "1.png").read_bytes())
    outcome = done("train", data, "--out", tmp_path / "run", "--steps", "2", "--cache", tmp_path / "cache")
    assert "check: error: " in outcome.err and "same sample with different labels" in outcome.err
