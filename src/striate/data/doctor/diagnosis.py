"""What the doctor says: faults met one by one, gathered into findings, and findings into a diagnosis."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.data.problems import CODES, SEVERITIES, Severity

MOST_FILES = 20
"""How many files a finding names."""
ERRORS_FOUND = 3
"""The exit code of a check that found errors."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: its code, the file or sample (or nothing where it is no single one), what exactly, and
    the positions of the samples that show it (two where a pair does). Errors: ``KeyError`` for no such code."""

    code: str
    file: str
    detail: str = ""
    samples: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        CODES[self.code]


@dataclass(frozen=True)
class Finding:
    """All faults of one code: how many there are, and the first of them.

    ``files`` and ``details`` (at most 20) belong together by number: what is wrong with which; a fault of the set as
    a whole has an empty file. ``samples`` are the positions of the samples that show each.
    """

    code: str
    severity: Severity
    title: str
    count: int
    files: tuple[str, ...]
    details: tuple[str, ...]
    fix: str
    samples: tuple[tuple[int, ...], ...] = ()

    def lines(self) -> list[str]:
        """The faults that are named, one line each."""
        return [": ".join(filter(None, pair)) for pair in zip(self.files, self.details, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "title": self.title,
            "count": self.count,
            "files": [printable(name) for name in self.files],
            "details": [printable(detail) for detail in self.details],
            "fix": self.fix,
        }


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a data set. ``found`` says what it is and why it is taken for it.

    ``splits``: samples in each. ``class_counts``: for each split ``samples`` (how many show each class) and, where
    there are any, ``boxes`` or ``pixels``. ``findings``: the worst first. ``statistics``: see
    :func:`striate.data.doctor.statistics.gathered`. ``looked_at`` samples were decoded. ``copies`` are the groups of
    samples that are exactly the same, ``unreadable`` the samples that cannot be read (positions); they are complete
    only when every sample was decoded. ``concerned``: by code the positions of all the samples that show it.
    """

    path: Path
    format: str
    found: str
    samples: int
    splits: Mapping[str, int]
    classes: tuple[str, ...]
    class_counts: Mapping[str, Mapping[str, Sequence[int]]]
    findings: tuple[Finding, ...]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    looked_at: int = 0
    copies: tuple[tuple[int, ...], ...] = ()
    unreadable: tuple[int, ...] = ()
    concerned: Mapping[str, frozenset[int]] = field(default_factory=dict)

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding; None where nothing was found."""
        return self.findings[0].severity if self.findings else None

    def finding(self, code: str) -> Finding | None:
        """The finding of this code, or None."""
        return next((one for one in self.findings if one.code == code), None)

    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity, the worst first."""
        return {severity: sum(one.severity == severity for one in self.findings) for severity in SEVERITIES}

    @property
    def verdict(self) -> str:
        """What was found, in one line."""
        said = {"error": "errors", "warning": "warnings", "note": "notes"}
        counted = {name: count for name, count in self.counts().items() if count}
        words = ", ".join(f"{count} {said[name] if count > 1 else name}" for name, count in counted.items())
        return words or "nothing is wrong"

    def to_json(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {
            "path": printable(os.fspath(self.path)),
            "format": self.format,
            "found": printable(self.found),
            "worst": self.worst,
            "samples": self.samples,
            "looked_at": self.looked_at,
            "splits": dict(self.splits),
            "classes": [printable(name) for name in self.classes],
            "class_counts": {
                split: {what: [int(count) for count in counts] for what, counts in one.items()}
                for split, one in self.class_counts.items()
            },
            "findings": [finding.to_json() for finding in self.findings],
            "statistics": json.loads(json.dumps(self.statistics)),
        }


def exit_code(diagnosis: Diagnosis) -> int:
    """0 when nothing is worse than a warning, :data:`ERRORS_FOUND` (3) when there are errors."""
    return ERRORS_FOUND if diagnosis.worst == "error" else 0


def concerned(faults: Iterable[Fault]) -> dict[str, frozenset[int]]:
    """By code the positions of all the samples that show a fault (both samples of a pair)."""
    found: dict[str, set[int]] = {}
    for fault in faults:
        found.setdefault(fault.code, set()).update(fault.samples)
    return {code: frozenset(samples) for code, samples in found.items() if samples}


def gather(faults: Iterable[Fault]) -> tuple[Finding, ...]:
    """Faults as findings, one a code, the worst first and then in the order of the table of codes."""
    by_code: dict[str, list[Fault]] = {}
    for fault in faults:
        by_code.setdefault(fault.code, []).append(fault)
    order = list(CODES)
    codes = sorted(by_code, key=lambda code: (SEVERITIES.index(CODES[code].severity), order.index(code)))
    return tuple(_finding(code, by_code[code]) for code in codes)


def _finding(code: str, faults: list[Fault]) -> Finding:
    meaning, named = CODES[code], faults[:MOST_FILES]
    return Finding(
        code,
        meaning.severity,
        meaning.title,
        len(faults),
        tuple(fault.file for fault in named),
        tuple(fault.detail for fault in named),
        meaning.fix,
        tuple(fault.samples for fault in named),
    )


def printable(text: str) -> str:
    """A name that may hold undecodable bytes, with those bytes written out as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
