/* What every compiled step begins with, after vectors.c: elementary functions, reading samples, loss. What stands before
   defines ROW (lanes in a row), CLASSES and FEATURES. All arithmetic is float32 in a fixed order, so that the same program
   gives the same bits. */

/* A vector, or where fewer than LANES values are left only those, to any address. */
typedef float N __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
INLINE void put(float *to, V v, int left) {
    if (left >= LANES)
        *(N *)to = v;
    else
        for (int i = 0; i < left; i++) to[i] = v[i];
}

INLINE V choose(W mask, V yes, V no) { return (V)((mask & (W)yes) | (~mask & (W)no)); }
INLINE V largest(V a, V b) { return choose(a > b, a, b); }

/* The sums of the lanes of four vectors, each as a tree of neighbours. */
#if LANES == 8 && defined(__AVX__)
typedef float H __attribute__((vector_size(16), aligned(4), may_alias));
INLINE void four_sums(V a, V b, V c, V d, float *to) {
    V sums = __builtin_ia32_haddps256(__builtin_ia32_haddps256(a, b), __builtin_ia32_haddps256(c, d));
    H low = {sums[0], sums[1], sums[2], sums[3]}, high = {sums[4], sums[5], sums[6], sums[7]};
    *(H *)to = low + high;
}
#else
INLINE float sum_of_lanes(V v) {
    float part[LANES];
    for (int i = 0; i < LANES; i++) part[i] = v[i];
    for (int left = LANES / 2; left; left /= 2)
        for (int i = 0; i < left; i++) part[i] = part[2 * i] + part[2 * i + 1];
    return part[0];
}
INLINE void four_sums(V a, V b, V c, V d, float *to) {
    to[0] = sum_of_lanes(a);
    to[1] = sum_of_lanes(b);
    to[2] = sum_of_lanes(c);
    to[3] = sum_of_lanes(d);
}
#endif

/* exp(x) = 2^n exp(r), n = round(x / ln 2), exp(r) by its series to r^7 / 7! (|r| <= 0.35). Below -87 it is about 1e-38,
   above 88 about 2e38; NaN stays NaN. */
INLINE V exponential(V x) {
    const V magic = all(12582912.0f); /* 1.5 2^23: adding it rounds to a whole number, held in the low bits */
    x = choose(x > all(88.0f), all(88.0f), x);
    x = choose(x < all(-87.0f), all(-87.0f), x);
    V shifted = x * all(1.44269504f) + magic;
    V n = shifted - magic;
    V r = x - n * all(0.693359375f);
    r = r - n * all(-2.12194440e-4f);
    V p = all(1.0f / 5040);
    p = p * r + all(1.0f / 720);
    p = p * r + all(1.0f / 120);
    p = p * r + all(1.0f / 24);
    p = p * r + all(1.0f / 6);
    p = p * r + all(0.5f);
    p = p * r * r + r + all(1.0f);
    return (V)((W)p + (W)((U)shifted << 23));
}

/* log(x) for normal x > 0: x = 2^n m, sqrt(1/2) <= m < sqrt(2); log m = 2 artanh(t), t = (m - 1) / (m + 1). */
INLINE V logarithm(V x) {
    W bits = (W)x - 0x3f3504f3; /* the bits of sqrt(1/2) */
    W n = bits >> 23;
    V m = (V)((W)x - (W)((U)n << 23));
    V t = (m - all(1.0f)) / (m + all(1.0f)), s = t * t;
    V p = all(2.0f / 9);
    p = p * s + all(2.0f / 7);
    p = p * s + all(2.0f / 5);
    p = p * s + all(2.0f / 3);
    p = p * s * t + all(2.0f) * t;
    V number;
    for (int i = 0; i < LANES; i++) number[i] = (float)n[i];
    V found = number * all(0.69314718f) + p;
    return choose(x == x, found, x);
}

INLINE V sigmoid(V x) { return all(1.0f) / (all(1.0f) + exponential(-x)); }

