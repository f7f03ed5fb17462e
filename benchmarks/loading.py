"""Measure preparing and loading of photos: against the codec alone, and against torch's DataLoader with torchvision.

    .venv/bin/python benchmarks/loading.py --data ../shared/data --rounds 5

Four questions, each asked in alternating rounds of one run, so that what else the machine does hits both sides:

- small: preparing small JPEGs (read, decode, resize, write) against the codec alone (read, decode) on the same threads;
- large: preparing 3000 x 2000 JPEGs, decoded at the scale that suffices, against decoding them whole;
- loader: batches of 64 at 224 pixels with random resized crop and flip, against torch.utils.data.DataLoader with 2
  workers and torchvision.transforms.v2 on the JPEG files; ours from shards prepared once, on disk, with 2 threads;
- memory: anonymous memory of a process that takes 40 batches of 64 photos and of 20 times as many (twice over them).

The folder is that of the test data: coco128 (640 x 480 photos) and sign-digits (100 x 100 photos); where they are
absent, synthetic photos are made. Ratios are of rates: above 1, ours is faster.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image

from striate.core.transform import Compose, Normalise, Resize
from striate.data.augment import Augment
from striate.data.collection import ReaderOptions
from striate.data.loader import Loader
from striate.data.prepare import prepare
from striate.data.reader import open_data
from striate.data.shards import Shards

SIDE, BATCH, WORKERS = 224, 64, 2
SHORT = Compose(steps=(Resize(size=256, keep="short"),))
CROP = Augment(crop_scale=(0.08, 1.0), crop_size=SIDE, flip=(-1,))
SECONDS = {"small": 12, "photos": 12, "large": 30, "loader": 14}
"""About how long one round takes on two cores."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=[*SECONDS, "memory"], action="append")
    parser.add_argument("--child", nargs=2, metavar=("SHARDS", "TIMES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        return _child(Path(arguments.child[0]), int(arguments.child[1]))
    parts = arguments.only or [*SECONDS, "memory"]
    seconds = arguments.rounds * sum(SECONDS.get(part, 0) for part in parts) + 60
    print(f"estimated: {seconds / 60:.0f} minutes; {_machine()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        photos, small = _photos(arguments.data, place), _small(arguments.data, place)
        if "small" in parts:
            _against_codec("small", small, Compose(steps=(Resize(size=64),)), place, arguments.rounds)
        if "photos" in parts:
            _against_codec("photos", photos, SHORT, place, arguments.rounds)
        if "large" in parts:
            options = ReaderOptions(labelled=False, decode_at_least=256)
            _against_codec("large", _large(photos, place), SHORT, place, arguments.rounds, options)
        if "loader" in parts:
            _loader(photos, place, arguments.rounds)
        if "memory" in parts:
            _memory(photos, place)
    return 0


def _machine() -> str:
    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = [f"torch {torch.__version__}", f"simplejpeg {simplejpeg.__version__}", f"numpy {np.__version__}"]
    return f"{model}, {_cores()} cores; {', '.join(versions)}, Python {platform.python_version()}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _photos(data: Path, place: Path) -> list[Path]:
    """256 photos of about 640 x 480."""
    found = sorted((data / "coco128").rglob("*.jpg"))[:128]
    return _copied(found or _synthetic(place / "made", 32, (480, 640)), place / "photos", 256)


def _small(data: Path, place: Path) -> list[Path]:
    """8000 photos of 100 x 100."""
    found = sorted(path for path in (data / "sign-digits").rglob("*") if path.suffix.lower() == ".jpg")
    return _copied(found or _synthetic(place / "made", 32, (100, 100)), place / "small", 8000)


def _large(photos: list[Path], place: Path) -> list[Path]:
    """24 photos of 3000 x 2000, made of smaller ones."""
    (place / "large").mkdir()
    files = []
    for number, path in enumerate(photos[:24]):
        files.append(place / "large" / f"{number:05}.jpg")
        with Image.open(path) as image:
            image.convert("RGB").resize((3000, 2000), Image.Resampling.BICUBIC).save(files[-1], quality=92)
    return files


def _copied(files: list[Path], folder: Path, count: int) -> list[Path]:
    """``count`` files in a folder of their own, by repeating those that there are."""
    folder.mkdir()
    out = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(out):
        shutil.copyfile(files[number % len(files)], path)
    return out


def _synthetic(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    out = [folder / f"{size[0]}-{number}.jpg" for number in range(count)]
    for path in out:
        coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=92)
    return out


def _seconds(work: Callable[[], object]) -> float:
    return _both_seconds(work)[0]


def _both_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Of the wall clock, and of processor time of all threads, which depends less on what else the machine does."""
    started, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - spent


def _told(name: str, ours: list[float], theirs: list[float], against: str) -> None:
    """Rates in images a second of all rounds."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"{name}: ratio min {ratios[0]:.2f}, median {statistics.median(ratios):.2f}, max {ratios[-1]:.2f} "
        f"({statistics.median(ours):,.0f} images/s; {against} {statistics.median(theirs):,.0f} images/s)",
        flush=True,
    )


def _against_codec(
    name: str,
    files: list[Path],
    preprocessing: Compose,
    place: Path,
    rounds: int,
    options: ReaderOptions | None = None,
) -> None:
    def decode(path: Path) -> None:
        simplejpeg.decode_jpeg(path.read_bytes(), "RGB")

    def codec() -> None:
        with ThreadPoolExecutor(_cores()) as pool:
            parts = [files[start : start + 16] for start in range(0, len(files), 16 if len(files) > 100 else 1)]
            for _ in pool.map(lambda part: [decode(path) for path in part], parts):
                pass

    reader = open_data(files[0].parent, options=options or ReaderOptions(labelled=False))
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        theirs.append(_both_seconds(codec))
        folder = place / f"{name}-shards-{number}"
        ours.append(_both_seconds(lambda at=folder: prepare(reader, at, preprocessing, workers=_cores())))
        shutil.rmtree(folder)
    for clock, words in enumerate(("", ", by processor time")):
        rates = [[len(files) / seconds[clock] for seconds in side[1:]] for side in (ours, theirs)]
        _told(name + words, *rates, "the codec alone")  # the first round warms up


def _loader(photos: list[Path], place: Path, rounds: int) -> None:
    from torch.utils.data import DataLoader, Dataset
    from torchvision import tv_tensors
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    move = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )

    class Files(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(photos)

        def __getitem__(self, index: int) -> torch.Tensor:
            return move(tv_tensors.Image(decode_image(str(photos[index]), ImageReadMode.RGB))).as_subclass(torch.Tensor)

    reader = open_data(photos[0].parent, options=ReaderOptions(labelled=False))
    shards = prepare(reader, place / "loader-shards", SHORT, workers=_cores())
    loader = _ours(shards)
    data_loader = DataLoader(Files(), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)
    steps = len(photos) // BATCH
    torch.set_num_threads(WORKERS)
    ours, theirs = [], []
    for number in range(rounds + 1):
        theirs.append(steps * BATCH / _seconds(lambda: deque(data_loader, maxlen=1)))
        batches = map(loader.batch, range(number * 4 * steps, (number + 1) * 4 * steps))
        ours.append(4 * steps * BATCH / _seconds(lambda taken=batches: deque(taken, maxlen=1)))
    _told("loader", ours[1:], theirs[1:], "DataLoader with 2 workers")


def _ours(shards: Shards) -> Loader:
    """Batches read from the disk: nothing stays in memory."""
    fit = Compose(steps=(Resize(size=SIDE),))
    return Loader(shards, np.arange(len(shards)), BATCH, 0, CROP, Normalise(scale=1 / 255), fit=fit, resident_bytes=0)


def _memory(photos: list[Path], place: Path) -> None:
    found = []
    for times in (1, 20):
        files = _copied(photos, place / f"times-{times}", times * BATCH)
        reader = open_data(files[0].parent, options=ReaderOptions(labelled=False))
        shards = prepare(reader, place / f"times-{times}-shards", SHORT, workers=_cores(), budget_bytes=1 << 40)
        command = [sys.executable, __file__, "--child", str(shards.folder), "40"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found.append([int(number) for number in answer])
        size = sum(size for _, size in shards.files)
        print(
            f"memory: {len(shards):,} images ({size / 1e6:,.0f} MB of shards): anonymous "
            f"{found[-1][0] / 1024:,.0f} MiB after the first batches, {found[-1][1] / 1024:,.0f} MiB at the end",
            flush=True,
        )
        shutil.rmtree(shards.folder)
        shutil.rmtree(files[0].parent)
    print(f"memory: {(found[1][1] - found[0][1]) / 1024:+,.0f} MiB with 20 times the data", flush=True)


def _child(folder: Path, steps: int) -> int:
    """Iterate over shards as training does, and print the anonymous memory in KiB near the start and at the end."""
    torch.set_num_threads(WORKERS)
    loader = _ours(Shards.open(folder))
    total = 0.0
    for step in range(steps):
        total += float(loader.batch(step).images.mean())
        if step == 7:
            print(_anonymous())
    print(_anonymous())
    return 0


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


if __name__ == "__main__":
    sys.exit(main())
