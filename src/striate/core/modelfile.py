"""The model file: one safetensors file that holds a trained network and everything needed to use it.

The container's metadata has one key, ``striate``, with one JSON object as text: ``format_version``, ``network`` (the
spec), ``task``, ``preprocessing``, ``input_shape``, ``classes``, ``experiment`` (kept as it came, never interpreted
here) and ``metrics``. The tensors are the weights by parameter and buffer name.

Security: a model file is data. The network is rebuilt from the spec's registered kinds, so loading runs no code of
the file; there is no pickle. See :mod:`striate.core.tensorfile` for the checks of the container.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, final

from striate.core import strictjson
from striate.core.disk import DISK, DamagedFile, Disk
from striate.core.errors import InputError
from striate.core.tensorfile import Table, read_table, read_tensors, tensors_sha256, write_tensors

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
"""Version that is written. A file of a later version is refused; earlier versions will always be read."""
MODEL_NAME = "model.safetensors"
"""What it is called in a run's folder."""
KEY = "striate"
CHECKPOINT_KEY = "striate_checkpoint"
"""Metadata key of a training checkpoint (``training.checkpoint``), which is not a model file."""

_OBJECTS = ("network", "task", "preprocessing", "experiment", "metrics")
_FIELDS = {"format_version", "input_shape", "classes", *_OBJECTS}


@final
@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """What a model file holds. Plain JSON values, so that tuples come back as lists, and the weights.

    ``input_shape`` is (channels, *spatial); ``classes`` are in the order of the network's outputs; a metric that is
    not defined is None.
    """

    network: dict[str, Any]
    task: dict[str, Any]
    preprocessing: dict[str, Any]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    experiment: dict[str, Any]
    weights: "dict[str, torch.Tensor]"
    metrics: dict[str, Any]


def save(path: str | os.PathLike[str], model: ModelFile, disk: Disk = DISK) -> None:
    """Write a model file, whole or not at all; equal models give equal bytes.

    JSON has no NaN: a metric that is NaN or infinite is written as null.
    Errors: ``InputError`` for weights that are not finite, for content that is no JSON, for a full disk.
    """
    bad = non_finite(model.weights)
    if bad:
        raise InputError(path, f"not saved: {_listed(bad)} not finite", "train again with a lower rate")
    document = {
        "format_version": FORMAT_VERSION,
        "network": model.network,
        "task": model.task,
        "preprocessing": model.preprocessing,
        "input_shape": list(model.input_shape),
        "classes": list(model.classes),
        "experiment": model.experiment,
        "metrics": _nulled(model.metrics),
    }
    try:
        text = strictjson.compact(document)
        _check_document(strictjson.parse(text), path)
    except (TypeError, ValueError) as error:
        raise InputError(path, f"not saved: the description is no JSON: {error}", "correct the description") from None
    write_tensors(path, model.weights, {KEY: text}, disk)


def load(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file, weights on the CPU.

    Errors: ``InputError`` (see ``core.tensorfile``) for whatever is wrong with the file, for a file that is no model
    file, and for one of a later format version. Check the weights with :func:`check_weights` before using them.
    """
    weights, metadata = read_tensors(path)
    document = _document(metadata, path)
    return ModelFile(
        **{name: document[name] for name in _OBJECTS},
        input_shape=tuple(document["input_shape"]),
        classes=tuple(document["classes"]),
        weights=weights,
    )


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The description of a model file without its weights and without torch, in milliseconds.

    Returns the JSON document with two keys more: ``tensors``, ``{name: {"dtype", "shape"}}`` in order of name, and
    ``file_bytes``. Errors: as :func:`load`.
    """
    table: Table = read_table(path)
    rows = {name: {"dtype": row.dtype, "shape": list(row.shape)} for name, row in sorted(table.tensors.items())}
    return {**_document(table.metadata, path), "tensors": rows, "file_bytes": table.size}


def expected_weights(module: "torch.nn.Module") -> "dict[str, tuple[tuple[int, ...], torch.dtype]]":
    """Shape and type of each tensor in a module's state, by name: what :func:`check_weights` expects."""
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in module.state_dict().items()}


