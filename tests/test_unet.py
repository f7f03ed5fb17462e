"""The U-Net against its paper, and the same-size form at any size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.analysis.receptive_field import influence
from striate.architectures.backbone import architecture, window_graph
from striate.architectures.decoders import FeaturePyramid
from striate.core.errors import InputError


def test_the_paper_form_has_the_known_size_and_parameters() -> None:
    network = architecture("unet_valid").dense(2)
    assert network.output_shape((1, 572, 572)) == (2, 388, 388)
    assert network.parameters((1, 572, 572)) == 31_030_658
    assert sum(p.numel() for p in network.build((1, 572, 572)).parameters()) == 31_030_658


def test_the_way_down_has_the_sizes_of_the_figure() -> None:
    shapes = architecture("unet_valid").backbone().parts((1, 572, 572))
    assert list(shapes.values()) == [(64, 568, 568), (128, 280, 280), (256, 136, 136), (512, 64, 64), (1024, 28, 28)]


def test_the_output_is_the_central_part() -> None:
    """Output 0 is centred at input 92, where (572 - 388) / 2 is, and sees as far before as after."""
    network = architecture("unet_valid", {"width": 1}).dense(1)
    graph = window_graph(network, (1, 572))
    field = graph.field("head.conv", 0)
    assert field is not None and (field.jump, field.start) == (1, 92)
    first, last = graph.interval("head.conv", 0, 0), graph.interval("head.conv", 0, 387)
    assert first is not None and last is not None and (first[0], last[1]) == (0, 571)


@pytest.mark.parametrize(
    "padding, shape", [("valid", (1, 92)), ("valid", (1, 95)), ("same", (1, 41)), ("same", (1, 19, 22))]
)
def test_what_it_sees_is_what_lights_up(padding: str, shape: tuple[int, ...]) -> None:
    norm = None if padding == "valid" else {"kind": "batch_norm"}
    network = architecture("unet", {"width": 2, "depth": 3, "padding": padding, "norm": norm}).dense(2)
    graph, module = window_graph(network, shape), network.build(shape)
    for axis in range(len(shape) - 1):
        lit = influence(module, shape, axis)[""]
        assert lit.shape[1] == network.output_shape(shape)[axis + 1]
        for position in range(lit.shape[1]):
            seen = lit[:, position].nonzero()[:, 0].tolist()
            assert (seen[0], seen[-1]) == graph.interval("head.conv", axis, position)


def test_it_computes_what_the_paper_draws() -> None:
    torch.manual_seed(0)
    module = architecture("unet_valid", {"width": 3, "depth": 2}).dense(2).build((1, 60, 64)).eval()
    backbone, decoder = module.backbone, module.decoder

    def twice(x: Tensor, level: nn.Module) -> Tensor:
        for part in level.children():
            x = F.relu(F.conv2d(x, part.conv.weight, part.conv.bias))
        return x

    def up(x: Tensor, skip: Tensor, conv: nn.Module, level: nn.Module) -> Tensor:
        x = F.conv_transpose2d(x, conv.weight, conv.bias, stride=2)
        cuts = [(a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]
        skip = skip[:, :, cuts[0] : cuts[0] + x.shape[2], cuts[1] : cuts[1] + x.shape[3]]
        return twice(torch.cat([skip, x], 1), level)

    x = torch.randn(2, 1, 60, 64)
    with torch.no_grad():
        first = twice(x, backbone.level1)
        second = twice(F.max_pool2d(first, 2), backbone.level2)
        third = twice(F.max_pool2d(second, 2), backbone.level3)
        y = up(third, second, decoder.up2, decoder.level2)
        y = up(y, first, decoder.up1, decoder.level1)
        expected = F.conv2d(y, module.head.conv.weight, module.head.conv.bias)
        torch.testing.assert_close(module(x), expected)


@given(st.data(), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_the_same_size_form_keeps_any_size(draw: st.DataObject, axes: int) -> None:
    most = {1: 70, 2: 40, 3: 12}[axes]
    built, other = ((2, *(draw.draw(st.integers(1, most)) for _ in range(axes))) for _ in range(2))
    network = architecture("unet", {"width": 2, "depth": 3}).dense(3)
    module = network.build(built).eval()
    assert network.parameters(built) == sum(p.numel() for p in module.parameters())
    for shape in (built, other):
        assert network.output_shape(shape) == (3, *shape[1:])
        with torch.no_grad():
            assert module(torch.randn(1, *shape)).shape == (1, 3, *shape[1:])


def test_a_volume_trains_at_small_width() -> None:
    module = architecture("unet", {"width": 4, "depth": 2}).dense(2).build((1, 12, 10, 9))
    module(torch.randn(2, 1, 12, 10, 9)).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def test_another_decoder_may_stand_on_the_way_down() -> None:
    spec = architecture("unet", {"width": 4})
    network = spec.dense(2, FeaturePyramid(strides=(4, 8, 16), channels=8))
    assert network.output_shape((3, 50, 61)) == (2, 50, 61)
    assert list(spec.pyramid((8, 16, 32), 8).parts((3, 64, 64))) == ["stride8", "stride16", "stride32"]


def test_bad_sizes_and_counts_are_told() -> None:
    with pytest.raises(InputError, match=r"backbone\.level5"):
        architecture("unet_valid").dense(2).output_shape((1, 100, 100))
    with pytest.raises(InputError, match="at least 1"):
        architecture("unet").dense(0)
