"""``striate convert``."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder or file of the data set.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write (made).")],
    to: Annotated[str, typer.Option(help="What to write: coco, voc, yolo, masks or folders.")],
    data_format: Annotated[str | None, typer.Option("--format", help="Format of SRC; default: found.")] = None,
    target: Annotated[str | None, typer.Option(help="label, boxes, mask or keypoints.")] = None,
    multi_label: Annotated[
        bool | None, typer.Option(help="Several labels a sample, or classes a pixel; default: found.")
    ] = None,
) -> None:
    """Write a data set in another format, images copied, nothing of SRC changed; what cannot be kept is said.

    Example: [bold]striate convert cells-voc/ cells-coco --to coco[/bold]
    """
    from striate.cli.say import say
    from striate.data.collection import ReaderOptions
    from striate.recipes.convert import convert as run

    given = {"target": target, "multi_label": multi_label}
    options = ReaderOptions.from_json({"kind": ReaderOptions.kind, "minimum_classes": 1, **given}, "convert")
    run(source, destination, to, data_format, options, say=say)
    print(destination)
