"""Reader of the layout of the ILSVRC (ImageNet) challenge: folders named by WordNet ids, a flat folder to validate on.

    train/n01440764/*.JPEG      val/*.JPEG with a list beside, or val/n01440764/*.JPEG

also below ``ILSVRC/Data/CLS-LOC``, with ``ILSVRC2012_img_train`` and ``ILSVRC2012_img_val`` for names, or without
splits. Flat folders are labelled by the lists of :mod:`striate.data.formats.ilsvrclists`; without one they are left
out, and it is said. A class is named by the first of its words where a file of words is found and no other class has
the same, else by its WordNet id. Classes are in order of their ids, as everywhere. What a file holds is told by its
first bytes: some ``.JPEG`` are PNG, some CMYK.

Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, https://arxiv.org/abs/1409.0575
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES, Collection, splits_of
from striate.data.formats.folders import Walk, descend, enter, relative
from striate.data.formats.ilsvrclists import WNID, find_words, label_flat
from striate.data.imagefiles import image_files
from striate.data.paths import visible
from striate.data.problems import Problem
from striate.data.reader import Reader

_BELOW = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_SPLITS = {**SPLIT_NAMES, **{f"ilsvrc2012_img_{name}": name for name in ("train", "val", "test")}}
_MOST_FOR_DETECTION = 5_000


@dataclass
class _Samples:
    """Images with split and WordNet id (None: of no class), and what was left out."""

    files: list[Path] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    wnids: list[str | None] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, files: Sequence[Path], split: str, wnids: Sequence[str | None]) -> None:
        """Add images of one split."""
        self.files += files
        self.splits += [split] * len(files)
        self.wnids += wnids


class IlsvrcReader(Reader):
    """Folders named by WordNet ids, flat folders with lists. With ``labelled`` False: every image of every split."""

    format = "ilsvrc"
    certainty = 2

    @classmethod
    def detect(cls, path: Path) -> str | None:
        """Folders that are all named n and eight digits, in the folder or in those of its splits."""
        try:
            _, places = _places(path)
            for _, folder in places:
                wnids = _wnid_folders(folder)
                if wnids:
                    return f"folders named by WordNet ids, such as {relative(folder / wnids[0], path)}"
        except (OSError, ValueError, RuntimeError):
            return None
        return None

    def collect(self) -> Collection:
        """Walk the folders, read the lists and the words. Errors: ``InputError``."""
        walk, samples = Walk(), _Samples()
        for above in (self.path.resolve(), *self.path.resolve().parents):
            enter(above, self.path, walk)
        base, places = _places(self.path)
        if not places:
            raise InputError(
                self.path, "there are no folders named by WordNet ids (n01440764)", "give another --format"
            )
        twice = [name for name, count in Counter(split for split, _ in places).items() if count > 1]
        if twice:
            raise InputError(base, f"two folders are the split {twice[0]}", "join them")
        flat: list[tuple[str, Path, list[Path]]] = []
        for split, folder in places:
            loose = self._folder(split, folder, samples, walk)
            if loose:
                flat.append((split, folder, loose))
        known = sorted({wnid for wnid in samples.wnids if wnid})
        for split, folder, loose in flat:
            self._flat(base, split, folder, loose, known, samples, walk)
        return self._collected(base, known, samples, walk)

    def _folder(self, split: str, folder: Path, samples: _Samples, walk: Walk) -> list[Path]:
        """Add the folders of classes inside one of a split; returns the images that lie in it directly."""
        if folder != self.path and folder.resolve() != self.path.resolve() and not enter(folder, self.path, walk):
            return []
        loose: list[Path] = []
        entries = list(visible(folder))
        for entry in entries:
            place = Path(entry.path)
            if entry.is_dir() and WNID.fullmatch(entry.name):
                start = len(walk.files)
                if enter(place, self.path, walk):
                    descend(place, self.path, walk)
                found = walk.files[start:]
                samples.add(found, split, [entry.name] * len(found))
                if not found:
                    walk.skipped.append((relative(place, self.path), "a class folder without any image"))
            elif entry.is_dir():
                if split != ALL:
                    walk.skipped.append((relative(place, self.path), "a folder that is named by no WordNet id"))
            elif os.path.splitext(entry.name)[1].lower() in (".jpeg", ".jpg", ".png") and entry.is_file():
                loose.append(place)
        return loose

    def _flat(
        self,
        base: Path,
        split: str,
        folder: Path,
        loose: list[Path],
        known: Sequence[str],
        samples: _Samples,
        walk: Walk,
    ) -> None:
        """Add the images of a flat folder with the classes its list says, or leave them out."""
        if not self.options.labelled:
            samples.add(loose, split, [None] * len(loose))
            return
        name = relative(folder, self.path)
        listed = label_flat(self.path, base, folder, [path.name for path in loose], known) if split == "val" else None
        if listed is None or listed.reason:
            reason = listed.reason if listed else "no list of their classes is published"
            walk.skipped.append((name, f"{len(loose)} images in no class folders: {reason}"))
            return
        samples.sources += listed.sources
        samples.notes.append(f"{split} labelled by {listed.said}")
        wnid_of, outside = listed.wnid_of, Counter[str]()
        kept = []
        for path in loose:
            wnid = wnid_of.get(path.name)
            if wnid is None:
                detail = f"{listed.said} does not list it; left out"
                samples.problems.append(Problem("image-without-label", relative(path, self.path), detail))
            elif known and wnid not in known:
                outside[wnid] += 1
            else:
                kept.append(path)
        there = {path.name for path in loose}
        lists = relative(listed.sources[0], self.path)
        samples.problems += [
            Problem("listed-missing", lists, f"{one} is not in {name}") for one in wnid_of if one not in there
        ]
        samples.problems += listed.problems
        samples.problems += [
            Problem("class-undeclared", lists, f"{wnid} has no folder: {count} images of {name} are left out")
            for wnid, count in outside.items()
        ]
        samples.add(kept, split, [wnid_of[path.name] for path in kept])

    def _collected(self, base: Path, known: Sequence[str], samples: _Samples, walk: Walk) -> Collection:
        words, words_file = find_words(self.path, base)
        names, images = _class_names(known, words), image_files(samples.files, self.options)
        number = {wnid: row for row, wnid in enumerate(known)}
        rows = [number.get(wnid, -1) if wnid else -1 for wnid in samples.wnids]
        parts = splits_of(samples.splits)
        counted = ", ".join(f"{len(places)} {name}" for name, places in parts.items() if name != ALL)
        why = [f"folders named by WordNet ids such as {known[0]}, {names[0]}" if known else "ILSVRC", *samples.notes]
        if words_file is not None:
            why.append(f"words from {words_file.name}")
        return Collection(
            images=images,
            found=f"{len(samples.files)} images of {len(names)} classes{f' ({counted})' if counted else ''}, "
            f"ILSVRC layout ({'; '.join(why)}){f', {images.form}' if samples.files else ''}",
            names=[relative(path, self.path) for path in samples.files],
            labels=np.array(rows, dtype=np.int64) if self.options.labelled else None,
            classes=names if self.options.labelled else (),
            splits=parts,
            skipped=walk.skipped,
            note=images.note,
            sizes=images.size,
            settled=images.settled,
            sources=[*samples.files, *samples.sources, *([words_file] if words_file else [])],
            problems=samples.problems,
        )


def _places(path: Path) -> tuple[Path, list[tuple[str, Path]]]:
    """The folder that has the splits, and each split's folder; the folder itself where it has the classes.

    Empty where no folder is named by a WordNet id. Errors: ``OSError``.
    """
    for below in _BELOW:
        base = path / below
        if not base.is_dir():
            continue
        folders = [entry for entry in visible(base) if entry.is_dir()]
        splits = [(_SPLITS[one.name.lower()], Path(one.path)) for one in folders if one.name.lower() in _SPLITS]
        if any(_wnid_folders(folder) for _, folder in splits):
            return base, splits
        if _wnid_folders(base):
            return base, [(ALL, base)]
    return path, []


def _wnid_folders(folder: Path) -> list[str]:
    """The first folders' names where all are WordNet ids, looking at a bounded number of entries."""
    names = []
    with os.scandir(folder) as entries:
        for looked, entry in enumerate(entries):
            if looked >= _MOST_FOR_DETECTION:
                break
            if not entry.name.startswith(".") and entry.is_dir():
                names.append(entry.name)
    return sorted(names) if all(WNID.fullmatch(name) for name in names) else []


def _class_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The first words of each class where no other has the same, else its WordNet id."""
    first = {wnid: words[wnid].split(",")[0].strip() for wnid in wnids if wnid in words}
    counts = Counter(name.lower() for name in first.values())
    return tuple(first[wnid] if first.get(wnid) and counts[first[wnid].lower()] == 1 else wnid for wnid in wnids)
