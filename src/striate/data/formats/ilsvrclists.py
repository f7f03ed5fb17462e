"""The lists of the ILSVRC challenge: which class each image of a flat folder has, and what the classes are called.

In order of how sure they are:

- ``LOC_val_solution.csv``: a WordNet id for each image;
- ``val.txt``: ``name id``, or ``name number`` with numbers counting, from 0, the lines of ``synsets.txt``,
  ``synset_words.txt`` or ``LOC_synset_mapping.txt``, or else the folders of the classes in order of their ids;
- ``ILSVRC2012_validation_ground_truth.txt``: a number from 1 a line, the line being the number in the image's name.
  They count in an order of the challenge's own, not that of the ids: a file that says it is demanded
  (``map_clsloc.txt`` of the development kit, ``wnid number words``, or a list of ids that is not sorted).

The file ``ImageSets/CLS-LOC/val.txt`` looks like the second and only counts its lines: it is told by that.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from striate.data.formats.splitlists import read_lines
from striate.data.problems import Problem

WNID = re.compile(r"n[0-9]{8}")
"""A WordNet id: n, the offset of the synset in eight digits."""
SOLUTION = "LOC_val_solution.csv"
LISTS = ("val.txt", "validation.txt", "val_list.txt")
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_NUMBERS = ("map_clsloc.txt", "synset_order.txt", "ILSVRC2012_synset_order.txt")
_SYNSETS = ("synsets.txt", "synset_words.txt", "LOC_synset_mapping.txt", "imagenet_lsvrc_2015_synsets.txt")
_WORDS = ("LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt", "words.txt", "map_clsloc.txt")
_KITS = ("ILSVRC2012_devkit_t12/data", "ILSVRC2015_devkit/data", "ILSVRC/devkit/data", "devkit/data", "meta", "data")


@dataclass
class FlatLabels:
    """The WordNet id of each listed image by its file name; ``reason`` where no list can be used; ``said``: by what."""

    wnid_of: dict[str, str] = field(default_factory=dict)
    sources: list[Path] = field(default_factory=list)
    said: str = ""
    reason: str = ""
    problems: list[Problem] = field(default_factory=list)


def label_flat(path: Path, base: Path, folder: Path, names: Sequence[str], known: Sequence[str]) -> FlatLabels:
    """The classes of the images ``names`` of a flat folder; ``known`` are the ids of the class folders in order.

    Errors: ``InputError`` when a list is there and cannot be read.
    """
    places = _places(path, base, folder)
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    solution = _first(places, (SOLUTION,))
    if solution is not None:
        return _from_solution(solution, by_stem)
    reason = f"there is no list of their classes ({LISTS[0]}, {SOLUTION} or {TRUTH})"
    for listed in filter(None, (_first([place], LISTS) for place in places)):
        found = _from_list(listed, by_stem, places, known)
        if not found.reason:
            return found
        reason = found.reason
    truth = _first(places, (TRUTH,))
    return FlatLabels(reason=reason) if truth is None else _from_truth(truth, names, places)


def find_words(path: Path, base: Path) -> tuple[dict[str, str], Path | None]:
    """The words of each WordNet id, and the file that has them. Errors: ``InputError`` when it cannot be read."""
    for place in _places(path, base, base):
        for name in _WORDS:
            file = place / name
            if not file.is_file():
                continue
            found = {wnid: words for wnid, words in map(_word_line, read_lines(file)) if wnid and words}
            if found:
                return found, file
    return {}, None


def _places(path: Path, base: Path, folder: Path) -> list[Path]:
    """Where lists may lie, each once: with the data, above it up to the path given, in a development kit."""
    between = [base, *(above for above in base.parents if above.is_relative_to(path))]
    kits = [path / kit for kit in _KITS]
    return list(dict.fromkeys([path, *between, folder, *kits]))


def _first(places: Sequence[Path], names: Sequence[str]) -> Path | None:
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _word_line(line: str) -> tuple[str, str]:
    """WordNet id and words; the number between them in map_clsloc.txt, which joins words by underlines, is passed."""
    wnid, _, rest = line.partition("\t") if "\t" in line else line.partition(" ")
    if not WNID.fullmatch(wnid):
        return "", ""
    number, _, words = rest.strip().partition(" ")
    return wnid, words.replace("_", " ").strip() if number.isdecimal() and words else rest.strip()


def _from_solution(path: Path, by_stem: dict[str, str]) -> FlatLabels:
    found = FlatLabels(sources=[path], said=path.name)
    for number, line in enumerate(read_lines(path), start=1):
        stem, _, prediction = line.partition(",")
        if not line or stem.lower() == "imageid":
            continue
        ids = set(prediction.split()[0::5])
        wnid = next(iter(ids), "")
        if len(ids) == 1 and WNID.fullmatch(wnid):
            found.wnid_of[_named(stem, by_stem)] = wnid
        else:
            detail = f"{len(ids)} classes for {stem!r}" if len(ids) > 1 else f"no WordNet id in {prediction[:40]!r}"
            found.problems.append(Problem("annotation-malformed", f"{path.name}:{number}", detail))
    return found


def _from_list(path: Path, by_stem: dict[str, str], places: Sequence[Path], known: Sequence[str]) -> FlatLabels:
    found = FlatLabels(sources=[path], said=path.name)
    stated: list[tuple[str, str, int]] = []
    for number, line in enumerate(read_lines(path), start=1):
        name, _, label = line.rpartition(" ") if "\t" not in line else line.rpartition("\t")
        if not line:
            continue
        if not name or not (WNID.fullmatch(label) or _whole(label)):
            detail = f"{line[:60]!r} is no name and class"
            found.problems.append(Problem("annotation-malformed", f"{path.name}:{number}", detail))
            continue
        stated.append((_named(name.strip().rstrip(","), by_stem), label, number))
    if not stated:
        found.reason = f"{path.name} names no class"
        return found
    numbers = [int(label) for _, label, _ in stated if _whole(label)]
    order: list[str] = []
    if numbers:
        synsets = _first(places, _SYNSETS)
        order = list(known) if synsets is None else _ids(synsets)
        if synsets is not None:
            found.sources.append(synsets)
        if (
            len(numbers) > 1
            and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            and max(numbers) > len(order)
        ):
            found.reason = f"{path.name} only counts its lines and says no class"
            return found
        # counting from 1 is certain where the last number is that of the classes, and 0 is not among them
        if min(numbers) >= 1 and max(numbers) == len(order):
            order = ["", *order]
            found.said += ", which counts from 1"
        named = synsets.name if synsets is not None else "the order of the folders"
        found.said += f" (numbers of {named})"
    for name, label, number in stated:
        wnid = label if WNID.fullmatch(label) else order[int(label)] if int(label) < len(order) else ""
        if wnid:
            found.wnid_of[name] = wnid
        else:
            detail = f"the class {label} of {name}: there are {len(order)}"
            found.problems.append(Problem("class-undeclared", f"{path.name}:{number}", detail))
    return found


def _from_truth(path: Path, names: Sequence[str], places: Sequence[Path]) -> FlatLabels:
    """Line i is the class of the image whose name ends in the number i."""
    order, source = _challenge_order(places)
    if source is None:
        reason = (
            f"the numbers of {path.name} count in an order of the challenge's own, which {_NUMBERS[0]} of its "
            "development kit tells; put it beside"
        )
        return FlatLabels(reason=reason)
    found = FlatLabels(sources=[path, source], said=f"{path.name} (numbers of {source.name})")
    by_number = {int(match[1]): name for name in names if (match := re.search(r"([0-9]{1,9})\.[^.]*$", name))}
    for number, line in enumerate(read_lines(path), start=1):
        wnid = order.get(int(line)) if _whole(line) else None
        if wnid is not None:
            found.wnid_of[by_number.get(number, f"image {number}")] = wnid
        elif line:
            found.problems.append(Problem("class-undeclared", f"{path.name}:{number}", f"no class {line[:20]!r}"))
    return found


def _challenge_order(places: Sequence[Path]) -> tuple[dict[int, str], Path | None]:
    """WordNet ids by the challenge's own numbers, and the file that tells them."""
    file = _first(places, _NUMBERS)
    if file is not None:
        pairs = [line.split() for line in read_lines(file)]
        stated = {int(row[1]): row[0] for row in pairs if len(row) > 1 and _whole(row[1])}
        return stated or dict(enumerate(_ids(file), start=1)), file
    for name in _SYNSETS:
        file = _first(places, (name,))
        if file is not None and (ids := _ids(file)) != sorted(ids):
            return dict(enumerate(ids, start=1)), file
    return {}, None


def _ids(path: Path) -> list[str]:
    return [words[0] for words in map(str.split, read_lines(path)) if words and WNID.fullmatch(words[0])]


def _named(name: str, by_stem: dict[str, str]) -> str:
    """The name of the file in the folder that a list means, whatever folder or ending it gives."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return by_stem.get(os.path.splitext(last)[0], last) if last not in by_stem else by_stem[last]


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
