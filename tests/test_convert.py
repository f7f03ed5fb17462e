"""Conversion: whole or absent, nothing of the source changed, and the same set when it is read again."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from striate.cli.convert import convert as command
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data
from striate.data.writers.by_name import READ_AS, WRITERS
from striate.recipes.convert import convert
from test_webdataset import jpeg, shard, tar

DETECTION = ("coco", "voc", "yolo")
BOXES = [
    [(1.0, 2.0, 9.0, 11.0, 0), (0.1, 0.3, 20.7, 15.2, 1)],
    [(3.0, 4.0, 8.0, 12.0, 2)],
    [],
    [(0.0, 0.0, 24.0, 32.0, 1), (5.0, 5.0, 6.0, 7.0, 0), (2.5, 2.5, 4.25, 4.125, 0)],
]
NAMES = ("zebra", "cat", "a dog")


def picture(path: Path, value: int = 0) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), (value, 50, 60)).save(path)
    return path.read_bytes()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            for count in range(3):
                picture(tmp_path / "photos" / split / name / f"{count}.jpg", 10 * number + count)
    return tmp_path / "photos"


@pytest.fixture
def detection(tmp_path: Path) -> Path:
    """A small COCO set, three training and one validation image."""
    home = tmp_path / "detection"
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)]
    splits = {"train": (0, 1, 2), "val": (3,)}
    for split, which in splits.items():
        images, annotations = [], []
        for one in which:
            picture(home / split / f"{one}.jpg", one)
            images.append({"id": one, "file_name": f"{one}.jpg", "width": 32, "height": 24})
            for y0, x0, y1, x1, category in BOXES[one]:
                box = {"id": len(annotations) + 1, "image_id": one, "category_id": category + 1, "iscrowd": 0}
                annotations.append(box | {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)})
        (home / "annotations").mkdir(exist_ok=True)
        document = {"images": images, "annotations": annotations, "categories": categories}
        (home / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {os.path.relpath(one, folder): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def labelled(reader: Reader) -> list[tuple[str, str, str, bytes]]:
    """Split, file name, class and pixels of every sample."""
    return sorted(
        (split, os.path.basename(reader.name(at)), reader.classes[reader.label(at) or 0], reader.image(at).tobytes())
        for split, places in reader.splits.items()
        for at in places.tolist()
    )


def boxed(reader: Reader) -> dict[tuple[str, str], tuple[list[str], torch.Tensor]]:
    """Classes and bounds of every sample by split and name, in order of the boxes' first numbers."""
    found = {}
    for split, places in reader.splits.items():
        for at in places.tolist():
            boxes = reader.targets(at)["boxes"]
            order = np.lexsort(boxes.annotated().numpy().T[::-1]).tolist()
            classes = [reader.classes[boxes.classes[one]] for one in order]
            found[split, Path(reader.name(at)).stem] = classes, boxes.annotated()[order]
    return found


def test_class_folders_are_copied_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    before, said = contents(photos), []
    assert convert(photos, tmp_path / "deep" / "copy", "folders", say=said.append) == []
    assert contents(tmp_path / "deep" / "copy") == before == contents(photos)
    assert said[0].startswith("12 images in 2 class folders")
    assert said[-1].endswith("12 samples, 2 classes, read again and compared")


def test_shards_become_folders_with_the_same_pixels_classes_and_order(tmp_path: Path) -> None:
    shard(tmp_path / "tars" / "train-0.tar", [2, 0, 1, 1])
    shard(tmp_path / "tars" / "train-1.tar", [2])
    shard(tmp_path / "tars" / "val-0.tar", [0])
    (tmp_path / "tars" / "classes.txt").write_text("zebra\ncat\n9 lives\nnever seen\n")
    convert(tmp_path / "tars", tmp_path / "out", "folders")
    before, after = open_data(tmp_path / "tars"), open_data(tmp_path / "out")
    assert after.classes == before.classes == ("zebra", "cat", "9 lives", "never seen")
    pixels = [[(split, name, image) for split, _, name, image in labelled(one)] for one in (before, after)]
    assert sorted(pixels[0]) == sorted(pixels[1])


@pytest.mark.parametrize("name", ["a/b", ".hidden", "", "train", "x" * 300])
def test_a_class_that_can_be_no_folder_is_refused(photos: Path, tmp_path: Path, name: str) -> None:
    options = ReaderOptions(classes=("cat", name))
    with pytest.raises(InputError, match=r"the class|a class called"):
        convert(photos, tmp_path / "out", "folders", options=options)
    assert not (tmp_path / "out").exists()


def test_several_labels_a_sample_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.eye(4, 3, dtype=np.uint8))
    with pytest.raises(InputError, match="several classes"):
        convert(tmp_path / "x.npz", tmp_path / "out", "folders")


def test_signals_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no image"):
        convert("waves", tmp_path / "out", "folders")
    assert os.listdir(tmp_path) == []


def test_images_in_arrays_become_png(tmp_path: Path) -> None:
    values = np.arange(4 * 8 * 9, dtype=np.uint16).reshape(4, 8, 9) * 200
    np.savez(tmp_path / "x.npz", images=values, labels=np.array([0, 1, 1, 0]))
    convert(tmp_path / "x.npz", tmp_path / "out", "folders")
    after = open_data(tmp_path / "out")
    assert sorted(after.image(at).tobytes() for at in range(4)) == sorted(value.tobytes() for value in values)


