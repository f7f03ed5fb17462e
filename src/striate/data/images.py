"""Image files that strangers may have made, decoded to arrays: the file is looked at before any decoder sees it.

Read: JPEG, PNG, WebP, BMP, TIFF, GIF, told by their first bytes and never by the name. What becomes of them:

- the orientation in the EXIF record is applied;
- 1-bit becomes grey of 0 and 255; grey stays one channel; palettes, CMYK, YCbCr, Lab and HSV become RGB (by Pillow's
  arithmetic, colour profiles are not applied);
- transparency (alpha channel, transparent palette entry or colour) is laid over ``background``, white by default,
  unless ``colour`` is ``rgba``: then it is a fourth channel;
- 16-bit grey stays uint16, 32-bit float grey stays float32; of 16-bit *colour* the upper 8 bits are kept (Pillow
  decodes no more), which is noted;
- of an animation or of several pages the first is taken, which is noted;
- ``colour`` and ``bits`` then bring all images of a set to one form: grey is 0.299 R + 0.587 G + 0.114 B, RGB of grey
  repeats it, 8 to 16 bits multiplies by 257 (white stays white), 16 to 8 bits divides by 257 and rounds.

Most JPEGs are decoded by :mod:`striate.data.jpeg`, all else by Pillow; the pixels are the same.
"""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import FileIO
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from striate.core.disk import open_file, read_whole
from striate.core.errors import InputError
from striate.data import jpeg

Colour = Literal["as found", "grey", "rgb", "rgba"]


@dataclass(frozen=True)
class Blob:
    """An image that is no file of its own: its bytes, and what it is called in messages."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


ImageSource = str | os.PathLike[str] | Blob

# The decoder is named by the first bytes, so no other of Pillow's decoders can be reached, whatever the file's name.
_JPEG = b"\xff\xd8\xff"
_READ: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (_JPEG, JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"GIF87a", GifImageFile),
    (b"GIF89a", GifImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
)
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "Photoshop (PSD)"),
    (b"%!PS", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\0\0\1\0", "icon (ICO)"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"#?RADIANCE", "Radiance (HDR)"),
    (b"\x93NUMPY", "NumPy (NPY)"),
    (b"<", "HTML or SVG text"),
    (b"P", "Netpbm (PPM)"),
)
FORMATS = "JPEG, PNG, WebP, BMP, TIFF and GIF"
_REPLACE = "replace or remove the file"
_FIX = f"convert it to one of {FORMATS}, or remove it"
ORIENTATION = 0x0112
"""The EXIF tag of the orientation: 1 to 8, from 5 on height and width are exchanged."""
SNIFFED = 16
"""How many first bytes tell the format."""
_HEAD = 1 << 16
"""How many first bytes are read to find a header."""
_WHOLE = 1 << 26
"""Files up to this size are read whole before they are decoded; Pillow reads larger ones as it goes."""
_SPACES = {"grey": "GRAY", "rgb": "RGB", "rgba": "RGBA"}
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True, kw_only=True)
class ImageRules:
    """What images are brought to; the rules and their meaning are those of the module's documentation.

    ``bits`` is 8 or 16 (of float images: neither applies), 0 as found. ``maximum_pixels`` is checked before decoding.
    ``at_least``: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size while its shorter side keeps this many pixels (0:
    always whole), see :func:`striate.data.jpeg.factor`.
    """

    colour: Colour = "as found"
    bits: int = 0
    background: tuple[int, int, int] = (255, 255, 255)
    maximum_pixels: int = 64_000_000
    at_least: int = 0


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says: size as stored, whether it has colour, transparency, 8, 16 or 32 bits, the
    number of its EXIF orientation (1: none), and its format as Pillow names it."""

    height: int
    width: int
    colour: bool
    transparent: bool
    bits: int
    orientation: int
    format: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as shown, after the orientation is applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def is_image(first: bytes) -> bool:
    """Whether these first bytes (:data:`SNIFFED` of them) are those of a format that is read."""
    return _decoder(first) is not None


def why_not_image(first: bytes) -> str:
    """Why a file that begins so is not read."""
    if not first:
        return "it is empty (0 bytes)"
    name = next((name for magic, name in _REFUSED if first.startswith(magic)), None)
    if name is None and first[4:8] == b"ftyp":
        name = "HEIC, AVIF or video"
    return f"it holds {name}, not {FORMATS}" if name else f"its content is not {FORMATS}"


class Decoded(NamedTuple):
    """An image decoded: ``values`` (C, H, W), which may be a view of interleaved pixels, a note or None, and ``size``,
    its full height and width as shown, also where it was decoded smaller."""

    values: NDArray[Any]
    note: str | None
    size: tuple[int, int]


