"""Which files are the masks of which class, where every class has masks of its own.

Two forms: a folder for each class (``masks/disc/1.png``), and files with the class behind the image's name
(``masks/1_disc.png``; what all the endings have in common, such as ``attribute_``, is left out of the class). Whether
classes may overlap is decided by looking into the masks (:mod:`striate.data.formats.maskbits`).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from striate.data.paths import natural

Key = tuple[str, str]
"""A folder below the one that is listed, and a file's name without its extension."""
Files = Mapping[Key, list[Path]]
Match = Callable[[Mapping[Key, object], Mapping[Key, object]], dict[Key, Key]]
"""Gives the mask of each image that has one."""

_MARKS = "_-."
_RARE = 0.1
"""An ending that so much rarer than the most frequent one is no class: it marks something else, or is a slip."""


@dataclass
class Layers:
    """The masks of each image by class, the masks that belong to no image, and in words how a class is told."""

    said: str
    masks: dict[Key, dict[str, Path]] = field(default_factory=dict)
    lone: list[Path] = field(default_factory=list)
    twice: list[tuple[Path, Path]] = field(default_factory=list)

    @property
    def used(self) -> int:
        """How many masks belong to an image."""
        return sum(map(len, self.masks.values()))


def find_layers(images: Files, masks: Files, matched: Match, words: frozenset[str]) -> Layers | None:
    """The form that uses more of the masks, or None where neither tells two classes. ``words`` are endings that say
    "mask" and name no class."""
    found = [one for one in (_by_folder(images, masks, matched), _by_ending(images, masks, words)) if one is not None]
    return max(found, key=lambda one: one.used, default=None)


def _by_folder(images: Files, masks: Files, matched: Match) -> Layers | None:
    parts: dict[str, dict[Key, list[Path]]] = {}
    lone = []
    for (folder, stem), files in masks.items():
        name, _, below = folder.partition(os.sep)
        if name == ".":
            lone += files
        else:
            parts.setdefault(name, {})[below or ".", stem] = files
    layers = Layers("a folder of masks for each class", lone=lone)
    classes = 0
    for name in sorted(parts, key=natural):
        own = matched(images, parts[name])
        classes += bool(own)
        for image, mask in own.items():
            _add(layers, image, name, parts[name][mask])
        used = set(own.values())
        layers.lone += [file for key, files in parts[name].items() if key not in used for file in files]
    return layers if classes > 1 else None


def _by_ending(images: Files, masks: Files, words: frozenset[str]) -> Layers | None:
    ends: dict[str, list[tuple[Key, list[Path]]]] = {}
    lone = []
    for (folder, stem), files in masks.items():
        cuts = (cut for cut in range(len(stem) - 1, 0, -1) if stem[cut] in _MARKS and (folder, stem[:cut]) in images)
        cut = next(cuts, None)
        if cut is None:
            lone += files
        else:
            ends.setdefault(stem[cut + 1 :], []).append(((folder, stem[:cut]), files))
    most = max(map(len, ends.values()), default=0)
    if len(ends) < 2 or min(map(len, ends.values())) < _RARE * most:
        return None
    names = _without_common(list(ends))
    if any(not name or name.isdigit() or end.lower() in words for end, name in names.items()):
        return None
    layers = Layers("a mask for each class, named behind the image's name", lone=lone)
    for end in sorted(ends, key=natural):
        for image, files in ends[end]:
            _add(layers, image, names[end], files)
    return layers


def _without_common(ends: list[str]) -> dict[str, str]:
    """Each ending without the words that all begin or end with."""
    words = {end: re.split(r"[_.\-]", end) for end in ends}
    before = _alike(list(words.values()))
    after = _alike([parts[before:][::-1] for parts in words.values()])
    found = {}
    for end, parts in words.items():
        marks = re.findall(r"[_.\-]", end)
        kept = list(zip(parts, [*marks, ""], strict=True))[before : len(parts) - after]
        found[end] = "".join(part + mark for part, mark in kept).rstrip(_MARKS)
    return found


def _alike(several: list[list[str]]) -> int:
    """How many words all begin with."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*several, strict=False)))


def _add(layers: Layers, image: Key, name: str, files: list[Path]) -> None:
    layers.masks.setdefault(image, {})[name] = files[0]
    layers.twice += [(other, files[0]) for other in files[1:]]
