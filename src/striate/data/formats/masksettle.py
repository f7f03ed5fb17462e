"""Which kind of masks a set has, decided by looking at some of them: :func:`settle`.

In this order: JPEG masks are refused unless they are clearly 0 and 255; colours count where any mask has them, where a
colour table knows them, or where palettes contradict each other; a file of classes decides what numbers mean; numbers
of 16 bits, or of 8 bits that count up from 1 in every mask as far as the mask has objects, are instances; 0 and one
other value is binary; what is left are class numbers. A value that only one of eight or more masks has, far from all
others, is taken for damage and not for a class.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.maskclasses import ClassTable, voids
from striate.data.formats.maskfiles import Reading
from striate.data.formats.maskkinds import Kind, Look, MaskForm, agreeing_palettes
from striate.data.problems import Problem

CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree"),
    *("SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)
"""The classes of CamVid as SegNet numbered them (Badrinarayanan, Kendall and Cipolla 2017, arXiv:1511.00561); 11 is
void."""
_MOST_COLOURS = 256
_FEWEST_FOR_DAMAGE = 8


@dataclass(frozen=True)
class Evidence:
    """What is known of a set's masks: looks at some, the file of classes, whether the folders are laid out as SegNet's
    CamVid (``train`` + ``trainannot``), and the masks' folder for messages."""

    looks: Sequence[Look]
    table: ClassTable | None
    segnet: bool
    where: Path


def settle(evidence: Evidence, options: ReaderOptions) -> tuple[MaskForm, list[Problem]]:
    """How the masks are read, and what is doubtful about it. Errors: ``InputError`` for JPEG masks of other values than
    0 and 255, more than 256 colours without a colour table, or objects asked for where masks have classes."""
    looks = [_usable(one, evidence.where) for one in evidence.looks]
    if not looks:
        raise InputError(evidence.where, "no mask can be read", "see the reasons in the list of skipped files")
    snap = any(one.lossy for one in looks)
    reading = _reading(looks, evidence.table)
    seen = _Seen(looks, reading)
    if reading == "colour":
        form = _colours(seen, evidence, options)
    elif evidence.table is not None:
        form = _named(seen, evidence.table, options)
    else:
        form = _numbers(seen, evidence, options)
    if snap and form.kind != "binary":
        raise InputError(evidence.where, "some masks are JPEG, which changes class numbers", "export them as PNG")
    if options.target == "boxes" and form.kind != "instances":
        raise InputError(
            evidence.where,
            f"boxes were asked for, and the masks tell no objects apart ({form.said})",
            "give masks in which each object has a number of its own, or --target mask",
        )
    form = replace(form, snap=True) if snap else form
    return form, _doubts(form, seen, evidence)


class _Seen:
    """The values of all looks in one reading: ``each`` look's, in how many looks (``masks``), how many ``pixels``."""

    def __init__(self, looks: Sequence[Look], reading: Reading) -> None:
        self.reading: Reading = reading
        self.each = [_in_reading(one, reading) for one in looks]
        self.masks = Counter(value for one in self.each for value in one)
        self.pixels: Counter[int] = Counter()
        for one in self.each:
            self.pixels.update(one)
        self.wide = any(one.sixteen for one in looks)

    def without(self, void: frozenset[int]) -> list[int]:
        """The values but for void and damage, in order."""
        values = sorted(set(self.masks) - void)
        if len(self.each) < _FEWEST_FOR_DAMAGE:
            return values
        near = {other + step for other in values for step in (-1, 1)}
        kept = [value for value in values if self.masks[value] > 1 or value in near or value in (0, 255)]
        return kept if len(kept) > 1 else values


def _usable(one: Look, where: Path) -> Look:
    if not one.lossy:
        return one
    if not one.two_valued:
        raise InputError(
            where,
            "masks stored as JPEG, with more values than 0 and 255: JPEG has changed the class numbers",
            "export the masks as PNG",
        )
    return one.snapped()


def _reading(looks: Sequence[Look], table: ClassTable | None) -> Reading:
    known = set(table.names) if table is not None and table.coloured else None
    palettes = [one for one in looks if one.palette is not None]
    if any(one.index is None for one in looks) or not agreeing_palettes(palettes):
        by_table = known is not None and all(set(one.colours) <= known for one in looks)
        return "grey" if not by_table and all(one.grey is not None for one in looks) else "colour"
    if known is not None and palettes and all(set(one.colours) <= known for one in looks):
        return "colour"
    return "index"


def _in_reading(one: Look, reading: Reading) -> Mapping[int, int]:
    values = {"index": one.index, "grey": one.grey, "colour": one.colours}[reading]
    assert values is not None
    return values


def _colours(seen: _Seen, evidence: Evidence, options: ReaderOptions) -> MaskForm:
    table = evidence.table
    void = frozenset(() if options.void is None else (options.void,))
    if table is not None and table.coloured:
        void = void or table.void
        names = {code: name for code, name in table.names.items() if code not in void}
        source = f"the colours of {table.source.name if table.source else 'a table'}"
    elif table is not None:
        raise InputError(
            table.source,
            "it names classes by number, and the masks hold colours",
            "write the colours too, as class_dict.csv with the columns name, r, g, b",
        )
    else:
        found = sorted(set(seen.masks) - void)
        if len(found) > _MOST_COLOURS:
            raise InputError(
                evidence.where,
                f"the masks hold {len(found):,} colours, which cannot all be classes (blurred edges?)",
                "say which are classes in class_dict.csv (columns name, r, g, b), or export the masks without blur",
            )
        names = {code: f"#{code:06x}" for code in found}
        source = "the colours found"
    return _form("colours", "colour", names, void, f"masks of colours, classes by {source}")


