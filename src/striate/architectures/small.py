"""The default networks for small images and for signals: convolution, norm, activation, and halving between stages.

| name          | stages (width x depth)           | kernel | between stages | head                    |
|---------------|----------------------------------|--------|----------------|-------------------------|
| small_images  | 32 x 1, 64 x 2, 128 x 2          | 3      | max pooling, 2 | mean over space, linear |
| small_signals | 32 x 1, 64 x 1, 128 x 1, 128 x 1 | 5      | max pooling, 2 | mean over time, linear  |

Both take any number of channels and axes and, since every window is "same", any size the halvings leave something of:
4 pixels and 8 samples are the least. The tables are the defaults of the two classes below: retune them there.
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from striate.architectures.backbone import AnyLayer, Architecture
from striate.layers.blocks import ConvNormAct
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Linear
from striate.layers.norm_act import BatchNorm, Dropout, ReLU
from striate.layers.pooling import GlobalMeanPool, MaxPool
from striate.layers.sizes import Positive, Sizes


class _Staged(Architecture):
    """What the two defaults share. ``widths`` are the channels of each stage, ``depths`` its convolutions, ``dropout``
    the probability before the last linear layer."""

    widths: tuple[Positive, ...] = Field(min_length=1)
    depths: tuple[Positive, ...] = Field(min_length=1)
    kernel: Sizes = 3
    halving: Sizes = 2
    norm: AnyLayer | None = BatchNorm()
    activation: AnyLayer = ReLU()
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _a_depth_each(self) -> Self:
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"widths {self.widths} and depths {self.depths} must be as many, one each a stage")
        return self

    def backbone(self) -> Graph:
        """Rows stage1, pool1, stage2, ...; the outputs are the feature maps at the end of each stage."""
        rows: list[Row] = []
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            if number > 1:
                rows.append(Row(name=f"pool{number - 1}", layer=MaxPool(kernel=self.halving)))
            block = ConvNormAct(
                channels=width, kernel=self.kernel, padding="same", norm=self.norm, activation=self.activation
            )
            rows.append(Row(name=f"stage{number}", layer=Chain(layers=(block,) * depth)))
        names = tuple(f"stage{number}" for number in range(1, len(self.widths) + 1))
        return Graph(rows=tuple(rows), outputs={name: name for name in names})

    def classifier(self, outputs: int) -> Layer:
        """Mean over all positions, dropout where asked for, linear."""
        layers: list[tuple[str, Layer]] = [("pool", GlobalMeanPool())]
        if self.dropout > 0:
            layers.append(("dropout", Dropout(probability=self.dropout)))
        layers.append(("linear", Linear(features=outputs)))
        return Chain(layers=tuple(layer for _, layer in layers), names=tuple(name for name, _ in layers))


class SmallImages(_Staged):
    """The default for small images, such as 28x28 grey or 32x32 colour."""

    default_shape: ClassVar[Shape] = (1, 28, 28)
    widths: tuple[Positive, ...] = (32, 64, 128)
    depths: tuple[Positive, ...] = (1, 2, 2)


class SmallSignals(_Staged):
    """The default for signals of 8 samples and more, with any number of channels."""

    default_shape: ClassVar[Shape] = (1, 40)
    widths: tuple[Positive, ...] = (32, 64, 128, 128)
    depths: tuple[Positive, ...] = (1, 1, 1, 1)
    kernel: Sizes = 5


TABLE = {"small_images": SmallImages(), "small_signals": SmallSignals()}
