"""``small_until``: the first steps are drawn on half the canvas, as a pure function of the step."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from command import done, refused
from made_shards import ragged, shards_of
from striate.core.errors import InputError
from striate.core.transform import Compose, Letterbox
from striate.data.augment import Augment
from striate.data.loader import Loader
from striate.training.budget import steps_within


@pytest.mark.parametrize(
    "canvas, multiple, half",
    [((192, 256), 32, (96, 128)), ((320,), 32, (160,)), ((128, 128, 128), 32, (64, 64, 64)), ((30, 40), 1, (15, 20))],
)
def test_half_a_canvas_is_of_whole_multiples(canvas: tuple[int, ...], multiple: int, half: tuple[int, ...]) -> None:
    assert Augment(canvas_multiple=multiple).half(canvas) == half


@pytest.mark.parametrize("canvas", [(28, 28), (32, 320), (40, 40)])
def test_a_canvas_that_has_no_smaller_multiple_is_refused(canvas: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="too small to begin smaller"):
        Augment().half(canvas)


def loader(folder: Path, kind: str, augment: Augment | None, small_steps: int = 3) -> Loader:
    shards = shards_of(folder, [ragged(place, kind) for place in range(12)])
    fit = Compose(steps=(Letterbox(size=(48, 64), fill=10.0),))
    return Loader(shards, np.arange(12), 4, 1, augment, fit=fit, small_steps=small_steps)


@pytest.mark.parametrize("kind", ["boxes", "mask"])
@pytest.mark.parametrize("augment", [Augment(), Augment(flip=(-1,), scale=(0.8, 1.3), canvas_scale=(0.7, 1.4))])
def test_the_first_steps_are_small_from_wherever_they_are_asked(tmp_path: Path, kind: str, augment: Augment) -> None:
    batches = loader(tmp_path / "a", kind, augment.replace(canvas_multiple=8))
    sizes = [tuple(batches.batch(step).images.shape[2:]) for step in range(8)]
    assert sizes[:3] == [(24, 32)] * 3
    assert all(size in batches.canvases and size != (24, 32) for size in sizes[3:])
    again = loader(tmp_path / "b", kind, augment.replace(canvas_multiple=8))
    for step in (6, 2, 3, 0):
        assert torch.equal(again.batch(step).images, batches.batch(step).images)


def test_masks_and_boxes_are_those_of_the_small_canvas(tmp_path: Path) -> None:
    masks = loader(tmp_path / "m", "mask", Augment(canvas_multiple=8)).batch(0)
    assert tuple(masks.targets["mask"].shape) == (4, 24, 32)
    known = masks.targets["mask"] != 255
    assert float(((masks.targets["mask"] == 1) != (masks.images[:, 0] > 130))[known].float().mean()) < 0.09
    boxes = loader(tmp_path / "b", "boxes", Augment(canvas_multiple=8)).batch(0).targets["boxes"]
    assert all(float(one.bounds().max()) <= 32 for one in boxes)


def test_a_time_counts_small_steps_at_their_own_cost() -> None:
    class Uneven:
        def run(self, first: int, count: int) -> torch.Tensor:
            time.sleep(0.002 * count if first < 500_000 else 0.02 * count)
            return torch.zeros(count)

    mixed, _ = steps_within(0.05, Uneven(), lambda: None, 1, lambda line: None, {0: 0.5, 500_000: 0.5})
    small, _ = steps_within(0.05, Uneven(), lambda: None, 1, lambda line: None)
    assert mixed < small / 3


@pytest.mark.parametrize("kept", [0, 5])
def test_a_run_that_begins_small_resumes_bit_for_bit(tmp_path: Path, kept: int) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text("[training]\nsmall_until = 0.5\nsteps = 8\nbatch = 4\ncheckpoint_every = 5\n")
    words = ("train", "shapes", "--target", "mask", "--settings", settings, "--threads", "1", "--size", "64")
    outcome = done(*words, "--out", tmp_path / "whole", "--precision", "float32")
    assert "canvas: 32x32 for the first 50% of the steps, then 64x64" in outcome.err
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for path in (tmp_path / "again" / "checkpoints").iterdir():
        if kept == 0 or f"{kept}" not in path.name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("model.safetensors", "report.html"):
        (tmp_path / "again" / name).unlink()
    done("train", "--resume", tmp_path / "again")
    models = [load_file(tmp_path / run / "model.safetensors") for run in ("whole", "again")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_network_of_one_size_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text("[training]\nsmall_until = 0.5\nsteps = 2\n[architecture]\nname = 'fully_connected'\n")
    line = refused("train", "mnist1d", "--settings", settings, "--out", tmp_path / "run")
    assert "small_until" in line and not (tmp_path / "run").exists()
