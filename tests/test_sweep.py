"""Sweeps through the command: which trials there are, who goes on, and that the winner is a plain training's equal."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from command import contents, done, make_table, refused, run
from striate.core import modelfile
from striate.core.errors import InputError
from striate.recipes import sweep as sweeping
from striate.recipes.children import Child
from striate.recipes.sweep_settings import Range, Sweep, SweepSettings

HEAD = """\
[data]
path = "{data}"
[architecture]
name = "mnist1d_conv"
[training]
steps = 36
batch = 8
"""
HALVED = (
    HEAD
    + """\
[sweep]
"training.rate" = [0.3, 0.003, 0.1]
"architecture.options.channels" = [[4, 4, 4], [8, 8, 8]]
halving = 2
first = 0.25
"""
)

COMMAND = [sys.executable, "-W", "error", "-m", "striate", "sweep"]


def in_this_process(work: Sequence[Child], limit: int, show: Callable[[int, str], None]) -> list[int]:
    """What the training processes do, without the seconds that each takes to start."""
    codes = []
    for child in work:
        counter = multiprocessing.Value("q", 0)
        try:
            child.body(*child.arguments, counter)
            codes.append(0)
        except SystemExit as end:
            codes.append(int(end.code or 0))
        show(counter.value, child.name)
    return codes


@pytest.fixture(scope="module")
def here() -> Iterator[pytest.MonkeyPatch]:
    """Trainings in this process, without the reports of the single runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping, "run_children", in_this_process)
        patch.setattr("striate.recipes.run.write_report", lambda *parts: parts[-1].write_text("<html>"))
        yield patch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    make_table(folder / "signals.csv", count=80)
    return folder


