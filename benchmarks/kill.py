"""Kill a training at random moments until it has died N times, resume it each time, and compare the weights.

    .venv/bin/python benchmarks/kill.py --kills 60

Prints one line a kill and, at the end, whether the SHA-256 of the weights equals that of an undisturbed run (same
machine, versions, threads). Exit code 1 when it does not. Estimated time: about 10 seconds a kill.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from striate.core import modelfile

SETTINGS = """
[data]
path = "mnist1d"
[architecture]
name = "mnist1d_conv"
[training]
steps = {steps}
batch = 100
precision = "float32"
step = "general"
threads = 1
checkpoint_every = 200
validate_every = 500
"""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"estimated: {arguments.kills * 10 / 3600:.2f} hours", flush=True)
    steps = 300 * arguments.kills
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = folder / "settings.toml"
        settings.write_text(SETTINGS.format(steps=steps))
        command = [sys.executable, "-m", "striate", "train", "--settings", str(settings)]
        subprocess.run([*command, "--out", str(folder / "whole")], check=True, capture_output=True)
        expected = weights(folder / "whole")
        cut, kills = folder / "cut", 0
        while True:
            started = (cut / "experiment.json").exists()
            resume = [sys.executable, "-m", "striate", "train", "--resume", str(cut)]
            process = subprocess.Popen(
                resume if started else [*command, "--out", str(cut)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if kills < arguments.kills:
                # Half of the kills fall into start-up, half anywhere after a checkpoint of this process's own.
                if kills % 2:
                    time.sleep(float(rng.uniform(0.5, 5.0)))
                else:
                    wait_for_checkpoint(process, cut / "checkpoints")
                    time.sleep(float(rng.uniform(0.0, 0.5)))
                process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                print(output)
                return 1
            kills += 1
            done = sorted(path.name for path in (cut / "checkpoints").glob("step-*.safetensors"))
            print(f"kill {kills}: newest checkpoint {done[-1] if done else 'none'}", flush=True)
        found = weights(cut)
    verdict = "equal" if found == expected else "DIFFERENT"
    print(f"{kills} kills; weights undisturbed {expected[:16]}, killed and resumed {found[:16]}: {verdict}")
    return 0 if found == expected else 1


def wait_for_checkpoint(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Until the process has written a checkpoint or has ended."""
    before = {path.name for path in folder.glob("step-*.safetensors")}
    while process.poll() is None and not {path.name for path in folder.glob("step-*.safetensors")} - before:
        time.sleep(0.01)


def weights(run: Path) -> str:
    """SHA-256 of the weights of a run's model."""
    return modelfile.weights_sha256(modelfile.load(run / "model.safetensors").weights)


if __name__ == "__main__":
    sys.exit(main())
