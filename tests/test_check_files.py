"""Near copies among many images, and files that end early."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memory_reader import photo
from striate.data.doctor.alike import Print, alike, print_of
from striate.data.doctor.endings import ends_early


def test_prints_survive_scaling_and_light_and_tell_photos_apart() -> None:
    prints = []
    for seed in range(40):
        image = photo(seed)
        smaller = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((40, 33))).transpose(2, 0, 1)
        prints += [print_of(image), print_of((smaller * 0.8 + 20).astype(np.uint8))]
    assert all(one is not None for one in prints)
    pairs = alike([one for one in prints if one is not None])
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [
        (2 * n, 2 * n + 1) for n in range(40)
    ]
    assert pairs.complete


@pytest.mark.parametrize("image", [np.full((3, 20, 20), 9, np.uint8), np.zeros((1, 5, 5), np.float32)])
def test_what_is_even_has_no_print(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    assert print_of(image) is None


def test_other_types_of_numbers_have_prints_too() -> None:
    image = photo(3)
    prints = [print_of(image[:1]), print_of(image[:1].astype(np.uint16) * 257), print_of(image[:1].astype(np.float32))]
    pairs = alike([one for one in prints if one is not None])
    assert len(pairs.first) == 3


def test_the_search_agrees_with_comparing_all_with_all() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, 30)
    hashes = [
        int(base[i % 30]) ^ sum(1 << int(bit) for bit in set(rng.integers(0, 63, i % 12).tolist())) for i in range(400)
    ]
    picture = bytes(range(256))
    pairs = alike([Print(one, picture) for one in hashes])
    wanted = [(i, j) for i in range(400) for j in range(i + 1, 400) if (hashes[i] ^ hashes[j]).bit_count() <= 7]
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == wanted


def test_thousands_of_copies_end_the_search_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.data.doctor.alike.MOST_COMPARED", 1000)
    pairs = alike([Print(5, bytes(range(256)))] * 200)
    assert not pairs.complete
    assert len(pairs.first) == 1000


@pytest.mark.slow
def test_a_hundred_thousand_images_are_searched_in_seconds() -> None:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (100_000, 256), dtype=np.uint8)
    hashes = rng.integers(0, 2**63, 100_000)
    prints = [Print(int(one), picture.tobytes()) for one, picture in zip(hashes, pictures, strict=True)]
    prints[70_000] = Print(prints[12].hash ^ 0b10110, prints[12].picture)
    pairs = alike(prints)
    assert (12, 70_000) in set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
def test_a_file_without_its_end_is_told_from_a_whole_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo(1, 120, 160).transpose(1, 2, 0)).save(path)
    assert not ends_early(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    if suffix != "gif":  # the mark of its end is a byte that may be anywhere
        assert ends_early(path)


def test_what_follows_the_end_and_a_thumbnail_inside_do_not_mislead(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photo(1, 120, 160).transpose(1, 2, 0)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 100_000)
    assert not ends_early(path)
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    path.write_bytes((whole[:2] + thumbnail + whole[2:])[:-50])
    assert ends_early(path)


def test_what_cannot_be_read_does_not_end_early(tmp_path: Path) -> None:
    assert not ends_early(tmp_path / "missing.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert not ends_early(tmp_path / "empty.jpg")
