"""Faulty annotations are dropped, cut or refused before a sample is prepared, and each time it is said."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.errors import InputError
from striate.core.sample import Boxes, Keypoints, Label, Mask, Sample, Target
from striate.data.sound import sound

IMAGE = torch.zeros((3, 20, 30), dtype=torch.uint8)
NAN = float("nan")


def of(bounds: list[list[float]], image: torch.Tensor = IMAGE, name: str = "boxes") -> Sample:
    numbers = torch.tensor(bounds, dtype=torch.float64).reshape(len(bounds), 2 * (image.ndim - 1))
    marks = torch.arange(len(bounds)) % 2 == 1
    return Sample(image, {name: Boxes.from_bounds(numbers, torch.arange(len(bounds)), marks)}, "s")


def boxes_of(sample: Sample) -> Boxes:
    target = sample.targets["boxes"]
    assert isinstance(target, Boxes)
    return target


def test_sound_samples_are_left_as_they_are() -> None:
    for sample in (
        of([[0, 0, 20, 30], [1.25, 2.5, 3.75, 4]]),
        of([]),
        Sample(IMAGE, {"label": Label(index=3)}),
        Sample(IMAGE, {"mask": Mask(torch.zeros((20, 30), dtype=torch.uint8), 255)}),
    ):
        same, notes = sound(sample)
        assert same is sample
        assert notes == ()


def test_faulty_boxes_are_dropped_and_counted() -> None:
    bounds = [[1, 1, 5, 5], [5, 1, 1, 5], [2, 2, 2, 9], [30, 1, 40, 5], [1, NAN, 2, 3], [-9, 1, 0, 5], [7, 8, 7, 8]]
    fixed, notes = sound(of(bounds))
    assert boxes_of(fixed).annotated().tolist() == [[1, 1, 5, 5], [1, 1, 5, 5]]
    assert boxes_of(fixed).classes.tolist() == [0, 1]
    assert notes == (
        "1 of 7 boxes: swapped corners exchanged",
        "1 of 7 boxes dropped: not finite",
        "2 of 7 boxes dropped: empty",
        "2 of 7 boxes dropped: outside the image",
    )


def test_boxes_that_reach_beyond_are_cut() -> None:
    fixed, notes = sound(of([[-3, 2, 5, 31], [1, 1, 2, 2], [0, 0, 20.004, 30]]))
    assert boxes_of(fixed).annotated().tolist() == [[0, 2, 5, 30], [1, 1, 2, 2], [0, 0, 20, 30]]
    assert boxes_of(fixed).marks.tolist() == [False, True, False]
    assert notes == ("1 of 3 boxes cut at the edge of the image",)


def test_events_in_a_signal_are_boxes_with_one_axis() -> None:
    fixed, notes = sound(of([[5, 9], [9, 5], [90, 130], [100, 120]], torch.zeros((1, 100))))
    assert boxes_of(fixed).annotated().tolist() == [[5, 9], [5, 9], [90, 100]]
    assert len(notes) == 3


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.floats(-40, 60, allow_nan=False)] * 4), max_size=8))
def test_what_is_left_lies_inside_and_nothing_else_is_lost(bounds: list[tuple[float, ...]]) -> None:
    fixed, notes = sound(of([list(one) for one in bounds]))
    left = boxes_of(fixed).annotated()
    right = [(*sorted((y0, y1)), *sorted((x0, x1))) for y0, x0, y1, x1 in bounds]
    good = [i for i, (y0, y1, x0, x1) in enumerate(right) if max(y0, 0) < min(y1, 20) and max(x0, 0) < min(x1, 30)]
    assert boxes_of(fixed).classes.tolist() == good
    assert (left[:, :2] >= 0).all()
    assert (left[:, 2:] <= torch.tensor([20.0, 30.0])).all()
    assert sum(int(note.split()[0]) for note in notes if "dropped" in note) == len(bounds) - len(good)


def test_keypoints_that_are_not_finite_are_not_visible() -> None:
    points = torch.tensor([[[1.0, 2.0], [NAN, 3.0], [NAN, NAN]]])
    before: dict[str, Target] = {"keypoints": Keypoints(points, torch.tensor([[True, True, False]]))}
    fixed, notes = sound(Sample(IMAGE, before))
    after = fixed.targets["keypoints"]
    assert isinstance(after, Keypoints)
    assert after.points.tolist() == [[[1, 2], [0, 0], [0, 0]]]
    assert after.visible.tolist() == [[True, False, False]]
    assert notes == ("1 of 3 keypoints dropped: not finite",)


def test_a_mask_of_another_size_is_refused() -> None:
    sample = Sample(IMAGE, {"mask": Mask(torch.zeros((30, 20), dtype=torch.uint8), 255)}, "a.png")
    with pytest.raises(InputError, match=r"^a\.png: a mask of 30x20 for an image of 20x30; export it at that size"):
        sound(sample)
