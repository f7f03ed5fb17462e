"""WebDataset shards are read in place: keys, labels, splits and names are found, and hostile tars are told by name."""

import io
import json
import os
import random
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.tarindex import index_tar, read_member
from striate.data.reader import open_data


def jpeg(value: int = 0, size: tuple[int, int] = (8, 6), form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(buffer, form)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tar(path: Path, members: Sequence[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, labels: Sequence[object], ending: str = "cls") -> Path:
    members = []
    for number, label in enumerate(labels):
        members += [(f"{number:06}.jpg", jpeg(number)), (f"{number:06}.{ending}", str(label).encode())]
    return tar(path, members)


def test_numbered_shards_of_two_splits_and_named_classes(tmp_path: Path) -> None:
    shard(tmp_path / "train-000000.tar", [0, 1, 2])
    shard(tmp_path / "train-000001.tar", [2, 1])
    shard(tmp_path / "val-000000.tar", [0, 2])
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    reader = open_data(tmp_path)
    assert reader.format == "webdataset"
    assert {name: rows.tolist() for name, rows in reader.splits.items()} == {"train": [0, 1, 2, 3, 4], "val": [5, 6]}
    assert reader.classes == ("cat", "dog", "owl")
    assert [reader.label(at) for at in range(7)] == [0, 1, 2, 2, 1, 0, 2]
    assert reader.name(3) == "train-000001.tar/000000.jpg"
    assert "7 images of 3 classes (named by classes.txt) (5 train, 2 val) in 3 tars" in reader.found
    assert reader.read(4).image.shape == (3, 6, 8)
    assert reader.size(4) == (6, 8)
    assert reader.source_file(0) is None
    assert reader.problems == []


def test_folders_of_splits_and_names_without_a_list(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "0.tar", ["owl", "cat"], "txt")
    shard(tmp_path / "validation" / "0.tar", ["cat"], "txt")
    reader = open_data(tmp_path)
    assert list(reader.splits) == ["train", "val"]
    assert reader.classes == ("cat", "owl")
    assert [reader.label(at) for at in range(3)] == [1, 0, 0]


def test_a_range_of_numbers_names_tars_and_a_missing_one_is_a_problem(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        shard(tmp_path / f"set-{number:04}.tar", [0, 1])
    reader = open_data(tmp_path / "set-{0000..0003}.tar")
    assert len(reader) == 6
    assert [(one.code, one.file) for one in reader.problems] == [("listed-missing", "set-0002.tar")]


@pytest.mark.parametrize("key", ["label", "class", "cls"])
def test_json_says_the_class(tmp_path: Path, key: str) -> None:
    members = []
    for number, label in enumerate((3, "7", 3)):
        members += [(f"a/{number}.png", jpeg(form="PNG")), (f"a/{number}.json", json.dumps({key: label}).encode())]
    reader = open_data(tar(tmp_path / "a.tar", members))
    assert reader.classes == ("3", "7")
    assert [reader.label(at) for at in range(3)] == [0, 1, 0]


def test_the_key_ends_at_the_first_dot_of_the_last_part(tmp_path: Path) -> None:
    members = [("a.b/x.seg.png", jpeg(form="PNG")), ("a.b/x.jpg", jpeg()), ("a.b/x.cls", b"0"), ("a.b/y.cls", b"1")]
    members += [("a.b/y.JPEG", jpeg()), ("readme", b"text")]
    reader = open_data(tar(tmp_path / "x.tar", members))
    assert [reader.name(at) for at in range(2)] == ["x.tar/a.b/x.jpg", "x.tar/a.b/y.jpeg"]
    reasons = dict(reader.skipped)
    assert "no key and ending" in reasons["x.tar: readme"]
    assert "members .seg.png are not read (1 of them)" in reasons["x.tar/a.b/x.seg.png"]


def test_signals_of_different_length(tmp_path: Path) -> None:
    members = []
    for number in range(4):
        signal = np.arange(20.0 + number)[None].repeat(2, 0)
        members += [(f"{number}.npy", npy(signal)), (f"{number}.cls", str(number % 2).encode())]
    reader = open_data(tar(tmp_path / "s.tar", members))
    assert [reader.read(at).image.shape for at in range(4)] == [(2, 20), (2, 21), (2, 22), (2, 23)]
    assert str(reader.read(0).image.dtype) == "torch.float32"
    assert "read as NCL" in reader.found


def test_what_cannot_be_used_is_a_problem_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    members = [(f"{number}.jpg", jpeg()) for number in range(6)]
    members += [("0.cls", b"0"), ("1.cls", b"1"), ("2.cls", b"2"), ("3.cls", b"\xff\xfe"), ("5.cls", b"-1")]
    members += [("9.cls", b"0"), ("0.jpg", jpeg(9))]
    reader = open_data(tar(tmp_path / "x.tar", members))
    assert len(reader) == 2
    assert sorted((one.code, one.file) for one in reader.problems) == [
        ("class-undeclared", "x.tar/2.jpg"),
        ("class-undeclared", "x.tar/5.jpg"),
        ("duplicate", "x.tar: 0.jpg"),
        ("image-without-label", "x.tar/4.jpg"),
        ("label-unreadable", "x.tar/3"),
        ("label-without-image", "x.tar/9"),
    ]


def test_a_split_without_any_class_is_left_out_and_said(tmp_path: Path) -> None:
    shard(tmp_path / "train.tar", [0, 1])
    tar(tmp_path / "test.tar", [("0.jpg", jpeg())])
    reader = open_data(tmp_path)
    assert list(reader.splits) == ["train"]
    assert ("test", "a split of 1 samples without classes") in reader.skipped


def test_samples_without_classes_are_refused_or_read_unlabelled(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("0.jpg", jpeg()), ("1.webp", jpeg(form="WEBP"))])
    with pytest.raises(InputError, match=r"none of its 2 samples has a class .* as \.cls"):
        open_data(path)
    reader = open_data(path, options=ReaderOptions(labelled=False, minimum_classes=0))
    assert len(reader) == 2
    assert reader.labels is None


def test_descriptions_are_no_classes(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", [f"a photo of number {number}" for number in range(60)], "txt")
    with pytest.raises(InputError, match="60 different texts for 60 samples"):
        open_data(path)


def test_links_devices_absolute_names_and_ways_out_are_skipped_with_their_reason(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        for name in ("/abs.jpg", "../up.jpg", "a/../../up.jpg", "0.jpg", "0.cls", "./1.jpg", "1.cls"):
            data = b"1" if name == "1.cls" else b"0" if name == "0.cls" else jpeg()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    reader = open_data(tmp_path / "x.tar")
    reasons = {name.removeprefix("x.tar: "): reason for name, reason in reader.skipped}
    assert [reader.name(at) for at in range(len(reader))] == ["x.tar/0.jpg", "x.tar/1.jpg"]
    assert "symbolic link" in reasons["l.jpg"]
    assert "hard link" in reasons["h.jpg"]
    assert "device" in reasons["d.jpg"]
    assert "absolute" in reasons["/abs.jpg"]
    assert "(..)" in reasons["../up.jpg"]
    assert "(..)" in reasons["a/../../up.jpg"]


def test_a_sparse_member_is_refused_and_the_next_is_found(tmp_path: Path) -> None:
    def sparse_header() -> bytes:
        info = tarfile.TarInfo("hole.jpg")
        info.size = 512
        head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        head[156:157] = b"S"
        head[482] = 1
        head[148:156] = b"        "
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head) + bytes(512) + b"x" * 512

    rest = tar(tmp_path / "rest.tar", [("0.jpg", jpeg()), ("0.cls", b"3")]).read_bytes()
    (tmp_path / "x.tar").write_bytes(sparse_header() + rest)
    index = index_tar(tmp_path / "x.tar")
    assert [one.name for one in index.members] == ["0.jpg", "0.cls"]
    assert index.skipped == [("hole.jpg", "a sparse file, which is not read")]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_names_of_any_bytes(tmp_path: Path, form: int) -> None:
    names = ["d" * 150 + "/" + "k" * 90, "\udcff\udcfe", "grün"]
    members = [(f"{name}.jpg", jpeg(at)) for at, name in enumerate(names)]
    with tarfile.open(tmp_path / "x.tar", "w", format=form, encoding="utf-8", errors="surrogateescape") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    index = index_tar(tmp_path / "x.tar")
    assert [one.name for one in index.members] == [name for name, _ in members]
    assert [read_member(tmp_path / "x.tar", one) for one in index.members] == [data for _, data in members]


def test_a_tar_that_is_cut_names_the_shard(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", [0, 1])
    path = shard(tmp_path / "train-1.tar", [0, 1])
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"train-1\.tar: the tar is cut off: it ends inside '000000.jpg'"):
        open_data(tmp_path)


def test_a_tar_cut_between_samples_is_a_problem(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", [0, 1, 0])
    with tarfile.open(path) as file:
        end = file.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:end])
    reader = open_data(path)
    assert len(reader) == 2
    assert [one.code for one in reader.problems] == ["truncated"]


def test_tars_joined_end_to_end_are_said(tmp_path: Path) -> None:
    one, two = shard(tmp_path / "a.tar", [0, 1]), shard(tmp_path / "b.tar", [0, 1])
    (tmp_path / "c.tar").write_bytes(one.read_bytes() + two.read_bytes())
    reader = open_data(tmp_path / "c.tar")
    assert len(reader) == 2
    assert any("tars that were joined" in reason for _, reason in reader.skipped)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_compressed_tars_are_refused_with_a_fix(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.tar.{ending}"
    with tarfile.open(path, f"w:{ending}") as file:
        file.addfile(tarfile.TarInfo("0.jpg"))
    with pytest.raises(InputError, match=r"compressed .* decompress it first"):
        open_data(path)


def test_a_false_size_allocates_nothing(tmp_path: Path) -> None:
    info = tarfile.TarInfo("0.jpg")
    info.size = 8**11 * 1000
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="cut off"):
        open_data(tmp_path / "x.tar", "webdataset")


def test_tars_beside_class_folders_are_passed_over(tmp_path: Path) -> None:
    shard(tmp_path / "backup.tar", [0, 1])
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(jpeg())
    assert open_data(tmp_path).format == "image folder"


def test_a_shard_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", [0, 1])
    reader = open_data(path)
    os.truncate(path, 600)
    with pytest.raises(InputError, match="became shorter"):
        reader.read(1)


def test_a_fifo_called_tar_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(InputError):
        open_data(tmp_path)


def test_a_hundred_thousand_members_are_lazy(tmp_path: Path) -> None:
    from striate.data.formats.tarindex import Member, TarImages

    images = TarImages([tmp_path / "none.tar"], [0] * 100_000, [Member("a.jpg", 512, 9)] * 100_000)
    assert len(images[::10]) == 10_000  # nothing is read: there is no such file
    with pytest.raises(InputError, match="no such file"):
        _ = images[5].data  # type: ignore[union-attr]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_damaged_tars_are_read_or_refused_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, seed: int,
                                                            count: int) -> None:  # fmt: skip
    rng = random.Random(seed)
    place = tmp_path_factory.mktemp("damage")
    data = bytearray(shard(place / "x.tar", [0, 1, 1]).read_bytes())
    for _ in range(count):
        data[rng.choice((rng.randrange(len(data)), rng.randrange(512)))] = rng.randrange(256)
    (place / "x.tar").write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
    with suppress(InputError):
        reader = open_data(place / "x.tar", "webdataset")
        for position in range(len(reader)):
            reader.read(position)
