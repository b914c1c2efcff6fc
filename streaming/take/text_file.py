"""Read the text of a take file in any Unicode encoding, and name the format of a file that is not text."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from models.errors import UserError

MOST_BYTES = 16 << 20  # of a take file
_MARKS = (  # byte-order marks; UTF-32's begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOREIGN = (  # first bytes of files that are not takes; no text begins so, such as one of a riff by night
    (rb"\x89PNG", "a PNG picture"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"GIF8[79]a", "a GIF picture"),
    (rb"RIFF.{4}(WAVE|WEBP|AVI )", "a WAV, WebP or AVI file"),
    (rb"OggS\0", "an Ogg file"),
    (rb"ID3[\x02-\x04]", "an MP3 file"),
    (rb"\0.{3}ftyp", "a video (MP4)"),
    (rb"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (rb"%PDF-", "a PDF document"),
    (rb"\{\\rtf", "a document in rich text"),
    (rb"PK\x03\x04", "a zip archive or an office document"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"GGUF[\0-\x09]", "GGUF weights"),
    (rb".{4}\0{4}\{\"", "safetensors weights"),
    (rb"\x80[\x02-\x05]", "a Python pickle"),
    (rb"version https://git-lfs", "a pointer of git-lfs, whose content was not fetched"),
    (rb"(?i:\s*<(!doctype )?html)", "a web page (HTML)"),
)
LINE_END = re.compile("\r\n|[\n\r]")  # of JSON lines, which may have all other separators inside a text
PROMPT_END = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # of plain text


class TakeError(UserError):
    """Report in one line for a person that a take cannot be used, and why."""


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark, without that mark.

    TakeError says why a file cannot be read, what it is instead of text, or on which line and column it is damaged.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as e:
        raise TakeError(f"{path}: cannot be read ({e.strerror or e})") from e
    except ValueError as e:  # a NUL in the path
        raise TakeError(f"{str(path)!r}: is not a path ({e})") from e
    if len(data) > MOST_BYTES:
        raise TakeError(f"{name}: is larger than {MOST_BYTES >> 20} MB, which no take is; was another file meant?")
    return decoded(data, name)


def decoded(data: bytes, name: str) -> str:
    """Return the text of the bytes of a file called `name`; TakeError as in `read_text`."""
    for start, kind in _FOREIGN:
        if re.match(start, data[:64], re.DOTALL):
            raise TakeError(f"{name}: is {kind}, not a take (YAML, JSON lines or text)")
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as e:
        where = _place(body[: e.start].decode(encoding, "replace"))
        found = f"byte 0x{body[e.start]:02X} is not {encoding.upper().removesuffix('-LE').removesuffix('-BE')}"
        raise TakeError(f"{name}:{where}: {found}; save the file as UTF-8") from e
    if (nul := text.find("\0")) >= 0:
        guess = "UTF-16 without a byte-order mark, or damaged" if encoding == "utf-8" else "damaged"
        raise TakeError(f"{name}:{_place(text[:nul])}: a NUL character: the file is {guess}; save it as UTF-8")
    return text.lstrip("\ufeff")


def lines_of(text: str, end: re.Pattern[str]) -> list[tuple[int, str]]:
    """Return (number from 1, content) of every line that is not blank; byte-order marks of joined files are left out.

    `end` is LINE_END or PROMPT_END.
    """
    found = enumerate((line.strip("\ufeff \t") for line in end.split(text)), 1)
    return [(number, line) for number, line in found if line.strip()]


def _place(before: str) -> str:
    """Return the place right after a text as `line:column`, both from 1."""
    lines = PROMPT_END.split(before)
    return f"{len(lines)}:{len(lines[-1]) + 1}"
