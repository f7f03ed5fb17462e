"""``striate inspect``: the command as it is typed, its JSON, and its one-line errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from striate.architectures.backbone import architecture
from striate.cli.inspect import inspect
from striate.core.errors import InputError
from striate.core.modelfile import ModelFile, save
from striate.layers.graph import expanded

app = typer.Typer()
app.command()(inspect)


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*words: str) -> dict[str, Any]:
    found = json.loads(shown(*words, "--json"))
    assert isinstance(found, dict)
    return found


def told(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model file of the lecture's network for length 30 and four classes."""
    network = expanded(architecture("mnist1d_conv").network(4))
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save(
        path,
        ModelFile(
            network=network.to_json(),
            task={},
            preprocessing={},
            input_shape=(1, 30),
            classes=("a", "b", "c", "d"),
            experiment={},
            weights=network.build((1, 30)).state_dict(),
            metrics={},
        ),
    )
    return path


def test_json_has_the_promised_names() -> None:
    found = as_json("resnet18", "--input", "3x224x224")
    assert (found["parameters"], found["multiply_adds"]) == (11_689_512, 1_814_073_344)
    assert {"name", "kind", "output_shape", "parameters", "multiply_adds", "receptive_field"} <= set(found["layers"][0])
    assert max(layer["receptive_field"] or 0 for layer in found["layers"]) == 435
    assert sum(layer["parameters"] for layer in found["layers"]) == found["parameters"]


def test_the_table_shows_the_lectures_columns_and_says_what_is_counted() -> None:
    text = shown("mnist1d_conv", "--input", "1x40")
    columns = ("layer", "output", "parameters", "multiply-adds", "receptive field", "memory")
    assert all(word in text for word in (*columns, "15x19", "2,050", "10,230"))
    assert "Multiply-adds are counted" in text and "FLOPs" in text and "Biases" in text
    assert "…" not in text


def test_options_change_the_network() -> None:
    assert as_json("fully_connected", "--input", "1x40", "--set", "hidden=360,365")["parameters"] == 150_185
    assert as_json("mnist1d_conv", "--classes", "3")["output_shape"] == [3]
    assert len(as_json("resnet18", "--depth", "1")["layers"]) == 2
    layers = as_json("resnet18", "--input", "3x32x32", "--set", "stem=small", "--depth", "2")["layers"]
    assert layers[-3]["output_shape"] == [512, 4, 4]


def test_a_model_file_shows_its_own_network(model: Path) -> None:
    found = as_json(str(model))
    assert found["input_shape"] == [1, 30] and found["output_shape"] == [4]
    assert found["parameters"] == architecture("mnist1d_conv").network(4).parameters((1, 30))
    assert as_json(str(model.parent)) == {**found, "name": str(model.parent)}
    assert as_json(str(model), "--input", "1x29")["input_shape"] == [1, 29]
    assert "the weights of this model are for 1x30" in told(str(model), "--input", "1x80")


BAD_SIZES = ["", "40", "x40", "1x", "1x-4", "1x0", "1,40", "axb", "1x2x3x4x5", "1x\u0664", "1x1e3"]


@pytest.mark.parametrize("text", BAD_SIZES)
def test_a_bad_input_size_is_told(text: str) -> None:
    assert told("mnist1d_conv", "--input", text).startswith(f"--input {text}".rstrip())


def test_an_unknown_name_lists_near_ones() -> None:
    assert "did you mean mnist1d_conv" in told("mnist1d_con")


def test_an_unknown_option_lists_the_known_ones() -> None:
    assert "stem" in told("resnet18", "--set", "stems=small")
    assert "key=value" in told("resnet18", "--set", "stem")


def test_an_input_too_small_names_the_layer() -> None:
    assert told("mnist1d_conv", "--input", "1x6").startswith("backbone.conv2")


def test_a_model_file_takes_no_options_of_a_name(model: Path) -> None:
    assert "--classes" in told(str(model), "--classes", "3")
    assert "--set" in told(str(model), "--set", "a=1")


def test_a_missing_or_foreign_file_is_told(tmp_path: Path) -> None:
    assert "none.safetensors" in told(str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("hello")
    assert "text.safetensors" in told(str(tmp_path / "text.safetensors"))


def test_it_runs_without_torch(model: Path) -> None:
    code = (
        "import sys; from striate.cli.inspect import inspect; "
        f"inspect('resnet50', None, None, None, 0, False); inspect({str(model)!r}, None, None, None, 0, True); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
