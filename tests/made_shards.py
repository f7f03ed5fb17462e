"""Shards made straight from samples, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from striate.core.sample import Boxes, Label, Mask, Sample
from striate.data.record import RAW, Schema
from striate.data.shards import Shards


def shards_of(folder: Path, samples: Sequence[Sample], classes: Sequence[str] = "abc", codec: str = RAW) -> Shards:
    """The samples in one shard in ``folder`` (made)."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = Schema.of(samples[0], codec)
    rows, parts, start = [], [], 0
    for place, sample in enumerate(samples):
        record, row = schema.encode(sample)
        rows.append([place, 0, start, *row])
        parts += record
        start += sum(map(len, record))
    (folder / "shard-00000.bin").write_bytes(b"".join(parts))
    target = next(iter(samples[0].targets), "label")
    index = {
        "fingerprint": "f", "data": "d", "classes": list(classes), "multi_label": False, "target": target,
        "found": "", "preprocessing": {}, "options": {}, "skipped": [], "notes": [], "problems": [],
        "schema": schema.to_json(), "shards": [["shard-00000.bin", start]],
    }  # fmt: skip
    texts = {"names": [str(one) for one in range(len(samples))], "groups": None, "splits": {}}
    shards = Shards(folder, index, np.array(rows, dtype=np.int64), texts)
    if target == "label":
        shards.labels = np.array([sample.targets["label"].index for sample in samples])
    return shards


def painted(place: int, size: tuple[int, ...], channels: int = 1, largest: int = 250) -> tuple[torch.Tensor, list[int]]:
    """A dark image with one bright rectangle, and its bounds (lows, then highs)."""
    generator = np.random.default_rng(place)
    low = [int(generator.integers(2, n // 2)) for n in size]
    high = [int(generator.integers(a + n // 4, n - 1)) for a, n in zip(low, size, strict=True)]
    image = torch.zeros(channels, *size, dtype=torch.uint8)
    image[:, *(slice(a, b) for a, b in zip(low, high, strict=True))] = largest
    return image, [*low, *high]


def ragged(place: int, kind: str, axes: int = 2, channels: int = 1) -> Sample:
    """The sample of a number: its size, its rectangle and its target all follow from the number."""
    generator = np.random.default_rng(1000 + place)
    size = tuple(int(n) for n in generator.integers(40, 90, axes))
    image, bounds = painted(place, size, channels)
    if kind == "boxes":
        targets = {"boxes": Boxes.from_bounds(torch.tensor([bounds]).double(), torch.tensor([place % 3]))}
    elif kind == "mask":
        targets = {"mask": Mask((image[0] > 0).to(torch.uint8))}
    else:
        targets = {"label": Label(place % 3)}
    return Sample(image, targets, str(place))
