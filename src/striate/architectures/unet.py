"""U-Net: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015,
arXiv:1505.04597.

Per level two 3-wide convolutions with ReLU; pooling by 2 on the way down; on the way up a transposed convolution of
kernel and stride 2, the join with the map of that level, and two convolutions again; a 1x1 convolution at the end.

| name       | width | windows | norm       | input   | output       | parameters                   |
|------------|-------|---------|------------|---------|--------------|------------------------------|
| unet_valid | 64    | valid   | none       | 572x572 | 388x388      | 31,030,658 (1 to 2 channels) |
| unet_small | 16    | same    | batch norm | any     | as the input | 1,942,289 (1 to 1 channels)  |
| unet       | 32    | same    | batch norm | any     | as the input | 7,762,465 (1 to 1 channels)  |

With valid windows a skip is cut around its centre, and the output is the central part of the input (388 of 572: 92 are
missing at either end). With same windows pooling rounds up and what is upsampled is cut at the end, so that any size
works. As a classifier it is the way down with a mean over all positions.
"""

from typing import ClassVar, Literal

from striate.architectures.backbone import Architecture, check_outputs
from striate.architectures.decoders import Decoder, source
from striate.architectures.heads import DenseHead
from striate.layers.blocks import ConvNormAct
from striate.layers.conv import TransposedConvolution
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Linear
from striate.layers.merge import Join
from striate.layers.norm_act import BatchNorm, ReLU
from striate.layers.pooling import GlobalMeanPool, MaxPool
from striate.layers.sizes import Positive


class Unet(Architecture):
    """``depth`` poolings; ``width`` channels at the finest level, twice as many at each coarser one."""

    default_classes: ClassVar[int] = 2
    default_shape: ClassVar[Shape] = (1, 572, 572)
    depth: Positive = 4
    width: Positive = 32
    padding: Literal["same", "valid"] = "same"
    norm: Layer | None = BatchNorm()
    activation: Layer = ReLU()

    def _level(self, number: int) -> Layer:
        """Two convolutions with the channels of level 1, 2, ..."""
        convolution = ConvNormAct(
            channels=self.width * 2 ** (number - 1),
            kernel=3,
            padding=self.padding,
            norm=self.norm,
            activation=self.activation,
        )
        return Chain(layers=(convolution, convolution))

    def backbone(self) -> Graph:
        """The way down: rows level1, pool1, level2, ...; the outputs are the levels, at strides 1, 2, 4, ..."""
        rows = [Row(name="level1", layer=self._level(1))]
        for number in range(1, self.depth + 1):
            rows.append(Row(name=f"pool{number}", layer=MaxPool(kernel=2, ceil=self.padding == "same")))
            rows.append(Row(name=f"level{number + 1}", layer=self._level(number + 1)))
        names = [f"level{number}" for number in range(1, self.depth + 2)]
        return Graph(rows=tuple(rows), outputs={name: name for name in names})

    def _way_up(self) -> Graph:
        """Rows up<n>, join<n>, level<n> over the levels as inputs, finest first."""
        rows, below = [], source(self.depth)
        for number in range(self.depth, 0, -1):
            up = TransposedConvolution(channels=self.width * 2 ** (number - 1), kernel=2, stride=2)
            rows.append(Row(name=f"up{number}", layer=up, inputs=(below,)))
            rows.append(Row(name=f"join{number}", layer=Join(crop=True), inputs=(source(number - 1), f"up{number}")))
            rows.append(Row(name=f"level{number}", layer=self._level(number)))
            below = f"level{number}"
        return Graph(rows=tuple(rows))

    def dense(self, outputs: int, decoder: Decoder | None = None) -> Graph:
        """The U-Net itself, rows ``backbone``, ``decoder`` and ``head``: (C, *S) gives (outputs, *S), or with valid
        windows the central part of that. Another decoder may take the place of the way up."""
        if decoder is not None:
            return super().dense(outputs, decoder)
        check_outputs(outputs)
        levels = tuple(f"backbone.level{number}" for number in range(1, self.depth + 2))
        return Graph(
            rows=(
                Row(name="backbone", layer=self.backbone()),
                Row(name="decoder", layer=self._way_up(), inputs=levels),
                Row(name="head", layer=DenseHead(outputs=outputs)),
            )
        )

    def classifier(self, outputs: int) -> Layer:
        """Mean over all positions, linear."""
        return Chain(layers=(GlobalMeanPool(), Linear(features=outputs)), names=("pool", "linear"))


TABLE = {
    "unet_small": Unet(width=16),
    "unet": Unet(),
    "unet_valid": Unet(width=64, padding="valid", norm=None),
}
