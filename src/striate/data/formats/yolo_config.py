"""What a YOLO set says of itself: its YAML (or darknet's ``obj.data``), lists of images, names of classes."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.core.errors import InputError
from striate.data.collection import SPLIT_NAMES
from striate.data.formats.folders import EXTENSIONS
from striate.data.formats.pairing import lines_of, text_of
from striate.data.formats.yaml_safe import read_yaml
from striate.data.paths import natural, shortened, visible
from striate.data.problems import Problem

_PREFERRED = ("data", "dataset", "config")
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt")


@dataclass(frozen=True)
class Config:
    """What a set says of itself.

    ``base``: the folder that paths begin in. ``file``: where it is said (None: nowhere). ``names``: class id to name.
    ``splits``: folders or lists of images by split. ``leave_unlabelled``: images without a label file are no samples.
    ``keypoints``: how many numbers of keypoints follow a box; ``scores``: whether a score does (``scores: true``).
    ``sources``: the files that were read.
    """

    base: Path
    file: Path | None = None
    names: dict[int, str] | None = None
    splits: dict[str, list[str]] = field(default_factory=dict)
    leave_unlabelled: bool = False
    keypoints: int = 0
    sources: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()
    scores: bool = False

    @property
    def after(self) -> int:
        """How many numbers follow a box and are passed over."""
        return self.keypoints + self.scores


def find_config(path: Path) -> Config:
    """What is said at a path: a YAML file, a folder with one (or one level down), or nothing but names and lists.

    Errors: ``InputError`` when it cannot be understood, or when folders inside say different things.
    """
    if not path.is_dir():
        config = _stated(path)
        if config is None:
            raise InputError(path, "it names no images and no classes", "give a YAML file with train, val and names")
        return config
    stated = [one for file in _config_files(path) if (one := _stated_or_none(file)) is not None]
    if not stated:
        folders = [Path(entry.path) for entry in visible(path) if entry.is_dir()][:50]
        inside = [
            (folder, one) for folder in folders for file in _config_files(folder) if (one := _stated_or_none(file))
        ]
        inner = list(dict.fromkeys(folder.name for folder, _ in inside))
        if len(inner) > 1:
            raise InputError(path, f"it holds several YOLO sets ({shortened(inner)})", "give one of them")
        stated = [one for _, one in inside]
    if stated:
        return _with_names(stated[0])
    return _with_names(_listed_config(path))


def _config_files(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in visible(folder) if entry.is_file()]
    except OSError:
        return []
    files = [Path(entry.path) for entry in entries if entry.name.lower().endswith((".yaml", ".yml", ".data"))]
    rank = {name: number for number, name in enumerate(_PREFERRED)}
    return sorted(files, key=lambda file: (rank.get(file.stem.lower(), len(rank)), natural(file.name)))[:20]


def _stated_or_none(file: Path) -> Config | None:
    """Of files beside the images only those that are YOLO's count; an unreadable one is an error when it is called as
    the description of a set is."""
    try:
        return _stated(file)
    except InputError:
        if file.stem.lower() in _PREFERRED:
            raise
        return None


def _stated(file: Path) -> Config | None:
    """What a file says, or None when it is no description of a YOLO set. Errors: ``InputError``."""
    content = _darknet(file) if file.suffix.lower() == ".data" else read_yaml(file)
    if not isinstance(content, dict):
        return None
    splits: dict[str, list[str]] = {}
    for name, value in content.items():
        split = SPLIT_NAMES.get(str(name).lower())
        if split is None or value is None or value == "":
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) and entry for entry in entries):
            return None
        splits.setdefault(split, []).extend(entries)
    problems: list[Problem] = []
    sources = [file]
    names = _names(content, file, problems, sources)
    if not splits and (names is None or "names" not in content):
        return None
    return Config(
        base=_base(file, content.get("path")),
        file=file,
        names=names,
        splits=splits,
        leave_unlabelled=content.get("skip_if_label_file_missing") is True,
        keypoints=_keypoints(content.get("kpt_shape")),
        scores=content.get("scores") is True,
        sources=tuple(sources),
        problems=tuple(problems),
    )


def _base(file: Path, said: object) -> Path:
    """The folder that ``path`` names, where it exists; else that of the file, which is where a copied set has it."""
    if isinstance(said, str) and said:
        named = Path(os.path.normpath(file.parent / said))
        if named.is_dir():
            return named
    return file.parent


def _keypoints(shape: object) -> int:
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(one, int) and 0 < one < 10_000 for one in shape):
        return int(shape[0] * shape[1])
    return 0


def _names(content: dict[Any, Any], file: Path, problems: list[Problem], sources: list[Path]) -> dict[int, str] | None:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, str):
        sources.append(_under(file.parent, names) or file.parent / names)
        found: dict[int, str] | None = dict(enumerate(filter(None, lines_of(sources[-1]))))
    elif isinstance(names, list):
        found = {number: _name(name, number, file) for number, name in enumerate(names)}
    elif isinstance(names, dict):
        found = {}
        for number, name in names.items():
            if isinstance(number, str) and number.isascii() and number.isdecimal():
                number = int(number)
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise InputError(file, f"the class id {number!r} in names is not a whole number", "correct the file")
            found[number] = _name(name, number, file)
    else:
        found = None
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= 100_000:
        return found
    if found is None:
        return {number: str(number) for number in range(count)}
    if len(found) != count:
        detail = f"nc is {count}, but {len(found)} names are given; the names are taken"
        problems.append(Problem("class-undeclared", file.name, detail))
    return found


def _name(name: object, number: int, file: Path) -> str:
    if name is None or isinstance(name, (list, dict)) or not str(name).strip():
        raise InputError(file, f"the class {number} has no name that is text", "correct names")
    if isinstance(name, bool):
        return str(name).lower()
    return str(name)


def _darknet(file: Path) -> dict[str, str] | None:
    """``key = value`` lines, as darknet's ``obj.data`` has them."""
    content = {}
    for line in text_of(file, 1 << 16).splitlines():
        name, found, value = line.partition("=")
        if found and not name.strip().startswith("#"):
            content[name.strip()] = value.strip()
    return content if "names" in content else None


