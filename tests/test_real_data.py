"""Real data sets, read in place: what the readers find, and short trainings on photos, scans and signals.

The sets are not part of the repository; without them these tests are skipped with the reason.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from striate.data.reader import open_data
from striate.inference.evaluate import evaluate
from striate.inference.predictor import load
from striate.recipes.experiment import Experiment
from striate.recipes.run import RunResult, train_experiment


def trained(data: Path, out: Path, size: int | None = None, **training: object) -> RunResult:
    """A short run."""
    place = {"path": str(data), "size": size, "cache": str(out / "cache")}
    given = {"data": place, "training": {"precision": "float32", "threads": 1, **training}}
    return train_experiment(Experiment.from_settings(given), out / "run")


def test_sign_digits_are_read_as_their_source_says(shared_data: Callable[[str], Path]) -> None:
    reader = open_data(shared_data("sign-digits"))
    assert len(reader) == 2062
    assert reader.classes == tuple("0123456789")
    assert reader.image(0).shape == (3, 100, 100)


@pytest.mark.slow
def test_a_few_steps_on_photos_leave_a_model_that_reads_the_files(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    data = shared_data("sign-digits")
    result = trained(data, tmp_path, 32, steps=40, batch=32)
    assert result.predictor.input_shape == (3, 32, 32)
    assert len(result.measured["val"].loader) == pytest.approx(206, abs=10)
    records = load(tmp_path / "run").predict(data / "3")
    assert len(records) == len(list((data / "3").iterdir()))
    assert all(record["class"] in result.plan.classes for record in records)


@pytest.mark.slow
def test_scanned_digits_as_png_folders_reach_ninety_seven_percent(tmp_path: Path) -> None:
    scans = load_digits()
    for place, (values, label) in enumerate(zip(scans.images, scans.target, strict=True)):
        part = "test" if place % 5 == 0 else "train"
        folder = tmp_path / "digits" / part / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * 255 / 16).astype(np.uint8)).save(folder / f"{place}.png")
    result = trained(tmp_path / "digits", tmp_path, epochs=30)
    assert result.figures["test"]["top1"] >= 0.97
    again = evaluate(tmp_path / "run", tmp_path / "digits", cache=tmp_path / "cache")
    assert again.figures["top1"] == pytest.approx(result.figures["test"]["top1"])


@pytest.mark.slow
def test_mnist1d_as_a_table_just_works(tmp_path: Path) -> None:
    reader = open_data("mnist1d")
    lines = ["label,split," + ",".join(f"x{number}" for number in range(40))]
    for split, places in reader.splits.items():
        for place in places:
            values = ",".join(repr(float(value)) for value in reader.image(int(place))[0])
            lines.append(f"{reader.label(int(place))},{split},{values}")
    (tmp_path / "signals.csv").write_text("\n".join(lines))
    result = trained(tmp_path / "signals.csv", tmp_path, epochs=8)
    assert len(result.measured["test"].loader) == 1000
    assert result.figures["test"]["top1"] > 0.9
