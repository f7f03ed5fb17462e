"""The model file: it comes back whole, is described without torch, and says in one line what is wrong with it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.modelfile import ModelFile, check_weights, expected_weights, weights_sha256
from striate.core.tensorfile import write_tensors


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(40, 2))


@pytest.fixture
def model() -> ModelFile:
    return ModelFile(
        network={"kind": "chain", "layers": [{"kind": "convolution", "channels": 4}]},
        task={"kind": "classification"},
        preprocessing={"kind": "compose", "steps": []},
        input_shape=(1, 12),
        classes=("chat", "chien à poil"),
        experiment={"anything": [1, None, {"deep": True}]},
        weights=network().state_dict(),
        metrics={"top1": 0.5, "per_class": [0.25, None]},
    )


def test_a_model_comes_back(tmp_path: Path, model: ModelFile) -> None:
    modelfile.save(tmp_path / "m", model)
    found = modelfile.load(tmp_path / "m")
    assert weights_sha256(found.weights) == weights_sha256(model.weights)
    assert replace(found, weights={}) == replace(model, weights={})
    check_weights(found, expected_weights(network()))


def test_equal_models_are_equal_files(tmp_path: Path, model: ModelFile) -> None:
    modelfile.save(tmp_path / "m", model)
    again = replace(modelfile.load(tmp_path / "m"), weights=dict(reversed(model.weights.items())))
    modelfile.save(tmp_path / "n", again)
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


def test_the_header_is_read_without_torch(tmp_path: Path, model: ModelFile) -> None:
    modelfile.save(tmp_path / "m", model)
    code = (
        "import sys, json; from striate.core.modelfile import read_header;"
        f"print(json.dumps(read_header({str(tmp_path / 'm')!r}))); assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": "src"}
    run = subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60, capture_output=True)
    header = json.loads(run.stdout)
    assert header["format_version"] == 1
    assert header["network"] == model.network
    assert header["tensors"]["0.weight"] == {"dtype": "F32", "shape": [4, 1, 3]}
    assert header["file_bytes"] == (tmp_path / "m").stat().st_size


def test_an_undefined_metric_is_null(tmp_path: Path, model: ModelFile) -> None:
    modelfile.save(tmp_path / "m", replace(model, metrics={"a": float("nan"), "b": [float("inf"), 1.0]}))
    assert modelfile.load(tmp_path / "m").metrics == {"a": None, "b": [None, 1.0]}


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, model: ModelFile) -> None:
    modelfile.save(tmp_path / "m", model)
    before = (tmp_path / "m").read_bytes()
    bad = {**model.weights, "3.bias": torch.tensor([1.0, float("nan")])}
    with pytest.raises(InputError, match=r"not saved: 3\.bias not finite"):
        modelfile.save(tmp_path / "m", replace(model, weights=bad))
    assert (tmp_path / "m").read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", {1: "a"}),
        ("experiment", {"a": float("nan")}),
        ("experiment", {"a": object()}),
        ("classes", ("\udcff",)),
        ("input_shape", ()),
        ("input_shape", (0, 3)),
        ("task", "classification"),
    ],
)
def test_an_unfit_description_is_not_saved(tmp_path: Path, model: ModelFile, field: str, value: Any) -> None:
    with pytest.raises(InputError):
        modelfile.save(tmp_path / "m", replace(model, **{field: value}))
    assert list(tmp_path.iterdir()) == []


def altered(model: ModelFile, tmp_path: Path, **changes: Any) -> Path:
    """A model file whose description has other values; ``None`` leaves the key out."""
    modelfile.save(tmp_path / "m", model)
    document = modelfile.read_header(tmp_path / "m")
    del document["tensors"], document["file_bytes"]
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    write_tensors(tmp_path / "n", model.weights, {"striate": json.dumps(document)})
    return tmp_path / "n"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"format_version": 2}, "format version 2, and this Striate reads up to 1; upgrade Striate"),
        ({"format_version": "1"}, "no usable format_version"),
        ({"format_version": True}, "no usable format_version"),
        ({"format_version": None}, "no usable format_version"),
        ({"network": None}, r"lacks \['network'\]"),
        ({"code": "import os"}, r"unknown keys \['code'\]"),
        ({"task": []}, "task that is not a JSON object"),
        ({"input_shape": [1, 2.5]}, "input_shape"),
        ({"input_shape": [-1]}, "input_shape"),
        ({"classes": [1]}, "classes"),
        ({"classes": "ab"}, "classes"),
        ({"metrics": {"a": float("nan")}}, "NaN"),
    ],
)
def test_a_bad_description_is_one_line(tmp_path: Path, model: ModelFile, changes: dict[str, Any], cause: str) -> None:
    path = altered(model, tmp_path, **changes)
    for read in (modelfile.load, modelfile.read_header):
        with pytest.raises(InputError, match=cause) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        ({}, "Striate did not write it"),
        ({"striate_checkpoint": "{}"}, "training checkpoint, not a model file"),
        ({"striate": "{"}, "not valid JSON"),
        ({"striate": "[]"}, "not a JSON object"),
        ({"striate": '{"a":1,"a":1}'}, "twice"),
        ({"striate": "[" * 100_000}, "nested deeper"),
        ({"striate": '"\\ud800"'}, "surrogate"),
    ],
)
def test_another_file_is_one_line(tmp_path: Path, metadata: dict[str, str], cause: str) -> None:
    write_tensors(tmp_path / "m", {"a": torch.ones(1)}, metadata)
    with pytest.raises(InputError, match=cause):
        modelfile.load(tmp_path / "m")


def test_all_misfits_of_the_weights_are_in_one_line(model: ModelFile) -> None:
    weights = dict(model.weights)
    del weights["0.bias"]
    weights["extra"] = torch.ones(1)
    weights["3.weight"] = torch.ones(2, 41)
    weights["3.bias"] = torch.tensor([1.0, float("inf")])
    weights["1.weight"] = weights["1.weight"].double()
    with pytest.raises(InputError) as caught:
        check_weights(replace(model, weights=weights), expected_weights(network()), "m.safetensors")
    assert str(caught.value) == (
        "m.safetensors: its weights do not fit its network: missing: 0.bias; not in the network: extra; "
        "of another shape: 3.weight (2x41, not 2x40); "
        "of another type: 1.weight (torch.float64, not torch.float32); not finite: 3.bias; "
        "use a file that was written whole by Striate"
    )


def test_long_lists_of_misfits_are_counted(model: ModelFile) -> None:
    with pytest.raises(InputError, match=r"missing: 0\.weight, .* and 4 more"):
        check_weights(replace(model, weights={}), expected_weights(network()))
