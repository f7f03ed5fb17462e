"""``striate demo``."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the models.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds; shows mean and spread.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training; the lecture takes 100,000.")] = 100_000,
    jobs: Annotated[int | None, typer.Option(min=1, help="Networks trained at once; default one a core.")] = None,
) -> None:
    """Reproduce the lecture's headline on MNIST-1D: 2,050 shared weights beat 150,185 unshared ones, and why.

    Example: [bold]striate demo --seeds 3[/bold]
    """
    from striate.cli.say import progress_bar, say
    from striate.recipes.demo import run_demo
    from striate.report.tables import show as show_table
    from striate.training.interruption import Interrupted

    try:
        with progress_bar() as show:
            result = run_demo(out, seeds=seeds, steps=steps, jobs=jobs, say=say, show=show)
    except Interrupted as stopped:
        say(f"striate: {stopped}; the same command goes on from there")
        raise SystemExit(stopped.exit_code) from None
    show_table(result.table(), sys.stdout)
    for line in result.lines():
        print(line)
