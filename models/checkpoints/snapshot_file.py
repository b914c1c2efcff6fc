"""Store a take's snapshot bit-exactly in a safetensors file, with structure and plain values as JSON metadata.

The metadata also holds a digest of the whole file, computed with zeros in its own place (BLAKE2b, RFC 7693).

Format 2 stores the snapshot field by field, so that new fields need no change here. Format 1, which has no number, was
written by earlier releases; it is still read, so that their renders can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import torch
from safetensors.torch import load, save
from torch import Tensor

from models.checkpoints.legacy_snapshots import read_format_1
from models.checkpoints.synced_files import write_whole
from models.checkpoints.weight_files import CheckpointError
from models.dataclass_tree import children
from models.snapshots import Snapshot

FORMAT = 2
DIGEST, DIGEST_BYTES = "blake2b", 32
BLANK = "0" * 2 * DIGEST_BYTES
COMPUTED = ("cache.", "take.text.", "take.blend.")  # tensors that have the precision of the model that made them
EMPHASIS = "emphasis"  # ends the names of factors, which are float32 in every model and among the former


def save_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot atomically and sync it; raise OSError if writing fails."""
    tensors: dict[str, Tensor] = {}
    facts = {"format": FORMAT, "digest": DIGEST, "snapshot": _packed(snapshot, "", tensors)}
    metadata = {"facts": json.dumps(facts), "digest": BLANK}
    data = bytearray(save({k: v.contiguous().clone() for k, v in tensors.items()}, metadata))
    place = _digest_place(data)
    assert place is not None  # it was just written
    data[place] = hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest().encode()
    write_whole(path, bytes(data))


def load_snapshot(path: Path, device: torch.device, dtype: torch.dtype) -> Snapshot:
    """Read a snapshot, with computed tensors cast to `dtype` if a model of another precision saved it.

    Raises CheckpointError if the file is missing or damaged, or of an unknown format.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror})") from e
    place = _digest_place(data)
    if place is not None and not _is_whole(data, place):
        raise CheckpointError(f"{path}: a snapshot that is damaged")
    try:
        facts: dict[str, Any] = json.loads(json.loads(_header(data))["__metadata__"]["facts"])
        tensors = {k: t.to(device) for k, t in load(data).items()}
        version = facts.get("format", 1)
        if version == 1:
            return read_format_1(facts, tensors, dtype)
        if version == FORMAT:
            if "digest" in facts and place is None:
                raise ValueError("the digest is lost")
            computed = [k for k in tensors if k.startswith(COMPUTED) and not k.endswith(EMPHASIS)]
            typed = tensors | {k: tensors[k].to(dtype) for k in computed}
            snapshot: Snapshot = _unpacked(Snapshot, facts["snapshot"], typed)
            return snapshot
    except Exception as e:  # a damaged file raises many kinds of errors
        raise CheckpointError(f"{path}: not a snapshot that can be read ({type(e).__name__})") from e
    raise CheckpointError(f"{path}: a snapshot in format {version}; this release reads formats 1 and {FORMAT}")


def _header(data: bytes | bytearray) -> bytes:
    """Return the JSON header of a safetensors file, which follows its length in 8 bytes."""
    return bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _digest_place(data: bytes | bytearray) -> slice | None:
    """Return the position of the digest in a file; None if an earlier release wrote it without a digest.

    The search cannot match a value: quotes of JSON within JSON are escaped.
    """
    found = re.compile(rb'"digest":"([0-9a-f]{%d})"' % (2 * DIGEST_BYTES)).search(data, 8, 8 + len(_header(data)))
    return slice(*found.span(1)) if found else None


def _is_whole(data: bytes, place: slice) -> bool:
    """Return whether a file matches the digest that it holds at `place`."""
    blank = bytearray(data)
    blank[place] = BLANK.encode()
    return hashlib.blake2b(blank, digest_size=DIGEST_BYTES).hexdigest().encode() == data[place]


def _packed(value: object, path: str, tensors: dict[str, Tensor]) -> Any:
    """Convert a value to JSON, with its tensors moved to `tensors` and replaced by {"tensor": name}."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    parts = {name: _packed(part, f"{path}.{name}" if path else name, tensors) for name, part in children(value)}
    return list(parts.values()) if isinstance(value, list | tuple) else parts


def _unpacked(kind: Any, value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the value of type `kind` from the JSON of `_packed`; raise TypeError or KeyError if it does not fit."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _unpacked(next(arm for arm in args if _fits(arm, value)), value, tensors)
    if not _fits(kind, value):
        raise TypeError(f"{value!r} is no {kind}")
    if kind is Tensor:
        return tensors[value["tensor"]]
    if origin is list:
        return [_unpacked(args[0], v, tensors) for v in value]
    if origin is tuple:
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_unpacked(k, v, tensors) for k, v in zip(kinds, value, strict=True))
    if origin is Mapping:
        return {k: _unpacked(args[1], v, tensors) for k, v in value.items()}
    if is_dataclass(kind):
        hints, make = get_type_hints(kind), cast("Callable[..., Any]", kind)
        return make(**{name: _unpacked(hints[name], v, tensors) for name, v in value.items()})
    return kind(value) if issubclass(kind, Enum) else value


def _fits(kind: Any, value: Any) -> bool:
    """Return whether JSON has the shape of a type."""
    if kind is Tensor:
        return isinstance(value, dict) and set(value) == {"tensor"}
    if get_origin(kind) in (list, tuple):
        return isinstance(value, list)
    if get_origin(kind) is Mapping or is_dataclass(kind):
        return isinstance(value, dict)
    return isinstance(value, str) if issubclass(kind, str) else type(value) is (NoneType if kind is None else kind)
