"""Bad data of every kind ends in one line with the file, the cause and the fix, or is skipped, counted and listed."""

import io
import os
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.core.errors import InputError
from striate.core.transform import Compose, Resize
from striate.data.collection import ReaderOptions
from striate.data.formats.idx import read_idx
from striate.data.prepare import prepare
from striate.data.reader import open_data

PLAIN = Compose()


def refused(path: Path, *words: str, options: ReaderOptions | None = None) -> None:
    """The path is refused in one line that holds the words."""
    with pytest.raises(InputError) as caught:
        open_data(path, options=options)
    line = str(caught.value)
    assert "\n" not in line
    assert ";" in line
    assert str(path.name) in line
    for word in words:
        assert word in line, line


def picture(path: Path, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "signals.csv"
    path.write_text(text)
    return path


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "an empty folder")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".DS_Store").write_bytes(b"x")
    refused(tmp_path / "hidden", "an empty folder")
    (tmp_path / "notes.docx").write_bytes(b"x")
    refused(tmp_path / "notes.docx", "no known format", "docs/data.md")


def test_what_is_no_file_or_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "a FIFO")
    os.mkfifo(tmp_path / "fifo.csv")
    refused(tmp_path / "fifo.csv", "a FIFO")
    os.symlink("loop", tmp_path / "loop")
    refused(tmp_path / "loop", "leads back to itself")


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such format; use one of: .*table"):
        open_data(tmp_path, "carrier pigeon")


def test_one_class(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "cat" / "a.png")
    refused(tmp_path / "set", "1 class found (cat)", "at least 2")
    assert open_data(tmp_path / "set", options=ReaderOptions(minimum_classes=1)).classes == ("cat",)
    refused(table(tmp_path, "label,a\n1,2\n1,3\n"), "1 class found (1)")


def test_images_without_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "flat" / "a.png")
    refused(tmp_path / "flat", "no class folders", "put the images of each class into a folder")


def test_classes_beside_splits_are_not_guessed_at(tmp_path: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "birds"):
        picture(tmp_path / "set" / name / "x.png")
    refused(tmp_path / "set", "beside", "birds", "not clear")


