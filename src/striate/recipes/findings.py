"""Errors of a model held against what the doctor found in its data: how many of them fall on samples with a fault.

A fault of the data is no proof that it caused an error. What is said is where errors and faults meet, and how often
they would if they had nothing to do with one another: the share of the samples beside the share of the errors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.doctor.diagnosis import Diagnosis, printable
from striate.data.problems import CODES, SEVERITIES
from striate.data.shards import Shards
from striate.ops.error_analysis import KINDS
from striate.report.records import Block, Cell, Code, Inline, Table, Text, counted
from striate.tasks.detection_report import CAUSES

FORMAL = {
    "orientation",
    "format-mismatch",
    "not-a-sample",
    "mask-scaled",
    "mixed-sizes",
    "mixed-proportions",
    "mixed-lengths",
}
"""Findings about how a set is stored, which say nothing of a label."""
_NAMED = 5
"""How many samples of a finding are named."""
_SENTENCES = 4


@dataclass(frozen=True)
class Concern:
    """A finding of the doctor and the samples that were measured and show it, by their positions in the shards."""

    code: str
    title: str
    samples: tuple[int, ...]


def concerns(diagnosis: Diagnosis, shards: Shards, positions: NDArray[np.integer]) -> tuple[Concern, ...]:
    """What the doctor found in the samples at ``positions`` of the shards, the worst first."""
    sources = {int(source): place for place, source in enumerate(shards.rows[:, 0].tolist())}
    asked = set(np.asarray(positions).tolist())
    found = []
    for code in sorted(diagnosis.concerned, key=lambda one: (SEVERITIES.index(CODES[one].severity), one)):
        here = {sources[one] for one in diagnosis.concerned[code] if one in sources} & asked
        if here and code not in FORMAL:
            found.append(Concern(code, CODES[code].title, tuple(sorted(here))))
    return tuple(found)


def tied(
    errors: Mapping[str, Any], found: Sequence[Concern], names: Sequence[str], samples: int, looked_at_all: bool
) -> tuple[Block, ...]:
    """How many of a detector's errors at its threshold are on samples with findings, in sentences and a table.

    ``errors`` is ``at_threshold`` of ``ops.error_analysis``, by positions in the data, whose samples have ``names``;
    ``samples`` is how many were measured.
    """
    partly: tuple[Inline, ...] = (" It decoded some of the samples only; ", Code("striate check"), " looks at all.")
    partly = () if looked_at_all else partly
    if not found:
        return (Text((("The doctor found nothing wrong with the samples measured here.", *partly),)),)
    rows = {row[0]: row[1:] for row in errors["by_image"]}
    totals = [errors["counts"][kind] for kind in KINDS]
    said: list[str] = []
    table: list[tuple[Cell, ...]] = []
    for one in found:
        on = [sum(rows[image][place] for image in one.samples if image in rows) for place in range(len(KINDS))]
        named = ", ".join(printable(names[image]) for image in one.samples[:_NAMED])
        more = f" and {len(one.samples) - _NAMED} more" if len(one.samples) > _NAMED else ""
        share = f"{100 * sum(on) / max(sum(totals), 1):.0f} %"
        table.append(
            (one.title, len(one.samples), f"{100 * len(one.samples) / samples:.0f} %", sum(on), share, named + more)
        )
        parts = [
            f"{count} of {total} '{CAUSES[kind][0]}'"
            for kind, count, total in zip(KINDS, on, totals, strict=True)
            if count
        ]
        if parts and len(said) < _SENTENCES:
            where = counted(len(one.samples), "sample")
            said.append(f"{_listed(parts)} on the {where} where the doctor found {one.title}: {named}{more}.")
    head = f"{_listed_count(sum(totals))} at this threshold.{'' if said else ' None is on a sample with a finding.'}"
    words = Text(((head, *partly), *said))
    caption = (
        "What the doctor found in the samples measured here, and the errors on them. Where the share of the errors is"
        " well above that of the samples, look at those labels first; it is no proof that they are the cause."
    )
    columns = ("the doctor found", "samples", "of all", "errors on them", "of all errors", "which")
    return words, Table(columns, tuple(table), ("left", "right", "right", "right", "right", "left"), caption)


def notes(found: Sequence[Concern], position: int) -> str:
    """What the doctor found in one sample, in a line; empty for nothing."""
    titles = [one.title for one in found if position in one.samples]
    return f"the doctor found: {'; '.join(titles)}" if titles else ""


def _listed(parts: Sequence[str]) -> str:
    joined = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"{joined} {'errors are' if len(parts) > 1 else 'are'}"


def _listed_count(total: int) -> str:
    return f"There {'is' if total == 1 else 'are'} {counted(total, 'error')}"
