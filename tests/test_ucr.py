"""The UCR/UEA archive's files: counts of real sets, and every fault named by its file and line."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.tsfile import class_name, read_text, read_ts
from striate.data.reader import Reader, open_data

HEAD = "#a comment\n@problemName P\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"

REAL = [
    ("GunPoint", 50, 150, 1, (150, 150), 2),
    ("ArrowHead", 36, 175, 1, (251, 251), 3),
    ("ItalyPowerDemand", 67, 1029, 1, (24, 24), 2),
    ("OSULeaf", 200, 242, 1, (427, 427), 6),
    ("ACSF1", 100, 100, 1, (1460, 1460), 10),
    ("Coffee", 28, 28, 1, (286, 286), 2),
    ("PigCVP", 104, 208, 1, (2000, 2000), 52),
    ("Trace", 100, 100, 1, (275, 275), 4),
    ("JapaneseVowels", 270, 370, 12, (7, 29), 9),
    ("BasicMotions", 40, 40, 6, (100, 100), 4),
    ("PLAID", 537, 537, 1, (100, 1344), 11),
]


@pytest.mark.parametrize(("name", "train", "test", "channels", "lengths", "classes"), REAL, ids=[r[0] for r in REAL])
def test_a_real_set_has_the_counts_that_its_source_states(
    shared_data: Callable[[str], Path],
    name: str,
    train: int,
    test: int,
    channels: int,
    lengths: tuple[int, int],
    classes: int,
) -> None:
    reader = open_data(shared_data("ucr") / name)
    shapes = [reader.image(position).shape for position in range(len(reader))]
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": train, "test": test}
    assert {shape[0] for shape in shapes} == {channels}
    assert (min(shape[1] for shape in shapes), max(shape[1] for shape in shapes)) == lengths
    assert len(reader.classes) == classes
    assert reader.image(0).dtype == np.float32
    assert not reader.problems
    assert all("description" in reason for _, reason in reader.skipped)


def ts(folder: Path, body: str, head: str = HEAD, name: str = "P_TRAIN.ts") -> Path:
    path = folder / name
    path.write_text(head + body)
    return path


def found(reader: Reader) -> list[tuple[str, str]]:
    return [(problem.code, problem.file) for problem in reader.problems]


def test_values_classes_and_lengths_are_as_written(tmp_path: Path) -> None:
    path = ts(tmp_path, "1.5,-2,3e1:b\n0.25,1:a\n")
    reader = open_data(path)
    assert reader.image(0).tolist() == [[1.5, -2.0, 30.0]]
    assert reader.image(1).shape == (1, 2)
    assert reader.classes == ("a", "b")
    assert [reader.label(0), reader.label(1)] == [1, 0]
    assert reader.name(1) == "P_TRAIN.ts:8"


def test_dimensions_become_channels(tmp_path: Path) -> None:
    head = "@univariate false\n@dimensions 2\n@classLabel true x y\n@data\n"
    reader = open_data(ts(tmp_path, "1,2,3:4,5,6:x\n7,8:9,10:y\n", head))
    assert reader.image(0).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert reader.image(1).shape == (2, 2)
    assert "2 channels, length 2 to 3" in reader.found


def test_classes_keep_the_order_in_which_they_are_declared(tmp_path: Path) -> None:
    head = "@univariate true\n@classLabel true Standing Running 2.0 unused\n@data\n"
    reader = open_data(ts(tmp_path, "1,2:2\n1,2:Running\n", head))
    assert reader.classes == ("Standing", "Running", "2", "unused")
    assert reader.label(0) == 2


def test_the_partner_of_a_file_is_read_but_not_when_predicting(tmp_path: Path) -> None:
    ts(tmp_path, "1,2:a\n")
    path = ts(tmp_path, "3,4:a\n5,6:b\n", name="P_TEST.ts")
    reader = open_data(path)
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 1, "test": 2}
    alone = open_data(path, options=ReaderOptions(labelled=False))
    assert len(alone) == 2
    assert alone.labels is None
    assert alone.image(0).tolist() == [[3.0, 4.0]]


def test_comments_that_are_no_utf8_pass(tmp_path: Path) -> None:
    path = tmp_path / "P_TRAIN.ts"
    path.write_bytes(b"#Sch\xe4fer\r\n" + HEAD.encode().replace(b"\n", b"\r\n") + b"1,2:a\r\n3,4:b\r\n")
    assert len(open_data(path)) == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("1,2:3,4:a", "annotation-malformed"),
        ("1,x:a", "annotation-malformed"),
        ("1,2_0:a", "annotation-malformed"),
        ("a", "annotation-malformed"),
        ("1,2:c", "class-undeclared"),
    ],
)
def test_a_line_that_makes_no_sense_is_a_problem_with_its_line(tmp_path: Path, line: str, code: str) -> None:
    reader = open_data(ts(tmp_path, f"1,2:a\n3,4:b\n{line}\n"))
    assert found(reader) == [(code, "P_TRAIN.ts:9")]
    assert len(reader) == 2


def test_dimensions_of_different_lengths_are_a_problem(tmp_path: Path) -> None:
    head = "@univariate false\n@dimensions 2\n@classLabel true x y\n@data\n"
    reader = open_data(ts(tmp_path, "1,2:3,4:x\n1,2:3:y\n1,2:3,4:y\n", head))
    assert found(reader) == [("annotation-malformed", "P_TRAIN.ts:6")]


def test_a_missing_value_or_label_skips_the_signal_and_says_where(tmp_path: Path) -> None:
    reader = open_data(ts(tmp_path, "1,2:a\n3,?:b\n1,2:b\n1,NaN,2:a\n1,2:?\n"))
    assert len(reader) == 2
    assert found(reader) == [("not-finite", "P_TRAIN.ts:8"), ("not-finite", "P_TRAIN.ts:10")]
    assert reader.skipped == [("P_TRAIN.ts:11", "no label")]


def test_a_wrongly_declared_length_or_dimension_is_one_problem_and_nothing_is_lost(tmp_path: Path) -> None:
    head = "@univariate false\n@dimensions 3\n@equalLength true\n@seriesLength 2\n@classLabel true a b\n@data\n"
    reader = open_data(ts(tmp_path, "1,2:1,2:a\n1,2,3:1,2,3:b\n", head))
    assert len(reader) == 2
    assert found(reader) == [("size-declared-wrong", "P_TRAIN.ts"), ("size-declared-wrong", "P_TRAIN.ts:8")]


@pytest.mark.parametrize(
    ("head", "cause"),
    [
        ("@timeStamps true\n@classLabel true a b\n@data\n", "timestamps"),
        ("@univariate true\n@targetlabel true\n@data\n", "regression"),
        ("@univariate true\n@classLabel false\n@data\n", "no class"),
        ("@univariate true\n@data\n", "no line @classLabel"),
        ("@univariate true\n@classLabel true a b\n", "before a line @data"),
        ("@dimensions many\n@data\n", "'many'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, head: str, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        open_data(ts(tmp_path, "1,2:a\n", head), "ucr")


def test_other_files_called_ts_are_not_taken_for_signals(tmp_path: Path) -> None:
    (tmp_path / "a_TRAIN.ts").write_text("@Component({})\nexport class A {}\n")
    (tmp_path / "b_TRAIN.ts").write_bytes(b"G" + bytes(187) * 40)
    with pytest.raises(InputError, match="no known format"):
        open_data(tmp_path)


def test_several_sets_in_one_folder_are_asked_about(tmp_path: Path) -> None:
    ts(tmp_path, "1,2:a\n")
    ts(tmp_path, "1,2:a\n", name="Q_TRAIN.ts")
    with pytest.raises(InputError, match="several sets"):
        open_data(tmp_path)


@pytest.mark.parametrize(("mark", "ending"), [("  ", ".txt"), (",", ".txt"), ("\t", ".tsv"), ("\t", "")])
def test_text_has_its_class_first_and_missing_values_at_the_end_are_filling(
    tmp_path: Path, mark: str, ending: str
) -> None:
    rows = [("2.0000000e+00", "1.5", "2", "3"), ("1.0000000e+00", "4", "NaN", "NaN"), ("-1", "7", "8", "9")]
    (tmp_path / f"P_TRAIN{ending}").write_text("\n".join(mark.join(row) for row in rows))
    (tmp_path / "P.txt").write_text("What it is about.")
    reader = open_data(tmp_path)
    assert reader.format == "ucr"
    assert reader.classes == ("-1", "1", "2")
    assert [reader.image(position).shape[1] for position in range(3)] == [3, 1, 3]
    assert [name for name, _ in reader.skipped] == ["P.txt"]


def test_a_row_of_another_length_or_with_text_is_a_problem(tmp_path: Path) -> None:
    rows = ["1 1 2 3", "2 1 2 3", "1 1 2", "2 1 x 3", "1 1 2 3", "2 1 NaN 3"]
    path = tmp_path / "P_TRAIN.txt"
    path.write_text("\n".join(rows))
    reader = open_data(path)
    assert sorted(found(reader)) == [
        ("annotation-malformed", "P_TRAIN.txt:3"),
        ("annotation-malformed", "P_TRAIN.txt:4"),
        ("not-finite", "P_TRAIN.txt:6"),
    ]
    assert len(reader) == 3


def test_a_text_without_a_name_of_a_split_is_one_set_and_a_table_stays_a_table(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("1 0.5 2\n2 3 4\n")
    assert list(open_data(tmp_path / "some.txt").splits) == ["all"]
    (tmp_path / "some.tsv").write_text("label\tx1\tx2\na\t1\t2\nb\t3\t4\n")
    assert open_data(tmp_path / "some.tsv").format == "table"
    (tmp_path / "P_TRAIN.tsv").write_text("label\tx1\tx2\na\t1\t2\nb\t3\t4\n")
    assert open_data(tmp_path / "P_TRAIN.tsv").format == "table"


def test_rows_to_predict_on_may_come_without_a_class(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_text("0.5 1 2\n0.25 3 4\n")
    reader = open_data(path, "ucr", ReaderOptions(labelled=False))
    assert reader.image(0).tolist() == [[0.5, 1.0, 2.0]]


@given(st.text(max_size=12))
@settings(max_examples=100)
def test_a_class_has_one_name_however_often_it_is_asked_for(text: str) -> None:
    assert class_name(class_name(text)) == class_name(text)


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_no_bytes_do_more_than_raise_an_input_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any_TRAIN.ts"
    for start in (b"", HEAD.encode()):
        path.write_bytes(start + data)
        for read in (read_ts, read_text):
            with suppress(InputError):
                signals = read(path).signals
                assert all(signal.dtype == np.float32 and signal.ndim == 2 for signal in signals)
