"""Tensors in a file: the safetensors container, read strictly and written whole.

Layout: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes without gaps. The JSON object
maps each name to ``{"dtype", "shape", "data_offsets": [begin, end]}``, and ``__metadata__`` to text by text.

Security: a file may come from anyone. It is data and stays data: nothing in it is ever executed, unpickled or
evaluated. The header is checked in full (length, text, keys, types, names, sizes, and that the tensors tile the file
exactly) before one byte of a tensor is read, and no size it claims is believed beyond the file's own size. Only then
does the safetensors library, which reads and writes the tensors, see the bytes: read into memory, never through a
memory map that a later truncation could turn into a signal. Whatever is wrong is one ``InputError`` line.
"""

import hashlib
import math
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING, Any, NoReturn, final

from striate.core import strictjson
from striate.core.disk import DISK, DamagedFile, Disk, open_file, read_into, write_file
from striate.core.errors import InputError

if TYPE_CHECKING:
    import torch

MAX_HEADER = 16 * 2**20
"""Longest header that is read, in bytes."""
MAX_TENSORS = 100_000
MAX_NAME = 512
MAX_AXES = 16

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
"""Bytes of one element, by the container's name of the type."""

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16",
    "BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64",
    "F64": "float64",
}  # fmt: skip
_NAMES = {f"torch.{ours}": name for name, ours in _TORCH_NAMES.items()}

_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive, the form in which torch.save hides a pickle"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
)
_CONVERT = "give a .safetensors file (convert other formats where you trust them)"
_COPY = "copy or write the file again"


@final
@dataclass(frozen=True)
class Entry:
    """One row of the table: element type, shape, and the bytes ``begin`` to ``end`` after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@final
@dataclass(frozen=True)
class Table:
    """A checked header: the tensors in the order of their bytes, the metadata, and where the data begins."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]
    data_start: int
    size: int


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read and check the header alone; needs no torch. Errors: ``InputError`` as :func:`read_tensors`."""
    with open_file(path) as (file, size):
        return _read_table(file, size, path)


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, "torch.Tensor"], dict[str, str]]:
    """All tensors of a file, on the CPU, by name in sorted order, and its metadata.

    Errors: ``DamagedFile`` (an ``InputError``) when the content is wrong in any way; ``InputError`` when the file is
    missing, special or unreadable, or does not fit into memory.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    with open_file(path) as (file, size):
        table = _read_table(file, size, path)
        try:
            content = bytearray(size)
            file.seek(0)
            read_into(file, memoryview(content), path)
            tensors = load(bytes(content))
        except (MemoryError, RuntimeError):
            raise InputError(path, f"its {size:,} bytes do not fit into memory", "use a larger machine") from None
        except SafetensorError as error:  # whatever the library refuses beyond the checks above
            _damaged(path, f"its tensors cannot be read ({error})")
    for name, tensor in tensors.items():
        if tensor.dtype == torch.bool and tensor.view(torch.uint8).gt(1).any():
            _damaged(path, f"the tensor {name!r} has truth values other than 0 and 1")
    return {name: tensors[name] for name in sorted(tensors)}, table.metadata


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, "torch.Tensor"],
    header: Mapping[str, str],
    disk: Disk = DISK,
) -> None:
    """Write tensors (of any device and layout) and text metadata, whole or not at all; see ``core.disk.write_file``.

    Equal content gives equal bytes, as long as the metadata has one key (the library keeps no order of several).
    Errors: ``InputError`` when it cannot be written (disk full, no folder, ...) or a name or type is unfit.
    """
    from safetensors.torch import save

    for name, tensor in tensors.items():
        _check_name(name, path)
        dtype_name(tensor, path)
    # clones, because tensors that share memory are written as what they are: separate values
    held = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    content = save(held, metadata=dict(header))
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER:
        raise InputError(path, f"the header would take {length:,} bytes", f"at most {MAX_HEADER:,} can be read back")
    write_file(path, [content], len(content), disk)


