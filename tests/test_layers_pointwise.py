"""Layers that mix no neighbours (linear, norms, activations, dropout, permutation), and what every layer refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_probe import arrays, assert_claims, assert_same, built, example
from striate.core.errors import InputError
from striate.layers import conv, linear, norm_act, pooling, upsampling
from striate.layers.layer import Layer, Shape
from striate.ops import reference


@given(st.integers(1, 6), st.integers(1, 5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_linear(inputs: int, features: int, bias: bool) -> None:
    layer = linear.Linear(features=features, bias=bias)
    module = built(layer, (inputs,))
    x = example(2, inputs)
    assert_same(module(x), reference.linear(x.numpy(), *arrays(module)))
    assert layer.output_shape((inputs,)) == (features,)
    assert layer.parameters((inputs,)) == sum(p.numel() for p in module.parameters())
    assert layer.multiply_adds((inputs,)) == inputs * features


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 3, 4), (4, 2, 3, 2)], ids=["0", "1", "2", "3"])
def test_flatten(shape: Shape) -> None:
    x = example(2, *shape)
    assert_same(assert_claims(linear.Flatten(), shape)(x), x.numpy().reshape(2, -1))


NORMS = {
    "layer": (norm_act.LayerNorm(), lambda x, w, b: reference.layer_norm(x, 1e-6, w, b)),
    "layer plain": (norm_act.LayerNorm(affine=False, eps=0.1), lambda x, w, b: reference.layer_norm(x, 0.1)),
    "group": (norm_act.GroupNorm(groups=2), lambda x, w, b: reference.group_norm(x, 2, 1e-5, w, b)),
    "instance": (norm_act.InstanceNorm(affine=True), lambda x, w, b: reference.group_norm(x, 4, 1e-5, w, b)),
    "instance plain": (norm_act.InstanceNorm(), lambda x, w, b: reference.group_norm(x, 4, 1e-5)),
    "response": (
        norm_act.LocalResponseNorm(size=3, alpha=0.5, k=2.0),
        lambda x, w, b: reference.local_response_norm(x, 3, 0.5, 0.75, 2.0),
    ),
    "response even": (
        norm_act.LocalResponseNorm(size=2, alpha=0.5),
        lambda x, w, b: reference.local_response_norm(x, 2, 0.5, 0.75, 1.0),
    ),
}


@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 4), (4, 2, 3, 2)], ids=["1", "2", "3"])
@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str, shape: Shape) -> None:
    layer, oracle = NORMS[name]
    module = assert_claims(layer, shape)
    x = example(2, *shape)
    affine = {key: value.detach().numpy() for key, value in module.named_parameters()}
    assert_same(module(x), oracle(x.numpy(), affine.get("weight"), affine.get("bias")))


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 3, 4), (3, 2, 3, 2)], ids=["0", "1", "2", "3"])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_evaluation_and_training(shape: Shape, affine: bool) -> None:
    layer = norm_act.BatchNorm(affine=affine, momentum=0.3, eps=1e-3)
    module = built(layer, shape)
    x = example(4, *shape)
    values = arrays(module) if affine else [None, None]
    mean, variance = module.running_mean.numpy().copy(), module.running_var.numpy().copy()
    assert_same(module(x), reference.batch_norm(x.numpy(), mean, variance, 1e-3, *values))
    assert layer.parameters(shape) == (6 if affine else 0)
    others = (0, *range(2, x.ndim))
    now_mean, now_variance = x.numpy().mean(others), x.numpy().var(others)
    assert_same(module.train()(x), reference.batch_norm(x.numpy(), now_mean, now_variance, 1e-3, *values))
    assert_same(module.running_mean, 0.7 * mean + 0.3 * now_mean)


ACTIVATIONS = {
    "relu": (norm_act.ReLU(), reference.relu),
    "leaky": (norm_act.LeakyReLU(slope=0.2), lambda x: reference.relu(x, 0.2)),
    "gelu": (norm_act.GELU(), reference.gelu),
    "gelu tanh": (norm_act.GELU(approximate="tanh"), lambda x: reference.gelu(x, approximate=True)),
    "silu": (norm_act.SiLU(), lambda x: x * reference.sigmoid(x)),
    "sigmoid": (norm_act.Sigmoid(), reference.sigmoid),
    "tanh": (norm_act.Tanh(), np.tanh),
    "softmax": (norm_act.Softmax(), reference.softmax),
    "identity": (norm_act.Identity(), lambda x: x),
    "dropout in evaluation": (norm_act.Dropout(), lambda x: x),
}


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2), (2, 2, 2, 2)], ids=["1", "2", "3"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, shape: Shape) -> None:
    layer, oracle = ACTIVATIONS[name]
    x = example(2, *shape)
    assert_same(assert_claims(layer, shape)(x), oracle(x.numpy()))
    assert_same(built(layer, (5,))(example(2, 5)), oracle(example(2, 5).numpy()))


@pytest.mark.parametrize("shape", [(50,), (50, 4), (50, 2, 3), (50, 2, 3, 2)], ids=["0", "1", "2", "3"])
@pytest.mark.parametrize("whole", [False, True])
def test_dropout_in_training(shape: Shape, whole: bool) -> None:
    torch.manual_seed(0)
    module = norm_act.Dropout(probability=0.25, whole_channels=whole).build(shape).train()
    y = module(torch.ones(8, *shape))
    kept = y != 0
    assert torch.allclose(y[kept], torch.tensor(4 / 3))
    assert abs(kept.float().mean().item() - 0.75) < 0.1
    if whole and len(shape) > 1:
        assert torch.equal(kept.flatten(2).all(2), kept.flatten(2).any(2))


@pytest.mark.parametrize("shape", [(12,), (2, 6), (2, 3, 2)], ids=["0", "1", "2"])
def test_permutation_is_fixed_by_its_seed_and_keeps_every_value(shape: Shape) -> None:
    x = torch.arange(24.0).reshape(2, *shape)
    first, again, other = (norm_act.Permutation(seed=seed).build(shape) for seed in (1, 1, 2))
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))
    assert torch.equal(first(x).flatten(1).sort().values, x.flatten(1))
    assert torch.equal(first(x)[1].flatten() - 12, first(x)[0].flatten())
    assert not first.state_dict()


REFUSED = [
    (conv.Convolution(channels=1, kernel=3), (1, 2), "convolution: 2 positions"),
    (conv.Convolution(channels=2, kernel=1, groups=2), (3, 5), "convolution: 2 groups came for 3 channels"),
    (conv.Convolution(channels=1, kernel=(3, 3)), (1, 9), r"kernel \(3, 3\) came for an input of 1 axes"),
    (conv.Convolution(channels=1, kernel=3, padding=((1, 0),)), (1, 9, 9), "padding .* came for 2 axes"),
    (conv.Convolution(channels=1, kernel=5, padding=4, padding_mode="reflect"), (1, 4), "reflect padding of 4"),
    (conv.Convolution(channels=1, kernel=3), (7,), "convolution: an input of shape"),
    (conv.Convolution(channels=1, kernel=3), (1, 9, 9, 9, 9), "1 to 3 axes were expected"),
    (conv.TransposedConvolution(channels=1, kernel=3, output_padding=2, stride=2), (1, 4), "output_padding 2"),
    (conv.TransposedConvolution(channels=1, kernel=1, padding=3), (1, 4), "transposed_convolution: 4 positions"),
    (pooling.MaxPool(kernel=2, padding=2), (1, 4), "padding 2 came for a kernel of 2"),
    (pooling.BlurPool(taps=5), (1, 2), "blur_pool: reflect padding of 2 came for 2 positions"),
    (norm_act.GroupNorm(groups=3), (4, 5), "3 groups came for 4 channels"),
    (norm_act.InstanceNorm(), (4, 1), "has one position"),
    (upsampling.PixelShuffle(factor=2), (3, 4, 4), "3 channels came for blocks of 4"),
    (linear.Linear(features=3), (2, 4), "linear: .* flatten it first"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_a_misfit_names_the_layer_and_the_cause(layer: Layer, shape: Shape, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        layer.output_shape(shape)
    assert caught.value.where == layer.kind
    with pytest.raises(InputError):
        layer.build(shape)


def test_two_inputs_to_a_layer_of_one_are_refused() -> None:
    with pytest.raises(InputError, match="one input was expected, 2 came"):
        norm_act.ReLU().output_shape((1, 2), (1, 2))
