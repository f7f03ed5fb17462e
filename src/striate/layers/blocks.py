"""Named blocks: short runs of layers that architectures repeat."""

from striate.core.geometry import PaddingMode
from striate.layers.conv import Convolution
from striate.layers.graph import Composite, Graph, Row
from striate.layers.layer import Layer
from striate.layers.norm_act import BatchNorm, ReLU
from striate.layers.sizes import NamedPaddings, Positive, Sizes


class ConvNormAct(Composite):
    """Convolution, norm, activation, as rows conv, norm and act; ``None`` leaves norm or activation out.

    ``bias`` is that of the convolution: ``None`` means one only where no norm follows, since a norm would cancel it.
    """

    channels: Positive
    kernel: Sizes
    stride: Sizes = 1
    dilation: Sizes = 1
    groups: Positive = 1
    padding: NamedPaddings = 0
    padding_mode: PaddingMode = "zeros"
    bias: bool | None = None
    norm: Layer | None = BatchNorm()
    activation: Layer | None = ReLU()

    def graph(self) -> Graph:
        convolution = Convolution(
            channels=self.channels,
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            padding=self.padding,
            padding_mode=self.padding_mode,
            bias=self.norm is None if self.bias is None else self.bias,
        )
        rows = [Row(name="conv", layer=convolution)]
        if self.norm is not None:
            rows.append(Row(name="norm", layer=self.norm))
        if self.activation is not None:
            rows.append(Row(name="act", layer=self.activation))
        return Graph(rows=tuple(rows))
