"""Made-up detections and boxes with every difficulty, and the overlap of two boxes as it is defined."""

import numpy as np


def scene(seed, images=12, classes=4, axes=2, side=200.0, most=8, extra=1.5, steps=None, whole=False, crowds=0.15):
    """Boxes, and detections that are near them, duplicated, of the wrong class, or out of nowhere.

    ``steps`` is the number of different scores (many ties), ``whole`` rounds coordinates (overlaps that are equal, or
    exactly at a threshold).
    """
    r = np.random.default_rng(seed)
    found, truth = ([], [], []), ([], [], [], [])
    for _ in range(images):
        count = int(r.integers(0, most + 1)) if r.uniform() > 0.15 else 0
        low, size = r.uniform(0, side, (count, axes)), np.exp(r.uniform(1, np.log(side), (count, axes)))
        kinds = r.integers(0, classes, count)
        near = r.integers(0, max(count, 1), r.poisson(extra * count)) if count else np.zeros(0, int)
        noise = r.uniform(0, 0.35)
        low_d = low[near] + r.normal(0, noise, (len(near), axes)) * size[near]
        size_d = size[near] * np.exp(r.normal(0, noise, (len(near), axes)))
        kinds_d = np.where(r.uniform(size=len(near)) < 0.85, kinds[near], r.integers(0, classes, len(near)))
        stray = int(r.poisson(2))
        low_d = np.concatenate((low_d, r.uniform(0, side, (stray, axes))))
        size_d = np.concatenate((size_d, r.uniform(4, side, (stray, axes))))
        kinds_d = np.concatenate((kinds_d, r.integers(0, classes, stray)))
        if whole:
            low, size, low_d, size_d = (np.maximum(np.round(one / 8), 1) * 8 for one in (low, size, low_d, size_d))
        scores = r.uniform(size=len(kinds_d))
        scores = scores if steps is None else np.ceil(scores * steps) / steps
        for part, value in zip(found, (np.hstack((low_d, low_d + size_d)), kinds_d, scores), strict=True):
            part.append(value)
        areas = size.prod(axis=1) * r.uniform(0.4, 1, count)
        ignored = r.uniform(size=count) < crowds
        for part, value in zip(truth, (np.hstack((low, low + size)), kinds, ignored, areas), strict=True):
            part.append(value)
    return found, truth


def slow_overlap(box, other, crowd):
    half = len(box) // 2
    sides = np.minimum(box[half:], other[half:]) - np.maximum(box[:half], other[:half])
    shared = float(np.prod(sides)) if (sides > 0).all() else 0.0
    own, theirs = float(np.prod(box[half:] - box[:half])), float(np.prod(other[half:] - other[:half]))
    return shared / (own if crowd else own + theirs - shared)
