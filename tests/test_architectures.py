"""Every discovered architecture is held to what it claims; named ones to the figures that are known."""

from math import prod

import pytest
import torch
from torch import nn

from striate.analysis.receptive_field import influence
from striate.architectures.backbone import (
    Architecture,
    architecture,
    named_architectures,
    read_options,
    register_layers,
    window_graph,
)
from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.layers.graph import expanded
from striate.layers.norm_act import GroupNorm

NAMES = tuple(named_architectures())
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def affordable(name: str) -> tuple[int, ...]:
    """The architecture's own input, or one of a size that the brute-force checks can pay for: for a network of valid
    windows that needs a larger one, a signal."""
    shape = architecture(name).default_shape
    if prod(shape) < 10_000:
        return shape
    smaller = (shape[0], *(48 - 8 * axis for axis in range(len(shape) - 1)))
    try:
        architecture(name).backbone().output_shape(smaller)
    except InputError:
        return (shape[0], 200)
    return smaller


def narrow(spec: Architecture) -> Architecture:
    """The same network with 4 channels a stage, where that is a field: windows do not depend on it."""
    if hasattr(spec, "width"):
        return spec.replace(width=4)
    widths = getattr(spec, "widths", None)
    return spec if widths is None else spec.replace(widths=(4,) * len(widths))


