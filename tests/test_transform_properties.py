"""Properties of maps in 1, 2 and 3 axes: inverses, composition, everything moves together, slow oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.map import AxisMap, Map
from striate.core.move import move_images
from striate.core.resample import resample_axes, resize
from striate.core.sample import Boxes, Keypoints, Mask, Sample
from striate.core.transform import Affine, Compose, Crop, Flip, Letterbox, Pad, QuarterTurn, Resize, Shift

DTYPES = [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.float16, torch.float32, torch.float64]
sizes = st.integers(1, 3).flatmap(lambda axes: st.tuples(*[st.integers(1, 9)] * axes))


def numbered(size, channels=1, dtype=torch.int32):
    """An image in which every pixel has its own value from 1 up."""
    count = channels * int(np.prod(size))
    return (torch.arange(count, dtype=torch.int32) + 1).reshape(channels, *size).to(dtype)


def full_sample(size, generator=None):
    """A numbered image, the same numbers as a mask (-1 for nothing), two boxes and three points on a 1/8 grid."""
    draw = np.random.default_rng(generator or 0)
    low = draw.integers(0, 40, (2, len(size))) / 8
    bounds = torch.from_numpy(np.concatenate((low, low + draw.integers(1, 40, (2, len(size))) / 8), axis=1))
    points = torch.from_numpy(draw.integers(-20, 80, (1, 3, len(size))) / 8)
    targets = {
        "boxes": Boxes.from_bounds(bounds, torch.tensor([0, 1])),
        "mask": Mask(numbered(size)[0], ignore=-1),
        "points": Keypoints(points, torch.tensor([[True, False, True]])),
    }
    return Sample(numbered(size, channels=2), targets)


@st.composite
def mirrors(draw, axes):
    """Flips and quarter turns: no pixel is lost."""
    if axes > 1 and draw(st.booleans()):
        plane = draw(st.permutations(range(axes)))[:2]
        return QuarterTurn(times=draw(st.integers(-3, 5)), plane=tuple(plane))
    return Flip(axes=tuple(draw(st.sets(st.integers(-axes, axes - 1)))))


@st.composite
def straight(draw, axes):
    """Anything that only changes places, content may leave the canvas."""
    several = st.tuples(*[st.integers(-3, 3)] * axes)
    return draw(
        st.one_of(
            mirrors(axes),
            several.map(lambda offset: Shift(offset=offset)),
            several.map(lambda start: Crop(start=start, size=4)),
            st.tuples(*[st.integers(0, 3)] * axes).map(lambda before: Pad(before=before, after=before[::-1])),
        )
    )


@st.composite
def smooth(draw, axes):
    """Resizes and affine maps as well."""
    turn = st.floats(-180, 180).map(lambda degrees: Affine(degrees=degrees if axes > 1 else 0.0, scale=0.8, offset=0.3))
    resizes = st.integers(1, 12).flatmap(lambda n: st.sampled_from([Resize(size=n), Letterbox(size=n)]))
    return draw(st.one_of(straight(axes), turn, resizes))


@settings(max_examples=60)
@given(data=st.data(), size=sizes)
def test_flips_and_quarter_turns_are_undone_exactly(data, size):
    sample, spec = full_sample(size), data.draw(mirrors(len(size)))
    back = spec.invert(spec(sample), size)
    assert torch.equal(back.image, sample.image)
    assert all(back.targets[name].equals(one) for name, one in sample.targets.items())


@settings(max_examples=60)
@given(data=st.data(), size=sizes)
def test_whole_shifts_crops_and_pads_are_undone_exactly_where_content_stayed(data, size):
    sample, spec = full_sample(size), data.draw(straight(len(size)))
    back = spec.invert(spec(sample), size)
    stayed = back.targets["mask"].values != -1
    assert torch.equal(back.image[:, stayed], sample.image[:, stayed])
    assert int(stayed.sum()) == int((spec(sample).targets["mask"].values != -1).sum())
    assert all(back.targets[name].equals(sample.targets[name]) for name in ("boxes", "points"))


@settings(max_examples=60)
@given(data=st.data(), size=sizes)
def test_boxes_under_scaling_are_undone_exactly(data, size):
    """To the last bit of float32, in which coordinates usually come; in float64 to its rounding."""
    spec = Resize(size=tuple(data.draw(st.integers(1, 2000)) for _ in size))
    bounds = [data.draw(st.floats(0, 1e4, width=32)) for _ in range(2 * len(size))]
    boxes = Boxes.from_bounds(torch.tensor([bounds]), torch.tensor([0]))
    by = spec.map(size)
    back = boxes.move(by).move(by.inverse(size))
    assert torch.equal(back.points.float(), boxes.points.float())


@settings(max_examples=60)
@given(data=st.data(), size=sizes)
def test_points_and_boxes_come_back_under_every_map(data, size):
    sample, spec = full_sample(size), data.draw(smooth(len(size)))
    by = spec.map(size)
    for name in ("boxes", "points"):
        target = sample.targets[name]
        assert torch.allclose(target.move(by).move(by.inverse(size)).points, target.points, atol=1e-6)


@settings(max_examples=80)
@given(data=st.data(), size=sizes)
def test_a_composed_map_moves_pixels_as_its_steps_do(data, size):
    """Where the steps lost nothing at the edge of a canvas on the way."""
    steps = tuple(data.draw(straight(len(size))) for _ in range(data.draw(st.integers(0, 4))))
    spec, sample = Compose(steps=steps), full_sample(size)
    one_by_one, at_once = spec(sample), sample.move(spec.map(size))
    kept = one_by_one.targets["mask"].values != -1
    assert torch.equal(one_by_one.image[:, kept], at_once.image[:, kept])
    assert torch.equal(one_by_one.targets["mask"].values[kept], at_once.targets["mask"].values[kept])


@settings(max_examples=80)
@given(data=st.data(), size=sizes)
def test_a_composed_map_moves_points_as_its_steps_do(data, size):
    steps = tuple(data.draw(smooth(len(size))) for _ in range(data.draw(st.integers(0, 4))))
    spec, sample = Compose(steps=steps), full_sample(size)
    one_by_one, by = spec(sample), spec.map(size)
    assert one_by_one.size == by.canvas
    for name in ("boxes", "points"):
        moved = sample.targets[name].move(by)
        assert torch.allclose(one_by_one.targets[name].points, moved.points, atol=1e-7)


def test_resize_then_crop_as_one_map_gives_the_same_pixels():
    image = torch.randint(0, 256, (1, 3, 75, 100), dtype=torch.uint8)
    spec = Compose(steps=(Resize(size=51, keep="short"), Crop(start=(3, 7), size=40)))
    assert torch.equal(spec.images(image), move_images(image, [spec.map((75, 100))]))


@settings(max_examples=60)
@given(data=st.data(), size=sizes, dtype=st.sampled_from(DTYPES))
def test_a_batch_moves_as_its_samples_do_and_keeps_its_type(data, size, dtype):
    axes, canvas = len(size), tuple(data.draw(st.integers(1, 9)) for _ in size)
    fill = data.draw(st.sampled_from([0.0, 3.0, (1.0, 2.0), "edge", "mean"]))
    rows = st.tuples(st.booleans(), st.integers(-12, 12))
    maps = [
        Map.aligned(
            tuple(AxisMap(a, -1.0 if flip else 1.0, float(at)) for a, (flip, at) in enumerate(row)), canvas, fill
        )
        for row in data.draw(st.lists(st.tuples(*[rows] * axes), min_size=2, max_size=4))
    ]
    one = numbered(size, 2, dtype)
    images = torch.stack([one.flip(0) if i % 2 else one for i in range(len(maps))])
    together = move_images(images, maps)
    alone = torch.cat([move_images(images[i : i + 1], [one]) for i, one in enumerate(maps)])
    assert together.dtype == dtype
    assert together.shape == (len(maps), 2, *canvas)
    assert torch.equal(together, alone)


@settings(max_examples=60)
@given(data=st.data(), size=sizes, dtype=st.sampled_from(DTYPES))
def test_the_numeric_type_is_kept(data, size, dtype):
    spec = data.draw(smooth(len(size)))
    out = spec(Sample((numbered(size) % 101).to(dtype)))
    assert out.image.dtype == dtype
    assert out.image.double().min() >= 0
    assert out.image.double().max() <= 100


@settings(max_examples=80)
@given(data=st.data(), size=st.integers(1, 3).flatmap(lambda axes: st.tuples(*[st.integers(3, 12)] * axes)))
def test_a_box_and_the_mask_of_its_interior_move_together(data, size):
    """A canvas pixel belongs to the moved mask exactly when its centre is in the moved box (and the source shows)."""
    axes = len(size)
    low = [data.draw(st.integers(0, n - 1)) for n in size]
    high = [data.draw(st.integers(at + 1, n)) for at, n in zip(low, size, strict=True)]
    inside = torch.zeros(size, dtype=torch.uint8)
    inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    boxes = Boxes.from_bounds(torch.tensor([[*low, *high]]), torch.tensor([0]))
    step = data.draw(
        st.one_of(
            straight(axes),
            st.tuples(*[st.integers(1, 20)] * axes).map(lambda to: Resize(size=to)),
            st.integers(2, 20).map(lambda to: Letterbox(size=to)),
        )
    )
    out = step(Sample(torch.zeros(1, *size), {"boxes": boxes, "mask": Mask(inside)}))
    bounds = out.targets["boxes"].bounds()[0].numpy()
    centres = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in out.size], indexing="ij"), axis=-1)
    distance = np.minimum(centres - bounds[:axes], bounds[axes:] - centres).min(axis=-1)  # above 0 inside
    clear = np.abs(distance) > 1e-6  # a centre exactly on an edge may fall to either side
    assert np.array_equal((out.targets["mask"].values.numpy() == 1)[clear], (distance > 0)[clear])


@settings(max_examples=40)
@given(degrees=st.floats(-180, 180), shear=st.floats(-30, 30), scale=st.floats(0.5, 2.0))
def test_a_rotated_box_and_its_mask_move_together(degrees, shear, scale):
    inside = torch.zeros(40, 50, dtype=torch.uint8)
    inside[10:30, 15:35] = 1
    boxes = Boxes.from_bounds(torch.tensor([[10.0, 15, 30, 35]]), torch.tensor([0]))
    step = Affine(degrees=degrees, shear=shear, scale=scale)
    image = inside[None].float()
    out = step(Sample(image, {"boxes": boxes, "mask": Mask(inside)}))
    corners = out.targets["boxes"].points[0].numpy()[[0, 1, 3, 2]]  # in order around the box
    centres = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(50) + 0.5, indexing="ij"), axis=-1)
    sides = []
    for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along, to = other - one, centres - one
        sides.append((along[1] * to[..., 0] - along[0] * to[..., 1]) / np.linalg.norm(along))
    distance = np.min(sides, axis=0) if np.mean(sides[0]) + np.mean(sides[2]) > 0 else np.min(-np.array(sides), axis=0)
    clear = np.abs(distance) > 1e-6
    assert np.array_equal((out.targets["mask"].values.numpy() == 1)[clear], (distance > 0)[clear])
    soft = out.image[0].numpy()
    assert (soft[distance > 2.5] > 0.99).all()
    assert (soft[distance < -2.5] < 0.01).all()


def slow_weights(n, scale, offset, to, kind):
    """The filter weights (to, n) written down pixel by pixel, in float64."""

    def weigh(x):
        x = abs(x)
        if kind == "linear":
            return max(0.0, 1 - x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    rows = np.zeros((to, n))
    for i in range(to):
        centre = min(max((i + 0.5 - offset) / scale, 0.0), n)
        for j in range(n):
            rows[i, j] = weigh((j + 0.5 - centre) * min(1.0, scale))
    return rows / rows.sum(axis=1, keepdims=True)


def slow_resample(image, scales, offsets, canvas, kind):
    out = image.double().numpy()
    for axis, (scale, offset, to) in enumerate(zip(scales, offsets, canvas, strict=True)):
        weights = slow_weights(out.shape[1 + axis], scale, offset, to, kind)
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, 1 + axis)), 0, 1 + axis)
    return out


@settings(max_examples=60)
@given(data=st.data(), size=sizes, kind=st.sampled_from(["linear", "cubic"]))
def test_resizing_agrees_with_the_slow_oracle(data, size, kind):
    to = tuple(data.draw(st.integers(1, 12)) for _ in size)
    image = torch.rand(2, *size, generator=torch.Generator().manual_seed(sum(size)))
    expected = slow_resample(image, [m / n for n, m in zip(size, to, strict=True)], [0.0] * len(size), to, kind)
    assert np.allclose(resize(image[None], to, kind)[0].numpy(), expected, atol=1e-5)


@settings(max_examples=60)
@given(data=st.data(), size=sizes, kind=st.sampled_from(["linear", "cubic"]))
def test_any_aligned_map_agrees_with_the_slow_oracle(data, size, kind):
    axes, canvas = len(size), tuple(data.draw(st.integers(1, 9)) for _ in size)
    scales = [data.draw(st.floats(0.2, 4)) for _ in range(axes)]
    offsets = [data.draw(st.floats(-5, 5)) for _ in range(axes)]
    image = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    out, _ = resample_axes(image, scales, offsets, canvas, kind)
    assert np.allclose(out[0].numpy(), slow_resample(image[0], scales, offsets, canvas, kind), atol=1e-9)


@settings(max_examples=40)
@given(data=st.data(), size=sizes)
def test_flipping_commutes_with_any_aligned_map(data, size):
    axes = len(size)
    scale, offset = data.draw(st.floats(0.2, 4)), data.draw(st.floats(-3, 3))
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ahead = Map.aligned(tuple(AxisMap(axis, scale, offset) for axis in range(axes)), (7,) * axes, 0.5)
    flip = Flip(axes=tuple(range(axes)))
    first = move_images(image, [ahead @ flip.map(size)])
    assert torch.allclose(first, move_images(flip.images(image), [ahead]), atol=1e-9)


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    to=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    seed=st.integers(0, 9),
)
def test_resizing_noise_is_within_one_level_of_pillow(size, to, seed):
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.array(Image.fromarray(values).resize(to[::-1], Image.Resampling.BILINEAR))
    ours = resize(torch.from_numpy(values).permute(2, 0, 1)[None], to, "linear")[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_signals_and_volumes_resize_as_images_do(axes):
    """A signal is an image with one row, a volume of equal slices is its slice: one law for every number of axes."""
    line = torch.rand(1, 1, 50, generator=torch.Generator().manual_seed(3))
    expected = resize(line, (13,), "linear")
    grown = line.reshape(1, 1, *[1] * (axes - 1), 50).expand(1, 1, *[4] * (axes - 1), 50)
    out = resize(grown.contiguous(), (*[3] * (axes - 1), 13), "linear")
    assert torch.allclose(out, expected.reshape(1, 1, *[1] * (axes - 1), 13).expand_as(out), atol=1e-6)
