"""The doctor finds what is wrong, names the file, and has nothing to say of what is right."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memory_reader import MemoryReader, photo
from striate.core.errors import InputError
from striate.data.doctor.examine import Diagnosis, examine, exit_code
from striate.data.problems import CODES, Problem
from striate.data.reader import Reader, open_data


def codes(reader: Reader, *, deep: bool = True) -> dict[str, int]:
    """The findings that are no notes, and how many of each."""
    found = examine(reader, deep=deep, workers=2).findings
    return {one.code: one.count for one in found if one.severity != "note"}


def folders(path: Path, count: int = 12) -> Path:
    """A clean set of class folders, ``count`` photos in each of two classes, as PNG."""
    for seed in range(2 * count):
        place = path / ("cat", "dog")[seed % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(seed).transpose(1, 2, 0)).save(place / f"{seed}.png")
    return path


def finding(path: Path, code: str) -> tuple[str, ...]:
    """The files that a finding of a folder names."""
    found = examine(open_data(path), workers=2).finding(code)
    assert found is not None, f"{code} was not found"
    assert found.severity == CODES[code].severity
    return found.files


def test_of_a_clean_set_it_has_nothing_to_say(tmp_path: Path) -> None:
    diagnosis = examine(open_data(folders(tmp_path)))
    assert [one.code for one in diagnosis.findings] == ["no-validation"]
    assert diagnosis.worst == "note"
    assert exit_code(diagnosis) == 0
    assert diagnosis.class_counts == {"all": {"samples": [12, 12]}}
    assert diagnosis.statistics["sizes"] == [[[48, 64], 24]]


def test_a_cut_photo_is_truncated_and_not_merely_unreadable(tmp_path: Path) -> None:
    folders(tmp_path)
    for suffix in ("jpg", "png"):
        target = tmp_path / "cat" / f"cut.{suffix}"
        Image.fromarray(photo(99, 200, 300).transpose(1, 2, 0)).save(target)
        target.write_bytes(target.read_bytes()[:-400])
    assert set(finding(tmp_path, "truncated")) == {"cat/cut.jpg", "cat/cut.png"}
    assert exit_code(examine(open_data(tmp_path))) == 3


def test_what_is_no_image_is_unreadable(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "dog" / "text.png").write_bytes(b"hello, I am no image at all")
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    (tmp_path / "dog" / "notes.md").write_text("seen")
    (tmp_path / "dog" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert set(finding(tmp_path, "unreadable")) == {"dog/text.png", "dog/empty.jpg"}
    assert finding(tmp_path, "not-a-sample") == ("dog/notes.md",)
    assert finding(tmp_path, "skipped") == ("dog/clip.mp4",)


def test_copies_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "cat" / "again.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    Image.open(tmp_path / "dog" / "1.png").save(tmp_path / "dog" / "as.bmp")
    (tmp_path / "dog" / "other.png").write_bytes((tmp_path / "cat" / "2.png").read_bytes())
    assert set(finding(tmp_path, "duplicate")) == {"cat/again.png", "dog/as.bmp"}
    assert finding(tmp_path, "duplicate-labels-differ") == ("dog/other.png",)


def test_a_copy_that_was_changed_a_little_is_nearly_the_same(tmp_path: Path) -> None:
    folders(tmp_path)
    image = Image.open(tmp_path / "cat" / "0.png")
    image.save(tmp_path / "cat" / "small.jpg", quality=40)
    image.resize((41, 30)).point(lambda value: min(255, int(value * 0.9 + 10))).save(tmp_path / "cat" / "dim.png")
    assert set(finding(tmp_path, "near-duplicate")) == {"cat/small.jpg", "cat/dim.png"}


def test_leaks_between_splits_name_both_files(tmp_path: Path) -> None:
    folders(tmp_path / "train")
    folders(tmp_path / "val", 10)
    for path in (tmp_path / "val").rglob("*.png"):
        seed = 100 + int(path.stem)
        Image.fromarray(photo(seed).transpose(1, 2, 0)).save(path)
    (tmp_path / "val" / "cat" / "leak.png").write_bytes((tmp_path / "train" / "cat" / "4.png").read_bytes())
    Image.open(tmp_path / "train" / "dog" / "5.png").save(tmp_path / "val" / "dog" / "near.jpg", quality=50)
    assert finding(tmp_path, "leak") == ("val/cat/leak.png",)
    found = examine(open_data(tmp_path)).finding("near-leak")
    assert found is not None
    assert found.files == ("val/dog/near.jpg",)
    assert "train/dog/5.png" in found.details[0]


def test_photos_of_one_colour_are_no_copies_of_each_other(tmp_path: Path) -> None:
    folders(tmp_path)
    for number in range(3):
        Image.new("RGB", (64, 48), (7, 7, 7)).save(tmp_path / "cat" / f"black{number}.png")
    found = {one.code: one.count for one in examine(open_data(tmp_path)).findings}
    assert found["constant-image"] == 3
    assert "duplicate" not in found
    assert "near-duplicate" not in found


def test_turned_renamed_grey_and_deep_photos_are_told(tmp_path: Path) -> None:
    folders(tmp_path)
    turned = Image.fromarray(photo(50).transpose(1, 2, 0))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "cat" / "turned.jpg", exif=exif)
    turned.rotate(90).save(tmp_path / "cat" / "really.png", "BMP")
    Image.fromarray(photo(51)[0]).save(tmp_path / "dog" / "grey.png")
    deep = photo(52)[0].astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "dog" / "deep.png")
    Image.fromarray(photo(53, 40, 200).transpose(1, 2, 0)).save(tmp_path / "dog" / "wide.png")
    assert finding(tmp_path, "orientation") == ("cat/turned.jpg",)
    assert finding(tmp_path, "format-mismatch") == ("cat/really.png",)
    assert set(finding(tmp_path, "mixed-channels")) == {"dog/grey.png", "dog/deep.png"}
    assert finding(tmp_path, "mixed-bits") == ("dog/deep.png",)
    assert "dog/wide.png" in finding(tmp_path, "mixed-proportions")
    assert "dog/wide.png" in finding(tmp_path, "mixed-sizes")


def test_what_the_reader_met_is_taken_over() -> None:
    problems = [Problem("class-undeclared", "labels/1.txt:3", "class 2")]
    boxes = [(np.array([[5, 5, 20, 30]]), [1])] * 12
    reader = MemoryReader([photo(i) for i in range(12)], boxes=boxes, problems=problems)
    found = examine(reader)
    offset = found.finding("class-offset")
    assert offset is not None, "ids 1 and 2 of two classes: they are counted from 1"
    assert offset.files == ("labels/1.txt:3",)
    assert found.finding("class-undeclared") is not None


def test_values_that_are_not_finite_are_an_error() -> None:
    signals = [np.random.default_rng(i).normal(size=(1, 50)).astype(np.float32) for i in range(24)]
    signals[3][0, 7] = np.nan
    signals[5][0, 7] = np.inf
    assert codes(MemoryReader(signals, labels=[0, 1] * 12)) == {"not-finite": 2}


def test_an_unreadable_sample_is_a_finding_and_no_exception() -> None:
    samples = [photo(i) for i in range(24)]
    samples[4] = InputError("s4.png", "the image is damaged (no luck)", "replace it")
    reader = MemoryReader(samples, labels=[0, 1] * 12)
    found = examine(reader)
    assert found.unreadable == (4,)
    assert found.findings[0].lines() == ["s4.png: the image is damaged (no luck)"]


def test_findings_are_sorted_and_name_twenty_files_at_most() -> None:
    samples = [np.full((1, 8, 8), i, np.uint8) for i in range(40)] + [photo(1), photo(1)]
    found = examine(MemoryReader(samples, labels=[0, 1] * 21))
    constant = found.finding("constant-image")
    assert constant is not None
    assert (constant.count, len(constant.files), len(constant.details)) == (40, 20, 20)
    order = ["error", "warning", "note"]
    assert [order.index(one.severity) for one in found.findings] == sorted(
        order.index(one.severity) for one in found.findings
    )


def test_the_diagnosis_is_plain_json_and_the_same_with_any_number_of_threads(tmp_path: Path) -> None:
    reader = open_data(folders(tmp_path))
    texts = {json.dumps(examine(reader, workers=workers).to_json(), allow_nan=False) for workers in (1, 2, 5)}
    assert len(texts) == 1


def test_the_short_look_decodes_few_samples_and_takes_little_time() -> None:
    samples = [photo(i % 40) if i % 9 else np.zeros((3, 48, 64), np.uint8) for i in range(1200)]
    reader = MemoryReader(samples, labels=[0, 1] * 600)
    started = time.monotonic()
    found = examine(reader, deep=False)
    assert time.monotonic() - started < 8
    assert 0 < found.looked_at <= 200
    assert found.finding("constant-image") is not None
    assert found.class_counts == {"all": {"samples": [600, 600]}}


def test_progress_is_told_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    reader = MemoryReader([photo(i) for i in range(30)], labels=[0, 1] * 15)
    examine(reader, show=lambda done, total, text: seen.append((done, total)))
    assert seen[-1] == (30, 30)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sign-digits", set()),
        ("camvid", {"imbalance"}),
        ("ucr/GunPoint", set()),
        ("ucr/JapaneseVowels", set()),
        ("ucr/PLAID", {"leak"}),
    ],
)
@pytest.mark.slow
def test_real_sets_give_no_false_alarm(shared_data: Callable[[str], Path], name: str, expected: set[str]) -> None:
    assert set(codes(open_data(shared_data(name)))) == expected


@pytest.mark.slow
def test_the_two_bad_boxes_of_bccd_are_found(shared_data: Callable[[str], Path]) -> None:
    found: Diagnosis = examine(open_data(shared_data("bccd")))
    empty = found.finding("box-empty")
    assert empty is not None
    assert [Path(name).name for name in empty.files] == ["BloodImage_00338.jpg", "BloodImage_00343.jpg"]
    assert sum(sum(one["boxes"]) for one in found.class_counts.values()) == 4888
    assert {one.code for one in found.findings} == {"box-empty", "near-leak", "imbalance"}
