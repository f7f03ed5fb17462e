"""What suits the data where an experiment leaves it open: the network, the length and manner of training.

One table of choices, said aloud when a run begins and written down in its folder.
"""

from striate.data.augment import Augment
from striate.recipes.geometry import SMALL_SIDE
from striate.training.optim import SGD
from striate.training.schedule import OneCycle
from striate.training.settings import TrainingSettings

Shape = tuple[int, ...]


def architecture_for(input_shape: Shape) -> str:
    """Name of the default network for samples (C, *S)."""
    if len(input_shape) == 2:
        return "small_signals"
    return "small_images" if max(input_shape[1:]) <= SMALL_SIDE or len(input_shape) == 4 else "resnet18"


def epochs_for(input_shape: Shape, samples: int) -> float:
    """Passes over so many training samples: from 8 for large sets to 100 for small ones, fewer for large images."""
    seen = 430_000 if architecture_for(input_shape) != "resnet18" else 100_000
    return float(min(100, max(8, round(seen / max(samples, 1)))))


def training_for(given: TrainingSettings, input_shape: Shape, samples: int) -> TrainingSettings:
    """The settings for samples (C, *S), with what was given in their place."""
    batch = max(1, min(128, samples // 8))
    suited = TrainingSettings(
        epochs=epochs_for(input_shape, samples),
        batch=batch,
        optimiser=SGD(rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=OneCycle(peak=0.2, start_factor=0.05, end_factor=0.0, anneal="linear"),
        augment=augment_for(input_shape),
    )
    changes = {name: getattr(given, name) for name in given.model_fields_set}
    for name in ("epochs", "augment"):  # None leaves the choice here
        if changes.get(name, 0) is None:
            del changes[name]
    if given.steps is not None:
        changes["epochs"] = None
    settings = suited.replace(**changes)
    if given.rate is not None:
        settings = settings.replace(optimiser=settings.optimiser.replace(rate=given.rate), rate=None)
    return settings


def augment_for(input_shape: Shape) -> Augment:
    """Photos are mirrored left to right and cropped at random, small images mirrored and shifted by up to 7%, signals
    and volumes shifted by as much."""
    if architecture_for(input_shape) == "resnet18":
        return Augment(flip=(-1,), crop_scale=(0.35, 1.0), crop_size=input_shape[1:])
    shift = max(1, round(0.07 * min(input_shape[1:])))
    return Augment(flip=(-1,) if len(input_shape) == 3 else (), shift=shift)
