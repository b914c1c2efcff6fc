"""Choose the files of a folder that form one set of weights: one file, or parts with or without an index."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.file_kind import WeightFormat, found
from models.checkpoints.safetensors_header import Header, read_header

_INDEX_LIMIT = 25 << 20  # bytes
_PART = re.compile(r"^(.*)-(\d{1,6})-of-(\d{1,6})(\.[^.]+)$")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|fp8|non_ema|ema)(?=\.|-\d+-of-)", re.IGNORECASE)


def parts_of(folder: Path) -> list[Path]:
    """Return the files that form the folder's weights, checked against their index and each other.

    Among variants (`.fp16.`) the plain one is taken, as in diffusers; any other ambiguity raises CheckpointError.
    """
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        distributed = any((folder / n).exists() for n in (".metadata", "zero_to_fp32.py"))
    except OSError as e:
        raise CheckpointError(f"{folder}: cannot be read ({e.strerror or type(e).__name__})") from e
    indices = _plain([n for n in names if n.endswith(".safetensors.index.json")])
    weights = _plain([n for n in names if n.endswith(".safetensors")])
    if len(indices) > 1:
        raise CheckpointError(f"{folder}: holds several models ({some_of(indices)}); name one file of weights")
    if indices:
        base = indices[0].removesuffix(".safetensors.index.json")
        if f"{base}.safetensors" in weights:
            raise CheckpointError(
                f"{folder}: holds {base}.safetensors and an index of parts of the same name; remove one of them"
            )
        return parts_of_index(folder / indices[0])
    if not weights:
        if distributed or any(n.endswith(".distcp") for n in names):
            raise CheckpointError(
                f"{folder}: holds a checkpoint in pieces of a distributed training (DeepSpeed or torch.distributed); "
                f"join them with the script that came with it (zero_to_fp32.py, dcp_to_torch) and use the file"
            )
        inside = f"; there is {some_of(names)}" if names else ""
        raise CheckpointError(f"{folder}: the folder holds no .safetensors file{inside}")
    numbered = {name: match for name in weights if (match := _PART.match(name))}
    if len(weights) == 1 and not numbered:
        return [folder / weights[0]]
    if len(numbered) < len(weights) or len({(m[1], m[3]) for m in numbered.values()}) > 1:
        raise CheckpointError(
            f"{folder}: holds several files of weights, {some_of(weights, 6)}; name the one that is meant"
        )
    first = next(iter(numbered.values()))
    wanted = [f"{first[1]}-{i:0{len(first[3])}d}-of-{first[3]}{first[4]}" for i in range(1, int(first[3]) + 1)]
    _all_here(folder, wanted)
    _fit_together(folder, wanted)
    return [folder / name for name in wanted]


def _plain(names: list[str]) -> list[str]:
    """Return the names without variants (`.fp16.`) of files that are also present plainly."""
    plain = {n for n in names if not _VARIANT.search(n)}
    return [n for n in names if n in plain or not plain]


def index_of(path: Path) -> dict[str, Any]:
    """Read an index of parts and check its map of tensors to files beside it; raise CheckpointError."""
    try:
        if path.stat().st_size > _INDEX_LIMIT:
            raise CheckpointError(f"{path}: too large for an index of parts")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    except (ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: not an index of parts; it is {found(path).description}") from e
    placed = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(v, str) for v in placed.values()):
        raise CheckpointError(f"{path}: not an index of parts; it has no weight_map of tensors and files")
    strange = sorted({v for v in placed.values() if not v or v != Path(v).name or "\\" in v or not v.isprintable()})
    if strange:
        raise CheckpointError(f"{path}: names {some_of(strange)}, which is no file beside it")
    checked: dict[str, Any] = content
    return checked


def parts_of_index(path: Path) -> list[Path]:
    """Return the parts that an index names, checked against it and each other; raise CheckpointError."""
    content = index_of(path)
    placed: dict[str, str] = content["weight_map"]
    names = sorted(set(placed.values()))
    _all_here(path.parent, names)
    headers = _fit_together(path.parent, names)
    for name, header in headers.items():
        promised, here = {k for k, v in placed.items() if v == name}, set(header.tensors)
        for keys, what in (
            (promised - here, "does not hold"),
            (here - promised, "holds what its index does not name:"),
        ):
            if keys:
                raise CheckpointError(
                    f"{path.parent / name}: {what} {some_of(sorted(keys))}; parts of two models do not mix, "
                    f"fetch them again"
                )
    facts = content.get("metadata")
    total = facts.get("total_size") if isinstance(facts, dict) else None
    size = sum(h.size for h in headers.values())
    if type(total) is int and total != size:
        raise CheckpointError(
            f"{path}: promises {total:,} bytes of weights, its parts hold {size:,}; these are parts of another "
            f"variant, fetch them again"
        )
    return [path.parent / name for name in names]


def _all_here(folder: Path, names: list[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {some_of(missing)} is missing, {len(names) - len(missing)} of {len(names)} parts are here"
        )


def _fit_together(folder: Path, names: list[str]) -> dict[str, Header]:
    """Return the parts' headers; raise CheckpointError if two hold the same tensor or differ in dtype."""
    headers: dict[str, Header] = {}
    first_in: dict[str, str] = {}
    for name in names:
        finding = found(folder / name)
        if finding.format is not WeightFormat.SAFETENSORS:
            raise CheckpointError(f"{folder / name}: not a safetensors file; it is {finding.description}")
        headers[name] = read_header(folder / name)
        for key in headers[name].tensors:
            if key in first_in:
                raise CheckpointError(
                    f"{folder / name}: holds {some_of([key])}, which {first_in[key]} holds too; "
                    f"parts of two models do not mix"
                )
            first_in[key] = name
    kinds = {name: kind for name, header in headers.items() if (kind := _kind_of_matrices(header)) is not None}
    if len(set(kinds.values())) > 1:
        listed = some_of([f"{name} is {kind}" for name, kind in kinds.items()])
        raise CheckpointError(f"{folder}: holds parts of two variants ({listed}); fetch those of one")
    return headers


def _kind_of_matrices(header: Header) -> str | None:
    """Return the dtype that most bytes of a part's matrices have; None if it holds none."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors.values():
        if len(tensor.shape) == 2 and min(tensor.shape) > 1:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return max(sizes, key=lambda kind: sizes[kind]) if sizes else None
