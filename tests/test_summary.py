"""The layer table against the built network, and the figures that are known."""

import math
import subprocess
import sys

import pytest
import torch

from striate.analysis.receptive_field import effective_sigma, influence, measured, receptive_fields
from striate.analysis.summary import described, one_or_all, summary
from striate.architectures.backbone import architecture, named_architectures
from striate.core.errors import InputError
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Concat
from striate.layers.norm_act import ReLU
from striate.layers.pooling import GlobalMeanPool, MaxPool
from striate.layers.upsampling import Duplicate


@pytest.mark.parametrize("name", named_architectures())
def test_totals_are_those_of_the_network(name: str) -> None:
    spec = architecture(name)
    network = spec.network(spec.default_classes)
    found = summary(network, spec.default_shape)
    assert found.parameters == network.parameters(spec.default_shape)
    assert found.multiply_adds == network.multiply_adds(spec.default_shape)
    assert found.output_shape == (spec.default_classes,)


def test_the_table_of_the_lecture() -> None:
    rows = {row.name: row for row in summary(architecture("mnist1d_conv").network(10), (1, 40)).rows}
    convolutions = [rows[f"backbone.conv{number}"] for number in (1, 2, 3)]
    assert [row.output_shape for row in convolutions] == [(15, 19), (15, 9), (15, 4)]
    assert [row.parameters for row in convolutions] == [60, 690, 690]
    assert [row.multiply_adds for row in convolutions] == [855, 6075, 2700]
    assert [row.receptive_field for row in convolutions] == [(3,), (7,), (15,)]
    assert [row.stride for row in convolutions] == [(2,), (4,), (8,)]
    assert rows["backbone.conv1"].activation_bytes == 4 * 15 * 19
    assert rows["head.linear"].sees_everything and rows["head.linear"].receptive_field == ()


def test_activation_memory_is_what_the_modules_give_out() -> None:
    spec = architecture("small_images")
    network = spec.network(10)
    module, counted = network.build((1, 28, 28)).eval(), 0

    def count(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel() * output.element_size()

    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, 1, 28, 28))
    assert summary(network, (1, 28, 28)).activation_bytes == counted


def test_grouping_keeps_the_totals() -> None:
    found = summary(architecture("resnet18").network(10), (3, 64, 64))
    for depth in (1, 2, 3, 9):
        grouped = found.grouped(depth)
        assert (grouped.parameters, grouped.multiply_adds) == (found.parameters, found.multiply_adds)
        assert grouped.activation_bytes == found.activation_bytes
    assert [row.name for row in found.grouped(1).rows] == ["backbone", "head"]
    layer4 = {row.name: row for row in found.grouped(2).rows}["backbone.layer4"]
    assert layer4.receptive_field == (435, 435) and layer4.described == "16 layers"
    assert found.grouped(0) == found


def test_json_writes_one_number_where_the_axes_agree() -> None:
    layer = Chain(layers=(Convolution(channels=2, kernel=(3, 5)), ReLU(), GlobalMeanPool()))
    rows = summary(layer, (1, 9, 9)).to_json()["layers"]
    assert [row["receptive_field"] for row in rows] == [[3, 5], [3, 5], None]
    assert [row["stride"] for row in rows] == [1, 1, None]
    assert [row["sees_everything"] for row in rows] == [False, False, True]
    assert one_or_all(()) is None


def test_upsampling_gives_a_fractional_stride() -> None:
    row = summary(Chain(layers=(MaxPool(kernel=3), Duplicate(factor=2))), (1, 9)).to_json()["layers"][1]
    assert row["stride"] == 1.5


def test_branches_of_different_kernels_are_united() -> None:
    layer = Concat(branches=(Convolution(channels=1, kernel=1), Convolution(channels=1, kernel=5, padding=2)))
    last = summary(layer, (1, 9)).rows[-1]
    assert (last.name, last.output_shape, last.receptive_field) == ("join", (2, 9), (5,))


def test_a_single_layer_has_a_table_too() -> None:
    found = summary(Convolution(channels=4, kernel=3), (2, 9))
    assert [(row.name, row.parameters) for row in found.rows] == [("convolution", 28)]


def test_layers_are_described_by_what_is_not_the_default() -> None:
    assert described(Convolution(channels=4, kernel=(3, 5), bias=False)) == "channels 4, kernel 3x5, no bias"
    assert described(ReLU()) == ""


def test_a_misfit_names_the_layer() -> None:
    with pytest.raises(InputError, match=r"backbone\.conv2"):
        summary(architecture("mnist1d_conv").network(10), (1, 6))


def test_receptive_fields_come_by_row_and_axis() -> None:
    fields = receptive_fields(architecture("small_images").network(10), (1, 28, 28))
    assert [field.size for field in fields["backbone.stage3.1.act"]] == [30, 30]
    assert fields["head.linear"][0].everything


def test_kernels_compose_to_five_then_seven() -> None:
    layer = Chain(layers=(Convolution(channels=1, kernel=3),) * 3)
    assert [fields[0].size for fields in receptive_fields(layer, (1, 20)).values()] == [3, 5, 7]
    lit = influence(layer.build((1, 20)), (1, 20), 0)[""]
    assert lit.sum(0).tolist() == [7] * 14


def test_the_effective_field_of_equal_layers_has_the_known_deviation() -> None:
    """The influence of n averaging layers, computed by folding boxes, against sqrt(n (k^2 - 1) / 12)."""
    influences = torch.ones(1, dtype=torch.float64)
    box = torch.full((1, 1, 5), 0.2, dtype=torch.float64)
    for _ in range(6):
        influences = torch.conv1d(influences[None, None], box, padding=4)[0, 0]
    places = torch.arange(len(influences)) - (len(influences) - 1) / 2
    assert effective_sigma(6, 5) == pytest.approx(math.sqrt(float((influences * places**2).sum())))
    assert effective_sigma(0, 3) == 0
    with pytest.raises(InputError, match="taps"):
        effective_sigma(3, 0)


def test_the_measured_field_stays_inside_the_receptive_field() -> None:
    torch.manual_seed(0)
    module = architecture("mnist1d_conv").backbone().build((1, 40))
    field = measured(module, (1, 40), "stage3")
    assert float(field.sum()) == pytest.approx(1)
    lit = influence(module, (1, 40), 0)["stage3"][:, 2]
    assert not bool(field[~lit].any()) and int(lit.sum()) == 15
    assert module.training


def test_a_summary_imports_no_torch() -> None:
    code = (
        "import sys; from striate.analysis.summary import summary; from striate.architectures.backbone import *; "
        "register_layers(); summary(architecture('resnet50').network(10), (3, 224, 224)).to_json(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
