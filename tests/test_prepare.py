"""Prepared shards hold what the readers gave, survive being killed, and are never mistaken for others."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.disk import DISK
from striate.core.errors import InputError
from striate.core.transform import Compose, Letterbox, Resize
from striate.data import prepare as prepare_module
from striate.data import unfinished
from striate.data.outcomes import Outcome
from striate.data.prepare import fingerprint, prepare
from striate.data.reader import Reader, open_data
from striate.data.ready import Prepared
from striate.data.record import Schema
from striate.data.shards import Shards

PLAIN = Compose()


def arrays(path: Path, x: np.ndarray, classes: int = 2) -> Reader:
    np.savez(path, x=x, y=np.arange(len(x)) % classes)
    return open_data(path)


def images_of(shards: Shards) -> list[np.ndarray]:
    return [shards.read(i).image.numpy() for i in range(len(shards))]


@settings(max_examples=15, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "u2", "f4"]),
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    count=st.integers(2, 9),
    budget=st.sampled_from([0, 1 << 30]),
)
def test_values_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: list[int], count: int, budget: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(count)
    values = (rng.random((count, *shape)) * 60_000).astype(dtype)
    layout = {2: "NCL", 3: "NCHW", 4: "NCDHW"}[len(shape)]
    np.savez(folder / "d.npz", x=values, y=np.arange(count) % 2)
    reader = open_data(folder / "d.npz", options=prepare_options(layout))
    shards = prepare(reader, folder / "out", PLAIN, budget_bytes=budget)
    assert (shards.schema.codec == "raw") == (budget > 0)
    assert np.array_equal(np.stack(images_of(shards)), values)
    assert np.array_equal(shards.images(np.arange(count)[::-1]), values[::-1])
    assert shards.sample_shape == tuple(shape)
    assert [shards.read(i).targets["label"].arrays()["index"].item() for i in range(count)] == [
        i % 2 for i in range(count)
    ]


def prepare_options(layout: str) -> object:
    from striate.data.collection import ReaderOptions

    return ReaderOptions.model_validate({"layout": layout})


def test_what_the_index_tells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "label,split,group,a,b\nup,train,p,1,2\ndown,train,q,3,4\nup,test,p,5,6\n,test,p,7,8\n"
    )
    said: list[str] = []
    shards = prepare(open_data(tmp_path / "t.csv"), tmp_path / "s", PLAIN, say=said.append)
    assert shards.classes == ("down", "up")
    assert np.asarray(shards.labels).tolist() == [1, 0, 1]
    assert {name: rows.tolist() for name, rows in shards.splits.items()} == {"train": [0, 1], "test": [2]}
    assert shards.groups == ["p", "q", "p"]
    assert shards.names == ["line 2", "line 3", "line 4"]
    assert shards.skipped == [("line 5", "line 5: no label")]
    assert shards.counts(np.arange(3)) == (1, 2)
    assert shards.options["label_column"] == "label"
    assert "1 skipped" in shards.describe()
    assert said[0].startswith("preparing 3 samples into") and "stored raw" in said[0]
    assert "1 skipped, all listed" in said[1]


def test_preprocessing_is_applied_and_recorded(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 20, 30), np.uint8))
    resize = Compose(steps=(Resize(size=(10, 15)),))
    shards = prepare(reader, tmp_path / "s", resize)
    assert shards.sample_shape == (1, 10, 15)
    assert Compose.from_json(shards.preprocessing) == resize


def test_samples_moved_together_are_as_moved_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    resize = Compose(steps=(Resize(size=11, keep="short", filter="cubic"), Letterbox(size=20, fill="mean")))
    for number in range(90):
        (tmp_path / "d" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        size = ((30, 24, 3), (24, 30, 3), (15, 12))[number % 3]
        image = Image.fromarray(rng.integers(0, 256, size).astype(np.uint8))
        image.save(tmp_path / "d" / f"{number % 2}" / f"{number:03}.{('png', 'jpg')[number % 4 > 1]}")
    reader = open_data(tmp_path / "d")
    shards = prepare(reader, tmp_path / "s", resize, workers=2)
    for position in range(90):
        assert torch.equal(shards.read(position).image, resize(reader.read(position)).image)


def test_signals_of_different_lengths_are_kept_and_cannot_be_batched(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,v,label\na,1,0\na,2,0\nb,3,1\nb,4,1\nb,5,1\n")
    shards = prepare(open_data(tmp_path / "t.csv"), tmp_path / "s", PLAIN)
    assert [values.tolist() for values in images_of(shards)] == [[[1, 2]], [[3, 4, 5]]]
    assert shards.sample_shape is None
    with pytest.raises(InputError, match=r"2 shapes \(1x2 to 1x3\) cannot be batched; bring them to one size"):
        shards.demand_one_shape()


def test_several_shards_give_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 1, 30)).astype(np.float32)
    reader = arrays(tmp_path / "d.npz", values[:, 0])
    whole = prepare(reader, tmp_path / "one", PLAIN)
    monkeypatch.setattr(prepare_module, "SHARD_BYTES", 1000)
    parts = prepare(reader, tmp_path / "many", PLAIN, workers=3)
    assert len(parts.files) == 8
    assert np.array_equal(parts.images(np.arange(50)), whole.images(np.arange(50)))
    assert np.array_equal(parts.images(np.arange(0, 50, 3)), values[::3])
    assert parts.fingerprint == whole.fingerprint
    assert sorted(path.name for path in (tmp_path / "many").glob("*.npz")) == []


def test_preparing_again_opens_what_is_there(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 9)))
    prepare(reader, tmp_path / "s", PLAIN)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir() if path.name != "lock"}
    prepare(reader, tmp_path / "s", PLAIN)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir() if path.name != "lock"}


def test_changed_data_or_preprocessing_is_not_mistaken(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 8, 8)))
    prepare(reader, tmp_path / "s", PLAIN)
    with pytest.raises(InputError, match="prepared from other preprocessing"):
        prepare(reader, tmp_path / "s", Compose(steps=(Resize(size=4),)))
    changed = arrays(tmp_path / "d.npz", np.ones((4, 8, 8)))
    assert fingerprint(changed, PLAIN) != fingerprint(reader, PLAIN)
    with pytest.raises(InputError, match="prepared from other data"):
        prepare(changed, tmp_path / "s", PLAIN)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 9)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match=r"other files, such as thesis.txt; give an empty or new folder"):
        prepare(reader, tmp_path / "mine", PLAIN)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"


def test_a_broken_off_preparation_continues_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "SHARD_BYTES", 1000)
    reader = arrays(tmp_path / "d.npz", np.random.default_rng(0).random((200, 30)))
    whole = prepare(reader, tmp_path / "whole", PLAIN)

    class Killed(BaseException):
        pass

    def killed(done: int, total: int, seen: str) -> None:
        raise Killed

    read: list[int] = []
    original = prepare_module.outcomes

    def counting(
        reader: Reader, preprocessing: Compose, schema: Schema, positions: list[int], known: dict[int, Prepared]
    ) -> list[Outcome]:
        read.extend(positions)
        return original(reader, preprocessing, schema, positions, known)

    real, stop = unfinished.write_shard, 5

    def write(done: unfinished.Done, *rest: object) -> None:
        if len(done.files) == stop:
            raise Killed
        real(done, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare_module, "write_shard", write)
    with pytest.raises(Killed):
        prepare(reader, tmp_path / "s", PLAIN)
    assert not (tmp_path / "s" / "index.json").exists()
    with pytest.raises(InputError, match="no finished prepared data"):
        Shards.open(tmp_path / "s")
    monkeypatch.setattr(prepare_module, "write_shard", real)
    monkeypatch.setattr(prepare_module, "outcomes", counting)
    said: list[str] = []
    shards = prepare(reader, tmp_path / "s", PLAIN, say=said.append)
    assert "after 35 of 200 samples" in said[0]
    assert min(read) == 35
    assert shards.files == whole.files
    for name, _ in whole.files:
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert np.array_equal(shards.rows, whole.rows)


def test_unfinished_shards_of_other_data_are_replaced_aloud(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 9)))
    place = tmp_path / "s"
    place.mkdir()
    (place / "plan.json").write_text('{"fingerprint": "other", "schema": {}}')
    (place / "shard-00000.bin").write_bytes(b"old")
    said: list[str] = []
    assert len(prepare(reader, place, PLAIN, say=said.append)) == 4
    assert "of other data: beginning again" in said[0]


KILLED = """
import sys, time
from striate.core.transform import Compose
from striate.data import prepare as p
from striate.data.reader import open_data
p.SHARD_BYTES = 4000
original = p.outcomes
def slow(*given):
    time.sleep(0.002 * len(given[3]))
    return original(*given)
