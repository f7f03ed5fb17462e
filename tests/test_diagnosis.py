"""Faults gathered into findings, and what a diagnosis says of itself."""

from pathlib import Path

import pytest

from striate.data.doctor.diagnosis import Diagnosis, Fault, exit_code, gather
from striate.data.problems import CODES, SEVERITIES


def diagnosis(*codes: str) -> Diagnosis:
    """One with these findings."""
    findings = gather(Fault(code, "a.png", "so") for code in codes)
    return Diagnosis(Path("x"), "memory", "found", 1, {"all": 1}, ("a",), {}, findings)


def test_a_code_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError):
        Fault("nonsense", "a.png")


def test_errors_and_only_errors_end_with_three() -> None:
    assert exit_code(diagnosis()) == 0
    assert exit_code(diagnosis("imbalance", "no-validation")) == 0
    assert exit_code(diagnosis("no-validation", "leak", "imbalance")) == 3


def test_the_verdict_counts_what_was_found() -> None:
    assert diagnosis().verdict == "nothing is wrong"
    assert diagnosis("leak", "unreadable", "imbalance").verdict == "2 errors, 1 warning"
    assert diagnosis("imbalance", "leak").worst == "error"


def test_undecodable_names_survive_as_escapes() -> None:
    (finding,) = gather([Fault("leak", "a\udcff.png", "so")])
    assert finding.to_json()["files"] == ["a\\udcff.png"]


def test_every_code_has_a_severity_words_and_a_fix() -> None:
    for code, meaning in CODES.items():
        assert meaning.severity in SEVERITIES, code
        assert meaning.title, code
        assert meaning.fix, code
        assert not meaning.fix.endswith("."), code
