"""The container: what is written comes back bit for bit, equal content has equal bytes, and nothing else gets in."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from striate.core.errors import InputError
from striate.core.tensorfile import MAX_HEADER, read_table, read_tensors, tensors_sha256, write_tensors

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.float16, torch.bfloat16,
    torch.uint32, torch.int32, torch.float32, torch.uint64, torch.int64, torch.float64,
]  # fmt: skip
ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def container(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def refusal(path: Path) -> str:
    """The one line that reading the file gives."""
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert len(line) < 500 + len(str(path))
    return line


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert tensors_sha256(found) == tensors_sha256(expected)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.randint(0, 2, (3, 4, 5)).to(dtype), "empty": torch.empty(0, 3, dtype=dtype)}
    tensors["one"] = tensors["a"][0, 0, 0]
    write_tensors(tmp_path / "x", tensors, {"note": "é"})
    found, metadata = read_tensors(tmp_path / "x")
    assert_equal(found, tensors)
    assert metadata == {"note": "é"}


@given(hypothesis_numpy.arrays("float32", hypothesis_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0)))
@settings(max_examples=25)
def test_every_bit_pattern_of_a_float_survives(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    path = tmp_path_factory.mktemp("f") / "x"
    write_tensors(path, {"a": torch.from_numpy(values)}, {})
    assert read_tensors(path)[0]["a"].numpy().tobytes() == values.tobytes()


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 5)
    write_tensors(tmp_path / "x", {"a": image}, {})
    write_tensors(tmp_path / "y", {"a": image.to(memory_format=torch.channels_last)}, {})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_equal_content_in_another_order_has_equal_bytes(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.arange(i).to(dtype) for i, dtype in enumerate(DTYPES)}
    write_tensors(tmp_path / "x", tensors, {"a": "1"})
    write_tensors(tmp_path / "y", dict(reversed(tensors.items())), {"a": "1"})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_the_safetensors_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.randn(i, 3).to(dtype) for i, dtype in enumerate(DTYPES)}
    write_tensors(tmp_path / "x", tensors, {"k": "v"})
    assert_equal(safetensors.torch.load_file(tmp_path / "x"), tensors)


def test_we_read_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.randn(i, 3).to(dtype) for i, dtype in enumerate(DTYPES)}
    safetensors.torch.save_file(tensors, tmp_path / "x", {"k": "v"})
    found, metadata = read_tensors(tmp_path / "x")
    assert_equal(found, tensors)
    assert metadata == {"k": "v"}


def test_the_table_is_read_without_torch(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", {"a": torch.ones(2, 3)}, {})
    code = (
        "import sys; from striate.core.tensorfile import read_table;"
        f"t = read_table({str(tmp_path / 'x')!r}); assert t.tensors['a'].shape == (2, 3);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "src"}, timeout=60)


def test_sha256_tells_names_shapes_types_and_bits_apart() -> None:
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": -torch.zeros(2, 3)},
        {"a": torch.zeros(2, 3), "b": torch.zeros(0)},
    ]
    assert len({tensors_sha256(tensors) for tensors in [base, *others]}) == 6
    assert tensors_sha256(base) == tensors_sha256({"a": torch.zeros(3, 2).T})


# What bad input gets

CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty (0 bytes)"),
    "three bytes": (b"abc", "ends inside"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle, which could run any code, not safetensors; nothing in it was"),
    "old pickle": (pickle.dumps(os.getcwd, protocol=0), "a pickle"),
    "torch.save": (b"PK\x03\x04" + bytes(60), "a zip archive"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(60), "NumPy"),
    "text": (b"hello there, this is a letter and no file of tensors", "claims a header"),
    "no object": (container(b"[1,2,3,4,5,6]"), "no safetensors header"),
    "cut header": (container({"a": ROW})[:30], "header is cut"),
    "header beyond file": ((10_000).to_bytes(8, "little") + b"{" + bytes(99), "header is cut"),
    "header too long": ((MAX_HEADER + 1).to_bytes(8, "little") + b"{" + bytes(99), "at most"),
    "astronomical header": (b"\xff" * 7 + b"\x7f{" + bytes(99), "claims a header"),
    "not UTF-8": (container(b'{"\xff":1}'), "not UTF-8"),
    "not JSON": (container(b'{"a":,}   '), "not valid JSON"),
    "duplicate": (container(b'{"a":' + json.dumps(ROW).encode() + b',"a":' + json.dumps(ROW).encode() + b"}"), "twice"),
    "duplicate inside": (container(b'{"a":{"dtype":"F32","dtype":"F32"}}'), "twice"),
    "bomb": (container(b'{"a":' + b"[" * 100_000), "nested deeper"),
    "deep but closed": (container({"a": {"b": {"c": {"d": 1}}}}), "nested deeper"),
    "wide": (container(b'{"a":[' + b"[]," * 1_100_000 + b"[]]}"), "more than 1,000,000"),
    "NaN": (container(b'{"a":NaN}   '), "NaN"),
    "infinite": (container(b'{"a":1e999}   '), "too large"),
    "long number": (container(b'{"a":' + b"9" * 5000 + b"}"), "cannot be read"),
    "surrogate": (container(b'{"\\ud800":1}   '), "surrogate"),
    "metadata": (container({"__metadata__": {"a": 1}}), "text by text"),
    "metadata list": (container({"__metadata__": ["a"]}), "text by text"),
    "dtype": (container({"a": {**ROW, "dtype": "F7"}}), "unknown dtype"),
    "dtype list": (container({"a": {**ROW, "dtype": ["F32"]}}), "unknown dtype"),
    "extra key": (container({"a": {**ROW, "code": "x"}}), "exactly"),
    "missing key": (container({"a": {"dtype": "F32", "shape": [2]}}), "exactly"),
    "row": (container({"a": [1]}), "exactly"),
    "shape text": (container({"a": {**ROW, "shape": "2"}}), "shape"),
    "shape float": (container({"a": {**ROW, "shape": [2.0]}}), "shape"),
    "shape true": (container({"a": {**ROW, "shape": [True]}}), "shape"),
    "shape negative": (container({"a": {**ROW, "shape": [-2]}}), "shape"),
    "many axes": (container({"a": {**ROW, "shape": [1] * 99}}), "shape"),
    "terabytes": (container({"a": {**ROW, "shape": [2**40], "data_offsets": [0, 2**42]}}), "cut or the offsets"),
    "hidden size": (container({"a": {**ROW, "shape": [0, 2**59, 2**59], "data_offsets": [0, 0]}}, b""), "impossibly"),
    "shape and size": (container({"a": {**ROW, "shape": [3]}}), "needs 12 bytes and has 8"),
    "offsets swapped": (container({"a": {**ROW, "data_offsets": [8, 0]}}), "begin and an end"),
    "one offset": (container({"a": {**ROW, "data_offsets": [0]}}), "begin and an end"),
    "overlap": (container({"a": ROW, "b": {**ROW, "data_offsets": [4, 12]}}, bytes(12)), "overlaps"),
    "same bytes": (container({"a": ROW, "b": ROW}), "overlaps"),
    "gap": (container({"a": ROW, "b": {**ROW, "data_offsets": [12, 20]}}, bytes(20)), "gap"),
    "late start": (container({"a": {**ROW, "data_offsets": [4, 12]}}, bytes(12)), "gap"),
    "cut data": (container({"a": ROW}, bytes(7)), "data is cut"),
    "trailing": (container({"a": ROW}, bytes(9)), "1 bytes after"),
    "path": (container({"../../etc/passwd": ROW}), "looks like a path"),
    "slash": (container({"a/b": ROW}), "looks like a path"),
    "backslash": (container({"a\\b": ROW}), "looks like a path"),
    "control": (container({"a\u001b[31m": ROW}), "control"),
    "right to left": (container({"a\u202eb": ROW}), "control"),
    "no name": (container({"": ROW}), "letters"),
    "long name": (container({"a" * 1000: ROW}), "letters"),
    "truth": (container({"a": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]}}, bytes([2] * 8)), "truth"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_one_line(file: Callable[[bytes], Path], name: str) -> None:
    content, cause = CASES[name]
    assert cause in refusal(file(content))


def test_a_pickle_is_not_run(file: Callable[[bytes], Path], tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    for protocol in range(6):
        assert "pickle" in refusal(file(pickle.dumps(Trap(), protocol)))
    assert not (tmp_path / "ran").exists()


def test_what_torch_saves_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    assert "zip archive" in refusal(tmp_path / "x.safetensors")


def test_too_many_tensors(file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.core.tensorfile.MAX_TENSORS", 2)
    assert "more than 2" in refusal(file(container(dict.fromkeys("abc", ROW), bytes(24))))


def test_a_header_of_the_size_of_a_pickle_mark_is_no_pickle(tmp_path: Path) -> None:
    for length in (0x280, 0x8B1F // 8 * 8):
        text = json.dumps({"__metadata__": {"a": "x"}}).encode().ljust(length)
        (tmp_path / "x").write_bytes(container(text, b""))
        assert read_tensors(tmp_path / "x") == ({}, {"a": "x"})


@pytest.mark.timeout(20)
def test_special_files_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a FIFO" in refusal(tmp_path / "fifo")
    assert "a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "loop")
    assert "no such file" in refusal(tmp_path / "missing")
    assert "a device" in refusal(Path("/dev/zero"))
    with pytest.raises(InputError, match="cannot be used"):
        read_table("a\0b")


WHOLE = container({"__metadata__": {"k": "v"}, "a": ROW, "b": {**ROW, "data_offsets": [8, 16]}}, bytes(range(16)))


def reads_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read_tensors(path)
    except InputError:
        refusal(path)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200)
def test_no_bytes_give_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, framed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    reads_or_refuses(path, container(noise) if framed else noise)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=400)
def test_no_altered_bytes_give_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    content = bytearray(WHOLE)
    for position, value in edits:
        content[position] = value
    reads_or_refuses(tmp_path_factory.getbasetemp() / "edited", bytes(content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries({"dtype": JSON | st.just("U8"), "shape": JSON, "data_offsets": JSON}) | JSON


@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), ROWS))
@settings(max_examples=150)
def test_no_header_gives_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any]
) -> None:
    reads_or_refuses(tmp_path_factory.getbasetemp() / "header", container(header, bytes(4)))


def test_every_cut_is_refused(file: Callable[[bytes], Path]) -> None:
    assert len(read_tensors(file(WHOLE))[0]) == 2
    for length in range(len(WHOLE)):
        refusal(file(WHOLE[:length]))
