"""Multi-scale training: every step's batch is drawn on a canvas of its own size, and the targets move along."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import striate.tasks
from command import done, refused
from made_shards import ragged, shards_of
from striate.architectures.backbone import architecture
from striate.core import modelfile
from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.move import move_images
from striate.core.sample import Boxes, Label, Mask, Sample
from striate.core.spec import discover
from striate.core.transform import Compose, Letterbox
from striate.data.augment import Augment
from striate.data.draws import canvas_sizes, draw_canvas
from striate.data.loader import Loader
from striate.recipes.geometry import drawn_canvases
from striate.tasks.task import DataFacts, task_for

discover(striate.tasks)
FIT = {1: Compose(steps=(Letterbox(size=64),)), 2: Compose(steps=(Letterbox(size=(48, 64), fill=10.0),))}
FIT[3] = Compose(steps=(Letterbox(size=(48, 64, 48)),))
MOVED = Augment(flip=(-1,), scale=(0.8, 1.3), translate=0.1, canvas_scale=(0.7, 1.4), canvas_multiple=16)
CASES = {
    "still": Augment(canvas_scale=(0.7, 1.4), canvas_multiple=16),
    "moved": MOVED,
    "mosaic": MOVED.replace(mosaic=0.7),
    "crops": Augment(crop_scale=(0.4, 1.0), flip=(-1,), canvas_scale=(0.7, 1.4), canvas_multiple=16),
}


@given(
    st.lists(st.integers(8, 700), min_size=1, max_size=3),
    st.floats(0.3, 1.0),
    st.floats(1.0, 3.0),
    st.sampled_from([1, 8, 32]),
)
def test_sides_are_multiples_and_keep_their_proportion(size: list[int], low: float, high: float, step: int) -> None:
    found = canvas_sizes(tuple(size), (low, high), (step,) * len(size))
    assert len(set(found)) == len(found) and list(found) == sorted(found)
    for one in found:
        assert all(side % step == 0 and side >= step for side in one)
        limits = [((side - step / 2) / n, (side + step / 2) / n) for side, n in zip(one, size, strict=True)]
        lows = [below if side > step else 0.0 for side, (below, _) in zip(one, limits, strict=True)]
        assert max([*lows, low]) <= min([*(above for _, above in limits), high]) + 1e-9, "one factor gives all sides"
    for factor in np.linspace(low, high, 50)[1:-1]:
        near = tuple(max(step, int(np.floor(factor * n / step + 0.5)) * step) for n in size)
        exact = any(abs(factor * n / step % 1 - 0.5) < 1e-6 for n in size)
        assert near in found or exact


def test_the_sizes_of_a_usual_canvas() -> None:
    wanted = [(n, n) for n in (256, 288, 320, 352, 384)]
    assert list(canvas_sizes((320, 320), (0.77, 1.23), (32, 32))) == wanted
    assert list(Augment(canvas_scale=(0.77, 1.23)).canvases((320, 320))) == wanted
    assert Augment().canvases((321, 100)) == ((321, 100),)


def test_every_size_is_as_likely_and_a_step_always_has_the_same() -> None:
    sizes = canvas_sizes((320,), (0.75, 1.25), (32,))
    drawn = [draw_canvas(3, step, sizes) for step in range(4000)]
    assert drawn == [draw_canvas(3, step, sizes) for step in range(4000)]
    shares = [drawn.count(size) / 4000 for size in sizes]
    assert max(abs(share - 1 / len(sizes)) for share in shares) < 0.03
    assert drawn[:50] != [draw_canvas(4, step, sizes) for step in range(50)]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["boxes", "mask"])
def test_targets_lie_on_what_each_canvas_shows(tmp_path: Path, kind: str, case: str, axes: int) -> None:
    """Every rectangle is painted brightly, so that boxes and masks can be checked against the picture."""
    shards = shards_of(tmp_path, [ragged(place, kind, axes) for place in range(12)])
    augment = CASES[case].replace(keep_boxes=0.0)
    loader = Loader(shards, np.arange(12), 4, 1, augment, fit=FIT[axes])
    seen = set()
    for step in range(6):
        batch = loader.batch(step)
        size = tuple(batch.images.shape[2:])
        seen.add(size)
        for image, target in zip(batch.images[:, 0], batch.targets[kind], strict=True):
            check(image, target, size)
    assert len(seen) > 1 and seen <= set(loader.canvases)
    assert tuple(next(loader.sequential()).images.shape[2:]) == FIT[axes].output_size((50,) * axes)


def check(image: Tensor, target: Any, size: tuple[int, ...]) -> None:
    """Boxes are about the bright pixels and masks on them, to a pixel of blur."""
    if isinstance(target, Tensor):
        assert tuple(target.shape) == size
        known = target != 255
        assert float(((target == 1) != (image > 130))[known].float().mean()) < 0.09
        return
    near = torch.zeros(size, dtype=torch.bool)
    for bounds in target.bounds().tolist():
        low, high = bounds[: len(size)], bounds[len(size) :]
        assert all(0 <= a < b <= n for a, b, n in zip(low, high, size, strict=True))
        assert bool(
            (
                image[tuple(slice(round(a) + 2, max(0, round(b) - 2)) for a, b in zip(low, high, strict=True))] > 100
            ).all()
        )
        near[tuple(slice(max(0, round(a) - 1), round(b) + 1) for a, b in zip(low, high, strict=True))] = True
    assert not bool((image > 130)[~near].any())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["label", "boxes", "mask"])
def test_batches_are_the_same_from_any_step_and_in_any_number_of_processes(
    tmp_path: Path, kind: str, case: str
) -> None:
    shards = shards_of(tmp_path, [ragged(place, kind) for place in range(12)])
    ran = Loader(shards, np.arange(12), 6, 2, CASES[case], fit=FIT[2])
    whole = {step: ran.batch(step) for step in range(5)}
    for rank in range(2):
        part = Loader(shards, np.arange(12), 6, 2, CASES[case], fit=FIT[2], rank=rank, world=2)
        for step in (4, 1):
            found = part.batch(step)
            assert torch.equal(found.images, whole[step].images[rank::2])
            for one, other in zip(found.targets[kind], whole[step].targets[kind][rank::2], strict=True):
                assert torch.equal(one, other) if isinstance(one, Tensor) else one.equals(other)


def test_switching_it_on_changes_no_other_draw(tmp_path: Path) -> None:
    """A step whose canvas is the nominal one shows exactly what it would show without."""
    shards = shards_of(tmp_path, [ragged(place, "boxes") for place in range(12)])
    ran = Loader(shards, np.arange(12), 4, 1, MOVED, fit=FIT[2])
    without = Loader(shards, np.arange(12), 4, 1, MOVED.replace(canvas_scale=None), fit=FIT[2])
    steps = [step for step in range(40) if draw_canvas(1, step, ran.canvases) == (48, 64)]
    assert len(steps) > 2
    for step in steps:
        assert torch.equal(ran.batch(step).images, without.batch(step).images)


@pytest.mark.parametrize("filter", ["linear", "cubic"])
@pytest.mark.parametrize("resident", [0, 1 << 30])
@pytest.mark.parametrize("size", [(40,), (40, 56), (24, 32, 24)])
def test_samples_of_one_shape_are_resampled_once(
    tmp_path: Path, size: tuple[int, ...], resident: int, filter: Any
) -> None:
    """What comes out is the one map from the stored sample, flip included, straight onto the drawn canvas."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (1, *size), dtype=torch.uint8, generator=generator) for _ in range(8)]
    low, high = [3.0] * len(size), [9.0] * len(size)
    boxes = Boxes.from_bounds(torch.tensor([[*low, *high]]).double(), torch.tensor([1]))
    shards = shards_of(tmp_path, [Sample(one, {"boxes": boxes}, str(at)) for at, one in enumerate(images)])
    augment = Augment(flip=(-1,), canvas_scale=(0.6, 1.5), canvas_multiple=8, filter=filter)
    loader = Loader(shards, np.arange(8), 4, 5, augment, resident_bytes=resident)
    flipped = set()
    for step in range(6):
        batch = loader.batch(step)
        canvas = tuple(batch.images.shape[2:])
        zoom = np.diag([*(np.array(canvas) / size), 1.0])
        for image, found, index in zip(batch.images, batch.targets["boxes"], batch.index.tolist(), strict=True):
            mirror = np.eye(len(size) + 1)
            mirror[-2, -2], mirror[-2, -1] = -1, canvas[-1]
            straight, turned = (Map(first @ zoom, canvas, filter=filter) for first in (np.eye(len(size) + 1), mirror))
            which = [
                float((move_images(images[index][None], [by])[0].int() - image.int()).abs().max())
                for by in (straight, turned)
            ]
            assert min(which) <= 1, "rounded otherwise at most"
            flipped.add(which[1] < which[0])
            by = turned if which[1] < which[0] else straight
            torch.testing.assert_close(found.bounds(), boxes.move(by).bounds())
    assert flipped == {False, True}


