"""Read picture files, within limits of size, as upright and opaque portraits of an avatar.

The first bytes of a file select the one decoder that is used. Dimensions are checked before any pixel is decoded. The
stored picture is scaled down in strips; colours, transparency and orientation are applied to the small result.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from models.cue import Reference
from models.errors import UserError
from streaming.speech.format_name import HEAD, format_name
from streaming.speech.picture_colours import as_srgb

MOST_MEGAPIXELS = 64  # largest picture before it is scaled down
MOST_BYTES = 64 << 20  # largest file
# WebP and AVIF are decoded in one go, up to 17 bytes a pixel and the file twice: these limits mean 450 MB
IN_ONE_GO = ("WEBP", "AVIF")
MOST_MEGAPIXELS_IN_ONE_GO = 25
MOST_BYTES_IN_ONE_GO = 24 << 20
LEAST = 16  # pixels: smallest width and height of the cropped picture
MOST_SCAN_MEGAPIXELS = 2000  # passes of a progressive JPEG over the picture, times its size: about 10 s of decoding
GROUND = (198, 204, 216)  # RGB colour behind transparent parts: the top of the portrait world's studio backdrop
STRIP = 256  # rows of a picture that are worked on at a time
FORMATS = {
    "a PNG picture": "PNG",
    "a JPEG picture": "JPEG",
    "a WebP picture": "WEBP",
    "an AVIF picture": "AVIF",
    "a GIF picture": "GIF",
}
_TURNS = {  # by EXIF orientation, CIPA DC-008
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_one_at_a_time = threading.Lock()  # so that several uploads need no more memory than one
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # sizes are checked here


class PortraitError(UserError):
    """Report, in one line for a person, a picture that cannot be a portrait."""


@dataclass(frozen=True)
class Portrait:
    """Hold a portrait of a take's size, and notes for a person on how it was read."""

    reference: Reference
    notes: tuple[str, ...] = ()


