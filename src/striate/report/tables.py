"""The same table record for a terminal and for machines, and tables made from figures of a network."""

import json
from collections.abc import Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

from striate.report.records import Alignment, Cell, Table, clean, shown_rows


def show(table: Table, stream: IO[str]) -> None:
    """Print ``table`` to ``stream``: with rules and a marked row on a terminal, as plain aligned text elsewhere."""
    if not stream.isatty():
        stream.write(plain(table) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", caption_justify="left", highlight=False)
    grid.caption = Text(clean(table.caption), style="dim") if table.caption else None
    for name, side in zip(table.columns, table.alignments, strict=True):
        grid.add_column(Text(_line(name)), justify=side, overflow="fold")
    for number, cells in enumerate(shown_rows(table)):
        grid.add_row(*(Text(_line(cell)) for cell in cells), style="bold" if number == table.highlight else None)
    Console(file=stream).print(grid)


def plain(table: Table) -> str:
    """``table`` as lines of text in aligned columns two spaces apart; a ``*`` after a row marks the highlighted one."""
    from rich.cells import cell_len

    rows = [tuple(map(_line, table.columns)), *(tuple(map(_line, row)) for row in shown_rows(table))]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = []
    for number, row in enumerate(rows):
        cells = zip(row, widths, table.alignments, strict=True)
        line = "  ".join(_padded(text, width - cell_len(text), side) for text, width, side in cells).rstrip()
        marked = table.highlight is not None and number == table.highlight + 1
        lines.append(line + ("  *" if marked else ""))
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines + ([clean(table.caption)] if table.caption else []))


def to_records(table: Table) -> list[dict[str, Cell]]:
    """One object a row, keyed by column name, values raw. Errors: ``ValueError`` when two columns share a name."""
    if len(set(table.columns)) != len(table.columns):
        raise ValueError(f"columns share a name: {', '.join(table.columns)}")
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def to_json(table: Table) -> str:
    """:func:`to_records` as JSON text. Errors: ``ValueError`` for a number that JSON cannot hold (NaN, infinity)."""
    return json.dumps(to_records(table), ensure_ascii=False, allow_nan=False, indent=2)


def confusions(matrix: npt.ArrayLike, classes: Sequence[str], most: int = 10) -> Table:
    """The ``most`` frequent mistakes of a confusion matrix (K, K), rows the true class, columns the predicted one."""
    counts = np.asarray(matrix)
    support = counts.sum(axis=1)
    mistakes = [
        (int(counts[truth, guess]), truth, guess) for truth, guess in np.argwhere(counts > 0).tolist() if truth != guess
    ]
    mistakes.sort(key=lambda item: (-item[0], item[1], item[2]))
    rows = tuple(
        (classes[truth], classes[guess], count, f"{100 * count / support[truth]:.1f} %")
        for count, truth, guess in mistakes[:most]
    )
    sides: tuple[Alignment, ...] = ("left", "left", "right", "right")
    return Table(("true class", "taken for", "times", "of that class"), rows, sides, "The most frequent mistakes.")


def _line(text: str) -> str:
    return " ".join(clean(text).split())


def _padded(text: str, space: int, side: Alignment) -> str:
    before = {"left": 0, "center": space // 2, "right": space}[side]
    return " " * before + text + " " * (space - before)
