"""What every registered layer owes: discovered, described in JSON, and what it claims is what it builds."""

import json
import subprocess
import sys

import numpy as np
import pytest

import striate.layers
from layer_probe import assert_claims, built, claimed_reads, example, main_output, observed
from striate.core.graph import Reach
from striate.core.spec import Spec, discover, kinds
from striate.layers.blocks import ConvNormAct
from striate.layers.conv import Convolution, TransposedConvolution
from striate.layers.graph import Chain, Composite, Concat, Graph, Residual, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.merge import Add, Join, UpsampleLike
from striate.layers.norm_act import (
    GELU,
    BatchNorm,
    Dropout,
    GroupNorm,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    Permutation,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from striate.layers.output import OutputConvolution
from striate.layers.pooling import (
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    BlurPool,
    GlobalMeanPool,
    MaxPool,
    MeanPool,
    Subsample,
)
from striate.layers.upsampling import Duplicate, LinearUpsample, MaxUnpool, PixelShuffle

IMAGE, SIGNAL, VOLUME = (4, 6, 5), (4, 9), (4, 4, 3, 4)

EXAMPLES: dict[type[Layer], list[tuple[Layer, tuple[Shape, ...]]]] = {
    Convolution: [
        (Convolution(channels=3, kernel=(3, 1), stride=2, padding=((1, 0), (0, 2)), bias=False), (IMAGE,)),
        (Convolution(channels=6, kernel=3, dilation=2, groups=2, padding="same", padding_mode="circular"), (SIGNAL,)),
        (Convolution(channels=2, kernel=2, padding="valid"), (VOLUME,)),
    ],
    TransposedConvolution: [
        (TransposedConvolution(channels=3, kernel=3, stride=2, padding=1, output_padding=1), (IMAGE,)),
        (TransposedConvolution(channels=4, kernel=2, stride=2, dilation=2, groups=2, padding=((1, 0),)), (SIGNAL,)),
    ],
    MaxPool: [
        (MaxPool(kernel=3, stride=2, padding=1, ceil=True), (IMAGE,)),
        (MaxPool(kernel=2, dilation=2, indices=True), (SIGNAL,)),
    ],
    MeanPool: [(MeanPool(kernel=(2, 3), stride=1, padding=(1, 0), count_padding=False), (IMAGE,))],
    AdaptiveMeanPool: [(AdaptiveMeanPool(size=(2, 3)), (IMAGE,)), (AdaptiveMeanPool(size=1), (SIGNAL,))],
    AdaptiveMaxPool: [(AdaptiveMaxPool(size=4), (SIGNAL,))],
    GlobalMeanPool: [(GlobalMeanPool(), (VOLUME,))],
    BlurPool: [(BlurPool(taps=4), (IMAGE,))],
    Subsample: [(Subsample(stride=(2, 1)), (IMAGE,))],
    Duplicate: [(Duplicate(factor=(2, 3)), (IMAGE,))],
    LinearUpsample: [(LinearUpsample(factor=3), (SIGNAL,)), (LinearUpsample(factor=2), (VOLUME,))],
    PixelShuffle: [(PixelShuffle(factor=2), (IMAGE,))],
    MaxUnpool: [(MaxUnpool(kernel=2), (SIGNAL, SIGNAL)), (MaxUnpool(kernel=3, stride=2), (SIGNAL, SIGNAL, (1, 20)))],
    BatchNorm: [(BatchNorm(), (IMAGE,)), (BatchNorm(affine=False), ((7,),))],
    GroupNorm: [(GroupNorm(groups=2), (IMAGE,))],
    LayerNorm: [(LayerNorm(), (IMAGE,)), (LayerNorm(), ((7,),))],
    InstanceNorm: [(InstanceNorm(affine=True), (SIGNAL,))],
    LocalResponseNorm: [(LocalResponseNorm(size=3), (IMAGE,))],
    **{kind: [(kind(), (IMAGE,)), (kind(), ((7,),))] for kind in (ReLU, SiLU, Sigmoid, Tanh, Softmax, Identity)},
    LeakyReLU: [(LeakyReLU(slope=0.2), (SIGNAL,))],
    GELU: [(GELU(approximate="tanh"), (SIGNAL,))],
    Dropout: [(Dropout(probability=0.1, whole_channels=True), (VOLUME,))],
    Permutation: [(Permutation(seed=3), (IMAGE,))],
    Linear: [(Linear(features=3), ((7,),)), (Linear(features=2, bias=False), ((7,),))],
    Flatten: [(Flatten(), (IMAGE,))],
    Add: [(Add(), (IMAGE, IMAGE, IMAGE))],
    Join: [(Join(), (IMAGE, IMAGE))],
    UpsampleLike: [
        (UpsampleLike(factor=2), (IMAGE, (1, 11, 10))),
        (UpsampleLike(factor=(3, 2), method="linear"), (IMAGE, (2, 17, 13))),
        (UpsampleLike(factor=3), (SIGNAL, (2, 32))),
    ],
    OutputConvolution: [
        (OutputConvolution(channels=3, per_axis=2), (IMAGE,)),
        (OutputConvolution(channels=0, per_axis=1, bias=-4.6), (VOLUME,)),
    ],
    ConvNormAct: [
        (ConvNormAct(channels=3, kernel=3, stride=2, padding="same", activation=Sigmoid()), (IMAGE,)),
        (ConvNormAct(channels=3, kernel=2, norm=None, activation=None), (SIGNAL,)),
    ],
    Chain: [(Chain(layers=(MaxPool(kernel=2), Duplicate(factor=2), Convolution(channels=2, kernel=3))), (SIGNAL,))],
    Residual: [
        (
            Residual(
                body=Convolution(channels=3, kernel=3, stride=2, padding=1),
                shortcut=Convolution(channels=3, kernel=1, stride=2),
                activation=Tanh(),
            ),
            (IMAGE,),
        )
    ],
    Concat: [(Concat(branches=(Identity(), MeanPool(kernel=3, stride=1, padding=1))), (IMAGE,))],
    Graph: [
        (
            Graph(
                rows=(
                    Row(name="down", layer=Convolution(channels=4, kernel=2, stride=2)),
                    Row(name="up", layer=TransposedConvolution(channels=4, kernel=2, stride=2)),
                    Row(name="add", layer=Add(), inputs=("up", "input")),
                ),
                outputs={"low": "down"},
            ),
            ((4, 6, 4),),
        )
    ],
}
MODULES = {module.__name__ for module in discover(striate.layers)}
DISCOVERED = [cls for cls in kinds(Layer).values() if cls.__module__ in MODULES]
BY_DEFAULT = [
    (cls(), (IMAGE,))
    for cls in DISCOVERED
    if cls not in EXAMPLES and not any(field.is_required() for field in cls.model_fields.values())
]
"""A new layer whose fields all have defaults is tested before its author writes an example."""
CASES = [*(case for cases in EXAMPLES.values() for case in cases), *BY_DEFAULT]
IDS = [f"{layer.kind}-{number}" for number, (layer, _) in enumerate(CASES)]
every_example = pytest.mark.parametrize(("layer", "shapes"), CASES, ids=IDS)
RUNNABLE = [case for case in CASES if not isinstance(case[0], MaxUnpool)]
"""Max-unpooling cannot be given drawn indices: tests/test_layers.py runs it after a pooling."""
every_runnable_example = pytest.mark.parametrize(
    ("layer", "shapes"), RUNNABLE, ids=[name for name, case in zip(IDS, CASES, strict=True) if case in RUNNABLE]
)


def test_every_discovered_layer_has_an_example() -> None:
    covered = {type(layer) for layer, _ in CASES}
    missing = sorted(cls.__name__ for cls in DISCOVERED if cls not in covered)
    assert not missing, f"add an example of {', '.join(missing)} to EXAMPLES in this file"


@every_example
def test_json_round_trip(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    written = json.dumps(layer.to_json())
    again = Spec.from_json(json.loads(written))
    assert type(again) is type(layer)
    assert again == layer
    assert again.output_shape(*shapes) == layer.output_shape(*shapes)


@every_runnable_example
def test_claims_hold_for_the_built_module(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    assert_claims(layer, *shapes, exact=not isinstance(layer, Permutation))


@every_runnable_example
def test_parts_are_what_the_module_returns(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    output = built(layer, *shapes)(*(example(2, *shape) for shape in shapes))
    parts = {} if not isinstance(output, dict) else {name: tuple(t.shape[1:]) for name, t in output.items() if name}
    assert parts == layer.parts(*shapes)
    assert layer.values(*shapes) == {"": tuple(main_output(output).shape[1:]), **parts}


@every_example
def test_leaves_sum_to_the_layer(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    leaves = list(layer.leaves(*shapes))
    assert sum(leaf.parameters for leaf in leaves) == layer.parameters(*shapes)
    assert sum(leaf.multiply_adds for leaf in leaves) == layer.multiply_adds(*shapes)
    assert not any(isinstance(leaf.layer, Composite | Graph) for leaf in leaves)


@every_example
def test_only_layers_with_weights_count_multiply_adds(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    weighted = isinstance(layer, Convolution | TransposedConvolution | OutputConvolution | Linear | Composite | Graph)
    assert (layer.multiply_adds(*shapes) > 0) == (weighted and layer.parameters(*shapes) > 0)


@every_example
def test_one_window_per_axis_or_a_reach(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    window = layer.window(*shapes)
    assert isinstance(window, Reach) or len(window) == len(shapes[0]) - 1


@pytest.mark.parametrize(
    ("layer", "shapes"), [case for case in CASES if len(case[1]) == 1], ids=lambda value: getattr(value, "kind", "")
)
def test_a_built_module_takes_a_batch_of_any_length_in_single_precision(
    layer: Layer, shapes: tuple[Shape, ...]
) -> None:
    module = built(layer, *shapes).float()
    x = example(3, *shapes[0]).float()
    together = main_output(module(x))
    assert together.dtype == x.dtype
    assert np.allclose(main_output(module(x[1:2])).detach(), together[1:2].detach(), atol=1e-5)


def test_a_residual_sum_with_an_upsampled_branch_claims_every_position() -> None:
    layer = Residual(body=Chain(layers=(MaxPool(kernel=2), LinearUpsample(factor=2))))
    module = built(layer, (2, 12))
    assert (claimed_reads(layer, (2, 12))[0] == observed(module, (2, 12))[0]).all()


def test_a_cropping_join_claims_where_it_cuts() -> None:
    layer = Graph(
        rows=(
            Row(name="conv", layer=Convolution(channels=2, kernel=4)),
            Row(name="join", layer=Join(crop=True), inputs=("conv", "input")),
        )
    )
    assert_claims(layer, (2, 9, 10))


def test_describing_layers_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from striate.layers.blocks import ConvNormAct\n"
        "from striate.layers import conv, graph, linear, norm_act, pooling, upsampling\n"
        "layers = ConvNormAct(channels=4, kernel=3), pooling.GlobalMeanPool(), linear.Linear(features=2)\n"
        "net = graph.Chain(layers=layers)\n"
        "rows = list(net.leaves((3, 32, 32)))\n"
        "assert [row.window for row in rows] and net.multiply_adds((3, 32, 32)) == 30 * 30 * 4 * 27 + 8\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
