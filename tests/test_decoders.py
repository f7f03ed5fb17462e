"""Decoders over every backbone that publishes maps: names, sizes, what they compute, and what they see."""

import json
from math import floor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from layer_probe import example
from striate.analysis.receptive_field import influence
from striate.architectures.backbone import Architecture, architecture, window_graph
from striate.architectures.decoders import Decoder, FeaturePyramid, Level, PathAggregation, UnetDecoder
from striate.architectures.heads import DenseHead
from striate.core.errors import InputError
from striate.core.spec import Spec, kinds
from striate.layers.graph import Graph, expanded
from striate.layers.layer import Shape
from striate.layers.merge import Join, UpsampleLike
from striate.layers.norm_act import ReLU

FEW = settings(max_examples=12, deadline=None)
BACKBONES = {
    "resnet": architecture("resnet18", {"widths": (4, 6, 8, 10), "depths": (1, 1, 1, 1)}),
    "flooring": architecture("small_images", {"widths": (4, 5, 6, 7), "depths": (1, 1, 1, 1)}),
    "valid": architecture("mnist1d_conv", {"channels": (4, 5)}),
    "detector": architecture("detector_nano", {"widths": (4, 4, 6, 6), "depths": (1, 1, 0)}),
    "unet": architecture("unet", {"width": 4, "depth": 2}),
}
LEAST = {1: 16, 2: 16, 3: 16}
MOST = {1: 90, 2: 40, 3: 22}


def shapes(axes: int) -> st.SearchStrategy[Shape]:
    return st.tuples(st.just(2), *(st.integers(LEAST[axes], MOST[axes]),) * axes)


def decoders(backbone: Architecture) -> list[Decoder]:
    """One of each, over the strides the backbone has and one beyond them."""
    strides = [level.stride for level in backbone.levels()]
    wanted = (*strides[-2:], 2 * strides[-1])
    return [
        FeaturePyramid(strides=wanted, channels=4),
        PathAggregation(strides=wanted, channels=4),
        UnetDecoder(width=4, widest=8, depth=1),
    ]


def test_every_decoder_is_tested_here() -> None:
    assert {type(decoder) for decoder in decoders(BACKBONES["resnet"])} == set(kinds(Decoder).values())


@pytest.mark.parametrize("name", BACKBONES)
@given(st.data(), st.integers(1, 3))
@FEW
def test_maps_have_the_names_sizes_and_channels_that_are_claimed(name: str, draw: st.DataObject, axes: int) -> None:
    backbone, shape = BACKBONES[name], draw.draw(shapes(axes))
    published = backbone.backbone().parts(shape)
    sizes = {level.output: published[level.name][1:] for level in backbone.levels()}
    for decoder in decoders(backbone):
        graph = decoder.over(backbone)
        module = graph.build(shape).eval()
        with torch.no_grad():
            values = module(torch.randn(2, *shape))
        parts = graph.parts(shape)
        assert {key: tuple(value.shape[1:]) for key, value in values.items()} == graph.values(shape)
        assert graph.parameters(shape) == sum(parameter.numel() for parameter in module.parameters())
        for output, part in parts.items():
            assert output not in sizes or part[1:] == sizes[output]
        order = [int(output.removeprefix("stride")) for output in parts]
        assert order == sorted(order)


@pytest.mark.parametrize("name", BACKBONES)
@given(st.data(), st.integers(1, 3))
@FEW
def test_a_dense_network_answers_at_every_position_of_any_input(name: str, draw: st.DataObject, axes: int) -> None:
    first, second = draw.draw(shapes(axes)), draw.draw(shapes(axes))
    network = BACKBONES[name].dense(3)
    module = network.build(first).eval()
    for shape in (first, second):  # what was built for one size runs at another
        assert network.output_shape(shape) == (3, *shape[1:])
        with torch.no_grad():
            assert module(torch.randn(2, *shape)).shape == (2, 3, *shape[1:])


