"""A run from data to model: trained, evaluated, reloaded, resumed bit for bit, stopped by signals or bad numbers."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.cli.main import main
from striate.core import modelfile
from striate.core.errors import InputError
from striate.inference.evaluate import evaluate
from striate.inference.predictor import load
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.training.interruption import Interrupted

BASE = {"task": {"options": {"label_smoothing": 0.05}}, "architecture": {"name": "mnist1d_conv"}}


@pytest.fixture
def signals(tmp_path: Path) -> Path:
    """200 noisy signals of two shapes, as NPZ."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    values = rng.normal(0, 0.3, (200, 40)) + np.where(labels[:, None] == 0, np.sin(np.arange(40) / 3), 0.0)
    path = tmp_path / "signals.npz"
    np.savez(path, x=values.astype(np.float32), y=labels)
    return path


def experiment(data: Path, **training: object) -> Experiment:
    """A short training of the smallest network."""
    fields = {"steps": 40, "batch": 16, "precision": "float32", "validate_every": 10, **training}
    return Experiment.from_settings(
        {**BASE, "data": {"path": str(data), "cache": str(data.parent / "cache")}, "training": fields}
    )


def sha(folder: Path) -> str:
    """Digest of the weights a run has left."""
    return modelfile.weights_sha256(modelfile.load(folder / "model.safetensors").weights)


def test_a_run_leaves_a_model_that_answers_as_it_was_measured(signals: Path, tmp_path: Path) -> None:
    result = train_experiment(experiment(signals), tmp_path / "run")
    assert result.figures["val"]["top1"] > 0.9
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    again = evaluate(tmp_path / "run", signals, cache=tmp_path / "cache")
    records = load(tmp_path / "run").predict(signals)
    labels = np.load(signals)["y"]
    right = np.mean([int(record["class"]) == label for record, label in zip(records, labels, strict=True)])
    assert again.figures["top1"] == pytest.approx(right)


def test_equal_settings_give_equal_weights_and_another_seed_others(signals: Path, tmp_path: Path) -> None:
    runs = {"a": {}, "b": {}, "c": {"seed": 1}}
    for name, changes in runs.items():
        train_experiment(experiment(signals, **changes), tmp_path / name)
    assert sha(tmp_path / "a") == sha(tmp_path / "b") != sha(tmp_path / "c")


@pytest.mark.parametrize("optimiser", [{"kind": "sgd", "rate": 0.05}, {"kind": "adamw", "rate": 0.002}])
def test_resuming_continues_bit_for_bit(
    signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimiser: dict[str, object]
) -> None:
    train_experiment(experiment(signals, optimiser=optimiser), tmp_path / "whole")

    def stop_at(done: int, total: int, seen: str) -> None:
        if done >= 17 and total == 40:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        train_experiment(experiment(signals, optimiser=optimiser, checkpoint_seconds=0), tmp_path / "cut", show=stop_at)
    assert stopped.value.exit_code == 143
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    result = resume_run(tmp_path / "cut")
    assert result.history.step == 40
    assert sha(tmp_path / "cut") == sha(tmp_path / "whole")


def test_a_finished_run_resumes_to_the_same_weights(signals: Path, tmp_path: Path) -> None:
    train_experiment(experiment(signals), tmp_path / "run")
    before = sha(tmp_path / "run")
    resume_run(tmp_path / "run")
    assert sha(tmp_path / "run") == before


def test_early_stopping_keeps_the_best_weights(signals: Path, tmp_path: Path) -> None:
    settings = {"steps": 400, "patience": 2, "validate_every": 5, "optimiser": {"kind": "sgd", "rate": 0.02}}
    result = train_experiment(experiment(signals, **settings), tmp_path / "run")
    assert result.history.stopped_early
    assert result.history.step < 400
    assert result.figures["val"]["top1"] == pytest.approx(result.history.best)


def test_a_loss_that_is_not_finite_stops_and_names_the_step(signals: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"step \d+.*checkpoint"):
        train_experiment(experiment(signals, rate=1e30, schedule={"kind": "constant"}), tmp_path / "run")