def settings(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.write_text(text.replace("{data}", str(home / "signals.csv")))
    return path


@pytest.fixture(scope="module")
def halved(home: Path, here: pytest.MonkeyPatch) -> dict[str, Any]:
    """A sweep of six trials in three rungs, as its JSON."""
    file = settings(home, "halved.toml", HALVED)
    found: dict[str, Any] = json.loads(done("sweep", file, "--out", home / "halved", "--json").out)
    return found


def test_a_grid_is_every_combination_and_the_best_half_goes_on(halved: dict[str, Any], home: Path) -> None:
    assert len(halved["trials"]) == 6
    assert halved["shares"] == [0.25, 0.5, 1.0]
    rungs = [len(list((home / "halved" / "trials").glob(f"*-rung{rung}-*"))) for rung in (1, 2, 3)]
    assert rungs == [6, 3, 1]
    first = {}
    for folder in (home / "halved" / "trials").glob("*-rung1-*"):
        first[folder.name[:4]] = modelfile.read_header(folder / "model.safetensors")["metrics"]["val"]["top1"]
    went_on = {folder.name[:4] for folder in (home / "halved" / "trials").glob("*-rung2-*")}
    assert went_on == set(sorted(first, key=lambda number: (-first[number], number))[:3])


def test_the_best_is_first_and_test_figures_are_of_the_front_alone(halved: dict[str, Any]) -> None:
    figures = [trial["val"][0] for trial in halved["trials"]]
    assert figures == sorted(figures, reverse=True)
    assert halved["trials"][0]["trial"] == halved["best"]
    front = [trial for trial in halved["trials"] if trial["front"]]
    costs = sorted((trial["multiply_adds"], -trial["val"][0]) for trial in front)
    assert costs == sorted(costs, key=lambda one: -one[1]) and len({cost for cost, _ in costs}) == len(costs)
    for trial in halved["trials"]:
        beaten = any(
            other["multiply_adds"] <= trial["multiply_adds"] and other["val"][0] > trial["val"][0]
            for other in halved["trials"]
        )
        assert not (trial["front"] and beaten)
        assert (trial["test"] is None) == (not trial["front"] and trial["trial"] != halved["best"])


def test_the_winners_figures_are_those_of_a_plain_training(halved: dict[str, Any], home: Path) -> None:
    done("train", "--settings", home / "halved" / "best.toml", "--out", home / "plain")
    plain, swept = (modelfile.load(Path(one) / "model.safetensors") for one in (home / "plain", halved["folder"]))
    assert plain.metrics == swept.metrics
    assert modelfile.weights_sha256(plain.weights) == modelfile.weights_sha256(swept.weights)
    assert halved["command"] == f"striate train --settings {home / 'halved' / 'best.toml'} --out RUN"


def test_a_finished_sweep_trains_nothing_again_and_says_the_same(
    halved: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "run_children", lambda *parts: pytest.fail("it trained"))
    before = contents(home / "halved" / "trials")
    outcome = done("sweep", "--resume", home / "halved")
    assert contents(home / "halved" / "trials") == before
    assert f"best: trial {halved['best']} of 6" in outcome.out and "folder: " in outcome.out
    assert "6 trainings, 6 of them done before" in outcome.err


def test_the_report_has_table_front_effects_and_curves(halved: dict[str, Any], home: Path) -> None:
    page = (home / "halved" / "report.html").read_text("utf-8")
    for heading in ("Error against multiply-adds", "What each setting does", "While they learn", "How this was made"):
        assert heading in page
    assert page.count("<figure") == 3
    assert f"trial {halved['best']}" in page and "chosen by this" in page
    assert "default-src 'none'" in page


def test_a_sweep_cut_short_goes_on_with_the_rest_alone(
    halved: dict[str, Any], home: Path, here: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings(home, "again.toml", HALVED)
    monkeypatch.setattr(sweeping, "run_children", lambda work, *rest: [*in_this_process(work[:2], *rest), -9, 0, 0, 0])
    line = refused("sweep", file, "--out", home / "again")
    assert "was ended by SIGKILL" in line and f"striate sweep --resume {home / 'again'}" in line
    trained = contents(home / "again" / "trials")
    monkeypatch.setattr(sweeping, "run_children", in_this_process)
    found = json.loads(done("sweep", "--resume", home / "again", "--json").out)
    assert trained.items() <= contents(home / "again" / "trials").items()
    keys = ("trial", "values", "rung", "val", "test")
    assert [[one[key] for key in keys] for one in found["trials"]] == [
        [one[key] for key in keys] for one in halved["trials"]
    ]
    assert "already holds a sweep" in refused("sweep", file, "--out", home / "again")


def test_other_trials_or_other_data_are_not_resumed(halved: dict[str, Any], home: Path) -> None:
    copy = home / "halved" / "settings.toml"
    text = copy.read_text()
    try:
        copy.write_text(text.replace("0.003", "0.004"))
        assert "trials are not what this sweep began with" in refused("sweep", "--resume", home / "halved")
    finally:
        copy.write_text(text)


def test_a_trial_that_fails_is_recorded_and_the_sweep_goes_on(home: Path, here: pytest.MonkeyPatch) -> None:
    text = HEAD + 'schedule = {kind = "constant"}\n[sweep]\n"training.rate" = [0.05, 1e30]\nseeds = 2\n'
    outcome = done("sweep", settings(home, "fails.toml", text), "--out", home / "fails", "--json")
    good, bad = json.loads(outcome.out)["trials"]
    assert (good["trial"], good["failed"], len(good["val"]), len(good["folders"])) == (1, None, 2, 2)
    assert "loss" in bad["failed"] or "not finite" in bad["failed"]
    assert "trial 2 failed: " in outcome.err
    assert "What failed" in (home / "fails" / "report.html").read_text("utf-8")
    lost = text.replace("[0.05, 1e30]", "[1e29, 1e30]")
    assert "every trial failed" in refused("sweep", settings(home, "lost.toml", lost), "--out", home / "lost")


def test_listing_prints_trials_and_steps_and_trains_nothing(home: Path) -> None:
    file = settings(home, "listed.toml", HALVED)
    before = contents(home)
    outcome = done("sweep", file, "--list")
    assert "rung 1: 6 trials, 25 % of the length, 54 steps" in outcome.out
    assert "rung 3: 1 trial, 100 % of the length, 36 steps" in outcome.out
    assert "altogether 144 steps" in outcome.out
    found = json.loads(done("sweep", file, "--list", "--json").out)
    assert found["steps_at_most"] == 144 and found["trials"][1]["values"]["training.rate"] == 0.3
    assert contents(home) == before


def test_draws_are_the_same_every_time_and_inside_their_ranges(home: Path) -> None:
    text = HEAD + (
        '[sweep]\ndraws = 30\n"training.rate" = {low = 1e-3, high = 0.3, log = true}\n'
        "[sweep.architecture.options]\nkernel = {low = 2, high = 4}\nstride = [1, 2]\n"
    )
    file = settings(home, "drawn.toml", text)
    trials = Sweep.read(file).trials
    assert trials == Sweep.read(file).trials and len(trials) == 30
    assert all(0.001 <= trial["training.rate"] <= 0.3 for trial in trials)
    assert {trial["architecture.options.kernel"] for trial in trials} == {2, 3, 4}
    assert {trial["architecture.options.stride"] for trial in trials} == {1, 2}
    assert 8 <= sum(trial["training.rate"] < 0.0173 for trial in trials) <= 22
    file.write_text(file.read_text().replace("draws = 30", "draws = 10"))
    assert Sweep.read(file).trials == trials[:10]


def test_ranges_and_shares_at_their_ends() -> None:
    assert [Range(low=1, high=3).at(share) for share in (0.0, 0.5, 0.999)] == [1, 2, 3]
    assert Range(low=0.5, high=2.0).at(0.0) == 0.5
    assert SweepSettings(halving=3, first=0.1).shares == pytest.approx((0.1, 0.1**0.5, 1.0))
    assert SweepSettings().shares == (1.0,)
    assert [SweepSettings(halving=3).kept(count) for count in (1, 2, 3, 10)] == [1, 1, 1, 3]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('"training.rat" = [0.1]', "9: sweep.training.rat: unknown key; did you mean rate?"),
        ('"trainig.rate" = [0.1]', "9: sweep.trainig.rate: unknown key; did you mean training?"),
        ('"training.rate" = []', "9: sweep.training.rate: the list is empty"),
        ('"training.rate" = 0.1', "9: sweep.training.rate: a list or a range was expected"),
        ('"training.rate" = [\n0.1,\n"fast"]', "11: sweep.training.rate: "),
        ('"training.rate" = [0.1, 0.1]', "9: sweep.training.rate: a value is given twice"),
        ('"training.rate" = {low = 0.1, high = 1.0}', "9: sweep.training.rate: from a range"),
        ('draws = 3\n"training.rate" = {low = 1.0, high = 0.1}', "10: sweep.training.rate: low must be less"),
        ('draws = 3\n"training.rate" = {low = 0.0, hihg = 0.1}', "10: sweep.training.rate.hihg: unknown key"),
        ('draw = 3\n"training.rate" = [0.1]', "9: sweep.draw: unknown key; did you mean draws?"),
        ('seeds = 0\n"training.rate" = [0.1]', "9: sweep.seeds: "),
        ('first = 0.1\n"training.rate" = [0.1]', "9: sweep.first: "),
        ('"training.seed" = [1, 2]', "9: sweep.training.seed: it cannot vary: "),
        ('"data.path" = ["a", "b"]', "9: sweep.data.path: it cannot vary: "),
        ('halving = 3\n"training.steps" = [1, 2]', "10: sweep.training.steps: it cannot vary: "),
        ('"architecture.options.chanels" = [[3]]', "9: sweep.architecture.options.chanels: mnist1d_conv chanels: unkn"),
        ('"architecture.options.kernel" = [3, 99]', ": "),
        ('"architecture.name" = ["mnist1d_con"]', "did you mean mnist1d_conv"),
        ("seeds = 2", " sweep: nothing varies"),
        ('training.rate = [0.1]\n"training.rate" = [0.2]', ": sweep.training.rate: it is given twice"),
    ],
)
def test_faults_are_one_line_before_anything_is_trained(home: Path, entry: str, words: str) -> None:
    file = settings(home, "fault.toml", HEAD + "\n[sweep]\n".lstrip("\n") + entry + "\n")
    line = refused("sweep", file, "--out", home / "fault")
    assert line.startswith(f"striate: {file}:") and words in line
    assert not (home / "fault").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps = 36", "minutes = 3", "training.minutes"),
        ("batch = 8", 'batch = "auto"', "training.batch"),
        ("batch = 8", "bach = 8", "training.bach: unknown key; did you mean batch?"),
        ("[architecture]", "validation = 0.0\n[architecture]", "no validation split"),
        ("[sweep]", "[sweeps]", "no table [sweep]"),
    ],
)
def test_settings_that_no_sweep_can_have_are_refused(home: Path, old: str, new: str, words: str) -> None:
    file = settings(home, "refused.toml", HALVED.replace(old, new))
    assert words in refused("sweep", file, "--out", home / "refused")
    assert not (home / "refused").exists()


