"""The audit on functions whose answers to moved inputs are known."""

import pytest
import torch
from torch import Tensor, nn

from striate.analysis.audit import flip_error, shift_errors, shifted
from striate.core.errors import InputError


def where_largest(inputs: Tensor) -> Tensor:
    """Scores (B, S): the position of the largest value."""
    return inputs.flatten(1)


def peaks(positions: list[int], size: int = 8) -> Tensor:
    inputs = torch.zeros(len(positions), 1, size)
    inputs[torch.arange(len(positions)), 0, torch.tensor(positions, dtype=torch.long)] = 1.0
    return inputs


@pytest.mark.parametrize("shift", [-20, -3, 0, 2, 8, 20])
def test_a_zero_filled_shift_moves_by_that_much(shift: int) -> None:
    inputs = torch.randn(2, 3, 8)
    expected = torch.zeros_like(inputs)
    for place in range(8):
        if 0 <= place - shift < 8:
            expected[..., place] = inputs[..., place - shift]
    assert torch.equal(shifted(inputs, shift), expected)


def test_a_circular_shift_comes_back() -> None:
    inputs = torch.randn(2, 1, 5, 7)
    moved = shifted(inputs, 3, axis=0, fill="circular")
    assert torch.equal(moved, inputs.roll(3, 2))
    assert torch.equal(shifted(moved, -3, axis=0, fill="circular"), inputs)


def test_shift_errors_count_wrong_answers() -> None:
    inputs, labels = peaks([1, 2, 6, 7]), torch.tensor([1, 2, 6, 0])
    assert shift_errors(where_largest, inputs, labels, [0, 1], batch=3) == [(0, 0.25), (1, 0.75)]
    # a shift by one moves the peak of sample 3 out: nothing is left, and the first position is the answer


def test_an_invariant_function_errs_alike_at_every_circular_shift() -> None:
    def total(inputs: Tensor) -> Tensor:
        return torch.stack([inputs.sum((1, 2)), torch.full((len(inputs),), 1.5)], dim=1)

    inputs = peaks([0, 3, 5]) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    errors = shift_errors(total, inputs, torch.tensor([1, 0, 1]), range(-8, 9), fill="circular")
    assert {round(error, 9) for _, error in errors} == {round(1 / 3, 9)}
    assert [shift for shift, _ in errors] == list(range(-8, 9))


def test_a_symmetric_convolution_moves_with_a_mirror_and_a_slanted_one_does_not() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    inputs = torch.randn(4, 1, 6, 9)
    with torch.no_grad():
        conv.weight.copy_(conv.weight + conv.weight.flip(3))
    assert flip_error(conv, inputs, axis=1) == pytest.approx(0, abs=1e-6)
    assert flip_error(conv, inputs, axis=0) > 0.05


def test_the_mirror_error_of_a_vector_measures_invariance() -> None:
    assert flip_error(lambda x: x.mean(2), torch.randn(4, 3, 6), batch=3) == pytest.approx(0, abs=1e-6)
    assert flip_error(lambda x: x[:, :, 0], torch.randn(500, 3, 6)) == pytest.approx(2**0.5, rel=0.1)
    assert flip_error(lambda x: x[:, :, 0] * 0, torch.randn(4, 3, 6)) == 0


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="labels"):
        shift_errors(where_largest, peaks([1, 2]), torch.tensor([1]), [0])
    with pytest.raises(InputError, match="at least one"):
        shift_errors(where_largest, peaks([]), torch.tensor([], dtype=torch.long), [0])
    with pytest.raises(InputError, match="axis 1"):
        shift_errors(where_largest, peaks([1]), torch.tensor([1]), [0], axis=1)
    with pytest.raises(InputError, match=r"\(batch, classes\)"):
        shift_errors(lambda x: x, peaks([1]), torch.tensor([1]), [0])
    with pytest.raises(InputError, match="keep or drop all axes"):
        flip_error(lambda x: x.sum(2), torch.randn(2, 1, 4, 4))
