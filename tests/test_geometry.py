"""Window arithmetic against counting, and the figures that are known."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.errors import InputError
from striate.core.geometry import (
    AdaptiveWindow,
    Field,
    Window,
    adaptive,
    compose,
    flip_drift,
    linear_upsampling,
    merged,
    overlap_is_even,
    overlaps,
    padding_source,
    same_padding,
)

small = st.integers(1, 5)
padding = st.integers(0, 4)


def windows(transposed: bool | None = None) -> st.SearchStrategy[Window]:
    kinds = st.booleans() if transposed is None else st.just(transposed)
    return st.builds(
        Window, kernel=small, stride=small, dilation=small, before=padding, after=padding, transposed=kinds
    )


def read_by_definition(window: Window, output: int, search: range) -> set[int]:
    """Input positions of one output, straight from u * s - before + d * t, exchanged for a transposed window."""
    taps = range(window.kernel)
    if window.transposed:
        return {i for i in search for t in taps if i * window.stride - window.before + window.dilation * t == output}
    return {output * window.stride - window.before + window.dilation * t for t in taps}


def positions(spans: tuple[tuple[int, int], ...]) -> set[int]:
    return {place for low, high in spans for place in range(low, high + 1)}


@given(windows(), st.integers(-3, 12), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_spans_are_the_positions_of_the_definition(window: Window, low: int, length: int) -> None:
    expected = set().union(*(read_by_definition(window, u, range(-60, 80)) for u in range(low, low + length + 1)))
    spans = window.spans(((low, low + length),))
    assert positions(spans) == expected
    assert merged(spans) == spans
    assert window.sources(low, low + length, 9) == ((min(expected), max(expected)) if expected else None)


@given(windows(False), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_output_size_counts_the_windows_that_fit(window: Window, n: int) -> None:
    end = window.before + n + window.after
    fitting = [u for u in range(end) if u * window.stride + window.dilation * (window.kernel - 1) < end]
    if fitting:
        assert window.output_size(n) == len(fitting)
    else:
        with pytest.raises(InputError, match=f"{n} positions with padding {window.before} and {window.after}"):
            window.output_size(n)


@given(small, small, small, padding, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_ceil_mode_adds_a_window_unless_it_starts_after_the_input(k: int, s: int, d: int, p: int, n: int) -> None:
    span = d * (k - 1) + 1
    p = min(p, span // 2)
    starts = [start for start in range(0, n + p, s) if start + span < n + 2 * p + s]
    window = Window(kernel=k, stride=s, dilation=d, before=p, after=p, ceil=True)
    if starts:
        assert window.output_size(n) == len(starts)
    else:
        with pytest.raises(InputError, match="too few"):
            window.output_size(n)


@given(windows(False), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_transposed_size_inverts_the_size(window: Window, n: int) -> None:
    back = Window(**{**window.__dict__, "transposed": True})
    try:
        size = back.output_size(n)
    except InputError:
        return
    assert window.output_size(size) == n


def test_an_output_of_a_dilated_transposed_window_may_read_nothing() -> None:
    window = Window(kernel=2, stride=2, dilation=2, transposed=True)
    assert [window.sources(u, u, 3) for u in range(7)] == [(-1, 0), None, (0, 1), None, (1, 2), None, (2, 3)]
    assert window.clipped_sources(0, 0, 3) == (0, 0)


@given(small, small, st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_same_padding_divides_the_size_by_the_stride(kernel: int, dilation: int, n: int) -> None:
    before, after = same_padding(kernel, dilation)
    assert after - before in (0, 1)
    for stride in range(1, 5):
        window = Window(kernel=kernel, stride=stride, dilation=dilation, before=before, after=after)
        assert window.output_size(n) == -(-n // stride)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_padding_sources_agree_with_numpy(mode: str, n: int) -> None:
    numpy = pytest.importorskip("numpy")
    padded = numpy.pad(numpy.arange(n), 7, mode={"reflect": "reflect", "circular": "wrap", "replicate": "edge"}[mode])
    assert [padding_source(place, n, mode) for place in range(-7, n + 7)] == padded.tolist()


def test_zero_padding_has_no_source() -> None:
    assert [padding_source(place, 2, "zeros") for place in range(-1, 3)] == [None, 0, 1, None]


def test_circular_padding_reads_the_other_end() -> None:
    window = Window(kernel=3, before=1, after=1, padding_mode="circular")
    assert window.read(((0, 0),), 6) == ((0, 1), (5, 5))
    assert window.clipped_sources(0, 0, 6) == (0, 5)


@given(st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_adaptive_windows_cover_the_input_in_order(n: int, outputs: int) -> None:
    window = AdaptiveWindow(outputs)
    pairs = [window.sources(u, u, n) for u in range(outputs)]
    assert pairs[0][0] == 0
    assert pairs[-1][1] == n - 1
    assert all(first[0] <= second[0] <= first[1] + 1 for first, second in pairwise(pairs))
    if n % outputs == 0:
        regular = adaptive(n, outputs)
        assert isinstance(regular, Window)
        assert [regular.sources(u, u, n) for u in range(outputs)] == pairs
        assert regular.output_size(n) == outputs


@given(st.integers(1, 9), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_linear_upsampling_reads_the_two_inputs_around(factor: int, n: int) -> None:
    window = linear_upsampling(factor)
    assert window.output_size(n) == factor * n
    for u in range(factor * n):
        at = (u + Fraction(1, 2)) / factor - Fraction(1, 2)
        around = {i for i in range(-1, n + 1) if abs(at - i) < 1}
        assert positions(window.spans(((u, u),))) == around


@given(windows(False), windows(False))
@settings(max_examples=100, deadline=None)
def test_a_composed_window_reads_what_the_two_read(first: Window, second: Window) -> None:
    both = compose(first, second)
    one_by_one = positions(first.spans(second.spans(((3, 3),))))
    together = positions(both.spans(((3, 3),)))
    assert one_by_one <= together
    assert (min(one_by_one), max(one_by_one)) == (min(together), max(together))


def test_kernels_of_3_compose_to_5_then_7() -> None:
    five = compose(Window(kernel=3), Window(kernel=3))
    assert five.kernel == 5
    assert compose(five, Window(kernel=3)).kernel == 7


def test_dilated_kernels_compose_to_a_dilated_kernel() -> None:
    both = compose(Window(kernel=3, dilation=2), Window(kernel=2, dilation=4))
    assert (both.kernel, both.dilation) == (5, 2)


def test_a_transposed_window_does_not_compose() -> None:
    with pytest.raises(InputError, match="ordinary windows only"):
        compose(Window(kernel=3, transposed=True), Window())


ALEXNET = (
    Window(kernel=11, stride=4, before=2, after=2),
    Window(kernel=3, stride=2),
    Window(kernel=5, before=2, after=2),
    Window(kernel=3, stride=2),
    *(Window(kernel=3, before=1, after=1),) * 3,
    Window(kernel=3, stride=2),
)


def vgg(depths: tuple[int, ...]) -> tuple[Window, ...]:
    convolution, pool = Window(kernel=3, before=1, after=1), Window(kernel=2, stride=2)
    return tuple(window for depth in depths for window in (*(convolution,) * depth, pool))


@pytest.mark.parametrize(
    ("chain", "size", "stride"),
    [
        (ALEXNET, 195, 32),
        (vgg((2, 2, 3, 3, 3)), 212, 32),
        (vgg((2, 2, 4, 4, 4)), 268, 32),
        ((Window(kernel=3, stride=2),) * 3, 15, 8),
    ],
    ids=["alexnet", "vgg16", "vgg19", "mnist1d"],
)
def test_known_receptive_fields(chain: tuple[Window, ...], size: int, stride: int) -> None:
    field = Field()
    for window in chain:
        field = field.through(window)
    assert (field.size, field.jump) == (size, stride)


@given(st.lists(windows(False), min_size=1, max_size=4), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_field_is_the_interval_of_the_windows(chain: list[Window], output: int) -> None:
    field, spans = Field(), ((output, output),)
    for window in chain:
        field = field.through(window)
    for window in reversed(chain):
        spans = window.spans(spans)
    low, high = spans[0][0], spans[-1][1]
    assert high - low + 1 == field.size
    assert Fraction(low + high, 2) == field.start + output * field.jump


@given(st.lists(windows(), min_size=1, max_size=4), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_field_after_transposed_windows_is_a_bound(chain: list[Window], output: int) -> None:
    field, spans = Field(), ((output, output),)
    for window in chain:
        field = field.through(window)
    for window in reversed(chain):
        spans = window.spans(spans)
    if spans:
        centre = field.start + output * field.jump
        assert spans[-1][1] - spans[0][0] + 1 <= field.size
        assert centre - field.extent / 2 <= spans[0][0]
        assert spans[-1][1] <= centre + field.extent / 2


def test_a_dilated_kernel_moves_the_start() -> None:
    assert Field().through(Window(kernel=3, dilation=4, before=1, after=1)).start == 3
    assert Field().through(Window(kernel=2)).start == Fraction(1, 2)


@given(windows(False), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_flip_drift_is_how_far_mirrored_windows_miss(window: Window, width: int) -> None:
    try:
        outputs = window.output_size(width)
    except InputError:
        return
    low, high = window.sources(0, 0, width)
    last_low, last_high = window.sources(outputs - 1, outputs - 1, width)
    drift = flip_drift(Field().through(window), width, outputs)
    assert drift == (width - 1 - high) - last_low == (width - 1 - low) - last_high


@given(small, small, small)
@settings(max_examples=100, deadline=None)
def test_overlaps_count_the_taps_on_each_phase(kernel: int, stride: int, dilation: int) -> None:
    window = Window(kernel=kernel, stride=stride, dilation=dilation, transposed=True)
    middle = 100 * stride
    counted = [sum((middle + r - dilation * t) % stride == 0 for t in range(kernel)) for r in range(stride)]
    assert list(overlaps(kernel, stride, dilation)) == counted
    assert overlap_is_even(kernel, stride, dilation) == (len(set(counted)) == 1)
    assert bool(window.spans(((middle, middle),))) == (counted[0] > 0)


def test_the_stride_dividing_the_kernel_is_not_the_checkerboard_law() -> None:
    assert overlap_is_even(4, 2)
    assert not overlap_is_even(3, 2)
    assert not overlap_is_even(4, 2, dilation=2)


@pytest.mark.parametrize("field", ["kernel", "stride", "dilation"])
def test_sizes_below_one_are_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"{field} is 0"):
        Window(**{field: 0})


def test_an_adaptive_window_needs_an_input() -> None:
    with pytest.raises(InputError, match="0 positions"):
        AdaptiveWindow(3).output_size(0)
