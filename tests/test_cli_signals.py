"""Commands among terminals, pipes and signals: progress, Ctrl-C, SIGTERM, readers that go away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import striate.cli.train as train_command
from command import SHORT, done, make_arrays, make_images, make_table, refused, run
from striate.cli.say import progress_lines
from striate.recipes.folder import PLAN_NAME


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


def start(*words: object) -> "subprocess.Popen[str]":
    """``striate WORDS...`` as a process of its own."""
    command = [sys.executable, "-m", "striate", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_progress_off_a_terminal_tells_the_time_left() -> None:
    now, lines = [0.0], []
    show = progress_lines(lines.append, lambda: now[0])
    for done_ in range(1, 102):
        now[0] += 0.5 if done_ <= 51 else 40.0
        show(done_, 101, "loss 1")
    show(1, 7, "preparing")
    assert lines[0] == "  1/101  loss 1"
    assert lines[1] == "  11/101  45 s left  loss 1"
    assert lines[6].startswith("  52/101")
    assert " min " in lines[6]
    assert len([line for line in lines if "/101" in line]) == 6 + 50
    assert lines[-2:] == ["  101/101  loss 1", "  1/7  preparing"]


def test_progress_on_a_terminal_is_a_bar(place: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    words = ["train", str(place / "signals.csv"), "--out", str(tmp_path / "run"), *map(str, SHORT)]
    command = [sys.executable, "-m", "striate", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how a terminal ends on Linux
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.stdout is not None
    assert b"model: " in process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0
    assert b"12/12" in shown
    assert b"loss" in shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_continue(
    place: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start("train", place / "signals.csv", "--out", tmp_path / "run", "--steps", 1_000_000, "--threads", 1)
    assert process.stderr is not None
    for line in process.stderr:
        if "/1,000,000" in line:
            process.send_signal(number)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    told = [line for line in err.splitlines() if line.startswith("striate: ")]
    assert told == [err.splitlines()[-1]]
    assert told[0].endswith(f"checkpoint written; continue with: striate train --resume {tmp_path}/run")
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*.safetensors"))) == 1
    assert "finish the run" in refused("predict", tmp_path / "run", place / "signals.csv")


def test_an_interrupt_outside_the_steps_says_how_to_go_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import striate.recipes.run as recipe

    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)  # in this thread: another would be a moment late

    assert train_command.PLAN_NAME == PLAN_NAME
    data, out = place / "signals.csv", tmp_path / "run"
    monkeypatch.setattr(recipe, "open_source", interrupt)
    early = run("train", data, "--out", out, *SHORT)
    assert (early.code, early.err.splitlines()[-1]) == (143, "striate: stopped; no step was taken; type it again")
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "write_report", interrupt)
    late = run("train", data, "--out", out, *SHORT)
    assert late.code == 143
    assert late.err.splitlines()[-1] == f"striate: stopped; continue with: striate train --resume {out}"
    monkeypatch.undo()
    done("train", "--resume", out)
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")]
)
def test_a_signal_to_another_command_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, line: str
) -> None:
    import striate.inference.predictor as predictor

    monkeypatch.setattr(predictor, "load", lambda path: signal.raise_signal(number))
    outcome = run("predict", place / "signal_run", place / "signals.csv")
    assert (outcome.code, outcome.err) == (code, f"striate: {line}\n")


def test_a_reader_that_goes_away_is_no_error(place: Path) -> None:
    process = start("predict", place / "signal_run", *[place / "signals.csv"] * 200)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith("name,class")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert "Traceback" not in err
    assert "Exception" not in err


def test_a_full_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "striate", "inspect", "mnist1d_conv"]
        outcome = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("striate: ")
    assert "Traceback" not in outcome.stderr