def built(name: str, classes: int = 7, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return architecture(name).network(classes).build(affordable(name))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_claimed(name: str) -> None:
    claimed = architecture(name).network(7).parameters(affordable(name))
    assert claimed == sum(parameter.numel() for parameter in built(name).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_lies_under_backbone_or_head(name: str) -> None:
    rows = {leaf.name for leaf in architecture(name).network(7).leaves(affordable(name))}
    for parameter, _ in built(name).named_parameters():
        assert parameter.split(".")[0] in ("backbone", "head")
        assert parameter.rpartition(".")[0] in rows


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_as_counted_by_hooks(name: str) -> None:
    counted = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        counted += output[0].numel() * module.weight[0].numel()

    network = built(name).eval()
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)) or type(module).__name__ == "PaddedConvolution":
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.randn(1, *affordable(name)))
    assert architecture(name).network(7).multiply_adds(affordable(name)) == counted


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_the_claimed_shapes(name: str) -> None:
    shape = affordable(name)
    backbone = architecture(name).backbone()
    with torch.no_grad():
        values = backbone.build(shape).eval()(torch.randn(2, *shape))
    claimed = backbone.values(shape)
    assert {key: tuple(value.shape) for key, value in values.items()} == {k: (2, *s) for k, s in claimed.items()}


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_finite_scores_and_gradients_in_training_and_evaluation(name: str) -> None:
    network, inputs = built(name), torch.randn(3, *affordable(name))
    network.train()
    scores = network(inputs)
    scores.square().sum().backward()
    assert scores.shape == (3, 7)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    with torch.no_grad():
        again = network.eval()(inputs)
    assert type(again) is type(scores) and again.shape == (3, 7) and bool(again.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_weights(name: str) -> None:
    first, second, other = built(name).state_dict(), built(name).state_dict(), built(name, seed=1).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_json_gives_the_same_spec_and_network_back(name: str) -> None:
    spec = architecture(name)
    assert Spec.from_json(spec.to_json()) == spec
    network = expanded(spec.network(7))
    assert Spec.from_json(network.to_json()) == network
    assert network.parameters(affordable(name)) == spec.network(7).parameters(affordable(name))


@pytest.mark.parametrize("name", NAMES)
def test_published_features_are_what_lights_up(name: str) -> None:
    """FeatureInfo against the module: channels, and per axis which inputs light which outputs."""
    shape = affordable(name)
    spec = narrow(architecture(name))
    backbone = spec.backbone()
    graph, rows = window_graph(backbone, shape), backbone.output_leaves(shape)
    module, shapes = backbone.build(shape), backbone.parts(shape)
    infos = spec.features(shape)
    lights = [influence(module, shape, axis) for axis in range(len(shape) - 1)]
    assert [info.name for info in infos] == list(backbone.outputs)
    for info in infos:
        assert info.channels == shapes[info.name][0]
        windowed = not graph.sees_everything(rows[info.name])
        assert len(info.stride) == len(info.receptive_field) == (len(shapes[info.name]) - 1 if windowed else 0)
        for axis in range(len(info.stride)):
            lit = lights[axis][info.name]
            for position in range(lit.shape[1]):
                seen = lit[:, position].nonzero()[:, 0].tolist()
                assert (seen[0], seen[-1]) == graph.interval(rows[info.name], axis, position)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_receptive_field_and_stride_are_those_of_a_large_input(block: str) -> None:
    """Away from the borders the probe shows the sizes themselves, and how far one position is from the next."""
    spec = architecture("resnet18", {"block": block, "depths": (1, 2, 1), "widths": (4, 4, 4)})
    shape = (1, 301)
    module = spec.backbone().build(shape)
    lights = influence(module, shape, 0)
    for info in spec.features(shape):
        lit = lights[info.name]
        middle = lit.shape[1] // 2
        first, second = (lit[:, u].nonzero()[:, 0] for u in (middle, middle + 1))
        assert (int(first[-1] - first[0]) + 1,) == info.receptive_field
        assert (int(second[0] - first[0]),) == info.stride


@pytest.mark.parametrize("classes, shape", [(10, (1, 40)), (3, (2, 41)), (10, (1, 15)), (5, (1, 33, 27))])
def test_mnist1d_conv_takes_any_size_that_fits(classes: int, shape: tuple[int, ...]) -> None:
    network = architecture("mnist1d_conv").network(classes)
    module = network.build(shape)
    assert module(torch.randn(2, *shape)).shape == (2, classes)
    assert network.parameters(shape) == sum(parameter.numel() for parameter in module.parameters())


def test_mnist1d_conv_is_the_network_of_the_lecture() -> None:
    network = architecture("mnist1d_conv").network(10)
    leaves = {leaf.name: leaf for leaf in network.leaves((1, 40))}
    weighted = [leaf for leaf in leaves.values() if leaf.parameters]
    assert [leaf.output_shape for leaf in weighted] == [(15, 19), (15, 9), (15, 4), (10,)]
    assert [leaf.parameters for leaf in weighted] == [60, 690, 690, 610]
    assert network.parameters((1, 40)) == 2050
    assert 100 * network.multiply_adds((1, 40)) == 1_023_000


@pytest.mark.parametrize("hidden, parameters", [((285, 135, 60), 59_065), ((360, 365), 150_185), ((), 410)])
def test_fully_connected_has_the_known_parameters(hidden: tuple[int, ...], parameters: int) -> None:
    assert architecture("fully_connected", {"hidden": hidden}).network(10).parameters((1, 40)) == parameters


@pytest.mark.parametrize("shape", [(40,), (2, 7), (3, 5, 4), (1, 3, 3, 3)])
def test_fully_connected_takes_any_number_of_axes(shape: tuple[int, ...]) -> None:
    module = architecture("fully_connected", {"hidden": (8,)}).network(4).build(shape)
    assert module(torch.randn(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize(
    "name, parameters, multiply_adds, receptive_field",
    [
        ("resnet18", 11_689_512, 1_814_073_344, 435),
        ("resnet34", 21_797_672, 3_663_761_408, 899),
        ("resnet50", 25_557_032, 4_089_184_256, 427),
    ],
)
def test_resnets_have_the_known_figures(name: str, parameters: int, multiply_adds: int, receptive_field: int) -> None:
    spec, shape = architecture(name), (3, 224, 224)
    assert spec.network(1000).parameters(shape) == parameters
    assert spec.network(1000).multiply_adds(shape) == multiply_adds
    last = spec.features(shape)[-1]
    assert last.receptive_field == (receptive_field, receptive_field)
    assert last.stride == (32, 32)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_resnets_take_torchvision_weights_and_agree(name: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    torch.manual_seed(0)
    theirs = getattr(models, name)(weights=None, num_classes=11).eval()
    for module in theirs.modules():  # statistics that are not those of a fresh network
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    ours = architecture(name).network(11).build((3, 64, 96)).eval()
    own = ours.state_dict()
    renamed = {key.split(".", 1)[1]: key for key in own}
    weights = theirs.state_dict()
    assert list(renamed) == list(weights)
    ours.load_state_dict({renamed[key]: value for key, value in weights.items()})
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, got = theirs(images), ours(images)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("shape", [(2, 40), (3, 24, 20), (1, 10, 12, 9)])
@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_resnet_builds_in_every_number_of_axes(shape: tuple[int, ...], stem: str) -> None:
    network = architecture("resnet18", {"stem": stem, "widths": (4, 8, 8, 8)}).network(3)
    module = network.build(shape)
    assert network.parameters(shape) == sum(parameter.numel() for parameter in module.parameters())
    with torch.no_grad():
        assert module.eval()(torch.randn(2, *shape)).shape == (2, 3)


def test_the_small_stem_keeps_the_size_of_the_input() -> None:
    spec = architecture("resnet18", {"stem": "small"})
    assert spec.features((3, 32, 32))[1].stride == (1, 1)
    assert spec.backbone().output_shape((3, 32, 32)) == (512, 4, 4)


@pytest.mark.parametrize(
    "name, shape", [("small_signals", (3, 8)), ("small_images", (1, 8, 8)), ("small_images", (4, 4, 5))]
)
def test_the_defaults_take_small_inputs_of_any_channels(name: str, shape: tuple[int, ...]) -> None:
    module = architecture(name).network(2).build(shape)
    assert module(torch.randn(3, *shape)).shape == (3, 2)


def test_a_norm_over_positions_keeps_the_windowed_path() -> None:
    """Group norm sees everything through its statistics, yet each stage still has its receptive field."""
    spec = architecture("small_images", {"norm": GroupNorm(groups=8)})
    plain = architecture("small_images")
    assert spec.features((1, 28, 28)) == plain.features((1, 28, 28))
    row = spec.backbone().output_leaves((1, 28, 28))["stage1"]
    assert window_graph(spec.backbone(), (1, 28, 28)).receptive_field(row, 0).everything


def test_dropout_stands_before_the_last_layer_where_asked_for() -> None:
    network = architecture("small_images", {"dropout": 0.3}).network(10)
    assert [leaf.layer.kind for leaf in network.leaves((1, 28, 28))][-2:] == ["dropout", "linear"]


def test_an_input_too_small_names_the_layer() -> None:
    with pytest.raises(InputError, match=r"backbone\.conv3"):
        architecture("mnist1d_conv").network(10).output_shape((1, 10))
    with pytest.raises(InputError, match=r"backbone\.stage2\.1\.pool"):
        architecture("small_images").network(10).output_shape((1, 3, 3))


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean resnet18"):
        architecture("resnet81")
    with pytest.raises(InputError, match=r"known: .*mnist1d_conv"):
        architecture("zzz")


@pytest.mark.parametrize(
    "name, options, told",
    [
        ("resnet18", {"stems": "small"}, "unknown option.*stem"),
        ("resnet18", {"stem": "tiny"}, "stem.*imagenet"),
        ("resnet18", {"widths": (64,)}, "as many"),
        ("small_images", {"widths": "16,32"}, "list"),
        ("small_images", {"widths": (), "depths": ()}, "each"),
        ("fully_connected", {"hidden": (0,)}, "greater than or equal to 1"),
        ("fully_connected", {"activation": {"kind": "nope"}}, "unknown kind"),
        ("fully_connected", {"activation": {"kind": "fully_connected"}}, "where a Layer was expected"),
        ("mnist1d_conv", {"channels": ()}, "at least 1"),
    ],
)
def test_bad_options_are_one_line(name: str, options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=f"(?s){name}.*{told}") as caught:
        architecture(name, options)
    assert "\n" not in str(caught.value)


def test_no_outputs_is_an_error() -> None:
    with pytest.raises(InputError, match="at least 1"):
        architecture("small_images").network(0)


def test_options_are_read_from_text() -> None:
    pairs = ["stem=small", "widths=16,32", "depths=[1, 2]", "dropout=0.5", 'x={"kind": "gelu"}', "flag=true"]
    expected = {
        "stem": "small", "widths": [16, 32], "depths": [1, 2], "dropout": 0.5, "x": {"kind": "gelu"}, "flag": True,
    }  # fmt: skip
    assert read_options(pairs) == expected
    assert read_options(["deep=" + "[" * 100_000])["deep"].startswith("[[")
    for bad in (["stem"], ["=3"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="option"):
            read_options(bad)


def test_registering_layers_makes_every_kind_known() -> None:
    register_layers()
    assert isinstance(Spec.from_json({"kind": "max_pool", "kernel": 2}), Spec)
    assert all(isinstance(spec, Architecture) for spec in named_architectures().values())
