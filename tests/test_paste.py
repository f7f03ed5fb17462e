"""core/paste: several sources on one canvas."""

import pytest
import torch

from striate.core.errors import InputError
from striate.core.map import Map
from striate.core.move import covered
from striate.core.paste import blend, paste
from striate.core.sample import Boxes, Keypoints, Label, Mask, Sample
from striate.core.transform import Crop, Pad


def test_a_mosaic_shows_the_later_source_on_top_and_joins_targets():
    def tile(value, index):
        bounds = torch.tensor([[0.0, 0, 2, 2]])
        targets = {
            "boxes": Boxes.from_bounds(bounds, torch.tensor([index])),
            "mask": Mask(torch.full((4, 4), index)),
            "points": Keypoints(torch.ones(1, 1, 2), torch.ones(1, 1)),
            "tags": Label(index=index).as_tags(3),
        }
        return Sample(torch.full((1, 4, 4), value, dtype=torch.uint8), targets, name=str(index))

    onto = [Crop(start=(-at, 0), size=(8, 4), fill=99.0).map((4, 4)) for at in (0, 3)]
    out = paste([(tile(10, 0), onto[0]), (tile(20, 2), onto[1])])
    assert out.image[0, :, 0].tolist() == [10] * 3 + [20] * 4 + [99]
    assert out.targets["mask"].values[:, 0].tolist() == [0] * 3 + [2] * 4 + [255]
    assert out.targets["boxes"].bounds().tolist() == [[0, 0, 2, 2], [3, 0, 5, 2]]
    assert out.targets["boxes"].classes.tolist() == [0, 2]
    assert out.targets["points"].points[:, 0, 0].tolist() == [1, 4]
    assert out.targets["tags"].tags.tolist() == [1, 0, 1]


def test_a_blend_is_the_weighted_mean_of_images_and_tags():
    sources = [
        (Sample(torch.full((1, 4), value), {"label": Label(index=i).as_tags(2)}), Map.identity((4,)))
        for i, value in enumerate((10.0, 20.0))
    ]
    out = blend(sources, [0.25, 0.75])
    assert out.image.tolist() == [[17.5] * 4]
    assert out.targets["label"].tags.tolist() == [0.25, 0.75]


def test_sources_that_cannot_share_a_canvas_are_refused():
    here, there = Sample(torch.zeros(1, 4), {"l": Label(index=0)}), Sample(torch.zeros(1, 4), {"l": Label(index=1)})
    by = Map.identity((4,))
    with pytest.raises(InputError, match="different class indices"):
        paste([(here, by), (there, by)])
    with pytest.raises(InputError, match="as_tags"):
        blend([(here, by), (there, by)], [0.5, 0.5])
    with pytest.raises(InputError, match="different targets"):
        paste([(here, by), (Sample(torch.zeros(1, 4)), by)])
    with pytest.raises(ValueError, match="must agree"):
        paste([(here, by), (here, Map.identity((5,)))])
    with pytest.raises(ValueError, match="add up to 1"):
        blend([(here, by), (there, by)], [0.5, 0.6])
    masked = Sample(torch.zeros(1, 4), {"m": Mask(torch.zeros(4).long())})
    with pytest.raises(InputError, match="no meaningful mean"):
        blend([(masked, by), (masked, by)], [0.5, 0.5])


def test_covered_says_where_a_source_lands():
    assert covered((2,), Pad(before=1, after=1).map((2,))).tolist() == [False, True, True, False]
