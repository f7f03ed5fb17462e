"""core/sample and core/targets: the kinds, their arrays, their batches."""

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.sample import Batch, Boxes, Keypoints, Label, Mask, Prediction, Sample, Target, collate


def one_of_each(axes=2):
    """One target of every kind, on a canvas of 6 pixels an axis."""
    bounds = torch.tensor([[1.0] * axes + [4.0] * axes, [-1.0] * axes + [2.5] * axes])
    return {
        "label": Label(index=3),
        "tags": Label(tags=torch.tensor([0.0, 1.0, 0.5])),
        "boxes": Boxes.from_bounds(bounds, torch.tensor([7, 0])),
        "mask": Mask(torch.arange(6**axes, dtype=torch.int32).reshape((6,) * axes) * 70_000, ignore=-1),
        "keypoints": Keypoints(torch.rand(2, 3, axes) * 6, torch.tensor([[True, False, True]] * 2)),
    }


def test_the_kinds_are_known_by_name():
    assert set(Target.kinds) >= {"label", "boxes", "mask", "keypoints"}
    assert Target.kinds["boxes"] is Boxes


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["label", "tags", "boxes", "mask", "keypoints"])
def test_every_kind_is_restored_from_its_arrays(name, axes):
    target = one_of_each(axes)[name]
    restored = Target.kinds[target.kind].from_arrays(target.arrays())
    assert restored.equals(target)


@pytest.mark.parametrize("name", ["label", "tags", "boxes", "mask", "keypoints"])
def test_arrays_of_another_kind_are_refused(name):
    target = one_of_each()[name]
    with pytest.raises(InputError, match="were expected; prepare it again"):
        type(target).from_arrays({"nonsense": torch.zeros(3), **target.arrays()})


@pytest.mark.parametrize("name", ["label", "tags", "boxes", "mask", "keypoints"])
def test_the_identity_moves_nothing(name):
    target = one_of_each()[name]
    assert target.move(Map.identity((6, 6))).equals(target)


def test_equals_tells_values_and_kinds_apart():
    assert not Label(index=3).equals(Label(index=4))
    assert not Label(index=0).equals(Label(tags=torch.zeros(1)))
    assert not Label(index=0).equals(Mask(torch.zeros(1, dtype=torch.int64)))


def test_a_new_kind_is_registered_by_defining_it():
    class Temperature(Label):
        pass

    assert Target.kinds.pop("temperature") is Temperature


def test_two_kinds_cannot_share_a_name():
    with pytest.raises(TypeError, match="'label' is already"):
        type("Label", (Boxes,), {"__module__": "elsewhere"})


def test_indices_collate_to_int64():
    out = Label.collate([Label(index=2), Label(index=0)])
    assert out.dtype == torch.int64
    assert out.tolist() == [2, 0]


def test_tags_collate_to_float32_rows():
    out = Label.collate([Label(tags=torch.tensor([1, 0])), Label(tags=torch.tensor([0, 1]))])
    assert out.dtype == torch.float32
    assert out.tolist() == [[1, 0], [0, 1]]


def test_indices_and_tags_do_not_mix_in_a_batch():
    with pytest.raises(ValueError, match="some have tags"):
        Label.collate([Label(index=2), Label(tags=torch.zeros(2))])


def test_a_label_is_an_index_or_tags():
    for wrong in ({}, {"index": 1, "tags": torch.zeros(2)}):
        with pytest.raises(ValueError, match="either an index or tags"):
            Label(**wrong)


def test_a_class_index_becomes_tags():
    assert Label(index=1).as_tags(3).tags.tolist() == [0, 1, 0]


def test_masks_collate_to_int64_with_large_values_exact():
    values = torch.tensor([[2**24 + 1, 5]], dtype=torch.int32)
    out = Mask.collate([Mask(values, -1), Mask(values, -1)])
    assert out.dtype == torch.int64
    assert out[1].tolist() == [[2**24 + 1, 5]]


def test_masks_with_different_ignore_values_do_not_collate():
    values = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="different ignore values"):
        Mask.collate([Mask(values, 255), Mask(values, -1)])


