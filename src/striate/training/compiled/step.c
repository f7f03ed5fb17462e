/* The generated functions forward and backward stand before this. */

INLINE float summed(const float *gradients, int i) {
    float sum = gradients[i];
    for (int part = 1; part < PARTS; part++) sum += gradients[part * PARAMETERS + i];
    return sum;
}

/* The updates of weights [from, to), whose gradients begin at `gradients`.
   g += decay w; v = momentum v + g; w -= rate v, or rate (g + momentum v) with nesterov. */
static void update_sgd(float *restrict w, const float *restrict gradients, float *restrict velocity, int from, int to,
                       float rate, float decay, float momentum, int nesterov) {
    if (momentum == 0.0f)
        for (int i = from; i < to; i++) w[i] -= rate * (summed(gradients, i - from) + decay * w[i]);
    else
        for (int i = from; i < to; i++) {
            float g = summed(gradients, i - from) + decay * w[i];
            float v = momentum * velocity[i] + g;
            velocity[i] = v;
            w[i] -= rate * (nesterov ? g + momentum * v : v);
        }
}

/* w *= keep; m, v: averages of g and g^2; w -= size m / (sqrt(v) root + eps), where keep = 1 - rate decay,
   size = rate / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t). */
static void update_adamw(float *restrict w, const float *restrict gradients, float *restrict m, float *restrict v,
                         int from, int to, float keep, float size, float root, float beta1, float beta2, float eps) {
    for (int i = from; i < to; i++) {
        float g = summed(gradients, i - from);
        m[i] = m[i] + (1.0f - beta1) * (g - m[i]);
        v[i] = beta2 * v[i] + (1.0f - beta2) * g * g;
        w[i] = w[i] * keep - size * m[i] / (__builtin_sqrtf(v[i]) * root + eps);
    }
}

static void update(float *weights, const float *gradients, float *one, float *two, int adam, const float *rates,
                   const float *settings, int from, int to, int decayed) {
    if (from >= to) return;
    if (adam)
        update_adamw(weights, gradients, one, two, from, to, decayed ? rates[0] : 1.0f, rates[1], rates[2], settings[0],
                     settings[1], settings[2]);
    else
        update_sgd(weights, gradients, one, from, to, rates[0], decayed ? settings[0] : 0.0f, settings[1],
                   settings[2] != 0.0f);
}

/* Forward, loss and backward of samples order[0 .. count - 1], which take the rows' lanes from `from` on. */
static void samples(const float *images, const int *labels, const index_t *order, int count, float smoothing,
                    const float *weights, float *arena, int from, double *totals) {
    int nv = (count + LANES - 1) / LANES;
    float *here = arena + from;
    gather(images, order, count, places, here, nv);
    forward(here, weights, nv);
    cross_entropy(here + LOGITS, here + LOGITS_GRADIENT, labels, order, count, smoothing, 1.0f / BATCH, totals);
    backward(arena, weights, from, nv);
}

#define UPDATE(gradients, low, high, decayed) \
    update(weights, gradients, one, two, adam, rates, settings, low, high, decayed)

/* Run `count` steps as thread `thread` of `threads`, all called with the same arguments; no sum depends on how many
   there are. Of a batch in parts each takes every threads-th part, then a share of the weights; of a whole batch a
   share of the samples, then one block of weights after the other, learnt and at once updated, so that gradients take
   little room and stay near. `order` is (count, BATCH), `rates` (count, 3), `gradients` PARAMETERS floats a part or a
   thread, whichever are more, `arena` ARENA floats, of a batch in parts for each thread, `totals` (PARTS, VECTORS). */
void striate_run(const float *images, const int *labels, const index_t *order, int count, const float *rates,
                 const float *settings, int adam, float smoothing, float *weights, float *gradients, float *one,
                 float *two, float *arena, double *totals, float *losses, int *barrier, int thread, int threads) {
    index_t before = flush_small();
    for (int step = 0; step < count; step++, order += BATCH, rates += 3) {
#if PARTS > 1
        float *mine = arena + (index_t)ARENA * thread;
        for (int part = thread; part < PARTS; part += threads) {
            samples(images, labels, order + part_first[part], part_count[part], smoothing, weights, mine, 0,
                    totals + part * VECTORS);
            float *learnt = gradients + (index_t)part * PARAMETERS;
            for (int block = 0; block < BLOCKS; block++)
                learn(mine, learnt + block_begins[2 * block], learnt + block_begins[2 * block + 1],
                      (part_count[part] + LANES - 1) / LANES, block);
        }
        meet(barrier, threads);
        int low = (int)((index_t)PARAMETERS * thread / threads);
        int high = (int)((index_t)PARAMETERS * (thread + 1) / threads);
        int edge = low > WEIGHTS ? low : high < WEIGHTS ? high : WEIGHTS;
        UPDATE(gradients + low, low, edge, 1);
        UPDATE(gradients + edge, edge, high, 0);
#else
        int from = VECTORS * thread / threads * LANES, to = VECTORS * (thread + 1) / threads * LANES;
        samples(images, labels, order + from, (to < BATCH ? to : BATCH) - from, smoothing, weights, arena, from,
                totals + from / LANES);
        if (thread == 0) __atomic_store_n(barrier + 8, 0, __ATOMIC_RELAXED);
        meet(barrier, threads);
        for (int block; (block = __atomic_fetch_add(barrier + 8, 1, __ATOMIC_RELAXED)) < BLOCKS;) {
            int low = block_begins[2 * block], high = block_ends[2 * block];
            float *dw = gradients + (index_t)PARAMETERS * thread, *db = dw + high - low;
            learn(arena, dw, db, VECTORS, block);
            UPDATE(dw, low, high, 1);
            UPDATE(db, block_begins[2 * block + 1], block_ends[2 * block + 1], 0);
        }
#endif
        if (thread == 0) {
            double total = 0.0;
            for (int part = 0; part < PARTS; part++)
                for (int v = 0; v < (part_count[part] + LANES - 1) / LANES; v++) total += totals[part * VECTORS + v];
            losses[step] = (float)(total / BATCH);
        }
        meet(barrier, threads);
    }
    restore_small(before);
}