@pytest.mark.parametrize("shape", [(2, 67), (2, 44, 37)])
@pytest.mark.parametrize("name", BACKBONES)
def test_what_a_decoder_sees_is_what_lights_up(name: str, shape: Shape) -> None:
    backbone = BACKBONES[name]
    chosen = decoders(backbone) if len(shape) == 2 else decoders(backbone)[1:]
    for decoder in chosen:
        assert_reads(decoder.over(backbone), shape)
        if isinstance(decoder, UnetDecoder):
            assert_reads(backbone.dense(2, decoder), shape)


def assert_reads(network: Graph, shape: Shape) -> None:
    """Every output of the built network depends on exactly the input positions its window graph names."""
    graph, rows = window_graph(network, shape), network.output_leaves(shape)
    module = network.build(shape)
    for axis in range(len(shape) - 1):
        for output, lit in influence(module, shape, axis).items():
            for position in range(lit.shape[1]):
                says = np.zeros(shape[axis + 1], dtype=bool)
                for low, high in graph.positions(rows[output], axis, position):
                    says[low : high + 1] = True
                assert (lit[:, position].numpy() == says).all(), (output, axis, position)


def test_levels_are_the_last_map_of_each_stride() -> None:
    assert architecture("small_images").levels() == (Level("stage1", 2), Level("stage3", 4))
    assert [level.name for level in architecture("resnet18").levels()] == ["stem", *(f"layer{n}" for n in range(1, 5))]
    assert [level.stride for level in architecture("resnet18").levels()] == [2, 4, 8, 16, 32]
    uneven = architecture("small_images", {"halving": (2, 1)})
    assert [level.output for level in uneven.levels()] == ["stride2x1", "stride4x1"]
    assert uneven.dense(3).output_shape((1, 21, 10)) == (3, 21, 10)


def test_the_pyramid_of_the_paper_computes_what_torchvision_does() -> None:
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")
    backbone = architecture("resnet18", {"widths": (4, 6, 8, 10)})
    spec = FeaturePyramid(strides=(4, 8, 16, 32), channels=12, norm=None, activation=None)
    module = spec.over(backbone).build((3, 64, 96)).eval()
    theirs = ops.FeaturePyramidNetwork([4, 6, 8, 10], 12)
    own = module.state_dict()
    for place, stride in enumerate((4, 8, 16, 32)):
        for there, here in (("inner_blocks", "lateral"), ("layer_blocks", "out")):
            for kind in ("weight", "bias"):
                own[f"decoder.{here}{stride}.conv.{kind}"].copy_(theirs.state_dict()[f"{there}.{place}.0.{kind}"])
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = module.backbone(x)
        expected = theirs({f"stride{4 * 2**n}": maps[f"layer{n + 1}"] for n in range(4)})
        values = module(x)
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value)


def test_the_paper_form_of_a_pyramid_over_resnet50_has_the_known_parameters() -> None:
    spec, backbone = FeaturePyramid(strides=(4, 8, 16, 32), channels=256, norm=None, activation=None), "resnet50"
    shape = (3, 64, 64)
    whole, below = spec.over(architecture(backbone)), architecture(backbone).backbone()
    lateral, out = 256 * (256 + 512 + 1024 + 2048) + 4 * 256, 4 * (256 * 256 * 9 + 256)
    assert whole.parameters(shape) - below.parameters(shape) == lateral + out == 3_344_384


def test_path_aggregation_adds_the_finer_map_to_the_pyramid() -> None:
    backbone = BACKBONES["resnet"]
    spec = PathAggregation(strides=(8, 16), channels=4, norm=None, activation=ReLU())
    module = spec.over(backbone).build((2, 64, 64)).eval()
    with torch.no_grad():
        values, maps = module(x := torch.randn(1, 2, 64, 64)), module.backbone(x)
        pyramid = module.decoder.pyramid(maps["layer2"], maps["layer3"])
        down = F.relu(_conv(module.decoder.down16.conv, pyramid["stride8"], 2))
        expected = F.relu(_conv(module.decoder.out16.conv, down + pyramid["stride16"], 1))
    torch.testing.assert_close(values["stride8"], pyramid["stride8"])
    torch.testing.assert_close(values["stride16"], expected)


