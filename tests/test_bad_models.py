"""Bad model files: every command refuses them in one line, and nothing in them is run."""

import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from command import SHORT, done, make_table, refused
from striate.core import modelfile

NETWORK = ("--arch", "mnist1d_conv")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound data and a run on it, to be copied or pointed at, never changed."""
    folder = tmp_path_factory.mktemp("sound")
    make_table(folder / "signals.csv")
    done("train", folder / "signals.csv", "--out", folder / "signal_run", *SHORT, *NETWORK)
    return folder


def parts(data: bytes) -> tuple[dict[str, object], bytes]:
    """Header and body of a safetensors file."""
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header: dict[str, object] | str, body: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + body


def overlapping(data: bytes) -> bytes:
    header, body = parts(data)
    names = [name for name in header if name != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]  # type: ignore[index]
    return joined(header, body)


def duplicated(data: bytes) -> bytes:
    header, body = parts(data)
    name = next(name for name in header if name != "__metadata__")
    text = json.dumps(header)
    return joined(f'{{"{name}": {json.dumps(header[name])}, {text[1:]}', body)


def climbing(data: bytes) -> bytes:
    header, body = parts(data)
    name = next(name for name in header if name != "__metadata__")
    return joined({("../../" + key if key == name else key): value for key, value in header.items()}, body)


def long_header(data: bytes) -> bytes:
    return struct.pack("<Q", 100 * 1024 * 1024) + b" " * (100 * 1024 * 1024) + data


def torch_zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def explode() -> None:
    raise AssertionError("a pickle was run")


class Payload:
    """A pickle that would fail the test were it ever read."""

    def __reduce__(self) -> tuple[object, ...]:
        return (explode, ())


BROKEN_FILES: dict[str, Callable[[bytes], bytes]] = {
    "pickle": lambda data: pickle.dumps(Payload()),
    "torch_save": torch_zip,
    "cut_header": lambda data: data[:40],
    "cut_body": lambda data: data[:-7],
    "zero_bytes": lambda data: b"",
    "header_larger_than_the_file": lambda data: struct.pack("<Q", 2**62) + data[8:],
    "overlapping": overlapping,
    "duplicate_keys": duplicated,
    "climbing_names": climbing,
    "header_of_100_MB": long_header,
    "no_json": lambda data: joined("{" * 1000, data[-100:]),
    "not_ours": lambda data: joined({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_broken_model_file_is_refused_by_every_command(home: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BROKEN_FILES[name]((home / "signal_run" / path.name).read_bytes()))
    for words in (("evaluate", path, home / "signals.csv"), ("predict", path, home / "signals.csv"), ("inspect", path)):
        assert str(path) in refused(*words)


def bias(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in weights if name.endswith("bias"))


def missing(weights: dict[str, torch.Tensor]) -> None:
    del weights[bias(weights)]


def extra(weights: dict[str, torch.Tensor]) -> None:
    weights["more"] = torch.zeros(2)


def misshapen(weights: dict[str, torch.Tensor]) -> None:
    weights[bias(weights)] = torch.zeros(3)


def not_finite(weights: dict[str, torch.Tensor]) -> None:
    weights[bias(weights)] = torch.full_like(weights[bias(weights)], float("nan"))


def other_type(weights: dict[str, torch.Tensor]) -> None:
    weights[bias(weights)] = weights[bias(weights)].half()


@pytest.mark.parametrize("change", [missing, extra, misshapen, not_finite, other_type])
def test_weights_that_do_not_fit_are_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    model = modelfile.load(home / "signal_run" / "model.safetensors")
    change(model.weights)
    monkeypatch.setattr(modelfile, "non_finite", lambda tensors: [])
    path = tmp_path / "model.safetensors"
    modelfile.save(path, model)
    monkeypatch.undo()
    for command in ("evaluate", "predict"):
        line = refused(command, path, home / "signals.csv")
        assert str(path) in line
        assert "weights" in line


@pytest.mark.parametrize("field", ["network", "task", "preprocessing", "experiment", "classes", "input_shape"])
def test_a_description_that_makes_no_sense_is_refused(home: Path, tmp_path: Path, field: str) -> None:
    source = (home / "signal_run" / "model.safetensors").read_bytes()
    wrong: list[object] = [{}, {"kind": "no_such_kind"}, {"kind": "sgd"}, {"kind": "classification", "more": 1}]
    wrong = wrong if field not in ("classes", "input_shape") else [["a"], [], [3, 24], [1, 10**9], "x"]
    for number, value in enumerate(wrong):
        header, body = parts(source)
        document = json.loads(header["__metadata__"]["striate"])  # type: ignore[index]
        document[field] = value
        header["__metadata__"]["striate"] = json.dumps(document)  # type: ignore[index]
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(joined(header, body))
        assert str(path) in refused("predict", path, home / "signals.csv")


def test_what_is_no_model_at_all_is_named(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "missing", tmp_path / "pipe", tmp_path / "loop", tmp_path, home / "signals.csv"):
        assert str(path) in refused("predict", path, home / "signals.csv")
        assert str(path) in refused("evaluate", path, home / "signals.csv")
    saved = next((home / "signal_run" / "checkpoints").iterdir())
    assert "checkpoint" in refused("predict", saved, home / "signals.csv")
