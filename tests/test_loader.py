"""Batches are a pure function of (shards, seed, step)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.core.random import permutation
from striate.core.transform import Compose, Normalise
from striate.data.augment import Augment
from striate.data.loader import Loader
from striate.data.prepare import prepare
from striate.data.reader import open_data
from striate.data.shards import Shards

NORMALISE = Normalise(mean=100.0, std=50.0)


def made(folder: Path, dtype: str = "u1", count: int = 53, shape: tuple[int, ...] = (6, 7, 3)) -> Shards:
    values = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)
    np.savez(folder / "d.npz", x=values, y=np.arange(count) % 5)
    return prepare(open_data(folder / "d.npz"), folder / "s", Compose())


def test_every_sample_comes_exactly_once_an_epoch(tmp_path: Path) -> None:
    loader = Loader(made(tmp_path), np.arange(50), 8, seed=1)
    stream = loader.order(0, 25).reshape(-1)
    for epoch in range(4):
        assert sorted(stream[epoch * 50 : (epoch + 1) * 50]) == list(range(50))
        assert np.array_equal(stream[epoch * 50 : (epoch + 1) * 50], permutation(1, "order", epoch, 50))
    assert np.array_equal(loader.epochs(0, 25).reshape(-1), np.arange(200) // 50)
    assert not np.array_equal(stream[:50], stream[50:100])


def test_order_is_the_same_from_any_step_and_across_blocks(tmp_path: Path) -> None:
    shards = made(tmp_path)
    loader = Loader(shards, np.arange(53), 20, seed=2)
    whole = loader.order(0, 2000)
    for first in (0, 7, 815, 816, 817, 818, 1999):
        assert np.array_equal(Loader(shards, np.arange(53), 20, seed=2).order(first, 1)[0], whole[first])
    assert loader.order(5, 0).shape == (0, 20)


@pytest.mark.parametrize("augment", [None, Augment(flip=(-1,), shift=1)])
@pytest.mark.parametrize("resident", [0, 1 << 30])
def test_a_fresh_loader_gives_the_same_batch(tmp_path: Path, augment: Augment | None, resident: int) -> None:
    shards = made(tmp_path)

    def fresh() -> Loader:
        return Loader(shards, np.arange(3, 53), 8, 5, augment, NORMALISE, resident_bytes=resident)

    first = fresh()
    batches = [first.batch(step) for step in range(20)]
    for step in (0, 6, 13, 19):
        again = fresh().batch(step)
        assert torch.equal(again.images, batches[step].images)
        assert torch.equal(again.targets["label"], batches[step].targets["label"])
        assert torch.equal(again.index, batches[step].index)


@pytest.mark.parametrize("augment", [None, Augment(flip=(-1,), shift=1)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_reading_from_disk_and_from_memory_give_the_same(tmp_path: Path, augment: Augment | None, dtype: str) -> None:
    shards = made(tmp_path, dtype)
    memory = Loader(shards, np.arange(53), 8, 0, augment, NORMALISE)
    disk = Loader(shards, np.arange(53), 8, 0, augment, NORMALISE, resident_bytes=0)
    assert memory.images is not None
    assert disk.images is None
    for step in range(10):
        assert torch.equal(memory.batch(step).images, disk.batch(step).images)
    for one, other in zip(memory.sequential(), disk.sequential(), strict=True):
        assert torch.equal(one.images, other.images)


def test_a_batch_holds_the_samples_it_says(tmp_path: Path) -> None:
    shards = made(tmp_path)
    for normalise in (None, NORMALISE):
        batch = Loader(shards, np.arange(10, 53), 8, 0, normalise=normalise).batch(9)
        for image, label, index in zip(batch.images, batch.targets["label"], batch.index, strict=True):
            sample = shards.read(int(index))
            expected = sample.image if normalise is None else normalise(sample).image
            assert torch.equal(image, expected)
            assert label == int(index) % 5
            assert index >= 10


def test_processes_share_the_batch_of_one(tmp_path: Path) -> None:
    shards = made(tmp_path)
    for resident in (0, 1 << 30):
        one = Loader(shards, np.arange(53), 8, 3, Augment(shift=2), resident_bytes=resident)
        parts = [
            Loader(shards, np.arange(53), 8, 3, Augment(shift=2), rank=rank, world=2, resident_bytes=resident)
            for rank in range(2)
        ]
        for step in (0, 6, 30):
            whole = one.batch(step)
            for rank, part in enumerate(parts):
                assert torch.equal(part.batch(step).images, whole.images[rank::2])
                assert torch.equal(part.batch(step).index, whole.index[rank::2])


def test_augmentation_depends_on_sample_and_epoch_and_not_on_the_batch(tmp_path: Path) -> None:
    shards = made(tmp_path)
    augment = Augment(flip=(-1,), shift=2)
    seen = [{}, {}]
    for which, size in enumerate((8, 13)):
        loader = Loader(shards, np.arange(53), size, 3, augment)
        for step in range(2 * 53 // size):
            batch = loader.batch(step)
            for image, index, epoch in zip(batch.images, batch.index.tolist(), loader.epochs(step, 1)[0], strict=True):
                seen[which][index, int(epoch)] = image
    common = seen[0].keys() & seen[1].keys()
    assert len(common) > 90
    assert all(torch.equal(seen[0][key], seen[1][key]) for key in common)
    assert any(not torch.equal(seen[0][i, 0], seen[0][i, 1]) for i in range(40))


def test_sequential_gives_every_sample_in_order_and_unaugmented(tmp_path: Path) -> None:
    shards = made(tmp_path)
    loader = Loader(shards, np.arange(53)[::-1].copy(), 8, 0, Augment(shift=3), NORMALISE)
    batches = list(loader.sequential(20))
    assert [len(batch) for batch in batches] == [20, 20, 13]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(53))[::-1]
    assert torch.equal(batches[0].images[0], NORMALISE(shards.read(52)).image)


def test_sixteen_bits_reach_the_batch_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 5, 8, 8)).astype(np.uint16)
    np.savez(tmp_path / "d.npz", x=values.transpose(0, 2, 3, 1), y=np.arange(20) % 2)
    from striate.data.collection import ReaderOptions

    reader = open_data(tmp_path / "d.npz", options=ReaderOptions(layout="NHWC"))
    shards = prepare(reader, tmp_path / "s", Compose())
    batch = next(Loader(shards, np.arange(20), 20, 0).sequential())
    assert batch.images.dtype == torch.float32
    assert np.array_equal(batch.images.numpy().astype(np.uint16), values)


def test_several_labels_are_batched_as_numbers(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((20, 4)) < 0.5
    np.savez(tmp_path / "d.npz", x=np.zeros((20, 9)), y=rows)
    shards = prepare(open_data(tmp_path / "d.npz"), tmp_path / "s", Compose())
    target = next(Loader(shards, np.arange(20), 20, 0).sequential()).targets["label"]
    assert target.dtype == torch.float32
    assert np.array_equal(target.numpy(), rows)


def test_resident_images_are_normalised_once_when_nothing_comes_before(tmp_path: Path) -> None:
    shards = made(tmp_path)
    assert Loader(shards, np.arange(53), 8, 0, None, NORMALISE).normalised
    kept = Loader(shards, np.arange(53), 8, 0, Augment(shift=1), NORMALISE)
    assert not kept.normalised
    assert kept.images is not None
    assert kept.images.dtype == torch.uint8


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    shards = made(tmp_path)
    with pytest.raises(InputError, match="no samples to load"):
        Loader(shards, np.arange(0), 8, 0)
    with pytest.raises(InputError, match="9 samples cannot be divided evenly over 2 processes; give a multiple of 2"):
        Loader(shards, np.arange(50), 9, 0, world=2)


def test_a_batch_larger_than_the_set_goes_through_several_epochs(tmp_path: Path) -> None:
    loader = Loader(made(tmp_path), np.arange(6), 20, 0)
    batch = loader.batch(0)
    assert np.bincount(batch.index.numpy()).tolist() in ([4, 4, 3, 3, 3, 3], np.bincount(batch.index.numpy()).tolist())
    assert sorted(batch.index[:6].tolist()) == list(range(6))
