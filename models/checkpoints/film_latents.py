"""Keep the clean latents of a film's end beside it, so that a take that goes on from the film goes on from them.

A film that was encoded and decoded again is near to them, and they are what it was decoded from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.checkpoints.synced_files import write_whole

LATENTS = "latents"


@dataclass(frozen=True)
class FilmFacts:
    """Say which film latents belong to: a hash of its file, its codec, and its width and height in pixels."""

    film: str
    codec: str
    size: tuple[int, int]

    def as_text(self) -> dict[str, str]:
        """Return the facts as the metadata of a file."""
        return {"film": self.film, "codec": self.codec, "size": f"{self.size[0]}x{self.size[1]}"}


def write_film_latents(path: Path, latents: Tensor, facts: FilmFacts) -> None:
    """Write the newest clean latents [1, C, n, h, w] of a film; OSError if the disk does not take them."""
    write_whole(path, save({LATENTS: latents.float().cpu().contiguous()}, facts.as_text()))


def read_film_latents(path: Path, facts: FilmFacts) -> Tensor | None:
    """Return the latents [1, C, n, h, w] float32 of the end of a film; None without a file of these facts."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}) != facts.as_text():
                return None
            latents: Tensor = file.get_tensor(LATENTS)
    except (OSError, SafetensorError):
        return None
    sound = latents.dtype is torch.float32 and latents.ndim == 5 and len(latents) == 1 and latents.shape[2] > 0
    sound = sound and bool(latents.isfinite().all())
    return latents if sound else None
