"""A list of image files as samples: brought to one form, decoded when asked for, their sizes found by their headers."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from striate.core.errors import InputError
from striate.data.collection import Array, ReaderOptions
from striate.data.images import ImageHeader, ImageRules, ImageSource, decoded, read_header

LOOKED_AT = 20_000
"""How many headers decide which form a set has."""


class ImageFiles:
    """The images of a list of files, decoded when they are asked for, under one set of rules.

    Made by :func:`image_files`; ``sizes`` are those known already, by position. ``rules`` are the settled rules,
    ``form`` the decision in words, ``settled`` what goes into a Collection's ``settled``.
    """

    def __init__(
        self,
        files: Sequence[ImageSource],
        rules: ImageRules,
        form: str,
        sizes: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.files = files
        self.rules = rules
        self.form = form
        self.notes: dict[int, str] = {}
        self._sizes: dict[int, tuple[int, int]] = dict(sizes or {})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Array:
        found = decoded(self.files[position], self.rules)
        if found.note is not None:
            self.notes[position] = found.note
        self._sizes[position] = found.size
        return found.values

    def note(self, position: int) -> str | None:
        """What is to be known of an image that has been decoded."""
        return self.notes.get(position)

    def header(self, position: int) -> ImageHeader:
        """What the header of an image says. Errors: ``InputError``."""
        found = read_header(self.files[position], self.rules)
        self._sizes[position] = found.size
        return found

    def size(self, position: int) -> tuple[int, int]:
        """Full height and width as shown (EXIF orientation applied), by the header alone, also of an image that is
        decoded smaller. Known without opening the file when the image was decoded before. Errors: ``InputError``."""
        found = self._sizes.get(position)
        return self.header(position).size if found is None else found

    @property
    def settled(self) -> dict[str, Any]:
        """The options by which other images are brought to the same form."""
        return {"colour": self.rules.colour, "bits": self.rules.bits}


def image_files(files: Sequence[ImageSource], options: ReaderOptions) -> ImageFiles:
    """The files as samples. What the options leave open, colour and bits, is settled by the headers of up to
    :data:`LOOKED_AT` images, evenly spread: when any has colour, all become RGB; when any has 16 bits, all do."""
    rules = rules_of(options)
    if not files:
        return ImageFiles(files, rules, "")
    sizes: dict[int, tuple[int, int]] = {}
    if rules.colour == "as found" or not rules.bits:
        found = _headers(files, rules)
        headers = list(found.values())
        sizes = {position: header.size for position, header in found.items()}
        if rules.colour == "as found":
            tinted = len(set(rules.background)) > 1
            colour = any(header.colour or (header.transparent and tinted) for header in headers)
            rules = replace(rules, colour="rgb" if colour or not headers else "grey")
        if not rules.bits and not any(header.bits == 32 for header in headers):
            rules = replace(rules, bits=16 if any(header.bits == 16 for header in headers) else 8)
    return ImageFiles(files, rules, f"read as {rules.bits or 32}-bit {rules.colour}", sizes)


def rules_of(options: ReaderOptions) -> ImageRules:
    """The rules that the options state."""
    return ImageRules(
        colour=options.colour,
        bits=options.bits,
        background=options.background,
        maximum_pixels=options.maximum_pixels,
        at_least=options.decode_at_least,
    )


def _headers(files: Sequence[ImageSource], rules: ImageRules) -> dict[int, ImageHeader]:
    """The headers of evenly spread files, by position; those that cannot be read are left out."""
    step = max(1, -(-len(files) // LOOKED_AT))
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) * 2)) as pool:
        found = pool.map(partial(_header, rules=rules), files[::step])
        return {step * number: header for number, header in enumerate(found) if header is not None}


def _header(source: ImageSource, rules: ImageRules) -> ImageHeader | None:
    try:
        return read_header(source, rules)
    except InputError:
        return None  # the same error comes when it is decoded, and is listed then
