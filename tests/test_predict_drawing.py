"""Answers drawn over their samples: at the samples' size, named as they are, in a new folder or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from command import contents, done, refused
from finder import SIZES, finder, found, rectangles, write_images
from striate.core.sample import Sample
from striate.inference.drawing import Drawings, drawings
from striate.inference.places import Names
from striate.inference.predictor import Answer
from striate.report.annotated import annotated
from striate.report.outlines import Outline
from striate.report.overlays import Shown, palette

__all__ = ["found"]


def colours(count: int) -> list[tuple[int, ...]]:
    return [tuple(int(one[place : place + 2], 16) for place in (1, 3, 5)) for one in palette(count)]


def test_boxes_are_drawn_where_they_are(tmp_path: Path, found: None) -> None:
    write_images(tmp_path / "photos")
    outcome = done("predict", "m", tmp_path / "photos", "--draw", tmp_path / "drawn", "--out", tmp_path / "a.csv")
    assert "5 predicted" in outcome.err and (tmp_path / "a.csv").exists()
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == [f"{number}.png" for number in range(5)]
    for number, size in enumerate(SIZES):
        with Image.open(tmp_path / "drawn" / f"{number}.png") as image:
            values = np.asarray(image)
        times = -(-480 // max(size))
        assert values.shape[0] > times * size[0] and values.shape[1] >= times * size[1]  # a legend below
        y0, x0, y1, _ = (times * value for value in rectangles(number, size)["blue"])
        blue = np.array(colours(2)[0])
        near = np.s_[(y0 + y1) // 2, max(0, x0 - 2 * times) : x0 + 2 * times]
        assert (values[near] == blue).all(axis=-1).any(), "the left edge is in the colour of the class"
        assert (values[times * size[0] :] == blue).all(axis=-1).any(), "so is the legend"


def test_pictures_of_photos_and_frames_are_jpeg_and_others_png(tmp_path: Path) -> None:
    made = Drawings(tmp_path, ("a", "b"))
    image = torch.zeros(3, 40, 50, dtype=torch.uint8)
    for name, time, expected in (
        ("x/photo.JPG", None, "photo.jpg"),
        ("y/photo.jpg", None, "photo_2.jpg"),
        ("clip.mp4:7", 0.7, "clip_000007.jpg"),
        ("clip.gif:7", None, "clip_000007_2.png"),
        ("table.npz:12", None, "table_000012.png"),
        ("scan.tiff", None, "scan.png"),
    ):
        record = {
            "name": name,
            "class": "a",
            "top": [["a", 0.9], ["b", 0.1]],
            **({} if time is None else {"time": time}),
        }
        path = made.draw(Answer(record, image))
        assert path.name == expected
        with Image.open(path) as written:
            assert written.format == ("JPEG" if path.suffix == ".jpg" else "PNG")
            assert written.width == 500 and written.height > 400


def test_a_mask_shows_its_classes_and_leaves_the_background(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[10:30, 10:40], mask[40:50] = 1, 255
    values = np.full((3, 60, 80), 100, dtype=np.uint8)
    made = Drawings(tmp_path, ("background", "disc"))
    path = made.draw(Answer({"name": "a.png", "mask": mask, "shares": {}}, torch.from_numpy(values)))
    with Image.open(path) as image:
        drawn = np.asarray(image)[: 60 * 6 : 6, : 80 * 6 : 6]
    disc = np.array(colours(2)[1])
    assert (drawn[2, 2] == 100).all()
    assert (drawn[20, 20] == np.rint(50 + disc / 2)).all() and (drawn[10, 20] == disc).all()
    assert (drawn[45, 40] < 60).all(), "void is dark"


def test_masks_of_several_classes_are_laid_over_one_another(tmp_path: Path) -> None:
    first, second = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    first[5:25, 5:25], second[15:35, 15:35] = 1, 1
    record = {"name": "a.png", "masks": {"one": first, "two": second}, "shares": {}}
    path = Drawings(tmp_path, ("one", "two")).draw(Answer(record, torch.full((3, 40, 40), 100, dtype=torch.uint8)))
    with Image.open(path) as image:
        drawn = np.asarray(image)[::12, ::12]
    both = np.mean(colours(2), axis=0)
    assert (np.abs(drawn[20, 20] - np.rint(60 + 0.4 * both)) <= 1).all() and (drawn[2, 2] == 100).all()


def test_signals_volumes_and_reduced_copies_are_drawn(tmp_path: Path) -> None:
    made = Drawings(tmp_path, ("bump", "buzz"))
    boxes = [
        {"class": "buzz", "score": 0.9, "bounds": [20.0, 60.0]},
        {"class": "bump", "score": 0.5, "bounds": [50.0, 90.0]},
    ]
    signal = torch.from_numpy(np.sin(np.arange(100, dtype=np.float32))[None])
    path = made.draw(Answer({"name": "s.npy", "size": [100], "boxes": boxes}, signal))
    labels = np.zeros(100, np.uint8)
    labels[30:40] = 1
    other = made.draw(Answer({"name": "t.npy", "mask": labels, "shares": {}}, signal))
    for one in (path, other):
        with Image.open(one) as image:
            assert image.width > 1000 and len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 20
    cube = [{"class": "buzz", "score": 0.9, "bounds": [3.0, 10.0, 10.0, 6.0, 20.0, 20.0]}]
    volume = torch.randint(0, 255, (1, 8, 30, 30), dtype=torch.uint8)
    with Image.open(made.draw(Answer({"name": "v.tif", "size": [8, 30, 30], "boxes": cube}, volume))) as image:
        assert (np.asarray(image)[: 16 * 30] == np.array(colours(2)[1])).all(axis=-1).any()
    box = [{"class": "buzz", "score": 0.9, "bounds": [200.0, 200.0, 400.0, 400.0]}]  # of the original, 600 x 600
    reduced = torch.zeros(3, 300, 300, dtype=torch.uint8)
    with Image.open(made.draw(Answer({"name": "r.png", "size": [600, 600], "boxes": box}, reduced))) as image:
        edge = (np.asarray(image)[:600] == np.array(colours(2)[1])).all(axis=-1)
    assert edge[300, 195:206].any() and edge[300, 394:404].any()


def test_words_stay_on_the_picture_and_do_not_cover_one_another() -> None:
    outlines = tuple(Outline((float(y), 0.0, y + 30.0, 90.0), y % 3, text=f"class {y} 0.50") for y in range(0, 400, 4))
    image = annotated(Shown(np.zeros((3, 480, 480), np.uint8), "", outlines), ("a", "b", "c"))
    assert image.size[0] == 480 and image.size[1] > 480
    corner = (Outline((-20.0, 470.0, 20.0, 700.0), 0, text="very long name of a class in a corner 0.99"),)
    values = np.asarray(annotated(Shown(np.zeros((3, 480, 480), np.uint8), "", corner), ("a",)))
    assert (values[:60] == np.array(colours(1)[0])).all(axis=-1).sum() > 1000  # the plate behind the words


def test_the_folder_is_new_and_appears_whole_or_not_at_all(tmp_path: Path, found: None) -> None:
    write_images(tmp_path / "photos")
    before = contents(tmp_path)
    assert "not empty" in refused("predict", "m", tmp_path / "photos", "--draw", tmp_path / "photos")
    assert "does not exist" in refused("predict", "m", tmp_path / "photos", "--draw", tmp_path / "no" / "where")
    assert "--form xml" in refused("predict", "m", tmp_path / "photos", "--form", "xml", "--draw", tmp_path / "new")
    refused("predict", "m", "nothing.png", "--draw", tmp_path / "new")

    def fails() -> None:
        with drawings(tmp_path / "new", ("a",)) as pictures:
            assert pictures is not None
            pictures.draw(Answer({"name": "a"}, torch.zeros(1, 9, 9)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert contents(tmp_path) == before


def test_masks_may_be_drawn_without_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate.core.transform import Compose, Letterbox
    from striate.inference.predictor import Predictor
    from striate.tasks.segmentation import SegmentationTask

    predictor = Predictor(
        module=torch.nn.Identity(),
        task=SegmentationTask(),
        preprocessing=Compose(steps=(Letterbox(size=64),)),
        classes=("r", "g", "b"),
        input_shape=(3, 64, 64),
        options=finder().options,
    )
    original = Predictor.prepare
    monkeypatch.setattr(Predictor, "prepare", lambda self, sample: original(self, sample).float())
    monkeypatch.setattr("striate.inference.predictor.load", lambda path: predictor)
    write_images(tmp_path / "photos")
    outcome = done("predict", "m", tmp_path / "photos", "--draw", tmp_path / "drawn")
    assert outcome.out.splitlines()[0] == "name,shares.r,shares.g,shares.b"
    assert len(list((tmp_path / "drawn").iterdir())) == 5
    for form in ("coco", "yolo", "voc"):
        line = refused("predict", "m", tmp_path / "photos", "--form", form, "--out", tmp_path / "out")
        assert "the answers have none" in line


def test_kept_images_do_not_gather(found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.inference.predictor.MOST_KEPT", 3 * 64 * 64)
    seen: list[int] = []

    def samples() -> Any:
        for number in range(8):
            seen.append(number)
            yield Sample(torch.zeros(3, 64, 64, dtype=torch.uint8), {}, str(number))

    first = next(finder().answers(samples(), keep=True))
    assert first.image is not None and first.image.shape == (3, 64, 64) and len(seen) == 2
    assert next(finder().answers(samples())).image is None


def test_names_are_those_of_files_and_each_there_once() -> None:
    names = Names()
    given = ["a/b.png", "c/b.jpg", "../..", ".hidden", "x\ty.png", "t.csv:walk-1", "c.mkv:3", "C.mkv:3", "d:e"]
    made = ["b", "b_2", "sample", "hidden", "x_y", "t_walk-1", "c_000003", "C_000003_2", "d_e"]
    assert [names.free(name) for name in given] == made
