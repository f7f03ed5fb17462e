"""What detectors are trained with where nothing is said: warm-up, an average of the weights, mosaics that end."""

from pathlib import Path

import numpy as np
import torch

from striate.data.augment import Augment
from striate.data.loader import Loader
from striate.ops.suppression import nms
from striate.recipes.defaults import training_for
from striate.recipes.plan import loader_of
from striate.recipes.sources import DataSettings, open_source
from striate.training.settings import TrainingSettings

SHAPE = (1, 64, 64)


def test_the_rate_warms_up_and_runs_out_and_the_weights_are_averaged() -> None:
    settings = training_for(TrainingSettings(), SHAPE, 300, "boxes")
    total = settings.total_steps(300)
    factors = [settings.schedule.factor(step, total) for step in range(total)]
    top = int(np.argmax(factors))
    assert factors[0] <= 0.1 and 0.02 * total < top < 0.4 * total and factors[-1] < 0.01
    assert all(np.diff(factors[: top + 1]) > 0) and all(np.diff(factors[top:]) < 0)
    assert settings.average is not None and settings.average >= 0.99


def test_mosaics_end_with_the_last_part_of_the_training(tmp_path: Path) -> None:
    data = DataSettings.from_json(
        {"kind": "data_settings", "path": "scenes-2d", "cache": str(tmp_path), "options": {"target": "boxes"}}, "data"
    )
    source = open_source(data)
    settings = training_for(
        TrainingSettings(steps=40, batch=4, augment=Augment(mosaic=1.0), small_until=0.0), SHAPE, 216, "boxes"
    )
    loader = loader_of(source, settings, "train")
    assert settings.augment is not None and 0.5 < settings.mix_until < 1
    rows = source.splits["train"]
    for augment, alike in ((settings.augment, True), (settings.augment.without_mixing(), False)):
        other = Loader(
            source.shards, rows, 4, settings.seed, augment, source.normalise, fit=source.fit, mixed_steps=None
        )
        last = round(40 * settings.mix_until)
        for step in (0, last - 1, last, 39):
            same = torch.equal(loader.batch(step).images, other.batch(step).images)
            assert same == (alike if step < last else not alike)


def test_ten_thousand_boxes_are_suppressed_as_a_list_of_the_paper_would() -> None:
    generator = np.random.default_rng(0)
    middle, size = generator.uniform(0, 600, (200, 2)), generator.uniform(20, 80, (200, 2))
    which = generator.integers(200, size=10_000)
    near = middle[which] + generator.normal(size=(10_000, 2)) * size[which] * 0.1
    side = size[which] * np.exp(generator.normal(size=(10_000, 2)) * 0.1)
    bounds = torch.from_numpy(np.concatenate((near - side / 2, near + side / 2), axis=1))
    scores, classes = torch.from_numpy(generator.uniform(size=10_000)), torch.from_numpy(which % 3)
    kept = nms(bounds, scores, classes, 0.6, 10_000)
    expected, left = [], torch.argsort(scores, descending=True, stable=True)
    area = (bounds[:, 2:] - bounds[:, :2]).prod(dim=1)
    while len(left):
        best, left = left[0], left[1:]
        expected.append(int(best))
        shared = torch.minimum(bounds[best, 2:], bounds[left, 2:]) - torch.maximum(bounds[best, :2], bounds[left, :2])
        overlap = shared.clamp(min=0).prod(dim=1)
        rivals = (overlap / (area[best] + area[left] - overlap) > 0.6) & (classes[left] == classes[best])
        left = left[~rivals]
    assert kept.indices.tolist() == expected and 200 < len(expected) < 10_000