def test_options_that_do_not_go_together_are_one_line(home: Path) -> None:
    assert "no settings file was named" in refused("sweep")
    assert "add --out SWEEP" in refused("sweep", home / "halved.toml")
    assert "--threads came too" in refused("sweep", "--resume", home, "--threads", 2)
    assert "no sweep to resume" in refused("sweep", "--resume", home)
    assert run("sweep", "--help").out.count("striate sweep settings.toml") == 1


def test_what_is_written_for_the_best_reads_as_it_was(halved: dict[str, Any], home: Path) -> None:
    tables = tomllib.loads((home / "halved" / "best.toml").read_text())
    best = halved["trials"][0]
    assert tables["training"]["rate"] == best["values"]["training.rate"]
    assert tables["architecture"]["options"]["channels"] == best["values"]["architecture.options.channels"]
    assert tables["training"]["steps"] == best["steps"]


def begun(folder: Path) -> "subprocess.Popen[str]":
    """A sweep of two trainings at once in processes of their own, both of them taking steps; in ``folder / "out"``."""
    text = HEAD.replace("36", "2000").replace("{data}", "mnist1d") + '[sweep]\n"training.rate" = [0.01, 0.02]\n'
    (folder / "s.toml").write_text(text)
    words = [*COMMAND, str(folder / "s.toml"), "--out", str(folder / "out"), "--jobs", "2"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 240
    while time.monotonic() < end and len(list(folder.glob("out/trials/*/experiment.json"))) < 2:
        time.sleep(0.1)
    time.sleep(1.0)
    return process


def resumed(folder: Path) -> None:
    """Continue it to its end, with two good trials."""
    words = [*COMMAND, "--resume", str(folder / "out"), "--json"]
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=500)
    assert outcome.returncode == 0, outcome.stderr
    assert [len(trial["val"]) for trial in json.loads(outcome.stdout)["trials"]] == [1, 1]