def test_every_kind_of_bad_image_is_skipped_counted_and_listed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("a", "b"):
        for number in range(3):
            picture(folder / name / f"good{number}.png")
    bad = folder / "a"
    (bad / "zero.png").touch()
    (bad / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (bad / "psd.jpg").write_bytes(b"8BPS\0\1" + bytes(40))
    (bad / "notes.txt").write_text("hello")
    data = picture(bad / "cut.png", (64, 64), "RGB").read_bytes()
    (bad / "cut.png").write_bytes(data[: len(data) // 2])
    Image.new("1", (9000, 9000)).save(bad / "huge.png")
    os.mkfifo(bad / "fifo.png")
    os.symlink("loop.png", bad / "loop.png")
    os.symlink("../..", bad / "up")
    os.symlink("nowhere.png", bad / "dangling.png")
    (folder / "empty").mkdir()
    (folder / "README.md").write_text("about")
    (bad / ".hidden.png").write_bytes(b"x")
    started = time.monotonic()
    said: list[str] = []
    shards = prepare(open_data(folder), tmp_path / "shards", Compose(steps=(Resize(size=8),)), say=said.append)
    assert time.monotonic() - started < 60
    skipped = dict(shards.skipped)
    assert len(shards) == 6
    assert set(skipped) == {
        "README.md",
        "empty",
        *(
            f"a/{name}"
            for name in (
                "zero.png",
                "eps.png",
                "psd.jpg",
                "notes.txt",
                "cut.png",
                "huge.png",
                "fifo.png",
                "loop.png",
                "up",
                "dangling.png",
            )
        ),
    }
    for name, word in {
        "zero.png": "empty",
        "eps.png": "PostScript",
        "psd.jpg": "Photoshop",
        "notes.txt": "not JPEG",
        "huge.png": "81,000,000 pixels",
        "fifo.png": "FIFO",
        "loop.png": "back to itself",
        "up": "read anyway",
        "dangling.png": "does not exist",
    }.items():
        assert word in skipped[f"a/{name}"]
    assert any(line.startswith("12 skipped, all listed") for line in said)


def test_animated_and_converted_images_are_noted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "a" / "x.png", mode="RGB")
    picture(folder / "b" / "cmyk.tiff", mode="CMYK")
    frames = [Image.new("L", (8, 8), value) for value in (1, 2, 3)]
    frames[0].save(folder / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    shards = prepare(open_data(folder), tmp_path / "shards", PLAIN)
    assert len(shards) == 3
    assert shards.notes == [("b/moving.gif", "animated: first frame taken")]


def test_an_unreadable_file_is_listed(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    for name in "ab":
        picture(tmp_path / "set" / name / "x.png")
    picture(tmp_path / "set" / "a" / "secret.png").chmod(0)
    shards = prepare(open_data(tmp_path / "set"), tmp_path / "shards", PLAIN)
    assert shards.skipped[0][0] == "a/secret.png"


def test_a_set_of_which_nothing_can_be_used(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"none of the 2 samples can be used \(first: a/x.png: the image is damaged"):
        prepare(open_data(tmp_path / "set"), tmp_path / "shards", PLAIN)


def test_a_class_that_loses_all_its_samples_leaves_too_few(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a" / "x.png")
    (tmp_path / "set" / "b").mkdir()
    (tmp_path / "set" / "b" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="samples of 1 class can be used"):
        prepare(open_data(tmp_path / "set"), tmp_path / "shards", PLAIN)
    assert not (tmp_path / "shards" / "index.json").exists()


def test_a_sample_unlike_the_others_is_skipped(tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", mode="RGB")
    reader = open_data(tmp_path / "set")
    values = np.zeros((8, 8), np.float32)
    Image.fromarray(values).save(tmp_path / "set" / "a" / "0.png", "TIFF")
    shards = prepare(reader, tmp_path / "shards", PLAIN)
    assert len(shards) == 39
    assert "32-bit floats" in shards.skipped[0][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,a,b\n0,1,2\n1,3\n", (":3:", "2 cells where the first line has 3", "same columns")),
        ("label,a,b\n0,1,2\n1,3,4,5\n", (":3:", "4 cells")),
        ("label,a,b\n0,1,2\n\n1,3,oops\n", (":4:", "'oops' in column 'b' is no number", "ignored_columns")),
        ("label,a,b\n0,1,2\n1,1_000,3\n", (":3:", "'1_000'")),
        ("label,a,b\n", ("no rows",)),
        ("", ("empty (0 bytes)",)),
        ("a,b\n1,2\n3,4\n", ("no column is called label", "label_column")),
        ("label\n0\n1\n", ("no column of values",)),
        ("label,a\n0.25,1\n0.5,2\n", ("0.25 is a measurement",)),
        ("label,split,a\n0,train,1\n1,sometimes,2\n", ("'sometimes' is unknown",)),
        ("label,split,a\n0,train,1\n1,,2\n", ("has no split, others have",)),
        ("id,time,v,label\na,1,1,0\na,1,2,0\nb,1,1,1\n", (":3:", "the same time as line 2")),
        ("id,time,v,label\na,1,1,0\na,2,2,1\nb,1,1,1\n", (":3:", "the label '1', where line 2")),
        ('label,a\n0,"1\n1,2\n', ("",)),
    ],
)
def test_bad_tables_name_the_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    refused(table(tmp_path, text), *words)


def test_missing_values_and_labels_are_skipped_and_listed(tmp_path: Path) -> None:
    reader = open_data(table(tmp_path, "label,a,b\n0,1,2\n1,NaN,4\n,1,2\n1,,3\n1,inf,3\n1,5,6\nNA,1,1\n0,1e300,2\n"))
    assert len(reader) == 2
    assert reader.skipped == [
        ("line 3", "line 3: no finite number in column 'a'"),
        ("line 4", "line 4: no label"),
        ("line 5", "line 5: no finite number in column 'a'"),
        ("line 6", "line 6: no finite number in column 'a'"),
        ("line 8", "line 8: no label"),
        ("line 9", "line 9: no finite number in column 'a'"),
    ]


def test_a_series_with_a_missing_value_is_skipped_whole(tmp_path: Path) -> None:
    reader = open_data(table(tmp_path, "id,v,label\na,1,0\na,,0\nb,1,1\nb,2,1\nc,1,0\nc,1,0\nd,1,\nd,2,\n"))
    assert len(reader) == 2
    assert [name for name, _ in reader.skipped] == ["a", "d"]


def test_other_columns_can_be_ignored_by_name(tmp_path: Path) -> None:
    path = table(tmp_path, "label,remark,a\n0,fine,1\n1,odd,2\n")
    assert open_data(path, options=ReaderOptions(ignored_columns=("remark",))).image(1).tolist() == [[2]]
    refused(path, "there is no column 'remarks'", options=ReaderOptions(ignored_columns=("remarks",)))


def test_binary_and_other_encodings_are_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("label,a\n0,1\n".encode("utf-16"))
    refused(path, "not UTF-8 text")
    path.write_bytes(os.urandom(2000).replace(b"\0", b"\1"))
    with pytest.raises(InputError):
        open_data(path)


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(shape: tuple[int, ...], descr: str = "<f4", body: bytes = bytes(64)) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header)) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + body


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}, [1, 2]], dtype=object), y=[0, 1])
    refused(tmp_path / "d.npz", "Python objects", "can run code")
    np.save(tmp_path / "x.npy", np.array([None, 1], dtype=object))
    refused(tmp_path / "x.npy", "Python objects")


