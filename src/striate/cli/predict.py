"""``striate predict``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.say import Show, progress_bar, say

if TYPE_CHECKING:
    from striate.inference.inputs import Inputs


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, or a run folder.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUTS...", help="Files, folders, globs, NPZ or CSV.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write, or folder (for masks); default: standard output.")
    ] = None,
    form: Annotated[str | None, typer.Option("--form", help="csv or jsonl; default by the file, else csv.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 64,
    windows: Annotated[
        bool, typer.Option("--windows", help="Masks: go over samples window by window, at their own size.")
    ] = False,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="Share of a window that the next one covers.")] = 0.25,
    scale: Annotated[float, typer.Option(help="With --windows: resize samples by this factor first.")] = 1.0,
) -> None:
    """Predict for files, folders, globs, NPZ or CSV; writes CSV or JSON lines, and masks as PNG files of class numbers
    (of signals CSV, of volumes TIFF) at the size of the originals. What cannot be read is listed.

    Example: [bold]striate predict runs/photos 'new/*.jpg' --out answers.csv[/bold], or with masks
    [bold]striate predict runs/streets new/ --out answers/[/bold]
    """
    from striate.core.errors import InputError
    from striate.inference.predictor import load
    from striate.inference.tiling import Tiling
    from striate.inference.writing import write_records

    tiling = Tiling(overlap=overlap, scale=scale) if windows else None
    predictor = load(model)
    samples = predictor.open(inputs)
    with progress_bar() as show:
        records = _shown(predictor.predict_samples(samples, batch, samples.skip, tiling), samples, show)
        written = write_records(records, out, form, [*samples.paths, predictor.source], predictor.classes)
    if not written:
        name, reason = samples.skipped[0] if samples.skipped else (inputs[0], "it holds no sample")
        more = f" (and {len(samples.skipped) - 1} more that cannot be used)" if len(samples.skipped) > 1 else ""
        raise InputError(name, f"{reason}{more}", "give at least one input that can be read")
    say(f"{written} predicted, {len(samples.skipped)} skipped")
    for name, reason in samples.skipped:
        say(f"  skipped {name}: {reason}")


def _shown(records: Iterable[dict[str, Any]], samples: "Inputs", show: Show) -> Iterator[dict[str, Any]]:
    """The records, with progress shown as they pass."""
    for done, record in enumerate(records, start=1):
        show(done + len(samples.skipped), max(samples.expected, done + len(samples.skipped)), "predicting")
        yield record
