"""Read what FFmpeg does not report from the headers of sound files: their stated length, and encryption."""

from __future__ import annotations

import struct
from typing import BinaryIO

from streaming.speech.format_name import QUICKTIME

UNKNOWN = 0x7FFFF000  # bytes; a larger size was written before the length was known
UNCOMPRESSED = (1, 3, 6, 7, 0xFFFE)  # format tags of WAV: integers, floats, A-law, µ-law, and the extensible form
MOST_CHUNKS = 10_000  # chunks of a file that are looked at
SOUNDS, FILMS = (b"enca", b"drms"), (b"encv", b"drmi")  # names of codings in an MP4 file that are encrypted
MOST_MOOV = 64 << 20  # bytes of an MP4 file's header that are searched for encryption


def declared_seconds(file: BinaryIO) -> float | None:
    """Return the length in seconds that the header of a WAV or CAF file states; None if it states none.

    None is also returned for other formats. FFmpeg reports at most the length of the data that is present. The position
    in `file` changes.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _declared_wav(file)
    return _declared_caf(file) if head[:4] == b"caff" else None


def _declared_wav(file: BinaryIO) -> float | None:
    at, bytes_a_second = 12, 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return None
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"fmt " and len(form := file.read(16)) == 16:
            tag, _, rate, _, block, _ = struct.unpack("<HHIIHH", form)
            bytes_a_second = rate * block if tag in UNCOMPRESSED else 0
        elif head[:4] == b"data":
            return size / bytes_a_second if bytes_a_second and 0 < size < UNKNOWN else None
        at += 8 + size + size % 2
    return None


def _declared_caf(file: BinaryIO) -> float | None:
    """Return the seconds that a file in Apple's Core Audio Format states; None if its packets differ in size."""
    at, bytes_a_second = 8, 0.0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(12)
        if len(head) < 12:
            return None
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"desc" and len(desc := file.read(24)) == 24:
            rate, _, _, packet, frames = struct.unpack(">d4sIII", desc)
            bytes_a_second = rate * packet / frames if frames else 0.0
        elif head[:4] == b"data":
            return (size - 4) / bytes_a_second if bytes_a_second > 0 and size > 4 else None
        if size < 0:
            return None
        at += 12 + size
    return None


def is_encrypted(file: BinaryIO, codings: tuple[bytes, ...] = SOUNDS) -> bool:
    """Return whether an MP4 file's header describes encrypted sound, or pictures with FILMS as `codings`.

    Schemes are those of ISO/IEC 23001-7 and Apple's older one. The position in `file` changes.
    """
    at = 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8 or (at == 0 and head[4:8] not in {b"ftyp", *QUICKTIME}):
            return False
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if head[4:8] == b"moov":
            file.seek(at)
            moov = file.read(min(size, MOST_MOOV)) if size else file.read(MOST_MOOV)
            return b"sinf" in moov and any(coding in moov for coding in codings)
        if size < 8:
            return False
        at += size
    return False
