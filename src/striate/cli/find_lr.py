"""``striate find-lr``."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import options


def find_lr(
    context: typer.Context,
    data: options.Data = None,
    settings: options.Settings = None,
    arch: options.Arch = None,
    set_: options.Set = None,
    task: options.TaskName = None,
    data_format: options.Format = None,
    target: options.Target = None,
    multi_label: options.MultiLabel = None,
    size: options.Size = None,
    validation: options.Validation = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples a step.")] = None,
    accumulate: options.Accumulate = None,
    optimiser: options.OptimiserName = None,
    clip: options.Clip = None,
    weights: options.Weights = None,
    freeze: options.Freeze = None,
    depth_decay: options.DepthDecay = None,
    smoothing: options.Smoothing = None,
    balance: options.Balance = False,
    no_augment: options.NoAugment = False,
    precision: options.PrecisionName = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    cache: options.Cache = None,
    most_steps: Annotated[int, typer.Option("--steps", min=20, max=500, help="Steps of the test at most.")] = 150,
    least: Annotated[float, typer.Option(help="Rate of the first step.")] = 1e-6,
    most: Annotated[float, typer.Option(help="Rate of the last step.")] = 10.0,
    report: Annotated[Path | None, typer.Option(help="Write a page with the curve.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every rate and loss as JSON.")] = False,
) -> None:
    """Suggest a learning rate: let it grow from step to step, and see where the loss falls and where it explodes.

    Nothing that is trained is kept. Give the options of the training to come; the suggestion is for these.

    Example: [bold]striate find-lr photos/ --arch resnet18 --report rates.html[/bold]
    """
    import json

    from striate.cli.say import progress_bar, say
    from striate.core.errors import InputError
    from striate.report.html import demand_page

    if data is None and settings is None:
        raise InputError("DATA", "no data was named", "type: striate find-lr DATA, or see striate find-lr --help")
    if not 0 < least < float("inf") or not most < float("inf"):
        raise InputError("--least", f"rates from {least:g} to {most:g} are no range", "give positive numbers")
    if report is not None:
        demand_page(report, "give another --report")  # before anything is computed
    given = options.given(context.params)
    with progress_bar() as show:
        from striate.recipes.experiment import Experiment
        from striate.recipes.find_rate import find_rate, write_rate_page

        experiment = Experiment.from_settings(options.nested(given), settings, options.names_of(given))
        found = find_rate(experiment, steps=most_steps, least=least, most=most, say=say, show=show)
    if report is not None:
        write_rate_page(found, report)
    if as_json:
        print(json.dumps(found.to_json()))
        return
    for line in found.lines():
        print(line)
    if report is not None:
        print(f"page: {report}")