def test_a_folder_with_a_run_is_refused(signals: Path, tmp_path: Path) -> None:
    train_experiment(experiment(signals), tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run"):
        train_experiment(experiment(signals), tmp_path / "run")


def test_changed_data_is_refused_on_resume(signals: Path, tmp_path: Path) -> None:
    train_experiment(experiment(signals), tmp_path / "run")
    held = dict(np.load(signals))
    held["x"][0, 0] += 1
    np.savez(signals, **held)
    with pytest.raises(InputError, match="not what this run began with"):
        resume_run(tmp_path / "run")


def test_resuming_where_no_run_is_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to resume"):
        resume_run(tmp_path)


def test_the_split_that_was_made_is_recorded(signals: Path, tmp_path: Path) -> None:
    train_experiment(experiment(signals), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "split.json").read_text())
    assert record["validation_made_here"]
    assert len(record["splits"]["val"]) == 20
    assert not set(record["splits"]["val"]) & set(record["splits"]["train"])


def test_multi_label_data_trains_with_the_same_call(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 2, (160, 3)).astype(np.float32)
    values = rng.normal(0, 0.1, (160, 3, 24)).astype(np.float32) + tags[:, :, None]
    np.savez(tmp_path / "tags.npz", x=values, y=tags)
    settings = {
        **BASE,
        "task": {},
        "data": {"path": str(tmp_path / "tags.npz"), "cache": str(tmp_path / "c"), "options": {"multi_label": True}},
    }
    settings["training"] = {"steps": 60, "batch": 16, "precision": "float32"}
    result = train_experiment(Experiment.from_settings(settings), tmp_path / "run")
    assert result.predictor.task.kind == "multi_label_classification"
    assert result.figures["val"]["mean_average_precision"] > 0.9


def test_class_weights_of_a_balanced_run_are_inverse_frequencies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 90 + [1] * 30)
    np.savez(tmp_path / "few.npz", x=rng.normal(size=(120, 40)).astype(np.float32), y=labels)
    given = experiment(tmp_path / "few.npz", steps=2)
    given = given.replace(task=given.task.replace(options={"balance": True}))
    weights = train_experiment(given, tmp_path / "run").plan.task.class_weights
    assert weights[1] / weights[0] == pytest.approx(3.0)


@pytest.mark.slow
def test_ten_random_kills_end_in_equal_weights(signals: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    flags = [str(signals), "--arch", "mnist1d_conv", "--cache", cache, "--precision", "float32", "--batch", "16"]
    settings = tmp_path / "settings.toml"
    settings.write_text("[training]\nsteps = 1500\ncheckpoint_every = 50\nvalidate_every = 100\nthreads = 1\n")
    train = ["train", *flags, "--settings", str(settings), "--out"]
    subprocess.run([sys.executable, "-m", "striate", *train, str(tmp_path / "whole")], check=True, capture_output=True)
    rng, kills, cut, log = np.random.default_rng(5), 0, tmp_path / "cut", tmp_path / "log"
    server = multiprocessing.get_context("forkserver")  # that the command imports its libraries is tried above
    server.set_forkserver_preload(["striate.cli.train", "striate.recipes.run"])
    for _ in range(60):
        resume = (cut / "experiment.json").exists()
        words = ["train", "--resume", str(cut)] if resume else [*train, str(cut)]
        process = server.Process(target=run_command, args=(words, log))
        process.start()
        if kills < 10:
            _wait_for_progress(process, cut, float(rng.uniform(0.0, 0.4)))
            process.kill()
        process.join(120)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, log.read_text()
        kills += 1
    assert kills == 10
    assert sha(cut) == sha(tmp_path / "whole")


def run_command(words: list[str], log: Path) -> None:
    """The command line, in the process that this is called in, with what it says in a file."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv[1:] = words
    main()


def _wait_for_progress(process: BaseProcess, folder: Path, more: float) -> None:
    """Until the process has written a checkpoint of its own, or ended; then a little longer."""
    before = set((folder / "checkpoints").glob("step-*")) if folder.exists() else set()
    end = time.monotonic() + 60
    while process.exitcode is None and time.monotonic() < end:
        if set((folder / "checkpoints").glob("step-*")) - before:
            break
        time.sleep(0.01)
    time.sleep(more)


def test_the_network_trained_is_the_network_reloaded(signals: Path, tmp_path: Path) -> None:
    result = train_experiment(experiment(signals), tmp_path / "run")
    inputs = torch.randn(5, 1, 40)
    live = result.predictor.decode(inputs)["probabilities"]
    assert torch.equal(live, load(tmp_path / "run").decode(inputs)["probabilities"])
