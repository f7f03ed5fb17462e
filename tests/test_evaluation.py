"""`striate evaluate` of detectors: equal to pycocotools on what is predicted, in original pixels; its page."""

import contextlib
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import done, refused

TINY = ("--arch", "detector_nano", "--set", "widths=4,8,8,12,12", "--set", "depths=0,0,0,0", "--threads", 1)
NAMES = ("map", "map50", "map75", "map_small", "map_medium", "map_large", "ar1", "ar10", "ar100")
NAMES += ("ar_small", "ar_medium", "ar_large")


def cells(folder: Path, split: str, count: int, seed: int) -> None:
    """Grey photos of several sizes with dark and light rectangles from 10 to 230 pixels, in COCO format. The first of
    a split has its boxes twice."""
    r = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(count):
        height, width = (int(n) for n in r.integers(90, 320, 2))
        pixels = r.normal(120, 12, (height, width, 3))
        for _ in range(int(r.integers(1, 4))):
            sides = np.minimum(np.exp(r.uniform(np.log(10), np.log(230), 2)), np.array([height, width]) - 4)
            y, x = r.uniform(0, np.array([height, width]) - sides)
            kind = int(r.integers(0, 2))
            pixels[round(y) : round(y + sides[0]), round(x) : round(x + sides[1])] += (-70, 70)[kind]
            box = [round(float(v), 2) for v in (x, y, sides[1], sides[0])]
            for _ in range(2 if number == 0 else 1):
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "category_id": (7, 3)[kind], "bbox": box,
                     "area": box[2] * box[3], "iscrowd": 0}
                )  # fmt: skip
        name = f"{split}_{number}.png"
        (folder / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / split / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
    categories = [{"id": 7, "name": "dark"}, {"id": 3, "name": "light"}, {"id": 5, "name": "striped"}]
    (folder / "annotations").mkdir(exist_ok=True)
    written = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(written))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of boxes and a detector that learned a little of it."""
    folder = tmp_path_factory.mktemp("evaluation")
    cells(folder / "cells", "train", 24, 0)
    cells(folder / "cells", "val", 12, 1)
    done(
        "train", folder / "cells", "--out", folder / "run", "--size", 96, "--steps", 60, "--batch", 8,
        "--precision", "float32", "--seed", 0, *TINY,
    )  # fmt: skip
    return folder


def judged(annotations: Path, results: Path) -> list[float]:
    """The twelve figures of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        judge = coco.COCO(str(annotations))
        run = evaluation.COCOeval(judge, judge.loadRes(str(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return list(run.stats)


@pytest.mark.slow
def test_all_twelve_figures_equal_pycocotools_on_what_is_predicted(home: Path) -> None:
    """Matching happens in original pixels, so nothing differs but the rounding of float64."""
    annotations = home / "cells" / "annotations" / "instances_val.json"
    done(
        "predict", home / "run", home / "cells" / "val", "--form", "coco", "--score", 0.001, "--most", 3000,
        "--ids-of", annotations, "--out", home / "results.json",
    )  # fmt: skip
    expected = judged(annotations, home / "results.json")
    ours = json.loads(done("evaluate", home / "run", home / "cells", "--split", "val", "--json").out)
    assert [-1 if ours[name] is None else ours[name] for name in NAMES] == pytest.approx(expected, abs=1e-6)
    assert 0 < ours["map50"] and None not in [ours[name] for name in NAMES]  # every range of sizes has boxes


@pytest.mark.slow
def test_figures_of_a_class_without_boxes_are_dashes(home: Path) -> None:
    outcome = done("evaluate", home / "run", home / "cells", "--split", "val")
    striped = next(line for line in outcome.out.splitlines() if line.startswith("striped"))
    assert striped.split()[1:] == ["–", "–", "0", "–", "–", "–"]
    assert outcome.out.splitlines()[0].endswith("split val, 12 samples")
    found = json.loads(done("evaluate", home / "run", home / "cells", "--json").out)
    for name in ("average_precision", "average_precision50", "precision", "recall", "f1"):
        assert found[name][found["classes"].index("striped")] is None


@pytest.mark.slow
def test_the_page_names_and_draws_the_worst_and_ties_errors_to_the_findings(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert f"page: {page}" in done("evaluate", home / "run", home / "cells", "--split", "val", "--report", page).out
    whole = page.read_text()
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", whole)).split())
    found = json.loads(done("evaluate", home / "run", home / "cells", "--split", "val", "--json").out)
    assert found["worst"] and all(one["name"] in text for one in found["worst"])
    for words in ("in the labels, missed", "Worst samples", "Why it is not higher", "the same box twice"):
        assert words in text
    errors = found["errors"]["at_threshold"]
    first = next(row for row in errors["by_image"] if row[0] == min(one["image"] for one in found["worst"]))
    assert sum(map(sum, (row[1:] for row in errors["by_image"]))) == sum(errors["counts"].values())
    assert re.search(
        r"\d+ of \d+ '[a-z ]+'.* on the 1 sample where the doctor found the same box twice: val/val_0", text
    )
    assert first and "score ≥ 0.25, overlap ≥ .50" in text  # stated on the confusion matrix
    assert not re.search(r"https?://(?!www\.w3\.org/)", whole)
    page.write_text("mine")
    assert "no page of striate" in refused("evaluate", home / "run", home / "cells", "--report", page)
    assert page.read_text() == "mine"


@pytest.mark.slow
def test_windows_are_for_masks(home: Path, tmp_path: Path) -> None:
    line = refused("evaluate", home / "run", home / "cells", "--windows")
    assert "does not answer for every position" in line
    assert "--overlap" in refused("evaluate", home / "run", home / "cells", "--overlap", 0.5)
    assert "--report" in refused("evaluate", home / "run", home / "cells", "--windows", "--report", tmp_path / "a.html")
