"""The C text of the step of one network: its layers one after the other, and the order in which they run.

The text is made of numbers and fixed names alone: nothing of the user's gets into it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import final

from striate.training.compiled.affine import AffineText, learnt, stretches
from striate.training.compiled.layout import Layout, turned_width
from striate.training.compiled.network import Activation, Affine, Lowered, Pool
from striate.training.compiled.pieces import literal, passed_back, table, vectors

NAMES = {"sigmoid": "sigmoid_", "tanh": "tanh_"}


def source(network: Lowered, plan: Layout) -> str:
    """The whole text. It depends on the network, the batch and the registers, not on rates and the like."""
    return "\n".join(_Writer(network, plan).text())


@final
class _Writer:
    def __init__(self, network: Lowered, plan: Layout) -> None:
        self.network, self.plan = network, plan
        self.x, self.g = plan.values, plan.gradients

    def text(self) -> Iterator[str]:
        network, first = self.network, self.network.tensors[0]
        lanes = self.plan.target.lanes
        yield vectors(lanes, 4 * lanes)
        yield f"#define ROW {self.plan.row}"
        yield f"#define CLASSES {network.classes}\n#define FEATURES {first.values}"
        yield f"#define WEIGHTS {network.weights}\n#define PARAMETERS {network.weights + network.biases}"
        yield f"#define PARTS {len(self.plan.parts)}\n#define BATCH {self.plan.batch}\n#define ARENA {self.plan.arena}"
        yield f"#define VECTORS {self.plan.vectors}"
        yield f"#define LOGITS {self.x[-1]}\n#define LOGITS_GRADIENT {self.g[-1]}"
        yield Path(__file__).with_name("prelude.c").read_text("ascii")
        rows = (position + c for position in first.positions for c in range(first.channels))
        yield table("places", [row * self.plan.row for row in rows])
        yield table("part_first", [low for low, _ in self.plan.parts])
        yield table("part_count", [count for _, count in self.plan.parts])
        for number, operation in enumerate(network.operations):
            yield f"/* operation {number}: {type(operation).__name__.lower()} */"
            if isinstance(operation, Affine):
                yield from AffineText(number, operation, network, self.plan).text()
            elif isinstance(operation, Pool):
                yield from self._pool(number, operation)
            else:
                yield from self._activation(number, operation)
        yield "INLINE void forward(float *arena, const float *weights, int nv) {"
        for number, operation in enumerate(network.operations):
            yield f"    forward_{number}(arena{', weights' if isinstance(operation, Affine) else ''}, nv);"
        yield "}\nINLINE void backward(float *arena, const float *weights, int from, int nv) {"
        yield "    float *here = arena + from;"
        for number, operation in reversed(list(enumerate(network.operations))):
            if number in self.plan.turned:
                width = turned_width(operation, self.plan.target) if isinstance(operation, Affine) else 0
                turned = f"arena + {self.plan.turned[number]} + from * {width}"
                yield f"    turn_{number}(here + {self.g[number + 1]}, {turned}, nv);"
            if number:
                yield f"    backward_{number}(here{', weights' if isinstance(operation, Affine) else ''}, nv);"
        yield "}"
        yield from self._learn()
        yield Path(__file__).with_name("step.c").read_text("ascii")

    def _learn(self) -> Iterator[str]:
        """``learn(arena, dw, db, nv, block)``, and the weights and biases, [from, to), of each block."""
        begins: list[int] = []
        ends: list[int] = []
        cases: list[str] = []
        for n, layer in reversed(list(enumerate(self.network.operations))):
            if not isinstance(layer, Affine):
                continue
            for size, begin, end in stretches(learnt(layer)):
                for first in range(begin, end, size):
                    cases.append(f"    case {len(cases)}: learn_{n}(arena, dw, db, nv, {first}, {size}); break;")
                    whole = len(layer.runs) > 1
                    low, high = (0, layer.inputs) if whole else (first, first + size)
                    bias = self.network.weights if layer.bias is None else layer.bias
                    count = layer.outputs if first == 0 and layer.bias is not None else 0
                    begins += [layer.weights + low * layer.outputs, bias]
                    ends += [layer.weights + high * layer.outputs, bias + count]
        yield f"#define BLOCKS {len(cases)}"
        yield table("block_begins", begins)
        yield table("block_ends", ends)
        yield "static void learn(float *arena, float *dw, float *db, int nv, int block) {\n    switch (block) {"
        yield from cases
        yield "    }\n}"

    def _pool(self, n: int, layer: Pool) -> Iterator[str]:
        row, x, y = self.plan.row, self.network.tensors[n], self.network.tensors[n + 1]
        begins = [0]
        for window in layer.windows:
            begins.append(begins[-1] + len(window))
        read = [position for window in layer.windows for position in window]
        yield table(f"read_{n}", [x.positions[position] * row for position in read])
        yield table(f"to_{n}", [position * x.channels * row for position in read])
        yield table(f"begin_{n}", begins)
        yield table(f"out_{n}", [position * row for position in y.positions])
        scales = ", ".join(literal(scale) for scale in layer.scales)
        yield f"static const float scale_{n}[] = {{{scales}}};"
        each = f"    for (int p = 0; p < {len(layer.windows)}; p++)\n"
        each += f"        for (int c = 0; c < {x.channels}; c++)\n            for (int v = 0; v < nv; v++) {{\n"
        each += "                int at = c * ROW + v * LANES;"
        span = f"for (int i = begin_{n}[p]; i < begin_{n}[p + 1]; i++)"
        yield f"static void forward_{n}(float *arena, int nv) {{"
        yield f"    const float *x = arena + {self.x[n]};\n    float *y = arena + {self.x[n + 1]};\n{each}"
        if layer.largest:
            yield f"                V a = AT(x + read_{n}[begin_{n}[p]] + at);"
            yield f"                {span} {{\n                    V b = AT(x + read_{n}[i] + at);"
            yield "                    a = choose((b > a) | (b != b), b, a);\n                }"
        else:
            yield "                V a = all(0.0f);"
            yield f"                {span} a += AT(x + read_{n}[i] + at);\n                a *= all(scale_{n}[p]);"
        yield f"                TO(y + out_{n}[p] + at) = a;\n            }}\n}}"
        yield f"static void backward_{n}(float *arena, int nv) {{"
        yield f"    const float *x = arena + {self.x[n]}, *y = arena + {self.x[n + 1]}, *g = arena + {self.g[n + 1]};"
        yield f"    float *dx = arena + {self.g[n]};"
        yield f"    for (int i = 0; i < {x.values} * ROW; i += LANES) TO(dx + i) = all(0.0f);\n{each}"
        yield f"                V passed = AT(g + p * {x.channels} * ROW + at);"
        if layer.largest:  # to the first of the positions that hold the maximum
            yield f"                V top = AT(y + out_{n}[p] + at);\n                W open = (W){{}} - 1;"
            yield f"                {span} {{\n                    W here = open & (AT(x + read_{n}[i] + at) == top);"
            yield f"                    TO(dx + to_{n}[i] + at) = AT(dx + to_{n}[i] + at) + (V)((W)passed & here);"
            yield "                    open &= ~here;\n                }\n            }"
        else:
            yield f"                passed *= all(scale_{n}[p]);"
            yield f"                {span} TO(dx + to_{n}[i] + at) = AT(dx + to_{n}[i] + at) + passed;\n            }}"
        masked = passed_back(self.network, n, "AT(dx + d)", "x + at")
        if masked != "AT(dx + d)":
            yield table(f"value_{n}", [position * row for position in x.positions])
            yield f"    for (int p = 0; p < {len(x.positions)}; p++)\n        for (int c = 0; c < {x.channels}; c++)"
            yield "            for (int v = 0; v < nv; v++) {"
            yield f"                int at = value_{n}[p] + c * ROW + v * LANES;"
            yield f"                int d = (p * {x.channels} + c) * ROW + v * LANES;"
            yield f"                TO(dx + d) = {masked};\n            }}"
        yield "}"

    def _activation(self, n: int, layer: Activation) -> Iterator[str]:
        row, x, y = self.plan.row, self.network.tensors[n], self.network.tensors[n + 1]
        name, slope = layer.function, literal(layer.slope)
        yield table(f"value_{n}", [position * row for position in x.positions])
        yield table(f"out_{n}", [position * row for position in y.positions])
        each = f"    for (int p = 0; p < {len(x.positions)}; p++)\n        for (int c = 0; c < {x.channels}; c++)\n"
        each += "            for (int v = 0; v < nv; v++) {\n                int at = c * ROW + v * LANES;"
        yield f"static void forward_{n}(float *arena, int nv) {{"
        yield f"    const float *x = arena + {self.x[n]};\n    float *y = arena + {self.x[n + 1]};\n{each}"
        result = f"{NAMES.get(name, name)}(AT(x + value_{n}[p] + at), {slope})"
        yield f"                TO(y + out_{n}[p] + at) = {result};\n            }}\n}}"
        yield f"static void backward_{n}(float *arena, int nv) {{"
        yield f"    const float *x = arena + {self.x[n]}, *y = arena + {self.x[n + 1]}, *g = arena + {self.g[n + 1]};"
        yield f"    float *dx = arena + {self.g[n]};\n{each}"
        yield f"                int d = p * {x.channels} * ROW + at;"
        yield f"                V passed = AT(g + d) * {name}_slope(AT(x + value_{n}[p] + at),"
        yield f"                    AT(y + out_{n}[p] + at), {slope});"
        passed = passed_back(self.network, n, "passed", f"x + value_{n}[p] + at")
        yield f"                TO(dx + d) = {passed};\n            }}\n}}"
