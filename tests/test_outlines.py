"""Polygons and run lengths become the pixels they mean: against a naive oracle, and against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from striate.data.formats.outlines import area, decode_rle, encode_rle, fill, rle_area


def naive(polygon: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """One pixel after the other: how many edges cross the ray from its centre to the left."""
    inside = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x, odd = row + 0.5, column + 0.5, False
            for (y0, x0), (y1, x1) in zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                    odd = not odd
            inside[row, column] = odd
    return inside


def star(rng: np.random.Generator, across: float, size: int) -> NDArray[np.float64]:
    """A concave polygon without crossings, ``across`` pixels wide, somewhere inside a square image."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(8, 30)))
    radius = across / 2 * rng.uniform(0.5, 1, len(angles))
    middle = rng.uniform(across / 2, size - across / 2, 2)
    return middle + radius[:, None] * np.stack((np.sin(angles), np.cos(angles)), axis=1)


corners = st.lists(st.tuples(*[st.floats(-6, 16, allow_nan=False)] * 2), min_size=3, max_size=9)
grid = st.lists(st.tuples(*[st.integers(-8, 40).map(lambda n: n / 4)] * 2), min_size=3, max_size=9)


@settings(max_examples=150)
@given(st.one_of(corners, grid), st.integers(1, 9), st.integers(1, 9))
def test_a_polygon_has_the_pixels_whose_centres_are_inside(
    points: list[tuple[float, float]], height: int, width: int
) -> None:
    polygon = np.array(points)
    assert np.array_equal(fill([polygon], (height, width)), naive(polygon, (height, width)))


def test_several_polygons_of_an_object_are_joined_where_they_overlap() -> None:
    first, second = np.array([[0, 0], [0, 4], [4, 4], [4, 0]]), np.array([[2, 2], [2, 6], [6, 6], [6, 2]])
    mask = fill([first, second], (8, 8))
    assert mask.sum() == 16 + 16 - 4
    assert mask[3, 3]


def test_polygons_with_a_common_edge_share_no_pixel_and_leave_none_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cut = rng.integers(0, 17, 2) / 2
        left = np.array([[0, 0], [0, cut[0]], [8, cut[1]], [8, 0]], dtype=float)
        right = np.array([[0, cut[0]], [0, 8], [8, 8], [8, cut[1]]], dtype=float)
        assert (fill([left], (8, 8)).astype(int) + fill([right], (8, 8)) == 1).all()


def test_a_polygon_of_very_many_corners_is_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    polygon = star(np.random.default_rng(1), 60, 64)
    whole = fill([polygon], (64, 64))
    monkeypatch.setattr("striate.data.formats.outlines._CROSSINGS_AT_ONCE", 7)
    assert np.array_equal(fill([polygon], (64, 64)), whole)


def test_a_polygon_outside_or_without_area_has_no_pixel() -> None:
    assert not fill([np.array([[-9, -9], [-9, -5], [-5, -5]]), np.array([[1, 1], [1, 9]])], (8, 8)).any()
    assert not fill([np.full((5, 2), 3.5)], (8, 8)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_coordinates_that_cannot_be_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite or beyond"):
        fill([np.array([[0, 0], [bad, 3], [4, 4]])], (8, 8))


def test_area_is_that_of_the_polygon() -> None:
    assert area([np.array([[10, 10], [10, 14], [13, 14], [13, 10]], dtype=float)]) == 12


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.booleans())
def test_run_lengths_come_back_as_the_mask(seed: int, height: int, width: int, share: float, compressed: bool) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = encode_rle(mask, compressed)
    assert np.array_equal(decode_rle(rle["counts"], rle["size"]), mask)
    assert rle_area(rle["counts"]) == mask.sum()


def masks() -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    noise = [rng.random((int(rng.integers(1, 90)), int(rng.integers(1, 90)))) < rng.random() for _ in range(40)]
    blobs = [fill([star(rng, 300, 400)], (400, 400)) for _ in range(10)]
    return [*noise, *blobs, np.zeros((30, 20), bool), np.ones((30, 20), bool), np.ones((1, 1), bool)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
def test_run_lengths_are_those_of_pycocotools_both_ways() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for mask in masks():
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode_rle(mask)["counts"].encode() == theirs["counts"]
        assert np.array_equal(decode_rle(theirs["counts"], theirs["size"]), mask)
        assert np.array_equal(coco.decode(encode_rle(mask)).astype(bool), mask)
        listed = coco.frPyObjects(encode_rle(mask, compressed=False), *mask.shape)
        assert np.array_equal(coco.decode(listed).astype(bool), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
@pytest.mark.parametrize(("across", "worst", "mean"), [(32, 0.94, 0.98), (64, 0.97, 0.99), (256, 0.99, 0.997)])
def test_polygons_have_nearly_the_pixels_that_pycocotools_gives_them(across: int, worst: float, mean: float) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    rng, size, found = np.random.default_rng(across), 300, []
    for _ in range(60):
        polygon = star(rng, across, size)
        theirs = coco.decode(coco.frPyObjects([polygon[:, ::-1].reshape(-1).tolist()], size, size))[..., 0] > 0
        ours = fill([polygon], (size, size))
        found.append((ours & theirs).sum() / (ours | theirs).sum())
    assert min(found) >= worst
    assert np.mean(found) >= mean


@pytest.mark.parametrize(
    ("counts", "size", "reason"),
    [
        ([4], [10**6, 10**6], "more than the"),
        ([4], [2, 3], "add up to 4"),
        ([-1, 7], [2, 3], "neither text nor"),
        ([1.5, 4.5], [2, 3], "neither text nor"),
        (None, [2, 3], "neither text nor"),
        ("é", [2, 3], "not ASCII"),
        ("\x10", [2, 3], "no meaning"),
        ("P", [2, 3], "middle of a number"),
        ("P" * 20 + "0", [2, 3], "too long"),
        ("6OO", [2, 3], "below 0"),
        ([6], [2], "not \\[height, width\\]"),
        ([6], [2.0, 3], "not \\[height, width\\]"),
        ([6], "23", "not \\[height, width\\]"),
        ([2**39] * 3, [2, 3], "beyond the image"),
        ([2**70], [2, 3], "neither text nor"),
    ],
)
def test_run_lengths_that_make_no_sense_are_refused(counts: object, size: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_rle(counts, size)