def test_crops_and_mixtures_of_samples_of_one_shape_come_in_all_sizes(tmp_path: Path) -> None:
    images = [torch.full((1, 32, 40), 9 * i, dtype=torch.uint8) for i in range(20)]
    shards = shards_of(tmp_path, [Sample(one, {"label": Label(i % 3)}, str(i)) for i, one in enumerate(images)])
    wide = {"canvas_scale": (0.5, 1.5), "canvas_multiple": 8}
    for augment in (
        Augment(mixup=0.4, **wide),
        Augment(crop_scale=(0.3, 1.0), **wide),
        Augment(crop_scale=(0.3, 1.0), crop_size=24, translate=0.2, **wide),
        Augment(mosaic=0.6, cutout=6, **wide),
    ):
        loader = Loader(shards, np.arange(20), 6, 0, augment, mixed_steps=4)
        sizes = [tuple(loader.batch(step).images.shape[2:]) for step in range(10)]
        assert sizes == [draw_canvas(0, step, loader.canvases) for step in range(10)]
        assert len(set(sizes[:4])) > 1 and len(set(sizes[4:])) > 1, "before and after mixing ends"


def test_masks_of_one_shape_move_along(tmp_path: Path) -> None:
    values = torch.zeros(40, 40, dtype=torch.uint8)
    values[10:30, 4:20] = 1
    image = 200 * values[None]
    shards = shards_of(tmp_path, [Sample(image, {"mask": Mask(values, 255)}, str(i)) for i in range(4)])
    loader = Loader(shards, np.arange(4), 4, 0, Augment(canvas_scale=(0.5, 2.0), canvas_multiple=8))
    for step in range(8):
        batch = loader.batch(step)
        assert batch.targets["mask"].shape[1:] == batch.images.shape[2:]
        wrong = (batch.targets["mask"] == 1) != (batch.images[:, 0] > 100)
        assert float(wrong.float().mean()) < 0.01


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"canvas_scale": (0.9, 1.1)}, "augment.canvas_scale: 0.9 to 1.1 of 64x64 in multiples of 32 is always 64x64"),
        ({"canvas_scale": (0.5, 2), "canvas_multiple": (8, 8, 8)}, "augment.canvas_multiple"),
    ],
)
def test_a_range_with_one_size_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Augment(**fields).canvases((64, 64))


