"""What every test file shares: one thread, repeatable hypothesis, the data beside the project, a browser."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

torch.set_num_threads(1)

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared data goes into a folder of the test session: never into, and never out of, the user's cache."""
    os.environ["STRIATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Gives the path of a real data set by its folder name, or skips the test with the reason.

    The sets are no part of the repository: they lie in ``../shared/data``, or where ``STRIATE_TEST_DATA`` says.
    """
    home = Path(os.environ.get("STRIATE_TEST_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = home / name
        if not path.exists():
            pytest.skip(f"the data set {name} is not in {home} (set STRIATE_TEST_DATA to the folder that has it)")
        return path

    return find


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a headless-capable Chromium, or a skip."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed (apt-get install chromium, or set CHROMIUM to one)")
    return found