def test_files_of_one_name_in_one_class_are_all_kept(tmp_path: Path) -> None:
    for deep in ("a", "b"):
        for name in ("cat", "dog"):
            picture(tmp_path / "in" / name / deep / "1.png")
    convert(tmp_path / "in", tmp_path / "out", "folders")
    assert sorted(contents(tmp_path / "out")) == ["cat/1-2.png", "cat/1.png", "dog/1-2.png", "dog/1.png"]


def test_a_place_that_is_taken_or_inside_the_source_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(photos)
    for place, cause in (
        (tmp_path / "full", "not empty"),
        (tmp_path / "file", "it is a file"),
        (photos / "new", "of which nothing is changed"),
        (tmp_path / "link" / "new", "of which nothing is changed"),
        (tmp_path, "not empty"),
        (photos, "not empty"),
    ):
        with pytest.raises(InputError, match=cause):
            convert(photos, place, "folders")
    assert sorted(os.listdir(tmp_path)) == ["file", "full", "link", "photos"]


def test_an_empty_folder_is_taken(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(photos, tmp_path / "out", "folders")
    assert len(open_data(tmp_path / "out")) == 12


def test_an_unknown_format_lists_those_there_are(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coco, voc, yolo, masks, folders"):
        convert(photos, tmp_path / "out", "tfrecord")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interrupt_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    copied = []

    def copy(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) > 5:
            raise error
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="the disk is full" if isinstance(error, OSError) else None):
        convert(photos, tmp_path / "a" / "b" / "out", "folders")
    assert os.listdir(tmp_path) == ["photos"]


def test_a_set_that_reads_otherwise_is_not_kept(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = WRITERS["folders"]

    def broken(reader: Reader, folder: Path, say: Callable[[str], None]) -> list[str]:
        lost = real(reader, folder, say)
        next(folder.rglob("*.jpg")).unlink()
        return lost

    monkeypatch.setitem(WRITERS, "folders", broken)
    with pytest.raises(InputError, match="12 samples became 11"):
        convert(photos, tmp_path / "out", "folders")
    assert os.listdir(tmp_path) == ["photos"]


def test_what_the_source_left_out_is_said(tmp_path: Path) -> None:
    members = [("0.jpg", jpeg()), ("0.cls", b"0"), ("1.jpg", jpeg()), ("1.cls", b"1"), ("2.jpg", jpeg())]
    said: list[str] = []
    convert(tar(tmp_path / "x.tar", members), tmp_path / "out", "folders", say=said.append)
    assert "problems: 1, the first: x.tar/2.jpg: left out" in said


def test_a_sample_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path) -> None:
    members = [
        ("0.jpg", jpeg()),
        ("0.cls", b"0"),
        ("1.jpg", jpeg()),
        ("1.cls", b"1"),
        ("2.jpg", b"no"),
        ("2.cls", b"1"),
    ]
    lost = convert(tar(tmp_path / "x.tar", members), tmp_path / "out", "folders")
    assert lost[0].startswith("1 samples cannot be read, left out: x.tar/2.jpg (")
    assert lost[1] == "3 samples became 2"


def test_the_command_converts_and_prints_the_folder(photos: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(photos), str(tmp_path / "out"), "--to", "folders"])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "out") in result.output
    assert len(open_data(tmp_path / "out")) == 12


@pytest.mark.parametrize("first", DETECTION)
@pytest.mark.parametrize("second", DETECTION)
def test_boxes_survive_two_conversions(detection: Path, tmp_path: Path, first: str, second: str) -> None:
    options = ReaderOptions(minimum_classes=1, target="boxes")
    original = open_data(detection, "coco", options)
    convert(detection, tmp_path / "one", first, "coco", options)
    convert(tmp_path / "one", tmp_path / "two", second, READ_AS[first], options)
    for place, form in ((tmp_path / "one", first), (tmp_path / "two", second)):
        again = open_data(place, options=options)
        assert again.format == READ_AS[form]
        assert set(again.classes) == set(original.classes)
        if form != "voc" and first != "voc":
            assert again.classes == original.classes
        found, expected = boxed(again), boxed(original)
        assert found.keys() == expected.keys()
        for key, (classes, bounds) in expected.items():
            assert found[key][0] == classes
            assert torch.allclose(found[key][1], bounds, rtol=0, atol=1e-9)
        assert [again.image(at).shape for at in range(len(again))] == [(3, 24, 32)] * 4


def test_boxes_are_no_class_folders(detection: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="labelled by boxes"):
        convert(detection, tmp_path / "out", "folders", options=ReaderOptions(minimum_classes=1, target="boxes"))


def test_a_mask_set_survives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        picture(tmp_path / "in" / "images" / f"{number}.png", number)
        (tmp_path / "in" / "masks").mkdir(exist_ok=True)
        mask = rng.integers(0, 3, (24, 32)).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "in" / "masks" / f"{number}.png")
    convert(tmp_path / "in", tmp_path / "out", "masks")
    before, after = open_data(tmp_path / "in"), open_data(tmp_path / "out")
    assert before.classes == after.classes
    masks = [[one.targets(at)["mask"].values.numpy().tobytes() for at in range(4)] for one in (before, after)]
    assert masks[0] == masks[1]