@pytest.mark.parametrize("fields", [{"canvas_scale": (1.2, 0.8)}, {"canvas_scale": (0, 1)}, {"canvas_multiple": 0}])
def test_numbers_that_are_no_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"canvas_scale|at least 1"):
        Augment(**fields)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "name, target", [("detector_nano", "boxes"), ("unet_small", "mask"), ("detector_nano", "label")]
)
def test_networks_that_take_any_size_are_taken(name: str, target: str, axes: int) -> None:
    shape = (1, *(64,) * axes)
    facts = DataFacts(target=target, classes=("a", "b"), counts=(1, 1), axes=axes, canvas=shape[1:], ignore=255)
    task = task_for(facts)
    augment = Augment(canvas_scale=(0.5, 1.5), canvas_multiple=16)
    network = task.network(architecture(name, {"width": 4} if name == "unet_small" else None), 2)
    (said,) = drawn_canvases(augment, 0.0, network, task, shape, 2)
    assert said.startswith("canvas: drawn anew for every step, 5 sizes") and "measured at 64" in said
    assert (
        drawn_canvases(None, 0.0, network, task, shape, 2)
        == drawn_canvases(Augment(), 0.0, network, task, shape, 2)
        == []
    )
    module = network.build(shape).eval()
    for size in augment.canvases(shape[1:])[::4]:
        raw = module(torch.zeros(1, 1, *size))
        assert all(bool(one.isfinite().all()) for one in (raw.values() if isinstance(raw, dict) else [raw]))


