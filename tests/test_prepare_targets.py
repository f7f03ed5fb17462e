"""Boxes and masks are prepared with their images: made sound, moved, stored exactly, with the original sizes."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from striate.core.sample import Boxes, Mask, Target
from striate.core.transform import Compose, Resize
from striate.data.collection import Collection
from striate.data.prepare import prepare
from striate.data.problems import Problem
from striate.data.reader import Reader
from striate.data.record import Schema
from striate.data.shards import Shards
from striate.data.sound import sound

PLAIN = Compose()


class Annotated(Reader):
    """Images with boxes and a mask, some of them faulty: what detection and segmentation store."""

    format: ClassVar[str] = "annotated for a test"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        return None

    def collect(self) -> Collection:
        return Collection(
            images=[np.full((3, 40 + 2 * i, 50), i, np.uint8) for i in range(6)],
            found="six images",
            names=[f"n{i}" for i in range(6)],
            classes=("a", "b"),
            target="boxes",
            targets=self.of,
            note=lambda position: "the reader's word" if position == 4 else None,
            sizes=lambda position: (80 + 4 * position, 100),
            problems=[Problem("class-undeclared", "n1.txt:3", "7"), Problem("label-unreadable", "n2.txt")],
        )

    @staticmethod
    def of(position: int) -> dict[str, Target]:
        """As annotated, at twice the size in which the images are decoded."""
        bounds = torch.arange(position * 4).reshape(position, 4) / 3 + torch.tensor([0, 0, 9, 9])
        if position == 4:
            bounds[1:] = torch.tensor([[5.0, 5.0, 5.0, 9.0], [9.0, 9.0, 5.0, 12.0], [-5.0, 2.0, 7.0, 8.0]])
        mask = torch.full((80 + 4 * position, 100), position, dtype=torch.uint8)
        return {
            "boxes": Boxes.from_bounds(bounds, torch.zeros(position, dtype=torch.int64)),
            "mask": Mask(mask, ignore=255),
        }


@pytest.mark.parametrize("budget", [0, 1 << 30])
@pytest.mark.parametrize("preprocessing", [PLAIN, Compose(steps=(Resize(size=24, keep="short"),))])
def test_every_kind_of_target_comes_back_exactly(tmp_path: Path, budget: int, preprocessing: Compose) -> None:
    reader = Annotated(tmp_path)
    shards = prepare(reader, tmp_path / "s", preprocessing, budget_bytes=budget)
    assert shards.schema.codec == ("raw" if budget else "png")
    assert Schema.from_json(shards.schema.to_json()) == shards.schema
    assert shards.originals.tolist() == [[80 + 4 * position, 100] for position in range(6)]
    found = shards.targets(np.arange(6))
    for position in range(6):
        sample = shards.read(position)
        expected = preprocessing(sound(reader.read(position))[0])
        assert sample.original == (80 + 4 * position, 100)
        assert torch.equal(sample.image, expected.image)
        for name, target in expected.targets.items():
            assert sample.targets[name].equals(target)
            assert found[name][position].equals(target)
    if budget == 0 and preprocessing is PLAIN:
        assert (shards.rows[:, 4] < 600).all()  # of masks of 2,000 bytes and more


def test_faulty_boxes_are_left_out_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    shards = prepare(Annotated(tmp_path), tmp_path / "s", PLAIN, say=said.append)
    assert [len(one.classes) for one in shards.targets(np.array([3, 4]))["boxes"]] == [3, 3]
    assert shards.notes == [
        ("n4", "the reader's word"),
        ("n4", "1 of 4 boxes: swapped corners exchanged"),
        ("n4", "1 of 4 boxes dropped: empty"),
        ("n4", "1 of 4 boxes cut at the edge of the image"),
    ]
    assert said[-1] == "2 annotations left out or doubtful; `striate check` lists them"
    assert shards.problems == [Problem("class-undeclared", "n1.txt:3", "7"), Problem("label-unreadable", "n2.txt")]
    assert Shards.open(tmp_path / "s").problems == shards.problems


class Misfit(Annotated):
    """One mask has another size than its image, which is decoded whole."""

    format: ClassVar[str] = "misfit for a test"

    def collect(self) -> Collection:
        return replace(super().collect(), sizes=None)

    @staticmethod
    def of(position: int) -> dict[str, Target]:
        height = 40 + 2 * position if position != 2 else 99
        return {"mask": Mask(torch.zeros((height, 50), dtype=torch.uint8), ignore=255)}


def test_a_sample_whose_mask_does_not_fit_is_skipped(tmp_path: Path) -> None:
    shards = prepare(Misfit(tmp_path), tmp_path / "s", PLAIN)
    assert len(shards) == 5
    assert shards.skipped == [("n2", "a mask of 99x50 for an image of 44x50")]


def test_boxes_and_masks_of_one_size_can_be_resident(tmp_path: Path) -> None:
    reader = Annotated(tmp_path)
    shards = prepare(reader, tmp_path / "s", Compose(steps=(Resize(size=(16, 20)),)))
    images, targets = shards.resident(np.array([5, 0, 4]))
    assert images.shape == (3, 3, 16, 20)
    assert [len(one.classes) for one in targets["boxes"]] == [5, 0, 3]
    assert Mask.collate(targets["mask"])[:, 0, 0].tolist() == [5, 0, 4]
