"""The page of an evaluation: every figure, the samples that come off worst, and what the doctor found in them."""

from pathlib import Path

from striate.core.errors import InputError
from striate.data.doctor.examine import examine
from striate.inference.evaluate import Evaluation
from striate.recipes.measured_sections import measured_sections
from striate.report.html import demand_page, write
from striate.report.records import Fact, Facts, Report, Section, shown


def write_evaluation_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page. Errors: ``InputError`` for a file that is no page of ours, a folder that cannot be written to, or
    an evaluation window by window, of which no pictures are drawn."""
    demand_page(path, "give another --report")
    if evaluation.measured is None or evaluation.reader is None:
        raise InputError("--report", "an evaluation window by window draws no pictures", "leave one of them out")
    figures, task = evaluation.figures, evaluation.measured.predictor.task
    ends = figures.get(f"{task.headline}_interval")
    note = f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}" if ends else ""
    facts = Facts(
        (
            Fact(task.headline.replace("_", " "), shown(figures[task.headline], 4), note),
            Fact("samples", evaluation.samples, f"split {evaluation.split}"),
            Fact("classes", len(evaluation.classes)),
        )
    )
    singles = evaluation.tables()[:1]
    sections = [
        Section("Result", (facts, *singles)),
        *measured_sections(evaluation.measured, figures, examine(evaluation.reader, deep=False)),
    ]
    name = Path(evaluation.data).name or evaluation.data
    write(Report(f"{Path(evaluation.model).parent.name} on {name}", evaluation.heading(), tuple(sections)), path)