@pytest.mark.parametrize("shape", [(1 << 40, 4), (1 << 62, 1 << 62), (3, 1 << 45)])
def test_a_claim_of_terabytes_is_refused_before_allocating(tmp_path: Path, shape: tuple[int, ...]) -> None:
    refused(npz(tmp_path / "d.npz", x=npy(shape), y=npy((4,))), "it claims the shape")
    (tmp_path / "x.npy").write_bytes(npy(shape))
    refused(tmp_path / "x.npy", "it claims the shape")


def test_a_zip_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", x=npy((4, 4)), y=npy((4,)))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + 24  # the uncompressed size in the central directory
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    refused(path, "claims 4,294,967,280 bytes")


def test_damaged_array_files(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((8, 9)), y=np.arange(8) % 2)
    data = path.read_bytes()
    for damaged in (data[:200], data[:-10], b"", b"PK\3\4" + bytes(50), b"hello"):
        path.write_bytes(damaged)
        refused(path)
    for header in (b"{'descr': __import__('os'), 'shape': ()}", b"{" * 100, b"[" * 5000, b"{}"):
        body = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
        (tmp_path / "x.npy").write_bytes(body)
        refused(tmp_path / "x.npy", "the header is not that of an array")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"x": np.zeros((4, 9)), "y": np.zeros(3)}, ("4 samples, labels of shape (3,)",)),
        ({"x": np.zeros((4, 9))}, ("no labels",)),
        ({"y": np.zeros(4)}, ("no array is called images, x",)),
        ({"x": np.zeros((4, 9)), "images": np.zeros((4, 9)), "y": [0, 1, 0, 1]}, ("both 'x' and 'images'",)),
        ({"x": np.zeros((4, 9)), "y": [0.5, 1, 0, 1]}, ("no whole numbers",)),
        ({"x": np.zeros((4, 9)), "y": [np.nan, 1, 0, 1]}, ("no whole numbers",)),
        ({"x": np.zeros((2, 9)), "y": [[0, 2], [1, 0]]}, ("more than 0 and 1",)),
        ({"x": np.zeros((2, 9), complex), "y": [0, 1]}, ("samples of type complex128",)),
        ({"x": np.zeros((2, 0)), "y": [0, 1]}, ("without any value",)),
        ({"x": np.zeros((0, 9)), "y": np.zeros(0)}, ("no sample was found",)),
        ({"x": np.zeros(4), "y": [0, 1, 0, 1]}, ("2 to 5 dimensions",)),
        ({"x_train": np.zeros((4, 9)), "y": [0, 1, 0, 1]}, ("give both for every split",)),
        ({"x": np.zeros((4, 9)), "x_train": np.zeros((4, 9)), "y": [0, 1, 0, 1]}, ("name the split of every array",)),
        ({"x": np.zeros((2, 9)), "y": [0, 5], "classes": ["a", "b"]}, ("the label 5 has no name",)),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, members: dict[str, object], words: tuple[str, ...]) -> None:
    np.savez(tmp_path / "d.npz", **members)
    refused(tmp_path / "d.npz", *words)


def test_samples_that_are_not_finite_are_skipped_when_prepared(tmp_path: Path) -> None:
    x = np.zeros((6, 9))
    x[2, 3], x[4, 0] = np.nan, 1e300
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 2)
    shards = prepare(open_data(tmp_path / "d.npz"), tmp_path / "s", PLAIN)
    assert [name for name, _ in shards.skipped] == ["2", "4"]
    assert "not finite" in shards.skipped[0][1]


def test_bad_idx_files(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    head = b"\0\0\x08\3" + struct.pack(">3I", 2, 3, 4)
    for data, word in (
        (b"", "does not begin like an IDX file"),
        (b"\0\0\x08\3\0\0", "claims"),
        (b"\x08\0\0\0" * 10, "does not begin like an IDX file"),
        (head + bytes(23), "fewer values"),
        (head + bytes(25), "more values"),
        (b"\0\0\x08\3" + b"\xff" * 12 + bytes(10), "more than it has"),
        (b"\x1f\x8b" + bytes(20), "gzip file is damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=word):
            read_idx(path)
    path.write_bytes(head + bytes(24))
    refused(tmp_path, "its file of labels is missing")


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    import gzip

    buffer = io.BytesIO()
    with gzip.open(buffer, "wb") as file:
        file.write(b"\0\0\x08\1" + struct.pack(">I", 5000) + os.urandom(5000))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(buffer.getvalue()[:2000])
    with pytest.raises(InputError, match="gzip file is damaged"):
        read_idx(tmp_path / "train-labels-idx1-ubyte.gz")


def test_unknown_options_are_errors() -> None:
    with pytest.raises(InputError, match=r"labels_column.*unknown key"):
        ReaderOptions.from_json({"kind": "reader_options", "labels_column": "y"})
