"""core/map, move, resample, transform and paste: examples, other libraries as oracles, and messages."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as oracle

from striate.core.errors import InputError
from striate.core.map import AxisMap, Map
from striate.core.move import move_images
from striate.core.resample import resample_axes, resize
from striate.core.sample import Boxes, Keypoints, Label, Mask, Sample
from striate.core.spec import Spec, kinds
from striate.core.transform import (
    Affine,
    CenterCrop,
    Compose,
    Crop,
    Flip,
    Letterbox,
    Normalise,
    Pad,
    QuarterTurn,
    Resize,
    Shift,
    Transform,
)

EXAMPLES = [
    Resize(size=9),
    Resize(size=(5, 7), keep="short", filter="cubic", enlarge=False),
    Letterbox(size=8, fill=(114.0,)),
    Crop(start=(1, -1), size=4, fill="edge"),
    CenterCrop(size=3),
    Pad(before=1, after=(0, 2), fill="mean"),
    Flip(axes=(0, -1)),
    QuarterTurn(times=3),
    Shift(offset=(1.0, -2.5)),
    Affine(degrees=30, scale=0.8, shear=5.0, offset=1.0, fill=3),
    Normalise(mean=(0.5,), std=0.25, scale=1 / 255),
    Compose(steps=(Resize(size=8, keep="short"), CenterCrop(size=6), Compose(steps=(Flip(),)))),
]


def photo(*shape, dtype=torch.uint8, seed=0):
    """Smooth texture with noise, so that filters matter: values 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, *(max(1, n // 4) if axis else n for axis, n in enumerate(shape)), generator=generator)
    values = 200 * resize(coarse, shape[1:], "linear")[0] + 55 * torch.rand(shape, generator=generator)
    return values.round().to(dtype) if not dtype.is_floating_point else values.to(dtype)


def pillow(image, size, mode):
    """Pillow's resize of a uint8 (3, H, W) image to ``size`` (H, W)."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], mode)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.kind)
def test_every_transform_is_restored_from_its_json(spec):
    text = json.dumps(spec.to_json())
    restored = Spec.from_json(json.loads(text))
    assert restored == spec
    assert type(restored) is type(spec)


def test_every_kind_of_transform_has_an_example():
    ours = {kind for kind, cls in kinds(Transform).items() if cls.__module__ == "striate.core.transform"}
    assert {spec.kind for spec in EXAMPLES} == ours


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.kind)
def test_what_comes_out_has_the_size_that_was_said(spec):
    sample = Sample(photo(1, 7, 10), {"mask": Mask(photo(7, 10))})
    out = spec(sample)
    assert out.size == spec.output_size((7, 10))
    assert out.targets["mask"].values.shape == out.size


def test_flip_mirrors_the_last_axis():
    image = photo(3, 4, 5)
    assert torch.equal(Flip()(Sample(image)).image, image.flip(-1))


@pytest.mark.parametrize("times", [-1, 0, 1, 2, 3, 4, 5])
def test_quarter_turns_are_those_of_numpy(times):
    image = photo(2, 4, 5)
    expected = np.rot90(image.numpy(), times, axes=(1, 2)).copy()
    assert np.array_equal(QuarterTurn(times=times)(Sample(image)).image.numpy(), expected)


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2), (2, 0), (-1, -2)])
def test_quarter_turns_of_volumes_in_every_plane(plane):
    image = photo(1, 3, 4, 5)
    expected = np.rot90(image[0].numpy(), 1, axes=plane).copy()
    assert np.array_equal(QuarterTurn(plane=plane)(Sample(image)).image[0].numpy(), expected)


def test_a_rotation_by_90_degrees_is_a_quarter_turn():
    image = photo(3, 8, 8)
    assert torch.equal(Affine(degrees=90)(Sample(image)).image, QuarterTurn()(Sample(image)).image)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [(224, 224), (31, 47), (97, 200), (400, 333)])
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_resizing_is_that_of_torchvision(dtype, size, kind):
    image = photo(3, 180, 250, dtype=dtype)
    mode = {"linear": v2.InterpolationMode.BILINEAR, "cubic": v2.InterpolationMode.BICUBIC}[kind]
    expected = oracle.resize(image, list(size), interpolation=mode, antialias=True)
    ours = Resize(size=size, filter=kind)(Sample(image)).image
    assert ours.dtype == dtype
    assert (ours.float() - expected.float()).abs().max() <= (1 if dtype == torch.uint8 else 1e-3)


@pytest.mark.parametrize("size", [(224, 224), (31, 47), (97, 200), (400, 333)])
@pytest.mark.parametrize(
    ("kind", "mode", "levels"),
    [("linear", Image.Resampling.BILINEAR, 1), ("cubic", Image.Resampling.BICUBIC, 2)],  # both round between the axes
)
def test_resizing_is_that_of_pillow(size, kind, mode, levels):
    image = photo(3, 180, 250)
    ours = Resize(size=size, filter=kind)(Sample(image)).image
    assert (ours.int() - pillow(image, size, mode).int()).abs().max() <= levels


def test_the_published_preprocessing_is_reproduced():
    image = photo(3, 301, 448)
    published = v2.Compose(
        [
            v2.Resize(64, antialias=True),
            v2.CenterCrop(53),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    normalise = Normalise(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255)
    ours = Compose(steps=(Resize(size=64, keep="short"), CenterCrop(size=53), normalise))
    assert torch.allclose(ours(Sample(image)).image, published(image), atol=2e-5)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("to", [3, 4, 5, 6, 11, 12])
def test_centre_crops_are_those_of_torchvision(n, to):
    image = photo(1, n, n)
    assert torch.equal(CenterCrop(size=to)(Sample(image)).image, oracle.center_crop(image, [to, to]))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_one_pixel_stripes_shrink_to_flat_grey(axes, dtype):
    """The trap of the design: without antialiasing this is noise of deviation 0.286 of the range."""
    n = 1024 if axes < 3 else 128
    size = (1, *[n if axis == axes - 1 else 8 for axis in range(axes)])
    stripes = (torch.arange(n) % 2 * 255).to(dtype).expand(size)
    to = (*[8] * (axes - 1), n * 224 // 1024)
    shrunk = Resize(size=to)(Sample(stripes)).image.float() / 255
    assert shrunk.std() < 0.02
    assert abs(float(shrunk.mean()) - 0.5) < 0.01


def test_a_rotation_that_shrinks_is_antialiased_too():
    stripes = (torch.arange(512) % 2 * 255).float().expand(1, 512, 512)
    shrunk = Affine(degrees=20, scale=0.2)(Sample(stripes)).image[0, 240:272, 240:272] / 255
    assert shrunk.std() < 0.02


def test_fractional_shrinking_is_antialiased_too():
    stripes = (torch.arange(512) % 2 * 255).float().expand(1, 512)
    shrunk = move_images(stripes[None], [Map.aligned((AxisMap(0, 0.213, 0.37),), (100,))])
    assert shrunk[0, 0, 2:98].div(255).std() < 0.02


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_uint16_keeps_its_full_range(axes):
    image = torch.full((2, *[9] * axes), 65_535, dtype=torch.int32).to(torch.uint16)
    for step in (Resize(size=5), Flip(), Shift(offset=0.5, fill="edge"), Pad(before=1, fill=65_535.0)):
        out = step(Sample(image)).image
        assert out.dtype == torch.uint16
        assert out.int().min() == 65_535


def test_numbers_are_rounded_not_cut():
    image = torch.tensor([[1.0, 2.0]]).to(torch.int16)
    assert Resize(size=1)(Sample(image * 10 + 1)).image.item() == 16


def test_cubic_overshoot_stays_within_the_integers():
    step = (torch.arange(40) >= 20).to(torch.int16) * 32_767
    out = Resize(size=90, filter="cubic")(Sample(step[None])).image
    assert out.dtype == torch.int16
    assert int(out.max()) == 32_767  # wrapped around it would be negative
    assert -3000 < int(out.min()) < 0


def test_masks_move_by_the_nearest_pixel_and_keep_large_values():
    values = torch.tensor([[2**24 + 1, 2**24 + 3]], dtype=torch.int32)
    sample = Sample(torch.zeros(1, 1, 2), {"mask": Mask(values, ignore=-1)})
    out = Compose(steps=(Resize(size=(1, 4)), Pad(before=(0, 1))))(sample).targets["mask"]
    assert out.values.tolist() == [[-1, 2**24 + 1, 2**24 + 1, 2**24 + 3, 2**24 + 3]]
    assert out.values.dtype == torch.int32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int64])
def test_masks_of_every_integer_type_rotate(dtype):
    mask = Mask(torch.ones(9, 9).to(dtype), ignore=7)
    out = mask.move(Affine(degrees=45).map((9, 9)))
    assert out.values.dtype == dtype
    assert set(out.values.int().unique().tolist()) == {1, 7}


@pytest.mark.parametrize(
    ("fill", "expected"),
    [(9.0, [9, 9, 10, 30, 80]), ("edge", [10, 10, 10, 30, 80]), ("mean", [40, 40, 10, 30, 80])],
)
@pytest.mark.parametrize("together", [1, 2])
def test_what_is_not_covered_shows_the_fill(fill, expected, together):
    image = torch.tensor([[[10, 30, 80]]], dtype=torch.uint8).repeat(together, 1, 1)
    by = Pad(before=2, fill=fill).map((3,))
    assert move_images(image, [by] * together)[0, 0].tolist() == expected


def test_a_fill_may_have_one_number_a_channel():
    image = torch.zeros(3, 2, 2)
    for step in (
        Pad(before=1, fill=(1.0, 2.0, 3.0)),
        Affine(degrees=45, scale=0.1, fill=(1.0, 2.0, 3.0)),
        Shift(offset=0.75, fill=(1.0, 2.0, 3.0)),
    ):
        assert step(Sample(image)).image[:, 0, 0].tolist() == [1, 2, 3]


def test_a_letterbox_keeps_proportions_and_centres():
    sample = Sample(torch.full((1, 20, 40), 5, dtype=torch.uint8), {"mask": Mask(torch.ones(20, 40).long())})
    out = Letterbox(size=32, fill=114.0)(sample)
    assert out.image[0, :, 0].tolist() == [114] * 8 + [5] * 16 + [114] * 8
    assert torch.equal(out.targets["mask"].values == 1, out.image[0] == 5)


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        (Resize(size=256, keep="short"), (375, 500), (256, 341)),
        (Resize(size=256, keep="long"), (375, 500), (192, 256)),
        (Resize(size=(100, 50), keep="short"), (20, 20), (100, 100)),
        (Resize(size=(100, 50), keep="long"), (20, 20), (50, 50)),
        (Resize(size=64, keep="short", enlarge=False), (20, 200), (20, 200)),
        (Resize(size=64, enlarge=False), (20, 200), (20, 64)),
        (Resize(size=1, keep="long"), (1, 900), (1, 1)),
        (Resize(size=10), (4,), (10,)),
        (Resize(size=10, keep="short"), (4, 8, 16), (10, 20, 40)),
    ],
)
def test_resize_knows_its_sizes(spec, size, expected):
    assert spec.output_size(size) == expected


def test_normalise_makes_float32_of_any_type_by_channel():
    image = torch.tensor([[[0]], [[255]]], dtype=torch.uint8)
    out = Normalise(mean=(0.5, 0.25), std=(0.5, 0.25), scale=1 / 255)(Sample(image)).image
    assert out.dtype == torch.float32
    assert out.flatten().tolist() == pytest.approx([-1.0, 3.0])
    wide = torch.tensor([[65_535]], dtype=torch.int32).to(torch.uint16)
    assert Normalise(scale=1 / 65_535)(Sample(wide)).image.item() == pytest.approx(1.0)


def test_labels_stay_and_keypoints_keep_their_visibility():
    points = Keypoints(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[True]]))
    sample = Sample(torch.zeros(1, 4, 4), {"label": Label(index=2), "points": points})
    out = Shift(offset=-3)(sample).targets
    assert out["label"].index == 2
    assert out["points"].visible.item()
    assert not out["points"].shown((4, 4)).item()


def test_boxes_keep_their_corners_so_that_a_rotation_loses_nothing():
    boxes = Boxes.from_bounds(torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([0]))
    by = Affine(degrees=33).map((100, 100))
    assert (boxes.move(by).bounds()[:, 2:] - boxes.move(by).bounds()[:, :2]).prod() > 20 * 40
    assert torch.allclose(boxes.move(by).move(by.inverse((100, 100))).bounds(), boxes.bounds())


@pytest.mark.parametrize("degrees", [17.0, -130.0])
@pytest.mark.parametrize(("kind", "error"), [("linear", 0.001), ("cubic", 0.3)])
def test_a_rotated_ramp_is_the_rotated_ramp(degrees, kind, error):
    """The linear filter reproduces a ramp (torch's cubic grid nearly), so inside the source every pixel is known."""
    grid = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(50) + 0.5, indexing="ij"), axis=-1)
    image = torch.from_numpy(grid @ [2.0, -3.0] + 7).float()[None]
    spec = Affine(degrees=degrees, shear=10, scale=1.3, offset=(2, -1), filter=kind)
    by = spec.map((40, 50))
    source = by.inverse((40, 50)).points(grid)
    inside = ((source > 2) & (source < np.array([38, 48]))).all(axis=-1)
    assert inside.sum() > 300
    assert np.allclose(spec(Sample(image)).image[0].numpy()[inside], (source @ [2.0, -3.0] + 7)[inside], atol=error)


def test_volumes_rotate_in_the_plane_that_is_named():
    grid = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in (12, 6, 14)], indexing="ij"), axis=-1)
    image = torch.from_numpy(grid @ [2.0, 5.0, -3.0]).float()[None]
    spec = Affine(degrees=25, plane=(0, 2))
    source = spec.map((12, 6, 14)).inverse((12, 6, 14)).points(grid)
    inside = ((source > 1) & (source < np.array([11, 5, 13]))).all(axis=-1)
    assert np.allclose(spec(Sample(image)).image[0].numpy()[inside], (source @ [2.0, 5.0, -3.0])[inside], atol=0.01)


