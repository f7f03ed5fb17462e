"""Train ResNet-18 at 128 pixels, batch 16, from JPEG files: ours, the textbook loop and fastai in turn.

    benchmarks/setup_peers.sh fastai
    .venv/bin/python benchmarks/train_images.py --data ../shared/data/sign-digits --epochs 5 --seeds 3

The data is a folder of class folders; a fifth of it is held out, the same for all. Everybody trains for as many epochs,
mirrors at random, and follows one cycle of SGD with the same rate, momentum and weight decay. A rate is images seen in
training by the wall time of the whole command: start, preparation, the first epoch and measuring included. That the
network is the same is proved before: torchvision's weights, copied into ours, give the same answers.

- striate: `striate train DATA --arch resnet18 --size 128 --batch 16 --epochs E --rate R --seed S`;
- striate, growing: the same with `small_until = 0.5`: the first half of the steps sees images of half the side;
- textbook: peers/textbook_images.py, DataLoader with two workers, float32;
- fastai: peers/fastai_images.py in its own environment.

Results are kept under benchmarks/results as they come, and an interrupted run goes on with what is missing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from parts.side_by_side import DATA, HERE, Kept, header, peer, peer_version, table, timed

SIZE, BATCH, RATE = 128, 16, 0.05
GROWING = 0.5
CONTESTANTS = ("striate", "striate, growing", "textbook", "fastai")
IMAGES_A_SECOND = 25
"""About how many images a second two cores train on; for the estimate alone."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "sign-digits")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"{arguments.data}: does not exist; name a folder of class folders with --data", file=sys.stderr)
        return 2
    kept = Kept.of("train_images", {"epochs": arguments.epochs, "data": arguments.data.resolve()})
    split, count = divided(arguments.data, kept.folder / "data")
    hours = arguments.seeds * 3.4 * count * arguments.epochs / IMAGES_A_SECOND / 3600
    print(header(hours, peer_version("fastai", "fastai")))
    classes = len(list((split / "train").iterdir()))
    print(f"largest difference of the answers with copied weights: {difference(classes):.1e}")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for seed in range(arguments.seeds):
        for name in CONTESTANTS:
            label = f"{name.replace(', ', '-')}-{seed}"
            found = kept.result(
                label, lambda work, name=name, seed=seed: result(name, split, count, arguments.epochs, seed, work)
            )
            rows[name].append(found)
    figures = {"images_per_second": "images/s", "accuracy": "accuracy", "seconds": "seconds"}
    for one in CONTESTANTS[:2]:
        for other in CONTESTANTS[2:]:
            print(table({one: rows[one], other: rows[other]}, figures))
    return 0


def divided(data: Path, out: Path) -> tuple[Path, int]:
    """Links to every image under ``train`` or, every fifth of a class, under ``val``; and how many train."""
    count = 0
    for folder in sorted(one for one in data.iterdir() if one.is_dir()):
        for number, image in enumerate(sorted(folder.iterdir())):
            split = "val" if number % 5 == 4 else "train"
            place = out / split / folder.name / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(image.resolve())
            count += split == "train"
    return out, count


def difference(classes: int) -> float:
    """The largest difference between the answers of our resnet18 and torchvision's with the same weights."""
    from torchvision.models import resnet18

    from striate.architectures.backbone import architecture

    torch.manual_seed(0)
    theirs = resnet18(weights=None, num_classes=classes).eval()
    ours = architecture("resnet18").network(classes).build((3, SIZE, SIZE)).eval()
    state, names = theirs.state_dict(), list(ours.state_dict())
    if [tuple(one.shape) for one in state.values()] != [tuple(one.shape) for one in ours.state_dict().values()]:
        raise ValueError("the networks differ")
    ours.load_state_dict(dict(zip(names, state.values(), strict=True)))
    images = torch.randn(4, 3, SIZE, SIZE)
    with torch.inference_mode():
        return float((ours(images) - theirs(images)).abs().max())


def result(name: str, split: Path, count: int, epochs: int, seed: int, work: Path) -> dict[str, Any]:
    """Train one contestant; images a second and accuracy."""
    common: Sequence[object] = ("--epochs", epochs, "--seed", seed, "--size", SIZE, "--batch", BATCH, "--rate", RATE)
    if name.startswith("striate"):
        run = work / "run"
        settings = work / "settings.toml"
        settings.write_text(
            "[training]\naugment = { flip = [-1] }\n"
            'optimiser = { kind = "sgd", momentum = 0.9, nesterov = true, weight_decay = 5e-4 }\n'
            + (f"small_until = {GROWING}\n" if "growing" in name else "")
        )
        command = [sys.executable, "-m", "striate", "train", split, "--out", run, "--arch", "resnet18"]
        seconds = timed([*command, "--settings", settings, *common], work / "log", STRIATE_CACHE=str(work / "cache"))
        measured = work / "evaluate.json"
        timed([sys.executable, "-m", "striate", "evaluate", run, split, "--split", "val", "--json"], measured,
              STRIATE_CACHE=str(work / "cache"))  # fmt: skip
        text = measured.read_text()
        accuracy = json.loads(text[text.index("{") : text.rindex("}") + 1])["top1"]
    else:
        python = sys.executable if name == "textbook" else peer("fastai") / "python"
        seconds = timed([python, HERE / "peers" / f"{name}_images.py", split, *common], work / "log")
        accuracy = float((work / "log").read_text().rpartition("accuracy ")[2])
    return {"images_per_second": count * epochs / seconds, "accuracy": accuracy, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
