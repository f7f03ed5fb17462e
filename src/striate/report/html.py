"""A report as one self-contained HTML file: no script, no external address, readable in light, dark and print.

Everything that comes from records is escaped. Pictures are embedded: PNG as data, SVG inline after a check against a
list of allowed elements and attributes, with its ids made unique to the page. The same report gives the same bytes.
"""

import base64
import os
import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import assert_never

from striate.core.errors import InputError
from striate.report.records import (
    Block,
    Code,
    Emphasis,
    Facts,
    Figure,
    Gallery,
    Inline,
    Listing,
    Report,
    Section,
    Strong,
    Table,
    Text,
    clean,
    shown,
    shown_rows,
)
from striate.report.stylesheet import STYLESHEET

_OURS = b'content="striate'
"""What the first bytes of our pages hold."""
_SHAPES = {"path", "use", "rect", "circle", "ellipse", "line", "polyline", "polygon", "image"}
_ELEMENTS = _SHAPES | {"svg", "g", "defs", "clipPath", "text", "tspan", "title", "desc"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_MARK = (
    '<svg class="mark" viewBox="0 0 60 20" width="60" height="20" aria-hidden="true">'
    '<g fill="none" stroke="currentColor" stroke-width="2">'
    '<path d="M3 2v16M7 2v16M11 2v16M15 2v16M23 18l8-16M27 18l8-16M31 18l8-16M43 5h14M43 9h14M43 13h14M43 17h14"/>'
    "</g></svg>"
)


def render(report: Report) -> str:
    """The page as text. Errors: ``ValueError`` for a figure whose SVG holds anything that could act or load."""
    body = "\n".join(_Page().section(number, section) for number, section in enumerate(report.sections, start=1))
    contents = "\n".join(
        f'<li><a href="#section-{number}">{_words(section.title)}</a></li>'
        for number, section in enumerate(report.sections, start=1)
    )
    return f"""<!DOCTYPE html>
<html lang="{_words(report.language)}">
<head>
<meta charset="utf-8">
<meta name="generator" content="striate">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_words(report.title)}</title>
<style>
{STYLESHEET}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="head">
<p class="brand">{_MARK}<span>Striate report</span></p>
<h1>{_heading(report.title)}</h1>
<p class="subtitle">{_words(report.subtitle)}</p>
</header>
<div class="page">
<nav class="contents" aria-label="Contents">
<ol>
{contents}
</ol>
</nav>
<main id="content">
{body}
</main>
</div>
<footer class="foot"><p>Written by Striate. This file holds everything it shows and loads nothing.</p></footer>
</body>
</html>
"""


def demand_page(path: Path, fix: str) -> None:
    """Errors: ``InputError`` with this ``fix`` when there is a file that is no page of ours, which is not replaced, or
    no folder for it."""
    if path.exists() and not (path.is_file() and _OURS in path.read_bytes()[:2000]):
        raise InputError(path, "it is there already, and no page of striate", fix)
    if not path.parent.is_dir():
        raise InputError(path, "its folder does not exist", f"make the folder, or {fix}")


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the page to ``path``, whole or not at all: a temporary file beside it is synced and then renamed over it.

    Errors: ``InputError`` when the folder is missing, not writable or full; what was at ``path`` is then unchanged.
    """
    target = Path(path)
    data = render(report).encode("utf-8")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(target: Path, error: OSError) -> InputError:
    cause = error.strerror or str(error)
    return InputError(target, f"the report cannot be written: {cause}", "make room, or give a folder you can write to")


def _umask() -> int:
    """The mask of this process: mkstemp makes private files, a report is to have the usual permissions."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


class _Page:
    """Blocks to HTML; counts the figures so that their ids stay apart."""

    def __init__(self) -> None:
        self._prefixes = 0

    def section(self, number: int, section: Section) -> str:
        blocks = "\n".join(self.block(block) for block in section.blocks)
        heading = f'<h2 id="heading-{number}">{_heading(section.title)}</h2>'
        return (
            f'<section id="section-{number}" aria-labelledby="heading-{number}">\n{heading}\n{blocks}\n</section>'
        ).replace("\n\n", "\n")

    def block(self, block: Block) -> str:
        match block:
            case Text():
                return "\n".join(f"<p>{''.join(map(_inline, parts))}</p>" for parts in block.pieces)
            case Listing():
                return (
                    f'<div class="listing"><pre tabindex="0">{_words(block.text)}</pre>{_caption(block.caption)}</div>'
                )
            case Table():
                return _table(block)
            case Figure():
                return self.figure(block)
            case Facts():
                return _facts(block)
            case Gallery():
                figures = "\n".join(self.figure(figure) for figure in block.figures)
                return f'<div class="gallery">\n<div class="tiles">\n{figures}\n</div>\n{_caption(block.caption)}</div>'
        assert_never(block)

    def figure(self, figure: Figure) -> str:
        caption = f"<figcaption>{_words(figure.caption)}</figcaption>" if figure.caption else ""
        if figure.is_png:
            data = base64.b64encode(figure.image).decode("ascii")
            picture = f'<img class="card" src="data:image/png;base64,{data}" alt="{_words(figure.alt)}">'
        else:
            self._prefixes += 1
            picture = _inline_svg(figure, f"f{self._prefixes}-")
        return f'<figure>\n<div class="picture">{picture}</div>\n{caption}</figure>'


def _words(text: str) -> str:
    return escape(clean(text), quote=True)


def _heading(text: str) -> str:
    """The words of a heading; a short one with a hyphen (MNIST-1D) is not broken there."""
    words = (_words(word) for word in clean(text).split())
    return " ".join(f"<span>{word}</span>" if "-" in word and len(word) < 20 else word for word in words)


def _inline(piece: Inline) -> str:
    match piece:
        case str():
            return _words(piece)
        case Code():
            return f"<code>{_words(piece.text)}</code>"
        case Strong():
            return f"<strong>{_words(piece.text)}</strong>"
        case Emphasis():
            return f"<em>{_words(piece.text)}</em>"
    assert_never(piece)


def _caption(text: str) -> str:
    return f'<p class="caption">{_words(text)}</p>' if text else ""


def _facts(block: Facts) -> str:
    cards = "\n".join(
        f"<div><dt>{_words(fact.name)}</dt><dd><span>{_words(shown(fact.value))}</span>"
        + (f"<small>{_words(fact.note)}</small>" if fact.note else "")
        + "</dd></div>"
        for fact in block.facts
    )
    return f'<dl class="facts">\n{cards}\n</dl>'


def _table(table: Table) -> str:
    sides = table.alignments
    head = "".join(
        f'<th scope="col" class="{side}">{_words(name)}</th>' for name, side in zip(table.columns, sides, strict=True)
    )
    rows = []
    for number, cells in enumerate(shown_rows(table)):
        mark = ' class="highlight"' if number == table.highlight else ""
        first = f'<th scope="row" class="{sides[0]}">{_words(cells[0])}</th>'
        rest = "".join(f'<td class="{side}">{_words(c)}</td>' for c, side in zip(cells[1:], sides[1:], strict=True))
        rows.append(f"<tr{mark}>{first}{rest}</tr>")
    caption = f"<caption>{_words(table.caption)}</caption>" if table.caption else ""
    label = _words(table.caption or "table: " + ", ".join(table.columns))
    body = "\n".join(rows)
    narrow = ' class="narrow"' if len(table.columns) <= 4 else ' class="many"' if len(table.columns) >= 6 else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n<table{narrow}>{caption}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _inline_svg(figure: Figure, prefix: str) -> str:
    """The SVG as an element of the page: checked, without namespaces, its ids behind ``prefix``, named by ``alt``."""
    if b"<!ENTITY" in figure.image:
        raise ValueError("the SVG of a figure declares entities, which are not allowed in a report")
    try:
        root = ElementTree.fromstring(figure.image)
    except ElementTree.ParseError as error:
        raise ValueError(f"the SVG of a figure is not well-formed: {error}") from None
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag not in _ELEMENTS:
            raise ValueError(f"the SVG of a figure holds <{element.tag}>, which is not allowed in a report")
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            element.set(_local(name), _attribute(_local(name), value, prefix))
    width = root.get("viewBox", "0 0 600 400").split()[2]
    root.attrib.pop("height", None)
    root.attrib.pop("width", None)
    natural = float(width) * 4 / 3  # the view box is in points, 72 to an inch; CSS pixels are 96 to an inch
    root.set("style", f"max-width:{natural:.0f}px;{root.get('style', '')}")
    root.set("class", "wide" if natural > 560 else "small")
    root.set("role", "img")
    root.set("aria-label", clean(figure.alt))
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        if value.startswith("#"):
            return "#" + prefix + value[1:]
        if value.startswith("data:image/png;base64,"):
            return "".join(value.split())
        raise ValueError(f"the SVG of a figure refers to {value[:40]!r}; a report loads nothing")
    if name.lower().startswith("on"):
        raise ValueError(f"the SVG of a figure holds the attribute {name!r}, which is not allowed in a report")
    if any(not target.startswith("#") for target in _targets(value)):
        raise ValueError(f"the SVG of a figure refers to {value[:40]!r}; a report loads nothing")
    return value.replace("url(#", f"url(#{prefix}")


def _targets(value: str) -> Iterator[str]:
    return (match.group(1).strip(" '\"") for match in re.finditer(r"url\(([^)]*)", value, re.IGNORECASE))