p.outcomes = slow
shards = p.prepare(open_data(sys.argv[1]), sys.argv[2], Compose(), say=lambda text: print(text, flush=True))
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing_in_the_end(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.random.default_rng(0).random((300, 40)))
    expected = images_of(prepare(reader, tmp_path / "whole", PLAIN))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "d.npz"), str(tmp_path / "s")]
    for wait in (0.02, 0.1, 0.2, 0.05):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    shards = Shards.open(tmp_path / "s")
    assert all(np.array_equal(one, other) for one, other in zip(images_of(shards), expected, strict=True))
    assert not list((tmp_path / "s").glob("*.partial"))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "SHARD_BYTES", 1000)
    reader = arrays(tmp_path / "d.npz", np.zeros((200, 30)))
    written = 0

    def full(descriptor: int, data: memoryview) -> int:
        nonlocal written
        written += len(data)
        if written > 5000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)

    with pytest.raises(InputError, match="the disk is full"):
        prepare(reader, tmp_path / "s", PLAIN, disk=replace(DISK, write=full))
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["lock"]
    assert len(prepare(reader, tmp_path / "s", PLAIN)) == 200


def test_too_little_space_is_found_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((200, 30)))
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", lambda place: usage)
    with pytest.raises(InputError, match=r"25.0 KiB are needed and 1000 bytes are free"):
        prepare(reader, tmp_path / "s", PLAIN)