/* tanh(x): an odd series near 0, where the quotient would cancel; (1 - e) / (1 + e) with e = exp(-2 |x|) elsewhere. */
INLINE V hyperbolic(V x) {
    V size = choose(x < all(0.0f), -x, x), s = x * x;
    V e = exponential(all(-2.0f) * size);
    V far = (all(1.0f) - e) / (all(1.0f) + e);
    far = choose(x < all(0.0f), -far, far);
    V near = all(-17.0f / 315);
    near = near * s + all(2.0f / 15);
    near = near * s + all(-1.0f / 3);
    near = near * s * x + x;
    return choose(size < all(0.2f), near, far);
}

/* The normal distribution function by erfc(z) = exp(-z^2) P(1 / (1 + p z)) (Abramowitz and Stegun, 7.1.26: error below
   1.5e-7), and its density. */
INLINE V normal(V x) {
    V z = choose(x < all(0.0f), -x, x) * all(0.70710678f);
    V t = all(1.0f) / (all(1.0f) + all(0.3275911f) * z);
    V p = all(1.061405429f);
    p = p * t + all(-1.453152027f);
    p = p * t + all(1.421413741f);
    p = p * t + all(-0.284496736f);
    p = p * t + all(0.254829592f);
    V tail = all(0.5f) * p * t * exponential(-z * z);
    return choose(x < all(0.0f), tail, all(1.0f) - tail);
}
INLINE V density(V x) { return all(0.39894228f) * exponential(all(-0.5f) * x * x); }

/* Each activation f and its derivative, from x and y = f(x). */
INLINE V relu(V x, float slope) { return choose(x < all(0.0f), all(0.0f), x); }
INLINE V relu_slope(V x, V y, float slope) { return choose(y > all(0.0f), all(1.0f), all(0.0f)); }
INLINE V leaky_relu(V x, float slope) { return choose(x > all(0.0f), x, x * all(slope)); }
INLINE V leaky_relu_slope(V x, V y, float slope) { return choose(x > all(0.0f), all(1.0f), all(slope)); }
INLINE V sigmoid_(V x, float slope) { return sigmoid(x); }
INLINE V sigmoid_slope(V x, V y, float slope) { return y * (all(1.0f) - y); }
INLINE V tanh_(V x, float slope) { return hyperbolic(x); }
INLINE V tanh_slope(V x, V y, float slope) { return all(1.0f) - y * y; }
INLINE V silu(V x, float slope) { return x * sigmoid(x); }
INLINE V silu_slope(V x, V y, float slope) {
    V s = sigmoid(x);
    return s * (all(1.0f) + x * (all(1.0f) - s));
}
INLINE V gelu(V x, float slope) { return x * normal(x); }
INLINE V gelu_slope(V x, V y, float slope) { return normal(x) + x * density(x); }
INLINE V gelu_tanh(V x, float slope) {
    V u = all(0.79788456f) * (x + all(0.044715f) * x * x * x);
    return all(0.5f) * x * (all(1.0f) + hyperbolic(u));
}
INLINE V gelu_tanh_slope(V x, V y, float slope) {
    V u = all(0.79788456f) * (x + all(0.044715f) * x * x * x);
    V t = hyperbolic(u), inner = all(0.79788456f) * (all(1.0f) + all(3 * 0.044715f) * x * x);
    return all(0.5f) * (all(1.0f) + t) + all(0.5f) * x * (all(1.0f) - t * t) * inner;
}

/* Numbers so small that they are denormal count as zero inside, whatever the caller has set, and the caller's setting
   is put back: arithmetic on them may be a hundred times slower. */
