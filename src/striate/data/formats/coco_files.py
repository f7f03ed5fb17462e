"""Where the JSON files of a COCO set lie, which split each is of, and in which folder its images are.

JSON files are looked for in the folder itself, in the folders in it, and in a folder ``annotations`` of those; they are
told by their beginning and end. Images are looked for in the folders that tools use (``train2017``, ``images/train``,
``images``, beside the JSON file, ...), and the folder that has most of a sample of the listed files is taken. A listed
name must stay inside that folder: names that are absolute or have ``..`` in them are refused, whatever they lead to.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.collection import ALL, SPLIT_NAMES
from striate.data.formats.folders import EXTENSIONS
from striate.data.paths import natural, shortened

BESIDE = "_annotations.coco.json"
"""The name of a JSON file that lies among its images (Roboflow's export)."""
_ANNOTATION_FOLDERS = ("annotations", "annotation", "labels", "json")
_IMAGE_FOLDERS = ("images", "Images", "JPEGImages", "imgs", "img", "data")
_NO_OBJECTS = ("captions", "panoptic")
_MOST_ENTRIES = 5_000  # said in words below
_MOST_SNIFFED = 64
_SNIFFED = 1 << 16
_SAMPLED = 50
_KEYS = (
    re.compile(rb'"images"\s*:\s*\['),
    re.compile(rb'"annotations"\s*:\s*\['),
    re.compile(rb'"categories"\s*:\s*\['),
)
_INSIDE = re.compile(rb'"(?:file_name|image_id|category_id|bbox)"\s*:')


@dataclass(frozen=True)
class CocoJson:
    """One JSON file: its path, what it is for by its name (``instances``, ``keypoints``, ``image_info``,
    ``stuff`` or nothing), its split, and the rest of its name, by which its images may be called (``train2017``)."""

    path: Path
    kind: str
    split: str
    called: str


def coco_jsons(path: Path) -> list[CocoJson]:
    """The COCO JSON files of a folder, or the one file given, in the order train, val, test, others; [] for none.

    Bounded in time: at most 5,000 entries of the folder, as many of those in it together, 64 JSON files.
    Captions and panoptic files, which have no objects of their own, are not among them. Raises nothing.
    """
    try:
        if not path.is_dir():
            return [described(path, path)] if path.suffix.lower() == ".json" and is_coco(path) else []
        found = [described(place, path) for place in _sniffed(path)]
    except (OSError, ValueError):
        return []
    order = ("train", "val", "test", ALL)
    return sorted((one for one in found if one.kind not in _NO_OBJECTS), key=lambda one: order.index(one.split))


def _sniffed(path: Path) -> Iterator[Path]:
    left, entries = _MOST_SNIFFED, _MOST_ENTRIES
    for folder in _folders(path):
        names = []
        for entry in _entries(folder, _MOST_ENTRIES if folder == path else entries):
            entries -= folder != path
            if entry.name.lower().endswith(".json"):
                names.append(entry.name)
        if BESIDE not in names and (folder / BESIDE).is_file():  # among very many images it may come too late
            names.append(BESIDE)
        for name in sorted(names, key=natural):
            left -= 1
            if left < 0:
                return
            if is_coco(folder / name):
                yield folder / name


def _folders(path: Path) -> Iterator[Path]:
    """The folder, those in it that are called as annotations are, the others, and the annotations' inside those."""
    yield path
    inside = sorted((entry.name for entry in _entries(path, _MOST_ENTRIES) if entry.is_dir()), key=natural)
    own = [name for name in inside if name.lower() in _ANNOTATION_FOLDERS]
    yield from (path / name for name in own)
    others = [path / name for name in inside if name not in own]
    yield from (place for folder in others for name in _ANNOTATION_FOLDERS if (place := folder / name).is_dir())
    yield from others


def _entries(folder: Path, most: int) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, at most so many."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in islice(entries, max(most, 0)) if not entry.name.startswith("."))
    except OSError:
        return


def is_coco(path: Path) -> bool:
    """Whether a JSON file has the lists of a COCO file, by its first and last 64 KiB. Raises nothing."""
    try:
        with open_file(path) as (file, size):
            parts = [file.read(_SNIFFED) or b""]
            if size > _SNIFFED:
                file.seek(max(_SNIFFED, size - _SNIFFED))
                parts.append(file.read(_SNIFFED) or b"")
    except (InputError, OSError):
        return False
    if parts[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"{":
        return False
    lists = sum(any(key.search(part) for part in parts) for key in _KEYS)
    return lists >= 2 or (lists == 1 and any(_INSIDE.search(part) for part in parts))


def described(path: Path, base: Path) -> CocoJson:
    """What the name of a JSON file says: its kind and its split. ``base`` is the data set: a folder, or this file."""
    stem = path.name[: -len(".json")]
    kinds = ("person_keypoints", "keypoints", "instances", "image_info", "stuff", *_NO_OBJECTS)
    prefix = next((kind for kind in kinds if stem.lower().startswith(kind)), "")
    kind = prefix.removeprefix("person_")
    # the folder says the split where the name does not: train/_annotations.coco.json
    texts = [stem, *(path.parent.relative_to(base).parts[::-1] if path != base else ())]
    for text in texts:
        for called in re.findall(r"[A-Za-z]+[0-9]*", text):
            split = SPLIT_NAMES.get(called.rstrip("0123456789").lower())
            if split is not None:
                return CocoJson(path, kind, ALL if path == base else split, called)
    return CocoJson(path, kind, ALL, stem[len(prefix) :].strip("_-. "))


def choose(
    found: Sequence[CocoJson], target: str | None, labelled: bool, base: Path
) -> tuple[list[CocoJson], list[tuple[str, str]]]:
    """The JSON files to read, one a split, and (name, reason) of those passed over.

    Of files for the same images, ``instances`` are preferred, or ``keypoints`` where they are asked for. Errors:
    ``InputError`` when two are of the same split.
    """
    order = ["instances", "", "keypoints", "stuff"]
    if target == "keypoints":
        order = ["keypoints", "", "instances"]
    order += [] if labelled else ["image_info"]
    kinds = [kind for kind in order if any(one.kind == kind for one in found)]
    if not kinds:
        raise InputError(base, "none of its JSON files lists objects", "give one that has annotations and categories")
    named = [one for one in found if one.kind == kinds[0]]
    chosen = [one for one in named if one.split != ALL] or named
    passed = []
    for one in found:
        if one not in chosen:
            reason = "it names no split, and others do" if one.kind == kinds[0] else f"{kinds[0] or 'another'} was read"
            passed.append((os.path.relpath(one.path, base), f"passed over: {reason}"))
    for split in {one.split for one in chosen}:
        same = [os.path.relpath(one.path, base) for one in chosen if one.split == split]
        if len(same) > 1:
            what = "name no split" if split == ALL else f"are of the split {split}"
            raise InputError(
                base, f"{len(same)} COCO files {what} ({shortened(same)})", "give one of them, or name their splits"
            )
    return chosen, passed


def images_folder(one: CocoJson, names: Sequence[str], base: Path, given: str | None) -> tuple[Path | None, list[Path]]:
    """The folder in which most of a sample of the listed ``names`` are (None: none is anywhere), and where was looked.

    ``given`` is the folder that the user named, inside ``base`` or absolute.
    """
    above = one.path.parent
    roots = [above]
    if above != base or above.name.lower() in _ANNOTATION_FOLDERS:
        roots.append(above.parent)
    if base != one.path:
        roots.append(base)
    if given is not None:
        roots = [base / given if base != one.path else above / given]
    splits = [one.called, *(name for name, split in SPLIT_NAMES.items() if split == one.split)] if one.called else []
    looked: list[Path] = []
    for root in roots:
        own = [root / part / split for split in splits for part in ("", "images")]
        own += [root / split / "images" for split in splits]
        looked += [*own, root] if given is not None else [*own, *(root / name for name in _IMAGE_FOLDERS), root]
    looked = [place for place in dict.fromkeys(looked) if place.is_dir()]
    step = max(1, len(names) // _SAMPLED)
    best, most = None, 0
    for place in looked:
        hits = sum(located(place, name) is not None for name in names[::step])
        if hits > most:
            best, most = place, hits
    return best, looked


def leads_out(name: str) -> bool:
    """Whether a listed name could lead out of the folder of the images."""
    parts = re.split(r"[/\\]", name)
    return name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:[/\\]", name) is not None


def located(folder: Path, name: str) -> Path | None:
    """The regular file of a listed name, or None. Where there is none, ``\\`` is read as ``/``."""
    if leads_out(name):
        return None
    for spelled in (name, name.replace("\\", "/")):
        try:
            os.fsencode(spelled)
            place = folder / spelled
            if place.is_file():
                return place
        except (OSError, ValueError):  # a NUL, half a surrogate pair, a name too long
            return None
    return None


def unlisted(folders: Sequence[Path], listed: set[str]) -> Iterator[Path]:
    """The image files, by their name, in and below the folders that are not among the ``listed`` paths. Hidden ones are
    passed over, links to folders are not followed."""
    seen: set[str] = set()
    for folder in folders:
        for above, inside, names in os.walk(folder):
            inside[:] = sorted((name for name in inside if not name.startswith(".")), key=natural)
            for name in sorted(names, key=natural):
                if os.path.splitext(name)[1].lower() not in EXTENSIONS or name.startswith("."):
                    continue
                place = Path(above) / name
                if str(place) not in listed and str(place) not in seen:
                    seen.add(str(place))
                    yield place
