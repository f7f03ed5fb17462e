"""Train on BCCD with the default settings, and Ultralytics' yolo11n in turn for the same wall time.

    benchmarks/setup_peers.sh ultralytics
    .venv/bin/python benchmarks/detection.py --data ../shared/data/bccd --minutes 6 --seeds 3

Both learn the training split at 320 pixels from scratch and predict the validation split; pycocotools scores the saved
boxes, in pixels of the photos, with the annotation that `striate convert --to coco` wrote (the same boxes are given to
the peer by `--to yolo`). The peer is AGPL-3.0: it is run as an unmodified outside program in its own environment.

- ours: `striate train DATA --size 320 --minutes M --seed S`, then `striate predict --form coco --score 0.001`; all else
  is default.
- peer: `yolo detect train model=yolo11n.yaml pretrained=False imgsz=320 batch=16 time=H`, where H is the wall time that
  our training command took, all of it counted; it computes with as many threads as it chooses. Then `yolo detect
  predict conf=0.001` with its best weights (chosen by it on the split that is scored; ours are the last step's).

Results are kept under benchmarks/results as they come, and an interrupted run goes on with what is missing.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from parts.side_by_side import DATA, Kept, header, peer, peer_version, table, timed

SIZE, LEAST, MOST = 320, 0.001, 300
FIGURES = ("map", "map50", "map75", "map_small", "map_medium", "map_large")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "bccd")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ours-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"{arguments.data}: does not exist; name the folder of BCCD with --data", file=sys.stderr)
        return 2
    hours = arguments.seeds * (1 if arguments.ours_only else 2) * (arguments.minutes + 0.7) / 60
    print(header(hours, peer_version("ultralytics", "ultralytics")))
    kept = Kept.of("detection", {"minutes": arguments.minutes, "data": arguments.data.resolve()})
    for form in ("coco", "yolo"):
        if not (kept.folder / form).exists():
            striate = [sys.executable, "-m", "striate"]
            timed([*striate, "convert", arguments.data, kept.folder / form, "--to", form], kept.folder / "convert.log")
    ours, theirs = [], []
    for seed in range(arguments.seeds):
        ours.append(kept.result(f"ours-{seed}", lambda work, seed=seed: our_result(arguments, seed, work)))
        if not arguments.ours_only:
            seconds = ours[-1]["seconds"]
            theirs.append(
                kept.result(f"ultralytics-{seed}", lambda work, seed=seed, s=seconds: their_result(seed, s, work))
            )
    if theirs:
        titles = {"map": "mAP .50 to .95", "map50": "mAP .50", "seconds": "seconds of training"}
        print(table({"striate": ours, "ultralytics yolo11n": theirs}, titles))
    return 0


def our_result(arguments: argparse.Namespace, seed: int, work: Path) -> dict[str, Any]:
    """Train and predict with Striate, as a user types it."""
    striate = [sys.executable, "-m", "striate"]
    run, answers, cache = work / "run", work / "answers.json", {"STRIATE_CACHE": str(work / "cache")}
    train = ["train", arguments.data, "--out", run, "--size", SIZE, "--minutes", arguments.minutes, "--seed", seed]
    seconds = timed([*striate, *train], work / "train.log", **cache)
    truth = work.parent / "coco" / "annotations" / "instances_val.json"
    images = work.parent / "coco" / "val"
    predict = ["predict", run, images, "--form", "coco", "--score", LEAST, "--ids-of", truth, "--out", answers]
    timed([*striate, *predict], work / "predict.log", **cache)
    return {**scored(json.loads(answers.read_text()), truth), "seconds": seconds}


def their_result(seed: int, seconds: float, work: Path) -> dict[str, Any]:
    """Train and predict with the peer, for so many seconds."""
    yolo, coco = peer("ultralytics") / "yolo", work.parent / "coco"
    quiet = {"YOLO_CONFIG_DIR": str(work), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    timed([yolo, "settings", "sync=False"], work / "settings.log", **quiet)
    place = [f"project={work}", "exist_ok=True", "device=cpu", f"imgsz={SIZE}"]
    train = ["detect", "train", "model=yolo11n.yaml", "pretrained=False", "data=data.yaml", "batch=16"]
    # its threads by its own choice; a time in hours takes the place of a number of epochs
    took = timed(
        [yolo, *train, *place, "name=run", f"time={seconds / 3600:.5f}", f"seed={seed}", "plots=False", "workers=2"],
        work / "train.log", work.parent / "yolo", **quiet,
    )  # fmt: skip
    best = work / "run" / "weights" / "best.pt"
    predict = ["detect", "predict", f"model={best}", f"source={coco / 'val'}", f"conf={LEAST}", f"max_det={MOST}"]
    wanted = ["save_txt=True", "save_conf=True", "save=False", "name=answers"]
    timed([yolo, *predict, *place, *wanted], work / "predict.log", **quiet)
    truth = coco / "annotations" / "instances_val.json"
    return {**scored(from_text(work / "answers" / "labels", truth), truth), "seconds": took}


def from_text(labels: Path, truth: Path) -> list[dict[str, Any]]:
    """COCO results from lines of class, middle, size (as shares of the photo) and score, one file a photo."""
    known = json.loads(truth.read_text())
    numbers = [category["id"] for category in known["categories"]]
    results = []
    for image in known["images"]:
        file = labels / f"{Path(image['file_name']).stem}.txt"
        width, height = image["width"], image["height"]
        for line in file.read_text().splitlines() if file.exists() else []:
            kind, x, y, w, h, score = map(float, line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            results.append({"image_id": image["id"], "category_id": numbers[int(kind)], "bbox": box, "score": score})
    return results


def scored(results: list[dict[str, Any]], truth: Path) -> dict[str, Any]:
    """The first six figures of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        annotation = COCO(str(truth))
        evaluation = COCOeval(annotation, annotation.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, map(float, evaluation.stats), strict=False))


if __name__ == "__main__":
    sys.exit(main())
