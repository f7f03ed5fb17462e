"""What a check found, as lines for the terminal."""

from striate.data.problems import SEVERITIES
from striate.recipes.check import Checked
from striate.recipes.preflight_page import preflight_lines

SHOWN = 3
"""How many files of a finding a terminal shows."""


def lines(checked: Checked) -> list[str]:
    """What the set is, then every finding with its first files, then the network's side, then the verdict."""
    found = checked.diagnosis
    splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items())
    samples = _counted(found.samples, "sample", "samples")
    classes = _counted(len(found.classes), "class", "classes")
    out = [f"{samples} ({splits}), {classes}, format {found.format}"]
    for finding in found.findings:
        out.append(f"{finding.severity}: {finding.title}: {finding.count:,} [{finding.code}]; {finding.fix}")
        out += [f"    {line}" for line in finding.lines()[:SHOWN]]
        if finding.count > SHOWN:
            out.append("    ... the page and --json list more")
    if checked.preflight is not None:
        out.append(f"network: {checked.preflight.network}, {checked.preflight.parameters:,} parameters")
        out += [f"    {line}" for line in preflight_lines(checked.preflight)]
    elif checked.refused:
        out.append(f"network: not checked: {checked.refused}")
    counted = {severity: sum(one.severity == severity for one in found.findings) for severity in SEVERITIES}
    out.append(", ".join(_counted(count, name, f"{name}s") for name, count in counted.items()))
    return [line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for line in out]


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