def portrait_of(path: Path, size: tuple[int, int]) -> Portrait:
    """Read a picture file, cropped around its middle to the shape of `size` (width, height) and scaled to it.

    Raises PortraitError for a file that cannot be opened, is none of FORMATS, is damaged, or exceeds MOST_BYTES,
    MOST_MEGAPIXELS, the lower limits of formats that are decoded IN_ONE_GO, or MOST_SCAN_MEGAPIXELS.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as e:
        raise PortraitError(f"{path}: {e.strerror}") from e
    return portrait_in(data, size, str(path))


def portrait_in(data: bytes, size: tuple[int, int], name: str) -> Portrait:
    """Read a portrait from the bytes of a picture file, which errors and notes call `name`.

    Size, limits and errors are those of `portrait_of`.
    """
    picture = picture_in(data, size, name)
    return Portrait(Reference(picture.pixels, *picture.size), picture.notes)


@dataclass(frozen=True)
class Picture:
    """Hold a picture as RGB pixels, width and height, and notes for a person on how it was read."""

    pixels: bytes
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    transparent: bool = False  # whether parts of it were, under which there is GROUND now


def picture_in(data: bytes, size: tuple[int, int], name: str, *, whole: bool = False) -> Picture:
    """Read the bytes of a picture file, which errors and notes call `name`.

    The picture is cropped around its middle to the shape of `size` and scaled to it; with `whole` nothing is cut off,
    and it is scaled to fit into `size`. Limits and errors are those of `portrait_of`.
    """
    kind = format_name(data[:HEAD])
    if kind not in FORMATS:
        raise PortraitError(f"{name}: not a picture that can be read but {kind}; save it as PNG or JPEG")
    megapixels, most_bytes = _limits(FORMATS[kind])
    if len(data) > most_bytes:
        raise PortraitError(f"{name}: {kind} of more than {most_bytes >> 20} MB; scale it down")
    with _one_at_a_time:
        try:
            return _Reader(data, kind, name).picture(size, whole=whole)
        except Image.DecompressionBombError as e:
            raise PortraitError(f"{name}: {kind} of more than {megapixels} megapixels; scale it down") from e
        except UserError:
            raise
        except ValueError as e:
            if "too large" not in str(e):  # as Pillow says of what is packed beside the pixels of a PNG
                raise PortraitError(f"{name}: {kind} that breaks off or is damaged; save it anew") from e
            what = "with more than 1 MB of colour profile or text"
            raise PortraitError(f"{name}: {kind} {what}; save it without") from e
        except Exception as e:  # Pillow's readers raise many kinds of exceptions on damaged files
            raise PortraitError(f"{name}: {kind} that breaks off or is damaged; save it anew") from e


def _limits(decoder: str) -> tuple[int, int]:
    """Return the largest number of megapixels and of file bytes for a decoder of Pillow."""
    if decoder in IN_ONE_GO:
        return MOST_MEGAPIXELS_IN_ONE_GO, MOST_BYTES_IN_ONE_GO
    return MOST_MEGAPIXELS, MOST_BYTES


class _Reader:
    """Read one picture file, and collect notes for a person."""

    def __init__(self, data: bytes, kind: str, name: str) -> None:
        self._data, self._kind, self._decoder, self._name = data, kind, FORMATS[kind], name
        self.notes: list[str] = []
        self._transparent = False

    def picture(self, size: tuple[int, int], *, whole: bool) -> Picture:
        with Image.open(BytesIO(self._data), formats=[self._decoder]) as image:
            width, height = image.size
            most, _ = _limits(self._decoder)
            if width * height > most * 1_000_000:
                found = f"{self._kind} of {width}x{height}, which is of more than {most} megapixels"
                raise PortraitError(f"{self._name}: {found}; scale it down")
            if self._decoder == "JPEG":
                self._check_jpeg(width * height / 1e6)
                image.draft(image.mode, (4 * max(size), 4 * max(size)))  # decodes no more than is needed
            elif self._decoder == "PNG":
                with Image.open(BytesIO(self._data), formats=["PNG"]) as again:
                    again.verify()  # checksums, which decoding leaves out
            image.load()
            if getattr(image, "is_animated", False):  # Pillow gives it to some classes only
                self._note("it holds several pictures; the first one is used")
            orientation = self._orientation(image)
            lies = orientation >= 5
            upright = (height, width) if lies else (width, height)
            if whole:
                size = _within(upright, size)
            self._check_shape(upright, size)
            target = size[::-1] if lies else size
            box = (0, 0, *image.size) if whole else _middle(image.size, target)
            small = self._colours(_reduced(image, box, target, self._depth()), image)
        small = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
        return Picture(small.tobytes(), size, tuple(self.notes), self._transparent)

    def _note(self, what: str) -> None:
        self.notes.append(f"{self._name}: {what}")

    def _depth(self) -> int:
        """Return the bits per sample of a PNG, also those of its transparent colour; 8 for other formats."""
        return self._data[24] if self._decoder == "PNG" else 8

    def _check_jpeg(self, megapixels: float) -> None:
        """Raise PortraitError for a JPEG with several frame headers or too many passes.

        Decoders differ in which of several frame headers they follow.
        """
        frames, at = 0, 2
        while at + 4 <= len(self._data) and self._data[at] == 0xFF and self._data[at + 1] != 0xDA:
            marker = self._data[at + 1]
            if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # without a length
                at += 1 if marker == 0xFF else 2
                continue
            frames += 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
            at += 2 + int.from_bytes(self._data[at + 2 : at + 4], "big")
        if frames > 1:
            raise PortraitError(f"{self._name}: a JPEG picture that gives its size {frames} times; save it anew")
        passes = len(re.findall(b"\xff\xda", self._data[at:]))
        if passes * megapixels > MOST_SCAN_MEGAPIXELS:
            raise PortraitError(f"{self._name}: a JPEG picture of {passes} passes; save it anew")

    def _check_shape(self, upright: tuple[int, int], size: tuple[int, int]) -> None:
        width, height = upright
        left, top, right, bottom = _middle(upright, size)
        across, down = right - left, bottom - top
        if min(across, down) < LEAST:
            least = f"the middle of a picture needs {LEAST} pixels in width and height"
            raise PortraitError(f"{self._name}: a picture of {width}x{height} is too small; {least}")
        if across * down < 0.4 * width * height:
            self._note(f"of {width}x{height} pixels only the middle {across}x{down} is used")
        if 2 * across < size[0]:
            self._note(f"{across}x{down} pixels are enlarged to {size[0]}x{size[1]}")

    def _orientation(self, image: Image.Image) -> int:
        """Return the EXIF orientation, 1…8; with 5…8 the stored picture lies on its side."""
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # as in `portrait_in`
            self._note("its EXIF data cannot be read; the picture is taken to be upright")
            return 1
        return orientation if orientation in _TURNS else 1

    def _colours(self, small: Image.Image, image: Image.Image) -> Image.Image:
        """Return a reduced picture (L, RGB, CMYK or premultiplied RGBa) in sRGB over the colour GROUND."""
        alpha: NDArray[np.float64] | None = None
        if small.mode == "RGBa":
            small = small.convert("RGBA")
            alpha = np.asarray(small.getchannel("A"), np.float64)[..., None] / 255
            small = small.convert("RGB") if image.mode not in ("L", "LA", "I;16") else small.getchannel("R")
        colours, doubt = as_srgb(small, image.info, self._data, self._decoder)
        if doubt:
            self._note(doubt)
        if alpha is None:
            return colours
        if alpha.max() == 0:
            raise PortraitError(f"{self._name}: a picture that is transparent everywhere it is used")
        if alpha.min() < 1:
            self._transparent = True
            self._note("its transparent parts are laid on a light grey")
        laid = np.asarray(colours) * alpha + np.array(GROUND) * (1 - alpha)
        return Image.fromarray(laid.round().astype(np.uint8), "RGB")


def _middle(of: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest centred box (left, top, right, bottom) of a picture with the aspect ratio of `shape`."""
    scale = max(shape[0] / of[0], shape[1] / of[1])
    across, down = max(1, min(of[0], round(shape[0] / scale))), max(1, min(of[1], round(shape[1] / scale)))
    left, top = (of[0] - across) // 2, (of[1] - down) // 2
    return left, top, left + across, top + down


