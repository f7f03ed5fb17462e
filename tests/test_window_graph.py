"""The window graph against brute force: boolean dependency matrices multiplied along every path."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from striate.core.errors import InputError
from striate.core.geometry import AdaptiveWindow, AnyWindow, Window, linear_upsampling, padding_source
from striate.core.graph import Reach, WindowGraph, WindowOp, WindowRow

Matrix = NDArray[np.bool_]


def dependence(window: AnyWindow, n: int) -> Matrix:
    """Which of ``n`` inputs (columns) each output (rows) of one window reads, tap by tap."""
    reads = np.zeros((window.output_size(n), n), dtype=bool)
    if isinstance(window, AdaptiveWindow):
        for u in range(window.outputs):
            reads[u, int(u * n / window.outputs) : int(np.ceil((u + 1) * n / window.outputs))] = True
        return reads
    for u in range(len(reads)):
        for t in range(window.kernel):
            for i in range(n) if window.transposed else (u * window.stride - window.before + window.dilation * t,):
                hit = not window.transposed or i * window.stride - window.before + window.dilation * t == u
                source = padding_source(i, n, window.padding_mode)
                if hit and source is not None:
                    reads[u, source] = True
    return reads


@dataclass(frozen=True)
class Network:
    graph: WindowGraph
    reads: dict[str, Matrix]


def chain(n: int, windows: list[AnyWindow]) -> Network | None:
    """Windows one after the other over a signal of ``n`` positions; ``None`` if they do not fit."""
    rows, reads, previous = [], {"input": np.eye(n, dtype=bool)}, "input"
    for number, window in enumerate(windows):
        try:
            matrix = dependence(window, len(reads[previous]))
        except InputError:
            return None
        if len(matrix) > 200:
            return None
        name = f"row{number}"
        reads[name] = matrix @ reads[previous]
        rows.append(WindowRow(name, (window,), (previous,), (1, len(matrix))))
        previous = name
    return Network(WindowGraph((1, n), tuple(rows)), reads)


sizes = st.integers(1, 4)
ordinary = st.builds(
    Window, kernel=sizes, stride=st.integers(1, 3), dilation=st.integers(1, 3), before=st.integers(-1, 3),
    after=st.integers(-1, 3),
)  # fmt: skip
transposed = st.builds(
    Window, kernel=sizes, stride=st.integers(1, 3), dilation=st.integers(1, 3), before=st.integers(0, 2),
    after=st.integers(0, 2), transposed=st.just(True),
)  # fmt: skip
wrapping = st.builds(
    Window, kernel=st.just(3), before=st.just(1), after=st.just(1),
    padding_mode=st.sampled_from(["reflect", "circular", "replicate"]),
)  # fmt: skip
upsampling = st.builds(linear_upsampling, st.integers(1, 4))
adaptive = st.builds(AdaptiveWindow, st.integers(1, 6))
anything = st.one_of(ordinary, transposed, wrapping, upsampling, adaptive)


def claimed(graph: WindowGraph, name: str, outputs: int, n: int) -> Matrix:
    reads = np.zeros((outputs, n), dtype=bool)
    for u in range(outputs):
        for low, high in graph.positions(name, 0, u):
            reads[u, low : high + 1] = True
    return reads


@given(st.integers(4, 12), st.lists(anything, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_positions_are_what_each_output_depends_on(n: int, windows: list[AnyWindow]) -> None:
    network = chain(n, windows)
    if network is None:
        return
    for name, reads in network.reads.items():
        assert (claimed(network.graph, name, len(reads), n) == reads).all()


@given(st.lists(st.one_of(ordinary, transposed, upsampling), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_size_is_the_largest_away_from_the_borders(windows: list[AnyWindow]) -> None:
    network = chain(60, windows)
    if network is None:
        return
    name = f"row{len(windows) - 1}"
    field = network.graph.receptive_field(name, 0)
    reads = network.reads[name]
    spans = [np.flatnonzero(row) for row in reads]
    inner = [0 if len(s) == 0 else s[-1] - s[0] + 1 for s in spans if len(s) == 0 or (s[0] > 12 and s[-1] < 47)]
    rows_read = [len(network.graph.positions(name, 0, u)) for u in range(len(reads))]
    assert field.size is not None
    assert max(inner, default=0) <= field.size
    if len(inner) > 30 and all(rows_read):
        assert max(inner) == field.size
        assert (len(set(inner)) == 1) >= field.uniform


@given(st.integers(5, 12), st.lists(ordinary, max_size=3), st.lists(ordinary, max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_join_sees_the_union_of_its_branches(n: int, left: list[AnyWindow], right: list[AnyWindow]) -> None:
    first, second = chain(n, left), chain(n, right)
    if first is None or second is None:
        return
    ends = [list(first.reads.values())[-1], list(second.reads.values())[-1]]
    if len(ends[0]) != len(ends[1]):
        return
    rows = []
    for prefix, network in (("a", first), ("b", second)):
        for row in network.graph.rows:
            sources = tuple(s if s == "input" else prefix + s for s in row.sources)
            rows.append(WindowRow(prefix + row.name, row.op, sources, row.shape))
    names = tuple(
        f"{prefix}row{len(windows) - 1}" if windows else "input" for prefix, windows in (("a", left), ("b", right))
    )
    graph = WindowGraph((1, n), (*rows, WindowRow("join", Reach.POINTWISE, names, (2, len(ends[0])))))
    assert (claimed(graph, "join", len(ends[0]), n) == (ends[0] | ends[1])).all()


def row(name: str, op: WindowOp, *sources: str, size: int = 16) -> WindowRow:
    return WindowRow(name, op, sources, (1, size))


def test_duplicating_makes_the_field_depend_on_the_position() -> None:
    graph = WindowGraph(
        (1, 16),
        (
            row("up", (Window(kernel=2, stride=2, transposed=True),), "input", size=32),
            row("conv", (Window(kernel=4, before=1, after=2),), "up", size=32),
        ),
    )
    field = graph.receptive_field("conv", 0)
    assert (field.size, field.jump, field.uniform) == (3, Fraction(1, 2), False)
    assert graph.interval("conv", 0, 9) == (4, 5)
    assert graph.interval("conv", 0, 10) == (4, 6)


def test_upsampling_a_bottleneck_is_exact_at_every_position() -> None:
    """A U-Net of four levels, 3x3 convolutions in pairs: 140 pixels at the bottleneck, and more at the end."""
    rows: list[WindowRow] = []
    reads: dict[str, Matrix] = {"input": np.eye(256, dtype=bool)}
    previous, skips = "input", []

    def add(name: str, window: Window) -> str:
        matrix = dependence(window, len(reads[previous]))
        reads[name] = matrix @ reads[previous]
        rows.append(row(name, (window,), previous, size=len(matrix)))
        return name

    convolution = Window(kernel=3, before=1, after=1)
    for level in range(4):
        previous = add(f"down{level}a", convolution)
        previous = add(f"down{level}b", convolution)
        skips.append(previous)
        previous = add(f"pool{level}", Window(kernel=2, stride=2))
    previous = add("middle_a", convolution)
    bottom = previous = add("middle_b", convolution)
    for level in reversed(range(4)):
        previous = add(f"up{level}", Window(kernel=2, stride=2, transposed=True))
        joined = f"join{level}"
        reads[joined] = reads[previous] | reads[skips[level]]
        rows.append(row(joined, Reach.POINTWISE, previous, skips[level], size=len(reads[joined])))
        previous = joined
        previous = add(f"up{level}a", convolution)
        previous = add(f"up{level}b", convolution)
    graph = WindowGraph((1, 256), tuple(rows))
    assert graph.receptive_field(bottom, 0).size == 140
    assert (claimed(graph, previous, 256, 256) == reads[previous]).all()
    last = graph.receptive_field(previous, 0)
    assert (last.jump, last.uniform) == (1, False)
    assert last.size == reads[previous].sum(axis=1).max() == 204


def test_a_global_path_is_flagged_and_the_windows_beside_it_are_reported() -> None:
    graph = WindowGraph(
        (1, 16),
        (
            row("conv", (Window(kernel=3, before=1, after=1),), "input"),
            row("squeeze", Reach.EVERYTHING, "conv", size=1),
            row("excite", Reach.POINTWISE, "squeeze", size=1),
            row("scale", Reach.POINTWISE, "conv", "excite"),
        ),
    )
    assert (graph.receptive_field("conv", 0).size, graph.sees_everything("conv")) == (3, False)
    assert (graph.receptive_field("excite", 0).size, graph.sees_everything("excite")) == (None, True)
    scaled = graph.receptive_field("scale", 0)
    assert (scaled.size, scaled.everything, scaled.uniform) == (3, True, True)
    assert graph.interval("scale", 0, 0) == (0, 1)
    assert graph.interval("excite", 0, 0) is None


def test_a_norm_over_positions_keeps_its_window() -> None:
    graph = WindowGraph((1, 16), (row("norm", Reach.POINTWISE_AND_EVERYTHING, "input"),))
    field = graph.receptive_field("norm", 0)
    assert (field.size, field.everything) == (1, True)


def test_a_vector_after_flattening_has_no_window() -> None:
    flat = WindowRow("flat", Reach.EVERYTHING, ("input",), (16,))
    graph = WindowGraph((1, 16), (flat, WindowRow("act", Reach.POINTWISE, ("flat",), (16,))))
    assert graph.receptive_field("act", 0).size is None
    assert graph.sees_everything("act")


def test_a_vector_input_has_no_axis_to_ask_for() -> None:
    graph = WindowGraph((5,), (WindowRow("act", Reach.POINTWISE, ("input",), (5,)),))
    assert not graph.sees_everything("act")
    with pytest.raises(InputError, match="axis 0 of 0"):
        graph.receptive_field("act", 0)


def test_a_larger_source_is_cut_around_its_centre() -> None:
    graph = WindowGraph(
        (1, 16),
        (row("conv", (Window(kernel=6),), "input", size=11), row("join", Reach.POINTWISE, "conv", "input", size=11)),
    )
    assert graph.interval("join", 0, 0) == (0, 5)
    assert graph.receptive_field("join", 0).start == Fraction(5, 2)
    cut = WindowGraph((1, 16), (row("cut", Reach.POINTWISE, "input", size=11),))
    assert [cut.interval("cut", 0, u) for u in (0, 10)] == [(2, 2), (12, 12)]


def test_uneven_adaptive_pooling_reports_what_its_largest_window_sees() -> None:
    graph = WindowGraph((1, 7), (row("pool", (AdaptiveWindow(3),), "input", size=3),))
    field = graph.receptive_field("pool", 0)
    assert (field.size, field.jump, field.start) == (3, None, None)
    assert [graph.interval("pool", 0, u) for u in range(3)] == [(0, 2), (2, 4), (4, 6)]


def test_parts_and_further_inputs_look_where_their_owners_look() -> None:
    graph = WindowGraph(
        (1, 16),
        (
            row("pool", (Window(kernel=2, stride=2),), "input", size=8),
            row("unpool", (Window(kernel=2, stride=2, transposed=True),), "pool", "pool.indices"),
            row("add", Reach.POINTWISE, "unpool", "input.1"),
        ),
    )
    assert graph.interval("add", 0, 5) == (4, 5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((row("a", Reach.POINTWISE, "b"),), "a: reads 'b', which no earlier row gives"),
        ((row("a", Reach.POINTWISE, "input"), row("a", Reach.POINTWISE, "input")), "two rows have this name"),
        ((row("a", (Window(), Window()), "input"),), "2 windows came for 1 axes"),
    ],
)
def test_a_graph_that_does_not_hang_together_is_refused(rows: tuple[WindowRow, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowGraph((1, 16), rows)


def test_asking_for_an_unknown_row_names_the_known_ones() -> None:
    graph = WindowGraph((1, 16), (row("a", Reach.POINTWISE, "input"),))
    with pytest.raises(InputError, match="use one of: input, a"):
        graph.interval("b", 0, 0)
    with pytest.raises(InputError, match="axis 1 of 1"):
        graph.interval("a", 1, 0)
