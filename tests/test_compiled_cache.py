"""What is built is kept, verified before it is run, and refused where others could have put it; and no compiler."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.core import modelfile
from striate.core.errors import InputError
from striate.recipes import plan
from striate.recipes import run as recipe
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.training import choice
from striate.training.compiled import compiler
from striate.training.compiled.compiler import library
from striate.training.interruption import Interrupted
from test_resume import experiment, sha, signals, stop_at

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, compiler.NAMES)), reason="no C compiler is installed (apt-get install gcc)"
)
ANSWER = "int answer(void) { return 42; }\n"


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr(recipe, "write_report", lambda *parts: parts[-1].write_text("<html>"))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are built, as they are."""
    texts: list[str] = []
    build = compiler._built

    def noted(text: str, chosen: compiler.Compiler, extra: tuple[str, ...] = ()) -> bytes:
        texts.append(text)
        return build(text, chosen, extra)

    monkeypatch.setattr(compiler, "_built", noted)
    return texts


def answer(folder: Path) -> int:
    return int(library(ANSWER, compiler.compiler(), folder).answer())


@needs_compiler
def test_a_text_is_built_once_and_kept_for_the_user_alone(tmp_path: Path, built: list[str]) -> None:
    folder = tmp_path / "compiled"
    assert answer(folder) == answer(folder) == 42
    assert built == [ANSWER]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 1


@needs_compiler
@pytest.mark.parametrize("damage", ["altered", "cut", "writable"])
def test_a_kept_library_that_is_not_what_was_built_is_built_anew(tmp_path: Path, built: list[str], damage: str) -> None:
    answer(tmp_path / "one")
    (path,) = (tmp_path / "one").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    other = tmp_path / "other"  # not the file that is loaded already
    other.mkdir(mode=0o700)
    (other / path.name).write_bytes({"altered": content, "cut": content[:1000]}.get(damage, path.read_bytes()))
    (other / path.name).chmod(0o666 if damage == "writable" else 0o600)
    assert answer(other) == 42
    assert len(built) == 2 and len(list(other.iterdir())) == 1
    assert stat.S_IMODE((other / path.name).stat().st_mode) & 0o022 == 0


@needs_compiler
def test_what_another_compiler_built_is_not_taken(tmp_path: Path, built: list[str]) -> None:
    chosen = compiler.compiler()
    other = compiler.Compiler(chosen.command, chosen.version, chosen.target, "0" * 64)
    for one in (chosen, other):
        library(ANSWER, one, tmp_path / "compiled")
    assert len(built) == 2


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(InputError, match="others can write to this folder") as refused:
        library(ANSWER, compiler.compiler(), tmp_path)
    assert refused.value.where == str(tmp_path)


@needs_compiler
def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="others can write"):
        library(ANSWER, compiler.compiler(), tmp_path / "link")


@needs_compiler
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InputError, match="others can write"):
        library(ANSWER, compiler.compiler(), tmp_path)


@needs_compiler
def test_a_text_that_is_no_program_is_an_error_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^training\.step: the compiled step cannot be used: .*error.*; install"):
        library("this is no C\n", compiler.compiler(), tmp_path / "compiled")
    assert list((tmp_path / "compiled").iterdir()) == []


@pytest.mark.parametrize(
    "variables, cause",
    [
        ({"PATH": "", "CC": ""}, "no C compiler was found (cc is not there, gcc is not there, clang is not there)"),
        ({"CC": "false"}, "no C compiler was found (false does not work (it says nothing))"),
        ({"CC": "no-such-program -m32"}, "no C compiler was found (no-such-program is not there)"),
    ],
    ids=["no path", "a program that fails", "no such program"],
)
def test_no_compiler_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cause: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as refused:
        compiler.compiler()
    assert cause in str(refused.value) and "install a C compiler" in str(refused.value)


def compiled(data: Path, **training: Any) -> Experiment:
    return experiment(data, **{"step": "compiled", "augmented": False, **training})


def test_without_a_compiler_auto_says_so_and_takes_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(choice, "WORTH_BUILDING", 0.0)
    said: list[str] = []
    result = train_experiment(compiled(signals(tmp_path / "set.npz"), step="auto"), tmp_path / "run", say=said.append)
    assert result.plan.step in ("chain", "general")
    assert any("the compiled step cannot be used: no C compiler was found" in line for line in said)
    assert any(line.startswith(f"step: {result.plan.step} (the chain step is") for line in said)


def test_without_a_compiler_the_compiled_step_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    with pytest.raises(InputError, match="no C compiler was found"):
        train_experiment(compiled(signals(tmp_path / "set.npz")), tmp_path / "run")


@needs_compiler
def test_auto_takes_the_compiled_step_where_it_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "WORTH_BUILDING", 0.0)
    said: list[str] = []
    result = train_experiment(compiled(signals(tmp_path / "set.npz"), step="auto"), tmp_path / "run", say=said.append)
    assert result.plan.step == "compiled"
    assert any("the compiled step is" in line for line in said)


@needs_compiler
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_compiled_run_cut_anywhere_ends_as_if_it_had_not_been(tmp_path: Path, optimiser: str) -> None:
    data, chosen = signals(tmp_path / "set.npz"), {"optimiser": {"kind": optimiser}}
    whole = train_experiment(compiled(data, **chosen), tmp_path / "whole")
    assert whole.plan.step == "compiled" and whole.plan.versions["compiler"] == compiler.compiler().version
    for at in (1, 8, 13, 30):
        with pytest.raises(Interrupted):
            train_experiment(compiled(data, **chosen), tmp_path / f"cut{at}", show=stop_at(at))
        resumed = resume_run(tmp_path / f"cut{at}")
        assert sha(tmp_path / f"cut{at}") == sha(tmp_path / "whole")
        assert resumed.figures == whole.figures


@needs_compiler
def test_a_run_is_not_continued_without_the_compiler_nor_silently_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = signals(tmp_path / "set.npz")
    with pytest.raises(Interrupted):
        train_experiment(compiled(data), tmp_path / "run", show=stop_at(8))
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        patch.setenv("CC", "")
        with pytest.raises(InputError, match="no C compiler was found"):
            resume_run(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == kept
    now = compiler.compiler()
    other = compiler.Compiler(now.command, "a compiler 1.0", now.target, now.digest)
    monkeypatch.setattr(plan, "compiler", lambda: other)
    said: list[str] = []
    resume_run(tmp_path / "run", say=said.append)
    assert any("now a compiler 1.0: it goes on, but perhaps not bit for bit" in line for line in said)


@needs_compiler
def test_the_compiled_run_and_the_general_one_learn_the_same(tmp_path: Path) -> None:
    data = signals(tmp_path / "set.npz")
    one = train_experiment(compiled(data), tmp_path / "one")
    other = train_experiment(compiled(data, step="general"), tmp_path / "other")
    losses = [[row["loss"] for row in result.history.validations] for result in (one, other)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert modelfile.load(tmp_path / "one" / "model.safetensors").weights.keys()
