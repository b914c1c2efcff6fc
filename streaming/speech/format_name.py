"""Name the format of a file by its first bytes, for messages on what was found instead of a sound or picture."""

from __future__ import annotations

HEAD = 4096  # bytes that `format_name` looks at

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"II+\0", "a TIFF picture"),
    (b"MM\0+", "a TIFF picture"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\0\0\2\0", "a cursor (CUR)"),
    (b"icns", "an icon (ICNS)"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"qoif", "a QOI picture"),
    (b"DDS ", "a DDS texture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"gimp xcf", "a GIMP document"),
    (b"BM", "a BMP picture"),
    (b"ID3", "an MP3 sound"),
    (b"fLaC", "a FLAC sound"),
    (b"OggS", "an Ogg sound"),
    (b"FORM", "an AIFF sound"),
    (b"caff", "a CAF sound"),
    (b".snd", "an AU sound"),
    (b"MThd", "a MIDI score, which holds notes and no sound"),
    (b"#!AMR", "an AMR sound"),
    (b"#EXTM3U", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"\0\0\1\xba", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
    (b"version https://git-lfs", "a git-lfs pointer; fetch the file itself with git lfs pull"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"GGUF", "a GGUF checkpoint"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_RIFF = {b"WAVE": "a WAV sound", b"WEBP": "a WebP picture", b"AVI ": "an AVI video"}
_PACKETS = ((188, 0), (192, 4), (204, 0))  # of MPEG transport streams (ISO/IEC 13818-1): distance, first sync byte
QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # boxes with which a .mov without brands begins
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def format_name(head: bytes) -> str:
    """Return the kind of a file that begins with `head`, with its article, such as `a TIFF picture`."""
    if not head:
        return "an empty file"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    if head[4:8] in QUICKTIME and (head[0] < 0x20 or head[4:8] == b"mdat"):  # a box's size, and no text
        return "an MP4 file"
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if any(set(head[first::distance]) == {0x47} for distance, first in _PACKETS if len(head) > first + 3 * distance):
        return "an MPEG transport stream"
    if head[0] == 0xFF and len(head) > 1 and head[1] & 0xE0 == 0xE0:
        return "an MP3 or AAC sound"
    return _by_text(head)


def _by_brands(head: bytes) -> str:
    """Name an ISO base media file (ISO/IEC 14496-12) by the brands of its first box."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "an AVIF picture"
    if brands & _HEIF:
        return "an HEIC picture"
    if brands & {b"aax ", b"aaxc"}:
        return "an Audible book, which is encrypted"
    return "an MP4 file"


def _by_text(head: bytes) -> str:
    text = head[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text:
        return "an HTML page"
    if text[:2] in (b"p1", b"p2", b"p3", b"p4", b"p5", b"p6", b"p7") and text[2:3].isspace():
        return "a PNM picture"
    if not any(head):
        return "a file of zeros"
    try:
        head[: HEAD - 4].decode()
    except UnicodeDecodeError:
        return "a file of an unknown kind"
    return "a file of an unknown kind" if b"\0" in head else "a text"
