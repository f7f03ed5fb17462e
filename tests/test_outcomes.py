"""Samples prepared together give the same shards, lists and messages as samples prepared one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.core.transform import CenterCrop, Compose, Normalise, Resize, Transform
from striate.data import outcomes as outcomes_module
from striate.data.collection import ReaderOptions
from striate.data.outcomes import Outcome
from striate.data.prepare import prepare
from striate.data.reader import Reader, open_data

RESIZE = Compose(steps=(Resize(size=12, keep="short"), CenterCrop(size=12)))


def one_by_one(*given: Any) -> dict[int, Outcome]:
    return {}


def demand_same(
    reader: Reader, place: Path, preprocessing: Transform, monkeypatch: pytest.MonkeyPatch, budget: int = 1 << 30
) -> list[tuple[str, str]]:
    """Prepare in both ways, with one thread and with three, and compare every file; what was skipped is returned."""
    together = prepare(reader, place / "together", preprocessing, budget_bytes=budget, workers=3)
    single = prepare(reader, place / "single", preprocessing, budget_bytes=budget, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(outcomes_module, "_together", one_by_one)
        alone = prepare(reader, place / "alone", preprocessing, budget_bytes=budget, workers=2)
    names = sorted(path.name for path in alone.folder.iterdir())
    for other in (together, single):
        assert sorted(path.name for path in other.folder.iterdir()) == names
        for name in names:
            assert (other.folder / name).read_bytes() == (alone.folder / name).read_bytes(), name
    return alone.skipped


def photos(folder: Path, count: int = 150) -> Path:
    """Of three sizes, two orientations, several formats and modes, some of them damaged, animated or no image."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = ((30, 24, 3), (24, 30, 3), (41, 24))[number % 5 % 3]
        image = Image.fromarray(rng.integers(0, 256, size).astype(np.uint8))
        if number % 11 == 0:
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            image.save(path.with_suffix(".jpg"), exif=exif)
        elif number % 7 == 0:
            image.save(path.with_suffix(".gif"), save_all=True, append_images=[image.rotate(90)])
        elif number % 13 == 0:
            image.save(path.with_suffix(".jpg"))
            whole = path.with_suffix(".jpg").read_bytes()
            path.with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
        elif number % 17 == 0:
            path.with_suffix(".png").write_bytes(b"no image at all")
        else:
            image.save(path.with_suffix((".jpg", ".png")[number % 3 == 0]))
    return folder


@pytest.mark.parametrize("budget", [0, 1 << 30])
@pytest.mark.parametrize("colour", ["as found", "grey", "rgba"])
def test_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: str, budget: int) -> None:
    options = ReaderOptions.model_validate({"colour": colour})
    skipped = demand_same(open_data(photos(tmp_path / "d"), options=options), tmp_path, RESIZE, monkeypatch, budget)
    assert len(skipped) > 10


def test_photos_decoded_smaller_keep_their_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (tmp_path / "d" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 96), (number, 9, 99)).save(tmp_path / "d" / "ab"[number % 2] / f"{number}.jpg")
    reader = open_data(tmp_path / "d", options=ReaderOptions(decode_at_least=16))
    assert reader.image(0).shape == (3, 24, 16)
    demand_same(reader, tmp_path, RESIZE, monkeypatch)


@pytest.mark.parametrize("limit", [0, 5000, 10_000])
def test_images_that_are_large_or_do_not_fit_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(outcomes_module, "SMALL", limit // 2)
    monkeypatch.setattr(outcomes_module, "_SPACE", limit)
    demand_same(open_data(photos(tmp_path / "d")), tmp_path, RESIZE, monkeypatch)


@pytest.mark.parametrize("shape", [(9,), (3, 9), (8, 9), (8, 9, 3), (2, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.random.default_rng(0).random((70, *shape)) * 250).astype(dtype)
    if dtype == "f4":
        values[[3, 50]] = np.nan
    np.savez(tmp_path / "d.npz", x=values, y=np.arange(70) % 3)
    skipped = demand_same(open_data(tmp_path / "d.npz"), tmp_path, Normalise(mean=7.0), monkeypatch)
    assert len(skipped) == (2 if dtype == "f4" else 0)


@pytest.mark.parametrize("classes", [3, 300])
@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_several_labels_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, budget: int) -> None:
    tags = np.random.default_rng(0).random((80, classes)) > 0.5
    np.savez(tmp_path / "d.npz", x=np.zeros((80, 6, 7), np.uint8), y=tags)
    reader = open_data(tmp_path / "d.npz", options=ReaderOptions(multi_label=True))
    assert reader.multi_label
    demand_same(reader, tmp_path, RESIZE, monkeypatch, budget)


def test_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_data(photos(tmp_path / "d"), options=ReaderOptions(labelled=False))
    demand_same(reader, tmp_path, RESIZE, monkeypatch)


def test_signals_of_any_length_and_what_a_transform_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{number},{step},{number % 2}" for number in range(60) for step in range(2 + number % 4)]
    (tmp_path / "t.csv").write_text("\n".join(["id,v,label", *lines]))
    demand_same(open_data(tmp_path / "t.csv"), tmp_path, Compose(), monkeypatch)
