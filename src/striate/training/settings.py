"""TrainingSettings: everything that decides how weights are learned, as data."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from striate.core.spec import Spec
from striate.data.augment import Augment
from striate.training.optim import SGD, Optimiser
from striate.training.schedule import OneCycle, Schedule
from striate.training.track import TrackerName

Precision = Literal["auto", "float32", "float32 channels-last", "winograd channels-last", "bfloat16 channels-last"]
LENGTHS = ("epochs", "steps", "minutes")
"""The settings of which one says how long to train."""
VALIDATIONS = 40
"""How often is validated at most where the settings leave it open: a curve needs no more points."""
StepKind = Literal["auto", "general", "chain", "compiled"]


class TrainingSettings(Spec):
    """How to train. ``epochs``, ``steps`` or ``minutes`` is the length; a step is one batch, an epoch one pass over the
    samples. For ``minutes`` some steps are timed first, and so many are taken as fit, validations included.

    ``rate`` is the learning rate in place of the optimiser's own. ``augment`` changes what the network sees, drawn
    anew for each sample and epoch (None: what suits the data); ``augmented`` False shows samples as they are.
    ``precision`` and ``step`` are how a step is computed; "auto" times what there is and takes the fastest.
    ``average`` is the decay of a moving average of the weights, which is then validated and kept (None: none).
    ``mix_until`` is the share of the training after which mosaic and mixup stop: the last steps see samples as they
    are. ``small_until`` is the share during which the canvas has about half the sides, so that a step costs about a
    quarter (progressive resizing: Tan and Le 2021, arXiv 2104.00298, section 4.2). ``validate_every`` is in steps
    (None: once an epoch, and without ``patience`` at most 40 times in all). ``patience`` stops after so many
    validations without a better headline figure. ``keep`` says which weights are kept: the last step's, or the best
    validation; by default the last ones, and the best ones where patience is given. ``checkpoint_seconds`` is the least
    time between checkpoints, ``checkpoint_every`` in its place a number of steps; one is always written at the end and
    when the run is interrupted. ``threads`` None times one against all.

    ``batch`` "auto" measures what is fastest and fits (:mod:`striate.training.batch_size`). ``accumulate`` is in how
    many parts the network sees the batch of a step: the gradient is that of the whole batch, the memory that of a part,
    and batch norms see parts. ``weights`` is a model file, or a run's folder, whose weights the training begins with as
    far as they fit (:mod:`striate.training.begin`). ``freeze`` names rows that are not trained, and ``depth_decay``
    multiplies the rate of each group of rows again, from the head to the stem (:mod:`striate.training.depth`).
    ``track`` is whom the figures are told to besides (:mod:`striate.training.track`).
    """

    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    batch: Annotated[int, Field(gt=0)] | Literal["auto"] = 64
    optimiser: Optimiser = SGD(rate=0.05, momentum=0.9, weight_decay=5e-4)
    schedule: Schedule = OneCycle()
    clip: float | None = Field(default=None, gt=0)
    rate: float | None = Field(default=None, gt=0)
    augment: Augment | None = None
    augmented: bool = True
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Precision = "auto"
    step: StepKind = "auto"
    validate_every: int | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, gt=0)
    keep: Literal["last", "best"] | None = None
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    checkpoint_every: int | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    average: float | None = Field(default=None, ge=0, lt=1)
    mix_until: float = Field(default=0.85, ge=0, le=1)
    small_until: float = Field(default=0.0, ge=0, le=1)
    accumulate: int = Field(default=1, gt=0)
    weights: str | None = Field(default=None, min_length=1)
    freeze: tuple[str, ...] = ()
    depth_decay: float = Field(default=1.0, gt=0, le=1)
    track: TrackerName | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum(length is not None for length in (getattr(self, name) for name in LENGTHS)) > 1:
            raise ValueError(f"give one of {', '.join(LENGTHS)}")
        return self

    @field_validator("freeze")
    @classmethod
    def _names_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names):
            raise ValueError("a row's name is not empty")
        return names

    @property
    def samples_a_step(self) -> int:
        """``batch`` as a number. Errors: ``ValueError`` where it is still to be measured."""
        if isinstance(self.batch, str):
            raise ValueError("the size of a batch is not decided yet")
        return self.batch

    @property
    def kept(self) -> str:
        """``keep`` with its default resolved."""
        return self.keep or ("best" if self.patience else "last")

    def total_steps(self, samples: int) -> int:
        """Number of steps for a training set of so many samples; at least one."""
        return (
            self.steps if self.steps is not None else max(1, round((self.epochs or 0) * samples / self.samples_a_step))
        )

    def validation_period(self, samples: int) -> int:
        """Steps between two validations."""
        spaced = 1 if self.patience else math.ceil(self.total_steps(samples) / VALIDATIONS)
        # rounded up: an epoch of 103.3 steps would else leave one step, and one more validation, at the end
        return self.validate_every or max(1, math.ceil(samples / self.samples_a_step), spaced)
