"""``striate find-lr``: a learning-rate range test of an experiment, read and drawn. Nothing that is trained is kept."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.recipes.check import brief
from striate.recipes.experiment import Experiment
from striate.recipes.plan import Say, Settled, prepare_process, settle, trial_step
from striate.recipes.sources import open_for, open_source
from striate.report.html import demand_page, write
from striate.report.rates import rate_curve
from striate.report.records import Fact, Facts, Report, Section, Text
from striate.training.choice import restored_threads
from striate.training.range_test import EXPLODED, RangeTest, range_test
from striate.training.schedule import Constant
from striate.training.settings import Precision
from striate.training.step import GeneralStep


@dataclass(frozen=True)
class FoundRate:
    """A range test, what it was of, and how."""

    data: str
    settled: Settled
    precision: Precision
    test: RangeTest

    @property
    def suggested(self) -> float | None:
        """The peak rate to begin with: a tenth of that at which the loss is least; None where it never fell. The
        steepest descent may be a network's first fall to the level of chance, at a far lower rate."""
        return self.test.tenth

    def lines(self) -> list[str]:
        """The result in a few lines of text."""
        test, optimiser = self.test, self.settled.training.optimiser
        end = f"the loss exploded at {test.rates[-1]:.2g}" if test.exploded else "to the last rate"
        told = [f"range test: {len(test.rates)} steps of {optimiser.kind} from {test.rates[0]:.2g} up, {end}"]
        if test.steepest is None or test.tenth is None or test.lowest is None:
            return [*told, "no suggestion: the loss did not fall; look at the data, or begin with a smaller --least"]
        return [
            *told,
            f"minimum / 10: {test.tenth:.2g} (the mean loss is least at {test.lowest:.2g}); "
            f"suggested: --rate {test.tenth:.2g}",
            f"steepest descent: {test.steepest:.2g}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the suggestions, every rate and loss, and the settings that matter."""
        training = self.settled.training
        return {
            "suggested": self.suggested,
            **asdict(self.test),
            "optimiser": training.optimiser.to_json(),
            "batch": training.samples_a_step,
            "seed": training.seed,
            "precision": self.precision,
            "network": self.settled.architecture_name,
        }


def find_rate(
    experiment: Experiment,
    *,
    steps: int,
    least: float,
    most: float,
    say: Say = lambda line: None,
    show: Callable[[int, int, str], None] = lambda done, total, seen: None,
) -> FoundRate:
    """Test the rates for an experiment, with its network, optimiser, batch and augmentation. A function of the data and
    the settings: nothing is chosen by timing, the precision is float32 where it is left open.

    Errors: those of a training; ``InputError`` for rates that do not rise, and for a batch to be measured.
    """
    if least >= most:
        raise InputError("--most", f"{most:g} is not above --least, {least:g}", "give a wider range")
    if experiment.training.batch == "auto":
        raise InputError("training.batch", "auto is timed, and the test is to be repeatable", "give a number")
    opened = open_for(experiment.data, say=say)
    brief(opened, experiment.architecture.name, say=say)
    source = open_source(experiment.data, opened=opened, say=say, show=show)
    with restored_threads():
        settled = settle(experiment, source, ("val",), say)
        training = settled.training.replace(schedule=Constant(), average=None, small_until=0.0)
        prepare_process(training)
        precision: Precision = "float32" if training.precision == "auto" else training.precision
        step, _ = trial_step(settled, training, precision)
        assert isinstance(step, GeneralStep)
        return FoundRate(experiment.data.path, settled, precision, range_test(step, steps, least, most, show))


def write_rate_page(found: FoundRate, path: Path) -> None:
    """The test as a page. Errors: ``InputError`` when there is a file that is no page of ours."""
    demand_page(path, "give another --report")
    test, settled = found.test, found.settled
    facts = [Fact("minimum / 10", _short(test.tenth), "suggested"), Fact("steepest descent", _short(test.steepest))]
    marks = {"minimum / 10": test.tenth, "steepest": test.steepest}
    told = (
        "The rate grows by a constant factor from step to step (Smith 2017, arXiv 1506.01186). The dots are losses, "
        "the line is their mean over neighbouring rates. The suggestion is a tenth of the rate at which it is least; "
        "the other usual choice is where it falls fastest for a given factor of the rate. The test ends where a "
        f"running mean is {EXPLODED:g} times its least value, and half of what the loss had fallen by is lost again."
    )
    figure = rate_curve(
        test.rates, test.losses, test.means, {name: rate for name, rate in marks.items() if rate is not None}
    )
    name = Path(found.data).name or found.data
    write(
        Report(
            "Learning-rate range test",
            f"{settled.architecture_name} on {name}",
            (
                Section("Result", (Facts(tuple(facts)), figure, Text(told))),
                Section("Lines", (Text(tuple(found.lines())),)),
            ),
        ),
        path,
    )


def _short(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.2g}"
