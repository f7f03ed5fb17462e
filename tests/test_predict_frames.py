"""Frames as samples: animations, pages of TIFF files and videos give what the frames give as images, one at a time."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from command import contents, done, refused
from finder import finder, found, image_of, rectangles
from striate.inference.inputs import Inputs
from striate.inference.video import container_of, video_frames

__all__ = ["found"]

SIZE = (48, 64)
Frames = list[NDArray[np.uint8]]


def moving(count: int = 12) -> Frames:
    return [image_of(3 * (number % 5), SIZE) for number in range(count)]


def film(
    path: Path, frames: Frames, codec: str = "ffv1", pixels: str = "bgr0", turned: int = 0, rate: int = 10
) -> Path:
    """A video of the frames; with ffv1 or huffyuv of RGB without loss."""
    av = pytest.importorskip("av", reason="videos need PyAV (the extra video)")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if turned:
            stream.set_display_rotation(turned)
        for values in frames:
            frame = av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def records(*words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done("predict", "m", *words, "--form", "jsonl").out.splitlines()]


def table_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def without_name(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("name", "time")}


@pytest.fixture
def stills(tmp_path: Path, found: None) -> list[dict[str, Any]]:
    """What is said of the frames as PNG files."""
    (tmp_path / "stills").mkdir()
    for number, values in enumerate(moving()):
        Image.fromarray(values).save(tmp_path / "stills" / f"{number:03d}.png")
    return records(tmp_path / "stills")


@pytest.mark.parametrize(
    "name, codec, pixels", [("a.mkv", "ffv1", "bgr0"), ("a.avi", "huffyuv", "rgb24"), ("a.mov", "png", "rgb24")]
)
def test_frames_of_a_video_are_answered_as_the_same_frames_in_files(
    tmp_path: Path, stills: list[dict[str, Any]], name: str, codec: str, pixels: str
) -> None:
    path = film(tmp_path / name, moving(), codec, pixels)
    found_here = records(path)
    assert [record["name"] for record in found_here] == [f"{path}:{number}" for number in range(12)]
    assert [record["time"] for record in found_here] == pytest.approx([number / 10 for number in range(12)], abs=1e-3)
    assert list(map(without_name, found_here)) == list(map(without_name, stills))
    few = records(path, "--every", 5)
    assert [record["name"].rpartition(":")[2] for record in few] == ["0", "5", "10"]
    assert without_name(few[2]) == without_name(stills[10])
    assert [without_name(one) for one in finder().predict(path, every=5)] == list(map(without_name, few))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.webm", "libvpx"), ("a.mov", "mjpeg")])
def test_videos_with_loss_are_found_by_their_content(tmp_path: Path, found: None, name: str, codec: str) -> None:
    path = film(tmp_path / name, moving(6), codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    path = path.rename(tmp_path / "called.jpg.part")  # the name says nothing
    answers = records(path)
    assert len(answers) == 6 and all(record["size"] == list(SIZE) for record in answers)
    for number, record in enumerate(answers):
        expected = rectangles(3 * (number % 5), SIZE)
        for box in record["boxes"]:
            assert box["bounds"] == pytest.approx(expected[box["class"]], abs=3)


def test_a_turned_video_is_seen_as_it_is_shown(tmp_path: Path) -> None:
    frames = moving(3)
    path = film(tmp_path / "a.mov", frames, "png", "rgb24", turned=-90)  # a telephone held upright
    shown = [np.asarray(frame.picture) for frame in video_frames(path, 10**6)]
    assert [(one == np.rot90(values, -1)).all() for one, values in zip(shown, frames, strict=True)] == [True] * 3


def test_a_folder_of_images_and_videos_gives_both(tmp_path: Path, found: None, stills: list[dict[str, Any]]) -> None:
    folder = tmp_path / "stills"
    path = film(folder / "b.mkv", moving(3))
    outcome = done("predict", "m", folder)
    rows = table_of(outcome.out)
    assert [row["name"] for row in rows[-3:]] == [f"{path}:{number}" for number in range(3)]
    assert [row["time"] for row in rows] == [""] * 12 + ["0.0", "0.1", "0.2"]
    assert "15 predicted, 0 skipped" in outcome.err
    assert [one["time"] for one in records(folder)] == [None] * 12 + [0.0, 0.1, 0.2]
    (folder / "b.mkv").rename(tmp_path / "b.mkv")
    (tmp_path / "only").mkdir()
    (tmp_path / "b.mkv").rename(tmp_path / "only" / "b.mkv")
    assert len(records(tmp_path / "only")) == 3


def test_of_a_damaged_video_what_can_be_read_is_read(tmp_path: Path, stills: list[dict[str, Any]]) -> None:
    whole = film(tmp_path / "a.mkv", moving()).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    outcome = done("predict", "m", path, "--form", "jsonl")
    here = [json.loads(line) for line in outcome.out.splitlines()]
    assert 4 <= len(here) < 12
    assert list(map(without_name, here)) == list(map(without_name, stills[: len(here)]))
    assert "1 skipped" in outcome.err and "its header tells of 1.20 s, and it ends after" in outcome.err
    data = film(tmp_path / "a.avi", moving(), "png", "rgb24").read_bytes()
    at = data.index(b"\x89PNG", data.index(b"\x89PNG") + 1)  # the second frame
    path = tmp_path / "hit.avi"
    path.write_bytes(data[: at + 60] + b"\x55" * 40 + data[at + 100 :])
    outcome = done("predict", "m", path, "--form", "jsonl")
    assert len(outcome.out.splitlines()) == 11
    assert f"skipped {path}:1: a frame is damaged" in outcome.err
    for data in (whole[:40], b"\0\0\0\x18ftypisom" + bytes(40)):
        path.write_bytes(data)
        assert str(path) in refused("predict", "m", path)


def test_videos_that_do_not_fit_are_one_line(tmp_path: Path, found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mkv", moving(3))
    predictor = finder()
    for shape in ((1, 100), (1, 8, 64, 64), (5, 64, 64)):
        run = Inputs([str(path)], predictor.options, shape=shape)
        assert list(run) == [] and len(run.skipped) == 1 and "it is a video" in run.skipped[0][1]
    small = Inputs([str(path)], predictor.options.replace(maximum_pixels=100), shape=(3, 64, 64))
    assert list(small) == [] and "more than the 100 allowed" in small.skipped[0][1]
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install striate[video]" in refused("predict", "m", path)


def test_a_video_is_never_held_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 120, 160, 3)).astype(np.uint8)
    path = film(tmp_path / "a.mkv", list(noise))
    run = iter(Inputs([str(path)], finder().options, shape=(3, 64, 64)))
    assert next(run).name == f"{path}:0"
    with path.open("r+b") as file:  # what has not been read yet is read when it is asked for
        file.truncate(path.stat().st_size // 2)
    assert 3 < sum(1 for _ in run) < 39


def test_containers_are_told_by_their_first_bytes() -> None:
    assert container_of(b"\x1a\x45\xdf\xa3" + bytes(12)) == "matroska"
    assert container_of(b"RIFF\0\0\0\0AVI LIST") == "avi"
    for brand in (b"isom", b"mp42", b"qt  ", b"M4V "):
        assert container_of(b"\0\0\0\x18ftyp" + brand + bytes(4)) == "mov"
    for other in (b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif", b"RIFF\0\0\0\0WAVEfmt ", b"#EXTM3U", b"", b"\x89PNG"):
        assert container_of(other) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gif", {}),
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {"compression": "tiff_deflate"}),
    ],
)
def test_frames_of_animations_and_pages_are_samples(
    tmp_path: Path, stills: list[dict[str, Any]], name: str, options: dict[str, Any]
) -> None:
    pages = [Image.fromarray(values) for values in moving(7)]
    path = tmp_path / name
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    here = records(path)
    assert [record["name"] for record in here] == [f"{path}:{number}" for number in range(7)]
    assert list(map(without_name, here)) == list(map(without_name, stills[:7]))
    assert [one["name"].rpartition(":")[2] for one in records(path, "--every", 3)] == ["0", "3", "6"]
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / name)
    pages[0].save(tmp_path / "folder" / "still.png")
    assert len(records(tmp_path / "folder")) == 8
    before = contents(tmp_path / "folder")
    path = tmp_path / "folder" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    outcome = done("predict", "m", tmp_path / "folder")
    assert "skipped" in outcome.err and name in outcome.err and len(table_of(outcome.out)) >= 1
    assert contents(tmp_path / "folder").keys() == before.keys()


def test_stacks_stay_volumes_for_models_of_volumes(tmp_path: Path) -> None:
    pytest.importorskip("tifffile")
    pages = [Image.fromarray(values[..., 0]) for values in moving(5)]
    for place in (tmp_path / "a.tif", tmp_path / "folder" / "b.tif"):
        place.parent.mkdir(exist_ok=True)
        pages[0].save(place, save_all=True, append_images=pages[1:])
    options = finder().options.replace(labelled=False, colour="grey")
    for source in (tmp_path / "a.tif", tmp_path / "folder"):
        (sample,) = Inputs([str(source)], options, shape=(1, 5, *SIZE))
        assert tuple(sample.image.shape) == (1, 5, *SIZE)
        assert len(list(Inputs([str(source)], options, shape=(1, *SIZE)))) == 5