#if defined(__SSE__)
INLINE index_t flush_small(void) {
    unsigned int before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);
    return before;
}
INLINE void restore_small(index_t before) { __builtin_ia32_ldmxcsr((unsigned int)before); }
#elif defined(__aarch64__)
INLINE index_t flush_small(void) {
    index_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1LL << 24)));
    return before;
}
INLINE void restore_small(index_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
INLINE index_t flush_small(void) { return 0; }
INLINE void restore_small(index_t before) {}
#endif

/* Copy samples order[0 .. count - 1], each FEATURES floats, into nv vectors of rows; lanes from count on become zero. */
static void gather(const float *images, const index_t *order, int count, const int *places, float *x, int nv) {
    for (int lane = 0; lane < nv * LANES; lane += LANES) {
        const float *from[LANES];
        int here = count - lane < LANES ? count - lane : LANES;
        if (here <= 0) {
            for (int f = 0; f < FEATURES; f++) TO(x + places[f] + lane) = all(0.0f);
            continue;
        }
        for (int i = 0; i < LANES; i++) from[i] = images + order[lane + (i < here ? i : 0)] * FEATURES;
        W inside;
        for (int i = 0; i < LANES; i++) inside[i] = i < here ? -1 : 0;
        int f = 0;
        for (; f + LANES <= FEATURES; f += LANES) {
            V v[LANES];
            for (int i = 0; i < LANES; i++) v[i] = *(const N *)(from[i] + f);
            exchange(v);
            for (int i = 0; i < LANES; i++) TO(x + places[f + i] + lane) = (V)((W)v[i] & inside);
        }
        for (; f < FEATURES; f++) {
            V v;
            for (int i = 0; i < LANES; i++) v[i] = from[i][f];
            TO(x + places[f] + lane) = (V)((W)v & inside);
        }
    }
}

/* Softmax cross-entropy with label smoothing s over K classes: target t = (1 - s) [c = label] + s / K. Leaves the
   gradient of the mean over the whole batch, (softmax - t) / batch, and in totals the sum of each vector's losses. */
static void cross_entropy(const float *z, float *gradient, const int *labels, const index_t *order, int count,
                          float smoothing, float share, double *totals) {
    for (int lane = 0; lane < count; lane += LANES) {
        double total = 0.0;
        W label, inside;
        for (int i = 0; i < LANES; i++) {
            inside[i] = lane + i < count ? -1 : 0;
            label[i] = lane + i < count ? labels[order[lane + i]] : 0;
        }
        V top = AT(z + lane), sum = all(0.0f), named = all(0.0f), flat = all(0.0f);
        for (int c = 1; c < CLASSES; c++) top = largest(AT(z + c * ROW + lane), top);
        for (int c = 0; c < CLASSES; c++) {
            V below = AT(z + c * ROW + lane) - top, e = exponential(below);
            TO(gradient + c * ROW + lane) = e;
            sum += e;
            flat += below;
            named = choose(label == (W){} + c, below, named);
        }
        V loss = logarithm(sum) - all(1.0f - smoothing) * named - all(smoothing / CLASSES) * flat;
        V scale = all(1.0f) / sum;
        for (int c = 0; c < CLASSES; c++) {
            V wanted = choose(label == (W){} + c, all(1.0f - smoothing), all(0.0f)) + all(smoothing / CLASSES);
            V g = (AT(gradient + c * ROW + lane) * scale - wanted) * all(share);
            TO(gradient + c * ROW + lane) = (V)((W)g & inside);
        }
        for (int i = 0; i < LANES && lane + i < count; i++) total += loss[i];
        totals[lane / LANES] = total;
    }
}

/* Every thread waits here for the others: about a millisecond awake, then asleep, so that it takes no time from whatever
   keeps them from coming. (A virtual processor that sleeps is given to others, and comes back late: a few
   microseconds awake, then asleep, made two threads slower than one.) */
#define AWAKE 1000000
extern int usleep(unsigned int);
static void meet(int *barrier, int threads) {
    if (threads < 2) return;
    int round = __atomic_load_n(barrier + 16, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(barrier, 1, __ATOMIC_ACQ_REL) == threads) {
        __atomic_store_n(barrier, 0, __ATOMIC_RELAXED);
        __atomic_store_n(barrier + 16, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(barrier + 16, __ATOMIC_ACQUIRE) == round; spins++)
        if (spins > AWAKE) usleep(50);
}
