"""TrainingSettings: everything that decides how weights are learned, as data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from striate.core.spec import Spec
from striate.data.augment import Augment
from striate.training.optim import SGD, Optimiser
from striate.training.schedule import OneCycle, Schedule

Precision = Literal["auto", "float32", "float32 channels-last", "bfloat16 channels-last"]
LENGTHS = ("epochs", "steps", "minutes")
"""The settings of which one says how long to train."""
VALIDATIONS = 40
"""How often is validated at most where the settings leave it open: a curve needs no more points."""
StepKind = Literal["auto", "general", "chain"]


class TrainingSettings(Spec):
    """How to train. ``epochs``, ``steps`` or ``minutes`` is the length; a step is one batch, an epoch one pass over the
    samples. For ``minutes`` some steps are timed first, and so many are taken as fit, validations included.

    ``rate`` is the learning rate in place of the optimiser's own. ``augment`` changes what the network sees, drawn
    anew for each sample and epoch (None: what suits the data); ``augmented`` False shows samples as they are.
    ``precision`` and ``step`` are how a step is computed; "auto" times what there is and takes the fastest.
    ``average`` is the decay of a moving average of the weights, which is then validated and kept (None: none).
    ``mix_until`` is the share of the training after which mosaic and mixup stop: the last steps see samples as they
    are. ``validate_every`` is in steps (None: once an epoch, and without ``patience`` no
    more than 40 times in all). ``patience`` stops after so many validations without a
    better headline figure. ``keep`` says which weights the model file gets: those of the last step, or of the best
    validation; by default the last ones, and the best ones where patience is given. ``checkpoint_seconds`` is the least
    time between checkpoints, ``checkpoint_every`` in its place a number of steps; one is always written at the end and
    when the run is interrupted. ``threads`` None times one against all.
    """

    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    batch: int = Field(default=64, gt=0)
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

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum(length is not None for length in (getattr(self, name) for name in LENGTHS)) > 1:
            raise ValueError(f"give one of {', '.join(LENGTHS)}")
        return self

    @property
    def kept(self) -> str:
        """``keep`` with its default resolved."""
        return self.keep or ("best" if self.patience else "last")

    def total_steps(self, samples: int) -> int:
        """Number of steps for a training set of so many samples; at least one."""
        return self.steps if self.steps is not None else max(1, round((self.epochs or 0) * samples / self.batch))

    def validation_period(self, samples: int) -> int:
        """Steps between two validations."""
        spaced = 1 if self.patience else self.total_steps(samples) // VALIDATIONS
        return self.validate_every or max(1, round(samples / self.batch), spaced)
