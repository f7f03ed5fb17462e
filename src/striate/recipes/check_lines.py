"""What a check found, as lines for the terminal."""

from striate.data.problems import SEVERITIES
from striate.recipes.check import Checked
from striate.recipes.preflight_page import preflight_lines


def lines(checked: Checked) -> list[str]:
    """What the set is, then every finding with its first files, then the network's side, then the verdict."""
    found = checked.diagnosis
    splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items())
    out = [f"{found.samples:,} samples ({splits}), {len(found.classes)} classes, format {found.format}"]
    for finding in found.findings:
        out.append(f"{finding.severity}: {finding.count:,} {finding.title} [{finding.code}]; {finding.fix}")
        out += [f"    {name}: {detail}" for name, detail in _first(finding.files, finding.details)]
        if finding.count > 3 < len(finding.files):
            out.append("    ... the page and --json list more")
    if checked.preflight is not None:
        out.append(f"network: {checked.preflight.network}, {checked.preflight.parameters:,} parameters")
        out += [f"    {line}" for line in preflight_lines(checked.preflight)]
    elif checked.refused:
        out.append(f"network: not checked: {checked.refused}")
    counted = {severity: sum(one.severity == severity for one in found.findings) for severity in SEVERITIES}
    out.append(", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counted.items()))
    return [line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for line in out]


def _first(files: tuple[str, ...], details: tuple[str, ...], most: int = 3) -> list[tuple[str, str]]:
    shown = [*details, *[""] * len(files)]
    return [(name, detail) for name, detail in zip(files[:most], shown, strict=False)]
