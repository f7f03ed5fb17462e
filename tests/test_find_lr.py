"""The learning-rate range test: rates grow, it stops when the loss explodes, and the same data give the same curve."""

import json
import math
from pathlib import Path

import pytest
import torch

from command import contents, done, make_table, refused
from striate.report.rates import rate_curve
from striate.training.range_test import SETTLED, range_test


class Bowl:
    """A step whose loss falls from 1 at a rate of 1e-4 to 0 at 1e-2, and explodes from 1 on."""

    rate = 0.0

    def __init__(self, falls: bool = True) -> None:
        self.falls = falls

    def run(self, first: int, count: int) -> torch.Tensor:
        place = math.log10(self.rate)
        if place > 0:
            return torch.tensor([math.nan])
        return torch.tensor([1.0 if not self.falls else min(1.0, max(0.0, (-2.0 - place) / 2.0)) + 0.1])


def test_rates_grow_by_a_constant_factor_and_stop_at_the_explosion() -> None:
    found = range_test(Bowl(), 100, 1e-6, 10.0)  # type: ignore[arg-type]
    ratios = [after / before for before, after in zip(found.rates, found.rates[1:], strict=False)]
    assert max(ratios) == pytest.approx(min(ratios)) == pytest.approx(1e7 ** (1 / 99))
    assert found.exploded and 0.5 < found.rates[-1] <= 1.0
    assert len(found.rates) == len(found.losses) == len(found.means)


def test_the_steepest_descent_and_a_tenth_of_the_minimum_are_where_the_loss_says() -> None:
    found = range_test(Bowl(), 200, 1e-6, 0.9)  # type: ignore[arg-type]
    assert found.steepest is not None and found.tenth is not None and found.lowest is not None
    assert 1e-4 < found.steepest < 1e-2
    assert found.lowest >= 1e-2
    assert found.tenth == pytest.approx(found.lowest / 10)
    assert not found.exploded


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    found = range_test(Bowl(falls=False), 60, 1e-6, 0.9)  # type: ignore[arg-type]
    assert (found.steepest, found.tenth, found.lowest) == (None, None, None)
    assert range_test(Bowl(), SETTLED, 1e-6, 1e-5).steepest is None  # type: ignore[arg-type]


def test_the_curve_is_described_and_needs_a_step() -> None:
    found = rate_curve([0.1, 0.2], [1.0, 0.5], [1.0, 0.7], {"steepest": 0.2})
    assert "steepest at 0.2" in found.alt
    with pytest.raises(ValueError, match="without a step"):
        rate_curve([], [], [], {})


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("rates")
    table = make_table(folder / "waves.csv")
    return ("find-lr", table, "--cache", folder / "cache", "--arch", "mnist1d_conv", "--batch", 8, "--threads", 1)


def test_the_command_suggests_a_rate_and_keeps_nothing(words: tuple[object, ...], tmp_path: Path) -> None:
    folder = Path(str(words[1])).parent
    done(*words, "--steps", 20)  # prepares the data
    before = contents(folder)
    page = tmp_path / "rates.html"
    outcome = done(*words, "--report", page)
    assert "steepest descent: " in outcome.out
    assert "minimum / 10: " in outcome.out and "; suggested: --rate " in outcome.out
    assert contents(folder) == before
    text = page.read_text()
    assert "range test" in text and "mathdefault" not in text  # as labels of a logarithmic axis are by default


def test_the_same_data_and_seed_give_the_same_curve(words: tuple[object, ...]) -> None:
    short = ("--steps", 30, "--json", "--no-augment")
    first, second = (json.loads(done(*words, *short).out) for _ in range(2))
    assert first == second
    assert json.loads(done(*words, *short, "--seed", 5).out)["losses"] != first["losses"]
    assert len(first["rates"]) == len(first["losses"]) <= 30
    assert first["precision"] == "float32"


def test_bad_options_are_refused(words: tuple[object, ...], tmp_path: Path) -> None:
    assert "--most" in refused(*words, "--least", 0.1, "--most", 0.01)
    assert "--least" in refused(*words, "--least", 0)
    assert "no data was named" in refused("find-lr")
    other = tmp_path / "mine.html"
    other.write_text("mine")
    assert "no page of striate" in refused(*words, "--report", other)
    settings = tmp_path / "auto.toml"
    settings.write_text('[training]\nbatch = "auto"\n')
    assert "auto is timed" in refused(*words[:-4], "--settings", settings)
