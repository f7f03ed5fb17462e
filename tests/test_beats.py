"""A detector of events in signals, by the commands that train one of objects in photos: beats of a heart."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from command import done

RATE, LENGTH = 100, 600
"""Values a second, and values a recording."""


def recording(rng: np.random.Generator) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """Six seconds of a heart at 60 to 100 beats a minute, with noise, a wandering ground and a hum: narrow, normal
    beats, and one in five wide, early, and after it a pause (ventricular). Returns (n,) and start, end in seconds,
    class."""
    time = np.arange(LENGTH) / RATE
    signal = 0.3 * np.sin(2 * np.pi * (0.25 * time + rng.uniform())) + rng.normal(0, 0.08, LENGTH)
    signal += 0.05 * np.sin(2 * np.pi * 37 * time)
    pace, at, found = rng.uniform(0.6, 1.0), 0.3, []
    while at < LENGTH / RATE - 0.4:
        wide = rng.uniform() < 0.2
        at -= 0.15 if wide else 0.0
        width, height = (0.05, 1.6) if wide else (0.015, 1.2)
        height *= rng.uniform(0.8, 1.2)
        signal += height * np.exp(-(((time - at) / width) ** 2))
        signal -= 0.4 * height * np.exp(-(((time - at - 2 * width) / width) ** 2))
        signal += 0.25 * np.exp(-(((time - at - 0.25) / 0.06) ** 2))
        found.append((at - 2 * width - 0.02, at + 4 * width + 0.02, "ventricular" if wide else "normal"))
        at += pace * rng.uniform(0.93, 1.07) + (0.3 if wide else 0.0)
    return signal.astype(np.float32), found


def recordings(folder: Path, count: int, seed: int) -> list[str]:
    rng, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True)
    for number in range(count):
        signal, beats = recording(rng)
        np.save(folder / f"{number:03}.npy", signal)
        rows += [f"{number:03}.npy,{start * RATE:.1f},{end * RATE:.1f},{kind}" for start, end, kind in beats]
    (folder / "events.csv").write_text("file,start,end,class\n" + "\n".join(rows) + "\n")
    return rows


@pytest.mark.slow
def test_beats_of_a_heart_are_found_in_recordings_that_were_not_seen(tmp_path: Path) -> None:
    recordings(tmp_path / "hearts", 80, seed=0)
    recordings(tmp_path / "others", 20, seed=1)
    steps = ("--steps", "200", "--batch", "8", "--threads", "1", "--precision", "float32")
    done("train", tmp_path / "hearts", "--out", tmp_path / "run", "--cache", tmp_path / "cache", *steps)
    outcome = done("evaluate", tmp_path / "run", tmp_path / "others", "--cache", tmp_path / "cache", "--json")
    figures = json.loads(outcome.out)
    assert figures["map50"] > 0.85 and figures["event_f1"] > 0.8
    place = tmp_path / "answers.jsonl"
    done("predict", tmp_path / "run", tmp_path / "others" / "000.npy", "--out", place)
    boxes = json.loads(place.read_text())["boxes"]
    signal = np.load(tmp_path / "others" / "000.npy")
    assert len(boxes) >= 4
    for box in boxes:
        start, end = box["bounds"]
        assert 0 <= start < end <= LENGTH
        assert signal[int(start) : int(end) + 1].max() > 0.5, "a beat is a peak of the original signal"
