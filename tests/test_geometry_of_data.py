"""The working size of a data set: what is stored, and what brings the stored onto the canvas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.core.sample import Boxes, Mask, Target
from striate.core.transform import Compose
from striate.data.collection import Collection
from striate.data.reader import Reader
from striate.recipes.geometry import working_geometry
from striate.recipes.objects import Objects, objects


class Drawn(Reader):
    """Images of given sizes, all with one box or a mask, made for these tests."""

    format = "drawn for the tests of geometry"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        return None

    def collect(self) -> Collection:
        sizes, kind = [tuple(map(int, part.split("x"))) for part in self.path.name.split("_")[1:]], self.path.name[0]
        images = [np.full((3, *size), 7, np.uint8) for size in sizes]
        target = {"b": "boxes", "m": "mask", "l": "label"}[kind]

        def targets(position: int) -> dict[str, Target]:
            height, width = sizes[position]
            if kind == "b":
                box = torch.tensor([[height / 4, width / 4, height / 2, width / 2], [0, 0, 2, 2], [1, 1, 2, 2]])
                return {"boxes": Boxes.from_bounds(box, torch.tensor([0, 1, 1]))}
            values = torch.zeros((height, width), dtype=torch.uint8)
            values[: height // 2, : width // 2] = 1
            return {"mask": Mask(values)}

        return Collection(
            images=images,
            found="drawn",
            names=[str(n) for n in range(len(images))],
            labels=np.arange(len(images)) % 2 if kind == "l" else None,
            classes=("a", "b"),
            target=target,
            targets=None if kind == "l" else targets,
        )


def drawn(kind: str, *sizes: str) -> Reader:
    return Drawn(Path("_".join((kind, *sizes))))


def both(name: str, *sizes: str, size: int | tuple[int, ...] | None = None) -> tuple[Compose, Compose]:
    found = working_geometry(drawn(name, *sizes), size)
    return found.store, found.fit


def test_photos_are_stored_with_a_margin_to_crop_from() -> None:
    store, fit = both("l", "480x640", "640x480")
    assert store.output_size((480, 640)) == (147, 196)
    assert fit.output_size((147, 196)) == (128, 128)


def test_no_margin_is_made_by_enlarging() -> None:
    store, fit = both("l", "128x128", "128x128", size=128)
    assert store.output_size((128, 128)) == (128, 128)
    assert fit.map((128, 128)).leaves((128, 128))


def test_small_images_are_stored_as_the_network_sees_them() -> None:
    store, fit = both("l", "28x28", "28x28")
    assert store.output_size((28, 28)) == (28, 28) and not fit.steps


def test_storing_never_enlarges() -> None:
    for kind in "lb":
        store, _ = both(kind, "90x100", "400x300")
        assert store.output_size((90, 100)) == (90, 100)


@pytest.mark.parametrize("sizes, canvas", [(("480x640",), (256, 320)), (("480x640", "640x480"), (320, 320))])
def test_the_canvas_for_boxes_is_no_larger_than_the_proportions_need(
    sizes: tuple[str, ...], canvas: tuple[int, ...]
) -> None:
    store, fit = both("b", *sizes)
    for size in sizes:
        height, width = map(int, size.split("x"))
        stored = store.output_size((height, width))
        assert max(stored) == 320
        assert fit.output_size(stored) == canvas


def test_large_photos_may_be_decoded_small() -> None:
    assert working_geometry(drawn("l", "2000x3000"), 128).decode_at_least == 2 * 147
    assert working_geometry(drawn("l", "400x600"), 128).decode_at_least == 0


def test_objects_are_measured_on_the_canvas() -> None:
    reader = drawn("b", "480x640", "480x640")
    found = objects(reader, working_geometry(reader, None))
    assert found is not None and len(found) == 6 and found.canvas == (256, 320)
    assert found.sides[0] == pytest.approx([60, 80])
    assert found.centres[0] == pytest.approx([90 + 8, 120])  # eight rows of grey above
    assert found.tiny == 4


def test_objects_in_one_cell_are_counted_as_lost_but_one() -> None:
    centres = np.array([[1.0, 1.0], [2.0, 2.0], [60.0, 60.0], [1.0, 1.0]])
    found = Objects(centres, np.ones((4, 2)), np.array([0, 0, 0, 1]), (64, 64), False, 2)
    assert found.lost((7, 7)) == 1
    assert found.lost((1, 1)) == 2
    assert found.lost((64, 64)) == 0


def test_lost_objects_agree_with_counting_cell_by_cell() -> None:
    generator = np.random.default_rng(0)
    centres, samples = generator.uniform(0, 64, (200, 2)), generator.integers(0, 5, 200)
    found = Objects(centres, np.ones((200, 2)), samples, (64, 64), False, 5)
    cells: dict[tuple[int, ...], int] = {}
    for (y, x), sample in zip(centres.tolist(), samples.tolist(), strict=True):
        key = (sample, int(y // 8), int(x // 8))
        cells[key] = cells.get(key, 0) + 1
    assert found.lost((8, 8)) == sum(count - 1 for count in cells.values())


def test_a_region_of_a_mask_has_the_side_of_its_area() -> None:
    reader = drawn("m", "320x320")
    found = objects(reader, working_geometry(reader, None))
    assert found is not None and found.regions
    assert found.sides.tolist() == [[160.0, 160.0]]
    assert found.centres.tolist() == [[80.0, 80.0]]


def test_labels_have_no_objects(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (80, 80)).save(tmp_path / name / "x.png")
    reader = drawn("l", "80x80", "80x80")
    assert objects(reader, working_geometry(reader, None)) is None
