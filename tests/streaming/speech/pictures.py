"""Make picture files for tests: plain areas in every format and mode, and files of other kinds."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from streaming.speech.portrait_file import Portrait, portrait_in

SIZE = (32, 32)
SKIN = (200, 120, 60)


def plain(mode: str = "RGB", colour: Any = SKIN, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new(mode, size, colour)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes | Portrait, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the portrait made of a file as [height, width, 3] int, 0 to 255."""
    portrait = portrait_in(data, size, "me") if isinstance(data, bytes) else data
    reference = portrait.reference
    return np.frombuffer(reference.pixels, np.uint8).reshape(reference.height, reference.width, 3).astype(int)


def close(found: np.ndarray, colour: tuple[int, int, int], within: int = 4) -> bool:
    return bool(np.abs(found - np.array(colour)).max() <= within)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, row: bytes, *extra: bytes, rows: int | None = None) -> bytes:
    """Return a PNG file (ISO/IEC 15948) of `rows` equal rows, or of as many as it says; chunks `extra` come before."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + row) * (height if rows is None else rows), 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body + chunk(b"IEND", b"")


def two_sized_tiff() -> bytes:
    """Return a TIFF that gives its width and height twice: as 16 and as 14000."""
    tags = [(256, 16), (257, 16), (256, 14_000), (257, 14_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, 14_000), (279, 256)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 264) + bytes(256) + struct.pack("<H", len(tags)) + entries + bytes(4)
