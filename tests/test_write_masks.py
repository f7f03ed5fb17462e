"""What is written as images with masks comes back as it was."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.errors import InputError
from striate.core.sample import Mask, Target
from striate.data.collection import Array, Collection, ReaderOptions, splits_of
from striate.data.reader import Reader, open_data
from striate.data.writers.masks import unique_names, write


class Made(Reader):
    """Samples in memory with masks, for tests."""

    format = "made masks"
    images: list[Array] = []
    masks: list[torch.Tensor] = []
    names: tuple[str, ...] = ()
    ignore = 255
    parts: tuple[str, ...] = ()

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Never."""
        return None

    def collect(self) -> Collection:
        """What the class holds."""
        return Collection(
            images=self.images,
            found="",
            names=[f"{place}" for place in range(len(self.images))],
            classes=self.names,
            splits=splits_of(self.parts or ["all"] * len(self.images)),
            target="mask",
            targets=self._targets,
        )

    def _targets(self, position: int) -> dict[str, Target]:
        return {"mask": Mask(self.masks[position], self.ignore)}


def made(masks: list[torch.Tensor], names: tuple[str, ...], ignore: int = 255, parts: tuple[str, ...] = ()) -> Made:
    Made.masks, Made.names, Made.ignore, Made.parts = masks, names, ignore, parts
    Made.images = [np.full((3, *mask.shape), place, dtype=np.uint8) for place, mask in enumerate(masks)]
    return Made(Path("made"), ReaderOptions(minimum_classes=1))


def again(reader: Reader, folder: Path) -> tuple[Reader, list[str]]:
    folder.mkdir()
    lines = write(reader, folder, lambda line: None)
    return open_data(folder, options=ReaderOptions(minimum_classes=1)), lines


def same(first: Reader, second: Reader, names: bool = True) -> bool:
    def content(reader: Reader) -> dict[str, list[tuple[str, bytes, list[list[int]]]]]:
        return {
            split: sorted(
                (
                    Path(reader.name(row)).name if names else "",
                    reader.image(row).tobytes(),
                    reader.targets(row)["mask"].arrays()["values"].tolist(),
                )
                for row in rows.tolist()
            )
            for split, rows in reader.splits.items()
        }

    return first.classes == second.classes and content(first) == content(second)


@settings(max_examples=40)
@given(
    st.lists(st.text(min_size=1, max_size=12).map(str.strip).filter(bool), min_size=1, max_size=6, unique=True),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_any_names_and_numbers_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int, divided: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = [*range(len(names)), 255]
    masks = [torch.from_numpy(rng.choice(values, (4, 5)).astype(np.uint8)) for _ in range(4)]
    first = made(masks, tuple(names), parts=("train", "train", "val", "test") if divided else ())
    second, lines = again(first, tmp_path_factory.mktemp("set") / "to")
    changed = any("\n" in name or "\r" in name for name in names)
    assert bool(lines) == changed
    if not changed:
        assert same(first, second, names=False)


@pytest.mark.parametrize(
    "names", [("1 euro", "2 euro", "5 euro"), ("0", "1", "2"), ("void", "road", "ignore"), ("a", "b"), ("a",)]
)
def test_names_that_could_be_misread_come_back(names: tuple[str, ...], tmp_path: Path) -> None:
    mask = torch.tensor([[0, len(names) - 1], [255, 0]], dtype=torch.uint8)
    first = made([mask, torch.tensor([[0, 255]], dtype=torch.uint8)], names)
    second, _ = again(first, tmp_path / "to")
    assert same(first, second, names=False)


def test_more_than_255_classes_are_written_in_16_bits(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(300))
    mask = torch.arange(300, dtype=torch.int32).reshape(15, 20)
    mask[0, 0] = 65_535
    first = made([mask, mask.flip(0)], names, 65_535)
    second, lines = again(first, tmp_path / "to")
    assert not lines
    assert same(first, second, names=False)
    with Image.open(next((tmp_path / "to/masks").iterdir())) as image:
        assert image.mode == "I;16"


def test_values_that_are_no_class_are_counted(tmp_path: Path) -> None:
    mask = torch.tensor([[0, 1, 2, 77]], dtype=torch.uint8)
    _, lines = again(made([mask, mask], ("a", "b", "c")), tmp_path / "to")
    assert lines == ["2 pixels of values that are no class (77): written as void"]


def test_files_are_copied_byte_for_byte(tmp_path: Path) -> None:
    for split, name in (("train", "é 1.jpg"), ("train", os.fsdecode(b"\xff.jpg")), ("val", "é 1.jpg")):
        for kind in ("images", "masks"):
            (tmp_path / "from" / split / kind).mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(len(name)).integers(0, 255, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "from" / split / "images" / name)
        mask = Path(name).with_suffix(".png").name
        Image.fromarray(values[..., 0] % 3).save(tmp_path / "from" / split / "masks" / mask)
    first = open_data(tmp_path / "from")
    second, lines = again(first, tmp_path / "to")
    assert not lines
    assert same(first, second)
    for place in range(3):
        source, copy = first.source_file(place), second.source_file(place)
        assert source is not None and copy is not None
        assert source.read_bytes() == copy.read_bytes()


def test_boxes_are_refused(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(9, dtype=np.uint16)[..., :] * 3 + 1).save(tmp_path / folder / "x.png")
    reader = open_data(tmp_path, options=ReaderOptions(target="boxes"))
    with pytest.raises(InputError, match="its target is boxes"):
        write(reader, tmp_path, lambda line: None)


@given(st.lists(st.sampled_from(["a/x.png", "b/x.png", "x.jpg", "X.png", "a_x.png", "../x.png", ".x"]), max_size=7))
def test_file_names_differ_without_extension_and_case(names: list[str]) -> None:
    found = [os.path.splitext(name)[0].casefold() for name in unique_names(names)]
    assert len(set(found)) == len(names)
    assert not any(name.startswith(".") or "/" in name for name in found)


def test_camvid_comes_back(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared_data("camvid")
    for split, count in (("train", 6), ("val", 3)):
        for name in sorted(path.stem for path in (source / split).iterdir())[:: 100 // count][:count]:
            for folder, ending in ((split, "jpg"), (f"{split}annot", "png")):
                (tmp_path / "from" / folder).mkdir(parents=True, exist_ok=True)
                (tmp_path / "from" / folder / f"{name}.{ending}").symlink_to(source / folder / f"{name}.{ending}")
    first = open_data(tmp_path / "from")
    assert len(first.classes) == 11
    second, lines = again(first, tmp_path / "to")
    assert not lines
    assert same(first, second)
