"""Recognise what a file is by its first bytes, so that a refusal can name it."""

from __future__ import annotations

import html
import json
import re
import zipfile
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from models.checkpoints.checkpoint_error import CheckpointError

_HEAD = 4096  # bytes that are looked at
_QUOTED = 100  # characters of a foreign text that a message repeats

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GGUF", "a GGUF file (weights quantised for llama.cpp or ComfyUI-GGUF), a format that is not read here; "
     "use the safetensors or .pt file of the model"),
    (0, b"GGML", "a GGML file (quantised weights of llama.cpp), a format that is not read here"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it and use the file inside"),
    (0, b"BZh", "a bzip2 archive; unpack it and use the file inside"),
    (0, b"\xfd7zXZ\x00", "an xz archive; unpack it and use the file inside"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it and use the file inside"),
    (0, b"\x04\x22\x4d\x18", "an lz4 archive; unpack it and use the file inside"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it and use the file inside"),
    (0, b"Rar!", "a RAR archive; unpack it and use the file inside"),
    (257, b"ustar", "a tar archive; unpack it and use the file inside"),
    (0, b"\x89HDF", "an HDF5 file (Keras weights), a format that is not read here"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
    (8, b"WAVE", "a WAV sound"),
    (8, b"AVI ", "an AVI film"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypheix", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "an MP4 film"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM film"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 sound"),
    (0, b"fLaC", "a FLAC sound"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a program for Windows"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"#!", "a script"),
)  # fmt: skip


class WeightFormat(Enum):
    """Name the formats of weights that can be read."""

    SAFETENSORS = auto()
    TORCH_ZIP = auto()  # torch.save since 1.6
    TORCH_PICKLE = auto()  # torch.save before that


@dataclass(frozen=True)
class Finding:
    """Hold the format of a file, None if it is not one of weights, and a description for a person.

    `stands_in` is true if it replaces the intended file: a pointer, a web page, an error message or an empty file.
    """

    format: WeightFormat | None
    description: str
    stands_in: bool = False


def found(path: Path) -> Finding:
    """Return what a file is, by its first bytes; raise CheckpointError if it cannot be opened."""
    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            head = f.read(_HEAD)
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    if not head:
        return Finding(None, "an empty file, probably of an interrupted download", stands_in=True)
    # the length before a header has zeros side by side, unlike a text, of which any may have a brace there
    if head[8:9] == b"{" and b"\0\0" in head[:8]:
        return Finding(WeightFormat.SAFETENSORS, "a safetensors file")
    if head.startswith(b"PK"):
        return _zip(path)
    if head[:1] == b"\x80" and len(head) > 1 and head[1] in range(2, 6):
        return Finding(WeightFormat.TORCH_PICKLE, "a Python pickle")
    for offset, magic, description in _MAGIC:
        if head.startswith(magic, offset):
            return Finding(None, description)
    if not any(head):
        zeros = "a file that begins with zeros only, probably of an interrupted download"
        return Finding(None, zeros, stands_in=True)
    text = _text(head)
    if text is None:
        return Finding(None, f"no format of weights that is known here (begins with the bytes {head[:8].hex(' ')})")
    stand_in = _stand_in(text, size)
    return Finding(None, stand_in or _kind_of_text(text), stands_in=stand_in is not None)


def _zip(path: Path) -> Finding:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises many things on damaged archives
        return Finding(None, "a .pt or zip file that is cut short or damaged; download it again")
    if any(n.endswith("/constants.pkl") or "/code/" in n for n in names):
        return Finding(None, "a TorchScript program, not a file of weights")
    if any(n == "data.pkl" or n.endswith("/data.pkl") for n in names):
        return Finding(WeightFormat.TORCH_ZIP, "a .pt file")
    if names and all(n.endswith(".npy") for n in names):
        return Finding(None, "NumPy arrays (.npz)")
    inside = f" ({len(names)} files, the first is {names[0][:_QUOTED]!r})" if names else " without a file in it"
    return Finding(None, f"a zip archive{inside}; unpack it and use the file inside")


def _text(head: bytes) -> str | None:
    """Decode bytes as text; return None if they are not text."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return head[: len(head) // 2 * 2].decode(encoding, "replace").strip()
    text = head.decode("utf-8", "replace")
    strange = sum(not (c.isprintable() or c.isspace()) or c == "\ufffd" for c in text)
    return None if strange > 1 + len(text) // 50 else text.strip()


def _stand_in(text: str, size: int) -> str | None:
    """Describe a text that was delivered in place of a file; return None for any other text."""
    if not text:
        return "a file of white space"
    if text.startswith("version https://git-lfs"):
        stands = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        more = f" of {size} bytes for a file of {int(stands[1]):,} bytes" if stands else ""
        return f"a git-lfs pointer{more}, not the file itself; fetch it with: git lfs pull"
    if text.startswith("# xet version"):
        return "a Xet pointer, not the file itself; pull it from the hub"
    if "annex/objects/" in text[:200]:
        return "a git-annex pointer, not the file itself; fetch it with: git annex get"
    lower = text[:1000].lower()
    if lower.startswith(("<head", "<body")) or (lower[0] == "<" and ("<!doctype html" in lower or "<html" in lower)):
        title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
        called = f" called {_line(html.unescape(title[1]))!r}" if title else ""
        return (
            f"a web page{called} (HTML) that was saved instead of the file; its download needs a log-in "
            f"or a direct address"
        )
    if text.startswith(("<?xml", "<Error")) and "<Error" in text:
        return f"an error message of a server ({_line(text)!r}) instead of the file"
    try:
        content = json.loads(text) if text[0] == "{" else None
    except (ValueError, RecursionError):  # incomplete because longer than what was read, or no JSON
        content = None
    if content is None and re.match(r'\{\s*(?:"\w+"\s*:\s*\{\s*)?"(?:error|message|detail)"\s*:', text):
        return f"an error message of a server (JSON: {_line(text)!r}) instead of the file"
    if error := _error_in(content):
        return f"an error message of a server (JSON: {_line(error)!r}) instead of the file"
    return None


def _error_in(content: object) -> str | None:
    """Return the error message in a server's JSON answer, also within an envelope (`{"data": {"message": …}}`)."""
    while isinstance(content, dict) and len(content) <= 8:
        for name in ("error", "message", "detail", "errors", "Error"):
            if content.get(name):
                return str(content[name])
        content = next(iter(content.values())) if len(content) == 1 else None
    return None


def _kind_of_text(text: str) -> str:
    if text[0] in "{[":
        if '"weight_map"' in text:
            return "an index of parts; give the folder that holds it and the parts"
        return f"a JSON text (begins with {_line(text)!r})"
    if text[0] == "<":
        return f"an XML text (begins with {_line(text)!r})"
    return f"a text (begins with {_line(text)!r})"


def _line(text: str) -> str:
    """Return the beginning of a foreign text in one printable line."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:_QUOTED]
