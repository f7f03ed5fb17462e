"""``striate check``: what a data set is, what is wrong with it, and what the network would see of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.architectures.backbone import architecture as known_architecture
from striate.core.errors import InputError
from striate.data.doctor.diagnosis import Diagnosis, exit_code
from striate.data.doctor.examine import examine
from striate.data.reader import Reader
from striate.recipes.check_page import write_check_page
from striate.recipes.preflight import Preflight, preflight
from striate.recipes.preflight_page import preflight_sections
from striate.recipes.sources import DataSettings, Opened, open_for
from striate.report.html import demand_page

Say = Callable[[str], None]
Show = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Checked:
    """A data set that was looked at: its reader, what is wrong with it, and, where samples can be read and an
    architecture takes them, what the network would see (else ``refused`` says why not)."""

    reader: Reader
    diagnosis: Diagnosis
    preflight: Preflight | None
    refused: str = ""

    @property
    def exit_code(self) -> int:
        """0 without errors in the data, 3 with."""
        return exit_code(self.diagnosis)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the diagnosis, with ``preflight`` beside it."""
        found = None if self.preflight is None else self.preflight.to_json()
        return {**self.diagnosis.to_json(), "preflight": found, "preflight_refused": self.refused or None}


def check(
    settings: DataSettings,
    *,
    architecture: str | None = None,
    steps: bool = True,
    workers: int | None = None,
    say: Say = lambda line: None,
    show: Show = lambda done, total, seen: None,
) -> Checked:
    """Look at every sample of a data set, and at the network that would learn it; ``steps`` times a few real steps.

    Errors: ``InputError`` when the data cannot be opened at all, or the named architecture is unknown.
    """
    if architecture is not None:
        known_architecture(architecture)  # before anything is decoded
    # looked at as a whole: one class is a finding here, and JPEGs are decoded fully
    loose = settings.replace(options=settings.options.replace(minimum_classes=1))
    opened = open_for(loose, say=say)
    diagnosis = examine(opened.reader, workers=workers, show=show)
    try:
        return Checked(opened.reader, diagnosis, preflight(opened.reader, opened.geometry, architecture, steps=steps))
    except InputError as error:
        if architecture is not None:
            raise
        return Checked(opened.reader, diagnosis, None, str(error))


def write_page(checked: Checked, path: Path) -> None:
    """The page of a check. Errors: ``InputError`` when there is a file that is no page of ours."""
    demand_page(path, "give another --page")
    extra = () if checked.preflight is None else preflight_sections(checked.preflight)
    write_check_page(checked.reader, checked.diagnosis, path, extra)


def page_name(data: str) -> Path:
    """Where the page goes when nobody says: ``check-NAME.html`` in the current folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).absolute().name) or "data"
    return Path(f"check-{name}.html")


def brief(opened: Opened, architecture: str | None = None, *, say: Say = lambda line: None) -> Diagnosis:
    """What stands out before a training, in a few lines and seconds: the worst of a quick look at the data, and what
    the network (None: what suits the data) would not see of it. It stops nothing, and gives what the look found."""
    diagnosis = examine(opened.reader, deep=False)
    worst = [finding for finding in diagnosis.findings if finding.severity != "note"]
    for finding in worst[:4]:
        first = f" (first: {finding.files[0]})" if finding.files and finding.files[0] else ""
        say(f"check: {finding.severity}: {finding.title}: {finding.count:,}{first}; {finding.fix}")
    if len(worst) > 4:
        say(f"check: {len(worst) - 4} findings more; `striate check {opened.reader.path}` shows all")
    try:
        seen = preflight(opened.reader, opened.geometry, architecture, steps=False)
    except InputError:
        return diagnosis  # whoever trains is told in a moment, and better
    for one in seen.advice:
        if one.severity != "note":
            say(f"check: {one.severity}: {one.cause}; {one.fix}")
    return diagnosis
