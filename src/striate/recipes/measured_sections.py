"""What a report shows of a model measured on a split: the task's own sections, with pictures of the samples, and what
the doctor found in them. The report of a run and the page of an evaluation share it."""

from collections.abc import Mapping, Sequence
from typing import Any

from striate.data.doctor.diagnosis import Diagnosis
from striate.inference.measured import Measured
from striate.recipes.findings import concerns, tied
from striate.recipes.run_pictures import answers
from striate.recipes.worst_pictures import doubtful_pictures, worst_pictures
from striate.report.records import Block, Cell, Section, Table
from striate.tasks.detection_report import DOUBTFUL, WHY, WORST


def measured_sections(measured: Measured, figures: Mapping[str, Any], diagnosis: Diagnosis) -> list[Section]:
    """The sections of the task's figures, the worst and the doubtful samples drawn, and answers beside the truth."""
    task, classes, shards = measured.predictor.task, measured.predictor.classes, measured.shards
    found = concerns(diagnosis, shards, measured.loader.indices)
    sections = task.sections(figures, classes)
    if "errors" in figures and any(section.title == WHY for section in sections):
        every = diagnosis.looked_at == diagnosis.samples
        tie = tied(figures["errors"]["at_threshold"], found, shards.names, len(measured.loader), every)
        sections = extended(sections, WHY, tie)
    worst = worst_pictures(measured, figures, found)
    if worst is not None:
        listed = [] if any(section.title == WORST for section in sections) else [_table(figures, task.headline)]
        sections = extended(sections, WORST, (*listed, worst))
    doubtful = doubtful_pictures(measured, figures)
    if doubtful is not None:
        sections = extended(sections, DOUBTFUL, (doubtful,))
    beside = answers(measured)
    return sections if beside is None else [*sections, Section("Answers", (beside,))]


def extended(sections: Sequence[Section], title: str, blocks: Sequence[Block]) -> list[Section]:
    """The sections with blocks added to the one of this title, or a new one at the end."""
    if not any(section.title == title for section in sections):
        return [*sections, Section(title, tuple(blocks))]
    return [
        Section(section.title, (*section.blocks, *blocks)) if section.title == title else section
        for section in sections
    ]


def _table(figures: Mapping[str, Any], headline: str) -> Table:
    """The samples of the lowest headline by themselves."""
    rows: tuple[tuple[Cell, ...], ...] = tuple((one["name"], one["value"]) for one in figures["worst"])
    said = headline.replace("_", " ")
    caption = f"The samples whose own {said}, over the classes that each shows, is lowest."
    return Table(("sample", said), rows, caption=caption)
