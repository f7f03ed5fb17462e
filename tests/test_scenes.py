"""Generated scenes: three words, every target, and all of them the same objects."""

from typing import Any

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.scenes import GROUND, KINDS, LAYERS, scenes
from striate.data.reader import open_data

WORDS = {"scenes-1d": (128,), "scenes-2d": (64, 64), "scenes-3d": (32, 32, 32)}


def opened(word: str, **options: Any) -> Any:
    return open_data(word, options=ReaderOptions(**options))


@pytest.mark.parametrize("word", WORDS)
def test_boxes_and_masks_are_about_the_same_objects_and_pixels(word: str) -> None:
    boxes, masks = opened(word, target="boxes"), opened(word, target="mask")
    layers = opened(word, target="mask", multi_label=True)
    assert boxes.classes == KINDS == layers.classes and masks.classes == (GROUND, *KINDS)
    assert layers.multi_label and not masks.multi_label
    assert {name: len(rows) for name, rows in boxes.splits.items()} == {
        "train": len(boxes) * 4 // 5,
        "test": len(boxes) // 5,
    }
    counts = np.zeros(3, dtype=int)
    for place in range(20):
        image, mask = boxes.image(place), masks.targets(place)["mask"].values.numpy()
        assert np.array_equal(image, masks.image(place)) and image.shape == (1, *WORDS[word])
        found, drawn = boxes.targets(place)["boxes"], np.zeros(WORDS[word], dtype=np.uint8)
        for bounds, number in zip(found.bounds().long().tolist(), found.classes.tolist(), strict=True):
            low, high = bounds[: mask.ndim], bounds[mask.ndim :]
            assert all(0 <= a < b <= n for a, b, n in zip(low, high, WORDS[word], strict=True))
            drawn[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1 + number
            counts[number] += 1
        assert np.array_equal(mask, drawn)
        sets = layers.targets(place)["mask"].values.numpy()
        assert np.array_equal(sets, np.array(LAYERS)[mask])
        ground, dark, bright = (image[0][mask == value].astype(float) for value in (0, 1, 2))
        assert not len(dark) or dark.mean() < ground.mean()
        assert not len(bright) or bright.mean() > ground.mean()
    assert counts.min() > 0


@pytest.mark.parametrize("word", WORDS)
def test_labels_are_of_scenes_of_one_kind_and_tags_of_several(word: str) -> None:
    one, several = opened(word), opened(word, multi_label=True)
    assert one.target == several.target == "label" and not one.multi_label and several.multi_label
    assert np.bincount(one.labels).tolist() == [len(one) // 3 + (k < len(one) % 3) for k in range(3)]
    assert set(several.labels.sum(axis=1).tolist()) == {1, 2}


def test_sets_are_told_apart_and_unknown_targets_refused() -> None:
    readers = [opened(word, target=target) for word in WORDS for target in ("label", "boxes", "mask")]
    assert len({reader.fingerprint() for reader in readers}) == 9
    with pytest.raises(InputError, match="scenes have no keypoints; choose the target"):
        opened("scenes-2d", target="keypoints")
    with pytest.raises(ValueError, match="at most 2 fit"):
        scenes(3, (8,), most=3)


def test_a_scene_depends_on_its_number_and_seed_alone() -> None:
    few, many, other = scenes(3, (20, 30)), scenes(9, (20, 30)), scenes(3, (20, 30), seed=1)
    assert np.array_equal(few.images, many.images[:3]) and not np.array_equal(few.images, other.images)
    assert all(torch.equal(*map(torch.from_numpy, pair)) for pair in zip(few.bounds, many.bounds[:3], strict=True))