def holders(folder: Path) -> list[int]:
    """The processes that train, by their locks."""
    return [int(lock.read_text()) for lock in sorted(folder.glob("out/trials/*/.striate.lock"))]


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, 2)])
def test_a_sweep_in_processes_that_is_stopped_is_resumed(tmp_path: Path, number: int, code: int) -> None:
    """SIGTERM comes to all processes, SIGKILL to one training; Ctrl-C is tried with the demo's, which are run alike."""
    process = begun(tmp_path)
    if number == signal.SIGKILL:
        os.kill(holders(tmp_path)[0], number)
    else:
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    assert "Traceback" not in errors and f"striate sweep --resume {tmp_path / 'out'}" in errors
    resumed(tmp_path)


@pytest.mark.slow
def test_trainings_end_with_a_checkpoint_when_who_began_them_is_killed(tmp_path: Path) -> None:
    process = begun(tmp_path)
    trainings = holders(tmp_path)
    process.kill()
    process.communicate(timeout=120)  # the trainings hold its standard error too
    end = time.monotonic() + 120
    while time.monotonic() < end and any(Path(f"/proc/{one}").exists() for one in trainings):
        time.sleep(0.1)
    assert not any(Path(f"/proc/{one}").exists() for one in trainings)
    assert len(list(tmp_path.glob("out/trials/*/checkpoints/step-*"))) == 2
    assert not list(tmp_path.glob("out/trials/*/report.html"))
    resumed(tmp_path)


def test_a_range_that_holds_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="low must be above 0"):
        Range.from_json({"kind": "range", "low": 0.0, "high": 1.0, "log": True})
