"""The examples of CONTRIBUTING.md are true: each is one new file in its place, found and used with no other edit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRELUDE = """
import sys
from importlib import import_module
package, folder = sys.argv[1:]
import_module(f"striate.{package}").__path__.append(folder)
"""
USES = {
    "layers/prelu.py": """
import torch
from striate.architectures.backbone import register_layers
from striate.core.spec import kinds
from striate.layers.layer import Layer
register_layers()
layer = kinds(Layer)["prelu"]()
for shape in ((3, 8), (3, 8, 6), (3, 4, 4, 4)):
    module = layer.build(shape)
    assert tuple(module(torch.zeros(2, *shape)).shape[1:]) == layer.output_shape(shape) == shape
    assert sum(p.numel() for p in module.parameters()) == layer.parameters(shape) == 3
assert Layer.from_json(layer.to_json()) == layer
""",
    "architectures/lenet.py": """
import torch
from striate.architectures.backbone import architecture
lenet = architecture("lenet5")
network = lenet.network(10)
assert network.parameters((1, 28, 28)) == 61_706
assert network.output_shape((1, 28, 28)) == (10,)
assert network.build((1, 28, 28))(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
assert [(feature.channels, feature.stride) for feature in lenet.features((1, 28, 28))] == [(6, (2, 2)), (16, (4, 4))]
""",
    "data/formats/lines.py": """
import tempfile
from pathlib import Path
from striate.core.errors import InputError
from striate.data.reader import open_data
path = Path(tempfile.mkdtemp()) / "signals.lines"
path.write_text("up 0 1 2\\ndown 2 1 0\\nup 1 2 3\\n")
reader = open_data(path)
assert (reader.format, reader.classes, len(reader)) == ("lines", ("down", "up"), 3)
sample = reader.read(2)
assert sample.image.tolist() == [[1, 2, 3]] and sample.targets["label"].index == 1
path.write_text("up 0 one 2\\ndown 2 1 0\\n")
try:
    open_data(path)
except InputError as error:
    assert str(error) == f"{path}:1: a value is no number; correct the line"
""",
    "tasks/counting.py": """
import torch
import striate.tasks
from striate.core.spec import discover
from striate.core.targets import Boxes
from striate.tasks.task import DataFacts, task_for
discover(striate.tasks)
task = task_for(DataFacts(target="boxes", classes=("cell",), counts=(9,)), "counting")
assert task.kind == "counting" and task.outputs(1) == 1
boxes = [Boxes.from_bounds(torch.tensor([[0.0, 0, 2, 2]] * n), torch.zeros(n)) for n in (3, 1)]
raw = torch.tensor([[2.0], [1.0]])
total, count = task.loss(raw, boxes)
assert (float(total), float(count)) == (1.0, 2.0)
metrics = task.metrics(("cell",))
metrics.update(task.decode(raw), boxes)
assert metrics.compute()["mean_absolute_error"] == 0.5
assert task.records(task.decode(raw), ("cell",)) == [{"count": 2.0}, {"count": 1.0}]
""",
}


def examples() -> dict[str, str]:
    """Path under src/striate -> text, from the code blocks that begin with such a path."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```python\n# src/striate/(\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def test_there_is_one_example_for_each_kind_of_file() -> None:
    assert list(examples()) == list(USES)


@pytest.mark.parametrize("place", list(USES))
def test_the_example_works_as_one_new_file(place: str, tmp_path: Path) -> None:
    folder, _, name = place.rpartition("/")
    package = folder.replace("/", ".")
    (tmp_path / name).write_text(examples()[place], encoding="utf-8")
    code = PRELUDE + USES[place]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, package, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT / "src",
        timeout=300,
    )
    assert result.returncode == 0, result.stderr


def test_the_examples_keep_the_style(tmp_path: Path) -> None:
    for place, text in examples().items():
        (tmp_path / place.replace("/", "_")).write_text(text, encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
        result = subprocess.run([*ruff, str(tmp_path)], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
