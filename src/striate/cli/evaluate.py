"""``striate evaluate``."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, or a run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder, file, or the word of a generated set.")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all, or one that the run made; default: test, val, all.")
    ] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    cache: Annotated[Path | None, typer.Option(help="Where prepared data is kept.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with the worst samples drawn.")] = None,
    windows: Annotated[
        bool, typer.Option("--windows", help="Masks: go over samples window by window, and measure at their own size.")
    ] = False,
    overlap: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="With --windows: share that windows have in common; 0.25.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="With --windows: resize samples by this factor first.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object with every figure.")] = False,
) -> None:
    """Measure a model on labelled data, by the figures of its task: top-1 and calibration, mean average precision of
    boxes in pixels of the originals, intersection over union of masks, each by class.

    Example: [bold]striate evaluate runs/photos photos_test/ --report photos.html[/bold]
    """
    import json

    from striate.cli.say import progress_bar, say
    from striate.core.errors import InputError
    from striate.inference.evaluate import evaluate as measure
    from striate.inference.tiling import Tiling
    from striate.report.html import demand_page
    from striate.report.tables import show as show_table

    for option, value in (("--overlap", overlap), ("--scale", scale)):
        if value is not None and not windows:
            raise InputError(option, "it is about windows, which were not asked for", "add --windows")
    if windows and report is not None:
        raise InputError("--report", "of a measure window by window no pictures are drawn", "leave out --windows")
    if report is not None:
        demand_page(report, "give another --report")  # before anything is measured
    tiling = None
    if windows:
        tiling = Tiling(overlap=0.25 if overlap is None else overlap, scale=1.0 if scale is None else scale)
    with progress_bar() as show:
        result = measure(
            model, data, split=split, format=data_format, batch=batch, cache=cache, tiling=tiling, say=say, show=show
        )
    if report is not None:
        from striate.recipes.evaluation_page import write_evaluation_page

        write_evaluation_page(result, report)
    if json_:
        print(json.dumps(result.to_json()))
        return
    print(result.heading())
    for table in result.tables():
        print()
        show_table(table, sys.stdout)
    if report is not None:
        print(f"page: {report}")
