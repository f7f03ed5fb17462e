"""The page of a check: what a data set is, what is wrong with it, and how it looks, as one self-contained HTML file."""

import os
import shlex
from collections.abc import Sequence

import numpy as np

from striate import __version__
from striate.data.doctor.diagnosis import MOST_FILES, Diagnosis, Finding, printable
from striate.data.problems import SEVERITIES, Severity
from striate.data.reader import Reader
from striate.recipes.check_pictures import finding_pictures, sample_pictures
from striate.report.distributions import length_histogram, side_histogram, size_scatter
from striate.report.html import write
from striate.report.overlays import severity_bars
from striate.report.plots import class_counts
from striate.report.records import Block, Cell, Code, Fact, Facts, Listing, Report, Section, Strong, Table, Text

_HEADINGS: dict[Severity, str] = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_MEANT: dict[Severity, str] = {
    "error": "Errors spoil training or the figures measured: correct them first.",
    "warning": "Warnings may spoil training: look at them.",
    "note": "Notes are only to be known.",
}
_DRAWN_NOTES = {"near-duplicate", "box-tiny", "box-whole-image", "no-boxes", "orientation", "mixed-proportions"}
_TALL_TABLE = 60
_BOX_ROWS = (
    ("shorter side", "box_shorter_side"),
    ("longer side", "box_longer_side"),
    ("boxes in an image", "boxes_per_sample"),
)


def write_check_page(
    reader: Reader, diagnosis: Diagnosis, path: str | os.PathLike[str], extra_sections: Sequence[Section] = ()
) -> None:
    """Write the page of a diagnosis to ``path``. ``extra_sections`` come after the findings: what a network makes of
    the data. Errors: ``InputError`` when it cannot be written."""
    sections = [
        Section("Verdict", _verdict(diagnosis)),
        *(Section(_HEADINGS[severity], _findings(reader, diagnosis, severity)) for severity in SEVERITIES
          if diagnosis.counts()[severity]),
        *extra_sections,
    ]  # fmt: skip
    samples = sample_pictures(reader)
    if samples is not None:
        sections.append(Section("Samples, with their labels", (samples,)))
    if diagnosis.classes:
        sections.append(Section("Classes", _classes(diagnosis)))
    sizes = _sizes(diagnosis)
    if sizes:
        sections.append(Section("Sizes", sizes))
    sections.append(Section("How this was made", _made(diagnosis)))
    name = os.path.basename(os.path.abspath(diagnosis.path)) or str(diagnosis.path)
    write(Report(f"Check of {name}", diagnosis.found, tuple(sections)), path)


def _verdict(diagnosis: Diagnosis) -> tuple[Block, ...]:
    counts = diagnosis.counts()
    splits = ", ".join(f"{count:,} {name}" for name, count in diagnosis.splits.items() if name != "all")
    named = diagnosis.classes[:4]
    classes = ", ".join(named) + (", …" if len(diagnosis.classes) > len(named) else "")
    words = {
        "error": "There are errors: training on this, or figures measured with it, would be spoiled.",
        "warning": "There are no errors. The warnings deserve a look.",
        "note": "There is nothing wrong with this data that could be found; the notes are only to be known.",
        None: "There is nothing wrong with this data that could be found.",
    }
    facts = Facts(
        (
            Fact("Samples", diagnosis.samples, splits or "no splits"),
            Fact("Classes", len(diagnosis.classes), classes),
            Fact("Errors", counts["error"], "kinds of them"),
            Fact("Warnings", counts["warning"], f"kinds of them, and {counts['note']} of notes"),
        )
    )
    blocks: list[Block] = [Text(((Strong(words[diagnosis.worst]),),)), facts]
    if diagnosis.looked_at < diagnosis.samples:
        blocks.append(
            Text(f"{diagnosis.looked_at:,} of {diagnosis.samples:,} samples were decoded; a full check looks at all.")
        )
    if diagnosis.findings:
        rows = [(one.severity, one.title, one.count) for one in diagnosis.findings]
        blocks.append(severity_bars(rows, "What was found, the worst first. Bars are on a logarithmic scale."))
    return tuple(blocks)


def _findings(reader: Reader, diagnosis: Diagnosis, severity: Severity) -> tuple[Block, ...]:
    blocks: list[Block] = [Text(_MEANT[severity])]
    for finding in diagnosis.findings:
        if finding.severity == severity:
            blocks += _finding(reader, finding)
    return tuple(blocks)


