"""``striate evaluate``."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, or a run folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled data: folder, file, or the word mnist1d.")],
    split: Annotated[str | None, typer.Option(help="train, val, test or all; default: test, val, all.")] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples at a time.")] = 256,
    cache: Annotated[Path | None, typer.Option(help="Where prepared data is kept.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object with every figure.")] = False,
) -> None:
    """Measure a model on labelled data, by the figures of its task: top-1 and calibration, mean average precision of
    boxes, intersection over union of masks, each by class.

    Example: [bold]striate evaluate runs/photos photos_test/ --json[/bold]
    """
    import json

    from striate.cli.say import progress_bar, say
    from striate.inference.evaluate import evaluate as measure
    from striate.report.tables import show as show_table

    with progress_bar() as show:
        result = measure(model, data, split=split, format=data_format, batch=batch, cache=cache, say=say, show=show)
    if json_:
        print(json.dumps(result.to_json()))
    else:
        for table in result.tables():
            show_table(table, sys.stdout)
