"""What is loaded when: the command line and the arithmetic of networks never wait for torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import striate

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "striate"
COMMANDS = ("demo", "prepare", "find-lr", "train", "runs", "evaluate", "predict", "inspect")
HEAVY = ("torch", "torchvision", "matplotlib", "scipy", "sklearn")


def modules(package: str) -> list[str]:
    """Modules of a package that hold specs; the torch modules beside them are in files named ``*modules``."""
    names = sorted(path.stem for path in (SOURCE / package).glob("*.py") if path.stem != "__init__")
    return [f"striate.{package}.{name}" for name in names if not name.endswith("modules")]


TORCH_FREE = [
    "striate",
    "striate.cli.main",
    "striate.core.errors",
    "striate.core.geometry",
    "striate.core.graph",
    "striate.core.random",
    "striate.core.spec",
    *modules("layers"),
    *modules("architectures"),
    "striate.analysis.summary",
]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=120
    )


def striate_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python(
        "import sys; from striate.cli.main import main; sys.argv[0] = 'striate'; sys.exit(main())", *arguments
    )


def loaded_after(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the top-level names are loaded after running the code in a fresh interpreter."""
    ending = f"\nimport sys\nprint('LOADED', *sorted(set({names!r}) & set(sys.modules)))"
    result = python(code + ending)
    assert result.returncode == 0, result.stderr
    return result.stdout.rsplit("LOADED", 1)[1].split()


def test_specs_and_their_arithmetic_load_without_torch() -> None:
    assert loaded_after("\n".join(f"import {name}" for name in TORCH_FREE), HEAVY) == []


def test_finding_every_layer_and_network_loads_no_torch() -> None:
    code = "from striate.architectures import backbone as b; b.register_layers(); b.named_architectures()"
    assert loaded_after(code, HEAVY) == []


def test_importing_striate_loads_nothing_heavy() -> None:
    assert loaded_after("import striate; striate.__version__", (*HEAVY, "numpy", "pydantic", "PIL", "typer")) == []


def test_help_loads_neither_torch_nor_numbers_nor_specs() -> None:
    code = (
        "import sys\nsys.argv = ['striate', '--help']\nfrom striate.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_after(code, (*HEAVY, "numpy", "pydantic", "PIL")) == []


def test_help_names_every_command() -> None:
    result = striate_command("--help")
    assert result.returncode == 0, result.stderr
    assert [name for name in COMMANDS if name not in result.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command: str) -> None:
    result = striate_command(command, "--help")
    assert result.returncode == 0, result.stderr
    assert "Example" in result.stdout
    assert f"striate {command}" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_an_error_without_a_traceback(command: str) -> None:
    result = striate_command(command, "--no-such-option")
    assert result.returncode == 2
    assert "--no-such-option" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", [name for name in striate.__all__ if name != "__version__"])
def test_each_promised_name_is_there(name: str) -> None:
    assert callable(getattr(striate, name))


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'fit'; it has .*train"):
        striate.fit  # noqa: B018
