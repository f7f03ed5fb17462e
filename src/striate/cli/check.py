"""``striate check``."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder, file, or the word of a generated set.")],
    data_format: Annotated[str | None, typer.Option("--format", help="Format by name; default: found.")] = None,
    target: Annotated[str | None, typer.Option(help="label, boxes, mask or keypoints.")] = None,
    multi_label: Annotated[
        bool | None, typer.Option(help="Several labels a sample, or classes a pixel; default: found.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture to check against; default by the data.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Working size in pixels; default by the data.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page; default: check-NAME.html here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and write no page unless named.")] = False,
    steps: Annotated[bool, typer.Option(help="Time a few real training steps.")] = True,
    fix: Annotated[Path | None, typer.Option(help="Write a corrected copy into this new folder.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode; default one a core.")] = None,
) -> None:
    """Say what a data set is and what would spoil training, and show it on a page; the data is not changed.

    Exit code: 0 without errors in the data (there may be warnings), 3 with errors, 2 when it cannot be opened.

    Example: [bold]striate check photos/ --page photos.html[/bold]
    """
    import json

    from striate.cli.say import progress_bar, say
    from striate.recipes.check import check as look
    from striate.recipes.check import page_name, write_page
    from striate.recipes.check_lines import lines
    from striate.recipes.sources import DataSettings

    given = {"target": target, "multi_label": multi_label}
    fields = {"kind": DataSettings.kind, "path": data, "format": data_format, "size": size, "options": given}
    settings = DataSettings.from_json(fields, "check")
    with progress_bar() as show:
        found = look(settings, architecture=arch, steps=steps, workers=workers, say=say, show=show)
    place = page or (None if as_json else page_name(data))
    if place is not None:
        write_page(found, place)
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        for line in lines(found):
            print(line)
        print(f"page: {place}")
    if fix is not None:
        from striate.data.doctor.fix import fix as corrected

        for line in corrected(found.reader, found.diagnosis, fix, say):
            say(line)
    raise typer.Exit(found.exit_code)
