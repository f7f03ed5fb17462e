"""Train on Fashion-MNIST with the default settings, several seeds, and print the test accuracy of each and the median.

    .venv/bin/python benchmarks/fashion_mnist.py /usr/share/datasets/fashion-mnist --seeds 3

The data is the Debian package dataset-fashion-mnist (IDX files). Each seed is `striate train DATA --out RUN --seed S`
and then `striate evaluate RUN DATA --split test --json`, as a user would type them, preparation included.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import striate


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.data.exists():
        print(f"{arguments.data}: does not exist; install dataset-fashion-mnist or name a folder", file=sys.stderr)
        return 2
    versions = f"striate {striate.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    print(f"estimated: {arguments.seeds / 6:.2f} hours; {os.cpu_count()} processors, {platform.machine()}, {versions}")
    accuracies = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            environment = {**os.environ, "STRIATE_CACHE": f"{temporary}/cache"}
            run = f"{temporary}/run"
            command = [sys.executable, "-m", "striate", "train", str(arguments.data), "--out", run, "--seed", str(seed)]
            started = time.monotonic()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            minutes = (time.monotonic() - started) / 60
            measured = subprocess.run(
                [sys.executable, "-m", "striate", "evaluate", run, str(arguments.data), "--split", "test", "--json"],
                check=True, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            figures = json.loads(measured.stdout)
            accuracies.append(figures["top1"])
            print(
                f"seed {seed}: top1 {figures['top1']:.4f} on {figures['count']} test images, {minutes:.1f} minutes",
                flush=True,
            )
    spread = f", standard deviation {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    print(f"median {statistics.median(accuracies):.4f}, mean {statistics.mean(accuracies):.4f}{spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
