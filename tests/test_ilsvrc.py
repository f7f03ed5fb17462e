"""The ILSVRC layout with each of its lists, class folders with split lists: classes are never shifted or guessed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data

# in order of their ids; the challenge itself counts them in another order
TENCH, SHARK, CRANE, LIFT = "n01440764", "n01484850", "n02012849", "n03126707"
WNIDS = (TENCH, SHARK, CRANE, LIFT)
WORDS = f"{TENCH} tench, Tinca tinca\n{SHARK} great white shark, man-eater\n{CRANE} crane\n{LIFT} crane\n"
VALIDATION = (LIFT, TENCH, SHARK, TENCH)


def picture(path: Path, mode: str = "RGB", form: str = "JPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 5)).save(path, form)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two training images of each of four classes, and four validation images in a flat folder."""
    for wnid in WNIDS:
        for number in range(2):
            picture(tmp_path / "train" / wnid / f"{wnid}_{number}.JPEG")
    for number in range(1, 5):
        picture(tmp_path / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    return tmp_path


def stems() -> list[str]:
    return [f"ILSVRC2012_val_{number:08}" for number in range(1, 5)]


def validation(reader: Reader) -> list[str]:
    """The WordNet ids of the validation images in order of their names."""
    found = {reader.name(at): WNIDS[reader.label(at) or 0] for at in reader.splits["val"].tolist()}
    return [found[name] for name in sorted(found)]


def test_a_flat_validation_folder_without_a_list_is_skipped_and_said(place: Path) -> None:
    reader = open_data(place)
    assert reader.format == "ilsvrc"
    assert reader.classes == WNIDS
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 8}
    assert reader.skipped[0][0] == "val"
    assert "4 images in no class folders: there is no list" in reader.skipped[0][1]
    assert "8 images of 4 classes (8 train), ILSVRC layout (folders named by WordNet ids" in reader.found


def test_words_name_classes_but_for_those_that_are_not_unique(place: Path) -> None:
    (place / "LOC_synset_mapping.txt").write_text(WORDS)
    reader = open_data(place)
    assert reader.classes == ("tench", "great white shark", CRANE, LIFT)
    assert "words from LOC_synset_mapping.txt" in reader.found


def test_the_solution_file_labels_by_id(place: Path) -> None:
    rows = [f"{stem},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for stem, wnid in zip(stems(), VALIDATION, strict=True)]
    (place / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(rows[::-1]))
    reader = open_data(place)
    assert validation(reader) == list(VALIDATION)
    assert reader.problems == []


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("listed", ["synsets", "folders"])
def test_a_list_of_numbers_counts_from_zero_or_one(place: Path, first: int, listed: str) -> None:
    if listed == "synsets":
        (place / "synsets.txt").write_text("\n".join(WNIDS))
    rows = [f"{stem}.JPEG {WNIDS.index(wnid) + first}" for stem, wnid in zip(stems(), VALIDATION, strict=True)]
    (place / "val.txt").write_text("\n".join(rows))
    reader = open_data(place)
    assert validation(reader) == list(VALIDATION)
    assert ("counts from 1" in reader.found) == bool(first)


def test_a_list_that_only_counts_its_lines_is_not_taken_for_classes(place: Path) -> None:
    for number in range(5, 8):
        picture(place / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    names = [f"ILSVRC2012_val_{number:08} {number}" for number in range(1, 8)]
    (place / "val.txt").write_text("\n".join(names))
    reader = open_data(place)
    assert list(reader.splits) == ["train"]
    assert "only counts its lines" in reader.skipped[0][1]


def test_the_ground_truth_needs_the_challenges_own_order(place: Path) -> None:
    own = (SHARK, LIFT, TENCH, CRANE)
    truth = "\n".join(str(own.index(wnid) + 1) for wnid in VALIDATION)
    (place / "ILSVRC2012_validation_ground_truth.txt").write_text(truth + "\n")
    (place / "synsets.txt").write_text("\n".join(WNIDS))  # sorted: not the order of the challenge
    assert "an order of the challenge's own" in open_data(place).skipped[0][1]
    lines = [f"{wnid} {number} some_words" for number, wnid in enumerate(own, start=1)]
    (place / "map_clsloc.txt").write_text("\n".join(lines))
    assert validation(open_data(place)) == list(VALIDATION)


def test_missing_and_unlisted_images_and_unknown_classes_are_problems(place: Path) -> None:
    rows = [f"{stems()[0]} {TENCH}", f"{stems()[1]} n09999999", "ILSVRC2012_val_00000099 0", "nonsense"]
    (place / "val.txt").write_text("\n".join(rows))
    reader = open_data(place)
    assert len(reader.splits["val"]) == 1
    assert sorted(one.code for one in reader.problems) == [
        "annotation-malformed",
        "class-undeclared",
        "image-without-label",
        "image-without-label",
        "listed-missing",
    ]


def test_the_competitions_own_tree_is_found_from_its_top(tmp_path: Path) -> None:
    inside = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid in WNIDS[:2]:
        picture(inside / "train" / wnid / f"{wnid}_1.JPEG")
    picture(inside / "val" / "ILSVRC2012_val_00000001.JPEG")
    picture(inside / "test" / "ILSVRC2012_test_00000001.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\nILSVRC2012_val_00000001,{SHARK} 1 1 2 2")
    reader = open_data(tmp_path)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 2, "val": 1}
    assert ("ILSVRC/Data/CLS-LOC/test", "1 images in no class folders: no list of their classes is published") in (
        reader.skipped
    )


def test_validation_in_folders_of_ids_and_sets_without_splits(tmp_path: Path) -> None:
    for wnid in WNIDS[:2]:
        picture(tmp_path / "a" / "train" / wnid / "x.JPEG")
        picture(tmp_path / "a" / "val" / wnid / "y.JPEG")
        picture(tmp_path / "b" / wnid / "x.JPEG")
    assert {name: len(rows) for name, rows in open_data(tmp_path / "a").splits.items()} == {"train": 2, "val": 2}
    assert {name: len(rows) for name, rows in open_data(tmp_path / "b").splits.items()} == {"all": 2}


def test_files_called_jpeg_that_are_png_or_cmyk_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "train" / TENCH / "a.JPEG", form="PNG")
    picture(tmp_path / "train" / SHARK / "b.JPEG", mode="CMYK")
    (tmp_path / "train" / SHARK / "c.JPEG").write_bytes(b"")
    reader = open_data(tmp_path)
    assert [reader.read(at).image.shape for at in range(2)] == [(3, 5, 6)] * 2
    assert reader.skipped == [(f"train/{SHARK}/c.JPEG", "it is empty (0 bytes)")]