def _conv(module: nn.Module, x: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, module.weight, module.bias, stride=stride, padding=1)


def test_strides_beyond_the_backbone_are_made_and_others_refused() -> None:
    backbone = architecture("resnet18")
    assert backbone.pyramid((32, 64, 256), 8).parts((3, 500, 300)) == {
        "stride32": (8, 16, 10), "stride64": (8, 8, 5), "stride256": (8, 2, 2),
    }  # fmt: skip
    assert backbone.pyramid((8, 64), 8).parts((3, 128, 128)) == {"stride8": (8, 16, 16), "stride64": (8, 2, 2)}
    with pytest.raises(InputError, match=r"no feature map has stride 1; there are 2, 4, 8, 16, 32"):
        backbone.pyramid((1, 2))
    with pytest.raises(InputError, match="stride 96"):
        backbone.pyramid((32, 96))
    with pytest.raises(ValueError, match="multiple of the one before"):
        FeaturePyramid(strides=(8, 12))
    with pytest.raises(InputError, match="publishes no feature maps"):
        architecture("fully_connected").dense(2)
    with pytest.raises(InputError, match="at least 1"):
        backbone.dense(0)
    with pytest.raises(InputError, match="stride 3 is no multiple of 2"):
        Level("b", 3).factor(Level("a", 2))


def test_a_head_reads_the_maps_it_names() -> None:
    backbone = BACKBONES["resnet"]
    decoder = FeaturePyramid(strides=(8, 16), channels=4)
    assert decoder.network(backbone, DenseHead(outputs=3)).output_shape((2, 64, 64)) == (3, 8, 8)
    assert decoder.network(backbone, Join(crop=True), ("stride8", "stride16")).output_shape((2, 64, 64)) == (8, 4, 4)
    with pytest.raises(InputError, match=r"reads 'stride4', which is none of: stride8, stride16"):
        decoder.network(backbone, DenseHead(outputs=3), ("stride4",))


def test_networks_with_decoders_come_back_from_json() -> None:
    for decoder in decoders(BACKBONES["flooring"]):
        network = expanded(decoder.over(BACKBONES["flooring"]))
        assert Spec.from_json(json.loads(json.dumps(network.to_json()))) == network
        assert network.parts((1, 33, 30)) == decoder.over(BACKBONES["flooring"]).parts((1, 33, 30))


def test_parameters_lie_under_backbone_decoder_or_head() -> None:
    module = architecture("resnet18", {"widths": (4, 4, 4, 4)}).dense(2).build((3, 32, 32))
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"backbone", "decoder", "head"}


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 30), st.sampled_from(["nearest", "linear"]))
@settings(max_examples=80, deadline=None)
def test_upsampling_to_a_size_is_the_formula(size: int, factor: int, wanted: int, method: str) -> None:
    """Cut or extended, every output is the one an endless axis with a repeated border would have."""
    x = example(1, 1, size)
    y = UpsampleLike(factor=factor, method=method).build((1, size), (3, wanted))(x, torch.zeros(1, 3, wanted))
    for u in range(wanted):
        place = u // factor if method == "nearest" else (u + 0.5) / factor - 0.5
        low = floor(place)
        values = [x[0, 0, min(max(i, 0), size - 1)] for i in (low, low + 1)]
        assert float(y[0, 0, u]) == pytest.approx(float(values[0] + (place - low) * (values[1] - values[0])))


def test_upsampling_refuses_what_it_cannot_fit() -> None:
    with pytest.raises(InputError, match="upsample_like: inputs"):
        UpsampleLike(factor=2).output_shape((1, 4))
    with pytest.raises(InputError, match="as many axes"):
        UpsampleLike(factor=2).output_shape((1, 4), (1, 8, 8))


def test_a_cropping_join_built_for_one_size_runs_at_another() -> None:
    module = Join(crop=True).build((1, 6), (2, 4))
    x, y = example(1, 1, 11), example(1, 2, 8)
    assert torch.equal(module(x, y), torch.cat([x[:, :, 1:9], y], dim=1))
