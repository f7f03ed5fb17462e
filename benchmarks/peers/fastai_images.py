"""fastai's Learner on class folders of images, with torchvision's resnet18; run by benchmarks/train_images.py.

As its users do it: ImageDataLoaders.from_folder, items resized to the working size, mirrored at random, fit_one_cycle
with SGD of the same rate, momentum and decay as the other contestants have. Prints accuracy.
"""

import argparse
from pathlib import Path

from fastai.vision.all import (  # which also gives Learner its fit_one_cycle and no_bar
    SGD,
    FlipItem,
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    imagenet_stats,
    set_seed,
)
from torch import nn
from torchvision.models import resnet18


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    set_seed(arguments.seed, reproducible=True)
    loaders = ImageDataLoaders.from_folder(
        arguments.data,
        train="train",
        valid="val",
        item_tfms=[Resize(arguments.size, method=ResizeMethod.Squish), FlipItem(0.5)],
        batch_tfms=[Normalize.from_stats(*imagenet_stats)],
        bs=arguments.batch,
        num_workers=2,
    )
    model = resnet18(weights=None, num_classes=len(loaders.vocab))
    learner = Learner(
        loaders, model, loss_func=nn.CrossEntropyLoss(), opt_func=SGD, metrics=accuracy, wd=5e-4, moms=(0.9, 0.9, 0.9)
    )
    with learner.no_bar():
        learner.fit_one_cycle(arguments.epochs, arguments.rate, pct_start=0.2)
    print(f"accuracy {float(learner.recorder.values[-1][-1])}")


if __name__ == "__main__":
    main()
