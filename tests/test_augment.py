"""data/augment: draws by sample, batches moved at once, maps that say what happened."""

import json

import numpy as np
import pytest
import torch

from made_shards import painted
from striate.core.errors import InputError
from striate.core.move import move_images
from striate.core.spec import Spec
from striate.core.targets import Boxes, Mask
from striate.core.transform import Affine
from striate.data.augment import Augment

EVERYTHING = Augment(flip=(-1,), shift=3, crop_scale=(0.3, 1.0), cutout=2, fill="mean")
EXAMPLES = [
    Augment(),
    Augment(flip=(0, -1)),
    Augment(shift=2, fill="edge"),
    Augment(crop_scale=(0.2, 0.9), crop_size=7, filter="cubic"),
    Augment(cutout=3, fill=9.0),
    EVERYTHING,
    Augment(translate=0.2, scale=(0.7, 1.4), stretch=(0.8, 1.25), fill="mean"),
    Augment(gain=0.1, noise=0.05, blur=(0.1, 1.0), brightness=0.2, contrast=0.3),
]
TURNED = Augment(flip=(-1,), shift=2, translate=0.1, rotate=30, shear=15, scale=(0.6, 1.5), stretch=(0.8, 1.2))


def noise(count, size, dtype=torch.uint8, channels=2):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(1, 200, (count, channels, *size), generator=generator).to(dtype)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_it_is_restored_from_its_json(spec):
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("size", [(20,), (12, 15), (6, 7, 8)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("spec", EXAMPLES)
def test_any_axes_and_types_come_out_as_said(spec, size, dtype):
    images, maps = spec.apply(noise(6, size, dtype), 0, 0, np.arange(6))
    assert images.dtype == dtype
    assert images.shape == (6, 2, *spec.canvas(size))
    assert len(maps) == 6
    assert {one.canvas for one in maps} == {spec.canvas(size)}


@pytest.mark.parametrize("size", [(20,), (12, 15), (6, 7, 8)])
@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_sample_is_augmented_alike_in_any_batch(spec, size):
    images, indices = noise(9, size), np.array([4, 100, 7, 3, 2, 10**6, 0, 55, 8])
    together, maps = spec.apply(images, 3, 2, indices)
    order = np.array([5, 0, 8])
    apart, some = spec.apply(images[order], 3, 2, indices[order])
    assert torch.equal(together[order], apart)
    assert np.array_equal(maps.matrices[order], some.matrices)


def test_a_batch_may_hold_two_epochs():
    images, epochs, indices = noise(4, (8, 8)), np.array([0, 0, 1, 1]), np.array([5, 6, 5, 6])
    together, _ = EVERYTHING.apply(images, 0, epochs, indices)
    apart = [EVERYTHING.apply(images[2 * e : 2 * e + 2], 0, e, indices[2 * e : 2 * e + 2])[0] for e in (0, 1)]
    assert torch.equal(together, torch.cat(apart))


def test_seeds_and_epochs_draw_anew():
    draws = [EVERYTHING.draw(seed, epoch, np.arange(200), (28, 28)) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert not np.array_equal(one.shifts, other.shifts)
            assert not np.array_equal(one.flips, other.flips)


def test_switching_one_draw_on_changes_no_other():
    alone = Augment(shift=3).draw(0, 1, np.arange(50), (28, 28))
    beside = EVERYTHING.draw(0, 1, np.arange(50), (28, 28))
    assert np.array_equal(alone.shifts, beside.shifts)


def test_another_flipped_axis_leaves_the_first_as_it_was():
    one, two = (Augment(flip=axes).draw(0, 0, np.arange(99), (8, 8)).flips for axes in ((-1,), (0, -1)))
    assert np.array_equal(one[:, 1], two[:, 1])
    assert not one[:, 0].any()


@pytest.mark.parametrize("fill", [0.0, 7.0, "edge", "mean"])
@pytest.mark.parametrize("size", [(20,), (12, 15), (5, 6, 7)])
def test_the_maps_say_where_every_pixel_went(fill, size):
    """Moving sample by sample with the returned maps gives the same pixels as moving the batch at once."""
    images = noise(20, size)
    moved, maps = Augment(flip=(0, -1), shift=4, fill=fill).apply(images, 0, 0, np.arange(20))
    alone = torch.cat([move_images(images[i : i + 1], [maps[i]]) for i in range(20)])
    assert torch.equal(moved, alone)


def test_the_maps_of_resized_crops_say_where_every_pixel_went():
    grid = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij"))[None] + 0.5
    spec = Augment(flip=(-1,), crop_scale=(0.2, 0.8), crop_size=(24, 30))
    moved, maps = spec.apply(grid.expand(8, -1, -1, -1), 0, 0, np.arange(8))
    centres = np.stack(np.meshgrid(np.arange(24) + 0.5, np.arange(30) + 0.5, indexing="ij"), axis=-1)
    for image, one in zip(moved, maps, strict=True):
        source = one.inverse((40, 50)).points(centres)
        inner = np.s_[3:-3, 3:-3]  # at the border of a crop the filter sees less; widened, it is off a ramp by a little
        assert np.allclose(image.permute(1, 2, 0).numpy()[inner], source[inner], atol=0.15)


def test_flips_happen_half_of_the_time_and_shifts_evenly():
    draws = Augment(flip=(-1,), shift=2).draw(0, 0, np.arange(10_000), (28, 28))
    assert abs(draws.flips[:, 1].mean() - 0.5) < 0.02
    counts = np.bincount(draws.shifts[:, 0] + 2, minlength=5)
    assert counts.shape == (5,)
    assert np.abs(counts - 2000).max() < 200


def test_shift_may_differ_by_axis():
    shifts = Augment(shift=(0, 3)).draw(0, 0, np.arange(500), (28, 28)).shifts
    assert np.abs(shifts).max(axis=0).tolist() == [0, 3]


@pytest.mark.parametrize("size", [(200,), (90, 120), (40, 50, 60)])
def test_crops_keep_the_share_that_was_asked_and_stay_inside(size):
    spec = Augment(crop_scale=(0.25, 0.5), crop_ratio=(0.9, 1.1))
    draws = spec.draw(0, 0, np.arange(2000), size)
    assert (draws.low >= 0).all()
    assert (draws.low + draws.side <= np.array(size)).all()
    share = draws.side.prod(axis=1) / np.prod(size)
    assert 0.23 < share.min() < 0.27
    assert 0.47 < share.max() < 0.53
    assert np.unique(draws.low[:, 0]).size > 10


def test_crops_have_the_proportions_that_were_asked():
    side = Augment(crop_scale=(0.1, 0.1), crop_ratio=(0.5, 2.0)).draw(0, 0, np.arange(2000), (200, 200)).side
    ratio = side[:, 1] / side[:, 0]
    assert 0.48 < ratio.min() < 0.52
    assert 1.95 < ratio.max() < 2.06
    assert abs(np.log(ratio).mean()) < 0.03


def test_cutout_fills_one_box_and_moves_nothing():
    images = noise(50, (16, 16))
    out, maps = Augment(cutout=4, fill=0.0).apply(images, 0, 0, np.arange(50))
    holes = (out == 0).all(dim=1)
    assert holes.sum(dim=(1, 2)).max() == 16
    assert holes.sum(dim=(1, 2)).min() >= 4
    assert torch.equal(out[~holes[:, None].expand_as(out)], images[~holes[:, None].expand_as(out)])
    assert all(np.array_equal(one.matrix, np.eye(3)) for one in maps)


def test_nothing_asked_nothing_changed():
    images = noise(4, (8, 8))
    out, maps = Augment().apply(images, 0, 0, np.arange(4))
    assert torch.equal(out, images)
    assert [one.exact for one in maps[1:3]] == [True, True]


@pytest.mark.parametrize(
    ("spec", "size", "slack"),
    [
        (TURNED, (60, 80), 0.03),
        (TURNED, (24, 30, 26), 0.05),
        (Augment(scale=(0.5, 2.0), stretch=(0.7, 1.4), translate=0.2, flip=(0, -1)), (60, 80), 0.02),
        (Augment(stretch=(0.7, 1.4), translate=0.2, flip=(0,)), (90,), 0.02),
        (TURNED.replace(crop_scale=(0.3, 0.9), crop_size=(50, 70)), (60, 80), 0.03),
    ],
)
def test_image_mask_and_boxes_agree_after_any_drawn_map(spec, size, slack):
    for place in range(8):
        image, bounds = painted(place, size, 1, 200)
        moved, maps = spec.apply(image[None], 0, 0, np.array([place]))
        mask = Mask((image[0] > 0).to(torch.uint8), 0).move(maps[0]).values > 0
        bright = moved[0, 0] > 100
        assert float((mask != bright).float().mean()) < slack
        if not mask.any():
            continue
        box = Boxes.from_bounds(torch.tensor([bounds]).double(), torch.tensor([0])).move(maps[0])
        cut, lost = box.clip(spec.canvas(size), 0.0)
        assert lost == 0
        where = mask.nonzero().double()
        if spec.rotate == 0:
            seen = torch.cat((where.amin(dim=0), where.amax(dim=0) + 1))
            assert float((cut.bounds()[0] - seen).abs().max()) <= 0.5 + 1e-9
        else:  # on the canvas a turned rectangle may be cut; its box holds whatever is seen of it
            low, high = cut.bounds()[0].chunk(2)
            assert bool(((where + 0.5 >= low) & (where + 0.5 <= high)).all())


@pytest.mark.parametrize("fill", [7.0, "edge", "mean"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (Augment(flip=(-1,), stretch=(0.6, 1.6), translate=0.2), (50,)),
        (Augment(flip=(0, -1), stretch=(0.6, 1.6), shift=2), (20, 26)),
        (TURNED, (20, 26)),
        (TURNED, (9, 12, 10)),
    ],
)
def test_moving_the_batch_at_once_is_moving_one_by_one(spec, size, dtype, fill):
    images = noise(12, size, dtype)
    moved, maps = spec.replace(fill=fill).apply(images, 0, 0, np.arange(12))
    alone = torch.cat([move_images(images[i : i + 1], [maps[i]]) for i in range(12)])
    assert float((moved.float() - alone.float()).abs().max()) <= (1 if dtype == torch.uint8 else 2e-3)


@pytest.mark.parametrize("size", [(50,), (20, 26), (9, 12, 10)])
def test_interpolated_samples_come_out_alike_in_any_batch(size):
    spec = Augment(stretch=(0.5, 1.8), scale=(0.5, 1.5)) if len(size) == 1 else TURNED
    for one in (spec, spec.replace(rotate=0.0, shear=0.0)):
        images, indices = noise(9, size, torch.float32) + 0.3, np.arange(9) * 7
        together, _ = one.apply(images, 3, 2, indices)
        for place in range(9):
            apart, _ = one.apply(images[place : place + 1], 3, 2, indices[place : place + 1])
            assert torch.equal(together[place : place + 1], apart)


def test_drawn_maps_are_undone_by_their_inverse():
    for spec, size in ((TURNED, (60, 80)), (TURNED.replace(crop_scale=(0.3, 0.9)), (20, 24, 30))):
        maps = spec.maps(spec.draw(0, 0, np.arange(20), size), size)
        points = np.random.default_rng(0).random((50, len(size))) * size
        for one in maps:
            assert np.allclose(one.inverse(size).points(one.points(points)), points, atol=1e-9)


def test_turning_and_shearing_have_the_signs_of_the_fixed_transform():
    draws = Augment(rotate=40, shear=20).draw(0, 0, np.arange(1), (30, 40))
    slope = Augment(shear=20).draw(0, 0, np.arange(1), (30, 40)).linear[0, 0, 1]
    alone = Augment(rotate=40).draw(0, 0, np.arange(1), (30, 40)).linear[0]
    degrees = float(np.degrees(np.arctan2(alone[1, 0], alone[0, 0])))
    shear = float(np.degrees(np.arctan(slope)))
    expected = Affine(degrees=degrees, shear=shear).map((30, 40)).matrix
    found = Augment(rotate=40, shear=20).maps(draws, (30, 40)).matrices[0]
    assert np.allclose(found, expected)


def test_scale_and_stretch_are_even_on_a_logarithmic_scale():
    draws = Augment(scale=(0.5, 2.0)).draw(0, 0, np.arange(4000), (30, 40))
    logs = np.log2(draws.linear[:, 0, 0])
    assert -1 <= logs.min() < -0.99
    assert 0.99 < logs.max() <= 1
    assert abs(logs.mean()) < 0.03
    assert np.array_equal(draws.linear[:, 0, 0], draws.linear[:, 1, 1])
    stretch = Augment(stretch=(0.5, 2.0)).draw(0, 0, np.arange(4000), (30, 40)).linear
    assert abs(np.corrcoef(np.log(stretch[:, 0, 0]), np.log(stretch[:, 1, 1]))[0, 1]) < 0.05


def test_translations_are_whole_and_even():
    moves = Augment(translate=(0.0, 0.1)).draw(0, 0, np.arange(5000), (30, 40)).moves
    assert np.bincount(moves[:, 1] + 4, minlength=9).min() > 450
    assert not moves[:, 0].any()


def test_enlarging_enlarges():
    image = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    image[:, :, 15:25, 15:25] = 200
    moved, _ = Augment(scale=(2.0, 2.0)).apply(image, 0, 0, np.arange(1))
    assert int((moved > 100).sum()) == 400


def test_without_mixing_all_else_is_drawn_alike():
    spec = EVERYTHING.replace(mosaic=0.5, mixup=0.2)
    assert spec.mixes
    assert spec.without_mixing() == EVERYTHING


def test_the_input_is_not_written_to():
    images = noise(8, (12, 12))
    before = images.clone()
    EVERYTHING.apply(images, 0, 0, np.arange(8))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: Augment(flip=(1,)).apply(noise(1, (9,)), 0, 0, np.arange(1)),
            "augment.flip: axis 1 of samples",
        ),
        (
            lambda: Augment(shift=(1, 2)).apply(noise(1, (9,)), 0, 0, np.arange(1)),
            "augment.shift: 2 numbers for 1",
        ),
        (lambda: Spec.from_json({"kind": "augment", "shift": -1}), "spec: augment.shift"),
        (lambda: Spec.from_json({"kind": "augment", "crop_scale": [0, 1]}), "spec: augment: crop_scale is a range"),
        (lambda: Spec.from_json({"kind": "augment", "crop_size": 4}), "spec: augment: crop_size needs"),
        (lambda: Augment(rotate=9).apply(noise(1, (9,)), 0, 0, np.arange(1)), "augment.rotate: signals have one axis"),
        (lambda: Augment(shear=9).apply(noise(1, (9,)), 0, 0, np.arange(1)), "augment.shear: signals have one axis"),
        (
            lambda: Augment(translate=(0.1, 0.2)).apply(noise(1, (9,)), 0, 0, np.arange(1)),
            "augment.translate: 2 numbers for 1 axes",
        ),
        (lambda: Spec.from_json({"kind": "augment", "scale": [2, 1]}), "spec: augment: scale is a range above 0"),
        (lambda: Spec.from_json({"kind": "augment", "blur": [-1, 1]}), "spec: augment: blur is a range"),
        (lambda: Spec.from_json({"kind": "augment", "rotate": 200}), "spec: augment: rotate is from 0 to 180 degrees"),
        (lambda: Spec.from_json({"kind": "augment", "mosaic": 2}), "spec: augment.mosaic: a number from 0 to 1"),
        (lambda: Spec.from_json({"kind": "augment", "mixup": -1}), "spec: augment.mixup: a finite number"),
        (lambda: Spec.from_json({"kind": "augment", "pca_basis": [[1, 2]]}), "spec: augment: pca_basis is three rows"),
        (lambda: Spec.from_json({"kind": "augment", "sharpen": 1}), "spec: augment.sharpen: unknown key"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(act, message):
    with pytest.raises(InputError) as caught:
        act()
    assert str(caught.value).startswith(message)
