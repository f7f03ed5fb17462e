"""Layer: the description of one operation of a network, from which shapes, costs and windows follow by arithmetic."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.core.graph import Reach, WindowOp
from striate.core.spec import Spec

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
"""(channels, *spatial); never the batch. A flat vector is (features,): it has no axes."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One leaf layer in its place: what a row of the layer table needs to know.

    ``name`` is dotted and is also the prefix of the layer's parameter names. ``sources`` are the names of the rows
    (or ``row.part``, or ``input``) it reads. ``multiply_adds`` is per example.
    """

    name: str
    layer: "Layer"
    sources: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameters: int
    multiply_adds: int
    window: WindowOp


class Layer(Spec):
    """Base of every layer, block and network. Methods take one shape per input and raise ``InputError`` on a misfit."""

    @abstractmethod
    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of the (main) output for inputs of these shapes."""

    def parts(self, *inputs: Shape) -> dict[str, Shape]:
        """Shapes of further named outputs, such as the ``indices`` of max pooling."""
        return {}

    def parameters(self, *inputs: Shape) -> int:
        """Number of learned values."""
        return 0

    def multiply_adds(self, *inputs: Shape) -> int:
        """Multiply-adds for one example; biases, norms, activations and pooling count zero."""
        return 0

    def window(self, *inputs: Shape) -> WindowOp:
        """What one output position reads of the input: a window per axis, one point, or everything."""
        return Reach.POINTWISE

    @abstractmethod
    def build(self, *inputs: Shape) -> "nn.Module":
        """Make the module for inputs of these shapes. Its forward takes the inputs in order and returns a tensor,
        or, where :meth:`parts` names some, a mapping with the main output under ''."""

    def values(self, *inputs: Shape) -> dict[str, Shape]:
        """Shapes of every output: the main one under '' and the parts by name, in one pass."""
        return {"": self.output_shape(*inputs), **self.parts(*inputs)}

    def leaves(self, *inputs: Shape, name: str = "", sources: tuple[str, ...] = ("input",)) -> Iterator[LayerRow]:
        """The leaf layers in order of computation; a leaf yields itself, a composite its rows."""
        yield LayerRow(
            name=name,
            layer=self,
            sources=sources,
            input_shapes=inputs,
            output_shape=self.output_shape(*inputs),
            parameters=self.parameters(*inputs),
            multiply_adds=self.multiply_adds(*inputs),
            window=self.window(*inputs),
        )
