"""Measuring window by window: a network goes over every sample at its own size, and is measured at that size.

The answers are those that ``striate predict --windows`` gives: blended over windows, brought back to the original where
the sample was resized first, and compared with the target as it was annotated.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.move import move_images
from striate.core.sample import Sample, Target
from striate.core.transform import Resize
from striate.data.reader import Reader
from striate.data.sound import sound
from striate.inference.measured import Lowest, named
from striate.inference.predictor import Predictor
from striate.inference.tiling import Tiling


def measure_windows(
    predictor: Predictor,
    reader: Reader,
    positions: NDArray[np.integer],
    renumber: Tensor,
    tiling: Tiling,
    *,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> tuple[dict[str, Any], int]:
    """The task's figures over samples of a reader, and how many samples could be used; those left out are said.

    Errors: ``InputError`` for a task whose answers cannot be blended, and when no sample can be used.
    """
    task = predictor.task
    if not task.blended:
        raise InputError("--windows", f"{task.kind} does not answer for every position", "measure without it")
    metrics, lowest, count = task.metrics(predictor.classes), Lowest(predictor), 0
    for position, sample, target in _samples(reader, positions, task.target, say):
        try:
            decoded = whole(predictor, sample, tiling)
        except InputError as error:
            say(f"skipped {sample.name}: {error.cause}")
            continue
        truth = task.renumber(type(target).collate([target]), renumber, len(predictor.classes))
        metrics.update(decoded, truth)
        lowest.update(decoded, truth, [position])
        count += 1
        show(count, len(positions), "measuring")
    if not count:
        raise InputError(reader.path, "no sample of the split can be used", "correct the data")
    names = [reader.name(number) for number in range(len(reader))]
    return named({**metrics.compute(), "worst": lowest.compute()}, names), count


def whole(predictor: Predictor, sample: Sample, tiling: Tiling) -> dict[str, Tensor]:
    """The blended outputs for a sample at the size in which it was annotated, (1, K, \\*size) each."""
    size = sample.original or sample.size
    predictor.demand_fit(tuple(sample.image.shape), sample.name)
    moved = tiling.resized(sample)
    image = moved.image.float() if predictor.normalise is None else predictor.normalise(moved).image
    decoded = predictor.decode_tiled(image, tiling)
    if moved.size == size:
        return decoded
    back = Map(Resize(size=moved.size).map(size).inverse(size).matrix, size, fill="edge")
    return {name: move_images(values, [back]) for name, values in decoded.items()}


def _samples(
    reader: Reader, positions: NDArray[np.integer], name: str, say: Callable[[str], None]
) -> Iterator[tuple[int, Sample, Target]]:
    """The samples that can be read, each with its target as annotated."""
    for position in positions.tolist():
        try:
            sample, target = reader.read(position), reader.targets(position)[name]
            size = sample.original or sample.size
            if not bool(sample.image.isfinite().all()):
                raise InputError(sample.name, "it holds values that are not finite", "correct or remove it")
            annotated = Sample(sample.image.new_zeros((1, *size)), {name: target}, sample.name)
            checked, _ = sound(annotated)
        except InputError as error:
            say(f"skipped {reader.name(position)}: {error.cause}")
            continue
        yield position, sample, checked.targets[name]