def read_header(path: ImageSource, rules: ImageRules) -> ImageHeader:
    """Size, colour and bits of an image file, without decoding it. Errors: ``InputError`` as :func:`read_image`."""
    with _guarded(path), _bytes_of(path, _HEAD) as (data, file):
        kind = _demand_decoder(data, path)
        found = jpeg.parse(data) if kind is JpegImageFile else None
        if found is not None:
            _demand_size(found.width, found.height, path, rules)
            return ImageHeader(found.height, found.width, found.components > 1, False, 8, found.orientation, "JPEG")
        image = kind(file)
        _demand_size(image.width, image.height, path, rules)
        bits = 32 if image.mode == "F" else 16 if image.mode in _SIXTEEN else 8
        transparent = bool(image.has_transparency_data)
        colour = image.mode not in ("1", "L", "LA", "La", "F", *_SIXTEEN)
        return ImageHeader(
            image.height, image.width, colour, transparent, bits, _orientation(image), image.format or ""
        )


def read_image(path: ImageSource, rules: ImageRules) -> tuple[NDArray[Any], str | None]:
    """Decode an image file: (C, H, W) with C 1, 3 or 4, of uint8, uint16 or float32, and a note or None.

    Errors: ``InputError`` for a file that is missing, not regular, empty, not of these formats, truncated or damaged,
    with more pixels than allowed, or that cannot be brought to the form the rules ask for.
    """
    found = decoded(path, rules)
    return found.values, found.note


def decoded(path: ImageSource, rules: ImageRules) -> Decoded:
    """As :func:`read_image`, with the size of the image as shown. The file is opened once, its header read once."""
    with _guarded(path):
        data = path.data if isinstance(path, Blob) else read_whole(path, _WHOLE)
        header = jpeg.parse(data) if data is not None and data.startswith(_JPEG) else None
        complaint = None
        if data is not None and header is not None:
            _demand_size(header.width, header.height, path, rules)
            try:
                return Decoded(_in_bits(_of_jpeg(data, header, rules), rules.bits, path), None, header.size)
            except ValueError as error:  # Pillow then says whether there is anything to be shown
                complaint = str(error).strip()
        with _bytes_of(path, 0) if data is None else nullcontext((data, io.BytesIO(data))) as (first, file):
            return _by_pillow(_demand_decoder(first, path)(file), path, rules, complaint)


