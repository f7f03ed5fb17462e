"""Full disks, cut shards, changed data, taken folders, bad settings: one line, and the last good state stays."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command import SHORT, contents, done, make_arrays, make_images, make_table, refused
from striate.core import modelfile
from striate.training import checkpoint

NETWORK = ("--arch", "mnist1d_conv")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound data and a run on each kind, to be copied or pointed at, never changed."""
    folder = tmp_path_factory.mktemp("sound")
    make_table(folder / "signals.csv")
    make_images(folder / "photos")
    done("train", folder / "signals.csv", "--out", folder / "signal_run", *SHORT, *NETWORK)
    done("train", folder / "photos", "--out", folder / "photo_run", *SHORT)
    return folder


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: the kernel itself refuses the write, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_preparing_leaves_nothing_half_made(home: Path, tmp_path: Path) -> None:
    with full_disk(4096):
        line = refused("prepare", home / "photos", "--out", tmp_path / "shards")
    assert "the disk is full" in line
    assert {path.name for path in (tmp_path / "shards").iterdir()} <= {"lock"}
    done("prepare", home / "photos", "--out", tmp_path / "shards")


def test_a_full_disk_while_checkpointing_leaves_the_last_good_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[training]\ncheckpoint_every = 4\n")
    words = ("train", home / "signals.csv", "--settings", settings, *SHORT, *NETWORK, "--out")
    real = checkpoint.save

    def second_fails(folder: Path, step: int, *rest: object) -> Path:
        with full_disk(4096 if step == 8 else resource.RLIM_INFINITY):
            return real(folder, step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", second_fails)
    line = refused(*words, tmp_path / "run")
    monkeypatch.undo()
    assert "step-00000008.safetensors: the disk is full" in line
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [4]
    done("train", "--resume", tmp_path / "run")
    done(*words, tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def weights(folder: Path) -> str:
    return modelfile.weights_sha256(modelfile.load(folder / "model.safetensors").weights)


def test_a_full_disk_while_writing_the_model_is_mended_by_resuming(home: Path, tmp_path: Path) -> None:
    words = ("train", home / "photos", *SHORT, "--cache", tmp_path / "cache", "--out")
    done(*words, tmp_path / "whole")
    with full_disk(300_000):
        assert "the disk is full" in refused(*words, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    done("train", "--resume", tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_a_full_disk_while_predicting_leaves_no_half_file(home: Path, tmp_path: Path) -> None:
    with full_disk(1000):
        line = refused("predict", home / "photo_run", home / "photos", "--out", tmp_path / "a.csv")
    assert f"{tmp_path}/a.csv" in line
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_shard_is_named(home: Path, tmp_path: Path) -> None:
    words = ("train", home / "photos", *SHORT, "--cache", tmp_path / "cache", "--out")
    done(*words, tmp_path / "first")
    shard = next((tmp_path / "cache").rglob("shard-*.bin"))
    os.truncate(shard, shard.stat().st_size // 2)
    line = refused(*words, tmp_path / "second")
    assert str(shard) in line
    assert str(shard) in refused("train", "--resume", tmp_path / "first")


def test_changed_data_is_refused_on_resume(tmp_path: Path) -> None:
    path = make_arrays(tmp_path / "signals.npz")
    done("train", path, "--out", tmp_path / "run", *SHORT, *NETWORK)
    before = contents(tmp_path / "run")
    make_arrays(path, count=62)
    line = refused("train", "--resume", tmp_path / "run")
    assert str(path) in line
    assert "not what this run began with" in line
    assert contents(tmp_path / "run") == before


def test_two_runs_do_not_share_a_folder(home: Path, tmp_path: Path) -> None:
    words = ("train", home / "signals.csv", *SHORT, *NETWORK, "--out", tmp_path / "run")
    with checkpoint.hold(tmp_path / "run"):
        assert "another run (process" in refused(*words)
    done(*words)
    before = contents(tmp_path / "run")
    line = refused(*words)
    assert "already holds a run" in line
    assert "--resume" in line
    assert contents(tmp_path / "run") == before


def test_a_damaged_plan_or_checkpoint_is_named_or_stepped_over(home: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[training]\ncheckpoint_every = 6\n")
    done("train", home / "signals.csv", *SHORT, *NETWORK, "--settings", settings, "--out", tmp_path / "run")
    before = weights(tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-00000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    outcome = done("train", "--resume", tmp_path / "run")
    assert f"{newest}: damaged" in outcome.err
    assert weights(tmp_path / "run") == before
    plan = tmp_path / "run" / "experiment.json"
    for text in ("", "{", "[]", '{"kind": "run_plan"}', plan.read_text().replace('"steps"', '"stps"')):
        plan.write_text(text)
        assert str(plan) in refused("train", "--resume", tmp_path / "run")


def test_the_folder_of_a_run_must_be_one_that_can_be(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/run")):
        assert str(folder) in refused("train", home / "signals.csv", *SHORT, "--out", folder)
    assert (tmp_path / "file").read_text() == "mine"
    assert "other files" in refused("prepare", home / "photos", "--out", tmp_path)


def test_an_unknown_key_in_a_settings_file_names_its_line(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[data]\n# comment\n\n[training]\nsteps = 4\nepoch = 3\n")
    line = refused("train", home / "signals.csv", "--settings", path, "--out", tmp_path / "run")
    assert line.startswith(f"striate: {path}:6: training.epoch: unknown key; did you mean epochs?")
    for bad in (tmp_path / "missing.toml", tmp_path, Path("/dev/zero"), home / "photos" / "red" / "1.png"):
        assert str(bad) in refused("train", home / "signals.csv", "--settings", bad, "--out", tmp_path / "run")
