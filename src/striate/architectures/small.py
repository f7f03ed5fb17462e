"""The default networks for small images and for signals: convolution, norm, activation, and halving between stages.

| name          | stages (width x depth)           | kernel | between stages | head                   |
|---------------|----------------------------------|--------|----------------|------------------------|
| small_images  | 24 x 1, 48 x 2, 96 x 2           | 3      | max pooling, 2 | max over space, linear |
| small_signals | 32 x 1, 64 x 1, 128 x 1, 128 x 1 | 5      | max pooling, 2 | mean over time, linear |

The pooling stands between a stage's last convolution and its norm, so that norm and activation work on what is left:
the maximum of a normalised value is the same taken before or after where the norm's scale is positive.
Both take any number of channels and axes and, since every window is "same", any size the halvings leave something of:
4 pixels and 8 samples are the least. The tables are the defaults of the two classes below: retune them there.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from striate.architectures.backbone import Architecture
from striate.layers.blocks import ConvNormAct
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import BatchNorm, Dropout, ReLU
from striate.layers.pooling import AdaptiveMaxPool, GlobalMeanPool, MaxPool
from striate.layers.sizes import Positive, Sizes


class _Staged(Architecture):
    """What the two defaults share. ``widths`` are the channels of each stage, ``depths`` its convolutions, ``reduce``
    what the head does over all positions, ``dropout`` the probability before the last linear layer."""

    widths: tuple[Positive, ...] = Field(min_length=1)
    depths: tuple[Positive, ...] = Field(min_length=1)
    kernel: Sizes = 3
    halving: Sizes = 2
    norm: Layer | None = BatchNorm()
    activation: Layer = ReLU()
    reduce: Literal["mean", "max"] = "mean"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _a_depth_each(self) -> Self:
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"widths {self.widths} and depths {self.depths} must be as many, one each a stage")
        return self

    def backbone(self) -> Graph:
        """Rows stage1, stage2, ...; the outputs are the feature maps at the end of each stage."""
        rows = []
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            plain = ConvNormAct(
                channels=width, kernel=self.kernel, padding="same", norm=self.norm, activation=self.activation
            )
            blocks: list[Layer] = [plain] * depth
            if number < len(self.widths):
                blocks[-1] = self._halved(width)
            rows.append(Row(name=f"stage{number}", layer=Chain(layers=tuple(blocks))))
        names = tuple(f"stage{number}" for number in range(1, len(self.widths) + 1))
        return Graph(rows=tuple(rows), outputs={name: name for name in names})

    def _halved(self, width: int) -> Chain:
        """A block with max pooling between its convolution and its norm."""
        named = [
            ("conv", Convolution(channels=width, kernel=self.kernel, padding="same", bias=self.norm is None)),
            ("pool", MaxPool(kernel=self.halving)),
            ("norm", self.norm),
            ("act", self.activation),
        ]
        kept = [(name, layer) for name, layer in named if layer is not None]
        return Chain(layers=tuple(layer for _, layer in kept), names=tuple(name for name, _ in kept))

    def classifier(self, outputs: int) -> Layer:
        """Mean or maximum over all positions, dropout where asked for, linear."""
        layers: list[tuple[str, Layer]] = [("pool", GlobalMeanPool())]
        if self.reduce == "max":
            layers = [("pool", AdaptiveMaxPool(size=1)), ("flatten", Flatten())]
        if self.dropout > 0:
            layers.append(("dropout", Dropout(probability=self.dropout)))
        layers.append(("linear", Linear(features=outputs)))
        return Chain(layers=tuple(layer for _, layer in layers), names=tuple(name for name, _ in layers))


class SmallImages(_Staged):
    """The default for small images, such as 28x28 grey or 32x32 colour."""

    default_shape: ClassVar[Shape] = (1, 28, 28)
    widths: tuple[Positive, ...] = (24, 48, 96)
    depths: tuple[Positive, ...] = (1, 2, 2)
    reduce: Literal["mean", "max"] = "max"


class SmallSignals(_Staged):
    """The default for signals of 8 samples and more, with any number of channels."""

    default_shape: ClassVar[Shape] = (1, 40)
    widths: tuple[Positive, ...] = (32, 64, 128, 128)
    depths: tuple[Positive, ...] = (1, 1, 1, 1)
    kernel: Sizes = 5


TABLE = {"small_images": SmallImages(), "small_signals": SmallSignals()}
