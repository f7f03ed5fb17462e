"""Where a folder that a set names and does not hold is looked for."""

from pathlib import Path

from labelled_files import put
from striate.data.formats.siblings import find_folder


def test_where_a_folder_is_looked_for(tmp_path: Path) -> None:
    base = tmp_path / "set"
    base.mkdir()
    assert find_folder(base, "images", {"a"}) is None
    put(tmp_path, {"deep/er/images/a.png": None})
    assert find_folder(base, "images", {"a"}) is None
    put(tmp_path, {"other/images/a.png": None, "third/images/a.png": None, "third/images/b.png": None})
    assert find_folder(base, "images", {"a", "b"}) == (
        tmp_path / "third/images",
        "in ../third/images, as there is no images here",
    )
    assert find_folder(base, "images", {"a", "x", "y"}) is None
    put(tmp_path, {"images/a.png": None})
    assert find_folder(base, "images", {"a", "b"}) == (tmp_path / "images", "in ../images, as there is no images")
    put(base, {"images/b.png": None})
    assert find_folder(base, "images", {"a", "b"}) == (base / "images", "as named")
    assert find_folder(base, "../../images", set()) == (base / "images", "in the set, as images (not ../../images)")
