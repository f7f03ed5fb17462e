"""A network that sees its inputs in one fixed shuffled order: the test of whether it uses where things are.

| name                  | network      | shuffled by |
|-----------------------|--------------|-------------|
| mnist1d_conv_permuted | mnist1d_conv | seed 0      |

A fully connected network learns permuted inputs as well as plain ones. A convolutional network loses its advantage.
"""

from typing import ClassVar

from striate.architectures.backbone import Architecture
from striate.architectures.mnist1d import Mnist1dConv
from striate.layers.graph import Graph, Row
from striate.layers.layer import Layer, Shape
from striate.layers.norm_act import Permutation


class Permuted(Architecture):
    """Another architecture behind a fixed permutation of all input values, drawn from ``seed``."""

    default_shape: ClassVar[Shape] = (1, 40)
    inner: Architecture = Mnist1dConv()
    seed: int = 0

    def backbone(self) -> Graph:
        """Rows permutation, then those of the inner network's backbone, with its outputs."""
        inner = self.inner.backbone()
        first = Row(name="permutation", layer=Permutation(seed=self.seed))
        return Graph(rows=(first, *inner.rows), outputs=inner.outputs)

    def classifier(self, outputs: int) -> Layer:
        """The inner network's head."""
        return self.inner.classifier(outputs)


TABLE = {"mnist1d_conv_permuted": Permuted()}
