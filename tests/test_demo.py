"""The demo, cut short: its numbers, its report, and that it goes on where it was."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.recipes import demo
from striate.recipes.demo import CONTENDERS, DemoResult, run_demo, spread

STEPS = 2
PARAMETERS = {"conv": 2_050, "dense-480": 59_065, "dense-725": 150_185, "permuted": 2_050}
MULTIPLY_ADDS = {"conv": 10_230, "dense-480": 58_575, "dense-725": 149_450, "permuted": 10_230}


def train_here(work: list[Any], steps: int, limit: int, show: Any) -> None:
    """What the training processes do, in this one: a process takes longer to start than these to train."""
    for contender, seed, folder, threads in work:
        demo._train_one(contender, seed, steps, folder, threads, SimpleNamespace(value=0))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def here() -> Iterator[pytest.MonkeyPatch]:
    """Trainings in this process, without the reports of the single runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_train_all", train_here)
        patch.setattr("striate.recipes.run.write_report", lambda *parts: parts[-1].write_text("<html>"))
        yield patch


@pytest.fixture(scope="module")
def result(here: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    """Two seeds of two steps each."""
    return run_demo(tmp_path_factory.mktemp("demo"), seeds=2, steps=STEPS)


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.key)
def test_the_networks_are_those_of_the_lecture(contender: demo.Contender) -> None:
    network = architecture(contender.architecture, contender.options).network(10)
    assert network.parameters((1, 40)) == PARAMETERS[contender.key]
    assert network.multiply_adds((1, 40)) == MULTIPLY_ADDS[contender.key]


def test_the_recipe_is_that_of_the_lecture(result: DemoResult) -> None:
    for run in result.runs:
        plan = run.model.experiment["plan"]
        training = plan["training"]
        assert (training["steps"], training["epochs"], training["batch"]) == (STEPS, None, 100)
        assert training["augmented"] is False
        optimiser = training["optimiser"]
        assert (optimiser["rate"], optimiser["momentum"], optimiser["weight_decay"]) == (0.01, 0, 0)
        assert training["schedule"] == {"kind": "constant", "warmup": 0}
        assert (training["clip"], plan["task"]["label_smoothing"], plan["precision"]) == (None, 0, "float32")
        assert plan["watch"] == ["test", "train"]
        assert run.model.preprocessing["steps"][-1] == run.model.preprocessing["steps"][0]


def test_the_table_has_a_row_a_network_and_the_spread_of_the_seeds(result: DemoResult) -> None:
    table = result.table()
    assert [row[1] for row in table.rows] == list(PARAMETERS.values())
    assert [row[2] for row in table.rows] == list(MULTIPLY_ADDS.values())
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d %", str(row[4])) for row in table.rows)
    last = [run.curve["test_error"][-1] for run in result.of(CONTENDERS[0])]
    assert table.rows[0][4] == spread(last)
    assert "2 seeds" in table.caption and "2 steps" in table.caption


def test_seeds_and_networks_differ_and_begin_as_bad_as_guessing(result: DemoResult) -> None:
    errors = [run.curve["test_error"][-1] for run in result.runs]
    assert len(errors) == 8 and all(0.7 < error <= 1.0 for error in errors)
    weights = {run.model.weights["head.linear.weight"].sum().item() for run in result.runs}
    assert len(weights) == 8


def test_curves_are_of_both_splits_and_end_at_the_last_step(result: DemoResult) -> None:
    for run in result.runs:
        assert run.curve["step"] == [1, 2]
        assert len(run.curve["train_error"]) == len(run.curve["test_error"]) == 2
        assert run.curve["test_error"][-1] == pytest.approx(1 - run.model.metrics["test"]["top1"])


def test_the_table_says_which_step_each_network_was_trained_by(result: DemoResult) -> None:
    table = result.table()
    assert table.columns[-1] == "step"
    assert {row[-1] for row in table.rows} <= {"general", "chain", "compiled", "chain, general"}


@pytest.mark.parametrize(
    "jobs, seeds, path, expected",
    [(2, 1, None, [2, 2, 1, 1]), (2, 3, None, [1] * 12), (1, 1, None, [1] * 4), (2, 1, "", [1] * 4)],
)
def test_few_networks_may_share_idle_cores_where_there_is_a_compiler(
    here: pytest.MonkeyPatch, tmp_path: Path, jobs: int, seeds: int, path: str | None, expected: list[int]
) -> None:
    work: list[Any] = []

    def note(given: list[Any], *rest: object) -> None:
        work.extend(given)
        raise InputError("the demo", "it is stopped here", "look at the work")

    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_train_all", note)
        if path is None:
            patch.setattr(demo, "compiler", lambda: None)
        else:
            patch.setenv("PATH", path)
            patch.setenv("CC", "")
        with pytest.raises(InputError, match="stopped here"):
            run_demo(tmp_path, seeds=seeds, jobs=jobs, say=said.append)
    assert [threads for *_, threads in work] == expected
    assert any("no C compiler was found" in line and "slower step" in line for line in said) == (path is not None)


def test_one_value_is_shown_alone_and_several_with_their_deviation() -> None:
    assert spread([0.1234]) == "12.3 %"
    assert spread([0.10, 0.12, 0.14]) == "12.0 ± 2.0 %"


