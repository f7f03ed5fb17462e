"""Frozen rows stay as they are, norms and all; and rates fall from the head to the stem."""

from pathlib import Path

import pytest
import torch

from command import SHORT, done, make_table, refused
from cut_short import cut_short
from striate.architectures.backbone import architecture
from striate.core.errors import InputError
from striate.core.modelfile import load, weights_sha256
from striate.core.sample import Batch
from striate.recipes.experiment import Experiment
from striate.recipes.run import resume_run, train_experiment
from striate.tasks.classification import Classification
from striate.training.depth import build_optimiser, freeze, groups, rate_factors
from striate.training.optim import SGD, AdamW, set_rate
from striate.training.schedule import Constant
from striate.training.settings import TrainingSettings
from striate.training.step import GeneralStep

SHAPE = (3, 32, 32)


def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return architecture("resnet18", {"widths": [4, 4, 4, 4], "stem": "small"}).network(3).build(SHAPE)


def batch_at(step: int) -> Batch:
    made = torch.Generator().manual_seed(step)
    return Batch(torch.randn(4, *SHAPE, generator=made), {"label": torch.tensor([0, 1, 2, 0])}, torch.arange(4))


def trained(module: torch.nn.Module, settings: TrainingSettings, steps: int = 2) -> torch.nn.Module:
    GeneralStep(
        module=module,
        task=Classification(),
        batch_at=batch_at,
        optimiser=build_optimiser(settings, module),
        rate=settings.optimiser.rate,
        schedule=Constant(),
        total=10,
        seed=0,
        freeze=settings.freeze,
    ).run(0, steps)
    return module


def test_frozen_rows_keep_weights_and_statistics_and_the_others_learn() -> None:
    before = {name: tensor.clone() for name, tensor in resnet().state_dict().items()}
    after = trained(resnet(), TrainingSettings(freeze=("conv1", "bn1", "backbone.layer1"))).state_dict()
    still = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
    frozen = {name for name in before if name.startswith(("backbone.conv1.", "backbone.bn1.", "backbone.layer1."))}
    assert any("running_mean" in name for name in frozen)
    assert still == frozen


def test_a_part_of_a_row_can_be_frozen() -> None:
    module = resnet()
    freeze(module, ["layer2.0"])
    held = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert held and all(name.startswith("backbone.layer2.0.") for name in held)


def test_groups_are_the_rows_in_order_with_norms_beside_what_they_follow() -> None:
    assert groups(resnet()) == [
        ["backbone.conv1", "backbone.bn1"],
        *([f"backbone.layer{number}"] for number in range(1, 5)),
        ["head"],
    ]
    dense = architecture("unet_small").dense(2).build((1, 32, 32))
    assert [names[0] for names in groups(dense)] == [*(f"backbone.level{n}" for n in range(1, 6)), "decoder", "head"]
    assert groups(torch.nn.Linear(2, 2)) == [[""]]


@pytest.mark.parametrize("optimiser", [SGD(rate=0.4, weight_decay=0.1), SGD(rate=0.4), AdamW(rate=0.4)])
def test_each_group_has_the_rate_of_the_next_times_the_factor(optimiser: SGD | AdamW) -> None:
    module = resnet()
    built = build_optimiser(TrainingSettings(optimiser=optimiser, depth_decay=0.5), module)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for rate in (0.4, 0.2):  # as it was built, and as a schedule sets it
        set_rate(built, rate)
        rates = {names[id(one)]: group["lr"] for group in built.param_groups for one in group["params"]}
        assert rates["head.fc.weight"] == pytest.approx(rate)
        assert rates["backbone.layer4.0.conv1.weight"] == rates["backbone.layer4.0.bn1.bias"] == pytest.approx(rate / 2)
        assert rates["backbone.conv1.weight"] == rates["backbone.bn1.weight"] == pytest.approx(rate / 2**5)
        assert len(rates) == len(names), "every parameter is in one group"


def test_the_step_of_a_parameter_is_in_proportion_to_its_factor() -> None:
    settings = TrainingSettings(optimiser=SGD(rate=0.1, momentum=0.0))
    before, plain = resnet().state_dict(), trained(resnet(), settings, 1).state_dict()
    slower = trained(resnet(), settings.replace(depth_decay=0.25), 1).state_dict()
    for name, factor in (("head.fc.weight", 1.0), ("backbone.layer4.0.conv1.weight", 0.25)):
        torch.testing.assert_close(
            slower[name] - before[name], factor * (plain[name] - before[name]), rtol=1e-4, atol=1e-7
        )


def test_without_a_decay_nothing_is_grouped() -> None:
    assert rate_factors(resnet(), 1.0) == {}
    assert len(build_optimiser(TrainingSettings(), resnet()).param_groups) == 2


def test_a_row_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"named 'layr1'; did you mean layer1\? known: conv1, bn1, layer1, .*, head"):
        freeze(resnet(), ["layr1"])
    with pytest.raises(InputError, match="nothing is left to train"):
        freeze(resnet(), ["backbone", "head"])
    with pytest.raises(ValueError, match="not empty"):
        TrainingSettings(freeze=("",))


def test_a_run_with_frozen_rows_and_rates_by_depth_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.recipes.run.write_report", lambda *parts: None)
    make_table(tmp_path / "waves.csv")
    given = {
        "data": {"path": str(tmp_path / "waves.csv"), "cache": str(tmp_path / "cache")},
        "training": {"steps": 6, "batch": 8, "precision": "float32", "checkpoint_every": 2},
    }
    given["training"] |= {"depth_decay": 0.5, "freeze": ["stage1"]}
    experiment = Experiment.from_settings(given)
    straight = train_experiment(experiment, tmp_path / "straight")
    cut_short(experiment, tmp_path / "resumed", 2)
    resume_run(tmp_path / "resumed")
    one, other = (load(tmp_path / name / "model.safetensors").weights for name in ("straight", "resumed"))
    assert weights_sha256(one) == weights_sha256(other)
    assert straight.plan.step == "general"
    kept = [tensor for name, tensor in one.items() if "stage1." in name and name.endswith("running_mean")]
    assert kept and not any(tensor.any() for tensor in kept), "statistics of frozen norms stay at their start"


def test_the_command_freezes_rows_and_refuses_unknown_ones(tmp_path: Path) -> None:
    table = make_table(tmp_path / "waves.csv")
    words = ("train", table, "--cache", tmp_path / "cache", "--arch", "mnist1d_conv", *SHORT)
    done(*words, "--out", tmp_path / "a", "--freeze", "conv1", "--freeze", "conv2", "--depth-decay", 0.8)
    done(*words, "--out", tmp_path / "b", "--freeze", "conv1", "--rate", 0.001)
    one, other = (load(tmp_path / name / "model.safetensors").weights for name in "ab")
    assert torch.equal(one["backbone.conv1.weight"], other["backbone.conv1.weight"])
    assert not torch.equal(one["backbone.conv3.weight"], other["backbone.conv3.weight"])
    line = refused(*words, "--out", tmp_path / "c", "--freeze", "stem")
    assert "no row with weights is named 'stem'" in line and "conv1, conv2, conv3, head" in line
    assert "--depth-decay" in refused(*words, "--out", tmp_path / "c", "--depth-decay", 1.5)
    assert not (tmp_path / "c").exists()
