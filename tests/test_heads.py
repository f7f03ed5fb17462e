"""Heads: shapes in every number of axes, what a fresh one says, and networks of backbone, decoder and head."""

import json
from math import prod

import pytest
import torch
import torch.nn.functional as F

from layer_probe import assert_claims
from striate.architectures.backbone import architecture
from striate.architectures.decoders import FeaturePyramid, PathAggregation
from striate.architectures.heads import DenseHead, DetectionHead, YoloV1Head
from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.layers.graph import expanded
from striate.layers.layer import Shape
from striate.layers.output import OutputConvolution

MAPS: dict[int, tuple[Shape, ...]] = {
    1: ((4, 12), (4, 6)),
    2: ((4, 9, 7), (4, 5, 4)),
    3: ((4, 4, 3, 5), (4, 2, 2, 3)),
}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("depth", [0, 2])
def test_detection_gives_classes_and_sides_at_every_cell(axes: int, depth: int) -> None:
    head = DetectionHead(classes=3, bins=5, strides=(8, 16), channels=6, depth=depth)
    maps = MAPS[axes]
    expected = {
        name + stride: (channels, *shape[1:])
        for stride, shape in zip(("8", "16"), maps, strict=True)
        for name, channels in (("classes", 3), ("boxes", 2 * axes * 5))
    }
    assert head.parts(*maps) == expected
    module = head.build(*maps).eval()
    values = module(*(torch.randn(2, *shape) for shape in maps))
    assert {name: tuple(value.shape[1:]) for name, value in values.items() if name} == expected
    leaves = head.leaves(*maps, sources=("input", "input.1"))
    assert sum(leaf.parameters for leaf in leaves) == sum(p.numel() for p in module.parameters())


def test_a_fresh_detection_head_gives_every_class_the_prior_and_every_distance_the_same() -> None:
    torch.manual_seed(0)
    head = DetectionHead(classes=20, strides=(8,), channels=64, prior=0.01)
    with torch.no_grad():
        values = head.build((64, 10, 10))(torch.randn(4, 64, 10, 10))
    assert float(values["classes8"].sigmoid().mean()) == pytest.approx(0.01, rel=0.1)
    spread = values["boxes8"].unflatten(1, (4, 16)).softmax(2)
    assert float((spread - 1 / 16).abs().max()) < 0.03


def test_the_branches_are_decoupled() -> None:
    module = DetectionHead(classes=2, strides=(8,), channels=4).build((3, 5, 5))
    values = module(torch.randn(2, 3, 5, 5))
    values["classes8"].sum().backward()
    assert {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None} == {
        "class_branch8", "classes8",
    }  # fmt: skip


@pytest.mark.parametrize("decoder", [FeaturePyramid(channels=8), PathAggregation(channels=8)])
def test_a_detector_is_backbone_decoder_and_head(decoder: FeaturePyramid | PathAggregation) -> None:
    head = DetectionHead(classes=3, channels=8)
    network = decoder.network(architecture("detector_nano"), head, head.maps)
    shape = (3, 75, 100)
    cells = {8: (10, 13), 16: (5, 7), 32: (3, 4)}
    expected = {
        f"{name}{stride}": (channels, *size)
        for stride, size in cells.items()
        for name, channels in (("classes", 3), ("boxes", 64))
    }
    assert network.parts(shape) == expected
    module = network.build((3, 64, 64)).eval()  # another size than it is run at
    with torch.no_grad():
        values = module(torch.randn(1, *shape))
    assert {name: tuple(value.shape[1:]) for name, value in values.items() if name} == expected
    assert {name.split(".")[0] for name in module.state_dict()} == {"backbone", "decoder", "head"}
    written = expanded(network)
    assert Spec.from_json(json.loads(json.dumps(written.to_json()))) == written


def test_one_spec_detects_in_signals_and_volumes() -> None:
    head = DetectionHead(classes=2, bins=4, strides=(4, 8), channels=4)
    network = FeaturePyramid(strides=(4, 8), channels=4).network(
        architecture("detector_nano", {"widths": (4, 4, 4), "depths": (1, 1)}), head, head.maps
    )
    assert network.parts((1, 50))["boxes4"] == (8, 13)
    assert network.parts((1, 16, 20, 12))["boxes8"] == (24, 2, 3, 2)
    module = network.build((1, 16, 20, 12))
    values = module(torch.randn(2, 1, 16, 20, 12))
    sum(value.square().mean() for value in values.values()).backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [4, 14, 15])
def test_yolo_v1_gives_boxes_and_classes_a_cell(axes: int, size: int) -> None:
    head = YoloV1Head(classes=20, channels=8)
    shape = (6, *(size,) * axes)
    assert head.output_shape(shape) == (2 * (2 * axes + 1) + 20, *(7,) * axes)
    assert head.build(shape).eval()(torch.randn(2, *shape)).shape == (2, *head.output_shape(shape))
    assert head.parameters(shape) == sum(p.numel() for p in head.build(shape).parameters())


def test_yolo_v1_on_a_backbone_is_that_of_the_lecture() -> None:
    network = architecture("resnet18").with_head(YoloV1Head(classes=20))
    assert network.output_shape((3, 448, 448)) == (30, 7, 7)
    assert architecture("resnet18").with_head(YoloV1Head(classes=3, grid=5)).output_shape((3, 320, 240)) == (13, 5, 5)


def test_yolo_v1_pools_by_means() -> None:
    module = YoloV1Head(classes=1, boxes=1, grid=2, depth=0).build((3, 6, 6))
    x = torch.randn(1, 3, 6, 6)
    expected = module.cells(F.avg_pool2d(x, 3))
    torch.testing.assert_close(module(x), expected)


def test_windows_of_the_heads_are_exact() -> None:
    assert_claims(YoloV1Head(classes=1, channels=2, grid=3, depth=1), (2, 8, 7))
    assert_claims(DenseHead(outputs=3), (2, 5, 6))
    assert_claims(DetectionHead(classes=1, strides=(4,), bins=2, channels=2, depth=1), (2, 5, 6))


def test_an_output_convolution_is_a_linear_map_at_each_position() -> None:
    torch.manual_seed(0)
    layer = OutputConvolution(channels=40, per_axis=30, bias=-2.0, deviation=0.05)
    module, shape = layer.build((50, 4, 3)), layer.output_shape((50, 4, 3))
    assert shape == (100, 4, 3)
    assert layer.parameters((50, 4, 3)) == 51 * 100
    assert layer.multiply_adds((50, 4, 3)) == 50 * prod(shape)
    weights = dict(module.named_parameters())
    assert bool((weights["bias"] == -2.0).all()) and float(weights["weight"].detach().std()) == pytest.approx(
        0.05, rel=0.1
    )


def test_what_makes_no_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no output"):
        OutputConvolution(channels=0)
    with pytest.raises(ValueError, match="multiple"):
        DetectionHead(classes=1, strides=(16, 8))
    head = DetectionHead(classes=1, strides=(4, 8))
    with pytest.raises(InputError, match="reads 'stride4', which is none of: stride8"):
        FeaturePyramid().network(architecture("detector_nano"), head, head.maps)
