"""What suits the data where an experiment leaves it open: the network, the length and manner of training.

One table of choices, said aloud when a run begins and written down in its folder. It depends on the kind of the target
(``label``, ``boxes``, ``mask``) and the shape and number of the samples, on nothing else.
"""

from typing import Any

from striate.data.augment import Augment
from striate.recipes.geometry import GREY, SMALL_SIDE
from striate.training.optim import SGD, AdamW
from striate.training.schedule import OneCycle
from striate.training.settings import TrainingSettings

Shape = tuple[int, ...]
LABEL = "label"
BOXES = "boxes"
MASK = "mask"
SMALLEST_HALVED = 128
"""Sides of images with masks from which on training begins on half of them: details must survive it."""
BATCHES = {"boxes": 16, "mask": 4}
"""Samples of a step where they have many positions to learn from: the steps count."""


def architecture_for(input_shape: Shape, target: str = LABEL) -> str:
    """Name of the default network for samples (C, *S).

    For masks: of images a light backbone whose finest map has half their resolution, a
    compromise of cost and detail that no benchmark here supports yet; a small U-Net of signals, whose every sample
    counts, and of volumes.
    """
    if target == MASK:
        return "detector_nano" if len(input_shape) == 3 else "unet_small"
    if target != LABEL:
        return "detector_nano"
    if len(input_shape) == 2:
        return "small_signals"
    return "small_images" if max(input_shape[1:]) <= SMALL_SIDE or len(input_shape) == 4 else "resnet18"


def task_options_for(input_shape: Shape, target: str = LABEL) -> dict[str, Any]:
    """Options of the task that go with :func:`architecture_for`."""
    if target == MASK and len(input_shape) == 3:
        return {"decoder": {"kind": "unet_decoder", "width": 16}}
    return {}


def epochs_for(input_shape: Shape, samples: int, target: str = LABEL) -> float:
    """Passes over so many training samples: from 8 for large sets to 100 for small ones, fewer for large images and
    for targets that have positions."""
    if target != LABEL:
        seen = 15_000
    else:
        seen = 430_000 if architecture_for(input_shape) != "resnet18" else 100_000
    return float(min(100, max(8, round(seen / max(samples, 1)))))


def training_for(given: TrainingSettings, input_shape: Shape, samples: int, target: str = LABEL) -> TrainingSettings:
    """The settings for samples (C, *S), with what was given in their place."""
    suited = TrainingSettings(
        epochs=epochs_for(input_shape, samples, target),
        batch=max(1, min(BATCHES.get(target, 128), samples // 8)),
        optimiser=_optimiser(target),
        average=0.998 if target == BOXES else None,
        small_until=_small_until(input_shape, target),
        schedule=OneCycle(peak=0.2, start_factor=0.05, end_factor=0.0, anneal="linear"),
        augment=augment_for(input_shape, target),
    )
    changes = {name: getattr(given, name) for name in given.model_fields_set}
    for name in ("epochs", "augment"):  # None leaves the choice here
        if changes.get(name, 0) is None:
            del changes[name]
    if given.steps is not None or given.minutes is not None:
        changes["epochs"] = None
    settings = suited.replace(**changes)
    if given.rate is not None:
        settings = settings.replace(optimiser=settings.optimiser.replace(rate=given.rate), rate=None)
    return settings


def _small_until(input_shape: Shape, target: str) -> float:
    """Images with masks are learned on half the canvas at first: at equal time that gives more than it costs."""
    halved = target == MASK and len(input_shape) == 3 and min(input_shape[1:]) >= SMALLEST_HALVED
    return 0.7 if halved else 0.0


def _optimiser(target: str) -> SGD | AdamW:
    if target == LABEL:
        return SGD(rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return AdamW(rate=2e-3, weight_decay=0.05) if target == BOXES else AdamW(rate=3e-3)


def augment_for(input_shape: Shape, target: str = LABEL) -> Augment:
    """Photos are mirrored left to right and cropped at random, small images mirrored and shifted by up to 7%, signals
    and volumes shifted by as much. Images with masks are mirrored, cropped and changed in brightness, contrast and,
    where they have colour, saturation; images with boxes are scaled and moved in place of being cropped."""
    axes = len(input_shape) - 1
    if target == BOXES and axes == 2:
        colour = input_shape[0] == 3
        return Augment(
            flip=(-1,),
            scale=(0.6, 1.5),
            translate=0.1,
            fill=GREY,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3 if colour else 0.0,
            hue=10.0 if colour else 0.0,
        )
    if target != LABEL and axes == 2:
        return Augment(
            flip=(-1,),
            crop_scale=(0.4, 1.0),
            crop_size=input_shape[1:],
            brightness=0.2,
            contrast=0.2,
            saturation=0.2 if input_shape[0] == 3 else 0.0,
        )
    if target == LABEL and architecture_for(input_shape) == "resnet18":
        return Augment(flip=(-1,), crop_scale=(0.35, 1.0), crop_size=input_shape[1:])
    shift = max(1, round(0.07 * min(input_shape[1:])))
    return Augment(flip=(-1,) if axes == 2 else (), shift=shift)
