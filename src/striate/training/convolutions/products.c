/* Matrix products of which one side may lie anywhere in memory, row by row. After vectors.c.

   A tile of ROWS x WIDE sums stays in the vector registers while the terms go by, so that each loaded value is used
   several times; the columns of B that it needs lie packed one after the other in the nearest cache (Goto and van de
   Geijn 2008, doi 10.1145/1356052.1356053). Every sum is one thread's alone, from its first term to its last, so that
   results are the same for any number of threads. */

#define ROWS 6
#define WIDE (2 * LANES)
#define INNER 256 /* terms that are packed at once: WIDE columns of so many are 16 KiB of vectors of eight */

/* Sums (rows, wide vectors), one row at each of `to`: the product of `terms` terms, added to what is there already if
   there is `more`. With `apart` each row of A begins at one of `from`, and its terms lie side by side; else the rows lie
   side by side from from[0] on, and the terms are `step` floats from each other. */
INLINE void tile(int rows, int wide, int apart, const float *const *from, index_t step, const float *b, index_t terms,
                 float *const *to, int more) {
    V sum[ROWS][2];
    const float *a[ROWS];
    float *c[ROWS];
    UNROLLED for (int i = 0; i < rows; i++) {
        a[i] = from[apart ? i : 0];
        c[i] = to[i];
        UNROLLED for (int j = 0; j < wide; j++) sum[i][j] = more ? AT(c[i] + j * LANES) : all(0.0f);
        if (!more) __builtin_prefetch(c[i], 1);
    }
    for (index_t k = 0; k < terms; k++, b += wide * LANES) {
        V b0 = AT(b), b1 = wide > 1 ? AT(b + LANES) : b0;
        HELD(b0);
        HELD(b1);
        UNROLLED for (int i = 0; i < rows; i++) {
            V one = all(apart ? a[i][k] : a[0][i]);
            sum[i][0] += one * b0;
            if (wide > 1) sum[i][1] += one * b1;
        }
        if (!apart) a[0] += step;
    }
    UNROLLED for (int i = 0; i < rows; i++)
        UNROLLED for (int j = 0; j < wide; j++) TO(c[i] + j * LANES) = sum[i][j];
}

typedef void (*Tile)(const float *const *, index_t, const float *, index_t, float *const *, int);
#define TILE(rows, wide, apart)                                                                                        \
    static __attribute__((noinline)) void tile_##rows##_##wide##_##apart(                                              \
        const float *const *from, index_t step, const float *b, index_t terms, float *const *to, int more) {           \
        tile(rows, wide, apart, from, step, b, terms, to, more);                                                       \
    }
#define TILES(wide, apart)                                                                                             \
    TILE(1, wide, apart) TILE(2, wide, apart) TILE(3, wide, apart)                                                     \
    TILE(4, wide, apart) TILE(5, wide, apart) TILE(6, wide, apart)                                                     \
    static const Tile tiles_##wide##_##apart[ROWS] = {tile_1_##wide##_##apart, tile_2_##wide##_##apart,                \
                                                      tile_3_##wide##_##apart, tile_4_##wide##_##apart,                \
                                                      tile_5_##wide##_##apart, tile_6_##wide##_##apart};
TILES(1, 0) TILES(2, 0) TILES(1, 1) TILES(2, 1)

/* Into `to`, (terms, wide vectors): columns of B whose terms are `term` floats from each other. */
INLINE void pack(const float *b, index_t term, index_t terms, int wide, float *to) {
    for (index_t k = 0; k < terms; k++, b += term)
        for (int j = 0; j < wide; j++, to += LANES) TO(to) = AT(b + j * LANES);
}

/* The same where the terms lie side by side and the columns are `column` floats from each other. */
INLINE void pack_turned(const float *b, index_t column, index_t terms, int wide, float *to) {
    for (int j = 0; j < wide; j++, b += LANES * column)
        for (index_t k = 0; k < terms; k += LANES) {
            V v[LANES];
            for (int i = 0; i < LANES; i++) v[i] = AT(b + i * column + k);
            exchange(v);
            for (int i = 0; i < LANES; i++) TO(to + (k + i) * wide * LANES + j * LANES) = v[i];
        }
}

/* Matrices C (rows, columns) = A (rows, terms) B (terms, columns), c_step, a_step and b_step floats from one to the next.
   Of A's two strides, in floats, one is 1, as of B's; C's columns lie side by side. Numbers of columns, and where B's
   terms lie side by side of terms too, are multiples of LANES. */
