"""Architecture: a backbone that publishes named feature maps, and the head that classifies from the last of them.

An architecture is data, as every spec. Networks are known by name: each file of this package has a ``TABLE`` of
names and specs, and ``architecture("resnet18", {"stem": "small"})`` gives one with some fields changed.
"""

import difflib
import importlib
import json
import pkgutil
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any, ClassVar

from pydantic import ValidationError

from striate import architectures, layers
from striate.architectures.decoders import Decoder, FeaturePyramid, Level, UnetDecoder
from striate.architectures.heads import DenseHead
from striate.core.errors import InputError
from striate.core.graph import Reach, WindowGraph, WindowRow
from striate.core.spec import Spec, discover
from striate.layers.graph import Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.merge import UpsampleLike
from striate.layers.norm_act import GroupNorm, InstanceNorm


@dataclass(frozen=True)
class FeatureInfo:
    """One named output of a backbone.

    ``stride`` is the distance of neighbouring positions in input pixels and ``receptive_field`` how many pixels one
    position sees, both per axis. Both are empty for a vector, which has no axes, and for a map that sees the input
    through a global operation alone.
    """

    name: str
    channels: int
    stride: tuple[Fraction, ...]
    receptive_field: tuple[int, ...]


class Architecture(Spec):
    """Base of every network that is built from a backbone and a head. It holds no input size."""

    default_classes: ClassVar[int] = 10
    """Classes that are assumed when only the network is looked at."""
    default_shape: ClassVar[Shape] = (1, 28, 28)
    """Input (C, *S) that is assumed when only the network is looked at."""

    @abstractmethod
    def backbone(self) -> Graph:
        """The rows up to the last feature map (or vector), with a named output per stage."""

    @abstractmethod
    def classifier(self, outputs: int) -> Layer:
        """The head: from the backbone's main output to (outputs,)."""

    def network(self, outputs: int) -> Graph:
        """Rows ``backbone`` and ``head``; an input (C, *S) gives (outputs,). Errors: ``InputError`` below 1 output."""
        check_outputs(outputs)
        return self.with_head(self.classifier(outputs))

    def with_head(self, head: Layer) -> Graph:
        """Rows ``backbone`` and ``head``; the head reads the backbone's main output."""
        return Graph(rows=(Row(name="backbone", layer=self.backbone()), Row(name="head", layer=head)))

    def dense(self, outputs: int, decoder: Decoder | None = None) -> Graph:
        """A network that answers for every position: an input (C, *S) gives (outputs, *S), whatever S.

        Rows ``backbone``, ``decoder`` (a U-Net's, where none is given), ``head`` (1x1, from the decoder's finest map)
        and ``upsample``, linear, to the input's size. An architecture of valid windows may give a smaller map, which is
        then the central part: the odd position is missing at the end.
        Errors: ``InputError`` below 1 output, and for a backbone without feature maps.
        """
        check_outputs(outputs)
        chosen = UnetDecoder() if decoder is None else decoder
        finest = chosen.levels(self.levels())[0]
        base = chosen.network(self, DenseHead(outputs=outputs))
        upsample = UpsampleLike(factor=finest.stride, method="linear")
        return Graph(rows=(*base.rows, Row(name="upsample", layer=upsample, inputs=("head", "input"))))

    def pyramid(self, strides: tuple[int, ...] = (8, 16, 32), channels: int = 64) -> Graph:
        """Maps of ``channels`` at each of ``strides``: rows ``backbone`` and ``decoder`` (a feature pyramid), with the
        outputs ``stride8``, ``stride16``, ... An input (C, *S) gives (channels, *S_s) each.

        Errors: ``InputError`` for a stride that the backbone neither has nor can be continued to.
        """
        return FeaturePyramid(strides=strides, channels=channels).over(self)

    def levels(self) -> tuple[Level, ...]:
        """The feature maps a decoder can read, finest first: of each whole stride the last that is published.

        Strides do not depend on the input's size, so they are those of a large one with the axes of ``default_shape``;
        where they agree they are one number, good for any number of axes.
        Errors: ``InputError`` when no map is published.
        """
        channels, *sizes = self.default_shape
        found: dict[tuple[Fraction, ...], str] = {}
        for info in self.features((channels, *(LARGE * size for size in sizes))):
            if info.stride and all(stride.denominator == 1 for stride in info.stride):
                found[info.stride] = info.name
        if not found:
            raise InputError(self.kind, "it publishes no feature maps", "use an architecture that keeps positions")
        ordered = sorted(found.items(), key=lambda item: prod(item[0]))
        return tuple(Level(name, _one_or_all(tuple(map(int, stride)))) for stride, name in ordered)

    def features(self, input_shape: Shape) -> tuple[FeatureInfo, ...]:
        """What :meth:`backbone` publishes for an input (C, *S), in its order of outputs.

        Errors: ``InputError`` when the input does not fit, or an output's positions are unevenly spaced.
        """
        backbone = self.backbone()
        shapes = backbone.parts(input_shape)
        rows = backbone.output_leaves(input_shape)
        graph = window_graph(backbone, input_shape)
        return tuple(_feature(name, shape, rows[name], graph) for name, shape in shapes.items())


