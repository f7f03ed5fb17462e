"""Memory that a training frees stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from striate.training.allocation import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(pages(), keep_freed_memory(), pages() and pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is a setting of glibc's")
def test_memory_is_not_taken_from_the_system_anew() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kept, after = done.stdout.split()
    assert kept == "True"
    assert int(after) < int(before) / 20  # before: 64 MiB five times, 16,384 pages of 4 KiB each
