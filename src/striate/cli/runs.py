"""``striate runs``."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER | RUN RUN]", help="A folder of runs (default: runs), or two runs to compare."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Of two runs: write a page with their curves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs below a folder, the best first, or hold two runs against one another.

    Runs are sorted by their headline figure on the validation split, by that of the test split where there is none.

    Example: [bold]striate runs runs/a runs/b --report compared.html[/bold]
    """
    import json

    from striate.core.errors import InputError

    named = folders or [Path("runs")]
    if len(named) > 2:
        raise InputError(str(named[2]), "one folder or two runs were expected", "leave it out")
    if report is not None and len(named) != 2:
        raise InputError("--report", "it shows two runs side by side, and two were not named", "name two runs")

    from striate.recipes.runs import find_runs, read_run, runs_table
    from striate.recipes.runs_compared import compare, write_comparison
    from striate.report.html import demand_page
    from striate.report.tables import show

    if len(named) == 1:
        found = find_runs(named[0])
        if as_json:
            print(json.dumps([run.to_json() for run in found], indent=1))
        else:
            show(runs_table(found), sys.stdout)
        return
    if report is not None:
        demand_page(report, "give another --report")
    both = compare(read_run(named[0]), read_run(named[1]))
    if report is not None:
        write_comparison(both, report)
    if as_json:
        print(json.dumps(both.to_json(), indent=1))
        return
    show(both.figures(), sys.stdout)
    print()
    differ = both.settings()
    if differ.rows:
        show(differ, sys.stdout)
    else:
        print("the settings are the same")
    if report is not None:
        print(f"page: {report}")
