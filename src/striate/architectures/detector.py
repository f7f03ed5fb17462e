"""A light backbone for detection, of our own choosing: plain convolutions of few channels, which CPUs are quick at.

Every stage starts with a 3-wide convolution of stride 2. Then come residual blocks x + f(x) that halve the channels
with a 1x1 convolution and restore them with a 3x3 one (Redmon and Farhadi 2018, arXiv:1804.02767, table 1), all with
batch norm and SiLU (Elfwing et al. 2018, arXiv:1702.03118). Sizes differ in width and depth (Tan and Le 2019,
arXiv:1905.11946). The outputs are at strides 2, 4, 8, 16 and 32.

| name            | stem and stages         | blocks     | parameters | multiply-adds at 320x256 | receptive field |
|-----------------|-------------------------|------------|------------|--------------------------|-----------------|
| detector_nano   | 16, 32, 64, 128, 256    | 1, 2, 2, 2 | 1,261,168  | 286,720,000              | 295             |
| detector_small  | 24, 48, 96, 192, 384    | 1, 2, 3, 2 | 3,019,368  | 697,466,880              | 327             |
| detector_medium | 32, 64, 128, 256, 512   | 2, 4, 6, 3 | 7,847,584  | 1,968,046,080            | 527             |
| detector_large  | 48, 96, 192, 384, 768   | 2, 6, 8, 4 | 22,444,656 | 5,594,480,640            | 687             |

Parameters and multiply-adds are those of the backbone for 3 channels; the stride at its end is 32.

Why these blocks: of the plain designs of a like cost none was clearly quicker on a CPU when they were tried side by
side (depthwise ones were slower); these hold the most parameters and are the simplest to write. No figure is stated,
because no script of the repository measures it.
"""

from typing import ClassVar, Self

from pydantic import model_validator

from striate.architectures.backbone import Architecture
from striate.layers.blocks import ConvNormAct
from striate.layers.graph import Chain, Composite, Graph, Residual, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Linear
from striate.layers.norm_act import BatchNorm, SiLU
from striate.layers.pooling import GlobalMeanPool
from striate.layers.sizes import NonNegative, Positive


class NarrowingBlock(Composite):
    """x + act(norm(conv3(act(norm(conv1(x)))))): (C, *S) to (channels, *S), C = channels, half as many between."""

    channels: Positive
    norm: Layer | None = BatchNorm()
    activation: Layer = SiLU()

    def graph(self) -> Graph:
        """Rows body (0 the 1x1, 1 the 3x3 convolution) and add."""
        narrow = ConvNormAct(channels=max(self.channels // 2, 1), kernel=1, norm=self.norm, activation=self.activation)
        wide = ConvNormAct(channels=self.channels, kernel=3, padding="same", norm=self.norm, activation=self.activation)
        return Residual(body=Chain(layers=(narrow, wide))).graph()


class DetectorBackbone(Architecture):
    """A stem and stages, each halving the map: ``widths`` are the channels of the stem and of every stage, ``depths``
    the blocks a stage."""

    default_shape: ClassVar[Shape] = (3, 320, 320)
    widths: tuple[Positive, ...] = (16, 32, 64, 128, 256)
    depths: tuple[NonNegative, ...] = (1, 2, 2, 2)
    norm: Layer | None = BatchNorm()
    activation: Layer = SiLU()

    @model_validator(mode="after")
    def _a_width_each(self) -> Self:
        if len(self.widths) != len(self.depths) + 1:
            raise ValueError(f"widths {self.widths} and depths {self.depths}: the stem has a width too, and no depth")
        return self

    def backbone(self) -> Graph:
        """Rows stem, stage1, ...; the outputs are all of them, at strides 2, 4, 8, ..."""
        rows = [Row(name="stem", layer=self._halving(self.widths[0]))]
        for number, (width, depth) in enumerate(zip(self.widths[1:], self.depths, strict=True), start=1):
            block = NarrowingBlock(channels=width, norm=self.norm, activation=self.activation)
            rows.append(Row(name=f"stage{number}", layer=Chain(layers=(self._halving(width), *(block,) * depth))))
        return Graph(rows=tuple(rows), outputs={row.name: row.name for row in rows})

    def _halving(self, width: int) -> Layer:
        return ConvNormAct(
            channels=width, kernel=3, stride=2, padding="same", norm=self.norm, activation=self.activation
        )

    def classifier(self, outputs: int) -> Layer:
        """Mean over all positions, linear."""
        return Chain(layers=(GlobalMeanPool(), Linear(features=outputs)), names=("pool", "linear"))


TABLE = {
    "detector_nano": DetectorBackbone(),
    "detector_small": DetectorBackbone(widths=(24, 48, 96, 192, 384), depths=(1, 2, 3, 2)),
    "detector_medium": DetectorBackbone(widths=(32, 64, 128, 256, 512), depths=(2, 4, 6, 3)),
    "detector_large": DetectorBackbone(widths=(48, 96, 192, 384, 768), depths=(2, 6, 8, 4)),
}
