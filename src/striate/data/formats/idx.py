"""Reader of IDX files, the format of the MNIST family (http://yann.lecun.com/exdb/mnist): plain or gzip.

A file is: two zero bytes, the type of the values, the number of dimensions, each dimension as a big-endian 32-bit
number, then the values. A folder holds pairs such as ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``;
``train`` in the name is the training split, ``t10k`` or ``test`` the test split. Three dimensions
are grey images (NHW), whatever their size.
"""

import gzip
import os
import re
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import Array, Collection
from striate.data.formats.arrays import collected
from striate.data.reader import Reader

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(
    r"^(?P<before>.*?)(?P<kind>images|labels)(?P<after>[-._](idx[0-9]([-._]ubyte)?|ubyte))(\.gz)?$", re.IGNORECASE
)
_SPLITS = (("t10k", "test"), ("test", "test"), ("valid", "val"), ("val", "val"), ("train", "train"))
_MOST_DEFLATED = 1040


class IdxReader(Reader):
    """A folder of IDX files, or one file of images beside its labels."""

    format = "idx"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """By the names of the files."""
        try:
            pairs = _pairs(path)
        except (OSError, ValueError):
            return None
        return f"IDX files, such as {next(iter(pairs.values()))['images'].name}" if pairs else None

    def collect(self) -> Collection:
        """Read the images and labels of every split into memory. Errors: ``InputError``."""
        pairs = _pairs(self.path)
        images: dict[str | None, Array] = {}
        labels: dict[str | None, Array] = {}
        sources = []
        for key, files in pairs.items():
            split = next((name for part, name in _SPLITS if part in key), None)
            if split in images:
                raise InputError(
                    self.path, f"several files of images for one split ({key})", "give one family of files"
                )
            images[split] = read_idx(files["images"])
            sources.append(files["images"])
            if self.options.labelled:
                if "labels" not in files:
                    raise InputError(files["images"], "its file of labels is missing", "put it into the same folder")
                labels[split] = read_idx(files["labels"])
                sources.append(files["labels"])
        return collected(
            self.path,
            images,
            labels,
            layout=self.options.layout or ("NHW" if next(iter(images.values())).ndim == 3 else None),
            multi_label=self.options.multi_label,
            sources=sources,
        )


def _pairs(path: Path) -> dict[str, dict[str, Path]]:
    """Files of images with their labels, by what comes before the word ``images`` or ``labels``."""
    folder = path if path.is_dir() else path.parent
    own = _NAME.match(path.name)
    if not path.is_dir() and (own is None or own["kind"].lower() != "images" or not path.is_file()):
        return {}
    found: dict[str, dict[str, Path]] = {}
    for name in sorted(os.listdir(folder)):
        match = _NAME.match(name)
        if match and (path.is_dir() or (own is not None and match["before"] == own["before"])):
            files = found.setdefault(match["before"].lower(), {})
            if match["kind"].lower() not in files or not name.endswith(".gz"):  # the plain one before its gzip
                files[match["kind"].lower()] = folder / name
    if not path.is_dir():
        found = {key: {**files, "images": path} for key, files in found.items()}
    return {key: files for key, files in found.items() if "images" in files}


def read_idx(path: Path) -> Array:
    """The array in an IDX file, in the byte order of the machine. Errors: ``InputError`` when it is cut, or claims more
    than the file can hold, which is found out before anything is allocated."""
    with open_file(path) as (file, size):
        first = file.read(2)
        file.seek(0)
        if first != b"\x1f\x8b":
            return _values(cast(IO[bytes], file), size, path)
        try:
            with gzip.GzipFile(fileobj=cast(Any, file)) as stream:
                return _values(cast(IO[bytes], stream), size * _MOST_DEFLATED, path)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(path, f"the gzip file is damaged ({error})", "copy or download it again") from None


def _values(stream: IO[bytes], limit: int, path: Path) -> Array:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 4:
        raise InputError(path, f"it does not begin like an IDX file ({head.hex() or 'empty'})", "give an IDX file")
    sizes = stream.read(4 * head[3])
    shape = tuple(np.frombuffer(sizes, ">u4").tolist()) if len(sizes) == 4 * head[3] else ()
    dtype = np.dtype(_TYPES[head[2]])
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    if not shape or expected > limit:
        raise InputError(path, f"it claims the shape {shape}, {expected:,} bytes, more than it has", "copy it again")
    data = stream.read(expected)
    if len(data) != expected or stream.read(1):
        kind = "more" if len(data) == expected else "fewer"
        raise InputError(path, f"it holds {kind} values than the shape {shape} it claims", "copy or download it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
