"""Preflight: what the network would see of the data, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from striate.core.errors import InputError
from striate.core.sample import Boxes, Target
from striate.data.collection import Collection
from striate.data.reader import Reader, open_data
from striate.recipes.geometry import working_geometry
from striate.recipes.preflight import Preflight, preflight
from striate.recipes.preflight_page import preflight_lines, preflight_sections
from striate.report.html import write
from striate.report.records import Report


class Beads(Reader):
    """Twelve images of 320 x 320 with boxes of the side that the path names, four of them in one cell."""

    format = "beads for the tests of preflight"

    @classmethod
    def detect(cls, path: Path) -> str | None:
        return None

    def collect(self) -> Collection:
        side = float(self.path.name)
        places = torch.tensor([[50.0, 50], [50, 52], [52, 50], [52, 52], [150, 150], [20, 150], [150, 20], [260, 260]])

        def targets(position: int) -> dict[str, Target]:
            return {"boxes": Boxes.from_bounds(torch.cat((places, places + side), dim=1), torch.zeros(len(places)))}

        generator = np.random.default_rng(0)
        return Collection(
            images=[generator.integers(0, 255, (3, 320, 320)).astype(np.uint8) for _ in range(12)],
            found="beads",
            names=[str(n) for n in range(12)],
            classes=("bead",),
            target="boxes",
            targets=targets,
        )


def looked_at(side: float, arch: str = "resnet18", steps: bool = False) -> Preflight:
    reader = Beads(Path(str(side)))
    return preflight(reader, working_geometry(reader, None), arch, {"widths": (4, 4, 4, 4)}, steps=steps)


def said(found: Preflight) -> str:
    return "\n".join(f"{one.severity}: {one.cause}; {one.fix}" for one in found.advice)


def test_objects_that_vanish_are_counted_and_the_size_that_helps_is_named() -> None:
    found = looked_at(2.0)
    assert found.objects is not None and found.objects.tiny == 96
    assert "warning: 96 of 96 objects (100%) have a side under 4 px" in said(found)
    assert "--size 640" in said(found)


def test_objects_in_one_cell_are_counted_for_every_grid() -> None:
    grids = {grid.name: (grid.objects, grid.lost) for grid in looked_at(10.0).grids}
    assert grids["one grid of 7x7"] == (96, 36)
    assert grids["head of stride 8 (0 to 64 px)"] == (96, 0)
    assert grids["head of stride 32 (128 px and more)"] == (0, 0)


def test_objects_beyond_the_receptive_field_are_counted() -> None:
    reader = Beads(Path("200"))
    found = preflight(reader, working_geometry(reader, None), "small_images", {}, steps=False)
    field = max(found.features[-1].receptive_field)
    assert field < 200
    assert "larger than the receptive field" in said(found)


def test_a_good_set_gets_no_advice() -> None:
    assert "warning" not in said(looked_at(10.0))


def test_a_few_real_steps_tell_time_and_memory() -> None:
    found = looked_at(20.0, steps=True).timing
    assert found is not None and found.whole
    assert found.rate > 0 and found.epoch_seconds == pytest.approx(12 / found.rate)
    assert found.memory > found.batch * 3 * 320 * 320 * 4  # the input of the first layer is kept for its gradient


def test_memory_is_at_least_what_the_layers_put_out() -> None:
    waves = open_data("waves")
    found = preflight(waves, working_geometry(waves, None), "mnist1d_conv")
    assert found.timing is not None and found.timing.whole
    outputs = sum(np.prod(shape) for shape in ((25, 20), (25, 10), (25, 5)))  # the activations of the network
    assert found.timing.memory >= found.timing.batch * outputs * 4


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="there is no such architecture"):
        looked_at(10.0, "resnet1800")


def test_the_sections_make_a_page(tmp_path: Path) -> None:
    found = looked_at(10.0, steps=True)
    write(Report("check", "beads", preflight_sections(found)), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "receptive field" in text and "head of stride 8" in text and "samples a second" in text
    assert any(line.startswith("timed") for line in preflight_lines(found))


def test_what_is_found_is_plain_json() -> None:
    import json

    found = json.loads(json.dumps(looked_at(10.0).to_json()))
    assert found["objects"]["count"] == 96
    assert found["grids"][0]["lost"] == 36
