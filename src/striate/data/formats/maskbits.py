"""Masks of which every class has files of its own, read as one: bit sets where classes overlap, else class numbers.

Each file is 0 and one other value (255, say); 128 beside these two, or the option ``void``, means unknown. A class that
has no file for an image is not there. The option ``multi_label`` says whether a pixel may have several classes; left
open, it may where that happens in any of up to 64 images, evenly spread.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.core.bitsets import form_of, packed
from striate.core.errors import InputError
from striate.data.collection import ReaderOptions
from striate.data.formats.maskclasses import ClassTable
from striate.data.formats.maskfiles import RawMask
from striate.data.formats.maskkinds import LOOKED_AT, Look, MaskForm
from striate.data.formats.masksettle import Evidence, settle
from striate.data.paths import natural

if TYPE_CHECKING:
    from striate.core.sample import Target

BACKGROUND = "background"
UNKNOWN = 128
"""Between 0 and 255 in the mask of one class: it is not known whether the class is there."""

Read = Callable[[Path], RawMask]


@dataclass(frozen=True)
class LayeredMasks:
    """The masks of each sample by class (``files``), the names of all classes that have files (``layers``), how a file
    is read (``form``), and whether a pixel may have ``several`` classes. ``said`` is that in words."""

    files: Sequence[Mapping[str, Path]]
    layers: tuple[str, ...]
    form: MaskForm
    several: bool
    said: str
    read: Read

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in order of their numbers; with one class a pixel the background, which is the rest, is first."""
        if self.several:
            return self.layers
        others = tuple(name for name in self.layers if name.lower() != BACKGROUND)
        return (BACKGROUND, *others)

    def targets(self, position: int) -> "dict[str, Target]":
        """The ``mask`` of a sample. Errors: ``InputError`` for a file that cannot be read, and where those of an image
        differ in size."""
        import torch

        from striate.core.sample import Mask

        layers = dict(self._numbered(position))
        values = next(iter(layers.values()))
        void = np.any([one == self.form.ignore for one in layers.values()], axis=0)
        if self.several:
            kind, ignore = form_of(len(self.layers), "masks")
            empty = np.zeros(values.shape, dtype=bool)
            made = packed([layers[name] == 1 if name in layers else empty for name in self.layers], kind)
            made[void] = ignore
        else:
            ignore = 255 if len(self.classes) <= 255 else 65_535
            made = np.where(void, ignore, 0).astype(np.uint8 if ignore == 255 else np.int32)
            # where classes overlap all the same, the smaller stays whole
            for name in sorted(layers, key=lambda name: -int((layers[name] == 1).sum())):
                if name.lower() != BACKGROUND:
                    made[layers[name] == 1] = self.classes.index(name)
        return {"mask": Mask(torch.from_numpy(made), ignore)}

    def unknown(self, position: int) -> dict[int, int]:
        """Values of a sample's files that are none of the two and not void, with their pixels."""
        found: dict[int, int] = {}
        for file in self.files[position].values():
            for value, pixels in self.form.unknown(self.read(file)).items():
                found[value] = found.get(value, 0) + pixels
        return found

    def _numbered(self, position: int) -> list[tuple[str, NDArray[Any]]]:
        """The layers of a sample: 1 where the class is, 0 where it is not, 255 for unknown."""
        found = [(name, self.form.numbered(self.read(file))) for name, file in self.files[position].items()]
        sizes = {values.shape: name for name, values in found}
        if len(sizes) > 1:
            (one, first), (other, second) = list(sizes.items())[:2]
            shown = [" x ".join(map(str, reversed(size))) for size in (one, other)]
            file = self.files[position][second]
            cause = f"the size of the mask of {second} is {shown[1]}, that of {first} {shown[0]}"
            raise InputError(file, cause, "export the masks of an image at one size")
        return found


def open_layers(
    files: Sequence[Mapping[str, Path]],
    looks: Sequence[Look],
    table: ClassTable | None,
    options: ReaderOptions,
    read: Read,
) -> LayeredMasks:
    """Settle how the masks are read, from looks at some of them. ``table`` orders the classes, where it names all.
    Errors: ``InputError`` for masks of more than two values, boxes asked for, or too many classes."""
    where = os.path.commonpath([file.parent for one in files for file in one.values()])
    if options.target == "boxes":
        raise InputError(where, "boxes were asked for, and the masks tell no objects apart", "use --target mask")
    names = tuple(sorted({name for one in files for name in one}, key=natural))
    known = {} if table is None else {value: name for value, name in table.names.items() if value not in table.void}
    listed = tuple(known[value] for value in sorted(known))
    if set(names) <= set(listed):
        names = tuple(name for name in listed if name in names or name.lower() != BACKGROUND)
    form = _form(looks, Path(where), options)
    opened = LayeredMasks(files, names, form, True, "", read)
    several, why = options.multi_label, "as was asked for"
    if several is None:
        several, why = _overlap(opened)
    if several:
        form_of(len(names), where)
    said = f"several classes a pixel (multi_label), {why}" if several else f"one class a pixel, {why}"
    return LayeredMasks(files, names, form, several, said, read)


def _form(looks: Sequence[Look], where: Path, options: ReaderOptions) -> MaskForm:
    values = {value for one in looks for value in one.grey or one.colours}
    void = UNKNOWN if options.void is None and values == {0, UNKNOWN, 255} else options.void
    plain = options.replace(classes=(), target="mask", border=0, void=void)
    form, _ = settle(Evidence(looks, None, False, where), plain)
    if form.kind != "binary":
        cause = f"every class has masks of its own, and they hold more than 0 and one other value ({form.said})"
        raise InputError(where, cause, "save the mask of a class as 0 and 255")
    return form


def _overlap(masks: LayeredMasks) -> tuple[bool, str]:
    """Whether a pixel has two classes in any of up to 64 samples, and that in words. What cannot be read is met again
    when it is a sample."""

    def found(position: int) -> bool | None:
        try:
            layers = masks._numbered(position)
        except InputError:
            return None
        times = np.sum([values == 1 for _, values in layers], axis=0)
        return bool((times > 1).any())

    places = range(0, len(masks.files), max(1, -(-len(masks.files) // LOOKED_AT)))
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
        seen = [one for one in pool.map(found, places) if one is not None]
    if any(seen):
        return True, f"since classes overlap in {sum(seen)} of {len(seen)} images looked at"
    return False, f"since classes overlap in none of {len(seen)} images looked at"
