"""Read a LoRA's scale from the configuration that PEFT and diffusers store with its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.checkpoints.checkpoint_error import CheckpointError, some_of
from models.checkpoints.configuration import parsed, settings_in

_HEADER_KEY = "lora_adapter_metadata"  # of diffusers, in the metadata of a safetensors header
CONFIG_FILE = "adapter_config.json"  # of PEFT, beside adapter_model.safetensors


@dataclass(frozen=True)
class LoraScaling:
    """Hold the scale of modules without an alpha of their own: alpha / rank, or alpha / √rank of rsLoRA.

    Without an alpha the scale is 1.
    """

    alpha: float | None = None
    by_module: Mapping[str, float] = field(default_factory=dict)  # end of a module's name → its alpha
    root: bool = False  # whether to divide by √rank, as rsLoRA does (arXiv 2312.03732)

    def of(self, module: str, rank: int) -> float:
        """Return the scale of a module without an alpha of its own."""
        end = next((e for e in self.by_module if module == e or module.endswith("." + e)), None)
        alpha = self.alpha if end is None else self.by_module[end]
        return scale(alpha, rank, root=self.root)


def scale(alpha: float | None, rank: int, *, root: bool = False) -> float:
    """Return alpha / rank (or / √rank); 1 without an alpha, or with one of 0, which stands for the rank itself."""
    return alpha / (math.sqrt(rank) if root else rank) if alpha else 1.0


def scaling_of_header(metadata: Mapping[str, str], path: Path) -> LoraScaling | None:
    """Return the scaling that diffusers stored in a safetensors header; None if there is none."""
    if _HEADER_KEY not in metadata:
        return None
    content = parsed(metadata[_HEADER_KEY], path)
    named = {k.removeprefix("transformer."): v for k, v in content.items() if k.startswith("transformer.")}
    return _scaling(named or content, path)


def scaling_beside(file: Path) -> LoraScaling | None:
    """Return the scaling in PEFT's adapter_config.json beside adapter_model.*; None for a file of another name."""
    config = file.with_name(CONFIG_FILE)
    if file.stem != "adapter_model" or not config.is_file():
        return None
    return _scaling(settings_in(config), config)


def _scaling(config: Mapping[str, Any], path: Path) -> LoraScaling:
    kind = config.get("peft_type") or "LORA"
    if kind != "LORA":
        raise CheckpointError(f"{path}: an adapter of kind {str(kind)[:40]!r}; only LoRA is merged here")
    for name, what in (
        ("use_dora", "DoRA"),
        ("use_qalora", "QA-LoRA"),
        ("fan_in_fan_out", "a LoRA of transposed weights"),
        ("lora_bias", "a LoRA with biases"),
        ("modules_to_save", "a LoRA with whole modules beside it"),
        ("layer_replication", "a LoRA of repeated layers"),
    ):
        if config.get(name):
            raise CheckpointError(f"{path}: is {what} ({name}), which is not merged here")
    by_module = config.get("alpha_pattern") or {}
    if not isinstance(by_module, dict):
        raise CheckpointError(f"{path}: its alpha_pattern is no table of modules")
    strange = [k for k in by_module if not all(c.isalnum() or c in "._" for c in k)]
    if strange:
        raise CheckpointError(f"{path}: its alpha_pattern names modules by a pattern ({some_of(strange)}), not by name")
    alpha = config.get("lora_alpha")
    return LoraScaling(
        None if alpha is None else sound_alpha(alpha, path),
        {k: sound_alpha(v, path) for k, v in by_module.items()},
        root=bool(config.get("use_rslora")),
    )


def sound_alpha(value: object, path: Path) -> float:
    """Return an alpha as a number; raise CheckpointError if it is no number or negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
        raise CheckpointError(f"{path}: has an alpha of {str(value)[:40]!r}, which is no sensible number")
    return float(value)