@pytest.mark.parametrize("to", [(3, 1), (1, 1), (1, 6), (7, 1)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_side_of_one_pixel_is_right(to, dtype, channels):
    """torch 2.14's own antialiased resize is wrong, or fails, for these."""
    image = (torch.arange(30).reshape(1, 5, 6) * 8).to(dtype).expand(channels, 5, 6).contiguous()
    expected = Image.fromarray(image[0].float().numpy()).resize(to[::-1], Image.Resampling.BILINEAR)
    ours = Resize(size=to)(Sample(image)).image
    assert np.abs(ours[0].float().numpy() - np.array(expected)).max() <= 0.51


def test_a_cut_of_a_large_magnification_makes_no_giant_image():
    by = Map.aligned((AxisMap(0, 1e6, -5e8),), (10,))
    out = move_images(torch.arange(1000.0).reshape(1, 1, 1000), [by])
    assert out.shape == (1, 1, 10)
    assert torch.allclose(out, torch.tensor(499.5), atol=0.01)


def test_whole_and_fractional_ways_agree():
    image = photo(1, 2, 30, 41, dtype=torch.float32)
    whole = resize(image, (17, 60), "linear")
    weighed, present = resample_axes(image, [17 / 30, 60 / 41], [0.0, 0.0], (17, 60), "linear")
    assert torch.allclose(whole, weighed, atol=1e-3)
    assert all(bool(one.all()) for one in present)


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        (Resize(size=(3, 4)), (5,), "resize.size: 2 numbers for 1 axes: (3, 4); give one number, or one an axis"),
        (Flip(axes=(2,)), (5, 5), "flip.axes: axis 2 of a sample with 2 axes; name an axis from -2 to 1"),
        (QuarterTurn(), (5,), "quarter_turn.plane: axis -2 of a sample with 1 axes"),
        (QuarterTurn(plane=(1, -1)), (5, 5), "quarter_turn.plane: (1, -1) is one axis"),
        (Affine(scale=0.0), (5, 5), "affine.scale: a scale of 0.0; give scales above 0 (mirror with flip)"),
        (Affine(degrees=3), (5,), "affine.plane: axis -2 of a sample with 1 axes"),
        (Pad(before=-3, after=-2), (5,), "pad: (0,) pixels remain of (5,); cut off less"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(spec, size, message):
    with pytest.raises(InputError) as caught:
        spec.map(size)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Pad(before=1, fill=(1.0, 2.0))(Sample(torch.zeros(3, 4))), "fill: 2 numbers for 3 channels"),
        (lambda: Normalise(mean=(0.0, 0.0))(Sample(torch.zeros(3, 4))), "normalise.mean: 2 numbers for 3 channels"),
        (
            lambda: Affine(degrees=9, filter="cubic")(Sample(torch.zeros(1, 4, 4, 4))),
            "filter: cubic came for the rotation or shear of a volume",
        ),
        (lambda: Spec.from_json({"kind": "resize", "size": 0}), "spec: resize.size"),
        (lambda: Spec.from_json({"kind": "normalise", "std": 0}), "spec: normalise.std"),
        (lambda: Spec.from_json({"kind": "resize", "size": 3, "blur": 1}), "spec: resize.blur: unknown key"),
        (lambda: Spec.from_json({"kind": "compose", "steps": [{"kind": "spec"}]}), "spec: compose.steps"),
    ],
)
def test_bad_fields_are_said_in_one_line(act, message):
    with pytest.raises(InputError) as caught:
        act()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("matrix", "canvas"),
    [
        (np.eye(2), (3, 3)),
        (np.diag([1.0, 0.0, 1.0]), (3, 3)),
        (np.diag([1.0, np.nan, 1.0]), (3, 3)),
        (np.diag([1.0, 1.0, 2.0]), (3, 3)),
        (np.eye(3), (3, 0)),
    ],
)
def test_maps_that_are_none_are_refused(matrix, canvas):
    with pytest.raises(ValueError, match=r"expected|affine|invertible"):
        Map(matrix, canvas)


def test_images_and_maps_must_match():
    with pytest.raises(ValueError, match="need one map"):
        move_images(torch.zeros(3, 1, 4), [Map.identity((4,))] * 2)
    with pytest.raises(ValueError, match="need one map"):
        move_images(torch.zeros(1, 1, 4), [Map.identity((4, 4))])
