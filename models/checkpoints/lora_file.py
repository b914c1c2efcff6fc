"""Read a LoRA from a file, or from the folder that PEFT writes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from models.checkpoints.checkpoint_error import CheckpointError
from models.checkpoints.lora import fitted
from models.checkpoints.lora_scaling import LoraScaling, scaling_beside, scaling_of_header
from models.checkpoints.quantised_weights import dequantised
from models.checkpoints.training_wrappers import LeftOut, StateDict
from models.checkpoints.weight_files import read_content
from models.lora import Change

_ROOM = 16 << 20  # bytes that a file may have beside its tensors
_DISTILS = re.compile(
    r"distill?|lightx2v|causvid|self.?forcing|accvideo|fusionx|rcm(?![a-z])|turbo|lightning", re.IGNORECASE
)


@dataclass(frozen=True)
class LoraFile:
    """Hold a LoRA's tensors as its file names them, how it is scaled, and the keys that are not used."""

    path: Path
    tensors: StateDict
    scaling: LoraScaling
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class UsableLora:
    """Hold a LoRA's changes to a model, a digest of its content, and notes for a person."""

    changes: tuple[Change, ...]
    digest: str
    notes: tuple[str, ...]


def lora_for(path: Path, parameters: Mapping[str, Tensor], model: str, *, called: str | None = None) -> UsableLora:
    """Read a LoRA for the transformer with these parameters, of the few-step model called `model`.

    Notes name the file as `called`, or as its path does. CheckpointError says in one line why the file cannot be read,
    is no LoRA, or does not fit.
    """
    _require_room(path, parameters)
    file = read_lora(path)
    lora = fitted(file.tensors, parameters, file.path, file.scaling)
    name = called or path.name
    notes = [f"{name}: not used are {part}" for part in (*file.left_out, *lora.left_out) if not part.usual]
    if why := _distils(file, name):
        twice = f"{model} draws in few steps already: distilled twice, pictures become flat or burnt"
        notes.append(f"{name}: {why}, and {twice}")
    try:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=8))
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    digest.update(repr(file.scaling).encode())
    return UsableLora(lora.changes, digest.hexdigest(), tuple(notes))


def _require_room(path: Path, parameters: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if a file is larger than any LoRA of these parameters, before it is read."""
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read ({e.strerror or type(e).__name__})") from e
    most = _ROOM + 8 * sum(parameter.numel() for parameter in parameters.values())  # whole tensors, twice in float32
    if size > most:
        raise CheckpointError(f"{path}: {size:,} bytes are too many for a LoRA of this model; {most:,} are the most")


def _distils(file: LoraFile, name: str) -> str:
    """Say why a LoRA called `name` seems to be one that makes a model draw in few steps; "" if nothing tells so."""
    if found := _DISTILS.search(name):
        return f"its name says {found[0]!r}"
    kinds = {key.rpartition(".")[2] for key in file.tensors}
    pairs = any(".lora_" in key for key in file.tensors)
    if pairs and "diff_b" in kinds and kinds & {"diff", "diff_m"}:
        return "it changes biases and norms beside its pairs, as LoRAs that distil do"
    return ""


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA; the alpha comes from its tensors, its header, or adapter_config.json beside it, in this order.

    In a folder of PEFT the safetensors file is preferred to a pickle. Raises CheckpointError, which names what the file
    is, if it holds no weights.
    """
    adapters = [f for f in sorted(path.glob("adapter_model.*")) if f.is_file()]
    file = min(adapters, key=lambda f: f.suffix != ".safetensors", default=path)
    content = read_content(file)
    tensors, scales = dequantised(content.tensors, file)
    scaling = scaling_of_header(content.metadata, file) or scaling_beside(file) or LoraScaling()
    return LoraFile(file, tensors, scaling, (*content.left_out, *scales))