def test_without_labels_every_image_of_every_split_is_listed(place: Path) -> None:
    reader = open_data(place, options=ReaderOptions(labelled=False, minimum_classes=0))
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 8, "val": 4}
    assert reader.labels is None


def test_folders_of_other_names_are_image_folders(tmp_path: Path) -> None:
    picture(tmp_path / TENCH / "a.jpg")
    picture(tmp_path / "cat" / "a.jpg")
    assert open_data(tmp_path).format == "image folder"


# class folders with lists of their splits


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        for number in range(4):
            picture(tmp_path / name / f"{number} x.jpg")
    return tmp_path


def test_lists_are_splits_and_their_numbers_the_order_of_classes(pets: Path) -> None:
    (pets / "train.txt").write_text("dog/0 x.jpg 0\ncat/0 x.jpg 1\n./dog/1 x.jpg 0\n\n")
    (pets / "val.txt").write_text("cat/1 x.jpg 1\ncat/2 x 1\n")
    reader = open_data(pets)
    assert reader.format == "image folder"
    assert reader.classes == ("dog", "cat")
    found = {name: sorted(reader.name(at) for at in rows) for name, rows in reader.splits.items()}
    assert found == {"train": ["cat/0 x.jpg", "dog/0 x.jpg", "dog/1 x.jpg"], "val": ["cat/1 x.jpg", "cat/2 x.jpg"]}
    assert [one.file for one in reader.problems if one.code == "not-in-a-split"] == [
        "cat/3 x.jpg",
        "dog/2 x.jpg",
        "dog/3 x.jpg",
    ]
    assert "(3 train, 2 val by train.txt, val.txt)" in reader.found
    assert reader.skipped == []


def test_missing_repeated_and_contradicting_lines_are_problems(pets: Path) -> None:
    (pets / "train.txt").write_text(
        "cat/0 x.jpg cat\ncat/0 x.jpg\ndog/9.jpg\n../up.jpg\ndog/0 x.jpg cat\ndog/1 x.jpg\n"
    )
    (pets / "test.txt").write_text("cat/0 x.jpg\n")
    reader = open_data(pets)
    codes = sorted(one.code for one in reader.problems if one.code != "not-in-a-split")
    assert codes == ["duplicate", "listed-missing", "listed-missing", "listed-twice", "twice-labelled"]
    assert ("train.txt:5", "the list says 'cat', the folder dog; the folder is taken") in [
        (one.file, one.detail) for one in reader.problems
    ]


def test_a_list_of_other_paths_is_an_error_that_shows_one(pets: Path) -> None:
    (pets / "train.txt").write_text("images/cat/0.jpg\n")
    with pytest.raises(InputError, match=r"train\.txt: none of its lines names an image .*such as 'cat/0 x\.jpg'"):
        open_data(pets)


def test_a_list_of_one_split_without_training_is_no_split(pets: Path) -> None:
    (pets / "test.txt").write_text("cat/0 x.jpg\n")
    reader = open_data(pets)
    assert list(reader.splits) == ["all"]
    assert reader.skipped == [("test.txt", "it lies outside the class folders")]


def test_the_order_of_classes_may_be_given(pets: Path) -> None:
    (pets / "classes.txt").write_text("dog\ncat\n")
    reader = open_data(pets)
    assert reader.classes == ("dog", "cat")
    assert np.bincount(reader.labels).tolist() == [4, 4]
    (pets / "classes.txt").write_text("dog\nhorse\n")
    assert open_data(pets).classes == ("cat", "dog")


def test_names_of_any_bytes_are_listed(pets: Path) -> None:
    odd = os.fsdecode(b"cat/\xff.jpg")
    picture(pets / odd)
    (pets / "train.txt").write_bytes(os.fsencode(odd) + b"\ndog/0 x.jpg\n")
    reader = open_data(pets)
    assert odd in [reader.name(at) for at in reader.splits["train"]]
