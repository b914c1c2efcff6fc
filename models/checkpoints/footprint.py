"""Compute the memory and disk space that a model needs, before it is loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from models.catalog import Entry
from models.checkpoints.assemble import folder_of
from models.checkpoints.model_files import finished, missing_files
from models.transformer import CausalWanTransformer

UMT5_XXL_ENCODER = 5.68e9  # parameters of Wan 2.1's text encoder: 24 layers of width 4096, 256384 tokens


def memory_bytes(entry: Entry, bytes_per_value: int) -> int:
    """Return the bytes of weights and cache, without activations."""
    t, (width, height) = entry.transformer, entry.size
    _, rows, columns = t["patch_size"]
    tokens = entry.rollout.window * (height // (entry.stride * rows)) * (width // (entry.stride * columns))
    cache = 2 * t["num_layers"] * tokens * t["num_attention_heads"] * t["attention_head_dim"]
    text = UMT5_XXL_ENCODER if entry.text == "umt5" else 0
    return round(
        bytes_per_value * (_parameters(tuple(entry.transformer.items()), entry.driving_features) + cache + text)
    )


def disk_bytes(entry: Entry, models: Path) -> int | None:
    """Return the bytes of the entry's files below the folder `models`; None if some are missing."""
    folder = folder_of(entry, models)
    if missing_files(entry, folder):
        return None
    found = {p for s in entry.sources for pattern in s.files for p in folder.glob(pattern)}
    return sum(p.stat().st_size for p in found if finished(p))


@lru_cache
def _parameters(settings: tuple[tuple[str, Any], ...], driving_features: int | None) -> int:
    """Count the transformer's parameters without allocating them."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(**dict(settings))
        if driving_features is not None:
            transformer.add_driving_attention(driving_features)
        return sum(p.numel() for p in transformer.parameters())
