/* Vectors of floats, whatever the processor's are called. What stands before defines LANES (floats in a vector),
   IN_EVERY_LANE and ALIGNED (bytes that addresses of vectors are multiples of). No header is needed. */

typedef float V __attribute__((vector_size(4 * LANES), may_alias, aligned(ALIGNED)));
typedef int W __attribute__((vector_size(4 * LANES), may_alias));
typedef unsigned int U __attribute__((vector_size(4 * LANES), may_alias));
typedef long long index_t;

/* Loops of few and constant turns that are to become none. */
#define UNROLLED _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))
#define AT(pointer) (*(const V *)(pointer))
#define TO(pointer) (*(V *)(pointer))

/* Keeps a loaded vector in its register: compilers would rather load it again for each use, and loads are what the
   tiles below run out of first. */
#if defined(__AVX512F__) || (defined(__AVX__) && LANES <= 8) || (defined(__SSE__) && LANES <= 4)
#define HELD(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__) && LANES <= 4
#define HELD(v) __asm__("" : "+w"(v))
#else
#define HELD(v) (void)(v)
#endif

INLINE V all(float value) { return (V){IN_EVERY_LANE(value)}; }

/* Rows and columns exchanged in a square of LANES vectors: v[i][j] becomes v[j][i]. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) && LANES == 8
#define EXCHANGED_IN_SHUFFLES
#endif
#endif
INLINE void exchange(V *v) {
#ifdef EXCHANGED_IN_SHUFFLES
    V a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = __builtin_shufflevector(a[i + j], a[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + 2 * j + 1] = __builtin_shufflevector(a[i + j], a[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        v[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        v[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#else
    V w[LANES];
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) w[i][j] = v[j][i];
    for (int i = 0; i < LANES; i++) v[i] = w[i];
#endif
}
