"""Parquet: the three forms of signals, the rules of tables, and files that are damaged or need what is not there."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.reader import open_data

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def save(path: Path, columns: dict[str, Any], rows: int | None = None) -> Path:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def test_a_row_is_a_signal_and_the_column_of_text_is_the_label(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", {"v1": [1, 2, 3], "v2": [0.5, 1.5, 2.5], "kind": ["b", "a", "b"]}, rows=2)
    reader = open_data(path)
    assert reader.format == "parquet"
    assert reader.classes == ("a", "b")
    assert [reader.image(position).tolist() for position in range(3)] == [[[1, 0.5]], [[2, 1.5]], [[3, 2.5]]]
    assert reader.name(1) == "row 2"
    assert reader.settled.label_column == "kind"


def test_several_rows_with_one_id_are_a_signal_in_order_of_time(tmp_path: Path) -> None:
    columns = {
        "id": ["p", "q", "p", "q"],
        "time": [1, 0, 0, 1],
        "x": [2.0, 5.0, 1.0, 6.0],
        "y2": [20, 50, 10, 60],
        "label": [1, 0, 1, 0],
        "group": ["g", "h", "g", "h"],
        "split": ["train", "test", "train", "test"],
    }
    reader = open_data(save(tmp_path / "a.parquet", columns))
    assert reader.image(0).tolist() == [[1, 2], [10, 20]]
    assert reader.label(0) == 1
    assert reader.group(1) == "h"
    assert list(reader.splits) == ["train", "test"]


def test_lists_are_signals_of_any_length_and_each_column_is_a_channel(tmp_path: Path) -> None:
    columns = {"left": [[1, 2], [3, 4, 5]], "right": [[6, 7], [8, 9, 10]], "age": [3, 4], "label": ["a", "b"]}
    reader = open_data(save(tmp_path / "a.parquet", columns))
    assert reader.image(1).tolist() == [[3, 4, 5], [8, 9, 10]]
    assert reader.image(1).dtype == np.float32
    assert "not read: age" in reader.found


def test_lists_of_lists_are_channels_of_values(tmp_path: Path) -> None:
    columns = {"signal": [[[1, 2, 3], [4, 5, 6]], [[1], [2]], [[1, 2], [3]]], "label": [0, 1, 0]}
    path = save(tmp_path / "a.parquet", columns)
    reader = open_data(path)
    assert reader.image(0).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert [(problem.code, problem.file) for problem in reader.problems] == [("annotation-malformed", "a.parquet:3")]
    assert open_data(path, options=ReaderOptions(layout="NLC")).image(0).shape == (3, 2)


def test_lists_of_fixed_length_and_categories_are_read(tmp_path: Path) -> None:
    lists = pyarrow.array([[1.0, 2.0], None, [5.0, 6.0]], pyarrow.list_(pyarrow.float64(), 2))
    labels = pyarrow.array(["a", "b", "b"]).dictionary_encode()
    reader = open_data(save(tmp_path / "a.parquet", {"x": lists, "label": labels}))
    assert reader.image(1).tolist() == [[5, 6]]
    assert reader.skipped == [("row 2", "row 2: an empty list")]


def test_missing_values_and_labels_are_skipped_with_their_row(tmp_path: Path) -> None:
    columns = {"v1": [1, None, 3, 4], "v2": [1.0, 2.0, 3.0, 4.0], "label": ["a", "b", None, "b"]}
    reader = open_data(save(tmp_path / "a.parquet", columns))
    assert len(reader) == 2
    assert reader.skipped == [("row 2", "row 2: no finite number in column 'v1'"), ("row 3", "row 3: no label")]
    columns = {"v": [[1.0, float("nan")], [1.0, 2.0], [1.0]], "label": ["a", "b", "a"]}
    assert [name for name, _ in open_data(save(tmp_path / "b.parquet", columns)).skipped] == ["row 1"]


def test_files_of_splits_and_their_parts_are_joined(tmp_path: Path) -> None:
    save(tmp_path / "train-00000-of-00002.parquet", {"v": [[1.0], [2.0]], "label": ["a", "b"]})
    save(tmp_path / "train-00001-of-00002.parquet", {"v": [[3.0]], "label": ["b"]})
    save(tmp_path / "test.parquet", {"v": [[4.0]], "label": ["a"]})
    reader = open_data(tmp_path)
    assert {split: len(rows) for split, rows in reader.splits.items()} == {"train": 3, "test": 1}
    assert reader.name(2) == "train-00001-of-00002.parquet: row 1"


def test_the_index_of_pandas_is_passed_over_and_labels_are_not_needed_to_predict(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", {"v1": [1.0], "v2": [2.0], "__index_level_0__": [7]})
    assert open_data(path, options=ReaderOptions(labelled=False)).image(0).tolist() == [[1, 2]]
    with pytest.raises(InputError, match="no column is called label"):
        open_data(path)


def test_several_labels_in_a_cell_are_tags(tmp_path: Path) -> None:
    reader = open_data(save(tmp_path / "a.parquet", {"v": [[1.0], [2.0]], "label": ["a;b", "b"]}))
    assert reader.multi_label
    assert reader.classes == ("a", "b")


def test_a_column_that_is_no_number_is_named(tmp_path: Path) -> None:
    times = pyarrow.array([0, 1], pyarrow.timestamp("s"))
    path = save(tmp_path / "a.parquet", {"v": [1.0, 2.0], "when": times, "label": ["a", "b"]})
    with pytest.raises(InputError, match=r"'when' of type timestamp\[(s|ms)\] is no number"):
        open_data(path)
    assert open_data(path, options=ReaderOptions(ignored_columns=("when",))).image(0).shape == (1, 1)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", {"v": list(range(100)), "label": ["a", "b"] * 50})
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[:-7], whole[: len(whole) // 2], whole[:40] + bytes(60) + whole[100:]):
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            open_data(path)
        assert "\n" not in str(caught.value)


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.parquet", {"v": [1.0], "label": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install striate\[tables\]"):
        open_data(path)
