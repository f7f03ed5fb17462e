"""The step for small chains written out by hand: convolution, ReLU, flatten, linear, softmax cross-entropy, SGD.

For a network as small as MNIST-1D's a step costs more in calls than in arithmetic. Here it is about 30 tensor calls on
buffers made once, without an autograd graph, and the same mathematics to float32 rounding:

- the batch is the innermost axis: activations are (C, *S, B), so that a convolution is one strided copy with contiguous
  runs of B (im2col) and one matrix product, whatever the number of channels;
- the copied inputs of a layer have a last row of ones, so that weight and bias are one matrix: one product gives the
  output with its bias, and one product gives both gradients;
- ReLU happens in the copy to the next layer, and is never stored;
- all weights are parts of one flat vector, so that the update is one addition.

With W (O, K + 1), X (K + 1, P) and the gradient G (O, P) of the output W X: dW = G X^T, dX = W^T G.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.geometry import Window
from striate.layers.conv import Convolution
from striate.layers.layer import Layer, LayerRow, Shape
from striate.layers.linear import Flatten, Linear
from striate.layers.norm_act import Identity, Permutation, ReLU
from striate.training.optim import SGD
from striate.training.schedule import Schedule

KNOWN = (Convolution, Linear, ReLU, Flatten, Identity, Permutation)
"""Layers a chain may be made of; a permutation only before the first weights."""
LARGEST_COPY = 1 << 22
"""Most values in the copied inputs of one layer (16 MiB): beyond it convolution by copying does not pay."""


class _Affine:
    """A convolution or a linear layer (no axes) as one matrix product, with buffers for batches of one size.

    ``x`` is the input, (C, *S, B), a contiguous buffer, or for the first layer a view of the gathered samples.
    """

    def __init__(
        self, shape: Shape, outputs: int, windows: Sequence[Window], batch: int, x: Tensor, relu: bool
    ) -> None:
        channels, size = shape[0], shape[1:]
        kernel = tuple(window.kernel for window in windows)
        self.kernel, self.stride = kernel, tuple(window.stride for window in windows)
        self.before = tuple(window.before for window in windows)
        self.size, self.padded = size, tuple(n + w.before + w.after for n, w in zip(size, windows, strict=True))
        self.output_size = tuple(w.output_size(n) for n, w in zip(size, windows, strict=True))
        self.channels, self.batch, self.inputs, self.outputs = channels, batch, channels * math.prod(kernel), outputs
        positions = math.prod(self.output_size) * batch
        self.copied = torch.ones(self.inputs + 1, positions)
        self.y = torch.empty(outputs, positions)
        self.gradient_y = torch.empty(outputs, positions)
        self.relu = relu
        self.gradient_x: Tensor | None = None
        self.fills: list[tuple[bool, Tensor, Tensor]] = []
        if self.padded != size:
            room = torch.zeros(channels, *self.padded, batch)
            self.fills.append((relu, x, self._inside(room)))
            x, relu = room, False
        target = self.copied[:-1].view(channels, *kernel, *self.output_size, batch)
        self.fills.append((relu, self._patches(x), target))

    def with_input_gradient(self, x: Tensor, gradient_x: Tensor) -> None:
        """Also compute the gradient of the input ``x`` (C, *S, B) into ``gradient_x``: all layers but the first."""
        self.gradient_copied = torch.empty(self.inputs, self.copied.shape[1])
        if self.kernel:
            self.room = torch.zeros(self.channels, *self.padded, self.batch)
            self.gradient_inside = self._inside(self.room)
            self.additions = self._adjoint()
        else:
            self.gradient_inside = self.gradient_copied.view(self.channels, self.batch)
            self.additions = []
        shape = self.gradient_inside.shape
        self.x, self.gradient_x = x.view(shape), gradient_x.view(shape)

    def _inside(self, room: Tensor) -> Tensor:
        for axis, (n, before) in enumerate(zip(self.size, self.before, strict=True), start=1):
            room = room.narrow(axis, before, n)
        return room

    def _patches(self, x: Tensor) -> Tensor:
        """Overlapping view (C, *kernel, *output size, B) of x (C, *S, B)."""
        first, *steps, last = x.stride()
        jumps = [a * b for a, b in zip(steps, self.stride, strict=True)]
        shape = (self.channels, *self.kernel, *self.output_size, self.batch)
        return x.as_strided(shape, (first, *steps, *jumps, last), x.storage_offset())

    def _adjoint(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs (part of the input's gradient, part of the copies' gradient) to add up: what :meth:`_patches` spread.

        Along the last axis as many taps as the stride are taken at a time: those do not overlap.
        """
        first, *steps, _ = self.room.stride()
        copies = self.gradient_copied.view(self.channels, *self.kernel, *self.output_size, self.batch)
        together = min(self.stride[-1], self.kernel[-1])
        pairs = []
        for taps in itertools.product(*(range(k) for k in self.kernel[:-1]), range(0, self.kernel[-1], together)):
            part = copies
            for tap in taps[:-1]:
                part = part.select(1, tap)
            part = part.narrow(1, taps[-1], min(together, self.kernel[-1] - taps[-1]))
            jumps = [a * b for a, b in zip(steps, self.stride, strict=True)]
            offset = sum(a * b for a, b in zip(taps, steps, strict=True))
            pairs.append((self.room.as_strided(part.shape, (first, steps[-1], *jumps, 1), offset), part))
        return pairs

    def use(self, weights: Tensor, gradient: Tensor) -> None:
        """Work on these parts of the flat vectors, each (O, K + 1)."""
        self.weights, self.gradient = weights, gradient
        self.turned, self.copied_turned = weights[:, :-1].t(), self.copied.t()

    def forward(self) -> None:
        """y = W X."""
        for relu, source, target in self.fills:
            if relu:
                torch.clamp_min(source, 0, out=target)
            else:
                target.copy_(source)
        torch.mm(self.weights, self.copied, out=self.y)

    def backward(self) -> None:
        """dW, and where there is a layer before, dX through its ReLU."""
        torch.mm(self.gradient_y, self.copied_turned, out=self.gradient)
        if self.gradient_x is None:
            return
        torch.mm(self.turned, self.gradient_y, out=self.gradient_copied)
        if self.additions:
            self.room.zero_()
            for target, part in self.additions:
                target.add_(part)
        if self.relu:  # passed on where the value before the ReLU was positive
            torch.ops.aten.threshold_backward.grad_input(self.gradient_inside, self.x, 0, grad_input=self.gradient_x)
        else:
            self.gradient_x.copy_(self.gradient_inside)


