"""Records and tables: what is said, how it is shown in a terminal and as JSON."""

import io
import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.report import plots, tables
from striate.report.records import (
    Code,
    Table,
    Text,
    clean,
    shown,
    shown_rows,
)


def test_text_splits_at_blank_lines_and_keeps_pieces():
    assert Text("one\ntwo\n\n\n three ").pieces == (("one two",), ("three",))
    assert Text(("a", ("b", Code("c")))).pieces == (("a",), ("b", Code("c")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"), (True, "yes"), (2050, "2,050"), (-3, "−3"), (0.5, "0.5"), (13.25, "13.25"), (0.0, "0.0"),
        (12345.678, "12,346"), (3e-9, "3e−09"), (math.nan, "not a number"), (-math.inf, "−∞"), ("a\x00b", "a\ufffdb"),
    ],
)  # fmt: skip
def test_values_are_shown_in_words(value, words):
    assert shown(value) == words


def test_floats_of_a_column_share_their_decimals_and_numbers_go_right():
    table = Table(("name", "x", "n", "m"), (("a", 1.5, 1, None), ("b", 10.0, 2000, 0.125)))
    assert shown_rows(table) == (("a", "1.5", "1", "–"), ("b", "10.0", "2,000", "0.125"))
    assert table.alignments == ("left", "right", "right", "right")


def test_plain_tables_line_up_with_wide_letters_and_mark_the_row():
    table = Table(("name", "n"), (("猫", 1), ("[red]x", 20)), caption="c", highlight=1)
    assert tables.plain(table) == "name     n\n------  --\n猫       1\n[red]x  20  *\nc"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_tables_are_plain_in_a_pipe_and_ruled_on_a_terminal(monkeypatch):
    table = Table(("name", "n"), (("[bold]x\x1b[2J", 1),), caption="c", highlight=0)
    pipe, terminal = io.StringIO(), Terminal()
    tables.show(table, pipe)
    assert pipe.getvalue() == tables.plain(table) + "\n"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    tables.show(table, terminal)
    assert "[bold]x\ufffd[2J" in terminal.getvalue()
    assert "─" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_json_holds_raw_values():
    table = Table(("name", "n"), (("a", 2050), ("b", None)))
    assert json.loads(tables.to_json(table)) == [{"name": "a", "n": 2050}, {"name": "b", "n": None}]
    with pytest.raises(ValueError, match="share a name"):
        tables.to_json(Table(("a", "a"), ()))
    with pytest.raises(ValueError, match="JSON"):
        tables.to_json(Table(("a",), ((math.nan,),)))


def test_most_frequent_mistakes_come_first():
    table = tables.confusions([[8, 2, 0], [5, 5, 0], [1, 0, 0]], ["a", "b", "c"], most=2)
    assert table.rows == (("b", "a", 5, "50.0 %"), ("a", "b", 2, "20.0 %"))


@given(st.text())
def test_cleaned_text_is_encodable_printable_and_stays_as_it_is(text):
    once = clean(text)
    once.encode("utf-8")
    assert len(once) == len(text)
    assert clean(once) == once
    ElementTree.fromstring(f"<a>{once.replace('&', '').replace('<', '')}</a>")


def test_a_loss_of_zero_is_drawn_and_labelled():
    figure = plots.loss_curves({"a": {"step": [1, 2, 3], "train_loss": [0.5, 0.1, 0.0]}})
    assert figure.alt.endswith("a ends at 0.") or "a ends at 0" in figure.alt
