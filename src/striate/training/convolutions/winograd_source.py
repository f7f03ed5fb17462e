"""The C text of Winograd's transforms for convolutions of 3 x 3.

An output tile of m x m of a 3 x 3 convolution is (Lavin and Gray 2016, arXiv:1509.09308, equation 8)

    Y = A^T [ (G g G^T) * (B^T d B) ] A

for a kernel g and an input tile d of (m + 2) x (m + 2): (m + 2)^2 products in place of 9 m^2. Over many channels and
tiles the products are (m + 2)^2 matrix products, which a library computes; the transforms on both sides are here, and
those of the gradients, their transposes. Everything works on vectors of channels: the channels are the last axis.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

Matrix = Sequence[Sequence[Fraction | int]]

_SIXTH, _TWELFTH = Fraction(1, 6), Fraction(1, 12)
_HALF, _QUARTER, _TWENTY_FOURTH = Fraction(1, 2), Fraction(1, 4), Fraction(1, 24)

INPUT: dict[int, Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
"""B^T for each m (Lavin and Gray, equations 7 and appendix)."""
KERNEL: dict[int, Matrix] = {
    2: ((1, 0, 0), (_HALF, _HALF, _HALF), (_HALF, -_HALF, _HALF), (0, 0, 1)),
    4: (
        (_QUARTER, 0, 0),
        (-_SIXTH, -_SIXTH, -_SIXTH),
        (-_SIXTH, _SIXTH, -_SIXTH),
        (_TWENTY_FOURTH, _TWELFTH, _SIXTH),
        (_TWENTY_FOURTH, -_TWELFTH, _SIXTH),
        (0, 0, 1),
    ),
}
"""G."""
OUTPUT: dict[int, Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, -1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}
"""A^T."""


def source() -> str:
    """The text, after products.c: six functions for each m of :data:`INPUT`.

    Maps are (N, H, W, C); transformed ones ((m + 2)^2, N th tw, C) with ``step`` floats from one matrix to the next,
    for th x tw tiles a map; kernels (K, 3, 3, C) and transformed ((m + 2)^2, K, C). The numbers in ``size`` are
    N, H, W, C, th, tw.
    """
    head = """
#define SIZES const index_t N = size[0], H = size[1], W = size[2], C = size[3], th = size[4], tw = size[5]
#define INSIDE (y >= 0 && y < H && x >= 0 && x < W)
"""
    return "".join((head, *map(_functions, INPUT)))


def _functions(m: int) -> str:
    a = m + 2
    every = f"for (int i = 0; i < {a}; i++) for (int j = 0; j < {a}; j++)"
    each = f"for (int i = 0; i < {m}; i++) for (int j = 0; j < {m}; j++)"
    tile = f"index_t n = t / (th * tw), y0 = t / tw % th * {m}, x0 = t % tw * {m};"
    channels = "for (index_t c = 0; c < C; c += LANES)"
    tiles = "#pragma omp parallel for schedule(static)\n"
    tiles += f"    for (index_t t = 0; t < N * th * tw; t++) {{ {tile} {channels} {{"
    taken = f"V d[{a}][{a}]; const float *from = moved + t * C + c; {every} d[i][j] = AT(from + (i * {a} + j) * step);"
    place = "map + ((n * H + y) * W + x) * C + c"

    def moved(i: int, j: int) -> str:
        return f"TO(to + {i * a + j} * step)"

    return f"""
void input_{m}(const float *map, float *moved, const index_t *size, index_t step) {{
    SIZES;
    {tiles}
        V d[{a}][{a}];
        {every} {{
            index_t y = y0 + i - 1, x = x0 + j - 1;
            d[i][j] = INSIDE ? AT({place}) : (V){{0}};
        }}
        float *to = moved + t * C + c;
        {_both(INPUT[m], moved)}
    }} }}
}}
void output_{m}(float *map, const float *moved, const index_t *size, index_t step) {{
    SIZES;
    {tiles}
        {taken}
        V r[{m}][{m}];
        {_both(OUTPUT[m], _named)}
        {each} {{
            index_t y = y0 + i, x = x0 + j;
            if (INSIDE) TO({place}) = r[i][j];
        }}
    }} }}
}}
void output_back_{m}(const float *map, float *moved, const index_t *size, index_t step) {{
    SIZES;
    {tiles}
        V d[{m}][{m}];
        {each} {{
            index_t y = y0 + i, x = x0 + j;
            d[i][j] = INSIDE ? AT({place}) : (V){{0}};
        }}
        float *to = moved + t * C + c;
        {_both(_transposed(OUTPUT[m]), moved)}
    }} }}
}}
void input_back_{m}(float *map, const float *moved, const index_t *size, index_t step) {{
    SIZES;
    #pragma omp parallel for schedule(static)
    for (index_t image = 0; image < N; image++) {{
        __builtin_memset(map + image * H * W * C, 0, 4 * H * W * C);
        for (index_t t = image * th * tw; t < (image + 1) * th * tw; t++) {{ {tile} {channels} {{
            {taken}
            V r[{a}][{a}];
            {_both(_transposed(INPUT[m]), _named)}
            {every} {{
                index_t y = y0 + i - 1, x = x0 + j - 1;
                if (INSIDE) TO({place}) = AT({place}) + r[i][j];
            }}
        }} }}
    }}
}}
void kernel_{m}(const float *kernel, float *moved, index_t K, index_t C, index_t step) {{
    #pragma omp parallel for schedule(static)
    for (index_t k = 0; k < K; k++) {channels} {{
        V d[3][3];
        for (int i = 0; i < 9; i++) d[i / 3][i % 3] = AT(kernel + (k * 9 + i) * C + c);
        float *to = moved + k * C + c;
        {_both(KERNEL[m], moved)}
    }}
}}
void kernel_back_{m}(float *kernel, const float *moved, index_t K, index_t C, index_t step) {{
    #pragma omp parallel for schedule(static)
    for (index_t t = 0; t < K; t++) {channels} {{
        {taken}
        float *to = kernel + t * 9 * C + c;
        {_both(_transposed(KERNEL[m]), lambda i, j: f"TO(to + {3 * i + j} * C)")}
    }}
}}
"""


def _named(i: int, j: int) -> str:
    return f"r[{i}][{j}]"


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _both(matrix: Matrix, to: Callable[[int, int], str]) -> str:
    """Statements for M d M^T, written to the places that ``to`` names."""
    rows, columns = range(len(matrix)), range(len(matrix[0]))
    lines = [f"V s[{len(rows)}][{len(columns)}];"]
    lines += [f"s[{i}][{j}] = {_sum(matrix[i], [f'd[{k}][{j}]' for k in columns])};" for j in columns for i in rows]
    lines += [f"{to(i, j)} = {_sum(matrix[j], [f's[{i}][{k}]' for k in columns])};" for i in rows for j in rows]
    return "\n        ".join(lines)


def _sum(factors: Sequence[Fraction | int], names: Sequence[str]) -> str:
    text = ""
    for factor, name in zip(factors, names, strict=True):
        if factor:
            term = name if abs(factor) == 1 else f"{float(abs(factor)).hex()}f * {name}"
            text += f" {'-' if factor < 0 else '+'} {term}"
    return text.removeprefix(" + ")