def _by_pillow(image: ImageFile, path: ImageSource, rules: ImageRules, complaint: str | None) -> Decoded:
    """The image decoded by Pillow, where ``complaint`` is what another decoder had to say of the same bytes."""
    _demand_size(image.width, image.height, path, rules)
    notes = [_frames(image)] if getattr(image, "is_animated", False) else []
    if _sixteen_bit_colour(image):
        notes.append("16-bit colour, of which the upper 8 bits were kept")
    size = (image.width, image.height) if _orientation(image) >= 5 else (image.height, image.width)
    by = jpeg.factor(size, rules.at_least) if isinstance(image, JpegImageFile) else 1
    if by > 1:
        image.draft(None, (image.width // by, image.height // by))
    image.load()
    if complaint is not None:
        if not jpeg.harmless(complaint):
            raise InputError(path, f"the image is damaged ({complaint})", _REPLACE)
        notes.append(f"kept, though its decoder says: {complaint}")
    return Decoded(in_form(image, rules, path), "; ".join(notes) or None, size)


def in_form(image: Image.Image, rules: ImageRules, path: ImageSource) -> NDArray[Any]:
    """An image, or the frame of one that is sought, as the rules ask: (C, H, W). Errors: ``InputError`` for too many
    pixels and for what cannot be brought to that form."""
    _demand_size(image.width, image.height, path, rules)
    return _in_bits(_values(ImageOps.exif_transpose(image) or image, rules), rules.bits, path)


@contextmanager
def opened(path: ImageSource, rules: ImageRules) -> Iterator[ImageFile]:
    """An image file, to go through its frames with ``seek`` and :func:`in_form`. Errors: ``InputError`` as
    :func:`read_image`, whatever is raised inside included."""
    with _guarded(path), _bytes_of(path, _WHOLE) as (first, file):
        image = _demand_decoder(first, path)(file)
        _demand_size(image.width, image.height, path, rules)
        yield image


def _of_jpeg(data: bytes, header: jpeg.JpegHeader, rules: ImageRules) -> NDArray[np.uint8]:
    """The values (C, H, W) of a JPEG that Pillow is not needed for. Errors: ``ValueError`` for a faulty file."""
    own = "GRAY" if header.components == 1 else "RGB"
    wanted = _SPACES.get(rules.colour, own)
    if wanted == "GRAY" and own == "RGB":  # the stored luma differs by a level or two from the grey of its RGB
        colour = jpeg.decode(data, header, own, rules.at_least)
        return _channels_first(Image.fromarray(colour).convert("L"))
    return jpeg.decode(data, header, wanted, rules.at_least).transpose(2, 0, 1)


@contextmanager
def _guarded(path: ImageSource) -> Iterator[None]:
    """Whatever a decoder raises on hostile bytes leaves as an ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(path, "there is not enough memory to decode it", "make the image smaller") from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, f"the image is damaged ({reason})", _REPLACE) from None


@contextmanager
def _bytes_of(source: ImageSource, most: int) -> Iterator[tuple[bytes, FileIO | io.BytesIO]]:
    """All bytes of a file and the same to read from, or where it has more than ``most`` its first and the file."""
    if isinstance(source, Blob):
        yield source.data, io.BytesIO(source.data)
        return
    with open_file(source) as (file, size):
        if size <= most:
            data = file.read(size + 1) or b""
            if len(data) != size:  # it was cut off in between, or grew
                data += file.readall() or b""
            yield data, io.BytesIO(data)
            return
        data = file.read(_HEAD) or b""
        file.seek(0)
        yield data, file


def _demand_decoder(first: bytes, path: ImageSource) -> type[ImageFile]:
    decoder = _decoder(first)
    if decoder is None:
        raise InputError(path, why_not_image(first), _FIX)
    return decoder


def _decoder(first: bytes) -> type[ImageFile] | None:
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return WebPImageFile
    return next((decoder for magic, decoder in _READ if first.startswith(magic)), None)


def _demand_size(width: int, height: int, path: ImageSource, rules: ImageRules) -> None:
    pixels = width * height
    if pixels > rules.maximum_pixels:
        raise InputError(
            path,
            f"{width} x {height} is {pixels:,} pixels, more than the {rules.maximum_pixels:,} allowed",
            f"make it smaller, or allow more with maximum_pixels = {pixels}",
        )
    if not pixels:
        raise InputError(path, "the image has no pixels", "remove the file")


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _frames(image: Image.Image) -> str:
    return "several pages, of which the first was taken" if image.format == "TIFF" else "animated: first frame taken"


def _sixteen_bit_colour(image: Image.Image) -> bool:
    if isinstance(image, PngImageFile) and image.tile:
        raw = image.tile[0].args  # Pillow's raw mode: RGB;16B, RGBA;16B, LA;16B
        return isinstance(raw, str) and ";16" in raw and image.mode not in _SIXTEEN
    if isinstance(image, TiffImageFile):
        depths = image.tag_v2.get(258, ())  # BitsPerSample
        return isinstance(depths, tuple) and len(depths) > 1 and max(depths) > 8
    return False


def _values(image: Image.Image, rules: ImageRules) -> NDArray[Any]:
    """The decoded image as (C, H, W) in the colours asked for."""
    if image.mode == "F" or image.mode in _SIXTEEN:
        grey = np.asarray(image)
        if image.mode == "I" and (grey.min() < 0 or grey.max() > 65535):
            raise ValueError("32-bit integers beyond 16 bits")
        values = grey.astype(np.float32 if image.mode == "F" else np.uint16)[None]
        if rules.colour == "rgba":
            opaque = np.full_like(values, 1 if image.mode == "F" else 65535)
            return np.concatenate((values, values, values, opaque))
        return np.repeat(values, 3, axis=0) if rules.colour == "rgb" else values
    if rules.colour == "rgba":
        return _channels_first(image.convert("RGBA"))
    grey_scale = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = _laid_over(image.convert("RGBA"), rules.background)
        # grey over a grey background is grey; over a colour it is not
        grey_scale = grey_scale and len(set(rules.background)) == 1
    wanted = {"grey": "L", "rgb": "RGB"}.get(rules.colour, "L" if grey_scale else "RGB")
    return _channels_first(image.convert(wanted))


def _laid_over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _channels_first(image: Image.Image) -> NDArray[np.uint8]:
    """(C, H, W), a view of the interleaved pixels."""
    values = np.array(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _in_bits(values: NDArray[Any], bits: int, path: ImageSource) -> NDArray[Any]:
    if not bits or values.dtype.itemsize * 8 == bits:
        return values
    if values.dtype == np.float32:
        raise InputError(path, "it holds 32-bit floats in a set of whole numbers", "convert it, or keep it apart")
    if bits == 16:
        return values.astype(np.uint16) * np.uint16(257)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def encode_png(values: NDArray[np.uint8]) -> bytes:
    """A uint8 array (1 or 3, H, W) as PNG, without loss."""
    buffer = io.BytesIO()
    image = values[0] if len(values) == 1 else values.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, where: object) -> NDArray[np.uint8]:
    """What :func:`encode_png` wrote: uint8 (1 or 3, H, W), a view of interleaved pixels.

    Errors: ``InputError`` when it is damaged.
    """
    try:
        return _channels_first(PngImageFile(io.BytesIO(data)))
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise InputError(where, f"a stored image is damaged ({error})", "delete the folder and prepare again") from None
