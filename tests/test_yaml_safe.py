"""YAML of strangers: plain values, words that stay words, caps, and errors that name the line."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from striate.core.errors import InputError
from striate.data.formats.yaml_safe import MAXIMUM_BYTES, parse_yaml, read_yaml

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff"), max_size=12)


def refused(text: str, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text.encode(), "data.yaml")
    for word in words:
        assert word in str(caught.value)


def test_values_are_read() -> None:
    assert parse_yaml(b"a: [1, -2, x, true, ~]\nb: {3: c}\n", "x") == {"a": [1, -2, "x", True, None], "b": {3: "c"}}


def test_words_that_other_readers_change_stay_text() -> None:
    text = b"[no, off, yes, 007, 1.10, 1e3, 12:30:00, 2020-01-01, null, 1_000]"
    given = ["no", "off", "yes", "007", "1.10", "1e3", "12:30:00", "2020-01-01", "null", "1_000"]
    assert parse_yaml(text, "x") == given


def test_merged_tables_and_aliases_are_read() -> None:
    assert parse_yaml(b"a: &a {x: 1}\nb: {<<: *a, y: 2}\n", "x")["b"] == {"x": 1, "y": 2}


def test_a_file_is_read_and_an_empty_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("\ufeffnc: 3\n")
    (tmp_path / "b.yaml").write_text("")
    assert read_yaml(tmp_path / "a.yaml") == {"nc": 3}
    assert read_yaml(tmp_path / "b.yaml") is None


def test_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    refused("\n".join(lines), "data.yaml:5", "100,000 values")


def test_billion_laughs_by_merging_are_refused() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    refused("\n".join(lines), "100,000 values")


def test_a_part_that_holds_itself_is_refused() -> None:
    refused("x: 1\na: &a [*a]", "data.yaml:2", "lies in itself")


def test_depth_is_capped() -> None:
    refused("[" * 5000 + "]" * 5000, "lie in each other")


def test_size_is_capped(tmp_path: Path) -> None:
    refused("x" * (MAXIMUM_BYTES + 1), "bytes")
    (tmp_path / "a.yaml").write_bytes(b"x" * (MAXIMUM_BYTES + 1))
    with pytest.raises(InputError, match="bytes"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [ls]", "!mine x", "!!python/name:os.system"])
def test_tags_that_make_objects_are_refused(tag: str) -> None:
    refused(f"a: 1\nb: {tag}\n", "data.yaml:2")


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "a: b: c", "\tx: 1", "a: *none", "---\na\n---\nb", "{[1]: 2}: 3", "a: @x"]
)
def test_what_is_not_yaml_names_the_line(text: str) -> None:
    refused(text, "data.yaml:")


def test_a_key_given_twice_is_an_error() -> None:
    refused("names:\n  0: a\n  0: b\n", "data.yaml:3", "twice")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match=r"x:2: it is not UTF-8"):
        parse_yaml(b"a: 1\nb: \xff\n", "x")


@given(st.recursive(st.booleans() | st.integers(-(10**9), 10**9) | WORDS, lambda of: st.lists(of, max_size=4)))
def test_what_yaml_writes_is_read_again(value: Any) -> None:
    text = yaml.safe_dump({"value": value}, allow_unicode=True)
    assert parse_yaml(text.encode(), "x") == {"value": value}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        parse_yaml(text.encode("utf-8", "surrogatepass"), "x")
