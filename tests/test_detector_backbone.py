"""The light backbone: its table, its strides, and that it learns."""

import pytest
import torch

from striate.architectures.backbone import architecture, named_architectures
from striate.architectures.detector import NarrowingBlock

SIZES = ("nano", "small", "medium", "large")


@pytest.mark.parametrize(
    "size, parameters, multiply_adds, receptive_field",
    [
        ("nano", 1_261_168, 286_720_000, 295),
        ("small", 3_019_368, 697_466_880, 327),
        ("medium", 7_847_584, 1_968_046_080, 527),
        ("large", 22_444_656, 5_594_480_640, 687),
    ],
)
def test_the_table_is_right(size: str, parameters: int, multiply_adds: int, receptive_field: int) -> None:
    spec = architecture(f"detector_{size}")
    backbone, shape = spec.backbone(), (3, 256, 320)
    assert backbone.parameters(shape) == parameters
    assert backbone.multiply_adds(shape) == multiply_adds
    assert spec.features(shape)[-1].receptive_field == (receptive_field, receptive_field)


@pytest.mark.parametrize("size", SIZES)
def test_maps_at_strides_8_16_and_32_are_named(size: str) -> None:
    spec = architecture(f"detector_{size}")
    assert [level.stride for level in spec.levels()] == [2, 4, 8, 16, 32]
    assert [level.name for level in spec.levels()][2:] == ["stage2", "stage3", "stage4"]
    assert [shape[1:] for shape in spec.backbone().parts((3, 250, 330)).values()][2:] == [(32, 42), (16, 21), (8, 11)]


def test_all_sizes_are_found_by_name() -> None:
    assert {f"detector_{size}" for size in SIZES} <= named_architectures().keys()


@pytest.mark.parametrize("shape", [(2, 70), (3, 40, 33), (1, 20, 17, 18)])
def test_it_builds_in_every_number_of_axes(shape: tuple[int, ...]) -> None:
    spec = architecture("detector_nano", {"widths": (4, 4, 6, 8, 8)})
    module = spec.backbone().build(shape).eval()
    with torch.no_grad():
        values = module(torch.randn(2, *shape))
    assert {name: tuple(value.shape[1:]) for name, value in values.items()} == spec.backbone().values(shape)


def test_a_block_adds_to_what_it_reads() -> None:
    module = NarrowingBlock(channels=4).build((4, 5, 6)).eval()
    x = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(module(x), x + module.body(x))


def test_a_width_for_every_stage_is_asked_for() -> None:
    with pytest.raises(ValueError, match="the stem has a width too"):
        architecture("detector_nano").replace(widths=(4, 4))
