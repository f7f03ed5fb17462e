"""What is chosen where an experiment leaves it open, and that what is given goes before it."""

from typing import Any

import numpy as np
import pytest

import striate.tasks
from striate.architectures.backbone import architecture, named_architectures
from striate.core.spec import discover
from striate.data.augment import Augment
from striate.layers.layer import Shape
from striate.recipes.defaults import architecture_for, augment_for, epochs_for, task_options_for, training_for
from striate.tasks.task import DataFacts, task_for
from striate.training.optim import SGD, AdamW
from striate.training.schedule import Constant, OneCycle
from striate.training.settings import TrainingSettings

discover(striate.tasks)
SHAPES: tuple[Shape, ...] = ((1, 40), (12, 1000), (1, 28, 28), (3, 64, 64), (3, 65, 65), (3, 128, 128), (1, 16, 16, 16))


@pytest.mark.parametrize(
    "shape, name",
    [
        ((1, 40), "small_signals"),
        ((1, 28, 28), "small_images"),
        ((3, 64, 64), "small_images"),
        ((3, 64, 65), "resnet18"),
        ((1, 80, 80, 80), "small_images"),
    ],
)
def test_the_network_suits_the_samples(shape: Shape, name: str) -> None:
    assert architecture_for(shape) == name


@pytest.mark.parametrize("shape", SHAPES)
def test_the_default_network_takes_the_samples(shape: Shape) -> None:
    assert architecture_for(shape) in named_architectures()
    assert architecture(architecture_for(shape)).network(7).output_shape(shape) == (7,)


@pytest.mark.parametrize("samples, epochs", [(1, 100), (4_300, 100), (54_000, 8), (21_500, 20), (10**7, 8)])
def test_small_sets_are_seen_more_often(samples: int, epochs: float) -> None:
    assert epochs_for((1, 28, 28), samples) == epochs


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 100_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_left_open(shape: Shape, samples: int) -> None:
    settings = training_for(TrainingSettings(), shape, samples)
    assert 1 <= settings.batch <= max(1, samples)
    assert settings.total_steps(samples) >= 1 and settings.augment is not None and settings.rate is None


@pytest.mark.parametrize(
    "given",
    [
        {"steps": 5},
        {"epochs": 3.0},
        {"batch": 17},
        {"optimiser": AdamW(rate=0.1)},
        {"schedule": Constant()},
        {"augment": Augment(cutout=2)},
        {"augmented": False},
        {"patience": 3, "keep": "last", "clip": 1.0, "seed": 5, "precision": "float32", "threads": 1},
    ],
    ids=str,
)
def test_what_is_given_goes_before_the_default(given: dict[str, Any]) -> None:
    settings = training_for(TrainingSettings(**given), (1, 28, 28), 1000)
    plain = training_for(TrainingSettings(), (1, 28, 28), 1000)
    changed = {name for name in TrainingSettings.model_fields if getattr(settings, name) != getattr(plain, name)}
    assert {name: getattr(settings, name) for name in given} == given
    assert changed <= given.keys() | ({"epochs"} if "steps" in given else set())


def test_steps_go_in_place_of_epochs() -> None:
    settings = training_for(TrainingSettings(steps=7), (1, 40), 1000)
    assert settings.epochs is None and settings.total_steps(1000) == 7


def test_none_leaves_the_choice_open() -> None:
    given = TrainingSettings(epochs=None, augment=None, steps=None, rate=None)
    assert training_for(given, (1, 40), 1000) == training_for(TrainingSettings(), (1, 40), 1000)


@pytest.mark.parametrize("optimiser", [SGD(rate=0.3, momentum=0.5), AdamW()])
def test_a_rate_alone_changes_the_rate_alone(optimiser: SGD | AdamW) -> None:
    settings = training_for(TrainingSettings(rate=0.02, optimiser=optimiser), (1, 40), 1000)
    assert settings.optimiser == optimiser.replace(rate=0.02)
    assert settings.rate is None
    assert training_for(TrainingSettings(rate=0.02), (1, 40), 9).optimiser.rate == 0.02


def test_the_default_schedule_is_one_cycle_down_to_nothing() -> None:
    schedule = training_for(TrainingSettings(), (1, 28, 28), 1000).schedule
    assert isinstance(schedule, OneCycle) and schedule.factor(99, 100) == 0


@pytest.mark.parametrize("shape, flip, shift", [((1, 40), (), 3), ((1, 28, 28), (-1,), 2), ((1, 30, 30, 30), (), 2)])
def test_only_images_are_mirrored_and_all_small_samples_are_shifted(
    shape: Shape, flip: tuple[int, ...], shift: int
) -> None:
    assert augment_for(shape) == Augment(flip=flip, shift=shift)


def test_photos_are_cropped_at_random_to_what_the_network_sees() -> None:
    assert augment_for((3, 96, 128)) == Augment(flip=(-1,), crop_scale=(0.35, 1.0), crop_size=(96, 128))


@pytest.mark.parametrize("lengths", [{"epochs": 1, "steps": 1}, {"steps": 1, "minutes": 1}])
def test_two_lengths_together_are_refused(lengths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give one of epochs, steps, minutes"):
        TrainingSettings(**lengths)


@pytest.mark.parametrize(
    "settings, total, period",
    [
        (TrainingSettings(epochs=2, batch=64), 31, 16),
        (TrainingSettings(epochs=3, batch=16), 188, 63),
        (TrainingSettings(epochs=0.001, batch=64), 1, 16),
        (TrainingSettings(steps=5, batch=2000), 5, 1),
        (TrainingSettings(steps=5, validate_every=3), 5, 3),
        (TrainingSettings(epochs=100, batch=50), 2000, 50),
        (TrainingSettings(epochs=100, batch=50, patience=9), 2000, 20),
    ],
)
def test_lengths_are_whole_steps(settings: TrainingSettings, total: int, period: int) -> None:
    assert (settings.total_steps(1000), settings.validation_period(1000)) == (total, period)


def test_the_best_weights_are_kept_where_patience_is_given() -> None:
    assert TrainingSettings().kept == "last"
    assert TrainingSettings(patience=3).kept == "best"
    assert TrainingSettings(patience=3, keep="last").kept == "last"


@pytest.mark.parametrize("shape, name", [((2, 600), "unet_small"), ((3, 192, 256), "detector_nano")])
def test_masks_have_networks_that_answer_everywhere(shape: Shape, name: str) -> None:
    assert architecture_for(shape, "mask") == name
    facts = DataFacts(target="mask", classes=("a", "b"), counts=(1, 1), axes=len(shape) - 1)
    task = task_for(facts, options=task_options_for(shape, "mask"))
    assert task.network(architecture(name), 2).output_shape(shape) == (2, *shape[1:])


@pytest.mark.parametrize("target", ["mask", "boxes"])
@pytest.mark.parametrize("shape", [(1, 400), (3, 192, 256), (1, 192, 256), (1, 32, 32, 32)])
def test_targets_with_positions_leave_nothing_open_either(shape: Shape, target: str) -> None:
    settings = training_for(TrainingSettings(), shape, 300, target)
    assert settings.total_steps(300) >= 1 and settings.augment is not None and settings.rate is None
    assert 1 <= settings.batch <= 16
    settings.augment.draw(0, 0, np.arange(2), shape[1:])


def test_grey_images_have_no_saturation_to_change() -> None:
    assert augment_for((1, 192, 256), "mask").saturation == 0 < augment_for((3, 192, 256), "mask").saturation
