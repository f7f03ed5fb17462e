"""Readers find what is there, say what they found, and give the values that were written."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.arrays import find_layout
from striate.data.formats.synthetic import shapes, waves
from striate.data.paths import natural
from striate.data.reader import open_data, readers
from striate.data.split import make_split, missing_classes

FASHION = Path("/usr/share/datasets/fashion-mnist")


def picture(path: Path, value: int = 0, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 3), value).save(path)


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def idx(path: Path, values: np.ndarray) -> None:
    head = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(head + values.astype(np.uint8).tobytes())


def test_every_format_is_found() -> None:
    assert set(readers()) >= {"arrays", "idx", "image folder", "mnist1d", "synthetic", "table"}


def test_class_folders_give_classes_in_natural_order(tmp_path: Path) -> None:
    for name in ("digit10", "digit9", "digit1"):
        picture(tmp_path / name / "a.png", 10)
    reader = open_data(tmp_path)
    assert reader.classes == ("digit1", "digit9", "digit10")
    assert list(reader.splits) == ["all"]
    assert [reader.label(i) for i in range(3)] == [0, 1, 2]


def test_split_folders_are_splits(tmp_path: Path) -> None:
    for split in ("train", "Validation", "test"):
        for name in "ab":
            picture(tmp_path / split / name / "deep" / "x.png")
    reader = open_data(tmp_path)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 2, "val": 2, "test": 2}
    assert reader.classes == ("a", "b")
    assert "train 2" not in reader.found
    assert "2 train" in reader.found


def test_a_class_folder_called_test_is_a_class_where_nothing_is_called_train(tmp_path: Path) -> None:
    picture(tmp_path / "test" / "a.png")
    picture(tmp_path / "control" / "a.png")
    assert open_data(tmp_path).classes == ("control", "test")


def test_a_set_with_some_colour_is_rgb_and_one_without_is_grey(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "x.png")
    assert open_data(tmp_path).read(0).image.shape == (1, 3, 4)
    picture(tmp_path / "b" / "y.png", mode="RGB")
    reader = open_data(tmp_path)
    assert {tuple(reader.read(i).image.shape) for i in range(3)} == {(3, 3, 4)}
    assert reader.settled.colour == "rgb"


def test_eight_bits_become_sixteen_in_a_set_with_sixteen(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png", 255)
    (tmp_path / "b").mkdir()
    Image.fromarray(np.full((3, 4), 1234, np.uint16)).save(tmp_path / "b" / "x.png")
    reader = open_data(tmp_path)
    assert [int(reader.image(i).max()) for i in range(2)] == [65535, 1234]


def test_unlabelled_images_are_listed_from_everywhere(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    picture(tmp_path / "sub" / "y.png")
    reader = open_data(tmp_path, options=ReaderOptions(labelled=False))
    assert len(reader) == 2
    assert reader.labels is None
    assert reader.read(0).targets == {}


def test_one_image_file_can_be_read(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 7)
    reader = open_data(tmp_path / "x.png", options=ReaderOptions(labelled=False))
    assert (len(reader), int(reader.image(0).max()), reader.name(0)) == (1, 7, "x.png")


def test_npz_with_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 65535, (6, 5, 4, 3)).astype(np.uint16), np.array(["b", "a", "b"] * 2)
    np.savez(tmp_path / "d.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
    reader = open_data(tmp_path / "d.npz")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 4, "test": 2}
    assert np.array_equal(reader.image(5), x[5].transpose(2, 0, 1))
    assert reader.image(5).dtype == np.uint16
    assert [reader.classes[reader.label(i) or 0] for i in range(6)] == y.tolist()


@pytest.mark.parametrize("names", [("x", "y"), ("X", "Y"), ("images", "labels"), ("data", "target")])
def test_npz_names(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez_compressed(tmp_path / "d.npz", **{names[0]: np.zeros((4, 9)), names[1]: np.array([3, 3, 7, 7])})
    reader = open_data(tmp_path / "d.npz")
    assert reader.classes == ("3", "7")
    assert reader.read(0).image.shape == (1, 9)


def test_x_beside_x_test_is_training(tmp_path: Path) -> None:
    x, y = np.zeros((4, 9)), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "d.npz", x=x, y=y, x_test=x[:2], y_test=y[:2], t=np.zeros(9))
    reader = open_data(tmp_path / "d.npz")
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 4, "test": 2}
    assert reader.skipped[0][0] == "t"


def test_npy_files_in_a_folder_and_one_beside_its_labels(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(24, dtype=">f8").reshape(4, 6))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", np.array([[1, 0], [0, 1], [1, 0], [0, 1]]))
    for path in (tmp_path, tmp_path / "x.npy"):
        reader = open_data(path)
        assert np.array_equal(reader.image(2), x[2:3])
        assert reader.image(2).dtype == np.float32
        assert [reader.label(i) for i in range(4)] == [0, 1, 0, 1]


def test_rows_with_several_ones_are_several_labels(tmp_path: Path) -> None:
    rows = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 8)), y=rows, classes=["cat", "dog", "owl"])
    reader = open_data(tmp_path / "d.npz")
    assert reader.multi_label
    assert reader.classes == ("cat", "dog", "owl")
    tags = reader.read(0).targets["label"].arrays()["tags"]
    assert tags.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((9, 40), "f4", "NL"),
        ((9, 28, 28), "u1", "NHW"),
        ((9, 28, 28), "f4", "NHW"),
        ((9, 6, 100), "f4", "NCL"),
        ((9, 100, 6), "f4", "NLC"),
        ((9, 3, 100), "u1", "NCL"),
        ((9, 20, 30), "f8", "NHW"),
        ((9, 32, 32, 3), "u1", "NHWC"),
        ((9, 3, 32, 32), "u1", "NCHW"),
        ((9, 16, 16, 16), "u1", "NDHW"),
        ((9, 1, 16, 16, 16), "f4", "NCDHW"),
        ((9, 16, 16, 16, 2), "f4", "NDHWC"),
    ],
)
def test_layouts_are_recognised(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    assert find_layout(shape, np.dtype(dtype), "x") == layout


def test_a_layout_that_cannot_be_told_is_asked_for_and_can_be_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 13, 64, 60)), y=[0, 1, 0, 1])
    with pytest.raises(InputError, match="set layout to NCHW, NHWC or NDHW"):
        open_data(tmp_path / "d.npz")
    reader = open_data(tmp_path / "d.npz", options=ReaderOptions(layout="NCHW"))
    assert reader.image(0).shape == (13, 64, 60)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_folder(tmp_path: Path, end: str) -> None:
    rng = np.random.default_rng(1)
    images = {"train": rng.integers(0, 256, (6, 5, 4)), "t10k": rng.integers(0, 256, (3, 5, 4))}
    for name, values in images.items():
        idx(tmp_path / f"{name}-images-idx3-ubyte{end}", values)
        idx(tmp_path / f"{name}-labels-idx1-ubyte{end}", np.arange(len(values)) % 3)
    reader = open_data(tmp_path)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 6, "test": 3}
    assert np.array_equal(reader.image(7)[0], images["t10k"][1])
    alone = open_data(tmp_path / f"t10k-images-idx3-ubyte{end}")
    assert len(alone) == 3
    assert [alone.label(i) for i in range(3)] == [0, 1, 2]


@pytest.mark.skipif(not FASHION.exists(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_read() -> None:
    reader = open_data(FASHION)
    assert {name: len(rows) for name, rows in reader.splits.items()} == {"train": 60_000, "test": 10_000}
    assert np.bincount(np.asarray(reader.labels)).tolist() == [7000] * 10
    assert reader.read(0).image.shape == (1, 28, 28)


def test_wide_table(tmp_path: Path) -> None:
    reader = open_data(table(tmp_path / "t.csv", "label,0,1,2\nup,1,2,3\ndown,3,2.5,1e0\n"))
    assert reader.classes == ("down", "up")
    assert reader.image(1).tolist() == [[3, 2.5, 1]]
    assert "labels in column 'label'" in reader.found
    assert "one row a signal of 3 values" in reader.found


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a,b,c\n1,2,up\n3,4,down\n", "c"),
        ("what,b,c\nup,2,1\ndown,3,4\n", "what"),
        ("up,2,1\ndown,3,4\n", "1"),
        ("a;b;target\n1;2;0\n3;4;1\n", "target"),
        ("\ufefflabel\tb\n0\t2\n1\t4\n", "label"),
    ],
)
def test_the_label_column_is_found_and_named(tmp_path: Path, text: str, column: str) -> None:
    reader = open_data(table(tmp_path / "t.csv", text))
    assert f"labels in column {column!r}" in reader.found
    assert len(reader.classes) == 2


def test_a_table_of_numbers_needs_the_label_named(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "1,0.5,0.6\n2,0.7,0.8\n")
    with pytest.raises(InputError, match="name the column of labels with label_column"):
        open_data(path)
    assert open_data(path, options=ReaderOptions(label_column="1")).classes == ("1", "2")


def test_long_table_of_several_channels_in_order_of_time(tmp_path: Path) -> None:
    text = "id,time,x,y,label,group\nb,2,5,50,run,p1\nb,1,4,40,run,p1\na,1,1,10,walk,p2\na,3,3,30,,p2\na,2,2,20,,p2\n"
    reader = open_data(table(tmp_path / "t.csv", text))
    assert reader.image(0).tolist() == [[4, 5], [40, 50]]
    assert reader.image(1).tolist() == [[1, 2, 3], [10, 20, 30]]
    assert [reader.name(i) for i in range(2)] == ["b", "a"]
    assert [reader.group(i) for i in range(2)] == ["p1", "p2"]
    assert "2 channels (x, y)" in reader.found


def test_long_table_without_time_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    reader = open_data(table(tmp_path / "t.csv", "series,value,class\ns,3,0\nt,1,1\ns,2,0\nt,9,1\n"))
    assert reader.image(0).tolist() == [[3, 2]]
    assert reader.image(1).tolist() == [[1, 9]]


def test_split_column_and_several_labels(tmp_path: Path) -> None:
    text = "label,split,a,b\nx;y,train,1,2\ny,train,1,2\nx,valid,3,4\nz|x,test,5,6\n".replace("z|x", "z;x")
    reader = open_data(table(tmp_path / "t.csv", text))
    assert {name: rows.tolist() for name, rows in reader.splits.items()} == {"train": [0, 1], "val": [2], "test": [3]}
    assert reader.multi_label
    assert np.asarray(reader.labels).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]


def test_a_folder_of_train_and_test_tables(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "label,a,b\n0,1,2\n1,3,4\n")
    table(tmp_path / "test.csv", "a,b\n5,6\n")
    reader = open_data(tmp_path)
    assert reader.skipped == [("test.csv", "it has no column 'label' of labels")]
    table(tmp_path / "test.csv", "label,a,b\n1,5,6\n")
    assert {name: rows.tolist() for name, rows in open_data(tmp_path).splits.items()} == {"train": [0, 1], "test": [2]}


def test_a_table_to_predict_on_needs_no_labels(tmp_path: Path) -> None:
    options = ReaderOptions(labelled=False, label_column="label")
    for text in ("a,b\n1,2\n3,4\n", "label,a,b\nup,1,2\nup,3,4\n"):
        reader = open_data(table(tmp_path / "t.csv", text), options=options)
        assert reader.image(1).tolist() == [[3, 4]]


def test_the_format_can_be_settled_where_several_fit(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "x.png")
    table(tmp_path / "train.csv", "label,v\n0,1\n1,2\n")
    with pytest.raises(InputError, match=r"several ways.*--format"):
        open_data(tmp_path)
    assert open_data(tmp_path, "table").classes == ("0", "1")


def test_classes_can_be_renamed(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "label,v\n0,1\n1,2\n")
    assert open_data(path, options=ReaderOptions(classes=("no", "yes"))).classes == ("no", "yes")
    with pytest.raises(InputError, match="3 class names were given for 2 classes"):
        open_data(path, options=ReaderOptions(classes=("a", "b", "c")))


def test_the_fingerprint_follows_content_and_not_place(tmp_path: Path) -> None:
    one, two = tmp_path / "t.csv", tmp_path / "elsewhere" / "t.csv"
    two.parent.mkdir()
    for path in (one, two):
        table(path, "label,v\n0,1\n1,2\n")
    before = open_data(one).fingerprint()
    assert open_data(two).fingerprint() == before
    table(two, "label,v\n0,1\n1,3\n")
    assert open_data(two).fingerprint() != before


def test_synthetic_sets_can_be_told_apart_and_are_repeatable() -> None:
    signals, labels = waves(30, channels=2)
    assert signals.shape == (30, 2, 64)
    assert np.bincount(labels).tolist() == [10, 10, 10]
    assert np.array_equal(shapes(9)[0], shapes(30)[0][:9])
    assert open_data("shapes").classes == ("disc", "square", "cross")


def test_natural_order() -> None:
    assert sorted(["a10", "a9", "b", "1"], key=natural) == ["1", "a9", "a10", "b"]


def test_split_is_stratified_and_repeatable() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    split = make_split(labels, fraction=0.1, seed=3)
    assert np.bincount(labels[split.held]).tolist() == [10, 5, 1]
    assert np.array_equal(split.held, make_split(labels, fraction=0.1, seed=3).held)
    assert sorted([*split.train, *split.held]) == list(range(160))
    assert not np.array_equal(split.held, make_split(labels, fraction=0.1, seed=4).held)


def test_small_classes_add_up_to_the_fraction() -> None:
    assert len(make_split(np.repeat(np.arange(100), 12), fraction=0.1).held) == 120


def test_a_class_with_one_sample_trains_and_is_noted() -> None:
    split = make_split(np.array([0] * 10 + [1]), fraction=0.3, classes=("many", "one"))
    assert 10 in split.train
    assert split.notes == ("not in the validation split, with a single sample: one",)
    assert missing_classes(np.array([0, 0]), ("many", "one")) == ["one"]


def test_groups_stay_together_and_every_class_keeps_training_samples() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 20, 300)]
    labels = rng.integers(0, 3, 300)
    split = make_split(labels, groups, fraction=0.2)
    held = {groups[row] for row in split.held}
    assert not held & {groups[row] for row in split.train}
    assert 30 <= len(split.held) <= 90
    assert set(labels[split.train]) == {0, 1, 2}
    with pytest.raises(InputError, match="all samples are of one group"):
        make_split(labels, ["same"] * 300)


def test_a_split_of_several_labels() -> None:
    rows = np.random.default_rng(0).random((200, 4)) < 0.3
    split = make_split(rows, fraction=0.25)
    assert 40 <= len(split.held) <= 60
