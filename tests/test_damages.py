"""Every kind of planted damage is found and its file named; clean copies show nothing beyond the reviewed baseline.

The baseline, ``damage_baseline.json``, was reviewed by hand: each entry
is a code and how often, with the reason why the clean data shows it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import damages_boxes
import damages_other
import damages_photos
from damage_sets import SETS, Damage
from striate.data.collection import ReaderOptions
from striate.data.doctor.diagnosis import Diagnosis
from striate.data.doctor.examine import examine
from striate.data.reader import open_data

BASELINE = json.loads((Path(__file__).parent / "damage_baseline.json").read_text())

DAMAGES = (*damages_photos.DAMAGES, *damages_boxes.DAMAGES, *damages_other.DAMAGES)

pytestmark = pytest.mark.slow


def looked_at(data: Path) -> Diagnosis:
    return examine(open_data(data, options=ReaderOptions(minimum_classes=1)), workers=1)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_clean_copy_shows_nothing_beyond_the_baseline(
    name: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    SETS[name](shared_data, tmp_path / name)
    found = {finding.code: finding.count for finding in looked_at(tmp_path / name).findings}
    assert found == {code: entry["count"] for code, entry in BASELINE[name].items()}


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.kind for damage in DAMAGES])
def test_the_damage_is_found_and_its_file_named(
    damage: Damage, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    data = tmp_path / damage.data
    SETS[damage.data](shared_data, data)
    usual = BASELINE[damage.data].get(damage.code, {"count": 0})["count"]
    file = damage.plant(data)
    finding = looked_at(data).finding(damage.code)
    assert finding is not None, f"{damage.code} was not found"
    assert finding.count > usual
    assert any(file in line for line in finding.lines()), finding.lines()


def test_there_are_forty_kinds() -> None:
    assert len({damage.kind for damage in DAMAGES}) == len(DAMAGES) >= 40