def check_weights(
    model: ModelFile,
    expected: "Mapping[str, tuple[tuple[int, ...], torch.dtype]]",
    where: object = "model file",
) -> None:
    """Compare the weights of a file with what its network needs.

    Errors: one ``InputError`` that names, all in one line, the tensors that are missing, that are too many, that have
    another shape or type, and that hold NaN or infinity. ``where`` is the file's path.
    """
    found = model.weights
    both = [name for name in expected if name in found]
    faults = [
        _fault("missing", [name for name in expected if name not in found]),
        _fault("not in the network", [name for name in found if name not in expected]),
        _fault("of another shape", [
            f"{name} ({_times(found[name].shape)}, not {_times(expected[name][0])})"
            for name in both
            if tuple(found[name].shape) != tuple(expected[name][0])
        ]),
        _fault("of another type", [
            f"{name} ({found[name].dtype}, not {expected[name][1]})"
            for name in both
            if found[name].dtype != expected[name][1]
        ]),
        _fault("not finite", non_finite(found)),
    ]  # fmt: skip
    if any(faults):
        raise InputError(
            where,
            f"its weights do not fit its network: {'; '.join(fault for fault in faults if fault)}",
            "use a file that was written whole by Striate",
        )


def weights_sha256(tensors: "Mapping[str, torch.Tensor]") -> str:
    """SHA-256, in hex, of weights by name: equal exactly when all names, types, shapes and bits are equal."""
    return tensors_sha256(tensors)


def non_finite(tensors: "Mapping[str, torch.Tensor]") -> list[str]:
    """Names of the floating-point tensors that hold NaN or infinity, in order."""
    return [
        name
        for name, tensor in sorted(tensors.items())
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]


def _document(metadata: Mapping[str, str], path: object) -> dict[str, Any]:
    if KEY not in metadata:
        if CHECKPOINT_KEY in metadata:
            raise InputError(path, "it is a training checkpoint, not a model file", "give the run's model.safetensors")
        raise InputError(path, "it is safetensors, but Striate did not write it", "give a model file of Striate")
    try:
        document = strictjson.parse(metadata[KEY])
    except ValueError as error:
        raise DamagedFile(path, f"its description cannot be read: {error}", "copy or write the file again") from None
    _check_document(document, path)
    return dict(document)


def _check_document(document: Any, path: object) -> None:
    if not isinstance(document, dict):
        _wrong(path, "is not a JSON object")
    check_version(document.get("format_version"), FORMAT_VERSION, path)
    if document.keys() != _FIELDS:
        lacking, extra = sorted(_FIELDS - document.keys()), sorted(document.keys() - _FIELDS)
        _wrong(path, f"lacks {lacking or 'nothing'} and has the unknown keys {extra or 'none'}")
    for name in _OBJECTS:
        if not isinstance(document[name], dict):
            _wrong(path, f"has a {name} that is not a JSON object")
    shape, classes = document["input_shape"], document["classes"]
    if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        _wrong(path, "has an input_shape that is not a list of sizes of 1 and more")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        _wrong(path, "has classes that are not a list of names")


def check_version(version: object, known: int, path: object) -> None:
    """Refuse a format version that this Striate does not know. Errors: ``InputError``; a later one says to upgrade."""
    if type(version) is not int or version < 1:
        _wrong(path, f"has no usable format_version ({str(version)[:40]!r})")
    if version > known:
        raise InputError(
            path, f"it has format version {version}, and this Striate reads up to {known}", "upgrade Striate"
        )


def _wrong(path: object, what: str) -> NoReturn:
    raise DamagedFile(path, f"its description {what}", "copy or write the file again")


def _nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fault(what: str, names: list[str]) -> str:
    return f"{what}: {_listed(names)}" if names else ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _times(shape: "tuple[int, ...] | torch.Size") -> str:
    return "x".join(str(n) for n in shape) or "a single number"