def _named(seen: _Seen, table: ClassTable, options: ReaderOptions) -> MaskForm:
    rows = dict(table.rows if table.coloured else table.names)
    void = frozenset((options.void,)) if options.void is not None else voids(rows)
    names = {value: name for value, name in sorted(rows.items()) if value not in void}
    said = f"class numbers named by {table.source.name if table.source else 'a table'}"
    values = sorted(set(seen.masks) - void - {0})
    if sorted(names) == [0, 1] and len(values) == 1 and values[0] > 1 and not void:
        both = {0: names[0], values[0]: names[1]}
        return _form("binary", seen.reading, both, void, f"masks of 0 and {values[0]}, named by {said.split()[-1]}")
    if not void:
        void = frozenset({255, 65_535} - set(names)) if seen.wide else frozenset({255} - set(names))
    return _form("index", seen.reading, names, void, said)


def _numbers(seen: _Seen, evidence: Evidence, options: ReaderOptions) -> MaskForm:
    void = frozenset(() if options.void is None else (options.void,))
    values = seen.without(void)
    asked = options.target == "boxes" or options.border > 0
    two = _two_values(seen, values)
    if two is None and (asked or _are_instances(seen, values, void)):
        classes = {0: "background", 1: "object", **({2: "border"} if options.border else {})}
        classes = {0: "object"} if options.target == "boxes" else classes
        form = _form("instances", seen.reading, classes, void, "masks in which each object has a number")
        return replace(form, border=options.border)
    given = options.classes
    if two is not None and (not given or len(given) == 2):
        names = dict(zip((0, two), given or ("background", "foreground"), strict=True))
        return _form("binary", seen.reading, names, void, f"masks of 0 and {two}, taken as background and foreground")
    if evidence.segnet and len(values) >= 10 and values[-1] <= 11:
        void = void or frozenset({11})
        names = {value: (*CAMVID, "11")[value] for value in range(12) if value not in void}
        told = f"{min(void)} is void" if void else ""
        said = f"class numbers, named as CamVid's because of the folders (train + trainannot); {told}"
        return _form("index", seen.reading, names, void, said)
    if not void and 255 in values:
        rest = [value for value in values if value != 255]
        if given or (len(rest) > 1 and 2 * len(rest) > rest[-1]):
            void, values = frozenset({255}), rest
    if given:
        numbers = [value for value in range(len(given) + len(void)) if value not in void][: len(given)]
        return _form("index", seen.reading, dict(zip(numbers, given, strict=True)), void, _told("class numbers", void))
    if 2 * len(values) > values[-1]:
        # a class that none of the masks looked at has is likelier than a hole in the numbers
        values = [value for value in range(min(values[0], 1), values[-1] + 1) if value not in void]
    names = {value: str(value) for value in values}
    return _form("index", seen.reading, names, void, _told("class numbers", void))


def _told(said: str, void: frozenset[int]) -> str:
    return f"{said}, {min(void)} is void" if void else said


def _two_values(seen: _Seen, values: Sequence[int]) -> int | None:
    """The value that is the foreground where the masks have but 0 and one other; else None."""
    others = [value for value in values if value]
    if len(others) <= 1:
        return others[0] if others else 255
    if others == [1, 255] and not any(1 in one and 255 in one for one in seen.each):
        # masks of 0/1 and masks of 0/255 in one set: the rarer form is damage, and shows as values that are no class
        return max(others, key=lambda value: seen.masks[value])
    high = others[-1]
    sides = seen.pixels[0] + seen.pixels[high]
    blurred = not seen.wide and len(others) > 16 and high >= 128 and sides >= 0.95 * sum(seen.pixels.values())
    return high if blurred else None


def _are_instances(seen: _Seen, values: Sequence[int], void: frozenset[int]) -> bool:
    if seen.wide:
        scaled = len(values) <= 32 and values[-1] > 16 * len(values)
        return not scaled
    objects = [sorted(set(one) - void - {0}) for one in seen.each]
    filled = [one for one in objects if one]
    counts = [len(one) for one in filled]
    counting = sum(one == list(range(1, len(one) + 1)) for one in filled)
    return bool(filled) and max(counts) >= 20 and 2 * min(counts) <= max(counts) and counting >= 0.9 * len(filled)


def _form(kind: Kind, reading: Reading, names: Mapping[int, str], void: frozenset[int], said: str) -> MaskForm:
    numbers = {value: place for place, value in enumerate(names)}
    return MaskForm(kind, reading, tuple(names.values()), numbers, void, said)


def _doubts(form: MaskForm, seen: _Seen, evidence: Evidence) -> list[Problem]:
    found = list(evidence.table.problems) if evidence.table is not None else []
    place = evidence.where.name
    if form.kind == "binary" and max(form.numbers) > 1:
        found.append(Problem("mask-scaled", place, form.said))
    beyond = len(form.classes)
    if form.kind == "index" and evidence.table is not None and sorted(form.numbers) == list(range(beyond)):
        share = seen.masks[beyond] / len(seen.each) if beyond not in form.void else 0
        if share >= 0.1:
            detail = f"the value {beyond} is in {share:.0%} of the masks, and {beyond} classes are numbered from 0"
            found.append(Problem("class-offset", place, detail))
    return found
