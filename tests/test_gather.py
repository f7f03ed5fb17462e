"""data/gather and the loader of samples of any size: pure, the same for any number of processes, targets in place."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from made_shards import ragged, shards_of
from striate.core.errors import InputError
from striate.core.sample import Boxes, Sample
from striate.core.targets import Label, Mask
from striate.core.transform import CenterCrop, Compose, Letterbox, Normalise, Resize
from striate.data.augment import Augment
from striate.data.loader import Loader
from striate.data.record import PNG
from striate.data.shards import Shards

FIT = Compose(steps=(Letterbox(size=(48, 64), fill=10.0),))
CROPPED = Compose(steps=(Resize(size=50, keep="short"), CenterCrop(size=48)))
GEOMETRY = Augment(flip=(-1,), shift=2, rotate=10, scale=(0.7, 1.4), translate=0.1)
ALL = GEOMETRY.replace(brightness=0.2, noise=0.02, cutout=5, mosaic=0.5)


def made(folder: Path, kind: str, count: int = 25, channels: int = 1) -> Shards:
    return shards_of(folder, [ragged(place, kind, channels=channels) for place in range(count)])


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return len(one) == len(other) and all(a.equals(b) for a, b in zip(one, other, strict=True))


CASES = [
    ("label", None),
    ("label", ALL.replace(mixup=0.4)),
    ("label", Augment(flip=(-1,), crop_scale=(0.2, 1.0))),
    ("label", Augment(flip=(-1,), crop_scale=(0.2, 1.0), mosaic=0.5, mixup=0.2, blur=(0.1, 1))),
    ("boxes", None),
    ("boxes", ALL.replace(mixup=0.4)),
    ("boxes", Augment(crop_scale=(0.3, 1.0), flip=(0, -1))),
    ("mask", None),
    ("mask", ALL),
]


@pytest.mark.parametrize(("kind", "augment"), CASES)
def test_batches_are_the_same_for_any_number_of_processes_and_from_any_step(tmp_path, kind, augment) -> None:
    shards = made(tmp_path, kind)
    indices = np.arange(1, 24)
    normalise = Normalise(mean=100.0, std=50.0)

    def loader(rank: int = 0, world: int = 1) -> Loader:
        return Loader(shards, indices, 12, 3, augment, normalise, fit=FIT, rank=rank, world=world)

    ran = loader()
    whole = {step: ran.batch(step) for step in range(4)}
    assert whole[0].images.shape == (12, 1, 48, 64)
    assert whole[0].images.dtype == torch.float32
    for world in (1, 2, 3):
        for rank in range(world):
            part = loader(rank, world)
            for step in (3, 1):
                found, wanted = part.batch(step), whole[step]
                assert torch.equal(found.images, wanted.images[rank::world])
                assert torch.equal(found.index, wanted.index[rank::world])
                assert same(found.targets[kind], wanted.targets[kind][rank::world])


def test_mixing_takes_samples_of_its_own_loader_alone(tmp_path) -> None:
    images = [torch.full((1, 40 + i, 50), 10 * i, dtype=torch.uint8) for i in range(20)]
    shards = shards_of(tmp_path, [Sample(one, {"label": Label(0)}, str(i)) for i, one in enumerate(images)])
    own = np.arange(5, 12)
    fit = Compose(steps=(Resize(size=30),))
    loader = Loader(shards, own, 7, 0, Augment(mosaic=1.0, fill="edge"), fit=fit)
    seen = np.unique(torch.cat([loader.batch(step).images for step in range(6)]).numpy())
    assert set(seen.tolist()) == {10 * i for i in own.tolist()}


@pytest.mark.parametrize("fit", [FIT, CROPPED])
@pytest.mark.parametrize("kind", ["label", "boxes", "mask"])
def test_sequential_gives_what_predicting_sees(tmp_path, kind, fit) -> None:
    shards = made(tmp_path, kind, channels=3)
    loader = Loader(shards, np.arange(25), 8, 0, ALL, fit=fit)
    at = 0
    for batch in loader.sequential(10):
        for place in range(len(batch)):
            sample = fit(shards.read(at))
            assert torch.equal(batch.images[place], sample.image)
            target = sample.targets[kind]
            wanted = type(target).collate([target])
            assert same(batch.targets[kind][place : place + 1], wanted)
            at += 1
    assert at == 25
    assert loader.shape == (3, *fit.output_size((60, 60)))


@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(flip=(0, -1)),
        Augment(scale=(0.7, 1.5), translate=0.2),
        Augment(crop_scale=(0.4, 1.0), flip=(-1,)),
        Augment(mosaic=1.0, flip=(-1,)),
    ],
)
def test_boxes_lie_about_what_the_batch_shows(tmp_path, augment) -> None:
    """Every rectangle is painted brightly, so that its boxes can be read off the picture, to a pixel of blur."""
    loader = Loader(made(tmp_path, "boxes"), np.arange(25), 10, 1, augment.replace(keep_boxes=0.0), fit=FIT)
    for step in range(3):
        batch = loader.batch(step)
        for image, boxes in zip(batch.images[:, 0], batch.targets["boxes"], strict=True):
            near = torch.zeros(image.shape, dtype=torch.bool)
            for low_y, low_x, high_y, high_x in boxes.bounds().tolist():
                assert 0 <= low_y < high_y <= 48
                assert 0 <= low_x < high_x <= 64
                assert bool(
                    (image[round(low_y) + 1 : round(high_y) - 1, round(low_x) + 1 : round(high_x) - 1] > 130).all()
                )
                near[max(0, round(low_y) - 1) : round(high_y) + 1, max(0, round(low_x) - 1) : round(high_x) + 1] = True
            assert not bool((image > 130)[~near].any())


@pytest.mark.parametrize("augment", [Augment(), GEOMETRY, Augment(crop_scale=(0.4, 1.0)), GEOMETRY.replace(mosaic=1.0)])
def test_masks_lie_on_what_the_batch_shows(tmp_path, augment) -> None:
    loader = Loader(made(tmp_path, "mask"), np.arange(25), 10, 1, augment, fit=FIT)
    for step in range(3):
        batch = loader.batch(step)
        masks = batch.targets["mask"]
        assert masks.dtype == torch.int64
        bright = batch.images[:, 0] > 130
        known = masks != 255
        assert float(((masks == 1) != bright)[known].float().mean()) < 0.06
        assert set(masks.unique().tolist()) <= {0, 1, 255}


def test_a_letterbox_shows_its_own_fill_however_it_is_moved(tmp_path) -> None:
    loader = Loader(made(tmp_path, "mask"), np.arange(25), 25, 1, GEOMETRY, fit=FIT)
    batch = loader.batch(0)
    outside = batch.targets["mask"] == 255
    narrow = np.array([size[0] * 64 != size[1] * 48 for size in loader.shards.rows[batch.index, 6:8].tolist()])
    values = batch.images[:, 0][torch.from_numpy(narrow)][outside[torch.from_numpy(narrow)]]
    assert float((values == 10).float().mean()) > 0.8  # the rest are pixels between picture and fill


def test_few_pixels_of_a_box_are_no_box_and_are_counted(tmp_path) -> None:
    shards = made(tmp_path, "boxes")
    moved = Augment(translate=0.9)
    all_kept = Loader(shards, np.arange(25), 25, 0, moved.replace(keep_boxes=0.0), fit=FIT)
    strict = Loader(shards, np.arange(25), 25, 0, moved.replace(keep_boxes=0.9), fit=FIT)
    many, few = (sum(len(one.classes) for one in each.batch(0).targets["boxes"]) for each in (all_kept, strict))
    assert few < many < 25
    assert strict.dropped >= 25 - few > 0


def test_mixed_labels_are_tags_that_add_up_to_one(tmp_path) -> None:
    shards = made(tmp_path, "label")
    for augment in (Augment(mixup=0.4), Augment(mosaic=0.5), Augment(mosaic=0.5, mixup=0.4)):
        tags = Loader(shards, np.arange(25), 20, 0, augment, fit=FIT).batch(1).targets["label"]
        assert tags.shape == (20, 3)
        assert torch.allclose(tags.sum(dim=1), torch.ones(20))
        assert bool(((tags > 0.01) & (tags < 0.99)).any())
    plain = Loader(shards, np.arange(25), 20, 0, Augment(mixup=0.4).without_mixing(), fit=FIT).batch(1)
    assert plain.targets["label"].dtype == torch.int64


@pytest.mark.parametrize("resident", [0, 1 << 30])
def test_samples_of_one_shape_are_mixed_too(tmp_path, resident) -> None:
    images = [torch.full((1, 8, 8), 9 * i, dtype=torch.uint8) for i in range(20)]
    shards = shards_of(tmp_path, [Sample(one, {"label": Label(i % 3)}, str(i)) for i, one in enumerate(images)])
    one = Loader(shards, np.arange(20), 6, 0, Augment(mixup=0.4), resident_bytes=resident)
    parts = [Loader(shards, np.arange(20), 6, 0, Augment(mixup=0.4), rank=r, world=3) for r in range(3)]
    for step in (0, 5):
        whole = one.batch(step)
        assert whole.targets["label"].shape == (6, 3)
        for rank, part in enumerate(parts):
            found = part.batch(step)
            assert torch.equal(found.images, whole.images[rank::3])
            assert torch.equal(found.targets["label"], whole.targets["label"][rank::3])


def test_encoded_samples_give_the_same_batches(tmp_path) -> None:
    samples = [ragged(place, "label", channels=3) for place in range(20)]
    augment = Augment(flip=(-1,), crop_scale=(0.2, 1.0), hue=20)
    raw, png = (
        Loader(shards_of(tmp_path / codec, samples, codec=codec), np.arange(20), 8, 0, augment, fit=CROPPED)
        for codec in ("raw", PNG)
    )
    for step in range(3):
        assert torch.equal(raw.batch(step).images, png.batch(step).images)


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes_of_several_sizes_are_batched(tmp_path, axes) -> None:
    shards = shards_of(tmp_path, [ragged(place, "label", axes) for place in range(10)])
    fit = Compose(steps=(CenterCrop(size=32),))
    augment = Augment(stretch=(0.8, 1.2), translate=0.1, gain=0.1, noise=0.01, mosaic=0.3)
    loader = Loader(shards, np.arange(10), 4, 0, augment, fit=fit)
    assert loader.batch(0).images.shape == (4, 1, *(32,) * axes)
    assert next(loader.sequential()).images.shape == (4, 1, *(32,) * axes)


def test_a_fit_that_moves_nothing_stays_on_the_fast_path(tmp_path) -> None:
    images = [torch.full((1, 8, 8), 9 * i, dtype=torch.uint8) for i in range(20)]
    shards = shards_of(tmp_path, [Sample(one, {"label": Label(i % 3)}, str(i)) for i, one in enumerate(images)])
    still = Compose(steps=(CenterCrop(size=8),))
    assert Loader(shards, np.arange(20), 6, 0, None, Normalise(), fit=still).normalised
    assert Loader(shards, np.arange(20), 6, 0, fit=Compose(steps=(CenterCrop(size=6),))).shape == (1, 6, 6)


def test_memory_does_not_grow_with_steps(tmp_path) -> None:
    loader = Loader(made(tmp_path, "boxes"), np.arange(25), 3, 1, ALL.replace(mixup=0.3), fit=FIT)
    for step in range(8):
        loader.batch(step)
    tracemalloc.start()
    try:
        loader.batch(8)
        before = tracemalloc.get_traced_memory()[0]
        for step in range(9, 19):
            loader.batch(step)
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "augment", "fit", "message"),
    [
        ("label", None, None, "samples of 25 shapes"),
        ("label", None, Compose(steps=(Resize(size=30, keep="short"),)), "fit: samples of"),
        ("label", None, Compose(steps=(CenterCrop(size=30), Normalise())), "fit: a normalise changes values"),
        ("label", Augment(crop_scale=(0.5, 1), crop_size=20), FIT, "augment.crop_size: 20x20 where the input is 48x64"),
        ("mask", Augment(mixup=0.2), FIT, "augment.mixup: masks have no meaningful mean"),
    ],
)
def test_what_cannot_be_batched_is_said_at_once(tmp_path, kind, augment, fit, message) -> None:
    with pytest.raises(InputError, match=message):
        Loader(made(tmp_path, kind), np.arange(25), 5, 0, augment, fit=fit)


def test_targets_are_of_their_kinds(tmp_path) -> None:
    batch = Loader(made(tmp_path, "boxes"), np.arange(25), 5, 0, fit=FIT).batch(0)
    assert all(isinstance(one, Boxes) for one in batch.targets["boxes"])
    assert Mask.kind == "mask"


@pytest.mark.parametrize("augment", [Augment(mixup=0.4), Augment(mosaic=1.0, flip=(-1,))], ids=["mixup", "mosaic"])
@pytest.mark.parametrize("fit", [None, CROPPED], ids=["one shape", "ragged"])
def test_after_so_many_steps_nothing_is_mixed_and_all_else_is_drawn_alike(tmp_path, augment, fit) -> None:
    same = [Sample(torch.full((1, 48, 64), i, dtype=torch.uint8), {"label": Label(i % 3)}, str(i)) for i in range(20)]
    shards = shards_of(tmp_path, same if fit is None else [ragged(place, "label") for place in range(20)])
    ending = Loader(shards, np.arange(20), 6, 0, augment, fit=fit, mixed_steps=4)
    mixed = Loader(shards, np.arange(20), 6, 0, augment, fit=fit)
    quiet = Loader(shards, np.arange(20), 6, 0, augment.without_mixing(), fit=fit)
    for step in (3, 4, 9):
        expected = (mixed if step < 4 else quiet).batch(step)
        assert torch.equal(ending.batch(step).images, expected.images)
        assert torch.equal(ending.batch(step).targets["label"], expected.targets["label"])
