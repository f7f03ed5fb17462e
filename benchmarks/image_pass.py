"""Forward and backward of a network for images in each way there is to compute it on the processor, in turn.

    .venv/bin/python benchmarks/image_pass.py --arch resnet18 --size 128 --batch 16

A round is one pass of each; the ratio is how many times faster than plain float32 a way is in the same round. Random
images; memory that is freed stays with the process for all, as in a training (striate.training.allocation).
"""

import argparse
import copy
import statistics
import time

import torch

from parts.side_by_side import header
from striate.architectures.backbone import architecture
from striate.core.sample import Batch
from striate.tasks.classification import Classification
from striate.training.allocation import keep_freed_memory
from striate.training.choice import has_bfloat16
from striate.training.settings import Precision
from striate.training.step import backward, lay_out_weights

WAYS: tuple[Precision, ...] = ("float32", "float32 channels-last", "winograd channels-last")
BFLOAT16: Precision = "bfloat16 channels-last"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(header(arguments.rounds * 3 / 3600))
    keep_freed_memory()
    torch.manual_seed(0)
    shape = (3, arguments.size, arguments.size)
    network = architecture(arguments.arch).network(10).build(shape).train()
    labels = torch.randint(0, 10, (arguments.batch,))
    batch = Batch(torch.randn(arguments.batch, *shape), {"label": labels}, torch.arange(arguments.batch))
    ways = (*WAYS, BFLOAT16) if has_bfloat16(torch.device("cpu")) else WAYS
    modules = {way: lay_out_weights(copy.deepcopy(network), way, shape) for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(arguments.rounds + 1):
        for way, module in modules.items():
            module.zero_grad()
            started = time.perf_counter()
            backward(module, Classification(), batch, way)
            seconds[way].append(time.perf_counter() - started)
    print(f"{arguments.arch}, {arguments.size} pixels, batch {arguments.batch}, {torch.get_num_threads()} threads")
    for way, each in seconds.items():
        ratios = [plain / one for plain, one in zip(seconds[WAYS[0]][1:], each[1:], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{way:24} {1000 * statistics.median(each[1:]):6.0f} ms  ratio {statistics.median(ratios):.2f} ({spread})"
        )


if __name__ == "__main__":
    main()
