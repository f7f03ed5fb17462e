"""Optimisers and schedules: torch's arithmetic, decay where it belongs, exact state, and pure factors."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from striate.core.errors import InputError
from striate.core.spec import kinds
from striate.training.optim import SGD, AdamW, Optimiser, optimiser_tensors, restore_optimiser, set_rate
from striate.training.schedule import Constant, Cosine, OneCycle, Schedule, Step

SPECS: list[Optimiser] = [
    SGD(rate=0.05, weight_decay=1e-3),
    SGD(rate=0.05, nesterov=True, weight_decay=1e-3),
    SGD(rate=0.05, momentum=0.0),
    AdamW(rate=0.01),
    AdamW(rate=0.01, weight_decay=0.0, betas=(0.8, 0.95), eps=1e-6),
]
NAMES = ["sgd", "nesterov", "plain", "adamw", "adamw_other"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.LayerNorm([4, 4, 4]), nn.Flatten(), nn.Linear(64, 3)
    )


def train(module: nn.Module, optimiser: torch.optim.Optimizer, first: int, count: int) -> None:
    for step in range(first, first + count):
        images = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad(set_to_none=True)
        module(images).square().mean().backward()
        optimiser.step()


def bits(module: nn.Module) -> list[bytes]:
    return [value.detach().contiguous().numpy().tobytes() for value in module.state_dict().values()]


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_it_is_torchs_optimiser(spec: Optimiser) -> None:
    ours, theirs = network(), network()
    decayed = [p for n, p in theirs.named_parameters() if n in ("0.weight", "5.weight")]
    spared = [p for n, p in theirs.named_parameters() if n not in ("0.weight", "5.weight")]
    groups: list[Any] = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    if isinstance(spec, SGD):
        reference: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=spec.rate, momentum=spec.momentum, nesterov=spec.nesterov, foreach=False
        )
    else:
        assert isinstance(spec, AdamW)
        reference = torch.optim.AdamW(groups, lr=spec.rate, betas=spec.betas, eps=spec.eps, foreach=False)
    optimiser = spec.build(ours)
    for step in range(5):  # given gradients: those of a bias before a norm are rounding noise, which Adam magnifies
        for module, chosen in ((ours, optimiser), (theirs, reference)):
            made = torch.Generator().manual_seed(step)
            for parameter in module.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=made)
            chosen.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_only_weights_that_multiply_decay() -> None:
    module = network()
    optimiser = SGD(weight_decay=0.5).build(module)
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    named = {name: decays[id(parameter)] for name, parameter in module.named_parameters()}
    assert {name for name, decay in named.items() if decay} == {"0.weight", "5.weight"}
    assert named["3.weight"] == 0.0  # the norm's scale has three axes
    assert set(named) == {name for name, _ in module.named_parameters()}


def test_frozen_parameters_are_left_out() -> None:
    module = network()
    module[0].requires_grad_(False)  # type: ignore[index]
    assert sum(len(group["params"]) for group in SGD().build(module).param_groups) == 6


def test_nothing_to_train_is_one_line() -> None:
    with pytest.raises(InputError, match="no parameter to train"):
        SGD().build(nn.ReLU())
    with pytest.raises(InputError, match="needs momentum"):
        SGD(momentum=0.0, nesterov=True).build(network())


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_a_restored_optimiser_goes_on_bit_for_bit(spec: Optimiser) -> None:
    straight = network()
    optimiser = spec.build(straight)
    train(straight, optimiser, 0, 3)
    resumed = copy.deepcopy(straight)
    other = spec.build(resumed)
    stored = {name: tensor.clone() for name, tensor in optimiser_tensors(optimiser, straight).items()}
    restore_optimiser(other, resumed, stored)
    train(straight, optimiser, 3, 4)
    train(resumed, other, 3, 4)
    assert bits(straight) == bits(resumed)
    again = optimiser_tensors(other, resumed)
    assert {n: t.numpy().tobytes() for n, t in optimiser_tensors(optimiser, straight).items()} == {
        n: t.numpy().tobytes() for n, t in again.items()
    }


def test_states_are_named_by_parameter() -> None:
    module = network()
    for spec, keys in ((SGD(), {"momentum_buffer"}), (AdamW(), {"step", "exp_avg", "exp_avg_sq"})):
        optimiser = spec.build(module)
        assert optimiser_tensors(optimiser, module) == {}
        train(module, optimiser, 0, 1)
        names = {f"{name}.{key}" for name, _ in module.named_parameters() for key in keys}
        assert set(optimiser_tensors(optimiser, module)) == names


def test_a_restored_state_is_a_copy_in_the_parameters_layout() -> None:
    module = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stored = {"0.weight.momentum_buffer": torch.randn(4, 1, 3, 3)}
    optimiser = SGD().build(module)
    restore_optimiser(optimiser, module, stored)
    found = optimiser_tensors(optimiser, module)["0.weight.momentum_buffer"]
    assert torch.equal(found, stored["0.weight.momentum_buffer"])
    assert found.stride() == module[0].weight.stride()  # type: ignore[index]
    assert found.data_ptr() != stored["0.weight.momentum_buffer"].data_ptr()


@pytest.mark.parametrize(
    ("tensors", "cause"),
    [
        ({"9.weight.momentum_buffer": torch.ones(1)}, "no trained parameter"),
        ({"0.weight.magic": torch.ones(1)}, "no trained parameter"),
        ({"momentum_buffer": torch.ones(1)}, "no trained parameter"),
        ({"0.bias.momentum_buffer": torch.ones(5)}, r"shape \(5,\), not \(4,\)"),
        ({"0.bias.exp_avg": torch.ones(4)}, "is exp_avg, and momentum_buffer was expected"),
    ],
)
def test_a_misfit_state_is_one_line_and_changes_nothing(tensors: dict[str, torch.Tensor], cause: str) -> None:
    module = network()
    optimiser = SGD().build(module)
    train(module, optimiser, 0, 1)
    before = optimiser_tensors(optimiser, module)
    with pytest.raises(InputError, match=cause):
        restore_optimiser(optimiser, module, tensors, "run/step-1")
    assert optimiser_tensors(optimiser, module) == before


def test_adamw_without_its_second_moment_is_refused() -> None:
    module = network()
    with pytest.raises(InputError, match="exp_avg, exp_avg_sq, step was expected"):
        restore_optimiser(AdamW().build(module), module, {"0.bias.exp_avg": torch.ones(4)})


def test_another_modules_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match="another module"):
        optimiser_tensors(SGD().build(network()), network())


def test_the_rate_reaches_every_group() -> None:
    optimiser = AdamW().build(network())
    set_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(rate=0.0),
        lambda: SGD(rate=float("nan")),
        lambda: SGD(momentum=1.0),
        lambda: SGD(weight_decay=-1.0),
        lambda: AdamW(betas=(0.9, 1.0)),
        lambda: AdamW(eps=0.0),
        lambda: Cosine(warmup=-1),
        lambda: Cosine(warmup=1.5),
        lambda: Cosine(warmup=True),
        lambda: Step(),
        lambda: Step(every=0),
        lambda: Step(every=5, milestones=(3,)),
        lambda: OneCycle(peak=2.0),
        lambda: OneCycle(anneal="square"),  # type: ignore[arg-type]
    ],
)
def test_a_senseless_setting_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValidationError):
        make()


SCHEDULES: list[Schedule] = [
    Constant(),
    Constant(warmup=0.1),
    Cosine(),
    Cosine(warmup=7, end_factor=0.1),
    Step(every=10, drop=0.5),
    Step(milestones=(0.5, 80), warmup=3),
    OneCycle(),
    OneCycle(peak=0.2, start_factor=0.1, end_factor=0.0, anneal="linear", warmup=5),
]


def test_every_spec_round_trips_through_json() -> None:
    for spec in [*SPECS, *SCHEDULES]:
        again = type(spec).from_json(spec.to_json())
        assert again == spec
        assert again.to_json() == spec.to_json()
    assert isinstance(Cosine.from_json(Cosine(warmup=1.0).to_json()).warmup, float)
    assert set(kinds(Optimiser)) == {"sgd", "adamw"}
    assert set(kinds(Schedule)) == {"constant", "cosine", "step", "one_cycle"}


def torchs_factors(make: Callable[[torch.optim.Optimizer], Any], total: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():  # torch's SequentialLR warns about its own use of step numbers
        warnings.simplefilter("ignore")
        scheduler = make(optimiser)
        factors = []
        for _ in range(total):
            factors.append(float(optimiser.param_groups[0]["lr"]))
            optimiser.step()
            scheduler.step()
    return factors


def factors(schedule: Schedule, total: int) -> list[float]:
    return [schedule.factor(step, total) for step in range(total)]


LR = torch.optim.lr_scheduler
TORCH_EQUALS: dict[str, tuple[Schedule, int, Callable[[torch.optim.Optimizer], Any]]] = {
    "constant": (Constant(), 20, lambda o: LR.ConstantLR(o, 1.0)),
    "cosine": (Cosine(end_factor=0.05), 50, lambda o: LR.CosineAnnealingLR(o, 50, eta_min=0.05)),
    "every": (Step(every=7, drop=0.3), 50, lambda o: LR.StepLR(o, 7, 0.3)),
    "milestones": (Step(milestones=(10, 0.6), drop=0.2), 50, lambda o: LR.MultiStepLR(o, [10, 30], 0.2)),
    "one cycle": (OneCycle(), 100, lambda o: LR.OneCycleLR(o, 1.0, 100)),
    "one cycle, odd": (OneCycle(peak=0.37), 53, lambda o: LR.OneCycleLR(o, 1.0, 53, pct_start=0.37)),
    "one cycle, linear": (
        OneCycle(anneal="linear", start_factor=0.1, end_factor=1e-3),
        60,
        lambda o: LR.OneCycleLR(o, 1.0, 60, anneal_strategy="linear", div_factor=10, final_div_factor=100),
    ),
    "warm-up": (
        Cosine(warmup=10),
        60,
        lambda o: LR.SequentialLR(o, [LR.LinearLR(o, 0.1, 1.0, 9), LR.CosineAnnealingLR(o, 50)], [10]),
    ),
}


@pytest.mark.parametrize("name", TORCH_EQUALS)
def test_the_factors_are_torchs(name: str) -> None:
    schedule, total, make = TORCH_EQUALS[name]
    assert factors(schedule, total) == pytest.approx(torchs_factors(make, total), rel=1e-9, abs=1e-12)


def test_warm_up_is_a_line_to_the_first_factor() -> None:
    assert factors(Constant(warmup=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(Constant(warmup=0.5), 4) == [0.5, 1.0, 1.0, 1.0]


def test_milestones_count_the_warm_up() -> None:
    assert factors(Step(milestones=(4,), warmup=2, drop=0.5), 6) == [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]


@given(st.sampled_from(SCHEDULES), st.integers(1, 200), st.data())
@settings(max_examples=150)
def test_factors_are_finite_and_at_most_one(schedule: Schedule, total: int, data: st.DataObject) -> None:
    factor = schedule.factor(data.draw(st.integers(0, total - 1)), total)
    assert isinstance(factor, float)
    assert math.isfinite(factor)
    assert 0.0 <= factor <= 1.0 + 1e-12


def test_one_cycle_ends_where_it_says() -> None:
    schedule = OneCycle(start_factor=0.2, end_factor=0.01, peak=0.25)
    assert schedule.factor(0, 40) == pytest.approx(0.2)
    assert schedule.factor(9, 40) == 1.0
    assert schedule.factor(39, 40) == pytest.approx(0.01)


def test_a_step_outside_the_run_is_an_error() -> None:
    for step, total in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(ValueError, match="outside"):
            Constant().factor(step, total)
