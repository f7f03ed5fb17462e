"""The corrected copy: certain faults are gone, everything else is as it was, and the original is untouched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memory_reader import MemoryReader, photo
from striate.core.errors import InputError
from striate.data.doctor.examine import examine
from striate.data.doctor.fix import CorrectedReader, fix
from striate.data.reader import Reader, open_data


def silent(line: str) -> None:
    """Say nothing."""


def corrected(reader: Reader, folder: Path) -> list[str]:
    """The lines of a correction into a new folder."""
    return fix(reader, examine(reader), folder, silent)


def content(folder: Path) -> Mapping[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def photos(folder: Path, seeds: Any) -> None:
    """Class folders of photos with these seeds."""
    for seed in seeds:
        place = folder / ("cat", "dog")[seed % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(seed).transpose(1, 2, 0)).save(place / f"{seed}.png")


def test_copies_leaks_and_unreadable_files_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "set"
    photos(source / "train", range(12))
    photos(source / "test", range(100, 110))
    cat = source / "train" / "cat"
    (cat / "again.png").write_bytes((cat / "0.png").read_bytes())
    (cat / "leak.png").write_bytes((source / "test" / "cat" / "100.png").read_bytes())
    (cat / "bad.png").write_bytes((cat / "2.png").read_bytes()[:300])
    before = content(source)
    lines = corrected(open_data(source), tmp_path / "new")
    assert lines == [
        "1 samples that cannot be read: left out",
        "1 samples that are in another split too: left out, those measured with are kept",
        "1 copies in one split: left out",
    ]
    assert content(source) == before
    wanted = {
        name: data for name, data in before.items() if Path(name).name not in ("again.png", "leak.png", "bad.png")
    }
    assert content(tmp_path / "new") == wanted
    assert {one.code for one in examine(open_data(tmp_path / "new")).findings} <= {
        "no-validation",
        "split-small",
        "class-rare",
    }


def test_copies_with_different_labels_stay(tmp_path: Path) -> None:
    source = tmp_path / "set"
    photos(source, range(12))
    (source / "dog" / "other.png").write_bytes((source / "cat" / "0.png").read_bytes())
    assert corrected(open_data(source), tmp_path / "new") == [
        "nothing can be corrected with certainty: no copy was written"
    ]
    assert not (tmp_path / "new").exists()


def test_boxes_are_swapped_cut_and_left_out(tmp_path: Path) -> None:
    good = [10.5, 5.25, 30, 40]
    boxes = [
        ([good, [30, 40, 10, 5]], [0, 1]),
        ([good, [-5, -5, 20, 20]], [0, 1]),
        ([good, [10, 10, 10, 20], [60, 10, 70, 20]], [0, 1, 1]),
        ([good, good], [0, 0]),
        ([good, good], [0, 1]),
    ]
    reader = MemoryReader([photo(seed) for seed in range(5)], boxes=boxes)
    lines = corrected(reader, tmp_path / "new")
    assert set(lines[:5]) == {
        "1 boxes without area: left out",
        "1 boxes outside their image: left out",
        "1 boxes that were there twice: left out",
        "1 boxes with swapped corners: swapped",
        "1 boxes that reached beyond their image: cut",
    }
    again = open_data(tmp_path / "new")
    found = {one.code for one in examine(again).findings}
    assert not found & {"box-empty", "box-inverted", "box-outside", "box-beyond", "box-duplicate"}
    assert "box-two-classes" in found
    rows = [again.targets(position)["boxes"].annotated().tolist() for position in range(5)]  # type: ignore[attr-defined]
    wanted: list[Any] = [[good, [10, 5, 30, 40]], [good, [0, 0, 20, 20]], [good], [good], [good, good]]
    for row, other in zip(rows, wanted, strict=True):
        np.testing.assert_allclose(row, other, atol=1e-9)


@pytest.mark.parametrize("place", ["set/inside", "full"])
def test_the_copy_goes_into_a_new_folder_elsewhere(tmp_path: Path, place: str) -> None:
    source = tmp_path / "set"
    photos(source, range(12))
    (source / "cat" / "again.png").write_bytes((source / "cat" / "0.png").read_bytes())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(InputError):
        corrected(open_data(source), tmp_path / place)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    assert not (source / "inside").exists()


def test_when_writing_fails_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "set"
    photos(source, range(12))
    (source / "cat" / "again.png").write_bytes((source / "cat" / "0.png").read_bytes())

    def full(reader: Reader, folder: Path, say: Any) -> list[str]:
        (folder / "half").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("striate.data.doctor.fix.WRITERS", {"folders": full})
    with pytest.raises(InputError, match="No space left"):
        corrected(open_data(source), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_signals_are_said_not_to_be_written(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).normal(size=(1, 40)).astype(np.float32)
    reader = MemoryReader([signal, signal, signal * 2], labels=[0, 0, 1])
    with pytest.raises(InputError, match="not of signals"):
        corrected(reader, tmp_path / "new")


def test_a_short_look_is_not_enough(tmp_path: Path) -> None:
    reader = MemoryReader([photo(seed) for seed in range(300)], labels=[0, 1] * 150)
    with pytest.raises(ValueError, match="a deep one is needed"):
        fix(reader, examine(reader, deep=False), tmp_path / "new", silent)


def test_no_path_is_of_the_format_corrected(tmp_path: Path) -> None:
    assert CorrectedReader.detect(tmp_path) is None
    with pytest.raises(InputError, match="there is no such format"):
        open_data(tmp_path, format="corrected")
