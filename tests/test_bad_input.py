"""Bad input through the commands: one line with file, cause and fix, no traceback, nothing of the user's changed."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import SHORT, contents, done, make_images, make_table, picture, refused, run

NETWORK = ("--arch", "mnist1d_conv")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound data and a run on each kind, to be copied or pointed at, never changed."""
    folder = tmp_path_factory.mktemp("sound")
    make_table(folder / "signals.csv")
    make_images(folder / "photos")
    done("train", folder / "signals.csv", "--out", folder / "signal_run", *SHORT, *NETWORK)
    done("train", folder / "photos", "--out", folder / "photo_run", *SHORT)
    return folder


# What is refused as data, each made below a folder; the words that its line must hold.


def empty_folder(place: Path) -> tuple[Path, str]:
    return place, "an empty folder"


def folder_of_empty_folders(place: Path) -> tuple[Path, str]:
    for name in "ab":
        (place / name).mkdir()
    return place, ""


def one_class(place: Path) -> tuple[Path, str]:
    picture(place / "set" / "cat" / "a.png")
    return place / "set", "1 class found (cat)"


def nothing(place: Path) -> tuple[Path, str]:
    return place / "missing", "does not exist"


def only_damaged_images(place: Path) -> tuple[Path, str]:
    for name in ("a", "b"):
        (place / "set" / name).mkdir(parents=True)
        (place / "set" / name / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place / "set", "x.png"


def fifo(place: Path) -> tuple[Path, str]:
    os.mkfifo(place / "pipe.csv")
    return place / "pipe.csv", "a FIFO"


def looping_link(place: Path) -> tuple[Path, str]:
    (place / "loop").symlink_to("loop")
    return place / "loop", "leads back to itself"


def postscript(place: Path) -> tuple[Path, str]:
    (place / "drawing.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    return place / "drawing.png", ""


def photoshop(place: Path) -> tuple[Path, str]:
    (place / "drawing.psd").write_bytes(b"8BPS\0\1" + bytes(40))
    return place / "drawing.psd", ""


def zero_bytes(place: Path) -> tuple[Path, str]:
    (place / "data.csv").touch()
    return place / "data.csv", "empty"


def table(text: str, words: str) -> Callable[[Path], tuple[Path, str]]:
    def make(place: Path) -> tuple[Path, str]:
        (place / "signals.csv").write_text(text)
        return place / "signals.csv", words

    return make


def objects(place: Path) -> tuple[Path, str]:
    np.savez(place / "objects.npz", x=np.array([{"a": 1}, [1]], dtype=object), y=[0, 1])
    return place / "objects.npz", "Python objects"


def terabytes(place: Path) -> tuple[Path, str]:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4), }"
    header += b" " * (118 - len(header)) + b"\n"
    with zipfile.ZipFile(place / "huge.npz", "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    return place / "huge.npz", "claims the shape"


def pickled_array(place: Path) -> tuple[Path, str]:
    (place / "x.npy").write_bytes(pickle.dumps([1, 2]))
    return place / "x.npy", ""


BAD_DATA = [
    empty_folder,
    folder_of_empty_folders,
    one_class,
    nothing,
    only_damaged_images,
    fifo,
    looping_link,
    postscript,
    photoshop,
    zero_bytes,
    objects,
    terabytes,
    pickled_array,
    pytest.param(table("label,a,b\n0,1,2\n1,3\n", ":3:"), id="ragged"),
    pytest.param(table("label,a,b\n0,1,2\n1,3,oops\n", ":3:"), id="text_in_numbers"),
    pytest.param(table("label,a,b\n0,NaN,2\n1,,4\n", "line 2"), id="only_missing_values"),
    pytest.param(table("a,b\n1,2\n3,4\n", "label"), id="no_labels"),
    pytest.param(table("label,a,b\n,1,2\n,3,4\n", "no label"), id="every_label_missing"),
]


@pytest.mark.parametrize("make", BAD_DATA)
def test_bad_data_is_refused_in_one_line_that_names_it(
    tmp_path: Path, make: Callable[[Path], tuple[Path, str]]
) -> None:
    (tmp_path / "data").mkdir()
    path, words = make(tmp_path / "data")
    before = contents(tmp_path / "data")
    for command in ("train", "prepare"):
        line = refused(command, path, "--out", tmp_path / command)
        assert path.name in line
        assert words in line
    assert contents(tmp_path / "data") == before
    assert not (tmp_path / "train" / "model.safetensors").exists()


@pytest.mark.parametrize("make", BAD_DATA)
def test_bad_data_is_refused_or_skipped_in_prediction_and_evaluation(
    home: Path, tmp_path: Path, make: Callable[[Path], tuple[Path, str]]
) -> None:
    (tmp_path / "data").mkdir()
    path, _ = make(tmp_path / "data")
    model = home / ("signal_run" if path.suffix in (".csv", ".npz", ".npy") else "photo_run")
    before = contents(tmp_path / "data")
    refused("evaluate", model, path, "--json")
    outcome = run("predict", model, path)
    assert "Traceback" not in outcome.err
    assert outcome.code == 0 or outcome.err.count("striate: ") == 1
    assert contents(tmp_path / "data") == before


def strew(folder: Path) -> dict[str, str]:
    """Bad images of every kind among good ones; the word each one's reason holds."""
    bad = make_images(folder) / "red"
    (bad / "zero.png").touch()
    (bad / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (bad / "psd.jpg").write_bytes(b"8BPS\0\1" + bytes(40))
    (bad / "notes.txt").write_text("hello")
    data = picture(bad / "cut.png", size=64).read_bytes()
    (bad / "cut.png").write_bytes(data[: len(data) // 2])
    Image.new("1", (9000, 9000)).save(bad / "huge.png")
    os.mkfifo(bad / "fifo.png")
    (bad / "loop.png").symlink_to("loop.png")
    words = {"zero": "empty", "eps": "PostScript", "psd": "Photoshop", "notes": "JPEG", "cut": "", "huge": "81,000,000"}
    words |= {"fifo": "FIFO", "loop": "back to itself"}
    if os.geteuid():
        picture(bad / "locked.png").chmod(0)
        words["locked"] = "permission"
    return words


def test_bad_images_are_skipped_counted_and_listed(home: Path, tmp_path: Path) -> None:
    words = strew(tmp_path / "set")
    trained = done("train", tmp_path / "set", "--out", tmp_path / "run", *SHORT, "--size", 12)
    assert f"{len(words)} skipped" in trained.err
    report = (tmp_path / "run" / "report.html").read_text()
    for name in words:
        assert name in report
    predicted = done("predict", home / "photo_run", tmp_path / "set")
    assert f"24 predicted, {len(words)} skipped" in predicted.err
    for name, word in words.items():
        line = next(line for line in predicted.err.splitlines() if f"{name}." in line and "skipped" in line)
        assert word in line
    assert f"{len(words)} skipped" in done("evaluate", home / "photo_run", tmp_path / "set").err


@pytest.mark.parametrize("name", ["zero.png", "eps.png", "psd.jpg", "cut.png", "huge.png", "fifo.png", "loop.png"])
def test_one_bad_image_alone_is_an_error_that_names_it(home: Path, tmp_path: Path, name: str) -> None:
    strew(tmp_path / "set")
    assert name in refused("predict", home / "photo_run", tmp_path / "set" / "red" / name)


def test_animated_cmyk_and_deep_images_train(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set")
    picture(folder / "red" / "cmyk.tiff", (190, 0, 0), mode="CMYK")
    Image.fromarray(np.full((12, 12), 40000, np.uint16)).save(folder / "red" / "deep.png")
    frames = [Image.new("RGB", (12, 12), (value, 0, 0)) for value in (200, 0)]
    frames[0].save(folder / "red" / "moving.gif", save_all=True, append_images=frames[1:])
    outcome = done("train", folder, "--out", tmp_path / "run", *SHORT)
    assert "noted" in outcome.err
    assert " skipped, all listed" not in outcome.err


def test_rows_without_values_or_label_are_skipped_counted_and_listed(home: Path, tmp_path: Path) -> None:
    path = make_table(tmp_path / "signals.csv")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[2], "NaN")
    lines[4] = "," + lines[4].partition(",")[2]
    path.write_text("\n".join(lines) + "\n")
    done("train", path, "--out", tmp_path / "run", *SHORT, *NETWORK)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "no finite number in column" in report
    assert "no label" in report
    predicted = done("predict", home / "signal_run", path)
    assert "59 predicted, 1 skipped" in predicted.err
    assert "line 4" in predicted.err


def test_values_that_are_not_finite_are_skipped_in_prediction(home: Path, tmp_path: Path) -> None:
    values = np.zeros((3, 24), np.float32)
    values[1, 5] = np.inf
    np.savez(tmp_path / "x.npz", x=values)
    outcome = done("predict", home / "signal_run", tmp_path / "x.npz")
    assert "2 predicted, 1 skipped" in outcome.err
    assert "x.npz:1: it holds" in outcome.err


def test_a_class_that_validation_lacks_is_no_obstacle(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set", below="train")
    picture(folder / "val" / "red" / "a.png", (190, 0, 0))
    done("train", folder, "--out", tmp_path / "run", *SHORT)
    found = json.loads(done("evaluate", tmp_path / "run", folder, "--split", "val", "--json").out)
    assert found["support"] == [0, 1]
    assert found["recall"][0] is None


def test_classes_that_a_split_lacks_are_said(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set", below="train")
    picture(folder / "val" / "green" / "a.png", (0, 190, 0))
    outcome = run("train", folder, "--out", tmp_path / "run", *SHORT)
    assert outcome.code == 0, outcome.err
    assert "split: train has no sample of green: cannot be learned" in outcome.err
    assert "split: val has no sample of blue, red: cannot be measured there" in outcome.err


def test_training_samples_of_one_class_are_refused(tmp_path: Path) -> None:
    for name in ("train/red", "val/red", "val/blue"):
        picture(tmp_path / "set" / name / "a.png")
    assert "classes (blue)" in refused("train", tmp_path / "set", "--out", tmp_path / "run", *SHORT)


def test_a_split_of_which_nothing_can_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set", below="train")
    for name in ("red", "blue"):
        (folder / "val" / name).mkdir(parents=True)
        (folder / "val" / name / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = done("train", folder, "--out", tmp_path / "run", *SHORT)
    assert "split: no sample of val can be read; it is left out" in outcome.err
    assert "held out for validation" in outcome.err


def test_a_first_sample_that_cannot_be_read_spoils_nothing(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set")
    (folder / "blue" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done("train", folder, "--out", tmp_path / "run", *SHORT)
    assert json.loads(done("evaluate", tmp_path / "run", folder, "--json").out)["count"] == 23


def test_a_class_of_one_sample_is_said_to_stay_in_training(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "set")
    picture(folder / "green" / "only.png", (0, 190, 0))
    assert "green" in done("train", folder, "--out", tmp_path / "run", *SHORT).err


def test_data_of_other_channels_axes_or_sizes_is_refused_in_evaluation(home: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "longer.npz", x=np.zeros((4, 25), np.float32), y=[0, 1, 0, 1], classes=["flat", "sine"])
    assert "1x25" in refused("evaluate", home / "signal_run", tmp_path / "longer.npz")
    assert "1x25" in refused("predict", home / "signal_run", tmp_path / "longer.npz")
    assert "1x24" in refused("predict", home / "photo_run", home / "signals.csv")
    assert "does not know the class 'blue'" in refused("evaluate", home / "signal_run", home / "photos")
