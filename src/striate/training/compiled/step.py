"""CompiledStep: blocks of steps of a small chain network in one call of a function built for it."""

import ctypes
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.training.compiled.compiler import Compiler, compiler, library
from striate.training.compiled.layout import Layout, layout
from striate.training.compiled.memory import room
from striate.training.compiled.network import Affine, Lowered
from striate.training.compiled.source import source
from striate.training.optim import SGD, AdamW
from striate.training.schedule import Schedule

RETRIED = 4
"""After so many blocks one thread and several are tried again, in a block that is long enough,"""
TRIAL, FEWEST = 24, 4
"""for a third of its steps each, at most and at least so many."""
WORTH_SHARING = 1.1
"""How many times as fast several threads must be: what they wait for each other, other programs could have used."""


class CompiledStep:
    """Runs blocks of steps in C: samples gathered by their numbers, forward, loss, backward and update, all in float32
    in a fixed order of sums, without the interpreter's lock. Nothing is kept between blocks but buffers: weights and
    the optimiser's state are taken from the module and the optimiser, and put back.

    ``images`` (n, C, *S) float32 and ``labels`` (n,) are the whole training set as the network sees it; ``order(first,
    count)`` gives the rows of each step's batch. ``smoothing`` is the label smoothing of the cross-entropy. Up to
    ``threads`` threads share a batch, and change no bit. Errors: ``InputError`` without a compiler that works.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        network: Lowered,
        images: Tensor,
        labels: Tensor,
        order: Callable[[int, int], NDArray[Any]],
        batch: int,
        smoothing: float,
        optimiser: torch.optim.Optimizer,
        settings: SGD | AdamW,
        schedule: Schedule,
        total: int,
        threads: int = 1,
    ) -> None:
        self.network, self.optimiser, self.settings = network, optimiser, settings
        self.schedule, self.total, self.order, self.smoothing = schedule, total, order, smoothing
        chosen = compiler()
        self.layout = layout(network, batch, chosen.target)
        parts = len(self.layout.parts)
        self.threads = max(1, min(threads, parts if parts > 1 else self.layout.vectors))
        self.speeds: dict[int, float] = {}
        self.blocks = RETRIED
        self.function = _function(network, self.layout, chosen)
        self.images = _samples(network, images)
        self.labels = labels.to(torch.int32).numpy()
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < network.classes:
            raise ValueError(f"labels outside 0 to {network.classes - 1}")
        size = network.weights + network.biases
        arenas = self.threads if parts > 1 else 1
        sizes = (size, max(parts, self.threads) * size, size, size, arenas * self.layout.arena)
        self.weights, self.gradients, self.one, self.two, self.arena = room(sizes)
        self.totals, self.barrier = np.zeros(parts * self.layout.vectors), np.zeros(32, np.int32)
        self.parameters = _parameters(module, network)

    def run(self, first: int, count: int) -> Tensor:
        """See :class:`striate.training.step.BlockStep`."""
        rows = np.ascontiguousarray(self.order(first, count), np.int64)
        if rows.shape != (count, self.layout.batch) or (count and not 0 <= rows.min() <= rows.max() < len(self.images)):
            raise ValueError(f"rows of shape {rows.shape}, or outside the {len(self.images)} samples")
        done = self._take()
        rates, constants = self._rates(first, count, done)
        losses = np.zeros(count, np.float32)
        first_row = 0
        for threads, steps in self._pieces(count):
            piece = slice(first_row, first_row + steps)
            began = time.perf_counter()
            self._call(threads, rows[piece], rates[piece], constants, losses[piece])
            self.speeds[threads] = steps / (time.perf_counter() - began)
            first_row += steps
        self._put_back(done + count)
        return torch.from_numpy(losses)

    def _call(
        self,
        threads: int,
        rows: NDArray[np.int64],
        rates: NDArray[np.float32],
        constants: NDArray[np.float32],
        losses: NDArray[np.float32],
    ) -> None:
        """Take the steps of these rows, (count, batch), with so many threads, and write their losses, (count,)."""
        given: tuple[NDArray[Any], ...] = (self.images, self.labels, rows)
        how = (len(rows), _pointer(rates), _pointer(constants), int(isinstance(self.settings, AdamW)), self.smoothing)
        state = (self.weights, self.gradients, self.one, self.two, self.arena)
        held: tuple[NDArray[Any], ...] = (*state, self.totals, losses, self.barrier)
        arguments = (*map(_pointer, given), *how, *map(_pointer, held))
        if threads == 1:
            self.function(*arguments, 0, 1)
            return
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(self.function, *arguments, thread, threads) for thread in range(1, threads)]
            self.function(*arguments, 0, threads)
            for other in others:
                other.result()

    def _pieces(self, count: int) -> Iterator[tuple[int, int]]:
        """Numbers of threads and steps that make up a block: all threads, or one where they have lately gained little.

        Threads wait for each other twice a step, and for long where other programs want the same cores, so both ways
        are tried again for a few steps now and then.
        """
        self.blocks += 1
        tried = min(TRIAL, count // 3)
        if self.threads > 1 and self.blocks >= RETRIED and tried >= FEWEST:
            self.blocks = 0
            for threads in (1, self.threads):
                yield threads, tried
            count -= 2 * tried
        if count:
            yield self._preferred, count

    @property
    def _preferred(self) -> int:
        shared = self.speeds.get(self.threads, 0.0)  # until it is measured, other programs' cores are left to them
        return self.threads if shared > WORTH_SHARING * self.speeds.get(1, 0.0) else 1

    def _rates(self, first: int, count: int, done: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What each step (3,) and all steps (3,) multiply with, see ``step.c``."""
        settings = self.settings
        rates = [settings.rate * self.schedule.factor(first + k, self.total) for k in range(count)]
        if isinstance(settings, SGD):
            per_step = [(rate, 0.0, 0.0) for rate in rates]
            constants = (settings.weight_decay, settings.momentum, float(settings.nesterov))
        else:
            one, two = settings.betas
            per_step = [
                (1 - rate * settings.weight_decay, rate / (1 - one**t), 1 / (1 - two**t) ** 0.5)
                for t, rate in enumerate(rates, done + 1)
            ]
            constants = (one, two, settings.eps)
        return np.array(per_step, np.float32).reshape(count, 3), np.array(constants, np.float32)

    @property
    def _states(self) -> tuple[tuple[str, NDArray[np.float32]], ...]:
        if isinstance(self.settings, AdamW):
            return ("exp_avg", self.one), ("exp_avg_sq", self.two)
        return (("momentum_buffer", self.one),) if self.settings.momentum else ()

    def _take(self) -> int:
        """Weights and state from the module and the optimiser; returns the steps that AdamW has counted."""
        counts = set()
        for parameter, begin, places in self.parameters:
            _put(self.weights, begin, places, parameter.detach())
            state = self.optimiser.state.get(parameter, {})
            for name, flat in self._states:
                held = state.get(name)
                _put(flat, begin, places, torch.zeros_like(parameter) if held is None else held)
            counts.add(int(state.get("step", 0)))
        if len(counts) != 1:
            raise ValueError(f"the optimiser has counted {sorted(counts)} steps for different weights")
        return counts.pop()

    @torch.no_grad()
    def _put_back(self, done: int) -> None:
        """Weights and state to the module and the optimiser."""
        for parameter, begin, places in self.parameters:
            parameter.copy_(_taken(self.weights, begin, places, parameter))
            state = self.optimiser.state[parameter]
            for name, flat in self._states:
                state[name] = _taken(flat, begin, places, parameter)
            if isinstance(self.settings, AdamW):
                state["step"] = torch.tensor(float(done))


