"""Fully connected networks: what a convolutional network is compared with.

| hidden units   | 40 inputs, 10 classes |
|----------------|-----------------------|
| 285, 135, 60   | 59,065 parameters     |
| 360, 365       | 150,185 parameters    |
"""

from typing import ClassVar

from striate.architectures.backbone import Architecture
from striate.layers.graph import Chain, Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import ReLU
from striate.layers.sizes import Positive


class FullyConnected(Architecture):
    """Flatten, then linear layers with an activation after each; inputs of any number of axes."""

    kind: ClassVar[str] = "fully_connected"
    default_shape: ClassVar[Shape] = (1, 40)
    hidden: tuple[Positive, ...] = (285, 135, 60)
    activation: Layer = ReLU()

    def backbone(self) -> Graph:
        """Rows flatten, linear1, act1, ...; the outputs are the vectors after each activation."""
        rows = [Row(name="flatten", layer=Flatten())]
        for number, features in enumerate(self.hidden, start=1):
            rows.append(Row(name=f"linear{number}", layer=Linear(features=features)))
            rows.append(Row(name=f"act{number}", layer=self.activation))
        outputs = {f"hidden{number}": f"act{number}" for number in range(1, len(self.hidden) + 1)}
        return Graph(rows=tuple(rows), outputs=outputs)

    def classifier(self, outputs: int) -> Layer:
        """One linear layer."""
        return Chain(layers=(Linear(features=outputs),), names=("linear",))


TABLE = {"fully_connected": FullyConnected()}