LARGE = 16
"""How many times the default size an input is taken to be to find strides: enough for any number of halvings."""


def check_outputs(outputs: int) -> None:
    """Errors: ``InputError`` below 1 output."""
    if outputs < 1:
        raise InputError("classes", f"{outputs} outputs were asked for", "give at least 1")


def _one_or_all(stride: tuple[int, ...]) -> int | tuple[int, ...]:
    return stride[0] if len(set(stride)) == 1 else stride


def _feature(name: str, shape: Shape, row: str, graph: WindowGraph) -> FeatureInfo:
    fields = [graph.receptive_field(row, axis) for axis in range(len(shape) - 1)]
    if all(field.size is None for field in fields):
        return FeatureInfo(name, shape[0], (), ())
    strides = tuple(field.jump for field in fields if field.jump is not None)
    sizes = tuple(field.size for field in fields if field.size is not None)
    if len(strides) != len(fields) or len(sizes) != len(fields):
        raise InputError(f"output {name!r}", "its positions are not evenly spaced", "publish another row")
    return FeatureInfo(name, shape[0], strides, sizes)


def window_graph(layer: Layer, input_shape: Shape) -> WindowGraph:
    """The window graph of a layer, block or network for an input (C, *S): a row per leaf layer, with its name.

    A norm over positions keeps each value in its place and divides by statistics of all: it has a windowed and a
    global path, and the second gets a row of its own, ``<name>:statistics``.
    """
    rows: list[WindowRow] = []
    for leaf in layer.leaves(input_shape):
        name, op, sources = leaf.name or leaf.layer.kind, leaf.window, leaf.sources
        if isinstance(leaf.layer, GroupNorm | InstanceNorm):
            rows.append(WindowRow(f"{name}:statistics", Reach.EVERYTHING, sources, leaf.output_shape))
            op, sources = Reach.POINTWISE, (*sources, f"{name}:statistics")
        rows.append(WindowRow(name, op, sources, leaf.output_shape))
    return WindowGraph(tuple(input_shape), tuple(rows))


@cache
def register_layers() -> None:
    """Import every module of layer specs, so that the JSON of any network can be read; torch is not imported."""
    for module in pkgutil.iter_modules(layers.__path__):
        if not module.name.endswith("_modules"):  # those hold torch modules, and no specs
            importlib.import_module(f"{layers.__name__}.{module.name}")


@cache
def named_architectures() -> dict[str, Architecture]:
    """Every named architecture of the package, in order of name. Errors: ``TypeError`` when two files claim a name."""
    found: dict[str, Architecture] = {}
    for module in discover(architectures):
        for name, spec in getattr(module, "TABLE", {}).items():
            if name in found:
                raise TypeError(f"the architecture name {name!r} is claimed twice, last by {module.__name__}")
            found[name] = spec
    return dict(sorted(found.items()))


def architecture(name: str, options: Mapping[str, Any] | None = None) -> Architecture:
    """The architecture of this name with some of its fields changed.

    Errors: ``InputError`` that lists near names for an unknown one, and the fields for an unknown or bad option.
    """
    known = named_architectures()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"architecture {name!r}", "there is no such architecture", f"{fix}known: {', '.join(known)}")
    spec = known[name]
    fields = type(spec).model_fields
    for key in options or {}:
        if key not in fields:
            raise InputError(f"{name} {key}", "unknown option", f"use one of: {', '.join(fields)}")
    try:
        return spec.replace(**(options or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([name, *(str(part) for part in first["loc"][:1])])
        cause = f"{first['msg'].removeprefix('Value error, ')} (got {str(first.get('input'))[:80]})"
        raise InputError(where, cause, _hint(first["type"])) from None


def _hint(problem: str) -> str:
    return "write a list as [16,32]" if problem in ("tuple_type", "list_type") else "correct the option"


def read_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Options written ``key=value``: a value is JSON where it reads as JSON, a list where it has commas, else text.

    ``widths=16,32`` and ``widths=[16,32]`` are the same. Errors: ``InputError`` without ``=`` or for a repeated key.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"option {pair!r}", "a key and a value were expected", "write key=value")
        if key in options:
            raise InputError(f"option {key!r}", "it is given twice", "give it once")
        options[key] = _value(text)
    return options


def _value(text: str) -> Any:
    for candidate in (text, f"[{text}]") if "," in text else (text,):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return text
