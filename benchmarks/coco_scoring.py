"""Score synthetic detections of the size of COCO's validation set, here and with pycocotools in turn; print the ratio.

    .venv/bin/python benchmarks/coco_scoring.py --rounds 3

223,000 detections over 5,000 images and 80 classes (as frequent as in COCO: the first class has a third of all boxes).
Both sides run in this one process on one thread, in turn, and must agree in all twelve figures to 1e-6. Measured is,
for pycocotools, evaluate + accumulate + summarize on annotations and results already loaded and indexed; for Striate,
everything from one array an image to the figures. Processor time and wall time are both taken, the ratio is that of
processor time: the machine may be shared.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import contextlib
import importlib.metadata
import io
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import striate
from striate.ops.average_precision import coco_figures

CLASSES = 80
Arrays = list[np.ndarray[Any, Any]]


def scenes(images: int, detections: int, seed: int = 0) -> tuple[tuple[Arrays, ...], tuple[Arrays, ...]]:
    """Detections (bounds, classes, scores) and truth (bounds, classes, ignored, areas), one array an image each."""
    r = np.random.default_rng(seed)
    count = round(7.36 * images)
    frequency = 1 / (np.arange(CLASSES) + 6.0)
    frequency[0] = frequency[1:].sum() / 2
    kinds = r.choice(CLASSES, count, p=frequency / frequency.sum())
    # images are crowded unevenly, and a class keeps company with itself, as people do
    weight = r.gamma(1.2, size=images)
    where = np.sort(r.choice(images, count, p=weight / weight.sum()))
    alike = r.uniform(size=count) < 0.5
    kinds[1:] = np.where(alike[1:] & (where[1:] == where[:-1]), kinds[:-1], kinds[1:])
    size = np.exp(r.normal(4.0, 1.0, (count, 2))).clip(4, 600)
    low = r.uniform(0, 1, (count, 2)) * (640 - size).clip(1)
    near = r.choice(count, round(0.75 * detections))
    noise = r.choice([0.03, 0.1, 0.3], len(near))[:, None]
    low_d = low[near] + r.normal(size=(len(near), 2)) * noise * size[near]
    size_d = size[near] * np.exp(r.normal(size=(len(near), 2)) * noise)
    kinds_d = np.where(r.uniform(size=len(near)) < 0.8, kinds[near], r.choice(CLASSES, len(near)))
    stray = detections - len(near)
    where_d = np.concatenate((where[near], r.integers(0, images, stray)))
    low_d = np.concatenate((low_d, r.uniform(0, 500, (stray, 2))))
    size_d = np.concatenate((size_d, np.exp(r.normal(4, 1, (stray, 2))).clip(4, 600)))
    kinds_d = np.concatenate((kinds_d, r.choice(CLASSES, stray)))
    scores = np.round(r.beta(0.6, 2.5, detections) * np.concatenate((1.2 - noise[:, 0], np.full(stray, 0.5))), 3)
    order = np.argsort(where_d, kind="stable")
    found = np.hstack((low_d, low_d + size_d))[order], kinds_d[order], scores[order].clip(0, 1)
    truth = np.hstack((low, low + size)), kinds, r.uniform(size=count) < 0.012, size.prod(axis=1) * 0.7

    def split(values: Any, places: Any) -> Arrays:
        return list(np.split(values, np.searchsorted(places, np.arange(1, images))))

    return tuple(split(one, where_d[order]) for one in found), tuple(split(one, where) for one in truth)


def loaded(found: tuple[Arrays, ...], truth: tuple[Arrays, ...]) -> tuple[Any, Any]:
    """The same as pycocotools holds it: truth and results, indexed."""

    def corner_and_size(box: Any) -> list[float]:
        y0, x0, y1, x1 = box.tolist()
        return [x0, y0, x1 - x0, y1 - y0]

    annotations: list[dict[str, Any]] = []
    for image, (bounds, kinds, ignored, areas) in enumerate(zip(*truth, strict=True)):
        for box, kind, mark, area in zip(bounds, kinds, ignored, areas, strict=True):
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": int(kind),
                "bbox": corner_and_size(box), "area": float(area), "iscrowd": int(mark),
            })  # fmt: skip
    results = [
        {"image_id": image, "category_id": int(kind), "bbox": corner_and_size(box), "score": float(score)}
        for image, (bounds, kinds, scores) in enumerate(zip(*found, strict=True))
        for box, kind, score in zip(bounds, kinds, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCO()
        judge.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth[0]))],
            "categories": [{"id": number} for number in range(CLASSES)],
            "annotations": annotations,
        }
        judge.createIndex()
        return judge, judge.loadRes(results)


def by_pycocotools(judge: Any, answers: Any) -> list[float]:
    """The twelve figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(judge, answers, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Processor seconds, wall seconds, result."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.process_time() - processor, time.perf_counter() - wall, result


def line(name: str, values: list[float], unit: str) -> str:
    """Minimum, median and maximum of several measurements."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name:<28} {low:8.2f} {middle:8.2f} {high:8.2f} {unit}"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=223_000)
    arguments = parser.parse_args()
    trial = max(arguments.images // 20, 1)
    made = scenes(trial, arguments.detections * trial // arguments.images)
    both = loaded(*made)
    once = timed(lambda: by_pycocotools(*both))[1] + timed(lambda: coco_figures(*made[0], *made[1], count=CLASSES))[1]
    minutes = (arguments.rounds * once * arguments.images / trial + 15) / 60
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pycocotools", "numpy"))
    print(f"estimated: {minutes / 60:.3f} hours ({minutes:.1f} minutes)")
    print(
        f"{os.cpu_count()} processors, one used; {platform.machine()}; striate {striate.__version__}, {versions}, "
        f"Python {platform.python_version()}",
        flush=True,
    )
    found, truth = scenes(arguments.images, arguments.detections)
    judge, answers = loaded(found, truth)
    boxes, total = sum(map(len, truth[1])), sum(map(len, found[2]))
    print(f"{total:,} detections, {boxes:,} boxes, {arguments.images:,} images, {CLASSES} classes")
    ours: list[float] = []
    theirs: list[float] = []
    walls: tuple[list[float], list[float]] = [], []
    worst = 0.0
    for number in range(arguments.rounds):
        busy, wall, figures = timed(lambda: coco_figures(*found, *truth, count=CLASSES))
        ours.append(busy)
        walls[0].append(wall)
        busy, wall, expected = timed(lambda: by_pycocotools(judge, answers))
        theirs.append(busy)
        walls[1].append(wall)
        worst = max(worst, float(np.abs(np.array(list(figures.values())) - expected).max()))
        print(
            f"round {number + 1}: striate {ours[-1]:.2f} s, pycocotools {theirs[-1]:.2f} s, "
            f"ratio {theirs[-1] / ours[-1]:.1f}",
            flush=True,
        )
    print(f"{'':<28} {'minimum':>8} {'median':>8} {'maximum':>8}")
    print(line("striate, processor", ours, "s"))
    print(line("pycocotools, processor", theirs, "s"))
    print(line("striate, wall", walls[0], "s"))
    print(line("pycocotools, wall", walls[1], "s"))
    print(line("ratio (processor)", [b / a for a, b in zip(ours, theirs, strict=True)], "times as fast"))
    print(f"AP {figures['map']:.4f}, AP50 {figures['map50']:.4f}; largest difference of a figure: {worst:.1e}")
    return 0 if worst < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
