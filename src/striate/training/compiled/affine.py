"""The C text of a convolution or a linear layer.

All three products (output, gradient of the input, gradient of the weights) are computed in tiles that stay in the
vector registers, some outputs by some vectors of samples: each loaded value is used several times, which is what keeps
the multipliers busy, and long sums go in blocks whose operands stay in the nearest cache (Goto and van de Geijn 2008,
doi 10.1145/1356052.1356053).
"""

from collections.abc import Iterator, Sequence
from typing import final

from striate.training.compiled.layout import LEARNT, Layout, turned_width
from striate.training.compiled.network import Affine, Lowered
from striate.training.compiled.pieces import (
    declared,
    evenly,
    leaked,
    most_rows,
    multiplied,
    passed_back,
    products,
    sizes,
    summed,
    table,
)

BIASES = 8
"""Biases whose gradients are summed up together: additions take a few cycles each, and wait for none but their own."""
BLOCK = 128
"""Longest stretch of a sum that is taken at once where a sum has one stretch: 3 vectors of so many rows are 16 KiB."""

Tiles = Sequence[tuple[int, int]]


@final
class AffineText:
    """Writes, for operation N, ``forward_N``, ``backward_N`` (unless first), ``learn_N`` and in wide layers ``turn_N``.

    ``learn_N(arena, dw, db, nv, from, count)`` sums up gradients of the weights of ``count`` inputs of each run, one
    of the stretches of :func:`learnt`, into ``dw``, and with ``from`` 0 those of the biases into ``db``.
    """

    def __init__(self, number: int, layer: Affine, network: Lowered, plan: Layout) -> None:
        self.n, self.layer, self.network, self.plan = number, layer, network, plan
        self.most = most_rows(plan.target)

    def text(self) -> Iterator[str]:
        """The functions and their tables."""
        n, layer, row = self.n, self.layer, self.plan.row
        yield table(f"patch_{n}", [base * row for base in layer.patches])
        yield table(f"out_{n}", [position * row for position in self.network.tensors[n + 1].positions])
        yield table(f"run_row_{n}", [run.row * row for run in layer.runs])
        yield table(f"run_tap_{n}", [run.tap * layer.outputs for run in layer.runs])
        yield from self._forward()
        yield from self._turned_learn() if turned_width(layer, self.plan.target) else self._learn()
        if n:
            yield from self._backward()

    def _forward(self) -> Iterator[str]:
        n, layer = self.n, self.layer
        tiles = {v: evenly(layer.outputs, most) for v, most in self.most.items()}
        length = layer.runs[0].length
        blocked = len(layer.runs) == 1 and length > BLOCK
        bias = "all(0.0f)" if layer.bias is None else f"all(biases[{layer.bias} + o + {{i}}])"
        for v, size in ((v, size) for v, found in tiles.items() for size in sizes(found)):
            yield f"{_apart(layer.inputs)} void forward_{n}_{size}x{v}("
            yield "        int from, int count, const float *x, const float *w, const float *biases,"
            yield "        float *y, int o, int lane) {\n    x += lane;\n    w += o;"
            yield from self._begun(size, v, "y", bias, blocked)
            yield f"    for (int r = 0; r < {len(layer.runs)}; r++) {{"
            yield f"        const float *xr = x + run_row_{n}[r], *wr = w + run_tap_{n}[r];"
            if blocked:
                yield f"        xr += from * ROW;\n        wr += from * {layer.outputs};"
            times = "count" if blocked else length
            yield f"        for (int j = 0; j < {times}; j++, xr += ROW, wr += {layer.outputs}) {{"
            yield from multiplied(size, v, "xr", "wr", 1)
            yield "        }\n    }"
            results = {(i, k): leaked(f"a{i}_{k}", layer.leak) for i in range(size) for k in range(v)}
            yield from self._stored("y", results, length, blocked)
        yield f"static void forward_{n}(float *arena, const float *weights, int nv) {{"
        yield f"    const float *x = arena + {self.plan.values[n]}, *w = weights + {layer.weights};"
        yield f"    float *y = arena + {self.plan.values[n + 1]};"
        yield from self._blocks(length, blocked)
        yield f"    for (int p = 0; p < {len(layer.patches)}; p++)"
        given = f"from, count, x + patch_{n}[p], w, weights"
        yield from self._over_tiles(f"forward_{n}", tiles, given, f"y + out_{n}[p] + {{o}} * ROW")
        yield "}"

    def _backward(self) -> Iterator[str]:
        """dx[q, c] = sum over the outputs p that read q through tap t, and o, of w[t, c, o] g[p, o]."""
        n, layer, row = self.n, self.layer, self.plan.row
        pairs = [pair for source in layer.sources for pair in source]
        begins = [0]
        for source in layer.sources:
            begins.append(begins[-1] + 2 * len(source))
        yield table(f"source_{n}", [v for g, w in pairs for v in (g * row, w * layer.outputs)] or [0])
        yield table(f"begin_{n}", begins)
        yield table(f"value_{n}", [position * row for position in self.network.tensors[n].positions])
        tiles = {v: evenly(layer.channels, most) for v, most in self.most.items()}
        blocked = layer.outputs > BLOCK and all(len(source) == 1 for source in layer.sources)
        for v, size in ((v, size) for v, found in tiles.items() for size in sizes(found)):
            yield f"{_apart(layer.outputs)} void backward_{n}_{size}x{v}("
            yield "        int from, int count, const int *s, const int *end, const float *g,"
            yield "        const float *w, const float *y, float *dx, int c, int lane) {"
            yield f"    g += lane + from * ROW;\n    w += c * {layer.outputs} + from;\n    y += c * ROW + lane;"
            yield from self._begun(size, v, "dx", "all(0.0f)", blocked)
            yield "    for (; s != end; s += 2) {\n        const float *gr = g + s[0], *wr = w + s[1];"
            yield f"        for (int j = 0; j < {'count' if blocked else layer.outputs}; j++, gr += ROW, wr++) {{"
            yield from multiplied(size, v, "gr", "wr", layer.outputs)
            yield "        }\n    }"
            results = {
                (i, k): passed_back(self.network, n, f"a{i}_{k}", f"y + {i} * ROW + {k} * LANES")
                for i in range(size)
                for k in range(v)
            }
            yield from self._stored("dx", results, layer.outputs, blocked)
        yield f"static void backward_{n}(float *arena, const float *weights, int nv) {{"
        yield f"    const float *g = arena + {self.plan.gradients[n + 1]}, *w = weights + {layer.weights};"
        yield f"    const float *y = arena + {self.plan.values[n]};"
        yield f"    float *dx = arena + {self.plan.gradients[n]};"
        yield from self._blocks(layer.outputs, blocked)
        yield f"    for (int q = 0; q < {len(layer.sources)}; q++)"
        ends = f"source_{n} + begin_{n}[q], source_{n} + begin_{n}[q + 1]"
        given, to = f"from, count, {ends}, g, w, y + value_{n}[q]", f"dx + (q * {layer.channels} + {{o}}) * ROW"
        yield from self._over_tiles(f"backward_{n}", tiles, given, to)
        yield "}"

    def _begun(self, rows: int, columns: int, to: str, value: str, blocked: bool) -> Iterator[str]:
        """Accumulators that begin with ``value``, or in a later block with what is at ``to`` already."""
        yield from declared(rows, columns, "all(0.0f)" if blocked else value)
        if blocked:
            places = [(i, k) for i in range(rows) for k in range(columns)]
            first = " ".join(f"a{i}_{k} = {value.format(i=i)};" for i, k in places)
            later = " ".join(f"a{i}_{k} = AT({to} + {i} * ROW + {k} * LANES);" for i, k in places)
            yield f"    if (from == 0) {{ {first} }} else {{ {later} }}"

    def _stored(self, to: str, results: dict[tuple[int, int], str], length: int, blocked: bool) -> Iterator[str]:
        """The end of a tile's function: what it adds up to, complete only after the last block."""
        done = " ".join(f"TO({to} + {i} * ROW + {k} * LANES) = {value};" for (i, k), value in results.items())
        if blocked:
            part = " ".join(f"TO({to} + {i} * ROW + {k} * LANES) = a{i}_{k};" for i, k in results)
            yield f"    if (from + count < {length}) {{ {part} return; }}"
        yield f"    {done}\n}}"

    def _blocks(self, length: int, blocked: bool) -> Iterator[str]:
        if blocked:
            yield f"    for (int from = 0, count = {BLOCK}; from < {length}; from += count) {{"
            yield f"    if (count > {length} - from) count = {length} - from;"
        else:
            yield f"    const int from = 0, count = {length};\n    {{"

    def _over_tiles(self, name: str, tiles: dict[int, list[tuple[int, int]]], given: str, to: str) -> Iterator[str]:
        """Loops over vectors, then over outputs, {o} in ``to`` being a tile's first; closes the loop over blocks."""
        yield "        for (int v = 0; v < nv;) {\n            int lane = v * LANES;"
        for v, test in ((1, "nv - v == 1"), (2, "nv - v == 2 || nv - v == 4"), (3, "1")):
            yield f"            {'' if v == 1 else 'else '}if ({test}) {{"
            begin = 0
            for size, times in tiles[v]:
                o = f"(o * {size} + {begin})"
                yield f"                for (int o = 0; o < {times}; o++)"
                yield f"                    {name}_{size}x{v}({given}, {to.format(o=o)} + lane, {o}, lane);"
                begin += size * times
            yield f"                v += {v};\n            }}"
        yield "        }\n    }"

    def _learn(self) -> Iterator[str]:
        """dw[k, o] = sum over positions p and samples of x[p, k] g[p, o], an accumulator of lanes each; db likewise."""
        n, layer = self.n, self.layer
        length, outputs, positions = layer.runs[0].length, layer.outputs, len(layer.patches)
        shapes = ((4, 3), (3, 4)) if self.plan.target.registers < 32 else ((6, 4), (4, 6), (5, 5))
        down, across = min(shapes, key=lambda shape: -(-length // shape[0]) * -(-outputs // shape[1]))
        o_tiles = evenly(outputs, across)
        by_count = {count: evenly(count, down) for count in sizes(learnt(layer))}
        k_sizes = sorted({k for tiles in by_count.values() for k in sizes(tiles)})
        for k, o in ((k, o) for k in k_sizes for o in sizes(o_tiles)):
            yield f"{_apart(positions * 4)} void learn_{n}_{k}x{o}("
            yield "        const float *x, const float *g, float *dw, int nv) {"
            yield from declared(k, o, "all(0.0f)")
            yield f"    for (int p = 0; p < {positions}; p++) {{"
            yield f"        const float *xr = x + patch_{n}[p], *gr = g + p * {outputs} * ROW;"
            yield "        for (int v = 0; v < nv; v++, xr += LANES, gr += LANES) {"
            yield from products(k, o)
            yield "        }\n    }"
            yield from summed([(f"a{i}_{j}", f"dw[{i * outputs + j}]") for i in range(k) for j in range(o)])
            yield "}"
        yield from self._biases_text()
        yield from self._learn_begins()
        for count, k_tiles in by_count.items():
            yield f"    if (count == {count})"
            yield f"    for (int r = 0; r < {len(layer.runs)}; r++) {{"
            for o, o_begin, o_end in stretches(o_tiles):
                yield f"        for (int o = {o_begin}; o < {o_end}; o += {o}) {{"
                for k, k_begin, k_end in stretches(k_tiles):
                    yield f"            for (int k = {k_begin}; k < {k_end}; k += {k})"
                    yield f"                learn_{n}_{k}x{o}(x + run_row_{n}[r] + k * ROW, g + o * ROW,"
                    yield f"                    dw + run_tap_{n}[r] + k * {outputs} + o, nv);"
                yield "        }"
            yield "    }"
        yield from self._biases_calls()

    def _turned_learn(self) -> Iterator[str]:
        """The same with vectors of outputs in place of samples: the gradient is first turned, (samples, outputs), which
        ``turn_N`` does for ``nv`` vectors of samples."""
        n, layer, outputs = self.n, self.layer, self.layer.outputs
        width, lanes = turned_width(layer, self.plan.target), self.plan.target.lanes
        yield f"static void turn_{n}(const float *g, float *turned, int nv) {{"
        yield f"    for (int o = 0; o < {width}; o += LANES)\n        for (int b = 0; b < nv * LANES; b += LANES) {{"
        yield "            V v[LANES];"
        last = outputs - 1  # what fills the last vector of outputs goes nowhere
        yield "            for (int i = 0; i < LANES; i++)"
        yield f"                v[i] = AT(g + (o + i < {outputs} ? o + i : {last}) * ROW + b);"
        yield "            exchange(v);"
        yield f"            for (int i = 0; i < LANES; i++) TO(turned + (b + i) * {width} + o) = v[i];\n        }}\n}}"
        wide = evenly(width // lanes, 3)
        by_count = {(count, v): evenly(count, self.most[v]) for count in sizes(learnt(layer)) for v in sizes(wide)}
        shapes = sorted({(v, k) for (_, v), tiles in by_count.items() for k in sizes(tiles)})
        for v, k in shapes:
            yield f"{_apart(self.plan.row)} void learn_{n}_{k}x{v}("
            yield "        const float *x, const float *turned, float *dw, int samples, int left) {"
            yield from declared(k, v, "all(0.0f)")
            yield f"    for (int b = 0; b < samples; b++, x++, turned += {width}) {{"
            yield from multiplied(k, v, "turned", "x", "ROW")
            yield "    }"
            for i in range(k):
                yield from (
                    f"    put(dw + {i * outputs} + {j} * LANES, a{i}_{j}, left - {j} * LANES);" for j in range(v)
                )
            yield "}"
        yield from self._biases_text()
        yield from self._learn_begins()
        yield f"    const float *turned = arena + {self.plan.turned[n]};\n    int samples = nv * LANES;"
        for (count, v), tiles in by_count.items():
            o_begin, o_end = next((begin, end) for one, begin, end in stretches(wide) if one == v)
            yield f"    if (count == {count})"
            yield f"    for (int o = {o_begin} * LANES; o < {o_end} * LANES; o += {v} * LANES) {{"
            for k, k_begin, k_end in stretches(tiles):
                yield f"        for (int k = {k_begin}; k < {k_end}; k += {k})"
                yield f"            learn_{n}_{k}x{v}(x + k * ROW, turned + o, dw + k * {outputs} + o,"
                yield f"                samples, {outputs} - o);"
            yield "    }"
        yield from self._biases_calls()

    def _learn_begins(self) -> Iterator[str]:
        yield f"static void learn_{self.n}(float *arena, float *dw, float *db, int nv, int from, int count) {{"
        yield f"    const float *x = arena + {self.plan.values[self.n]} + from * ROW;"
        yield f"    const float *g = arena + {self.plan.gradients[self.n + 1]};"

    def _biases_text(self) -> Iterator[str]:
        n, layer = self.n, self.layer
        for o in sizes(evenly(layer.outputs, BIASES)) if layer.bias is not None else ():
            yield f"static void biases_{n}_{o}(const float *g, float *db, int nv) {{"
            yield from declared(1, o, "all(0.0f)")
            yield f"    for (int p = 0; p < {len(layer.patches)}; p++, g += {layer.outputs} * ROW)"
            yield "        for (int v = 0; v < nv; v++) {"
            yield from (f"            a0_{j} += AT(g + {j} * ROW + v * LANES);" for j in range(o))
            yield "        }"
            yield from summed([(f"a0_{j}", f"db[{j}]") for j in range(o)])
            yield "}"

    def _biases_calls(self) -> Iterator[str]:
        """The end of ``learn_N``."""
        layer = self.layer
        if layer.bias is not None:
            for o, begin, end in stretches(evenly(layer.outputs, BIASES)):
                yield f"    if (from == 0) for (int o = {begin}; o < {end}; o += {o})"
                yield f"        biases_{self.n}_{o}(g + o * ROW, db + o, nv);"
        yield "}"


def learnt(layer: Affine) -> Tiles:
    """The inputs of each run of a layer in stretches whose weights are learnt together, as (size, how many)."""
    length = layer.runs[0].length
    return [(length, 1)] if len(layer.runs) > 1 else evenly(length, LEARNT)


def _apart(turns: int) -> str:
    """A tile's function stays one of its own, with all registers to itself, where its loop repays a call."""
    return "static" if turns < 12 else "static __attribute__((noinline))"


def stretches(tiles: Tiles) -> Iterator[tuple[int, int, int]]:
    """Tiles of one size after another: (size, where they begin, where they end)."""
    begin = 0
    for size, times in tiles:
        yield size, begin, begin + size * times
        begin += size * times