def _finding(reader: Reader, finding: Finding) -> list[Block]:
    head = (
        Strong(f"{finding.title[:1].upper()}{finding.title[1:]}: {finding.count:,}. "),
        f"What to do: {finding.fix}.",
    )
    blocks: list[Block] = [Text((head,))]
    lines = [line for line in finding.lines() if line]
    if lines:
        more = finding.count - len(finding.files)
        caption = f"The first {MOST_FILES}; {more:,} more." if more > 0 else ""
        blocks.append(Listing("\n".join(" ".join(line.split()) for line in lines), caption))
    if finding.severity != "note" or finding.code in _DRAWN_NOTES:
        figure = finding_pictures(reader, finding)
        if figure is not None:
            blocks.append(figure)
    return blocks


def _classes(diagnosis: Diagnosis) -> tuple[Block, ...]:
    blocks: list[Block] = []
    words = {"boxes": "Boxes", "pixels": "Pixels", "samples": "Samples"}
    for what in ("samples", "boxes", "pixels"):
        counts = {split: list(one[what]) for split, one in diagnosis.class_counts.items() if what in one}
        if not counts or not np.sum(list(counts.values())):
            continue
        shown = (
            "Samples that show each class" if "boxes" in diagnosis.class_counts or what == "samples" else words[what]
        )
        caption = f"{shown}, by split." if len(counts) > 1 else f"{shown}."
        blocks.append(class_counts(counts, diagnosis.classes, caption, unit=what))
    if len(diagnosis.classes) > 40:
        blocks.append(_class_table(diagnosis))
    return tuple(blocks)


def _class_table(diagnosis: Diagnosis) -> Table:
    """The numbers behind a chart without names; of very many classes the most and the least frequent."""
    columns = ["class"]
    values: list[Sequence[int]] = []
    for split, counts in diagnosis.class_counts.items():
        for what, numbers in counts.items():
            columns.append(f"{what}, {split}" if split != "all" else what)
            values.append(numbers)
    rows: list[tuple[Cell, ...]] = [(name, *(one[i] for one in values)) for i, name in enumerate(diagnosis.classes)]
    rows.sort(key=lambda row: -sum(int(cell) for cell in row[1:] if isinstance(cell, int)))
    half, caption = _TALL_TABLE // 2, ""
    if len(rows) > _TALL_TABLE:
        caption = f"The {half} most frequent classes and the {half} least frequent of {len(rows)}."
        rows = rows[:half] + rows[-half:]
    return Table(tuple(columns), tuple(rows), caption=caption)


def _sizes(diagnosis: Diagnosis) -> tuple[Block, ...]:
    blocks: list[Block] = []
    found = diagnosis.statistics
    sizes = [(tuple(size), count) for size, count in found.get("sizes", ())]
    if len(sizes) == 1:
        size = sizes[0][0]
        words = f"{size[0]} values long" if len(size) == 1 else f"{' x '.join(map(str, reversed(size)))} pixels"
        blocks.append(Text(f"Every sample is {words}."))
    elif sizes and all(len(size) == 2 for size, _ in sizes):
        flat = [((size[0], size[1]), count) for size, count in sizes]
        blocks.append(size_scatter(flat, "Sizes of the images. The area of a dot is how many there are."))
    elif sizes and all(len(size) == 1 for size, _ in sizes):
        blocks.append(length_histogram({size[0]: count for size, count in sizes}, "Lengths of the signals."))
    boxes = found.get("box_histogram")
    if boxes:
        blocks.append(side_histogram(boxes["edges"], boxes["classes"], "Sizes of the boxes."))
        rows = [
            (name, *(found[key][share] for share in ("0", "5", "50", "95", "100")))
            for name, key in _BOX_ROWS
            if found.get(key)
        ]
        blocks.append(Table(("", "least", "5 %", "median", "95 %", "most"), tuple(rows), caption="Sides in pixels."))
    return tuple(blocks)


def _made(diagnosis: Diagnosis) -> tuple[Block, ...]:
    words = Text(
        (
            (
                f"{diagnosis.looked_at:,} of {diagnosis.samples:,} samples were decoded and compared by Striate "
                f"{__version__}. Nothing of the data was changed. ",
                Code("--fix DST"),
                " writes a corrected copy where the correction is certain; ",
                Code("--json"),
                " says the same as plain values.",
            ),
        )
    )
    return words, Listing(f"striate check {shlex.quote(printable(str(diagnosis.path)))}", "The command.")
