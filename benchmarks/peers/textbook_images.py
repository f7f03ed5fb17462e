"""The textbook loop on class folders of images: torchvision's resnet18, DataLoader with two workers, float32.

Run by benchmarks/train_images.py in Striate's own environment (torch and torchvision alone). Prints accuracy.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
    torch.manual_seed(arguments.seed)
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, DEVIATION)]
    size = (arguments.size, arguments.size)
    train = ImageFolder(arguments.data / "train", v2.Compose([v2.Resize(size), v2.RandomHorizontalFlip(), *last]))
    held = ImageFolder(arguments.data / "val", v2.Compose([v2.Resize(size), *last]))
    model = resnet18(weights=None, num_classes=len(train.classes))
    loader = DataLoader(train, arguments.batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=arguments.rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, arguments.rate, total_steps=arguments.epochs * len(loader), pct_start=0.2, anneal_strategy="linear"
    )
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for _ in range(arguments.epochs):
        for images, labels in loader:
            optimiser.zero_grad()
            loss_of(model(images), labels).backward()
            optimiser.step()
            schedule.step()
    model.eval()
    right = 0
    with torch.inference_mode():
        for images, labels in DataLoader(held, 64, num_workers=2):
            right += int((model(images).argmax(1) == labels).sum())
    print(f"accuracy {right / len(held)}")


if __name__ == "__main__":
    main()