void products(const float *a, const float *b, float *c, const index_t *size, index_t threads) {
    const index_t matrices = size[0], rows = size[1], terms = size[2], columns = size[3];
    const index_t a_row = size[4], a_term = size[5], b_term = size[6], b_column = size[7];
    const index_t a_step = size[8], b_step = size[9], c_step = size[10];
    const int apart = a_term == 1;
    const Tile *const tiles[2] = {apart ? tiles_1_1 : tiles_1_0, apart ? tiles_2_1 : tiles_2_0};
    const index_t panels = (columns + WIDE - 1) / WIDE, wanted = (2 * threads + matrices - 1) / matrices;
    const index_t shares = panels < wanted ? panels : wanted;
#pragma omp parallel num_threads(threads)
    {
        float packed[INNER * WIDE] __attribute__((aligned(64)));
        const float *from[ROWS];
        float *to[ROWS];
#pragma omp for schedule(dynamic)
        for (index_t share = 0; share < matrices * shares; share++) {
            const index_t m = share / shares, first = share % shares * panels / shares;
            const index_t last = (share % shares + 1) * panels / shares;
            for (index_t begin = 0; begin < terms; begin += INNER) {
                const index_t count = terms - begin < INNER ? terms - begin : INNER;
                for (index_t j = first * WIDE; j < last * WIDE && j < columns; j += WIDE) {
                    const int wide = columns - j < WIDE ? 1 : 2;
                    const float *ai = a + m * a_step + begin * a_term;
                    const float *bj = b + m * b_step + begin * b_term + j * b_column;
                    float *ci = c + m * c_step + j;
                    if (b_column == 1)
                        pack(bj, b_term, count, wide, packed);
                    else
                        pack_turned(bj, b_column, count, wide, packed);
                    for (index_t i = 0; i < rows; i += ROWS) {
                        const int now = rows - i < ROWS ? rows - i : ROWS;
                        for (int r = 0; r < ROWS; r++, ai += a_row, ci += columns) {
                            from[r] = ai;
                            to[r] = ci;
                            if (apart) __builtin_prefetch(ai + ROWS * a_row);
                        }
                        tiles[wide - 1][now - 1](from, a_term, packed, count, to, begin > 0);
                    }
                }
            }
        }
    }
}

/* Rows of C = sums over taps of a row of A, or of none, times a matrix of the tap: row i of C, which is C's row to[i],
   adds up A's rows at[t rows + i] (negative: none) times B's matrix which[t], whose columns lie side by side. `nothing` is a row of zeros. */
void gathered(const float *a, const float *b, float *c, const int *at, const int *which, const int *to_rows,
              const float *nothing, const index_t *size, index_t threads) {
    const index_t rows = size[0], taps = size[1], terms = size[2], columns = size[3];
    const index_t b_term = size[4], b_tap = size[5];
    const index_t panels = (columns + WIDE - 1) / WIDE;
    /* with few columns the rows are shared too, and B's columns packed once for each share */
    const index_t apiece = panels >= 2 * threads ? rows : (rows / (2 * threads) / ROWS + 1) * ROWS;
    const index_t blocks = (rows + apiece - 1) / apiece;
#pragma omp parallel num_threads(threads)
    {
        float packed[INNER * WIDE] __attribute__((aligned(64)));
        const float *from[ROWS];
        float *to[ROWS];
#pragma omp for schedule(dynamic)
        for (index_t share = 0; share < panels * blocks; share++) {
            const index_t j = share / blocks * WIDE, low = share % blocks * apiece;
            const index_t high = low + apiece < rows ? low + apiece : rows;
            const int wide = columns - j < WIDE ? 1 : 2;
            const Tile *const tiles = wide == 1 ? tiles_1_1 : tiles_2_1;
            int more = 0;
            for (index_t t = 0; t < taps; t++)
                for (index_t begin = 0; begin < terms; begin += INNER, more = 1) {
                    const index_t count = terms - begin < INNER ? terms - begin : INNER;
                    pack(b + which[t] * b_tap + begin * b_term + j, b_term, count, wide, packed);
                    for (index_t i = low; i < high; i += ROWS) {
                        const int now = high - i < ROWS ? high - i : ROWS;
                        int some = !more;
                        for (int r = 0; r < now; r++) {
                            const index_t row = at[t * rows + i + r];
                            some |= row >= 0;
                            from[r] = row < 0 ? nothing : a + row * terms + begin;
                            to[r] = c + to_rows[i + r] * columns + j;
                        }
                        if (some) tiles[now - 1](from, 0, packed, count, to, more);
                    }
                }
            if (!more)
                for (index_t i = low; i < high; i++)
                    for (int v = 0; v < wide; v++) TO(c + to_rows[i] * columns + j + v * LANES) = all(0.0f);
        }
    }
}

/* Matrices C_t (rows, columns), one for each tap, c_row floats from row to row: the sums over terms k of row k of A,
   turned to a column, times row at[t terms + k] of B (negative: none). */
void gathered_terms(const float *a, const float *b, float *c, const int *at, const float *nothing, const index_t *size,
                    index_t threads) {
    const index_t rows = size[0], taps = size[1], terms = size[2], columns = size[3], c_row = size[4];
    const index_t panels = (columns + WIDE - 1) / WIDE;
#pragma omp parallel num_threads(threads)
    {
        float packed[INNER * WIDE] __attribute__((aligned(64)));
        const float *from[ROWS];
        float *to[ROWS];
#pragma omp for schedule(dynamic)
        for (index_t share = 0; share < taps * panels; share++) {
            const index_t t = share / panels, j = share % panels * WIDE;
            const int wide = columns - j < WIDE ? 1 : 2;
            const Tile *const tiles = wide == 1 ? tiles_1_0 : tiles_2_0;
            for (index_t begin = 0; begin < terms; begin += INNER) {
                const index_t count = terms - begin < INNER ? terms - begin : INNER;
                for (index_t k = 0; k < count; k++) {
                    const index_t row = at[t * terms + begin + k];
                    pack(row < 0 ? nothing : b + row * columns + j, 0, 1, wide, packed + k * wide * LANES);
                }
                for (index_t i = 0; i < rows; i += ROWS) {
                    from[0] = a + begin * rows + i;
                    for (int r = 0; r < ROWS; r++) to[r] = c + (i + r) * c_row + t * columns + j;
                    tiles[rows - i < ROWS ? rows - i - 1 : ROWS - 1](from, rows, packed, count, to, begin > 0);
                }
            }
        }
    }
}