def tensors_sha256(tensors: Mapping[str, "torch.Tensor"]) -> str:
    """SHA-256, in hex, of names, types, shapes and bytes, in order of name: equal exactly for bit-equal tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        row = strictjson.compact([name, dtype_name(tensor, name), list(tensor.shape)]).encode("utf-8")
        digest.update(len(row).to_bytes(8, "little") + row)
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: "torch.Tensor") -> memoryview:
    """The memory of a contiguous CPU tensor as writable bytes, without a copy."""
    import torch

    if tensor.numel() == 0:  # its strides may be 0, which no view of another type accepts
        return memoryview(bytearray())
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def dtype_name(tensor: "torch.Tensor", where: object) -> str:
    """The container's name of a tensor's type, such as ``F32``. Errors: ``InputError`` for a type it does not hold."""
    name = _NAMES.get(str(tensor.dtype))
    if name is None:
        raise InputError(where, f"tensors of type {tensor.dtype} are not stored", f"use one of {', '.join(ITEM_SIZES)}")
    return name


def _read_table(file: FileIO, size: int, path: str | os.PathLike[str]) -> Table:
    start = memoryview(bytearray(min(size, 16)))
    read_into(file, start, path)
    length = _header_length(bytes(start), size, path)
    text = memoryview(bytearray(length))
    text[: len(start) - 8] = start[8 : 8 + length]
    read_into(file, text[len(start) - 8 :], path)
    try:
        header = strictjson.parse(bytes(text), max_nesting=3)
    except ValueError as error:
        _damaged(path, f"the header cannot be read: {error}")
    if not isinstance(header, dict):
        _damaged(path, "the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _damaged(path, "the header's __metadata__ is not text by text")
    if len(header) > MAX_TENSORS:
        _damaged(path, f"the header lists {len(header):,} tensors, more than {MAX_TENSORS:,}")
    entries = {name: _entry(name, row, path) for name, row in header.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end, item[0])))
    _check_tiling(ordered, size - 8 - length, path)
    return Table(ordered, metadata, 8 + length, size)


def _header_length(start: bytes, size: int, path: object) -> int:
    if size == 0:
        _damaged(path, "the file is empty (0 bytes)")
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER or start[8:9] != b"{":
        _check_other_format(start, path)
    if size < 10:
        _damaged(path, f"the file ends inside its first line ({size} bytes)")
    if length > MAX_HEADER:
        _damaged(path, f"it claims a header of {length:,} bytes, and at most {MAX_HEADER:,} are read")
    if 8 + length > size:
        _damaged(path, f"the header is cut: it claims {length:,} bytes and the file has {size - 8:,} after the length")
    if length < 2 or start[8:9] != b"{":
        _damaged(path, "there is no safetensors header at its start", _CONVERT)
    return length


def _check_other_format(start: bytes, path: object) -> None:
    looks = next((what for magic, what in _OTHER_FORMATS if start.startswith(magic)), None)
    binary_pickle = len(start) > 1 and start[0] == 0x80 and start[1] <= 5
    # A text pickle of anything that runs starts by naming it: the GLOBAL opcode, "c<module>\n", perhaps after a mark.
    text_pickle = start.lstrip(b"(")[:1] == b"c" and b"\n" in start
    if binary_pickle or text_pickle:
        looks = "a pickle, which could run any code"
    if looks is not None:
        _damaged(path, f"it is {looks}, not safetensors; nothing in it was read or run", _CONVERT)


def _entry(name: str, row: Any, path: object) -> Entry:
    _check_name(name, path)
    if not isinstance(row, dict) or row.keys() != {"dtype", "shape", "data_offsets"}:
        _damaged(path, f"the tensor {name!r} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        _damaged(path, f"the tensor {name!r} has the unknown dtype {str(dtype)[:40]!r}", "store one of the known types")
    if not _are_sizes(shape) or len(shape) > MAX_AXES:
        _damaged(path, f"the shape of the tensor {name!r} is not a list of at most {MAX_AXES} sizes")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _damaged(path, f"the data_offsets of the tensor {name!r} are not a begin and an end")
    begin, end = offsets
    if math.prod(max(n, 1) for n in shape) >= 2**60:
        _damaged(path, f"the shape of the tensor {name!r} is impossibly large")
    needed = math.prod(shape) * ITEM_SIZES[dtype]
    if needed != end - begin:
        _damaged(path, f"the tensor {name!r} of shape {shape} needs {needed:,} bytes and has {end - begin:,}")
    return Entry(dtype, tuple(shape), begin, end)


def _check_tiling(entries: Mapping[str, Entry], available: int, path: object) -> None:
    position = 0
    for name, entry in entries.items():
        if entry.end > available:
            _damaged(
                path,
                f"the data is cut or the offsets are wrong: the tensor {name!r} ends at byte {entry.end:,} "
                f"and there are {available:,}",
            )
        if entry.begin != position:
            what = "overlaps the one before" if entry.begin < position else "leaves a gap after the one before"
            _damaged(path, f"the tensor {name!r} {what}")
        position = entry.end
    if position != available:
        _damaged(path, f"there are {available - position:,} bytes after the last tensor")


def _check_name(name: str, path: object) -> None:
    fault = None
    if not 0 < len(name) <= MAX_NAME:
        fault = f"has {len(name):,} letters, not 1 to {MAX_NAME}"
    elif ".." in name or "/" in name or "\\" in name:
        fault = "looks like a path"
    elif any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        fault = "has control characters"
    elif name == "__metadata__":
        fault = "is reserved"
    if fault is not None:
        _damaged(path, f"the tensor name {name[:60]!r} {fault}", "rename the tensor")


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**60 for value in values)


def _damaged(path: object, cause: str, fix: str = _COPY) -> NoReturn:
    raise DamagedFile(path, cause, fix)