def _within(of: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size with the aspect ratio of a picture that fits into `size`."""
    scale = min(size[0] / of[0], size[1] / of[1])
    return max(1, min(size[0], round(of[0] * scale))), max(1, min(size[1], round(of[1] * scale)))


def _reduced(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int], depth: int) -> Image.Image:
    """Return the part of a picture in `box`, scaled to `size`: L, RGB, CMYK, or RGBa where there is transparency."""
    left, top, right, bottom = box
    across, down = right - left, bottom - top
    factor = max(1, min(across // (2 * size[0]), down // (2 * size[1])))
    rows = max(1, STRIP // factor)  # of the reduced picture
    strips = []
    for begin in range(top, bottom, rows * factor):
        strip = image.crop((left, begin, right, min(bottom, begin + rows * factor)))
        strips.append(_plain(strip, image, depth).reduce(factor))
    joined = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for number, strip in enumerate(strips):
        joined.paste(strip, (0, rows * number))
    smaller = across >= size[0]
    resampling = Image.Resampling.BOX if smaller else Image.Resampling.LANCZOS
    return joined.resize(size, resampling, box=(0, 0, across / factor, down / factor))


def _plain(strip: Image.Image, image: Image.Image, depth: int) -> Image.Image:
    """Return a strip of a picture in 8 bits: L, RGB, CMYK, or premultiplied RGBa where there is transparency."""
    clear = image.info.get("transparency")
    if strip.mode.startswith("I"):
        values = np.asarray(strip)
        grey = Image.fromarray((values >> 8).astype(np.uint8), "L")
        return grey if clear is None else _cleared(grey, values == clear)
    if strip.mode == "1":
        strip = strip.convert("L")
        return strip if clear is None else _cleared(strip, np.asarray(strip) == clear)
    if strip.mode in ("L", "RGB") and clear is not None and depth != 8 and image.format == "PNG":
        top = (1 << depth) - 1
        clear = tuple(v * 255 // top for v in clear) if isinstance(clear, tuple) else clear * 255 // top
    if strip.mode == "L" and isinstance(clear, int):
        return _cleared(strip, np.asarray(strip) == clear)
    if strip.mode == "RGB" and isinstance(clear, tuple):
        return _cleared(strip, (np.asarray(strip) == np.array(clear)).all(-1))
    if strip.has_transparency_data:
        return strip.convert("RGBA").convert("RGBa")
    return strip if strip.mode in ("L", "RGB", "CMYK") else strip.convert("RGB")


def _cleared(colours: Image.Image, clear: NDArray[np.bool_]) -> Image.Image:
    """Return colours as premultiplied RGBa, transparent where `clear` [height, width] is true."""
    out = colours.convert("RGBA")
    out.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8), "L"))
    return out.convert("RGBa")
