"""``striate inspect``: the layer table of a named architecture or of a model file, without importing torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from striate.analysis.summary import Summary
    from striate.layers.layer import Layer, Shape


def inspect(
    network: Annotated[str, typer.Argument(metavar="NAME|MODEL", help="An architecture's name, or a model file.")],
    input_shape: Annotated[
        str | None, typer.Option("--input", help="Input as CxLENGTH, CxHEIGHTxWIDTH, ...; default: the network's own.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Outputs of a named architecture.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a field: key=value.")] = None,
    depth: Annotated[int, typer.Option(min=0, help="Put layers together by so many parts of their names.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiply-adds, receptive fields, memory.

    Example: [bold]striate inspect resnet18 --input 3x224x224 --set stem=small --depth 2[/bold]
    """
    from striate.analysis.summary import summary

    path = _model_file(network)
    if path is None:
        spec, shape = _named(network, classes, settings or [])
    else:
        _refuse(classes, settings)
        spec, shape = _saved(path)
    if input_shape is not None:
        given = _parsed(input_shape)
        if path is not None:
            _check_weights_fit(spec, shape, given)
        shape = given
    found = summary(spec, shape).grouped(depth)
    if as_json:
        import json

        typer.echo(json.dumps({"name": network, **found.to_json()}, indent=1))
    else:
        _print(found, network)


def _model_file(text: str) -> Path | None:
    """The model file that is meant, or None where a name of an architecture is."""
    from striate.architectures.backbone import named_architectures

    path = Path(text)
    if text in named_architectures() or not (path.suffix or path.name != text or path.exists()):
        return None
    return path / "model.safetensors" if path.is_dir() else path


def _named(name: str, classes: int | None, settings: list[str]) -> "tuple[Layer, Shape]":
    from striate.architectures.backbone import architecture, read_options

    spec = architecture(name, read_options(settings))
    return spec.network(classes or spec.default_classes), spec.default_shape


def _refuse(classes: int | None, settings: list[str] | None) -> None:
    from striate.core.errors import InputError

    if classes is not None or settings:
        option = "--set" if settings else "--classes"
        raise InputError(option, "a model file's network is shown as it is", f"leave {option} out, or name a network")


def _saved(path: Path) -> "tuple[Layer, Shape]":
    from striate.architectures.backbone import register_layers
    from striate.core.modelfile import read_header
    from striate.layers.layer import Layer

    header = read_header(path)
    register_layers()
    return Layer.from_json(header["network"], str(path)), tuple(header["input_shape"])


def _check_weights_fit(spec: "Layer", trained: "Shape", given: "Shape") -> None:
    from striate.core.errors import InputError

    if spec.parameters(given) != spec.parameters(trained):
        raise InputError(
            f"--input {_times(given)}", f"the weights of this model are for {_times(trained)}", "leave --input out"
        )


def _parsed(text: str) -> "Shape":
    from striate.core.errors import InputError

    sizes = text.lower().split("x")
    if not all(size.isascii() and size.isdigit() and 0 < len(size) < 10 and int(size) > 0 for size in sizes):
        raise InputError(
            f"--input {text}", "sizes joined by x were expected, the channels first", "write it like 1x40 or 3x224x224"
        )
    if not 2 <= len(sizes) <= 4:
        raise InputError(
            f"--input {text}", f"{len(sizes)} sizes came, 2 to 4 were expected", "give the channels, then 1 to 3 axes"
        )
    return tuple(int(size) for size in sizes)


def _print(found: "Summary", name: str) -> None:
    from rich.console import Console

    from striate.analysis.summary import COUNTED

    terminal = sys.stdout.isatty()
    # Off a terminal nothing limits the width, and a shortened number would be a wrong one.
    console = Console(width=None if terminal else 200, highlight=False)
    console.print(_table(found, name), markup=False)
    notes = (
        *COUNTED.replace(". ", ".\n").splitlines(),
        "Receptive field and stride are in input pixels; 'all' is the whole input.",
        "Memory is a layer's output for one example in float32.",
    )
    for note in notes:
        console.print(note, markup=False)


def _table(found: "Summary", name: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = Text(f"{name} for an input of {_times(found.input_shape)}")
    table = Table(title=title, box=SIMPLE_HEAD, show_footer=True, title_justify="left", pad_edge=False)
    table.add_column("layer", "total", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("output", _times(found.output_shape), justify="right", no_wrap=True)
    table.add_column("parameters", f"{found.parameters:,}", justify="right", no_wrap=True)
    table.add_column("multiply-adds", f"{found.multiply_adds:,}", justify="right", no_wrap=True)
    table.add_column("receptive field", justify="right")
    table.add_column("stride", justify="right")
    table.add_column("memory", _bytes(found.activation_bytes), justify="right", no_wrap=True)
    for row in found.rows:
        seen = _axes(row.receptive_field)
        if row.sees_everything:
            seen = f"{seen} + all" if seen else "all"
        table.add_row(
            Text(row.name),
            Text(row.described if row.kind == "group" else f"{row.kind} {row.described}".strip()),
            _times(row.output_shape),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.multiply_adds:,}" if row.multiply_adds else "",
            seen,
            _axes(row.stride),
            _bytes(row.activation_bytes),
        )
    return table


def _axes(values: tuple[object, ...]) -> str:
    shown = ["uneven" if value is None else str(value) for value in values]
    return shown[0] if shown and len(set(shown)) == 1 else "x".join(shown)


def _times(shape: "Shape") -> str:
    return "x".join(str(size) for size in shape)


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
