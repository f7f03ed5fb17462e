"""WAV files: every coding gives its values, damage is told, and folders and lists give classes."""

import os
import struct
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.wavfile import read_wav, read_wav_header
from striate.data.reader import Reader, open_data

MOST = 1_000_000


def record(path: Path, values: np.ndarray | None = None, width: int = 2, rate: int = 8000) -> Path:
    """A file by the standard library; values (channels, frames) are whole numbers of ``width`` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(-4, 4)[None] if values is None else values
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(len(values))
        file.setsampwidth(width)
        file.setframerate(rate)
        offset = 128 if width == 1 else 0
        flat = values.T.reshape(-1).tolist()
        file.writeframes(b"".join((v + offset).to_bytes(width, "little", signed=width > 1) for v in flat))
    return path


def raw(path: Path, coding: int, data: bytes, width: int, channels: int = 1, extension: bytes = b"") -> Path:
    """A file written by hand, with a chunk of notes of odd length before the data."""
    form = struct.pack("<HHIIHH", coding, channels, 8000, 8000 * width * channels, width * channels, 8 * width)
    form += extension
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def found(reader: Reader) -> list[tuple[str, str]]:
    return [(problem.code, problem.file) for problem in reader.problems]


@given(st.sampled_from([1, 2, 3, 4]), st.integers(1, 3), st.data())
@settings(max_examples=60)
def test_whole_numbers_come_back_divided_by_their_range(
    tmp_path_factory: pytest.TempPathFactory, width: int, channels: int, data: st.DataObject
) -> None:
    limit = 2 ** (8 * width - 1)
    frame = st.lists(st.integers(-limit, limit - 1), min_size=channels, max_size=channels)
    values = np.array(data.draw(st.lists(frame, min_size=1, max_size=9))).T
    path = record(tmp_path_factory.getbasetemp() / "one.wav", values, width)
    read = read_wav(path, MOST)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, values / limit, rtol=2**-24)
    assert read.min() >= -1
    assert read.max() <= 1


@pytest.mark.parametrize("width", [4, 8])
def test_floating_point_is_taken_as_it_is(tmp_path: Path, width: int) -> None:
    values = np.array([[0.5, -1.0], [1.5, 0.25], [0.0, 1e-3]], dtype=f"<f{width}")
    path = raw(tmp_path / "f.wav", 3, values.tobytes(), width, channels=2)
    assert np.array_equal(read_wav(path, MOST), values.T.astype(np.float32))


def test_the_extensible_form_is_read(tmp_path: Path) -> None:
    extension = struct.pack("<HHIH", 22, 24, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")
    path = raw(tmp_path / "e.wav", 0xFFFE, b"\0\0\x40" + b"\0\0\xc0", 3, extension=extension)
    assert read_wav(path, MOST).tolist() == [[0.5, -0.5]]


def test_a_stream_of_unknown_length_goes_to_the_end_of_the_file(tmp_path: Path) -> None:
    path = raw(tmp_path / "s.wav", 1, b"\0\x40" * 3, 2)
    path.write_bytes(path.read_bytes().replace(b"data" + struct.pack("<I", 6), b"data\xff\xff\xff\xff"))
    assert read_wav(path, MOST).tolist() == [[0.5, 0.5, 0.5]]


def test_what_is_truncated_compressed_or_no_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    whole = record(tmp_path / "a.wav", np.arange(100)[None]).read_bytes()
    cases = {
        "truncated": whole[:-10],
        "ends before its data": whole[:40],
        "no WAV file": b"OggS" + bytes(60),
        "it is empty": b"",
        "no sound": whole[:40] + bytes(4),
        "last frame": whole[:40] + struct.pack("<I", 199) + whole[44:],
        "makes no sense": whole[:22] + b"\0\0" + whole[24:],
        "mu-law": whole[:20] + b"\7\0" + whole[22:],
        "big-endian": b"RIFX" + whole[4:],
    }
    for cause, data in cases.items():
        (tmp_path / "b.wav").write_bytes(data)
        with pytest.raises(InputError, match=cause):
            read_wav_header(tmp_path / "b.wav")
    with pytest.raises(InputError, match="more than 99"):
        read_wav(tmp_path / "a.wav", 99)


@given(st.binary(max_size=120), st.integers(0, 60))
@settings(max_examples=150)
def test_no_bytes_do_more_than_raise_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kept: int
) -> None:
    path = raw(tmp_path_factory.getbasetemp() / "any.wav", 1, bytes(16), 2)
    path.write_bytes(path.read_bytes()[:kept] + data)
    with suppress(InputError):
        assert read_wav(path, MOST).ndim == 2


def test_a_folder_is_a_class_and_splits_may_stand_above(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("no10", "no9"):
            record(tmp_path / split / name / "deep" / "1.wav")
    (tmp_path / "train" / "no9" / "1.mp3").write_bytes(b"x")
    reader = open_data(tmp_path)
    assert reader.format == "wav"
    assert reader.classes == ("no9", "no10")
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 2, "test": 2}
    assert reader.skipped == [("train/no9/1.mp3", "it is no WAV file")]
    assert reader.size(0) == (8,)
    assert reader.image(0).shape == (1, 8)
    assert "8000 Hz, 1 channel" in reader.found


def test_a_file_outside_the_class_folders_is_skipped(tmp_path: Path) -> None:
    for name in ("a/1.wav", "b/1.wav", "c.wav"):
        record(tmp_path / name)
    assert open_data(tmp_path).skipped == [("c.wav", "it lies outside the class folders")]


def test_other_rates_and_channels_are_kept_and_listed(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1"):
        record(tmp_path / f"{name}.wav")
    record(tmp_path / "b" / "2.wav", rate=16000)
    record(tmp_path / "b" / "3.wav", np.zeros((2, 5), dtype=int))
    reader = open_data(tmp_path)
    assert len(reader) == 5
    assert found(reader) == [("mixed-rates", "b/2.wav"), ("mixed-channels", "b/3.wav")]
    assert "8000, 16000 Hz" in reader.found


def test_a_damaged_file_stays_in_the_list_and_says_so_when_it_is_read(tmp_path: Path) -> None:
    record(tmp_path / "a" / "1.wav")
    path = record(tmp_path / "b" / "1.wav")
    path.write_bytes(path.read_bytes()[:-3])
    reader = open_data(tmp_path)
    with pytest.raises(InputError, match="truncated"):
        reader.image(1)


def test_a_list_gives_labels_splits_and_groups(tmp_path: Path) -> None:
    for name in ("x/1.wav", "x/2.wav", "3.wav", "left.wav"):
        record(tmp_path / name)
    rows = ["filename,category,split,group", "x/1.wav,dog,train,p1", "2,cat,train,p2", "clips/3.wav,dog,test,p1"]
    rows += ["x/1.wav,cat,train,p1", "gone.wav,dog,train,p1", "3.wav"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    reader = open_data(tmp_path)
    assert [reader.name(position) for position in range(3)] == ["x/1.wav", "x/2.wav", "3.wav"]
    assert [reader.label(position) for position in range(3)] == [1, 0, 1]
    assert [reader.group(position) for position in range(3)] == ["p1", "p2", "p1"]
    assert list(reader.splits) == ["train", "test"]
    assert sorted(found(reader)) == [
        ("annotation-malformed", "labels.csv:7"),
        ("image-without-label", "left.wav"),
        ("label-without-image", "labels.csv:6"),
        ("twice-labelled", "labels.csv:5"),
    ]


def test_a_list_without_a_column_of_labels_is_an_error_that_names_the_columns(tmp_path: Path) -> None:
    record(tmp_path / "1.wav")
    (tmp_path / "labels.csv").write_text("file,loud\n1.wav,3\n")
    with pytest.raises(InputError, match="no column of labels"):
        open_data(tmp_path)


def test_without_labels_every_file_is_a_sample(tmp_path: Path) -> None:
    record(tmp_path / "a" / "1.wav")
    record(tmp_path / "2.wav")
    unlabelled = ReaderOptions(labelled=False)
    assert len(open_data(tmp_path, options=unlabelled)) == 2
    assert len(open_data(tmp_path / "2.wav", options=unlabelled)) == 1


def test_a_loop_of_links_ends_and_a_fifo_does_not_hang(tmp_path: Path) -> None:
    record(tmp_path / "a" / "1.wav")
    record(tmp_path / "b" / "1.wav")
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    reader = open_data(tmp_path)
    assert len(reader) == 2
    assert {name for name, _ in reader.skipped} == {"a/pipe.wav", "b/again"}