@pytest.mark.parametrize(
    "name, target, task_name, why",
    [
        ("fully_connected", "label", None, r"has [\d,]+ weights, at \d+ it would have"),
        ("mnist1d_conv_permuted", "label", None, "shuffles exactly that many values"),
        ("detector_nano", "boxes", "yolo_v1", "for a canvas of"),
    ],
)
def test_networks_of_one_size_are_refused_with_the_reason(
    name: str, target: str, task_name: str | None, why: str
) -> None:
    shape = (1, 64)
    facts = DataFacts(target=target, classes=("a", "b"), counts=(1, 1), axes=1, canvas=(64,))
    task = task_for(facts, task_name)
    network = task.network(architecture(name), 2)
    with pytest.raises(InputError, match=rf"^augment.canvas_scale: the network takes 64 alone: .*({why})"):
        drawn_canvases(Augment(canvas_scale=(0.5, 1.5), canvas_multiple=8), 0.0, network, task, shape, 2)


SETTINGS = """
[training]
steps = 8
batch = 4
precision = "float32"
threads = 1
checkpoint_every = 4
optimiser = {kind = "adamw", rate = 0.003}
[training.augment]
flip = [-1]
translate = 0.1
canvas_scale = [0.5, 1.5]
canvas_multiple = 16
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path / "settings.toml"


SMALL = ("--arch", "detector_nano", "--set", "widths=4,8,8,8,8", "--set", "depths=0,0,0,0", "--set", "task.channels=8")


def test_the_command_says_it_trains_so_and_measures_at_the_nominal_size(tmp_path: Path, settings: Path) -> None:
    words = ("train", "scenes-2d", "--target", "boxes", *SMALL, "--settings", settings, "--out", tmp_path / "run")
    outcome = done(*words)
    assert "canvas: drawn anew for every step, 5 sizes, 32x32 to 96x96; measured at 64x64" in outcome.out + outcome.err
    model = modelfile.load(tmp_path / "run" / "model.safetensors")
    assert model.input_shape == (1, 64, 64)
    plan = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert plan["training"]["augment"]["canvas_scale"] == [0.5, 1.5] and plan["task"]["channels"] == 8


def test_the_command_refuses_it_for_a_network_of_one_size(tmp_path: Path, settings: Path) -> None:
    for words, why in (
        (("--task", "yolo_v1", "--target", "boxes", *SMALL), "for a canvas of"),
        (("--arch", "fully_connected", "--target", "label"), "weights, at 32x32 it would have"),
    ):
        line = refused("train", "scenes-2d", *words, "--settings", settings, "--out", tmp_path / "run")
        assert "augment.canvas_scale: the network takes 64x64 alone" in line and why in line
        assert not (tmp_path / "run" / "experiment.json").exists()


def test_fields_of_the_task_are_set_from_the_command_and_bad_ones_refused(tmp_path: Path) -> None:
    words = ("train", "scenes-2d", "--target", "boxes", *SMALL, "--out", tmp_path / "run")
    done(*words, "--steps", 2, "--batch", 4, "--set", "task.soft=gaussian", "--set", "task.overlap=0.4")
    plan = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert (plan["task"]["soft"], plan["task"]["overlap"]) == ("gaussian", 0.4)
    assert modelfile.load(tmp_path / "run" / "model.safetensors").task["soft"] == "gaussian"
    other = (*words[:-1], tmp_path / "other")
    assert "soft" in refused(*other, "--set", "task.soft=hard")
    assert "no_such" in refused(*other, "--set", "task.no_such=1")
