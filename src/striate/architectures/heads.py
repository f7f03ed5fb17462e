"""Heads of the tasks that answer at places: one answer a position, boxes at several strides, boxes a grid cell.

| head          | reads                    | gives, for K classes and A axes                                   |
|---------------|--------------------------|-------------------------------------------------------------------|
| DenseHead     | one map (C, *S)          | (outputs, *S)                                                     |
| DetectionHead | one map a stride s       | per stride ``classes<s>`` (K, *S_s) and ``boxes<s>`` (2A bins, *S_s) |
| YoloV1Head    | one map (C, *S)          | (B (2A + 1) + K, grid, ..., grid)                                 |

The number of axes is that of the input; a head holds none.
"""

from math import log
from typing import Annotated

from pydantic import Field

from striate.architectures.decoders import Strides, source
from striate.layers.blocks import ConvNormAct
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Composite, Graph, Row
from striate.layers.layer import Layer
from striate.layers.norm_act import BatchNorm, LeakyReLU, SiLU
from striate.layers.output import OutputConvolution
from striate.layers.pooling import AdaptiveMeanPool
from striate.layers.sizes import NonNegative, Positive, Sizes


class DenseHead(Composite):
    """A linear map of the channels at each position, (C, *S) -> (outputs, *S) (Long et al. 2015, arXiv:1411.4038)."""

    outputs: Positive

    def graph(self) -> Graph:
        """Row conv."""
        return Graph(rows=(Row(name="conv", layer=Convolution(channels=self.outputs, kernel=1)),))


class DetectionHead(Composite):
    """Classes and boxes at every cell of several maps, without anchors (Tian et al. 2019, arXiv:1904.01355).

    Inputs: one map a stride, finest first (:attr:`maps` names them as a pyramid does). Each has two branches of
    ``depth`` 3-wide convolutions of ``channels`` (decoupled: Ge et al. 2021, arXiv:2107.08430), one for the classes and
    one for the box. Outputs per stride s: ``classes<s>`` (classes, *cells), logits; ``boxes<s>`` (2A bins, *cells),
    logits of a distribution over ``bins`` distances for each side (Li et al. 2020, arXiv:2006.04388): channel
    side x bins + bin, sides as in bounds, A lows and then A highs. The main output is the last of them.

    The bias of the class logits starts at -log((1 - prior) / prior), so that a fresh network gives every class the
    probability ``prior`` and the many cells without an object do not swamp the loss (Lin et al. 2017,
    arXiv:1708.02002).
    """

    classes: Positive
    bins: Positive = 16
    strides: Strides = (8, 16, 32)
    channels: Positive = 64
    depth: NonNegative = 2
    norm: Layer | None = BatchNorm()
    activation: Layer = SiLU()
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01

    @property
    def maps(self) -> tuple[str, ...]:
        """The named outputs of a pyramid that this head reads, in order: ``stride8``, ..."""
        return tuple(f"stride{stride}" for stride in self.strides)

    def graph(self) -> Graph:
        """Per stride s the rows class_branch<s>, classes<s>, box_branch<s>, boxes<s>."""
        convolution = ConvNormAct(
            channels=self.channels, kernel=3, padding=1, norm=self.norm, activation=self.activation
        )
        classes = OutputConvolution(channels=self.classes, bias=-log((1 - self.prior) / self.prior))
        boxes = OutputConvolution(channels=0, per_axis=2 * self.bins)
        rows, outputs = [], {}
        for place, stride in enumerate(self.strides):
            for branch, name, last in (("class_branch", "classes", classes), ("box_branch", "boxes", boxes)):
                before = source(place)
                if self.depth:
                    layer = Chain(layers=(convolution,) * self.depth)
                    rows.append(Row(name=f"{branch}{stride}", layer=layer, inputs=(before,)))
                    before = f"{branch}{stride}"
                rows.append(Row(name=f"{name}{stride}", layer=last, inputs=(before,)))
                outputs[f"{name}{stride}"] = f"{name}{stride}"
        return Graph(rows=tuple(rows), outputs=outputs)


class YoloV1Head(Composite):
    """A grid of cells, each with one class distribution and B ``boxes`` (Redmon et al. 2016, arXiv:1506.02640).

    (C, *S) -> (B (2A + 1) + K, *grid). Channels 0 .. B (2A + 1) - 1 are the boxes, 2A + 1 each: A centres, A sizes, the
    confidence; the last K are the classes. What the numbers mean is for the task to say: nothing is squashed here.

    The map is pooled to the grid by means, whatever its size; then ``depth`` 3-wide convolutions of ``channels`` and a
    1-wide one. The paper has two fully connected layers there, which fix the size of the input; convolutions do not.
    """

    classes: Positive
    boxes: Positive = 2
    grid: Sizes = 7
    channels: Positive = 256
    depth: NonNegative = 2
    norm: Layer | None = BatchNorm()
    activation: Layer = LeakyReLU(slope=0.1)

    def graph(self) -> Graph:
        """Rows pool, branch (where there is any depth) and cells."""
        convolution = ConvNormAct(
            channels=self.channels, kernel=3, padding=1, norm=self.norm, activation=self.activation
        )
        rows = [Row(name="pool", layer=AdaptiveMeanPool(size=self.grid))]
        if self.depth:
            rows.append(Row(name="branch", layer=Chain(layers=(convolution,) * self.depth)))
        cells = OutputConvolution(channels=self.boxes + self.classes, per_axis=2 * self.boxes)
        return Graph(rows=(*rows, Row(name="cells", layer=cells)))