def test_the_report_tells_the_story_in_order(result: DemoResult) -> None:
    page = result.report.read_text("utf-8")
    headings = [re.sub(r"<[^>]+>", "", one).strip() for one in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)]
    assert headings == [
        "Result",
        "While they learn",
        "Why: one small set of weights, used everywhere",
        "Why: it knows what is next to what",
        "What a unit sees",
        "When the signal moves",
        "Which digits are confused",
        "How this was made",
    ]
    for number in ("2,050", "59,065", "150,185", "10,230", "58,575", "149,450", "1.023 million"):
        assert number in page
    assert "striate demo --seeds 2 --steps 2" in page
    assert page.count("<figure") >= 10 and page.count("<table") >= 3


def test_the_report_needs_nothing_but_itself(result: DemoResult) -> None:
    page = result.report.read_text("utf-8")
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["'](?!#|data:)[^"']+""", page)
    assert not re.findall(r"url\((?!['\"]?(?:#|data:))|@import|<script[^>]+src", page)
    assert str(result.report.parent) not in page
    assert "default-src 'none'" in page  # the browser is told to fetch nothing at all


def test_a_second_demo_trains_nothing_again(here: pytest.MonkeyPatch, result: DemoResult) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_train_all", lambda *parts: pytest.fail("it trained"))
        patch.setattr("striate.recipes.demo_report.write_demo_report", lambda result: None)
        again = run_demo(result.report.parent, seeds=2, steps=STEPS, say=said.append)
    assert again.table().rows == result.table().rows
    assert said[0].startswith("8 of 8 networks are trained already")


def test_a_network_without_its_report_is_finished_and_the_largest_comes_first(
    here: pytest.MonkeyPatch, result: DemoResult
) -> None:
    work: list[Any] = []

    def note(given: list[Any], *rest: object) -> None:
        work.extend(given)
        train_here(given, STEPS, 1, None)

    home = result.report.parent
    for key in ("conv", "dense-725"):
        (home / "networks" / f"{key}-seed0-{STEPS}" / "report.html").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_train_all", note)
        patch.setattr("striate.recipes.demo_report.write_demo_report", lambda result: None)
        again = run_demo(home, seeds=2, steps=STEPS)
    assert [contender.key for contender, *_ in work] == ["dense-725", "conv"]
    assert again.table().rows == result.table().rows


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "striate", "demo", *arguments]


@pytest.mark.slow
def test_the_command_trains_in_processes_and_prints_the_table(tmp_path: Path) -> None:
    first = subprocess.run(command("--steps", "8", "--out", str(tmp_path)), capture_output=True, text=True, timeout=400)
    assert first.returncode == 0, first.stderr
    assert "150,185" in first.stdout and f"report: {tmp_path / 'report.html'}" in first.stdout
    assert "Traceback" not in first.stderr and "Warning" not in first.stderr
    assert len(list((tmp_path / "networks").glob("*/report.html"))) == 4
    started = time.monotonic()
    again = subprocess.run(command("--steps", "8", "--out", str(tmp_path)), capture_output=True, text=True, timeout=400)
    assert again.stdout == first.stdout, again.stderr
    assert "4 of 4 networks are trained already" in again.stderr and time.monotonic() - started < 120


@pytest.mark.slow
def test_a_demo_that_is_stopped_by_ctrl_c_leaves_checkpoints(tmp_path: Path) -> None:
    arguments = command("--steps", "20000", "--out", str(tmp_path), "--jobs", "2")
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(tmp_path.glob("networks/*/experiment.json"))) < 2:
        time.sleep(0.1)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process at once
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "checkpoint" in errors
    assert len(list(tmp_path.glob("networks/*/checkpoints/step-*"))) == 2


@pytest.mark.slow
def test_the_page_renders_and_asks_for_nothing(result: DemoResult, chromium: str, tmp_path: Path) -> None:
    browser = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    shot, copy = tmp_path / "shot.png", tmp_path / "copy.html"
    options = [f"--user-data-dir={tmp_path / 'one'}", "--window-size=1100,6000", f"--screenshot={shot}"]
    subprocess.run([*browser, *options, result.report.as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60).sum(axis=1)
    thirds = np.array_split(coloured, 3)
    assert all(part.sum() > 2000 for part in thirds), "each third of the page has coloured figures"
    told = "<script>addEventListener('load', () => { document.title = JSON.stringify(performance.getEntriesByType("
    told += "'resource').map(entry => entry.name.slice(0, 5)).concat('told')) })</script></body>"
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", result.report.read_text("utf-8"))
    copy.write_text(page.replace("</body>", told), "utf-8")
    options = [f"--user-data-dir={tmp_path / 'two'}", "--virtual-time-budget=5000", "--dump-dom"]
    dom = subprocess.run(
        [*browser, *options, copy.as_uri()], check=True, capture_output=True, text=True, timeout=120
    ).stdout
    asked = json.loads(re.findall(r"<title>(.*?)</title>", dom)[0])
    assert asked[-1] == "told" and set(asked[:-1]) <= {"data:"}
