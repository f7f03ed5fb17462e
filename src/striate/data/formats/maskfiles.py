"""Mask files decoded to the values they hold: indices stay indices, whatever colours a palette shows them in.

Unlike a photo, a mask is never converted: a palette image gives its indices (the colours beside them), a grey image its
stored numbers (Pillow spreads 2- and 4-bit grey over 0 to 255; that is undone), transparency and EXIF orientation are
passed over. The formats, the pixel cap and the way of opening are those of :mod:`striate.data.images`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from striate.core.disk import open_file
from striate.core.errors import InputError
from striate.data.images import ImageRules, read_header

_DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}
OUTSIDE = 1 << 24
"""Added to a colour where a number was expected, so that it cannot be taken for a class."""

Reading = Literal["index", "grey", "colour"]


@dataclass(frozen=True, eq=False)
class RawMask:
    """What a mask file holds: ``values`` (\\*spatial) of an integer type, or (H, W, 3) uint8 where it has colours.

    ``palette`` uint8 (n, 3) are the colours of the indices, None without a palette. ``lossy``: it is a JPEG.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None = None
    coloured: bool = False
    lossy: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size in pixels."""
        return self.values.shape[:2] if self.coloured else self.values.shape

    def codes(self, reading: Reading) -> NDArray[Any]:
        """One whole number a pixel, (\\*spatial).

        ``index``: the indices or grey values; ``grey``: the same, but a palette is looked up; ``colour``: 65536 R +
        256 G + B. A colour where a number was expected has :data:`OUTSIDE` added.
        """
        if reading == "index" and not self.coloured:
            return self.values
        if not self.coloured and self.palette is None:
            return self.values if reading == "grey" else self.values.astype(np.int32) * 0x010101
        colours = self.values
        if self.palette is not None:
            table = np.zeros((max(256, int(self.values.max(initial=0)) + 1), 3), dtype=np.uint8)
            table[: len(self.palette)] = self.palette
            colours = table[self.values]
        red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
        packed = (red << 16) | (green << 8) | blue
        if reading == "colour":
            return packed
        return np.where((red == green) & (green == blue), red, packed | OUTSIDE)

    def snapped(self) -> "RawMask":
        """Grey of 0 and 255 only: below 128 is 0, else 255 (what JPEG blurred)."""
        grey = self.values[..., 0] if self.coloured else self.values
        return replace(self, values=np.where(grey < 128, 0, 255).astype(np.uint8), coloured=False, palette=None)


def read_mask(path: Path, maximum_pixels: int) -> RawMask:
    """Decode a mask file. Errors: ``InputError`` as for images, and for floats that are no whole numbers."""
    header = read_header(path, ImageRules(maximum_pixels=maximum_pixels))
    with open_file(path) as (file, _):
        try:
            image: Image.Image = _DECODERS[header.format](file)
            if (image.height, image.width) != (header.height, header.width):
                raise ValueError("it changed while it was read")
            return replace(_raw(image, path), lossy=header.format == "JPEG")
        except (InputError, MemoryError):
            raise
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(path, f"the mask is damaged ({reason})", "replace or remove the file") from None


def _raw(image: Image.Image, path: Path) -> RawMask:
    spread = _spread(image)
    image.load()
    if image.mode in ("P", "PA"):
        palette = image.getpalette("RGB") or []
        indices = np.asarray(image if image.mode == "P" else image.getchannel(0))
        return RawMask(indices, palette=np.array(palette, dtype=np.uint8).reshape(-1, 3))
    if image.mode == "1":
        return RawMask(np.asarray(image).astype(np.uint8))
    if image.mode == "L":
        return RawMask(np.asarray(image) // np.uint8(spread))
    if image.mode in ("LA", "La"):
        return RawMask(np.asarray(image)[..., 0])
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        small = values.dtype.itemsize > 2 and 0 <= values.min(initial=0) and values.max(initial=0) <= 0xFFFF
        return RawMask(values.astype(np.uint16 if small or values.dtype.itemsize == 2 else np.int32))
    if image.mode == "F":
        return RawMask(whole_numbers(np.asarray(image), path))
    colours = image if image.mode == "RGB" else image.convert("RGBA").convert("RGB")
    return RawMask(np.asarray(colours), coloured=True)


def whole_numbers(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Values of a float mask as int32. Errors: ``InputError`` where they are no whole numbers below 2^24."""
    if not np.isfinite(values).all() or (np.abs(values) >= OUTSIDE).any() or (values != np.rint(values)).any():
        raise InputError(path, "a mask of floats that are no whole numbers", "save class numbers as whole numbers")
    return values.astype(np.int32)


def _spread(image: Image.Image) -> int:
    """What Pillow multiplies the stored numbers of 2- and 4-bit grey with when it decodes."""
    if image.mode != "L" or not isinstance(image, PngImageFile | TiffImageFile) or not image.tile:
        return 1
    told = image.tile[0].args
    raw = told if isinstance(told, str) else told[0] if isinstance(told, tuple) and told else ""
    return {"L;2": 85, "L;4": 17}.get(str(raw), 1)
