"""Pieces of C text that the layers share: tables, tiles of accumulators, sums, ReLUs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from striate.training.compiled.layout import Target
from striate.training.compiled.network import Affine, Lowered


def vectors(lanes: int, aligned: int) -> str:
    """What texts begin with that compute with vectors of so many floats at addresses that are multiples of so many
    bytes."""
    every = f"#define IN_EVERY_LANE(value) {', '.join(['value'] * lanes)}"
    text = Path(__file__).with_name("vectors.c").read_text("ascii")
    return f"#define LANES {lanes}\n#define ALIGNED {aligned}\n{every}\n{text}"


def table(name: str, values: Sequence[int]) -> str:
    """An array of whole numbers."""
    return f"static const int {name}[] = {{{', '.join(map(str, values))}}};"


def literal(value: float) -> str:
    """A float that reads back exactly."""
    return f"({value.hex()}f)"


def most_rows(target: Target) -> dict[int, int]:
    """For tiles of 1 to 3 vectors, how many rows of accumulators fit the registers, with the vectors and a weight."""
    return {v: min(16, (target.registers - v - 1) // v) for v in range(1, 4)}


def evenly(total: int, most: int) -> list[tuple[int, int]]:
    """``total`` cut into as few sizes of at most ``most`` as there need be, as even as can be, as (size, how many):
    one pair or two, larger sizes first."""
    count = -(-total // most)
    small, larger = divmod(total, count)
    return [(size, times) for size, times in ((small + 1, larger), (small, count - larger)) if times]


def sizes(tiles: Sequence[tuple[int, int]]) -> list[int]:
    """The different sizes of some tiles."""
    return [size for size, _ in tiles]


def declared(rows: int, columns: int, value: str) -> Iterator[str]:
    """Accumulators a{i}_{k}, with what ``value`` gives for its {i} and {k}."""
    for i in range(rows):
        yield "    V " + ", ".join(f"a{i}_{k} = {value.format(i=i, k=k)}" for k in range(columns)) + ";"


def multiplied(rows: int, columns: int, x: str, w: str, stride: int | str) -> Iterator[str]:
    """A tile's inner step: each of ``columns`` vectors at ``x`` times each of ``rows`` numbers at ``w``."""
    loads = ", ".join(f"x{k} = AT({x} + {k} * LANES)" for k in range(columns))
    yield f"            V {loads}; " + " ".join(f"HELD(x{k});" for k in range(columns))
    for i in range(rows):
        sums = " ".join(f"a{i}_{k} += b * x{k};" for k in range(columns))
        yield f"            {{ V b = all({w}[{i} * {stride}]); {sums} }}"


def products(k: int, o: int) -> Iterator[str]:
    """One step of a tile of weights' gradients: ``k`` vectors at xr times ``o`` vectors at gr. The fewer are held in
    registers, the others pass by one at a time."""
    held, passing = (("x", k), ("g", o)) if k <= o else (("g", o), ("x", k))
    for i in range(held[1]):
        yield f"            V {held[0]}{i} = AT({held[0]}r + {i} * ROW); HELD({held[0]}{i});"
    for j in range(passing[1]):
        names = [(i, j) if held[0] == "x" else (j, i) for i in range(held[1])]
        sums = " ".join(f"a{a}_{b} += {held[0]}{i} * b;" for i, (a, b) in enumerate(names))
        yield f"            {{ V b = AT({passing[0]}r + {j} * ROW); HELD(b); {sums} }}"


def summed(sums: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Writes the sum of each accumulator's lanes to its place, four at a time."""
    for begin in range(0, len(sums), 4):
        four = sums[begin : begin + 4]
        given = [name for name, _ in four] + [four[0][0]] * (4 - len(four))
        places = " ".join(f"{place} = t[{i}];" for i, (_, place) in enumerate(four))
        yield f"    {{ float t[4]; four_sums({', '.join(given)}, t); {places} }}"


def leaked(value: str, leak: float | None) -> str:
    """The ReLU that follows a layer with weights, NaN kept."""
    if leak is None:
        return value
    if leak == 0.0:
        return f"(V)((W){value} & ~({value} < all(0.0f)))"
    return f"choose({value} > all(0.0f), {value}, {value} * all({literal(leak)}))"


def passed_back(network: Lowered, tensor: int, value: str, y: str) -> str:
    """The gradient ``value`` passed back through the ReLU, if any, that made the tensor's values at ``y``."""
    before = network.operations[tensor - 1] if tensor else None
    leak = before.leak if isinstance(before, Affine) else None
    if leak is None:
        return value
    if leak == 0.0:
        return f"(V)((W)({value}) & (AT({y}) > all(0.0f)))"
    return f"choose(AT({y}) > all(0.0f), {value}, {value} * all({literal(leak)}))"
