"""Masks of several classes a pixel: what is packed comes back, and passes through what moves masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.bitsets import MOST_CLASSES, counts, form_of, known, names, packed, unpacked
from striate.core.errors import InputError
from striate.core.sample import Mask
from striate.core.transform import Flip, Letterbox


@settings(deadline=None, max_examples=30)
@given(classes=st.integers(1, MOST_CLASSES), seed=st.integers(0, 1000))
def test_layers_come_back_as_they_were(classes: int, seed: int) -> None:
    layers = np.random.default_rng(seed).random((classes, 3, 5)) < 0.5
    kind, ignore = form_of(classes, "here")
    values = packed(layers, kind)
    assert values.dtype == kind and (unpacked(values, classes) == layers).all()
    assert counts(values, classes).tolist() == layers.sum(axis=(1, 2)).tolist()
    assert known(values, classes).all() and not (values == ignore).any()
    values[0] = ignore
    assert not known(values, classes)[0].any() and not unpacked(values, classes)[:, 0].any()
    assert counts(values, classes).tolist() == layers[:, 1:].sum(axis=(1, 2)).tolist()


def test_all_classes_at_once_are_not_the_ignore_value() -> None:
    for classes in (7, 8, MOST_CLASSES):
        kind, ignore = form_of(classes, "here")
        full = packed(np.ones((classes, 1), dtype=bool), kind)
        assert int(full[0]) == 2**classes - 1 != ignore and known(full, classes).all()


def test_more_classes_than_bits_are_refused_by_their_number() -> None:
    with pytest.raises(InputError, match=r"masks: 31 classes, and .* at most 30; leave classes out"):
        form_of(31, "masks")


def test_names_are_those_of_the_bits_and_none_of_void() -> None:
    assert names(0b101, ("a", "b", "c")) == ["a", "c"]
    assert names(0, ("a",)) == names(255, ("a", "b")) == names(-1, ("a",)) == []


@pytest.mark.parametrize("classes", [3, 12])
def test_moving_a_mask_moves_every_class(classes: int) -> None:
    layers = np.random.default_rng(0).random((classes, 6, 8)) < 0.4
    kind, ignore = form_of(classes, "here")
    mask = Mask(torch.from_numpy(packed(layers, kind)), ignore)
    turned = mask.move(Flip(axes=(1,)).map((6, 8)))
    assert (unpacked(turned.values.numpy(), classes) == layers[:, :, ::-1]).all()
    boxed = mask.move(Letterbox(size=8).map((6, 8))).values.numpy()
    assert (boxed == ignore).sum() == 16 and counts(boxed, classes).tolist() == layers.sum(axis=(1, 2)).tolist()
    assert Mask.collate([turned, turned]).dtype == torch.int64