def test_a_mask_holds_integers_that_its_ignore_value_fits():
    with pytest.raises(ValueError, match="holds integers"):
        Mask(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="does not fit"):
        Mask(torch.zeros(2, 2, dtype=torch.uint8), ignore=-1)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_bounds_are_read_back_from_corners(axes):
    bounds = torch.tensor([[0.25] * axes + [3.5] * axes])
    boxes = Boxes.from_bounds(bounds, torch.tensor([1]))
    assert boxes.points.shape == (1, 2**axes, axes)
    assert torch.equal(boxes.bounds(), bounds.double())


def test_clipping_cuts_drops_and_counts():
    bounds = torch.tensor([[1.0, 1, 3, 3], [-2, -2, 2, 2], [9, 9, 12, 12], [0, 0, 2, 0], [4, 10, 8, 14]])
    kept, dropped = Boxes.from_bounds(bounds, torch.arange(5)).clip((8, 10))
    assert dropped == 3  # outside, without extent, and touching the edge from outside
    assert kept.classes.tolist() == [0, 1]
    assert kept.bounds().tolist() == [[1, 1, 3, 3], [0, 0, 2, 2]]


def test_clipping_can_demand_a_share_of_the_box():
    boxes = Boxes.from_bounds(torch.tensor([[-2.0, -2, 2, 2], [0, 0, 2, 2]]), torch.tensor([0, 1]))
    kept, dropped = boxes.clip((8, 8), keep=0.25)
    assert (kept.classes.tolist(), dropped) == ([1], 1)


def test_no_boxes_are_boxes_too():
    none = Boxes(torch.zeros(0, 4, 2), torch.zeros(0))
    assert none.bounds().shape == (0, 4)
    assert none.move(Map.identity((3, 3))).clip((3, 3))[1] == 0


def test_misshapen_boxes_and_keypoints_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 2\^A, A\)"):
        Boxes(torch.zeros(2, 2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="need as many classes"):
        Boxes(torch.zeros(2, 4, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="visible"):
        Keypoints(torch.zeros(2, 3, 2), torch.zeros(2, 2))


def test_points_off_the_canvas_stay_annotated_but_are_not_shown():
    places = torch.tensor([[[1.0, 1], [4, 0], [0, -0.1], [3.9, 0]]])
    points = Keypoints(places, torch.tensor([[True, True, True, False]]))
    assert points.shown((4, 4)).tolist() == [[True, False, False, False]]
    assert points.visible.tolist() == [[True, True, True, False]]


def test_a_batch_collates_each_kind_in_its_own_way():
    samples = [Sample(torch.zeros(1, 6, 6), one_of_each(), name=str(i)) for i in range(3)]
    batch = collate(samples, [5, 6, 7])
    assert batch.images.shape == (3, 1, 6, 6)
    assert len(batch) == 3
    assert batch.index.tolist() == [5, 6, 7]
    assert batch.targets["label"].shape == (3,)
    assert batch.targets["tags"].shape == (3, 3)
    assert batch.targets["mask"].shape == (3, 6, 6)
    assert [type(one) for one in batch.targets["boxes"]] == [Boxes] * 3
    assert [type(one) for one in batch.targets["keypoints"]] == [Keypoints] * 3


def test_a_batch_moves_its_tensors_to_a_device():
    batch = collate([Sample(torch.zeros(1, 6, 6), one_of_each())], [0]).to("meta")
    assert isinstance(batch, Batch)
    assert batch.images.device.type == batch.targets["label"].device.type == "meta"


def test_samples_that_differ_do_not_collate():
    with pytest.raises(ValueError, match="must agree"):
        collate([Sample(torch.zeros(1, 6)), Sample(torch.zeros(1, 7))], [0, 1])
    with pytest.raises(ValueError, match="must agree"):
        collate([Sample(torch.zeros(1, 6)), Sample(torch.zeros(1, 6), {"label": Label(index=0)})], [0, 1])


def test_an_image_needs_channels_and_one_to_three_axes():
    with pytest.raises(ValueError, match="1 to 3 axes"):
        Sample(torch.zeros(5))


def test_a_prediction_reads_like_a_mapping():
    prediction = Prediction("a.png", {"label": "cat", "probability": np.float32(0.5)})
    assert dict(prediction) == {"label": "cat", "probability": 0.5}
    assert (prediction["label"], len(prediction), prediction.name) == ("cat", 2, "a.png")
