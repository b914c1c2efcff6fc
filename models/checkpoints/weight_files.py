"""Read weights from files: every layout that causal Wan models are published in, loaded strictly.

Original Wan and Self-Forcing `.pt` files, LongLive's base + LoRA, diffusers folders and single safetensors files all
end as a diffusers state dict. Key map and wrappers: Wan's own naming as published by Wan-AI; conversion by diffusers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.errors import ErrorKind, UserError

StateDict = dict[str, Tensor]

WRAPPERS = ("generator", "generator_ema", "model", "generator_lora")
_PREFIXES = re.compile(r"(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|module)\.")
_LEADING = ("model.diffusion_model.", "diffusion_model.", "model.")


class CheckpointError(UserError):
    """Report files of weights that are missing or cannot be used."""

    kind = ErrorKind.CONFLICT


def read(path: Path, wrapper: str | None = None) -> StateDict:
    """Return the tensors of a file or a diffusers folder, without prefixes of wrappers.

    `wrapper` names the entry of a `.pt` file to take (`generator`, `generator_ema`, …); without it the first present.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return _stripped(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as e:  # a damaged file fails in many ways, an unpickler's stack that runs empty among them
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise CheckpointError(
            f"{path}: not readable as weights, probably truncated or not a checkpoint ({reason[:120]})"
        ) from e
    return _stripped(_unwrapped(loaded, path, wrapper))


def _is_zip(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(2) == b"PK"


def _read_folder(path: Path) -> StateDict:
    index = next(iter(sorted(path.glob("*.safetensors.index.json"))), None)
    names = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index else []
    files = [path / n for n in names] or sorted(path.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{path}: the folder holds no .safetensors file")
    tensors: StateDict = {}
    for file in files:
        tensors.update(read(file))
    return tensors


def _unwrapped(loaded: Any, path: Path, wrapper: str | None) -> StateDict:
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, not a dictionary of weights")
    present = [w for w in WRAPPERS if isinstance(loaded.get(w), dict)]
    if wrapper is not None and wrapper not in present:
        raise CheckpointError(f"{path}: has no entry {wrapper!r}; there is {', '.join(present) or 'no wrapper at all'}")
    chosen = wrapper or (present[0] if present else None)
    tensors = loaded[chosen] if chosen else loaded
    return {k: v for k, v in tensors.items() if isinstance(v, Tensor)}


def _stripped(tensors: StateDict) -> StateDict:
    """Return keys without the prefixes that FSDP, torch.compile and training scripts put in front."""
    tensors = {_PREFIXES.sub("", k): v for k, v in tensors.items()}
    for prefix in _LEADING:
        if tensors and all(k.startswith(prefix) for k in tensors):
            return {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def with_lora(tensors: StateDict, lora: StateDict, path: Path, alpha: float | None = None) -> StateDict:
    """Merge a PEFT LoRA into weights of original names, in float32: W + (alpha / r)·B·A; alpha defaults to the rank."""
    lora = {k.removeprefix("base_model.model.").replace(".default.", "."): v for k, v in lora.items()}
    names = sorted({k.rsplit(".lora_", 1)[0] for k in lora if ".lora_" in k})
    if not names:
        raise CheckpointError(f"{path}: holds no LoRA (no key with .lora_A or .lora_B)")
    merged = dict(tensors)
    for name in names:
        a, b = lora.get(f"{name}.lora_A.weight"), lora.get(f"{name}.lora_B.weight")
        weight = tensors.get(f"{name}.weight")
        if a is None or b is None or weight is None:
            missing = (
                f"{name}.weight in the base" if weight is None else f"{name}.lora_{'A' if a is None else 'B'}.weight"
            )
            raise CheckpointError(f"{path}: does not fit the base weights, {missing} is missing")
        if (b.shape[0], a.shape[1]) != tuple(weight.shape) or a.shape[0] != b.shape[1]:
            raise CheckpointError(f"{path}: does not fit the base weights, {name} is {tuple(weight.shape)}")
        scale = (alpha if alpha is not None else a.shape[0]) / a.shape[0]
        merged[f"{name}.weight"] = (weight.float() + scale * (b.float() @ a.float())).to(weight.dtype)
    return merged


def as_diffusers(tensors: StateDict) -> StateDict:
    """Return weights of a Wan transformer in diffusers' naming; those that have it already pass unchanged."""
    if "head.modulation" not in tensors:
        return tensors
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    return convert_wan_transformer_to_diffusers(dict(tensors))


def load_into(module: nn.Module, tensors: StateDict, path: Path) -> None:
    """Load weights into a module strictly; CheckpointError names keys that are missing, unknown or misshapen."""
    wanted = module.state_dict()
    missing = [k for k in wanted if k not in tensors]
    unexpected = [k for k in tensors if k not in wanted]
    shapes = [k for k in wanted if k in tensors and tensors[k].shape != wanted[k].shape]
    if not (missing or unexpected or shapes):
        module.load_state_dict(tensors, assign=any(p.is_meta for p in module.parameters()))
        return
    parts = [
        f"{label} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for label, keys in (("missing", missing), ("unexpected", unexpected))
        if keys
    ]
    if shapes:
        k = shapes[0]
        parts.append(f"{k} is {tuple(tensors[k].shape)} instead of {tuple(wanted[k].shape)}")
    if len(missing) == len(wanted):
        cause = "these are the weights of something else"
    elif shapes:
        cause = "a model of another size"
    elif missing and not unexpected:
        cause = "an incomplete file, or one part of several"
    else:
        cause = "another version or variant of the model"
    raise CheckpointError(f"{path}: {'; '.join(parts)} — probably {cause}")
