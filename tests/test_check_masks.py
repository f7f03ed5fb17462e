"""Faults of masks, by themselves and through the doctor."""

import numpy as np

from memory_reader import MemoryReader, photo
from striate.data.doctor.check_masks import mask_faults, pixel_counts
from striate.data.doctor.examine import examine

CLASSES = ("background", "cell")


def test_a_good_mask_has_no_faults() -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 1], mask[2, 2] = 1, 255
    assert mask_faults(mask, 255, CLASSES, (4, 6)) == []


def test_values_that_are_no_class_are_named() -> None:
    mask = np.array([[0, 1], [7, 9]], np.uint8)
    assert mask_faults(mask, 255, CLASSES, (2, 2)) == [("mask-values", "2 values: 7, 9")]
    void = np.full((2, 2), 255, np.uint8)
    assert mask_faults(void, 255, CLASSES, (2, 2), unknown={128: 4}) == [("mask-values", "value 128")]


def test_another_size_than_the_image_is_told_with_both() -> None:
    mask = np.array([[0, 1, 1]], np.uint8)
    assert mask_faults(mask, 255, CLASSES, (2, 3)) == [("mask-size", "the mask is 3 x 1, the image 3 x 2")]


def test_nothing_but_background_or_void_is_told() -> None:
    assert mask_faults(np.zeros((2, 2), np.uint8), 255, CLASSES, (2, 2))[0][0] == "mask-background"
    assert mask_faults(np.full((2, 2), 255, np.uint8), 255, CLASSES, (2, 2))[0][0] == "mask-void"
    assert mask_faults(np.zeros((2, 2), np.uint8), 255, ("sky", "road"), (2, 2)) == []


def test_pixels_are_counted_by_class_without_void() -> None:
    assert pixel_counts(np.array([0, 1, 1, 255]), 3).tolist() == [1, 2, 0]


def test_the_doctor_names_the_samples() -> None:
    masks = [np.zeros((48, 64), np.uint8) for _ in range(12)]
    for mask in masks[1:]:
        mask[5:20, 5:20] = 1
    masks[2][0, 0] = 9
    masks[3] = masks[3][:24, :32]
    found = examine(MemoryReader([photo(i) for i in range(12)], masks=masks, classes=CLASSES))
    named = {one.code: one.files for one in found.findings}
    assert named["mask-background"] == ("s0.png",)
    assert named["mask-values"] == ("s2.png",)
    assert named["mask-size"] == ("s3.png",)
    assert found.class_counts["all"]["samples"] == [12, 11]