def chain_rows(network: Layer, input_shape: Shape, batch: int) -> list[LayerRow] | None:
    """The rows of a network that :class:`ChainStep` can run, or None where it cannot."""
    rows = list(network.leaves(input_shape))
    names = ["input", *(row.name for row in rows)]
    for row, before in zip(rows, names, strict=False):
        if row.sources != (before,) or type(row.layer) not in KNOWN:  # a subclass may compute something else
            return None
    affine = [row for row in rows if isinstance(row.layer, Convolution | Linear)]
    if not affine or affine[-1] is not rows[-1] or not isinstance(rows[-1].layer, Linear):
        return None
    first = rows.index(affine[0])
    if any(isinstance(row.layer, ReLU) for row in rows[:first]):
        return None
    if any(isinstance(row.layer, Permutation) for row in rows[first:]):
        return None
    fits = all(_fits(row, batch) for row in affine)
    return rows if fits else None


def _fits(row: LayerRow, batch: int) -> bool:
    if isinstance(row.layer, Linear):
        return row.layer.bias
    layer = row.layer
    assert isinstance(layer, Convolution)
    plain = layer.bias and layer.groups == 1 and layer.padding_mode == "zeros"
    windows = _windows(row)
    taps = row.input_shapes[0][0] * math.prod(window.kernel for window in windows)
    positions = math.prod(row.output_shape[1:]) * batch
    even = all(w.dilation == 1 and w.before >= 0 and w.after >= 0 for w in windows)
    return plain and even and taps * positions <= LARGEST_COPY


def _windows(row: LayerRow) -> tuple[Window, ...]:
    if isinstance(row.layer, Linear):
        return ()
    assert isinstance(row.window, tuple)
    return tuple(window for window in row.window if isinstance(window, Window))


