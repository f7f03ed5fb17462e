/* The generated functions forward and backward stand before this. */

INLINE float summed(const float *gradients, int i) {
    float sum = gradients[i];
    for (int part = 1; part < PARTS; part++) sum += gradients[part * PARAMETERS + i];
    return sum;
}

/* g += decay w; v = momentum v + g; w -= rate v, or rate (g + momentum v) with nesterov. */
static void update_sgd(float *restrict w, const float *restrict gradients, float *restrict velocity, int from, int to,
                       float rate, float decay, float momentum, int nesterov) {
    if (momentum == 0.0f)
        for (int i = from; i < to; i++) w[i] -= rate * (summed(gradients, i) + decay * w[i]);
    else
        for (int i = from; i < to; i++) {
            float g = summed(gradients, i) + decay * w[i];
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
        float g = summed(gradients, i);
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

/* Run `count` steps as thread `thread` of `threads`, all called with the same arguments. Each takes every threads-th
   part of a batch and a share of the weights; no sum depends on how many there are. `order` is (count, BATCH), `rates`
   (count, 3), `gradients` (PARTS, PARAMETERS), `arena` ARENA floats a thread, `part_losses` (PARTS). */
void striate_run(const float *images, const int *labels, const index_t *order, int count, const float *rates,
                 const float *settings, int adam, float smoothing, float *weights, float *gradients, float *one,
                 float *two, float *arena, double *part_losses, float *losses, int *barrier, int thread, int threads) {
    index_t before = flush_small();
    int low = (int)((index_t)PARAMETERS * thread / threads), high = (int)((index_t)PARAMETERS * (thread + 1) / threads);
    arena += (index_t)ARENA * thread;
    for (int step = 0; step < count; step++, order += BATCH, rates += 3) {
        for (int part = thread; part < PARTS; part += threads) {
            const index_t *rows = order + part_first[part];
            int samples = part_count[part];
            int nv = (samples + LANES - 1) / LANES;
            gather(images, rows, samples, places, arena);
            forward(arena, weights, nv);
            part_losses[part] = cross_entropy(arena + LOGITS, arena + LOGITS_GRADIENT, labels, rows, samples,
                                              smoothing, 1.0f / BATCH);
            backward(arena, weights, gradients + (index_t)part * PARAMETERS, nv);
        }
        meet(barrier, threads);
        if (thread == 0) {
            double total = 0.0;
            for (int part = 0; part < PARTS; part++) total += part_losses[part];
            losses[step] = (float)(total / BATCH);
        }
        int edge = low > WEIGHTS ? low : high < WEIGHTS ? high : WEIGHTS;
        update(weights, gradients, one, two, adam, rates, settings, low, edge, 1);
        update(weights, gradients, one, two, adam, rates, settings, edge, high, 0);
        meet(barrier, threads);
    }
    restore_small(before);
}
