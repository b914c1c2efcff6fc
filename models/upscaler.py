"""Enlarge frames with a super-resolution network, each by itself, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
BATCH_PIXELS = 1 << 19  # of the frames that pass through a network at a time: 32 frames of 128x128, one of 832x480


@dataclass(frozen=True)
class Upscaler:
    """Hold a network that makes pictures `scale` times as wide and as high."""

    network: Callable[[Tensor], Tensor]  # [n, 3, H, W] in 0…1 → [n, 3, scale · H, scale · W], clamped
    scale: int
    architecture: str
    fingerprint: str  # of its file
    device: torch.device

    @torch.inference_mode()
    def enlarged(self, frames: Frames) -> Frames:
        """Return frames [n, scale · H, scale · W, 3] of frames [n, H, W, 3]."""
        n, height, width, _ = frames.shape
        out = np.empty((n, height * self.scale, width * self.scale, 3), np.uint8)
        batch = max(1, BATCH_PIXELS // (height * width))
        for first in range(0, n, batch):
            pictures = torch.from_numpy(frames[first : first + batch]).to(self.device).movedim(-1, 1).float().div(255)
            large = self.network(pictures.contiguous())
            out[first : first + batch] = large.mul(255).round().clamp(0, 255).byte().movedim(1, -1).cpu().numpy()
        return out
