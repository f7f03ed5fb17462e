"""Faults of signals."""

import numpy as np

from memory_reader import MemoryReader
from striate.data.doctor.check_signals import longest_run, signal_faults
from striate.data.doctor.examine import examine


def wave(seed: int, length: int = 200) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    phase, noise = rng.uniform(0, 6), rng.normal(0, 0.05, length)
    return (np.sin(np.linspace(phase, phase + 12, length)) + noise)[None].astype(np.float32)


def codes(signal: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[str]:
    return [code for code, _ in signal_faults(signal)]


def test_a_wave_is_well() -> None:
    assert codes(wave(0)) == []


def test_a_wave_cut_at_either_end_is_clipped() -> None:
    assert codes(np.minimum(wave(0), 0.8)) == ["clipped-signal"]
    assert codes(np.maximum(wave(1), -0.8)) == ["clipped-signal"]


def test_a_device_that_rests_at_its_lowest_value_is_not_clipped() -> None:
    signal = wave(2)
    signal[0, :140] = -1.5
    assert codes(signal) == []


def test_a_switch_is_not_clipped() -> None:
    assert codes(np.repeat(np.array([0, 1, 0, 1], np.float32), 20)[None]) == []


def test_a_channel_that_never_changes_is_named() -> None:
    signal = np.concatenate([wave(0), np.full((1, 200), 3, np.float32)])
    assert signal_faults(signal) == [("constant-signal", "channel 2 of 2 is 3 throughout")]


def test_runs_are_measured_at_the_edges_too() -> None:
    assert longest_run(np.array([True, True, False, True, True, True])) == 3
    assert longest_run(np.zeros(4, bool)) == 0


def test_the_doctor_tells_copies_leaks_and_lengths_of_signals() -> None:
    signals = [wave(seed) for seed in range(60)]
    signals[7] = signals[3].copy()
    signals[45] = signals[4].copy()
    signals[9] = wave(9, 150)
    splits = {"train": range(40), "val": range(40, 60)}
    found = examine(MemoryReader(signals, labels=[0, 1] * 30, splits=splits))
    named = {one.code: one.files for one in found.findings}
    assert named["duplicate"] == ("s7.png",)
    assert named["leak"] == ("s45.png",)
    assert found.finding("mixed-lengths").count == 2  # type: ignore[union-attr]


def test_events_outside_their_signal_are_told() -> None:
    boxes = [([[10, 50]], [0])] * 11 + [([[150, 230]], [1])]
    found = examine(MemoryReader([wave(seed) for seed in range(12)], boxes=boxes))
    outside = found.finding("event-outside")
    assert outside is not None
    assert outside.lines() == ["s11.png: event 1, dog: 150 to 230 of 200 long"]