def test_a_truncated_shard_is_an_error_message(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((50, 30)))
    shards = prepare(reader, tmp_path / "s", PLAIN)
    path = tmp_path / "s" / shards.files[0][0]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"has 3,200 bytes where 6,400 were written; delete the folder"):
        Shards.open(tmp_path / "s")
    with pytest.raises(InputError, match="the shard ends at byte"):
        shards.read(49)
    with pytest.raises(InputError, match="the shard ends at byte"):
        shards.images(np.arange(50))
    path.unlink()
    with pytest.raises(InputError, match="the shard is missing"):
        Shards.open(tmp_path / "s")


@pytest.mark.parametrize("name", ["index.json", "names.json", "samples.npy", "labels.npy"])
def test_damaged_lists_are_error_messages(tmp_path: Path, name: str) -> None:
    prepare(arrays(tmp_path / "d.npz", np.zeros((50, 30))), tmp_path / "s", PLAIN)
    data = (tmp_path / "s" / name).read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"\xff" * 100, data.replace(b"0", b"9")):
        (tmp_path / "s" / name).write_bytes(damaged)
        with suppress(InputError):  # a changed digit may do no harm
            images_of(Shards.open(tmp_path / "s"))


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "d" / folder).mkdir(parents=True)
        name = os.fsdecode(os.fsencode(tmp_path / "d" / folder) + b"/\xff\xfe.png")
        with open(name, "wb") as file:
            Image.new("L", (4, 4)).save(file, "PNG")
    shards = prepare(open_data(tmp_path / "d"), tmp_path / "s", PLAIN)
    assert os.fsencode(Shards.open(tmp_path / "s").names[0]) == b"a/\xff\xfe.png"
    shards.describe().encode("utf-8")


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_a_region_is_a_part_of_the_image(tmp_path: Path, budget: int) -> None:
    rng = np.random.default_rng(0)
    for axes, dtype in ((1, "f4"), (2, "u1"), (2, "u2"), (3, "u1")):
        folder = tmp_path / f"{axes}{dtype}"
        folder.mkdir()
        values = (rng.random((4, 3, *(7, 9, 8)[:axes])) * 250).astype(dtype)
        np.savez(folder / "d.npz", x=values, y=np.arange(4) % 2)
        reader = open_data(folder / "d.npz", options=prepare_options(("NCL", "NCHW", "NCDHW")[axes - 1]))
        shards = prepare(reader, folder / "s", PLAIN, budget_bytes=budget)
        assert np.array_equal(shards.region(2, (0,) * axes, values.shape[2:]), values[2])
        assert np.array_equal(
            shards.region(3, (2,) * axes, (5, 6, 7)[:axes]), values[3, :, 2:5, *[slice(2, 6), slice(2, 7)][: axes - 1]]
        )
        for low, high in (((0,) * axes, (8,) * axes), ((3,) * axes, (3,) * axes), ((0,), (2, 2))):
            with pytest.raises(ValueError, match="the part from"):
                shards.region(0, low, high)


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_interleaved_pixels_come_back_the_same_every_way(tmp_path: Path, budget: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 9, 13, 3)).astype(np.uint8)
    shards = prepare(arrays(tmp_path / "d.npz", values), tmp_path / "s", PLAIN, budget_bytes=budget)
    expected = values.transpose(0, 3, 1, 2)
    assert shards.schema.interleaved
    for positions in (np.arange(40)[::-1], np.array([3, 38])):
        found = shards.images(positions)
        assert found.flags.c_contiguous
        assert np.array_equal(found, expected[positions])
    assert np.array_equal(shards.image(7), expected[7])
    assert np.array_equal(shards.read(7).image.numpy(), expected[7])
    assert np.array_equal(shards.region(7, (2, 3), (8, 11)), expected[7, :, 2:8, 3:11])


def test_preparing_leaves_the_number_of_threads_as_it_was(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        prepare(arrays(tmp_path / "d.npz", np.zeros((4, 9))), tmp_path / "s", PLAIN)
        with ThreadPoolExecutor(1) as pool:
            assert (torch.get_num_threads(), pool.submit(torch.get_num_threads).result()) == (2, 2)
    finally:
        torch.set_num_threads(before)


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    reader = arrays(tmp_path / "d.npz", np.zeros((4, 9)))
    (tmp_path / "s").mkdir()
    script = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(1, flush=True); time.sleep(0.3)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s" / "lock")]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        prepare(reader, tmp_path / "s", PLAIN, say=said.append)
    assert said[0].startswith("waiting for another process")


def test_statistics_are_those_of_all_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (30, 8, 9, 3)).astype(np.uint8)
    mean, std = prepare(arrays(tmp_path / "d.npz", values), tmp_path / "s", PLAIN).statistics(np.arange(30))
    assert np.allclose(mean, values.mean(axis=(0, 1, 2)))
    assert np.allclose(std, values.std(axis=(0, 1, 2)))
