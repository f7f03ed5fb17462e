"""Sliding windows: seams that are not there, in any number of axes, whatever the size of image and window."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.core.sample import Sample
from striate.core.transform import Compose, Letterbox, Normalise
from striate.inference.predictor import Predictor, evaluating
from striate.inference.tiling import Tiling, ramp, starts, tiled
from striate.layers.blocks import ConvNormAct
from striate.layers.graph import Chain, Graph, Row
from striate.tasks.classification import Classification
from striate.tasks.segmentation import SegmentationTask

CLASSES = ("a", "b", "c")


def convolutional(pooled: bool = False) -> Graph:
    """A small network of same windows: a receptive field of 7, or of 18 with a pooling and back."""
    layer = ConvNormAct(channels=4, kernel=3, padding="same", norm=None)
    if pooled:
        spec = architecture("unet", {"width": 2, "depth": 1})
        return spec.dense(len(CLASSES))
    return Graph(
        rows=(Row(name="all", layer=Chain(layers=(layer, layer, layer.replace(channels=3, activation=None)))),)
    )


def predictor(network: Graph, window: tuple[int, ...], normalise: bool = True) -> Predictor:
    torch.manual_seed(0)
    steps = (Letterbox(size=window), Normalise(mean=0.5, std=2.0)) if normalise else (Letterbox(size=window),)
    module = network.build((1, *window))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return Predictor(
        module=module.eval(),
        task=SegmentationTask(),
        preprocessing=Compose(steps=steps),
        classes=CLASSES,
        input_shape=(1, *window),
        network=network,
    )


@pytest.mark.parametrize(
    "size, window, stride",
    [((61,), (24,), 1), ((50, 37), (24, 16), 1), ((20, 23, 21), (16, 16, 16), 1), ((128, 64), (64, 32), 4)],
)
def test_windows_that_overlap_by_the_receptive_field_give_one_pass_over_the_whole(
    size: tuple[int, ...], window: tuple[int, ...], stride: int
) -> None:
    pooled = stride > 1
    made = predictor(convolutional(pooled), window)
    image = torch.randn(1, *size)
    found = made.decode_tiled(image, Tiling(overlap=0.5 if not pooled else 0.75, stride=stride))["probabilities"]
    with evaluating(made.module):
        whole = made.module(image[None]).softmax(dim=1)
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


def test_a_hard_cut_between_windows_would_be_seen() -> None:
    made = predictor(convolutional(), (24,))
    image = torch.randn(1, 61)
    with evaluating(made.module):
        whole = made.module(image[None]).softmax(dim=1)
    assert float((made.decode_tiled(image, Tiling(overlap=0.0, stride=1))["probabilities"] - whole).abs().max()) > 0.01


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(1, 200),
    window=st.integers(4, 40),
    overlap=st.floats(0, 0.8),
    stride=st.integers(1, 4),
    border=st.integers(0, 10),
)
def test_what_is_the_same_everywhere_stays_the_same(
    length: int, window: int, overlap: float, stride: int, border: int
) -> None:
    """Weights add up to something everywhere, and every position is in a window."""
    found = tiled(
        lambda images: {"given": images},
        torch.full((2, length), 3.0),
        (window,),
        Tiling(overlap=overlap, stride=stride, border=border),
        batch=3,
    )
    assert found["given"].shape == (1, 2, length)
    torch.testing.assert_close(found["given"], torch.full((1, 2, length), 3.0))


def test_windows_begin_at_multiples_of_the_stride_and_end_with_the_image() -> None:
    assert starts(100, 32, Tiling(overlap=0.25, stride=8)) == [0, 24, 48, 68]
    assert starts(32, 32, Tiling()) == starts(5, 32, Tiling()) == [0]


def test_ramps_of_neighbours_add_up_to_one_and_leave_the_border_out() -> None:
    left, right = ramp(10, 0, 6, 2), ramp(10, 6, 0, 2)
    np.testing.assert_allclose(left[4:] + right[:6], 1.0)
    assert left[-2:].tolist() == [0, 0] and right[:2].tolist() == [0, 0] and left[:6].tolist() == [1] * 6


def test_networks_of_valid_windows_go_over_an_image_that_is_continued_by_its_mirror() -> None:
    layer = ConvNormAct(channels=3, kernel=3, padding="valid", norm=None, activation=None)
    made = predictor(Graph(rows=(Row(name="all", layer=Chain(layers=(layer, layer))),)), (16, 12))
    image = torch.randn(1, 29, 23)
    found = made.decode_tiled(image, Tiling(overlap=0.5, stride=1))["probabilities"]
    with evaluating(made.module):
        mirrored = torch.nn.functional.pad(image[None], (2, 2, 2, 2), mode="reflect")
        torch.testing.assert_close(found, made.module(mirrored).softmax(dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale, size", [(1.0, (30, 41)), (0.5, (30, 41)), (1.0, (5, 9))])
def test_predictions_window_by_window_have_the_size_of_the_original(scale: float, size: tuple[int, int]) -> None:
    made = predictor(convolutional(), (16, 16))
    record = made.predict(torch.rand(1, 1, *size), tiling=Tiling(scale=scale))[0]
    assert record["mask"].shape == size


def test_values_are_scaled_as_in_training() -> None:
    made = predictor(convolutional(), (16, 16))
    image = torch.rand(1, 20, 20)
    scaled = made.decode_tiled((image - 0.5) / 2, Tiling(overlap=0.5, stride=1))["probabilities"].argmax(dim=1)[0]
    record = next(made.predict_samples([Sample(image)], tiling=Tiling(overlap=0.5, stride=1)))
    assert (record["mask"] == scaled.numpy()).all()


def test_a_task_whose_answers_have_no_positions_is_refused() -> None:
    network = architecture("fully_connected", {"hidden": (4,)}).network(3)
    made = Predictor(
        module=network.build((1, 8)),
        task=Classification(),
        preprocessing=Compose(),
        classes=CLASSES,
        input_shape=(1, 8),
    )
    with pytest.raises(InputError, match=r"tiling: classification does not answer for every position"):
        made.predict(torch.zeros(1, 1, 8), tiling=Tiling())


@pytest.mark.parametrize("given_", [{"overlap": 1.0}, {"overlap": -0.1}, {"scale": 0.0}, {"border": -1}, {"stride": 0}])
def test_values_out_of_range_are_named(given_: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"tiling.{next(iter(given_))}"):
        Tiling(**given_)


def test_an_answer_without_positions_cannot_be_blended() -> None:
    def decode(images: Tensor) -> dict[str, Tensor]:
        return {"logits": images.mean(dim=2)}

    with pytest.raises(InputError, match="logits has no value for every position"):
        tiled(decode, torch.zeros(1, 20), (8,), Tiling(), 2)
