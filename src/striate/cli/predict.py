"""``striate predict``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.say import Show, progress_bar, say

if TYPE_CHECKING:
    from striate.inference.drawing import Drawings
    from striate.inference.inputs import Inputs
    from striate.inference.predictor import Answer


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, or a run folder.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUTS...", help="Files, folders, globs, NPZ, CSV, videos.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; a folder for masks, yolo and voc. Default: standard output."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--form", help="csv or jsonl; boxes also coco, yolo, voc. Default: by the file, else csv."),
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="New folder for pictures with the answers drawn in.")] = None,
    score: Annotated[float | None, typer.Option(help="Boxes: the least score; 0.001 to be scored by COCO.")] = None,
    most: Annotated[int | None, typer.Option(help="Boxes: at most so many a sample.")] = None,
    ids_of: Annotated[
        Path | None, typer.Option("--ids-of", help="With --form coco: annotation file that has the ids.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of videos and animations, only every Nth frame.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 64,
    windows: Annotated[
        bool, typer.Option("--windows", help="Masks: go over samples window by window, at their own size.")
    ] = False,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="Share of a window that the next one covers.")] = 0.25,
    scale: Annotated[float, typer.Option(help="With --windows: resize samples by this factor first.")] = 1.0,
) -> None:
    """Predict for files, folders, globs, NPZ, CSV or videos; writes CSV or JSON lines, boxes also as COCO results, YOLO
    text or VOC XML, masks as PNG files of class numbers (of signals CSV, of volumes TIFF), all in pixels of the
    originals. What cannot be read is listed.

    Example: [bold]striate predict runs/photos 'new/*.jpg' --out answers.csv --draw drawn/[/bold], or to be scored
    [bold]striate predict runs/cells val/ --form coco --score 0.001 --ids-of val.json --out results.json[/bold]
    """
    from striate.core.errors import InputError
    from striate.inference.boxforms import ImageIds
    from striate.inference.drawing import drawings
    from striate.inference.predictor import load
    from striate.inference.tiling import Tiling
    from striate.inference.writing import write_records

    tiling = Tiling(overlap=overlap, scale=scale) if windows else None
    predictor = load(model).choosing(score, most)
    ids = None if ids_of is None else ImageIds(ids_of)
    unknown = [] if ids is None else ids.unknown(predictor.classes)
    if unknown:
        say(f"note: {ids_of} has no category {unknown[0]!r} ({len(unknown)} in all): such boxes are left out")
    samples = predictor.open(inputs, every)
    taken = [*samples.paths, predictor.source, *([str(ids_of)] if ids_of else [])]
    with progress_bar() as show, drawings(draw, predictor.classes) as pictures:
        known = samples if ids is None else ids.among(samples, samples.skip)
        answers = predictor.answers(known, batch, samples.skip, tiling, keep=draw is not None)
        records = _shown(answers, samples, show, pictures, alone=out is None)
        written = write_records(records, out, form, taken, predictor.classes, ids=ids, timed=samples.timed)
    if not written:
        name, reason = samples.skipped[0] if samples.skipped else (inputs[0], "it holds no sample")
        more = f" (and {len(samples.skipped) - 1} more that cannot be used)" if len(samples.skipped) > 1 else ""
        raise InputError(name, f"{reason}{more}", "give at least one input that can be read")
    say(f"{written} predicted, {len(samples.skipped)} skipped")
    for name, reason in samples.skipped:
        say(f"  skipped {name}: {reason}")


def _shown(
    answers: "Iterable[Answer]", samples: "Inputs", show: Show, pictures: "Drawings | None", *, alone: bool
) -> Iterator[dict[str, Any]]:
    """The records, with progress shown as they pass, and drawn. Masks that are drawn and have no folder to be written
    to (``alone``) are left out."""
    for done, answer in enumerate(answers, start=1):
        if pictures is not None:
            pictures.draw(answer)
        show(done + len(samples.skipped), max(samples.expected, done + len(samples.skipped)), "predicting")
        record = answer.record
        if pictures is not None and alone:
            record = {key: value for key, value in record.items() if key not in ("mask", "masks")}
        yield record
