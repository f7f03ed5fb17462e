"""The convolutional network of the MNIST-1D experiment.

| row   | layer                          | output | parameters |
|-------|--------------------------------|--------|------------|
| conv1 | 15 kernels of 3, stride 2, valid | 15x19 | 60        |
| conv2 | 15 kernels of 3, stride 2, valid | 15x9  | 690       |
| conv3 | 15 kernels of 3, stride 2, valid | 15x4  | 690       |
| head  | flatten (60), linear            | 10    | 610       |

2,050 parameters for signals of length 40 and ten classes; 10,230 multiply-adds a signal, biases not counted.
Data: Greydanus and Kobak, "Scaling down deep learning with MNIST-1D", arXiv:2011.14439.
"""

from typing import ClassVar

from pydantic import Field

from striate.architectures.backbone import Architecture
from striate.layers.conv import Convolution
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import ReLU
from striate.layers.sizes import Positive, Sizes


class Mnist1dConv(Architecture):
    """Convolutions with stride 2 and ReLU, then one linear layer on everything that is left."""

    kind: ClassVar[str] = "mnist1d_conv"
    default_shape: ClassVar[Shape] = (1, 40)
    channels: tuple[Positive, ...] = Field(default=(15, 15, 15), min_length=1)
    kernel: Sizes = 3
    stride: Sizes = 2

    def backbone(self) -> Graph:
        """Rows conv1, relu1, conv2, ...; the outputs are the feature maps after each ReLU."""
        rows: list[Row] = []
        for number, channels in enumerate(self.channels, start=1):
            layer = Convolution(channels=channels, kernel=self.kernel, stride=self.stride)
            rows += [Row(name=f"conv{number}", layer=layer), Row(name=f"relu{number}", layer=ReLU())]
        outputs = {f"stage{number}": f"relu{number}" for number in range(1, len(self.channels) + 1)}
        return Graph(rows=tuple(rows), outputs=outputs)

    def classifier(self, outputs: int) -> Layer:
        """Flatten, then a linear layer: the position in the signal is still seen."""
        return Chain(layers=(Flatten(), Linear(features=outputs)), names=("flatten", "linear"))


TABLE = {"mnist1d_conv": Mnist1dConv()}
