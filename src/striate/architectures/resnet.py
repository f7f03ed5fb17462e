"""Residual networks: He et al., "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385.

A block computes relu(F(x) + shortcut(x)). In the widespread form built here (the paper's with the stride of the
bottleneck on its 3x3 convolution) row names are chosen so that, below ``backbone.`` and ``head.``, parameters have
the names published weights use: ``conv1``, ``layer1.0.conv1``, ``layer2.0.downsample.0``, ``fc``.

| name     | block      | blocks a stage | parameters | multiply-adds at 224 | receptive field / stride |
|----------|------------|----------------|------------|----------------------|--------------------------|
| resnet18 | basic      | 2, 2, 2, 2     | 11,689,512 | 1,814,073,344        | 435 / 32                 |
| resnet34 | basic      | 3, 4, 6, 3     | 21,797,672 | 3,663,761,408        | 899 / 32                 |
| resnet50 | bottleneck | 3, 4, 6, 3     | 25,557,032 | 4,089,184,256        | 427 / 32                 |

All numbers are for 3 channels and 1000 classes. One spec builds for signals, images and volumes.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from striate.architectures.backbone import Architecture
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Composite, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Linear
from striate.layers.merge import Add
from striate.layers.norm_act import BatchNorm, ReLU
from striate.layers.pooling import GlobalMeanPool, MaxPool
from striate.layers.sizes import Positive

EXPANSION = {"basic": 1, "bottleneck": 4}


def _conv(channels: int, kernel: int, stride: int = 1) -> Convolution:
    return Convolution(channels=channels, kernel=kernel, stride=stride, padding=kernel // 2, bias=False)


def _closing(channels: int, stride: int, downsample: bool, body: str) -> tuple[Row, ...]:
    """The rows that end a block: the 1x1 shortcut where shapes differ, the sum, the activation."""
    end = (Row(name="add", layer=Add(), inputs=(body, "downsample" if downsample else "input")),)
    shortcut = Chain(layers=(_conv(channels, 1, stride), BatchNorm()))
    start = (Row(name="downsample", layer=shortcut, inputs=("input",)),) if downsample else ()
    return (*start, *end, Row(name="relu_sum", layer=ReLU()))


class BasicBlock(Composite):
    """relu(norm(conv3(relu(norm(conv3(x))))) + shortcut(x)): (C, *S) to (channels, *ceil(S / stride))."""

    channels: Positive
    stride: Positive = 1
    downsample: bool = False

    def graph(self) -> Graph:
        """Rows conv1, bn1, relu1, conv2, bn2, the shortcut ``downsample`` and the sum."""
        return Graph(
            rows=(
                Row(name="conv1", layer=_conv(self.channels, 3, self.stride)),
                Row(name="bn1", layer=BatchNorm()),
                Row(name="relu1", layer=ReLU()),
                Row(name="conv2", layer=_conv(self.channels, 3)),
                Row(name="bn2", layer=BatchNorm()),
                *_closing(self.channels, self.stride, self.downsample, "bn2"),
            )
        )


class Bottleneck(Composite):
    """1x1 to ``channels``, 3x3 with the stride, 1x1 to four times ``channels``, plus the shortcut."""

    channels: Positive
    stride: Positive = 1
    downsample: bool = False

    def graph(self) -> Graph:
        """Rows conv1, bn1, relu1, ..., conv3, bn3, the shortcut ``downsample`` and the sum."""
        wide = self.channels * EXPANSION["bottleneck"]
        return Graph(
            rows=(
                Row(name="conv1", layer=_conv(self.channels, 1)),
                Row(name="bn1", layer=BatchNorm()),
                Row(name="relu1", layer=ReLU()),
                Row(name="conv2", layer=_conv(self.channels, 3, self.stride)),
                Row(name="bn2", layer=BatchNorm()),
                Row(name="relu2", layer=ReLU()),
                Row(name="conv3", layer=_conv(wide, 1)),
                Row(name="bn3", layer=BatchNorm()),
                *_closing(wide, self.stride, self.downsample, "bn3"),
            )
        )


class Resnet(Architecture):
    """Stem, then stages of residual blocks; every stage after the first halves the map.

    ``stem`` "imagenet" is a 7-wide convolution and a pooling of stride 2 each; "small" one 3-wide convolution of
    stride 1, for images of about 32 pixels.
    """

    default_classes: ClassVar[int] = 1000
    default_shape: ClassVar[Shape] = (3, 224, 224)
    block: Literal["basic", "bottleneck"]
    depths: tuple[Positive, ...] = Field(min_length=1)
    widths: tuple[Positive, ...] = (64, 128, 256, 512)
    stem: Literal["imagenet", "small"] = "imagenet"

    @model_validator(mode="after")
    def _a_width_each(self) -> Self:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths {self.widths} and depths {self.depths} must be as many, one each a stage")
        return self

    def backbone(self) -> Graph:
        """Rows conv1, bn1, relu, maxpool, layer1, ...; the outputs are the stem and each stage."""
        large = self.stem == "imagenet"
        rows = [
            Row(name="conv1", layer=_conv(self.widths[0], 7, 2) if large else _conv(self.widths[0], 3)),
            Row(name="bn1", layer=BatchNorm()),
            Row(name="relu", layer=ReLU()),
        ]
        if large:
            rows.append(Row(name="maxpool", layer=MaxPool(kernel=3, stride=2, padding=1)))
        incoming = self.widths[0]
        for number, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            stride = 1 if number == 1 else 2
            outgoing = width * EXPANSION[self.block]
            first = self._block(width, stride, stride != 1 or incoming != outgoing)
            rows.append(Row(name=f"layer{number}", layer=Chain(layers=(first, *(self._block(width),) * (depth - 1)))))
            incoming = outgoing
        stages = {f"layer{number}": f"layer{number}" for number in range(1, len(self.widths) + 1)}
        return Graph(rows=tuple(rows), outputs={"stem": "relu", **stages})

    def _block(self, width: int, stride: int = 1, downsample: bool = False) -> Layer:
        if self.block == "basic":
            return BasicBlock(channels=width, stride=stride, downsample=downsample)
        return Bottleneck(channels=width, stride=stride, downsample=downsample)

    def classifier(self, outputs: int) -> Layer:
        """Mean over all positions, linear."""
        return Chain(layers=(GlobalMeanPool(), Linear(features=outputs)), names=("avgpool", "fc"))


TABLE = {
    "resnet18": Resnet(block="basic", depths=(2, 2, 2, 2)),
    "resnet34": Resnet(block="basic", depths=(3, 4, 6, 3)),
    "resnet50": Resnet(block="bottleneck", depths=(3, 4, 6, 3)),
}
