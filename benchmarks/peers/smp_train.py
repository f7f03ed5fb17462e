"""Train segmentation_models.pytorch's Unet on CamVid for so many seconds; run by benchmarks/segmentation.py.

As its users do it: a Dataset and DataLoader with two workers, photos resized to 240 x 180 and padded to 256 x 192 (the
network needs multiples of 32), mirrored at random, batch 8, multiclass Dice without the void, Adam 2e-4 whose rate
follows a cosine to 0 over the time.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

WIDTH, HEIGHT, VOID = 240, 180, 11
PADDED_WIDTH, PADDED_HEIGHT = 256, 192
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Photos(Dataset):
    """Photos and their annotation at the working size."""

    def __init__(self, data: Path, split: str, mirror: bool) -> None:
        self.photos = sorted((data / split).glob("*.png")) or sorted((data / split).glob("*.jpg"))
        self.annotation = data / f"{split}annot"
        self.mirror = mirror

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        photo = self.photos[position]
        image = Image.open(photo).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        mask = Image.open(self.annotation / f"{photo.stem}.png").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        pixels, numbers = (pixels - MEAN) / DEVIATION, torch.from_numpy(np.array(mask)).long()
        if self.mirror and torch.rand(()) < 0.5:
            pixels, numbers = pixels.flip(-1), numbers.flip(-1)
        margin = (0, PADDED_WIDTH - WIDTH, 0, PADDED_HEIGHT - HEIGHT)
        return F.pad(pixels, margin), F.pad(numbers, margin, value=VOID)


def main() -> None:
    """Train and write the answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    torch.manual_seed(arguments.seed)
    model = smp.Unet("resnet18", encoder_weights=None, classes=11)
    loss_of = smp.losses.DiceLoss("multiclass", ignore_index=VOID)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-4)
    loader = DataLoader(
        Photos(arguments.data, "train", True), 8, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    model.train()
    epochs, steps = 0, 0
    while time.monotonic() - started < arguments.seconds:
        for images, masks in loader:
            spent = (time.monotonic() - started) / arguments.seconds
            if spent >= 1:
                break
            optimiser.param_groups[0]["lr"] = 2e-4 * 0.5 * (1 + math.cos(math.pi * spent))
            optimiser.zero_grad()
            loss_of(model(images), masks).backward()
            optimiser.step()
            steps += 1
        epochs += 1
    spent = time.monotonic() - started
    print(f"{steps} steps, {steps * 8 / len(loader.dataset):.2f} epochs, {spent:.1f} s")
    model.eval()
    arguments.out.mkdir(exist_ok=True)
    (arguments.out / "seconds").write_text(str(spent))
    photos = Photos(arguments.data, "val", False)
    with torch.inference_mode():
        for position, path in enumerate(photos.photos):
            logits = model(photos[position][0][None])[..., :HEIGHT, :WIDTH]
            size = Image.open(path).size
            whole = F.interpolate(logits, (size[1], size[0]), mode="bilinear", align_corners=False)
            Image.fromarray(whole.argmax(1)[0].numpy().astype(np.uint8)).save(arguments.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
