"""Train on CamVid with the default settings, and segmentation_models.pytorch in turn for the same wall time.

    benchmarks/setup_peers.sh smp
    .venv/bin/python benchmarks/segmentation.py --data ../shared/data/camvid --minutes 2.25 --seeds 3

Both learn the training split at 240 x 180 from scratch and predict the validation split as PNG files of class numbers
at the photos' own 480 x 360, which :func:`mean_iou` here, and nothing of either, compares with the annotation: sums
over all pixels of the split, void (11) left out, the mean over the 11 classes.

- ours: `striate train DATA --size 240 --minutes M --seed S`, then `striate predict`; all else is default.
- peer (peers/smp_train.py, in its own environment): `Unet("resnet18", encoder_weights=None, classes=11)`, multiclass
  Dice, Adam 2e-4 with a cosine to 0, batch 8, mirrored at random, for as many seconds as our training command took,
  all of it counted (start, preparation, report); its logits are enlarged before the class is chosen.

Results are kept under benchmarks/results as they come, and an interrupted run goes on with what is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parts.side_by_side import DATA, HERE, Kept, header, peer, peer_version, table, timed

CLASSES, VOID = 11, 11
WIDTH, HEIGHT = 240, 180


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "camvid")
    parser.add_argument("--minutes", type=float, default=2.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"{arguments.data}: does not exist; name the folder of CamVid with --data", file=sys.stderr)
        return 2
    hours = arguments.seeds * (1 if arguments.ours_only else 2) * (arguments.minutes + 0.4) / 60
    print(header(hours, peer_version("smp", "segmentation_models_pytorch")))
    kept = Kept.of("segmentation", {"minutes": arguments.minutes, "data": arguments.data.resolve()})
    ours, theirs = [], []
    for seed in range(arguments.seeds):
        ours.append(kept.result(f"ours-{seed}", lambda work, seed=seed: our_result(arguments, seed, work)))
        if not arguments.ours_only:
            seconds = ours[-1]["seconds"]
            theirs.append(
                kept.result(f"smp-{seed}", lambda work, seed=seed, s=seconds: their_result(arguments, seed, s, work))
            )
    if theirs:
        figures = {"mean_iou": "mean IoU", "accuracy": "pixel accuracy", "seconds": "seconds of training"}
        print(table({"striate": ours, "smp Unet resnet18": theirs}, figures))
        for name, results in (("striate", ours), ("smp", theirs)):
            each = np.median([one["iou"] for one in results], axis=0)
            print(f"IoU by class, {name}: {' '.join(f'{value:.3f}' for value in each)}")
    return 0


def our_result(arguments: argparse.Namespace, seed: int, work: Path) -> dict[str, Any]:
    """Train and predict with Striate, as a user types it."""
    striate = [sys.executable, "-m", "striate"]
    run, answers = work / "run", work / "answers"
    cache = {"STRIATE_CACHE": str(work / "cache")}
    train = ["train", arguments.data, "--out", run, "--size", WIDTH, "--minutes", arguments.minutes, "--seed", seed]
    seconds = timed([*striate, *train], work / "train.log", **cache)
    timed([*striate, "predict", run, arguments.data / "val", "--out", answers], work / "predict.log", **cache)
    return {**scored(answers / "masks", arguments.data), "seconds": seconds}


def their_result(arguments: argparse.Namespace, seed: int, seconds: float, work: Path) -> dict[str, Any]:
    """Train and predict with the peer, for so many seconds."""
    answers = work / "answers"
    command = [peer("smp") / "python", HERE / "peers" / "smp_train.py", arguments.data, answers]
    took = timed([*command, "--seconds", seconds, "--seed", seed], work / "train.log")
    spent = float((answers / "seconds").read_text())
    return {**scored(answers, arguments.data), "seconds": spent, "with_prediction": took}


def scored(answers: Path, data: Path) -> dict[str, Any]:
    """Figures of a folder of PNG files of class numbers, named as the photos of the validation split are."""
    pairs = []
    for truth in sorted((data / "valannot").glob("*.png")):
        pairs.append((np.asarray(Image.open(truth)), np.asarray(Image.open(answers / truth.name))))
    return mean_iou(pairs)


def mean_iou(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, Any]:
    """Intersection over union of each class, its mean, and the share of pixels that are right, over all pairs of truth
    and answer (H, W), where the truth is not void."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for truth, answer in pairs:
        if truth.shape != answer.shape:
            raise ValueError(f"an answer of {answer.shape} for a truth of {truth.shape}")
        there = truth < CLASSES
        both = CLASSES * truth[there].astype(np.int64) + answer[there]
        counts += np.bincount(both, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    right = np.diagonal(counts)
    iou = right / (counts.sum(0) + counts.sum(1) - right)
    return {"mean_iou": float(iou.mean()), "accuracy": float(right.sum() / counts.sum()), "iou": iou.tolist()}


if __name__ == "__main__":
    sys.exit(main())
