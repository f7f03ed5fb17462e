"""data/appearance: colour, blur and noise against their formulas."""

import numpy as np
import pytest
import torch

from made_shards import ragged, shards_of
from striate.core.errors import InputError
from striate.core.sample import Label, Sample
from striate.data.appearance import (
    IMAGENET_COLOURS,
    LUMINANCE,
    blur,
    change,
    colour_covariance,
    hue_maps,
    principal_colours,
)
from striate.data.augment import Augment
from striate.data.draws import Looks

ALL = Augment(brightness=0.3, contrast=0.4, saturation=0.5, hue=30, pca=0.2, blur=(0.2, 1.5), noise=0.05)


def pictures(count=6, size=(9, 11), channels=3, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(20, 200, (count, channels, *size), generator=generator).to(dtype)


def floats(*values):
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize("size", [(30,), (9, 11), (4, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_types_and_shapes_stay_for_any_number_of_axes(size, dtype):
    images = pictures(5, size, dtype=dtype)
    out = change(images, ALL.looks(0, 0, np.arange(5)))
    assert out.dtype == dtype
    assert out.shape == images.shape
    assert not torch.equal(out, images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [(9, 11), (64, 70)])
def test_a_sample_looks_alike_in_any_batch(dtype, size):
    images, indices = pictures(7, size, dtype=dtype) + (0.37 if dtype == torch.float32 else 0), np.arange(7) * 5
    together = change(images, ALL.looks(2, 1, indices))
    looks = ALL.looks(2, 1, indices)
    for place in range(7):
        alone = change(images[place : place + 1], ALL.looks(2, 1, indices[place : place + 1]))
        assert torch.equal(together[place : place + 1], alone)
        assert torch.equal(alone, change(images[place : place + 1], looks.of(place)))


def test_the_input_is_not_written_to():
    for dtype in (torch.uint8, torch.float32):
        images = pictures(dtype=dtype)
        before = images.clone()
        change(images, ALL.looks(0, 0, np.arange(6)))
        assert torch.equal(images, before)


def test_brightness_and_gain_multiply():
    images = pictures(2, dtype=torch.float32)
    out = change(images, Looks(factor=floats(0.5, 1.25)))
    assert torch.equal(out, images * torch.tensor([0.5, 1.25])[:, None, None, None])
    logs = np.log(Augment(gain=0.2).looks(0, 0, np.arange(20_000)).factor)
    assert abs(logs.std() - 0.2) < 0.005
    assert abs(logs.mean()) < 0.005


def test_factors_are_drawn_evenly_about_one():
    drawn = Augment(brightness=0.3).looks(0, 0, np.arange(5000)).factor
    assert 0.7 <= drawn.min() < 0.702
    assert 1.298 < drawn.max() <= 1.3


def test_contrast_keeps_the_mean_grey_and_scales_what_is_about_it():
    images = pictures(3, dtype=torch.float32)
    out = change(images, Looks(contrast=floats(0.0, 0.5, 2.0)))
    weights = torch.from_numpy(LUMINANCE).float()[:, None, None]
    grey = (images * weights).sum(dim=1).mean(dim=(1, 2))
    for place, factor in enumerate((0.0, 0.5, 2.0)):
        assert torch.allclose(out[place], grey[place] + factor * (images[place] - grey[place]), atol=1e-3)
    assert torch.allclose((out * weights).sum(dim=1).mean(dim=(1, 2)), grey, atol=1e-3)


def test_no_saturation_is_grey():
    images = pictures(1, dtype=torch.float32)
    out = change(images, Looks(saturation=floats(0.0)))
    grey = (images[0] * torch.from_numpy(LUMINANCE).float()[:, None, None]).sum(dim=0)
    assert torch.allclose(out[0], grey.expand(3, -1, -1), atol=1e-3)


def test_the_hue_of_grey_is_what_it_was():
    grey = torch.arange(0, 256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, -1, -1)
    assert torch.equal(change(grey, Looks(hue=np.radians(floats(30, -120)))), grey)
    assert np.allclose(hue_maps(np.radians(floats(77)))[0].sum(axis=1), 1, atol=1e-12)


def test_turning_the_hue_keeps_luminance_and_turns_back():
    maps = hue_maps(np.radians(floats(40, -40, 360)))
    assert np.allclose(LUMINANCE @ maps[0], LUMINANCE)
    assert np.allclose(maps[0] @ maps[1], np.eye(3))
    assert np.allclose(maps[2], np.eye(3))
    turned = maps[0] @ np.array([1.0, 0, 0])
    assert np.abs(turned - [1, 0, 0]).max() > 0.1


def test_pca_adds_the_published_sum():
    """Krizhevsky et al. 2012, section 4.1: [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T, on values from 0 to 1."""
    looks = Augment(pca=0.1).looks(5, 3, np.array([8]))
    from striate.core.random import normal

    a = 0.1 * normal(5, "augment.pca", np.array([8]), 3, 3)[0]
    table = np.array(IMAGENET_COLOURS)
    expected = table[:, 1:].T @ (a * table[:, 0])
    assert np.allclose(looks.colour[0], expected)
    images = pictures(1, dtype=torch.uint8)
    out = change(images, looks).int() - images.int()
    assert np.abs(out.float().mean(dim=(0, 2, 3)).numpy() - 255 * expected).max() <= 0.5


def test_imagenets_colours_are_orthonormal():
    vectors = np.array(IMAGENET_COLOURS)[:, 1:]
    assert np.allclose(vectors @ vectors.T, np.eye(3), atol=2e-3)


def test_colours_of_the_data_are_those_of_all_its_pixels(tmp_path):
    samples = [Sample(pictures(1, (5 + i, 7), dtype=torch.uint8)[0] + i, {"label": Label(0)}, str(i)) for i in range(6)]
    shards = shards_of(tmp_path, samples)
    found = colour_covariance(shards, np.arange(6))
    pixels = np.concatenate([one.image.numpy().reshape(3, -1) for one in samples], axis=1) / 255
    assert np.allclose(found, np.cov(pixels, bias=True))
    rows = np.array(principal_colours(found))
    assert np.allclose(rows[:, 1:].T @ np.diag(rows[:, 0]) @ rows[:, 1:], found)
    assert (np.diff(rows[:, 0]) <= 0).all()
    assert Augment(pca=0.1, pca_basis=principal_colours(found)).pca_basis is not None
    with pytest.raises(InputError, match="covariance of colours"):
        colour_covariance(shards_of(tmp_path / "grey", [ragged(0, "label")]), np.arange(1))


def test_noise_has_the_deviation_asked_for():
    images = torch.full((2, 1, 200, 300), 128, dtype=torch.uint8)
    out = change(images, Augment(noise=0.05).looks(0, 0, np.arange(2))).float()
    assert torch.allclose(out.std(dim=(1, 2, 3)), torch.tensor(0.05 * 255), rtol=0.02)
    assert torch.allclose(out.mean(dim=(1, 2, 3)), torch.tensor(128.0), atol=0.3)
    assert not torch.equal(out[0], out[1])


def test_the_noise_of_signals_is_a_share_of_their_own_range():
    signals = torch.linspace(-3, 5, 20_000).expand(1, 1, -1)
    out = change(signals, Augment(noise=0.1).looks(0, 0, np.arange(1)))
    assert abs(float((out - signals).std()) - 0.8) < 0.02
    wide = change(signals, Augment(noise=0.1).looks(0, 0, np.arange(1)), stored="uint16")
    assert abs(float((wide - signals).std()) - 6553.5) < 150


@pytest.mark.parametrize("size", [(40,), (12, 15), (5, 6, 7)])
@pytest.mark.parametrize("sigma", [0.4, 1.3])
def test_blur_is_a_gaussian_sum_over_pixels_with_the_edge_repeated(size, sigma):
    values = pictures(1, size, 2, torch.float32)[0]
    reach = int(np.ceil(3 * sigma))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    line /= line.sum()
    expected = values.numpy().astype(np.float64)
    for axis in range(1, expected.ndim):
        widths = [(reach, reach) if one == axis else (0, 0) for one in range(expected.ndim)]
        padded = np.pad(expected, widths, mode="edge")
        expected = np.apply_along_axis(lambda row: np.convolve(row, line, "valid"), axis, padded)
    assert np.allclose(blur(values, sigma).numpy(), expected, atol=1e-3)


def test_no_blur_changes_nothing():
    values = pictures(1, dtype=torch.float32)[0]
    assert torch.equal(blur(values, 0.0), values)


@pytest.mark.parametrize(
    ("spec", "name"), [(Augment(hue=5), "hue"), (Augment(saturation=0.1), "saturation"), (Augment(pca=0.1), "pca")]
)
def test_colour_of_what_has_none_is_refused(spec, name):
    with pytest.raises(InputError, match=rf"augment\.{name}: 1 channels came, it takes 3"):
        spec.apply(pictures(1, channels=1), 0, 0, np.arange(1))


def test_integers_are_rounded_once_and_clamped():
    images = torch.tensor([0, 100, 255], dtype=torch.uint8).reshape(1, 1, 3)
    assert change(images, Looks(factor=floats(1.006))).flatten().tolist() == [0, 101, 255]
    assert change(images, Looks(factor=floats(3.0))).flatten().tolist() == [0, 255, 255]
