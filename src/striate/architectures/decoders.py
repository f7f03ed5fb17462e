"""Decoders: the named feature maps of any backbone brought back to finer strides.

| decoder         | idea                                                                   | paper                   |
|-----------------|------------------------------------------------------------------------|-------------------------|
| FeaturePyramid  | coarse maps are added to finer ones, from the top down                 | Lin et al. 2017         |
| PathAggregation | a feature pyramid, then fine maps are added to coarser ones, bottom up | Liu et al. 2018         |
| UnetDecoder     | coarse maps are joined to finer ones, then two convolutions            | Ronneberger et al. 2015 |

A decoder reads the backbone's maps, finest first, and names its outputs ``stride<s>``, finest first. Any size of input
works: what is upsampled is cut (or its border repeated) at the end of each axis to the size of the map it meets.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from striate.core.errors import InputError
from striate.core.spec import Spec
from striate.layers.blocks import ConvNormAct
from striate.layers.graph import Chain, Composite, Graph, Row
from striate.layers.layer import Layer
from striate.layers.merge import Add, Join, UpsampleLike
from striate.layers.norm_act import BatchNorm, ReLU, SiLU
from striate.layers.sizes import Positive, Sizes

if TYPE_CHECKING:
    from striate.architectures.backbone import Architecture


@dataclass(frozen=True)
class Level:
    """A feature map that a decoder can read: the backbone's output ``name`` and its stride, one number for every axis
    or one per axis."""

    name: str
    stride: Sizes

    @property
    def output(self) -> str:
        """What a decoder calls its output of this stride: ``stride8``, or ``stride8x4`` where the axes differ."""
        sizes = (self.stride,) if isinstance(self.stride, int) else self.stride
        return f"stride{'x'.join(map(str, sizes))}"

    def factor(self, finer: "Level") -> Sizes:
        """Positions of ``finer`` for one of this map. Errors: ``InputError`` when that is not a whole number."""
        pairs = zip(_axes(self.stride, finer.stride), _axes(finer.stride, self.stride), strict=True)
        ratios = [divmod(coarse, fine) for coarse, fine in pairs]
        if any(rest for _, rest in ratios):
            raise InputError(
                self.name,
                f"its stride {self.stride} is no multiple of {finer.stride}, that of {finer.name}",
                "use a backbone whose strides divide each other",
            )
        factors = tuple(whole for whole, _ in ratios)
        return factors[0] if len(set(factors)) == 1 else factors


def _axes(stride: Sizes, other: Sizes) -> tuple[int, ...]:
    if isinstance(stride, int):
        return (stride,) * (1 if isinstance(other, int) else len(other))
    return stride


class Decoder(Spec):
    """Base of every decoder. It holds no input size and no channels of what it reads."""

    @abstractmethod
    def levels(self, available: Sequence[Level]) -> tuple[Level, ...]:
        """Those of the ``available`` maps, finest first, that are read. Errors: ``InputError`` when they do not do."""

    @abstractmethod
    def graph(self, levels: Sequence[Level]) -> Graph:
        """The rows over maps of these :meth:`levels`, which are ``input``, ``input.1``, ..., with an output per stride
        named ``stride<s>``, finest first."""

    def over(self, architecture: "Architecture") -> Graph:
        """Rows ``backbone`` and ``decoder``, with the decoder's named outputs.

        Errors: ``InputError`` for a backbone without feature maps of the strides that are needed.
        """
        levels = self.levels(architecture.levels())
        graph = self.graph(levels)
        backbone = Row(name="backbone", layer=architecture.backbone())
        decoder = Row(name="decoder", layer=graph, inputs=tuple(f"backbone.{level.name}" for level in levels))
        return Graph(rows=(backbone, decoder), outputs={name: f"decoder.{name}" for name in graph.outputs})

    def network(self, architecture: "Architecture", head: Layer, maps: Sequence[str] = ()) -> Graph:
        """Rows ``backbone``, ``decoder`` and ``head``; the head reads the named ``maps``, by default the finest.

        The outputs are those of the head, and named as there where it is a block with named outputs.
        Errors: ``InputError`` for a map that the decoder does not give.
        """
        base = self.over(architecture)
        read = tuple(maps) or tuple(base.outputs)[:1]
        for name in read:
            if name not in base.outputs:
                raise InputError(
                    self.kind, f"the head reads {name!r}, which is none of: {', '.join(base.outputs)}", "match strides"
                )
        row = Row(name="head", layer=head, inputs=tuple(f"decoder.{name}" for name in read))
        inner = head.written_out if isinstance(head, Composite) else head
        named = inner.outputs if isinstance(inner, Graph) else {}
        return Graph(rows=(*base.rows, row), outputs={name: f"head.{name}" for name in named})


def source(place: int) -> str:
    """How a row names the input of this place of its graph."""
    return f"input.{place}" if place else "input"


def _three_wide(channels: int, norm: Layer | None, activation: Layer | None) -> ConvNormAct:
    return ConvNormAct(channels=channels, kernel=3, padding="same", norm=norm, activation=activation)


def _dividing(strides: tuple[int, ...]) -> tuple[int, ...]:
    if any(coarse <= fine or coarse % fine for fine, coarse in pairwise(strides)):
        raise ValueError(f"each of the strides {strides} must be a multiple of the one before")
    return strides


Strides = Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_dividing)]
"""Ascending strides, each a multiple of the one before."""


def _wanted(kind: str, strides: tuple[int, ...], available: Sequence[Level]) -> tuple[Level, ...]:
    """The levels of these strides, and the coarsest one where strides beyond it have to be made from it."""
    found: dict[Sizes, Level] = {level.stride: level for level in available}
    read: dict[Sizes, Level] = {stride: found[stride] for stride in strides if stride in found}
    beyond = [stride for stride in strides if stride not in found]
    coarsest = available[-1].stride
    for stride in beyond:
        times, rest = divmod(stride, coarsest) if isinstance(coarsest, int) else (0, 0)
        if rest or times < 2 or times & (times - 1):
            raise InputError(
                kind,
                f"no feature map has stride {stride}; there are {', '.join(str(level.stride) for level in available)}",
                "ask for some of these, or for doublings of the last",
            )
    if beyond:
        read[coarsest] = found[coarsest]
    return tuple(read.values())


class FeaturePyramid(Decoder):
    """Maps of equal ``channels`` at each of ``strides`` (Lin et al. 2017, arXiv:1612.03144).

    From the coarsest map down, P_s = conv3(M_s) with M_s = conv1(C_s) + nearest(M_coarser). The paper has neither norm
    nor activation here (``norm=None, activation=None``); trained from scratch, a norm after each convolution and an
    activation after conv3 help. Strides beyond the backbone's coarsest map are made from the coarsest P by 3-wide
    convolutions of stride 2 (as in Lin et al. 2017, arXiv:1708.02002).
    """

    strides: Strides = (8, 16, 32)
    channels: Positive = 64
    norm: Layer | None = BatchNorm()
    activation: Layer | None = SiLU()

    def levels(self, available: Sequence[Level]) -> tuple[Level, ...]:
        """The maps of the wanted strides, and the coarsest one where some wanted stride is beyond it."""
        return _wanted(self.kind, self.strides, available)

    def graph(self, levels: Sequence[Level]) -> Graph:
        """Rows lateral<s>, up<s>, sum<s> from the coarsest down, then out<s>; further<s> beyond the coarsest."""
        lateral = ConvNormAct(channels=self.channels, kernel=1, norm=self.norm, activation=None)
        convolution = _three_wide(self.channels, self.norm, self.activation)
        rows: list[Row] = []
        outs: list[Row] = []
        merged, coarser = "", levels[-1]
        for place, level in reversed(list(enumerate(levels))):
            s = level.stride
            rows.append(Row(name=f"lateral{s}", layer=lateral, inputs=(source(place),)))
            if merged:
                up = UpsampleLike(factor=coarser.factor(level))
                rows.append(Row(name=f"up{s}", layer=up, inputs=(merged, f"lateral{s}")))
                rows.append(Row(name=f"sum{s}", layer=Add(), inputs=(f"lateral{s}", f"up{s}")))
            merged, coarser = rows[-1].name, level
            outs.append(Row(name=f"out{s}", layer=convolution, inputs=(merged,)))
        further = []
        last, stride = outs[0].name, levels[-1].stride
        while isinstance(stride, int) and stride < self.strides[-1]:
            stride *= 2
            further.append(Row(name=f"further{stride}", layer=convolution.replace(stride=2), inputs=(last,)))
            last = further[-1].name
        names = {row.name for row in outs}
        published = {f"stride{s}": f"out{s}" if f"out{s}" in names else f"further{s}" for s in self.strides}
        return Graph(rows=(*rows, *outs, *further), outputs=published)


class PathAggregation(Decoder):
    """A feature pyramid with a second way up, which brings places to the coarse maps (Liu et al. 2018,
    arXiv:1803.01534): N_finest = P_finest, then N_s = conv3(conv3 of stride 2(N_finer) + P_s)."""

    strides: Strides = (8, 16, 32)
    channels: Positive = 64
    norm: Layer | None = BatchNorm()
    activation: Layer | None = SiLU()

    @property
    def pyramid(self) -> FeaturePyramid:
        """The first way, from the top down."""
        return FeaturePyramid(strides=self.strides, channels=self.channels, norm=self.norm, activation=self.activation)

    def levels(self, available: Sequence[Level]) -> tuple[Level, ...]:
        """Those of the pyramid."""
        return self.pyramid.levels(available)

    def graph(self, levels: Sequence[Level]) -> Graph:
        """Row pyramid, then down<s>, fit<s> (to the pyramid's size), sum<s> and out<s> for all but the finest."""
        sources = tuple(source(place) for place in range(len(levels)))
        rows = [Row(name="pyramid", layer=self.pyramid.graph(levels), inputs=sources)]
        convolution = _three_wide(self.channels, self.norm, self.activation)
        outputs = {f"stride{self.strides[0]}": f"pyramid.stride{self.strides[0]}"}
        for finer, s in pairwise(self.strides):
            step = s // finer
            down = convolution.replace(kernel=max(3, step | 1), stride=step)  # wide enough to skip no position
            same = f"pyramid.stride{s}"
            rows.append(Row(name=f"down{s}", layer=down, inputs=(outputs[f"stride{finer}"],)))
            rows.append(Row(name=f"fit{s}", layer=UpsampleLike(factor=1), inputs=(f"down{s}", same)))
            rows.append(Row(name=f"sum{s}", layer=Add(), inputs=(f"fit{s}", same)))
            rows.append(Row(name=f"out{s}", layer=convolution))
            outputs[f"stride{s}"] = f"out{s}"
        return Graph(rows=tuple(rows), outputs=outputs)


class UnetDecoder(Decoder):
    """From the coarsest map down to the finest: upsample by ``method`` to the finer map's size, join the two, then
    ``depth`` 3-wide convolutions (Ronneberger et al. 2015, arXiv:1505.04597, whose upsampling has weights).

    The finest level has ``width`` channels and every coarser one twice as many, ``widest`` at most.
    """

    width: Positive = 32
    widest: Positive = 256
    depth: Positive = 2
    method: Literal["nearest", "linear"] = "nearest"
    norm: Layer | None = BatchNorm()
    activation: Layer | None = ReLU()

    def levels(self, available: Sequence[Level]) -> tuple[Level, ...]:
        """All of them."""
        return tuple(available)

    def graph(self, levels: Sequence[Level]) -> Graph:
        """Rows up<s>, join<s>, stride<s>, the coarsest excepted; a single map gets its convolutions alone."""
        rows: list[Row] = []
        below, coarser = source(len(levels) - 1), levels[-1]
        for place, level in reversed(list(enumerate(levels))):
            if place == len(levels) - 1 and place:
                continue
            s = level.output.removeprefix("stride")
            if place < len(levels) - 1:
                up = UpsampleLike(factor=coarser.factor(level), method=self.method)
                rows.append(Row(name=f"up{s}", layer=up, inputs=(below, source(place))))
                rows.append(Row(name=f"join{s}", layer=Join(), inputs=(f"up{s}", source(place))))
            channels = min(self.width * 2**place, max(self.widest, self.width))
            convolution = _three_wide(channels, self.norm, self.activation)
            rows.append(Row(name=level.output, layer=Chain(layers=(convolution,) * self.depth)))
            below, coarser = level.output, level
        names = [row.name for row in reversed(rows) if row.name.startswith("stride")]
        return Graph(rows=tuple(rows), outputs={name: name for name in names})
