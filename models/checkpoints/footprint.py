"""What a model asks of a machine, said before it is loaded: memory, disk, and how fast it was here."""

from __future__ import annotations

import json
import os
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from models.catalog import ENTRIES, Entry
from models.checkpoints.assemble import folder_of, missing_files
from models.transformer import CausalWanTransformer

UMT5_XXL_ENCODER = 5.68e9  # parameters (Wan 2.1's text encoder, 24 layers of width 4096 and 256384 tokens)


@lru_cache
def _parameters(name: str) -> int:
    """Of the transformer, counted without allocating it."""
    with torch.device("meta"):
        return sum(p.numel() for p in CausalWanTransformer(**ENTRIES[name].transformer).parameters())


def memory(entry: Entry, number: int) -> int:
    """Bytes of weights and cache at `number` bytes a value; what activations take comes on top."""
    t, (width, height) = entry.transformer, entry.size
    _, rows, columns = t["patch_size"]
    tokens = entry.rollout.window * (height // (entry.stride * rows)) * (width // (entry.stride * columns))
    cache = 2 * t["num_layers"] * tokens * t["num_attention_heads"] * t["attention_head_dim"]
    text = UMT5_XXL_ENCODER if entry.text == "umt5" else 0
    return round(number * (_parameters(entry.name) + cache + text))


def disk(entry: Entry, models: Path) -> int | None:
    """Bytes that the entry's files take; None while they are not here."""
    folder = folder_of(entry, models)
    if missing_files(entry, folder):
        return None
    found = {p for s in entry.sources for pattern in s.files for p in folder.glob(pattern)}
    return sum(p.stat().st_size for p in found if p.is_file())


class Speeds:
    """Frames a second that models were measured to make on this machine; kept in a file of the models' folder."""

    def __init__(self, models: Path) -> None:
        self._path = models / "speeds.json"

    def of(self, model: str, device: str) -> dict[str, Any] | None:
        """`fps`, `by` (bench or session) and `on` (a date), or None: not measured here."""
        found = self._all().get(f"{model} {device}")
        return found if isinstance(found, dict) else None

    def measured(self, model: str, device: str, fps: float, by: str) -> None:
        """Remember the newest measurement. A file that cannot be written is no reason to stop anything."""
        try:
            known = self._all() | {f"{model} {device}": {"fps": round(fps, 1), "by": by, "on": str(date.today())}}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
            os.replace(partial, self._path)
        except OSError:
            return

    def _all(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
