"""Damage planted in annotations of boxes. Each function returns the file that a finding must name."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from damage_sets import Damage, files_of


def _xml(data: Path, change: Callable[[str], str], number: int = 3) -> str:
    """Change the annotation of an image of which the first box is an ordinary one."""
    file = files_of(data / "Annotations")[number]
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)
    return file.stem


def _first_box(x0: str, y0: str, x1: str, y1: str) -> Callable[[str], str]:
    text = f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    return lambda xml: re.sub(r"<bndbox>.*?</bndbox>", text, xml, count=1, flags=re.DOTALL)


def _inverted(data: Path) -> str:
    return _xml(data, _first_box("200", "100", "120", "180"))


def _without_area(data: Path) -> str:
    return _xml(data, _first_box("200", "100", "200", "180"))


def _wholly_outside(data: Path) -> str:
    return _xml(data, _first_box("700", "500", "760", "560"))


def _reaching_beyond(data: Path) -> str:
    return _xml(data, _first_box("600", "400", "690", "520"))


def _tiny(data: Path) -> str:
    return _xml(data, _first_box("200", "100", "202", "102"))


def _twice(data: Path) -> str:
    return _xml(data, lambda xml: re.sub(r"(<object>.*?</object>)", r"\1\1", xml, count=1, flags=re.DOTALL))


def _two_classes(data: Path) -> str:
    def change(xml: str) -> str:
        found = re.search(r"<object>.*?</object>", xml, flags=re.DOTALL)
        assert found is not None
        name = "WBC" if "<name>RBC" in found[0] else "RBC"
        other = re.sub(r"<name>.*?</name>", f"<name>{name}</name>", found[0])
        return xml.replace(found[0], found[0] + other)

    return _xml(data, change)


def _whole_image(data: Path) -> str:
    return _xml(data, _first_box("1", "1", "640", "480"))


def _no_objects(data: Path) -> str:
    return _xml(data, lambda xml: re.sub(r"<object>.*</object>", "", xml, flags=re.DOTALL))


def _misspelt(data: Path) -> str:
    _xml(data, lambda xml: xml.replace("<name>RBC", "<name>rbc"))
    return "rbc"


def _coordinates_of_words(data: Path) -> str:
    return _xml(data, _first_box("left", "100", "200", "180"))


def _broken_xml(data: Path) -> str:
    return _xml(data, lambda xml: xml[: len(xml) // 2])


def _bomb(data: Path) -> str:
    entities = '<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;&b;">]>'
    return _xml(data, lambda xml: entities + xml.replace("<folder>", "<folder>&c;", 1))


def _wrong_size(data: Path) -> str:
    return _xml(data, lambda xml: xml.replace("<width>640", "<width>320"))


def _image_gone(data: Path) -> str:
    file = files_of(data / "JPEGImages")[3]
    file.unlink()
    return file.stem


def _annotation_gone(data: Path) -> str:
    file = files_of(data / "Annotations")[3]
    file.unlink()
    return file.stem


def _listed(data: Path) -> str:
    with (data / "ImageSets" / "Main" / "train.txt").open("a") as file:
        file.write("BloodImage_99999\n")
    return "BloodImage_99999"


def _unlisted(data: Path) -> str:
    file = data / "ImageSets" / "Main" / "train.txt"
    first, *rest = file.read_text().split()
    file.write_text("".join(f"{name}\n" for name in rest))
    return first


def _in_two_lists(data: Path) -> str:
    lists = data / "ImageSets" / "Main"
    name = (lists / "train.txt").read_text().split()[0]
    shutil.copyfile(data / "JPEGImages" / f"{name}.jpg", data / "JPEGImages" / "again.jpg")
    shutil.copyfile(data / "Annotations" / f"{name}.xml", data / "Annotations" / "again.xml")
    with (lists / "val.txt").open("a") as file:
        file.write("again\n")
    return "again"


def _labels(data: Path, change: Callable[[str], str], split: str = "train2017", number: int = 2) -> str:
    file = files_of(data / "labels" / split)[number]
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)
    return file.stem


def _undeclared(data: Path) -> str:
    return _labels(data, lambda text: text + "93 0.5 0.5 0.2 0.2\n")


def _shifted_ids(data: Path) -> str:
    for split in ("train2017", "val2017"):
        for file in files_of(data / "labels" / split):
            lines = [line.split() for line in file.read_text().splitlines()]
            file.write_text("".join(" ".join((str(int(first) + 1), *rest)) + "\n" for first, *rest in lines))
    for file in files_of(data / "labels" / "train2017")[:1]:
        with file.open("a") as opened:
            opened.write("80 0.5 0.5 0.2 0.2\n")
    return ""


def _four_numbers(data: Path) -> str:
    return _labels(data, lambda text: text + "0 0.5 0.5 0.2\n")


def _not_a_number(data: Path) -> str:
    return _labels(data, lambda text: text + "0 nan 0.5 0.2 0.2\n")


def _in_pixels(data: Path) -> str:
    return _labels(data, lambda text: text + "0 320 240 50 60\n")


def _label_without_photo(data: Path) -> str:
    (data / "labels" / "train2017" / "000000999999.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return "000000999999"


DAMAGES: tuple[Damage, ...] = (
    Damage("swapped corners", "cells", _inverted, "box-inverted"),
    Damage("a box without area", "cells", _without_area, "box-empty"),
    Damage("a box outside its image", "cells", _wholly_outside, "box-outside"),
    Damage("a box reaching beyond", "cells", _reaching_beyond, "box-beyond"),
    Damage("a tiny box", "cells", _tiny, "box-tiny"),
    Damage("the same box twice", "cells", _twice, "box-duplicate"),
    Damage("a box of two classes", "cells", _two_classes, "box-two-classes"),
    Damage("a box as large as the image", "cells", _whole_image, "box-whole-image"),
    Damage("an image without boxes", "cells", _no_objects, "no-boxes"),
    Damage("a misspelt class", "cells", _misspelt, "class-names-alike"),
    Damage("coordinates that are words", "cells", _coordinates_of_words, "annotation-malformed"),
    Damage("an annotation cut short", "cells", _broken_xml, "label-unreadable"),
    Damage("an annotation with entities", "cells", _bomb, "label-unreadable"),
    Damage("a wrong size declared", "cells", _wrong_size, "size-declared-wrong"),
    Damage("an annotation without image", "cells", _image_gone, "label-without-image"),
    Damage("an image without annotation", "cells", _annotation_gone, "image-without-label"),
    Damage("a listed image that is not there", "cells", _listed, "listed-missing"),
    Damage("an image that no list names", "cells", _unlisted, "not-in-a-split"),
    Damage("the same image in two lists", "cells", _in_two_lists, "leak"),
    Damage("an undeclared class id", "things", _undeclared, "class-undeclared"),
    Damage("class ids shifted by one", "things", _shifted_ids, "class-offset"),
    Damage("a line of four numbers", "things", _four_numbers, "annotation-malformed"),
    Damage("a coordinate that is no number", "things", _not_a_number, "annotation-malformed"),
    Damage("coordinates in pixels", "things", _in_pixels, "box-outside"),
    Damage("a label without photo", "things", _label_without_photo, "label-without-image"),
)