def _function(network: Lowered, plan: Layout, chosen: Compiler) -> Callable[..., None]:
    function = library(source(network, plan), chosen).striate_run
    p, i, f = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    function.argtypes = (p, p, p, i, p, p, i, f, p, p, p, p, p, p, p, p, i, i)
    function.restype = None
    return function


def _samples(network: Lowered, images: Tensor) -> NDArray[np.float32]:
    """The samples (n, rows) in the order of the first tensor's rows, after the layers without weights."""
    with torch.inference_mode():
        for row in network.fixed:
            images = row.layer.build(*row.input_shapes)(images)
        first = network.tensors[0]
        return images.reshape(len(images), first.channels, -1).transpose(1, 2).flatten(1).contiguous().numpy()


def _parameters(module: nn.Module, network: Lowered) -> list[tuple[nn.Parameter, int, NDArray[np.int64]]]:
    """Each parameter, where it begins in the flat weights, and at which of its elements each of those stands."""
    named, found = dict(module.named_parameters()), []
    for layer in network.affine:
        weight = named.pop(f"{layer.name}.weight")
        found.append((weight, layer.weights, _places(layer, weight)))
        if layer.bias is not None:
            found.append((named.pop(f"{layer.name}.bias"), layer.bias, np.arange(layer.outputs)))
    if named:
        raise ValueError(f"parameters that the chain does not know: {sorted(named)}")
    return found


def _places(layer: Affine, weight: Tensor) -> NDArray[np.int64]:
    """For the flat weights (K, O) of a layer, the place of each in the module's (O, C, *kernel) or (O, K)."""
    numbers = np.arange(weight.numel()).reshape(weight.shape)
    if layer.columns is not None:
        return numbers.T[list(layer.columns)].reshape(-1)
    return np.moveaxis(numbers, (0, 1), (-1, -2)).reshape(-1)


def _put(flat: NDArray[np.float32], begin: int, places: NDArray[np.int64], values: Tensor) -> None:
    flat[begin : begin + len(places)] = values.reshape(-1).numpy()[places]


def _taken(flat: NDArray[np.float32], begin: int, places: NDArray[np.int64], like: Tensor) -> Tensor:
    values = np.empty(len(places), np.float32)
    values[places] = flat[begin : begin + len(places)]
    return torch.from_numpy(values).view(like.shape)


def _pointer(array: NDArray[Any]) -> int:
    return array.ctypes.data
