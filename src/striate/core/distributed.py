"""Several processes that train together, or one: every function is the identity when there is one.

Nothing here starts by itself. Under ``torchrun`` the command line opens :func:`start_from_environment`; everywhere
else no process group exists, and torch is not even imported.

Security: objects travel between the processes as JSON, never as pickles, so that a process can only send data.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from striate.core.errors import InputError

if TYPE_CHECKING:
    import torch

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def start_from_environment() -> Iterator[bool]:
    """Join the process group that ``torchrun`` describes in the environment, and leave it at the end.

    Yields whether there is one. Uses NCCL, one GPU for each local rank, when CUDA is there, and gloo otherwise.
    Errors: ``InputError`` when the variables are incomplete or no numbers, or there are fewer GPUs than local ranks.
    """
    given = [name for name in _VARIABLES if name in os.environ]
    if "RANK" not in given:
        yield False
        return
    lacking = [name for name in _VARIABLES if name not in given]
    if lacking:
        raise InputError("environment", f"RANK is set and {', '.join(lacking)} not", "start it with torchrun")
    own, world, local = _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK", 0)
    if not 0 <= own < world:
        raise InputError("environment", f"RANK {own} is not below WORLD_SIZE {world}", "start it with torchrun")

    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        if local >= torch.cuda.device_count():
            raise InputError(
                "environment",
                f"local rank {local} has no GPU: there are {torch.cuda.device_count()}",
                "start as many processes as there are GPUs",
            )
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if cuda else "gloo", rank=own, world_size=world)
    try:
        yield True
    finally:
        torch.distributed.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return _torch().distributed.get_rank() if _many() else 0


def world_size() -> int:
    """How many processes train together; 1 when there is no group."""
    return _torch().distributed.get_world_size() if _many() else 1


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return rank() == 0


def sum_tensor(tensor: "torch.Tensor") -> "torch.Tensor":
    """The sum over the processes, element by element, as a new tensor of the same shape on the same device."""
    total = tensor.detach().clone()
    if _many():
        total = total.to(_device())
        _torch().distributed.all_reduce(total)
    return total.to(tensor.device)


def broadcast(tensor: "torch.Tensor", source: int = 0) -> "torch.Tensor":
    """The tensor of process ``source``, as a new tensor; every process passes one of the same shape and type."""
    copy = tensor.detach().clone()
    if _many():
        copy = copy.to(_device())
        _torch().distributed.broadcast(copy, src=source)
    return copy.to(tensor.device)


def gather_objects(value: Any) -> list[Any]:
    """The JSON values of all processes in order of rank, in every process; tuples arrive as lists, in one process too.

    Errors: ``TypeError`` for what JSON does not have.
    """
    data = json.dumps(value).encode("utf-8")
    if not _many():
        return [json.loads(data)]
    torch = _torch()
    length = torch.tensor([len(data)], device=_device())
    lengths = [torch.empty_like(length) for _ in range(world_size())]
    torch.distributed.all_gather(lengths, length)
    longest = max(int(n) for n in lengths)
    own = torch.zeros(longest, dtype=torch.uint8)
    own[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    parts = [torch.empty(longest, dtype=torch.uint8, device=_device()) for _ in lengths]
    torch.distributed.all_gather(parts, own.to(_device()))
    return [json.loads(part[: int(n)].cpu().numpy().tobytes()) for part, n in zip(parts, lengths, strict=True)]


def barrier() -> None:
    """Wait until every process is here."""
    if _many():
        # A sum is a barrier for every backend, and unlike NCCL's own it needs no guess of the device.
        _torch().distributed.all_reduce(_torch().zeros(1, device=_device()))
        if _device() == "cuda":
            _torch().cuda.synchronize()


def _many() -> bool:
    """Whether a process group runs; a process that never imported torch has none."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return distributed is not None and bool(distributed.is_available() and distributed.is_initialized())


def _torch() -> Any:
    return sys.modules["torch"]


def _device() -> str:
    return "cuda" if _torch().distributed.get_backend() == "nccl" else "cpu"


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    try:
        return int(text)
    except ValueError:
        raise InputError("environment", f"{name} is {text!r}, not a number", "start it with torchrun") from None
