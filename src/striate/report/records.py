"""The plain records a report is made of: no HTML, no drawing, only what is to be said.

A report is ``Report(title, subtitle, sections)``; a section is a title over blocks; a block is a :class:`Text`,
:class:`Listing`, :class:`Table`, :class:`Figure`, :class:`Facts` or :class:`Gallery`. Every record is frozen and holds
plain values. ``report.html`` writes them as a page, ``report.tables`` writes tables to a terminal or as JSON.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Alignment = Literal["left", "center", "right"]
Cell = str | int | float | bool | None
"""What a table cell or a fact may hold. ``None`` is shown as a dash: there is no such value."""

MISSING = "–"
MINUS = "−"
_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff"
"""Bidirectional overrides and isolates, and the two code points that XML does not allow."""


@dataclass(frozen=True, slots=True)
class Code:
    """Inline code: a command, a file name, a layer name."""

    text: str


@dataclass(frozen=True, slots=True)
class Strong:
    """Words of strong importance."""

    text: str


@dataclass(frozen=True, slots=True)
class Emphasis:
    """Stressed words."""

    text: str


Inline = str | Code | Strong | Emphasis
Paragraph = str | tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs. Each is a string, or a tuple of strings and ``Code``, ``Strong``, ``Emphasis`` pieces.

    A single string is split into paragraphs at blank lines. No markup inside strings is interpreted.
    """

    paragraphs: str | tuple[Paragraph, ...]

    def __post_init__(self) -> None:
        if isinstance(self.paragraphs, str):
            parts = tuple(" ".join(part.split()) for part in self.paragraphs.split("\n\n"))
            object.__setattr__(self, "paragraphs", tuple(part for part in parts if part))

    @property
    def pieces(self) -> tuple[tuple[Inline, ...], ...]:
        """Every paragraph as a tuple of inline pieces."""
        return tuple((part,) if isinstance(part, str) else part for part in self.paragraphs)


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines kept as they are, in a fixed-width face: a command to type, a settings file."""

    text: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. The first column names its row.

    ``rows`` hold raw values (numbers stay numbers; they are formatted when shown, see :func:`shown_rows`).
    ``alignment`` has one entry a column; by default columns of numbers go right and the rest left.
    ``highlight`` is the number of the row to mark. Errors: ``ValueError`` when a row has another length than
    ``columns``, or ``highlight`` names no row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    alignment: tuple[Alignment, ...] | None = None
    caption: str = ""
    highlight: int | None = None

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells, the table has {len(self.columns)} columns")
        if self.alignment is not None and len(self.alignment) != len(self.columns):
            raise ValueError(f"{len(self.alignment)} alignments came for {len(self.columns)} columns")
        if self.highlight is not None and not 0 <= self.highlight < len(self.rows):
            raise ValueError(f"row {self.highlight} is to be highlighted, the table has {len(self.rows)} rows")

    @property
    def alignments(self) -> tuple[Alignment, ...]:
        """One alignment a column, found from the values when none were given."""
        return self.alignment or tuple(_alignment([row[c] for row in self.rows]) for c in range(len(self.columns)))


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: ``image`` is the bytes of an SVG document or a PNG file.

    ``caption`` is printed under it; ``alt`` says in words what it shows, for whoever cannot see it.
    Errors: ``ValueError`` for other bytes or an empty ``alt``.
    """

    image: bytes
    caption: str
    alt: str

    def __post_init__(self) -> None:
        if not (self.is_png or self.image.lstrip().startswith((b"<?xml", b"<svg"))):
            raise ValueError(f"a figure holds SVG or PNG bytes, these begin with {self.image[:12]!r}")
        if not self.alt.strip():
            raise ValueError("a figure needs an alt text that says what it shows")

    @property
    def is_png(self) -> bool:
        """True for a PNG file, False for an SVG document."""
        return self.image.startswith(b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of a card: ``name`` in words, its ``value``, and a few words below it."""

    name: str
    value: Cell
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A row of cards, the numbers to see first."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Small figures side by side under one caption."""

    figures: tuple[Figure, ...]
    caption: str = ""


Block = Text | Listing | Table | Figure | Facts | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """A title over blocks; the title is an entry of the table of contents."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report. ``language`` is the BCP 47 tag of its text."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    language: str = "en"


def clean(text: str) -> str:
    """``text`` with control characters (tab and newline excepted) and lone surrogates replaced by U+FFFD.

    Names come from files: they may carry terminal escapes, NUL bytes or undecodable bytes, none of which may reach
    a terminal or an XML document. Bidirectional overrides are replaced too, since they reorder what follows them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("�" if _unprintable(letter) else letter for letter in text)


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number with its noun: ``1 sample``, ``1,200 samples``; ``several`` where the plural is not made with an s."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def shown(value: Cell, decimals: int | None = None) -> str:
    """A cell as words: thousands are grouped, ``None`` is a dash, floats get ``decimals`` or four figures."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "∞", "-inf": f"{MINUS}∞"}.get(str(value), "not a number")
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    places = _decimals([value]) if decimals is None else decimals
    text = f"{value:,.{places}f}" if value == 0 or abs(value) >= 1e-6 else f"{value:.3g}"
    return text.replace("-", MINUS)


def shown_rows(table: Table) -> tuple[tuple[str, ...], ...]:
    """The rows of ``table`` as words; the floats of a column share one number of decimals, so that points line up."""
    columns = []
    for number in range(len(table.columns)):
        values = [row[number] for row in table.rows]
        places = _decimals([value for value in values if isinstance(value, float)])
        columns.append([shown(value, places) for value in values])
    return tuple(zip(*columns, strict=True))


def _decimals(values: Sequence[float]) -> int:
    """Decimals that show four figures of the largest finite value (at most 6), less those that are zero throughout."""
    finite = [value for value in values if math.isfinite(value)]
    largest = max(map(abs, finite), default=0.0)
    most = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest else 1
    kept = [len(f"{value:.{most}f}".rstrip("0").partition(".")[2]) for value in finite]
    return min(most, max(1, *kept, 1)) if most else 0


def _alignment(values: Sequence[Cell]) -> Alignment:
    numbers = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)
    return "right" if numbers and is_number else "left"


def _unprintable(letter: str) -> bool:
    if letter in "\t\n":
        return False
    return unicodedata.category(letter) in {"Cc", "Cs"} or letter in _REORDERING