def _listed_config(path: Path) -> Config:
    """Lists of images (``train.txt``) with nothing else beside them."""
    splits: dict[str, list[str]] = {}
    for entry in visible(path):
        split = SPLIT_NAMES.get(os.path.splitext(entry.name)[0].lower())
        if split is None or not entry.name.lower().endswith(".txt") or not entry.is_file():
            continue
        first = next((line for line in lines_of(Path(entry.path)) if line), "")
        if os.path.splitext(first)[1].lower() in EXTENSIONS:
            splits.setdefault(split, []).append(entry.name)
    return Config(path, splits=splits)


def _with_names(config: Config) -> Config:
    """With the classes of a file of names, where there is one and nothing else said them."""
    if config.names is not None:
        return config
    for folder in (config.base, config.base / "labels", *_inner_folders(config.base)):
        for file in (folder / name for name in _NAME_FILES):
            names = list(filter(None, lines_of(file))) if file.is_file() else []
            if names:
                return Config(
                    config.base,
                    config.file,
                    dict(enumerate(names)),
                    config.splits,
                    config.leave_unlabelled,
                    config.keypoints,
                    (*config.sources, file),
                    config.problems,
                )
    return config


def _inner_folders(base: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in visible(base) if entry.is_dir()][:20]
    except OSError:
        return []


def _under(base: Path, relative: str) -> Path | None:
    """The file that a path means: below ``base``, with as few of its first folders left away as it takes."""
    parts = [part for part in Path(os.path.normpath(relative)).parts if part not in ("..", "/")]
    tries = [Path(os.path.normpath(base / relative)), *(base / Path(*parts[n:]) for n in range(len(parts)))]
    return next((one for one in tries if one.is_file()), None)


def listed_images(config: Config, entry: str) -> tuple[Path, list[tuple[int, str, Path | None]]]:
    """A list of images: its file and, for each line, its number, its text and the image it means (None: there is none).

    A path is meant from the set's folder or the list's, also where its first folders (of another machine, or darknet's
    ``data/``) are not there. Errors: ``InputError`` when there is no such list.
    """
    file = _under(config.base, entry)
    if file is None:
        raise InputError(config.file or config.base, f"the list {entry} does not exist", "correct its path")
    found: list[tuple[int, str, Path | None]] = []
    for number, line in enumerate(lines_of(file), 1):
        if line:
            image = _under(config.base, line)
            if image is None and file.parent != config.base:
                image = _under(file.parent, line)
            found.append((number, line, image))
    return file, found
