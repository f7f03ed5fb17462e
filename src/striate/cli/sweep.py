"""``striate sweep``."""

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    settings: Annotated[
        Path | None,
        typer.Argument(metavar="SETTINGS", help="TOML file with a table \\[sweep].", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the sweep (made; must not hold one).")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the sweep in this folder.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the trials and their steps; train nothing.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at once; default cores / threads.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads of each; default 1.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try many settings, the best of them longer, on all cores; leaves SWEEP/report.html and SWEEP/best.toml.

    The settings file is one of striate train with a table \\[sweep] more: lists, or ranges and draws.

    Example: [bold]striate sweep settings.toml --out runs/rates[/bold]
    """
    import json
    import sys

    from striate.cli.say import progress_bar, say
    from striate.core.errors import InputError

    if resume is not None:
        given = (("SETTINGS", settings), ("--out", out), ("--threads", threads), ("--list", list_ or None))
        beside = [name for name, value in given if value is not None]
        if beside:
            cause = f"a resumed sweep keeps its settings, {beside[0]} came too"
            raise InputError(f"--resume {resume}", cause, "leave it out")
    elif settings is None:
        raise InputError("SETTINGS", "no settings file was named", "type: striate sweep settings.toml --out SWEEP")
    elif out is None and not list_:
        raise InputError("--out", "no folder for the sweep was named", "add --out SWEEP, or --list to look first")

    from striate.recipes.sweep import list_trials, resume_sweep, run_sweep
    from striate.recipes.sweep_result import listing, listing_json
    from striate.report.tables import show as show_table
    from striate.training.interruption import Interrupted

    if list_ and settings is not None:
        with progress_bar() as show:
            settled = list_trials(settings, say=say, show=show)
        if json_:
            print(json.dumps(listing_json(settled), indent=1))
            return
        table, lines = listing(settled)
        show_table(table, sys.stdout)
        for line in lines:
            print(line)
        return
    try:
        with progress_bar() as show:
            if resume is not None:
                result = resume_sweep(resume, jobs=jobs, say=say, show=show)
            else:
                assert settings is not None and out is not None
                result = run_sweep(settings, out, jobs=jobs, threads=threads or 1, say=say, show=show)
    except Interrupted as stopped:
        say(f"striate: {stopped}; continue with: striate sweep --resume {resume or out}")
        raise SystemExit(stopped.exit_code) from None
    if json_:
        print(json.dumps(result.to_json(), indent=1))
        return
    show_table(result.table(), sys.stdout)
    for line in result.lines():
        print(line)