class ChainStep:
    """Runs blocks of steps of a small chain network; see the module's description. Nothing is kept between blocks but
    buffers: weights and momentum are taken from the module and the optimiser, and put back.

    ``images`` (n, C, *S) float32 and ``labels`` (n,) are the whole training set as the network sees it; ``order(first,
    count)`` gives the rows of each step's batch. ``smoothing`` is the label smoothing of the cross-entropy.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        rows: Sequence[LayerRow],
        images: Tensor,
        labels: Tensor,
        order: Callable[[int, int], NDArray[Any]],
        batch: int,
        smoothing: float,
        optimiser: torch.optim.Optimizer,
        settings: SGD,
        schedule: Schedule,
        total: int,
    ) -> None:
        self.optimiser, self.settings, self.schedule, self.total = optimiser, settings, schedule, total
        self.order, self.batch, self.smoothing = order, batch, smoothing
        with torch.inference_mode():
            first = next(place for place, row in enumerate(rows) if isinstance(row.layer, Convolution | Linear))
            for row in rows[:first]:  # fixed layers before the first weights are applied to the data once
                images = row.layer.build(*row.input_shapes)(images)
            self.images = images.reshape(len(images), -1).contiguous()
            self.labels = labels
            classes = rows[-1].output_shape[0]
            exact = nn.functional.one_hot(labels, classes).float()
            self.wanted = (exact * (1 - smoothing) + smoothing / classes) / batch
            self._lay_out(rows[first:])
        parameters = dict(module.named_parameters())
        names = [row.name for row in rows if isinstance(row.layer, Convolution | Linear)]
        self.parameters = [(parameters[f"{name}.weight"], parameters[f"{name}.bias"]) for name in names]

    def _lay_out(self, rows: Sequence[LayerRow]) -> None:
        shape, batch = rows[0].input_shapes[0], self.batch
        self.gathered = torch.empty(batch, math.prod(shape))
        x, relu = self.gathered.view(batch, *shape).movedim(0, -1), False
        self.layers: list[_Affine] = []
        for row in rows:
            if isinstance(row.layer, Convolution | Linear):
                inputs = row.input_shapes[0]
                given = x.view(*inputs, batch) if self.layers else x
                layer = _Affine(inputs, row.output_shape[0], _windows(row), batch, given, relu)
                if self.layers:
                    layer.with_input_gradient(x, self.layers[-1].gradient_y)
                self.layers.append(layer)
                x, relu = layer.y, False
            elif isinstance(row.layer, ReLU):
                relu = True
        sizes = [layer.outputs * (layer.inputs + 1) for layer in self.layers]
        self.weights, self.gradient = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
        self.velocity, self.decay = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
        self.parts = [self._split(flat, sizes) for flat in (self.weights, self.gradient, self.velocity, self.decay)]
        for layer, weights, gradient in zip(self.layers, *self.parts[:2], strict=True):
            layer.use(weights, gradient)
        for decay in self.parts[3]:
            decay[:, :-1] = self.settings.weight_decay
        classes = self.layers[-1].outputs
        self.target = torch.empty(batch, classes)

    def _split(self, flat: Tensor, sizes: list[int]) -> list[Tensor]:
        return [part.view(layer.outputs, -1) for layer, part in zip(self.layers, flat.split(sizes), strict=True)]

    def run(self, first: int, count: int) -> Tensor:
        """See :class:`striate.training.step.BlockStep`."""
        with torch.inference_mode():
            self._take()
            rows = torch.from_numpy(self.order(first, count))
            last = self.layers[-1]
            logits = torch.empty(count, *last.y.shape)
            for number in range(count):
                torch.index_select(self.images, 0, rows[number], out=self.gathered)
                torch.index_select(self.wanted, 0, rows[number], out=self.target)
                for layer in self.layers:
                    layer.forward()
                logits[number].copy_(last.y)
                torch.softmax(last.y, 0, out=last.gradient_y)
                # the gradient of the mean loss by the logits: (softmax - wanted) / B
                last.gradient_y.mul_(1 / self.batch).sub_(self.target.t())
                for layer in reversed(self.layers):
                    layer.backward()
                self._update(self.settings.rate * self.schedule.factor(first + number, self.total))
            losses = nn.functional.cross_entropy(
                logits.transpose(1, 2).flatten(0, 1),
                self.labels[rows.flatten()],
                reduction="none",
                label_smoothing=self.smoothing,
            )
        losses = losses.view(count, -1).mean(1).clone()
        self._put_back()
        return losses

    def _update(self, rate: float) -> None:
        gradient, settings = self.gradient, self.settings
        if settings.weight_decay:
            gradient.addcmul_(self.weights, self.decay)
        if settings.momentum:  # torch's first velocity is the gradient itself, which zeros give too
            self.velocity.mul_(settings.momentum).add_(gradient)
            if settings.nesterov:
                gradient.add_(self.velocity, alpha=settings.momentum)
            else:
                gradient = self.velocity
        self.weights.add_(gradient, alpha=-rate)

    def _take(self) -> None:
        """Weights and momentum from the module and the optimiser."""
        for (weight, bias), part, velocity in zip(self.parameters, self.parts[0], self.parts[2], strict=True):
            part[:, :-1].copy_(weight.detach().flatten(1))
            part[:, -1].copy_(bias.detach())
            for parameter, place in ((weight, velocity[:, :-1]), (bias, velocity[:, -1])):
                held = self.optimiser.state.get(parameter, {}).get("momentum_buffer")
                place.zero_() if held is None else place.copy_(held.flatten(1) if held.ndim > 1 else held)

    @torch.no_grad()
    def _put_back(self) -> None:
        """Weights and momentum to the module and the optimiser."""
        for (weight, bias), part, velocity in zip(self.parameters, self.parts[0], self.parts[2], strict=True):
            weight.copy_(part[:, :-1].reshape(weight.shape))
            bias.copy_(part[:, -1])
            if self.settings.momentum:
                for parameter, values in ((weight, velocity[:, :-1]), (bias, velocity[:, -1])):
                    self.optimiser.state[parameter]["momentum_buffer"] = values.reshape(parameter.shape).clone()
