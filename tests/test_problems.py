"""The table of what can be wrong with data, and that its documentation is the same table."""

from pathlib import Path

from striate.data.problems import CODES

ROOT = Path(__file__).resolve().parent.parent


def test_every_code_is_documented_as_it_is() -> None:
    text = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    rows = {
        code.strip("`"): (severity, title, fix)
        for line in text.splitlines()
        if line.startswith("| `")
        for code, severity, title, fix in [[cell.strip() for cell in line.strip("|").split("|")][:4]]
        if severity in ("error", "warning", "note")
    }
    assert rows == {code: tuple(meaning) for code, meaning in CODES.items()}
