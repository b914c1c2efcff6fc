"""Read and check the header of a safetensors file without reading its tensors.

Format: 8 bytes little-endian length, JSON {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}}, data.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoints.checkpoint_error import CheckpointError, some_of

LIMIT = 25 << 20  # bytes of a header; that of a 14B model has 0.2 MB
MOST_DIMENSIONS = 64  # of a tensor, as torch has it; the product of millions of numbers would take hours
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
UNREADABLE = ("F8_E8M0", "F6_E2M3", "F6_E3M2", "F4")  # of micro-scaled formats, which are not read here


@dataclass(frozen=True)
class TensorFacts:
    """Describe a tensor of a file: dtype as the format names it, shape, bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Header:
    """Hold the tensors' descriptions and the metadata of a safetensors header."""

    tensors: dict[str, TensorFacts]
    metadata: dict[str, str]

    @property
    def size(self) -> int:
        """Return the bytes of all tensors."""
        return sum(t.size for t in self.tensors.values())


def begins_header(head: bytes) -> bool:
    """Return whether a file that begins with `head` begins as a safetensors file does."""
    return int.from_bytes(head[:8], "little") <= LIMIT and head[8:9] == b"{"


def read_header(path: Path) -> Header:
    """Return the header of a complete safetensors file; raise CheckpointError with the fault of any other file."""
    try:
        whole = path.stat().st_size
        with path.open("rb") as f:
            length = int.from_bytes(f.read(8), "little")
            if length > min(LIMIT, whole - 8):
                raise CheckpointError(
                    f"{path}: not a whole safetensors file; its header should have {length:,} bytes, "
                    f"the file has {whole:,} ({f'at most {LIMIT:,} are read' if length > LIMIT else 'it is cut short'})"
                )
            text = f.read(length)
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    try:
        content = json.loads(text.decode(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as e:
        reason = f"names {e.args[0]} twice" if isinstance(e, _TwiceError) else "is no JSON"
        raise CheckpointError(f"{path}: a damaged safetensors file; its header {reason}") from e
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: a damaged safetensors file; its header is no table of tensors")
    metadata = content.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: a damaged safetensors file; its metadata are no texts")
    spans = {name: _span(path, name, facts) for name, facts in content.items()}
    _check_data(path, spans, whole - 8 - length)
    tensors = {n: TensorFacts(f["dtype"], tuple(f["shape"]), spans[n][1] - spans[n][0]) for n, f in content.items()}
    return Header(tensors, metadata)


class _TwiceError(ValueError):
    """Report a duplicate key of a JSON object."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        times = Counter(name for name, _ in pairs)  # of all at once: there may be a million
        raise _TwiceError(some_of([next(name for name, count in times.items() if count > 1)]))
    return content


def _span(path: Path, name: str, facts: Any) -> tuple[int, int]:
    """Return begin and end of a tensor's data; raise CheckpointError if its description is invalid."""
    try:
        dtype, shape, (start, end) = facts["dtype"], facts["shape"], facts["data_offsets"]
        bits = BITS[dtype]
        sound = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
        sound = sound and all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, end))
        right = sound and end - start == math.prod(shape) * bits // 8 and math.prod(shape) * bits % 8 == 0
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(
            f"{path}: a damaged safetensors file; what it says about {some_of([name])} cannot be understood"
        ) from e
    if not right:
        raise CheckpointError(
            f"{path}: a damaged safetensors file; the shape of {some_of([name])} does not fit the size of its data"
        )
    return start, end


def _check_data(path: Path, spans: dict[str, tuple[int, int]], size: int) -> None:
    """Raise CheckpointError unless the tensors fill the data without gap or overlap."""
    at = 0
    for name, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start != at:
            what = "overlap" if start < at else "have a gap before"
            raise CheckpointError(f"{path}: a damaged safetensors file; its data {what} {some_of([name])}")
        at = end
    if at > size:
        raise CheckpointError(f"{path}: is cut short, {size:,} of {at:,} bytes of weights are here; fetch it again")
    if at < size:
        raise CheckpointError(f"{path}: a damaged safetensors file; {size - at:,} bytes follow its tensors")
