"""What preflight found, as sections of a report and as lines of text."""

from striate.architectures.backbone import FeatureInfo
from striate.data.shards import human
from striate.recipes.objects import TINY
from striate.recipes.preflight import Grid, Preflight, Timing
from striate.report.distributions import marked_histogram
from striate.report.records import Block, Fact, Facts, Section, Table, Text


def preflight_lines(found: Preflight) -> list[str]:
    """The advice and the timing, a line each."""
    lines = [f"{one.severity}: {one.cause}; {one.fix}" for one in found.advice]
    return [*lines, _timing_line(found.timing)] if found.timing is not None else lines


def preflight_sections(found: Preflight) -> tuple[Section, ...]:
    """The sections of the check's page: what the network would see of this data."""
    shape = "x".join(map(str, found.input_shape))
    intro = Text(
        f"The network is {found.network} with {found.parameters:,} parameters; it sees samples of {shape}. Sizes below "
        "are in pixels of what it sees, not of the files."
    )
    blocks: list[Block] = [intro, *_advice(found), _features(found.features)]
    if found.objects is not None and len(found.objects):
        what = "regions of masks" if found.objects.regions else "objects"
        blocks.append(
            marked_histogram(
                found.objects.longer.tolist(),
                name=f"longer side of the {what} (pixels)",
                marks={f"{TINY:g} px": TINY, **_fields(found.features)},
                caption=f"Longer sides of {len(found.objects):,} {what} at the working size; lines: {TINY:g} pixels, "
                "and the receptive fields of the feature maps.",
            )
        )
    if found.grids:
        blocks.append(_grids(found.grids))
    if found.timing is not None:
        blocks.append(_timing(found.timing))
    return (Section("Before training: this data and the network", tuple(blocks)),)


def _advice(found: Preflight) -> list[Block]:
    if not found.advice:
        return [Text("Nothing speaks against training this network on this data.")]
    rows = tuple((one.severity, one.cause, one.fix) for one in found.advice)
    return [Table(("severity", "what", "what helps"), rows, ("left", "left", "left"))]


def _features(features: tuple[FeatureInfo, ...]) -> Table:
    rows = tuple(
        (
            one.name,
            one.channels,
            "x".join(f"{float(n):g}" for n in one.stride) or None,
            "x".join(map(str, one.receptive_field)) or "everything",
        )
        for one in features
    )
    columns = ("feature map", "channels", "stride", "receptive field")
    return Table(columns, rows, ("left", "right", "right", "right"), caption="What one unit of each feature map sees.")


def _fields(features: tuple[FeatureInfo, ...]) -> dict[str, float]:
    return {one.name: float(max(one.receptive_field)) for one in features if one.receptive_field}


def _grids(grids: tuple[Grid, ...]) -> Table:
    rows = tuple(
        (grid.name, "x".join(map(str, grid.cells)), grid.objects, grid.lost, f"{grid.lost / max(grid.objects, 1):.1%}")
        for grid in grids
    )
    caption = (
        "Objects that a detector would lose because the centre of another lies in the same cell. The heads of a "
        "pyramid answer for the sizes named (the ranges of FCOS)."
    )
    return Table(("grid", "cells", "objects", "lost", "share"), rows, caption=caption)


def _timing(found: Timing) -> Facts:
    what = "the whole step" if found.whole else "the backbone alone: no task learns this target yet"
    return Facts(
        (
            Fact("samples a second", f"{found.rate:.0f}", f"{what}, without decoding"),
            Fact("time for an epoch", _duration(found.epoch_seconds), "of the training split"),
            Fact("memory of a step", human(found.memory), f"batch {found.batch}: weights, optimiser, activations"),
        )
    )


def _timing_line(found: Timing | None) -> str:
    if found is None:
        return ""
    what = "" if found.whole else " (backbone alone)"
    return (
        f"timed{what}: {found.rate:.0f} samples/s, about {_duration(found.epoch_seconds)} an epoch, "
        f"{human(found.memory)} for a step of {found.batch}"
    )


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
