"""Rank functions: the identity in one process, agreement in two."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from striate.core import distributed
from striate.core.errors import InputError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_the_identity() -> None:
    tensor = torch.arange(3.0)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    for function in (distributed.sum_tensor, distributed.broadcast):
        found = function(tensor)
        assert torch.equal(found, tensor)
        assert found.data_ptr() != tensor.data_ptr()
    assert distributed.gather_objects({"a": (1, 2.5, None)}) == [{"a": [1, 2.5, None]}]
    distributed.barrier()


def test_objects_that_are_no_json_are_refused_in_one_process_too() -> None:
    with pytest.raises(TypeError):
        distributed.gather_objects({1, 2})


def test_nothing_starts_without_torchrun() -> None:
    with distributed.start_from_environment() as many:
        assert not many
        assert not torch.distributed.is_initialized()


def test_the_rank_is_known_without_torch() -> None:
    code = (
        "import sys; from striate.core import distributed as d; assert d.is_main(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "src"}, timeout=60)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"WORLD_SIZE": None}, "RANK is set and WORLD_SIZE not"),
        ({"RANK": "x"}, "RANK is 'x', not a number"),
        ({"RANK": "2"}, "RANK 2 is not below WORLD_SIZE 2"),
    ],
)
def test_a_bad_environment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], cause: str
) -> None:
    good = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**good, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=cause), distributed.start_from_environment():
        pass


SCRIPT = """
import torch
from striate.core import distributed as d
with d.start_from_environment() as many:
    assert many and d.world_size() == 2
    own = d.rank()
    tensor = torch.tensor([1.0 + own, 10.0])
    assert d.sum_tensor(tensor).tolist() == [3.0, 20.0]
    assert tensor.tolist() == [1.0 + own, 10.0]
    assert d.broadcast(torch.tensor([own]), 1).tolist() == [1]
    assert d.gather_objects({"rank": own, "long": "x" * 1000 * own}) == [
        {"rank": 0, "long": ""}, {"rank": 1, "long": "x" * 1000}
    ]
    assert d.is_main() == (own == 0)
    d.barrier()
assert d.world_size() == 1
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_processes_agree(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py")],
            env={**os.environ, **shared, "PYTHONPATH": "src", "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(150) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
