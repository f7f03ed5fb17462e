"""Intervals in signals and a class for every sample: units, files that do not fit, and what is unknown."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.core.targets import Boxes, Mask
from striate.data.collection import ReaderOptions
from striate.data.reader import Reader, open_data


def sound(path: Path, frames: int = 100, rate: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.arange(frames, dtype="<i2").tobytes())


def events(folder: Path, *rows: str, name: str = "events.csv") -> Path:
    (folder / name).write_text("\n".join(rows))
    return folder


def boxes(reader: Reader, position: int) -> Boxes:
    found = reader.targets(position)["boxes"]
    assert isinstance(found, Boxes)
    return found


def mask(reader: Reader, position: int) -> Mask:
    found = reader.targets(position)["mask"]
    assert isinstance(found, Mask)
    return found


def problems(reader: Reader) -> list[tuple[str, str]]:
    return [(problem.code, problem.file) for problem in reader.problems]


def test_intervals_are_boxes_of_one_axis_in_samples(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    reader = open_data(events(tmp_path, "file,start,end,class", "a.wav,10,20,hit", "a.wav,50,90,miss", "b.wav,,,"))
    assert reader.format == "events"
    assert reader.target == "boxes"
    assert reader.classes == ("hit", "miss")
    assert boxes(reader, 0).annotated().tolist() == [[10, 20], [50, 90]]
    assert boxes(reader, 0).classes.tolist() == [0, 1]
    assert boxes(reader, 1).points.shape == (0, 2, 1)
    assert problems(reader) == []
    assert reader.size(0) == (100,)
    assert "times in samples, as none of them are fractions" in reader.found
    sample = reader.read(0)
    assert sample.image.shape == (1, 100)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("file,start,end,class", "a.wav,0.1,0.25,x", "seconds, as some of them are fractions"),
        ("file,start_s,end_s,class", "a.wav,0.1,0.25,x", "seconds by the name"),
        ("file,onset,offset,event_label", "a.wav,0.1,0.25,x", "seconds by the name"),
        ("file,onset,duration,label", "a.wav,0.1,0.15,x", "seconds by the name"),
        ("Begin File,Begin Time (s),End Time (s),Tag", "a.wav,0.1,0.25,x", "seconds by the name"),
        ("file,start_ms,end_ms,class", "a.wav,100,250,x", "milliseconds by the name"),
        ("file,start_sample,end_sample,class", "a.wav,10.0,25.0,x", "samples by the name"),
    ],
)
def test_the_unit_is_settled_by_the_columns_or_by_fractions_and_is_said(
    tmp_path: Path, header: str, row: str, said: str
) -> None:
    sound(tmp_path / "a.wav")
    reader = open_data(events(tmp_path, header, row))
    assert boxes(reader, 0).annotated()[0].tolist() == pytest.approx([10, 25])
    assert said in reader.found


def test_fractions_over_signals_without_a_rate_stay_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 50), np.float32))
    reader = open_data(events(tmp_path, "file,start,end,class", "a,1.5,2,x"))
    assert boxes(reader, 0).annotated().tolist() == [[1.5, 2.0]]
    assert reader.image(0).shape == (2, 50)


def test_seconds_follow_the_column_of_time_or_the_column_of_the_rate(tmp_path: Path) -> None:
    times = 1.7e9 + np.arange(50) / 10
    rows = [f"{time!r},{number}" for number, time in enumerate(times.tolist())]
    (tmp_path / "a.csv").write_text("time,x\n" + "\n".join(rows))
    reader = open_data(events(tmp_path, "file,start_s,end_s,class", "a.csv,1700000001.0,1700000002.5,x"))
    assert boxes(reader, 0).annotated()[0].tolist() == pytest.approx([10, 25], abs=1e-4)
    (tmp_path / "a.csv").unlink()
    np.save(tmp_path / "a.npy", np.zeros(50))
    reader = open_data(events(tmp_path, "file,start_s,end_s,class,rate", "a.npy,1,2.5,x,10"))
    assert boxes(reader, 0).annotated().tolist() == [[10.0, 25.0]]
    reader = open_data(events(tmp_path, "file,start_s,end_s,class", "a.npy,1,2.5,x"))
    with pytest.raises(InputError, match="does not say its sampling rate"):
        reader.targets(0)


def test_what_belongs_to_no_signal_or_makes_no_sense_is_a_problem_with_its_line(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "silent.wav")
    rows = ["file,start,end,class", "a.wav,1,2,x", "gone.wav,1,2,y", "a.wav,one,2,x", "a.wav,1,2,", "a.wav,1"]
    reader = open_data(events(tmp_path, *rows))
    assert sorted(problems(reader)) == [
        ("annotation-malformed", "events.csv:4"),
        ("annotation-malformed", "events.csv:5"),
        ("annotation-malformed", "events.csv:6"),
        ("image-without-label", "silent.wav"),
        ("label-without-image", "events.csv:3"),
    ]
    assert reader.classes == ("x",)
    assert len(reader) == 2


def test_wrong_intervals_are_kept_as_annotated(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    reader = open_data(events(tmp_path, "file,start,end,class", "a.wav,30,20,x", "a.wav,5,5,x", "a.wav,500,600,x"))
    assert boxes(reader, 0).annotated().tolist() == [[30, 20], [5, 5], [500, 600]]
    assert problems(reader) == []


def test_ignored_events_are_marked_and_no_class_is_one_class(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    reader = open_data(events(tmp_path, "file,start,end,difficult", "a.wav,1,2,1", "a.wav,3,4,0"))
    assert reader.classes == ("event",)
    assert boxes(reader, 0).marks.tolist() == [True, False]


def test_splits_and_groups_come_from_columns_tables_or_folders(tmp_path: Path) -> None:
    sound(tmp_path / "train" / "a.wav")
    sound(tmp_path / "test" / "b.wav")
    rows = ("file,start,end,class,group", "train/a.wav,1,2,x,p1", "b.wav,1,2,x,p2")
    reader = open_data(events(tmp_path, *rows))
    assert {split: reader.name(int(at[0])) for split, at in reader.splits.items()} == {
        "train": "train/a.wav",
        "test": "test/b.wav",
    }
    assert sorted(str(reader.group(position)) for position in range(2)) == ["p1", "p2"]
    (tmp_path / "events.csv").unlink()
    sound(tmp_path / "train" / "c.wav")
    events(tmp_path, "file,start,end,class", "train/a.wav,1,2,x", name="test.csv")
    events(tmp_path, "file,start,end,class", "test/b.wav,1,2,x", "train/a.wav,1,2,x", name="train.csv")
    reader = open_data(tmp_path)
    assert reader.format == "events"
    assert ("listed-twice", "train/a.wav") in problems(reader)


def test_a_signal_that_no_split_names_is_in_none_and_is_listed(tmp_path: Path) -> None:
    for name in "abc":
        sound(tmp_path / f"{name}.wav")
    reader = open_data(events(tmp_path, "file,start,end,class,split", "a,1,2,x,train", "b,1,2,x,test"))
    assert ("not-in-a-split", "c.wav") in problems(reader)
    assert sum(map(len, reader.splits.values())) == 2


def test_signals_may_lie_elsewhere_and_the_table_may_be_given(tmp_path: Path) -> None:
    sound(tmp_path / "sounds" / "a.wav")
    (tmp_path / "marks").mkdir()
    place = events(tmp_path / "marks", "file,start,end,class", "a.wav,1,2,x") / "events.csv"
    reader = open_data(place, options=ReaderOptions(images="../sounds"))
    assert len(reader) == 1
    assert len(open_data(place, options=ReaderOptions(images="../sounds", labelled=False))) == 1
    with pytest.raises(InputError, match="no signal"):
        open_data(place)


def labelled(path: Path, *labels: str, header: str = "time,x,y,label") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{number},{number * 0.5},{-number},{label}" for number, label in enumerate(labels)]
    path.write_text("\n".join([header, *rows]))


def test_a_label_for_every_sample_is_a_mask(tmp_path: Path) -> None:
    labelled(tmp_path / "train" / "a.csv", "walk", "walk", "", "run")
    labelled(tmp_path / "test" / "b.csv", "-1", "sit")
    reader = open_data(tmp_path)
    assert reader.target == "mask"
    assert reader.classes == ("run", "sit", "walk")
    names = [reader.name(position) for position in range(2)]
    first = names.index("train/a.csv")
    assert mask(reader, first).values.tolist() == [2, 2, 255, 0]
    assert mask(reader, 1 - first).values.tolist() == [255, 1]
    assert mask(reader, first).ignore == 255
    assert reader.image(first).tolist() == [[0.0, 0.5, 1.0, 1.5], [0.0, -1.0, -2.0, -3.0]]
    assert list(reader.splits) == ["train", "test"]
    assert reader.settled.label_column == "label"
    assert mask(reader, 0).values.dtype == torch.uint8


def test_numbers_as_labels_are_classes_in_their_order(tmp_path: Path) -> None:
    labelled(tmp_path / "a.csv", "10", "9", "9.0", "-1")
    reader = open_data(tmp_path)
    assert reader.classes == ("9", "10")
    assert mask(reader, 0).values.tolist() == [1, 0, 0, 255]


def test_many_classes_take_a_wider_mask(tmp_path: Path) -> None:
    labelled(tmp_path / "a.csv", *map(str, range(300)), "-1")
    reader = open_data(tmp_path)
    assert mask(reader, 0).values[-2:].tolist() == [299, -1]
    assert mask(reader, 0).ignore == -1


def test_a_damaged_signal_says_its_line_and_leaves_the_others(tmp_path: Path) -> None:
    labelled(tmp_path / "a.csv", "x", "y")
    (tmp_path / "b.csv").write_text("time,x,y,label\n0,1,2,x\n1,2,x\n")
    (tmp_path / "c.csv").write_text("time,x,label\n0,1,x\n")
    reader = open_data(tmp_path)
    assert mask(reader, 0).values.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"b\.csv:3"):
        reader.targets(1)
    with pytest.raises(InputError, match="other files have"):
        reader.image(2)


def test_signals_without_labels_can_be_read_to_predict_on(tmp_path: Path) -> None:
    labelled(tmp_path / "a.csv", "1", "0")
    unlabelled = ReaderOptions(labelled=False, label_column="label")
    reader = open_data(tmp_path / "a.csv", "events", unlabelled)
    assert reader.image(0).shape == (2, 2)
    (tmp_path / "a.csv").write_text("time,x,y\n0,1,2\n1,2,3\n")
    assert open_data(tmp_path, "events", unlabelled).image(0).shape == (2, 2)


def test_tables_and_arrays_keep_their_readers(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("time,x,label\n1,2,a\n2,3,b\n")
    assert open_data(tmp_path).format == "table"
    (tmp_path / "train.csv").unlink()
    np.save(tmp_path / "x.npy", np.zeros((4, 8)))
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1]))
    assert open_data(tmp_path).format == "arrays"


def test_another_target_than_there_is_is_refused(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    with pytest.raises(InputError, match="use the target boxes"):
        open_data(events(tmp_path, "file,start,end,class", "a,1,2,x"), options=ReaderOptions(target="label"))
