"""``striate prepare``."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder, file, or the word of a generated set.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards (made).")],
    data_format: Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")] = None,
    target: Annotated[str | None, typer.Option(help="label, boxes, mask or keypoints.")] = None,
    multi_label: Annotated[
        bool | None, typer.Option(help="Several labels a sample, or classes a pixel; default: found.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Working size in pixels; default by the data.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode; default one a core.")] = None,
    budget: Annotated[float, typer.Option(min=0, help="GiB that raw samples may take, else packed.")] = 2.0,
) -> None:
    """Decode, check and resize a data set once, into shards that training reads; interrupted, it continues.

    Example: [bold]striate prepare photos/ --out shards/photos[/bold]
    """
    from striate.cli.say import progress_bar, say
    from striate.recipes.sources import DataSettings, prepare_data

    options = {"target": target, "multi_label": multi_label}
    fields = {"kind": DataSettings.kind, "path": data, "format": data_format, "size": size, "options": options}
    settings = DataSettings.from_json(fields, "prepare")
    with progress_bar() as show:
        shards = prepare_data(
            settings, folder=out, workers=workers, budget_bytes=int(budget * 2**30), say=say, show=show
        )
    print(shards.describe())
