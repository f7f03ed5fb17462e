"""The rules of the house, as docs/design.md states them, held over every file there is."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import striate

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "striate"
ORDER = (
    {"core"},
    {"report"},
    {"ops"},
    {"layers"},
    {"architectures"},
    {"analysis", "data", "tasks"},
    {"inference"},
    {"training"},
    {"recipes"},
    {"serving"},
    {"cli"},
)
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
BANNED_WORDS = {
    singular + plural
    for singular in ("engine", "manager", "helper", "util", "processor", "handler")
    for plural in ("", "s")
}
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# written in two halves so that this file does not contain what it looks for
BANNED_TEXT = (
    "pypi" + ".org",
    "pypi.python" + ".org",
    "pythonhosted" + ".org",
    "download.pytorch" + ".org",
    "registry.npm" + "js",
    "deb.debian" + ".org",
    "extra-index" + "-url",
    "find-" + "links",
    "/opt/" + "wheels",
    "/opt/" + "pypi",
    "/wor" + "k/",
    "/ro" + "ot/",
    "/home" + "/",
)


def python_files(*folders: str) -> list[Path]:
    """Ours: what is installed beside them (benchmarks/.peers) and results are not."""
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [path for path in found if not {".peers", "results"} & set(path.relative_to(ROOT).parts)]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def said(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every absolute module name imported anywhere in the file, by statement or by import_module of a literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if node.module == "striate":
                yield from ((node.lineno, f"striate.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("the files of the project are listed by git, and this is no git checkout")
    listing = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_imports_go_one_way() -> None:
    wrong = []
    for path in python_files("src"):
        package = path.relative_to(SOURCE).parts[0]
        if path.parent == SOURCE:
            continue  # striate/__init__ may name everything: nothing imports it but for the version
        for line, name in imported(parsed(path)):
            other = name.split(".")[1] if "." in name else ""
            if name.startswith("."):
                wrong.append(f"{said(path)}:{line}: a relative import")
            elif (
                name.split(".")[0] == "striate"
                and other not in ("", "__version__", package)
                and LEVEL.get(other, len(ORDER)) >= LEVEL[package]
            ):
                wrong.append(f"{said(path)}:{line}: {package} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_package_has_a_place_in_the_order() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= set(LEVEL), f"{packages - set(LEVEL)} is not in the order of docs/design.md"
    folders_with_code = {path.parent for path in SOURCE.rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders_with_code)


def test_design_document_states_the_order_tested_here() -> None:
    rule = next(line for line in (ROOT / "docs/design.md").read_text().splitlines() if "core < report" in line)
    stated = [set(re.findall(r"[a-z]+", level)) for level in re.findall(r"\{[^}]*\}|\w+(?= <|\.)", rule)]
    assert [level for level in stated if level & set(LEVEL)] == list(ORDER)


def test_files_stay_short() -> None:
    files = python_files("src", "tests", "benchmarks")
    lengths = {said(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {name: length for name, length in lengths.items() if length >= 400}


def test_the_training_loop_stays_on_one_page() -> None:
    tree = parsed(SOURCE / "training" / "loop.py")
    lengths = [(node.end_lineno or 0) - node.lineno for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert max(lengths) <= 150
    assert not [name for _, name in imported(tree) if name.startswith(("striate.tasks", "striate.architectures"))]


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_names_avoid_the_words_that_say_nothing() -> None:
    wrong = []
    for path in python_files("src", "tests", "benchmarks"):
        names = [path.stem, path.parent.name]
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        names += [node.name for node in ast.walk(parsed(path)) if isinstance(node, kinds)]
        wrong += [f"{said(path)}: {name}" for name in names if words(name) & BANNED_WORDS]
    assert not wrong, "\n".join(wrong)


def test_package_files_hold_a_docstring_and_nothing_else() -> None:
    for path in SOURCE.rglob("__init__.py"):
        tree = parsed(path)
        assert ast.get_docstring(tree), f"{said(path)} has no docstring"
        assert path.parent == SOURCE or len(tree.body) == 1, f"{said(path)} holds code"


def undocumented(path: Path, inherited: set[str]) -> Iterator[str]:
    tree = parsed(path)
    if not ast.get_docstring(tree):
        yield f"{said(path)}: the module"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{said(path)}:{node.lineno}: {node.name}"
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_") or ast.get_docstring(method):
                continue
            if not (node.bases and method.name in inherited):
                yield f"{said(path)}:{method.lineno}: {node.name}.{method.name}"


def test_what_is_public_is_documented() -> None:
    """A method that overrides a documented one of a base class inherits its docstring."""
    methods = [
        method
        for path in python_files("src")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    ]
    inherited = {method.name for method in methods if ast.get_docstring(method)} | {"forward", "backward", "extra_repr"}
    wrong = [line for path in python_files("src") for line in undocumented(path, inherited)]
    assert not wrong, "\n".join(wrong)


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    yield from ((line, name) for line, name in imported(tree) if name.split(".")[0] in BANNED_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("eval", "exec", "torch.load", "yaml.load", "os.system"):
            yield node.lineno, called
        for keyword in node.keywords:
            if keyword.arg in ("allow_pickle", "shell") and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield node.lineno, f"{called} with {keyword.arg}"


def test_no_code_is_run_from_data() -> None:
    wrong = [f"{said(path)}:{line}: {what}" for path in python_files("src") for line, what in unsafe(parsed(path))]
    assert not wrong, "\n".join(wrong)


def test_no_file_names_a_registry_or_a_machine() -> None:
    wrong = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        wrong += [f"{said(path)}: {banned}" for banned in BANNED_TEXT if banned in text]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_to_be_done() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|raise NotImplemented" + "Error")
    wrong = [said(path) for path in python_files("src", "tests", "benchmarks") if marks.search(path.read_text("utf-8"))]
    assert not wrong, f"unfinished: {wrong}"


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    named = {re.split(r"[^A-Za-z0-9._-]", name)[0].lower() for name in wanted} - {"striate"}  # an extra of our own
    assert named <= pinned


def test_version_is_stated_once_and_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == striate.__version__
    assert f"## {striate.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    wrong = []
    for path in tracked_files():
        if path.suffix == ".md":
            for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
                if "://" not in link and not (path.parent / link).exists():
                    wrong.append(f"{said(path)}: {link}")
    assert not wrong, "\n".join(wrong)


def test_a_second_make_demo_installs_nothing(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    plan = [make, "--no-print-directory", "-n", "demo"]
    first = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    (tmp_path / ".venv/.striate-core").touch()
    second = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "pip install" in first
    assert second.splitlines() == [".venv/bin/striate demo --out runs/demo"]
