"""Windowed layers over random hyper-parameters in 1, 2 and 3 axes: the built module against oracle and claims."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from layer_probe import arrays, assert_claims, assert_same, built, claimed_reads, example, observed
from striate.core.errors import InputError
from striate.core.geometry import same_padding
from striate.layers import conv, pooling, upsampling
from striate.layers.graph import Graph, Row
from striate.layers.layer import Layer, Shape
from striate.ops import reference

LONGEST = {1: 10, 2: 5, 3: 4}
AXES = st.integers(1, 3)
FEW = settings(max_examples=20, deadline=None)
MANY = settings(max_examples=45, deadline=None)


def per_axis(draw: st.DataObject, axes: int, values: st.SearchStrategy[Any]) -> Any:
    """One value for all axes, or a tuple."""
    return draw.draw(st.one_of(values, st.tuples(*(values,) * axes)))


def spread(value: Any, axes: int) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,) * axes


def draw_shape(draw: st.DataObject, axes: int, channels: int, least: int = 1) -> Shape:
    return (channels, *(draw.draw(st.integers(least, LONGEST[axes])) for _ in range(axes)))


def fits(layer: Layer, *shapes: Shape) -> bool:
    """Whether the layer accepts the shapes; a refusal names the layer."""
    try:
        layer.output_shape(*shapes)
    except InputError as error:
        if error.where != layer.kind:
            raise
        return False
    return True


@given(st.data(), AXES)
@MANY
def test_convolution(draw: st.DataObject, axes: int) -> None:
    groups = draw.draw(st.integers(1, 2))
    one = st.integers(0, 2)
    padding = draw.draw(
        st.one_of(one, st.tuples(*(one,) * axes), st.tuples(*(st.tuples(one, one),) * axes), st.just("same"))
    )
    layer = conv.Convolution(
        channels=groups * draw.draw(st.integers(1, 2)),
        kernel=per_axis(draw, axes, st.integers(1, 3)),
        stride=per_axis(draw, axes, st.integers(1, 3)),
        dilation=per_axis(draw, axes, st.integers(1, 2)),
        groups=groups,
        padding=padding,
        padding_mode=draw.draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
        bias=draw.draw(st.booleans()),
    )
    shape = draw_shape(draw, axes, 2, least=2)
    assume(fits(layer, shape))
    kernel, dilation = spread(layer.kernel, axes), spread(layer.dilation, axes)
    if padding == "same":
        pairs = [same_padding(k, d) for k, d in zip(kernel, dilation, strict=True)]
        sizes = zip(shape[1:], spread(layer.stride, axes), strict=True)
        assert layer.output_shape(shape)[1:] == tuple(-(-n // s) for n, s in sizes)
    else:
        pairs = [spread(p, 2) for p in spread(padding, axes)]
    module = assert_claims(layer, shape)
    assert {name for name, _ in module.named_parameters()} == ({"weight", "bias"} if layer.bias else {"weight"})
    x = example(2, *shape)
    expected = reference.convolution(
        x.numpy(), *arrays(module), spread(layer.stride, axes), dilation, groups, pairs, layer.padding_mode
    )
    assert_same(module(x), expected)
    assert layer.multiply_adds(shape) == products(layer.replace(padding_mode="replicate", bias=False), shape)


def products(layer: Layer, shape: Shape) -> int:
    """Ones times ones: the sum of the output counts the products."""
    module = layer.build(shape).double()
    torch.nn.init.ones_(module.weight)
    return round(module(torch.ones(1, *shape, dtype=torch.float64)).sum().item())


@given(st.data(), AXES)
@MANY
def test_transposed_convolution(draw: st.DataObject, axes: int) -> None:
    groups = draw.draw(st.integers(1, 2))
    one = st.integers(0, 2)
    padding = draw.draw(st.one_of(one, st.tuples(*(one,) * axes), st.tuples(*(st.tuples(one, one),) * axes)))
    layer = conv.TransposedConvolution(
        channels=groups * draw.draw(st.integers(1, 2)),
        kernel=per_axis(draw, axes, st.integers(1, 3)),
        stride=per_axis(draw, axes, st.integers(1, 3)),
        dilation=per_axis(draw, axes, st.integers(1, 2)),
        groups=groups,
        padding=padding,
        output_padding=per_axis(draw, axes, st.integers(0, 1)),
        bias=draw.draw(st.booleans()),
    )
    shape = draw_shape(draw, axes, 2)
    shape = (2, *(min(n, 6 if axes == 1 else 3) for n in shape[1:]))
    assume(fits(layer, shape))
    module = assert_claims(layer, shape)
    x = example(2, *shape)
    sizes = [spread(value, axes) for value in (layer.stride, layer.dilation)]
    pairs = [spread(p, 2) for p in spread(padding, axes)]
    expected = reference.transposed_convolution(
        x.numpy(), *arrays(module), *sizes, groups, pairs, spread(layer.output_padding, axes)
    )
    assert_same(module(x), expected)
    assert layer.multiply_adds(shape) == products(layer.replace(padding=0, output_padding=0, bias=False), shape)


@given(st.data(), AXES)
@MANY
def test_max_pool(draw: st.DataObject, axes: int) -> None:
    layer = pooling.MaxPool(
        kernel=per_axis(draw, axes, st.integers(1, 3)),
        stride=draw.draw(st.one_of(st.none(), st.integers(1, 3), st.tuples(*(st.integers(1, 3),) * axes))),
        padding=per_axis(draw, axes, st.integers(0, 1)),
        dilation=per_axis(draw, axes, st.integers(1, 2)),
        ceil=draw.draw(st.booleans()),
        indices=draw.draw(st.booleans()),
    )
    shape = draw_shape(draw, axes, 2, least=2)
    assume(fits(layer, shape))
    module = assert_claims(layer, shape)
    x = example(2, *shape)
    stride = layer.kernel if layer.stride is None else layer.stride
    sizes = [spread(value, axes) for value in (layer.kernel, stride, layer.padding, layer.dilation)]
    values, where = reference.max_pool(x.numpy(), *sizes, layer.ceil)
    output = module(x)
    if layer.indices:
        assert layer.parts(shape) == {"indices": layer.output_shape(shape)}
        assert (output["indices"].numpy() == where).all()
        output = output[""]
    assert_same(output, values)


@given(st.data(), AXES)
@MANY
def test_mean_pool(draw: st.DataObject, axes: int) -> None:
    layer = pooling.MeanPool(
        kernel=per_axis(draw, axes, st.integers(1, 3)),
        stride=draw.draw(st.one_of(st.none(), st.integers(1, 3), st.tuples(*(st.integers(1, 3),) * axes))),
        padding=per_axis(draw, axes, st.integers(0, 1)),
        ceil=draw.draw(st.booleans()),
        count_padding=draw.draw(st.booleans()),
    )
    shape = draw_shape(draw, axes, 2)
    assume(fits(layer, shape))
    module = assert_claims(layer, shape)
    x = example(2, *shape)
    stride = layer.kernel if layer.stride is None else layer.stride
    sizes = [spread(value, axes) for value in (layer.kernel, stride, layer.padding)]
    assert_same(module(x), reference.mean_pool(x.numpy(), *sizes, layer.ceil, layer.count_padding))


@given(st.data(), AXES)
@FEW
def test_adaptive_pools(draw: st.DataObject, axes: int) -> None:
    size, shape = per_axis(draw, axes, st.integers(1, 6)), draw_shape(draw, axes, 2)
    x = example(2, *shape)
    mean = assert_claims(pooling.AdaptiveMeanPool(size=size), shape)
    assert_same(mean(x), reference.adaptive_mean_pool(x.numpy(), spread(size, axes)))
    largest = assert_claims(pooling.AdaptiveMaxPool(size=size), shape)
    assert_same(largest(x), reference.adaptive_max_pool(x.numpy(), spread(size, axes)))


@given(st.data(), AXES)
@FEW
def test_global_mean_pool(draw: st.DataObject, axes: int) -> None:
    shape = draw_shape(draw, axes, 3)
    x = example(2, *shape)
    assert_same(assert_claims(pooling.GlobalMeanPool(), shape)(x), reference.global_mean_pool(x.numpy()))


@given(st.data(), AXES)
@FEW
def test_blur_pool(draw: st.DataObject, axes: int) -> None:
    layer = pooling.BlurPool(
        stride=per_axis(draw, axes, st.integers(1, 3)), taps=per_axis(draw, axes, st.integers(1, 5))
    )
    shape = draw_shape(draw, axes, 2)
    assume(fits(layer, shape))
    module = assert_claims(layer, shape)
    x = example(2, *shape)
    assert_same(module(x), reference.blur_pool(x.numpy(), spread(layer.stride, axes), spread(layer.taps, axes)))


def test_blur_pool_keeps_a_constant_and_halves_the_fastest_stripes() -> None:
    module = pooling.BlurPool(stride=2, taps=3).build((1, 8))
    assert torch.equal(module(torch.ones(1, 1, 8)), torch.ones(1, 1, 4))
    assert torch.equal(module(torch.tensor([[[0.0, 1.0] * 4]])), torch.full((1, 1, 4), 0.5))


@given(st.data(), AXES)
@FEW
def test_subsample(draw: st.DataObject, axes: int) -> None:
    layer, shape = pooling.Subsample(stride=per_axis(draw, axes, st.integers(1, 4))), draw_shape(draw, axes, 2)
    x = example(2, *shape)
    assert_same(assert_claims(layer, shape)(x), reference.subsample(x.numpy(), spread(layer.stride, axes)))


@given(st.data(), AXES)
@FEW
def test_duplicate(draw: st.DataObject, axes: int) -> None:
    layer, shape = upsampling.Duplicate(factor=per_axis(draw, axes, st.integers(1, 3))), draw_shape(draw, axes, 2)
    x = example(2, *shape)
    assert_same(assert_claims(layer, shape)(x), reference.duplicate(x.numpy(), spread(layer.factor, axes)))


def test_duplicate_is_exact_where_dividing_in_floating_point_is_not() -> None:
    x = torch.arange(60.0)[None, None]
    assert torch.equal(upsampling.Duplicate(factor=49).build((1, 60))(x), x.repeat_interleave(49, dim=2))


@given(st.data(), AXES)
@FEW
def test_linear_upsample(draw: st.DataObject, axes: int) -> None:
    factor = per_axis(draw, axes, st.integers(1, 5 if axes == 1 else 3))
    layer, shape = upsampling.LinearUpsample(factor=factor), draw_shape(draw, axes, 2)
    x = example(2, *shape)
    assert_same(assert_claims(layer, shape)(x), reference.linear_upsample(x.numpy(), spread(factor, axes)))


@given(st.data(), AXES)
@FEW
def test_pixel_shuffle(draw: st.DataObject, axes: int) -> None:
    factor = draw.draw(st.tuples(*(st.integers(1, 2),) * axes))
    layer, shape = upsampling.PixelShuffle(factor=factor), draw_shape(draw, axes, 2 * int(np.prod(factor)))
    x = example(2, *shape)
    assert_same(assert_claims(layer, shape)(x), reference.pixel_shuffle(x.numpy(), factor))
    if factor == (2, 2):
        assert torch.equal(layer.build(shape)(x), torch.nn.PixelShuffle(2)(x))


def unpooled(draw: st.DataObject, axes: int, like: bool) -> tuple[Graph, pooling.MaxPool, Shape]:
    kernel = per_axis(draw, axes, st.integers(1, 3))
    stride = draw.draw(st.one_of(st.none(), st.tuples(*(st.integers(1, 3),) * axes)))
    pool = pooling.MaxPool(kernel=kernel, stride=stride, ceil=like and draw.draw(st.booleans()), indices=True)
    unpool = upsampling.MaxUnpool(kernel=kernel, stride=stride)
    sources = ("pool", "pool.indices", "input") if like else ("pool", "pool.indices")
    graph = Graph(rows=(Row(name="pool", layer=pool), Row(name="unpool", layer=unpool, inputs=sources)))
    return graph, pool, draw_shape(draw, axes, 2, least=3)


@given(st.data(), AXES)
@FEW
def test_max_unpool_restores_the_size_of_a_third_input(draw: st.DataObject, axes: int) -> None:
    graph, pool, shape = unpooled(draw, axes, like=True)
    assume(fits(pool, shape))
    x = example(2, *shape)
    stride = pool.kernel if pool.stride is None else pool.stride
    sizes = [spread(value, axes) for value in (pool.kernel, stride)]
    values, where = reference.max_pool(x.numpy(), *sizes, (0,) * axes, (1,) * axes, pool.ceil)
    assert graph.output_shape(shape) == shape
    assert_same(graph.build(shape)(x), reference.max_unpool(values, where, shape[1:]))


@given(st.data(), AXES)
@FEW
def test_max_unpool_gives_the_smallest_size_that_pools_to_its_input(draw: st.DataObject, axes: int) -> None:
    graph, pool, shape = unpooled(draw, axes, like=False)
    assume(fits(pool, shape))
    wanted = graph.output_shape(shape)
    assert pool.output_shape(wanted) == pool.output_shape(shape)
    for axis in range(1, axes + 1):
        smaller = (*wanted[:axis], wanted[axis] - 1, *wanted[axis + 1 :])
        if fits(pool, smaller):
            assert pool.output_shape(smaller)[axis] < pool.output_shape(wanted)[axis]
    smallest = example(2, *wanted)
    assert tuple(graph.build(wanted)(smallest).shape[1:]) == wanted


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 0)])
def test_max_unpool_looks_through_both_windows(kernel: int, stride: int, padding: int) -> None:
    pool = pooling.MaxPool(kernel=kernel, stride=stride, padding=padding, indices=True)
    unpool = upsampling.MaxUnpool(kernel=kernel, stride=stride, padding=padding)
    sources = ("pool", "pool.indices", "input")
    graph = Graph(rows=(Row(name="pool", layer=pool), Row(name="unpool", layer=unpool, inputs=sources)))
    module = built(graph, (1, 11))
    seen = np.any([observed(module, (1, 11), seed=seed)[0] for seed in range(40)], axis=0)
    assert (claimed_reads(graph, (1, 11))[0] == seen).all()


def test_max_unpool_refuses_a_map_that_does_not_pool_to_its_values() -> None:
    layer = upsampling.MaxUnpool(kernel=2)
    with pytest.raises(InputError, match=r"max_unpool: a map of \(8,\) does not pool to \(3,\)"):
        layer.output_shape((1, 3), (1, 3), (5, 8))
    with pytest.raises(InputError, match="differ"):
        layer.output_shape((1, 3), (1, 4))
    with pytest.raises(InputError, match="1 inputs came"):
        layer.output_shape((1, 3))
