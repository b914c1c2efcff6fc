"""Wan's own video codec as a stream: diffusers' `AutoencoderKLWan`, its feature cache kept by us.

`AutoencoderKLWan.decode` clears its cache before and after every call; a stream keeps its own list and decodes one
latent at a time, which gives the frames of a whole-clip decode exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from models.time_grid import FRAMES_PER_LATENT


class WanStream:
    """A decoder stream over `AutoencoderKLWan` (Wan 2.1: 16 channels, 8x8 cells, 4 frames a latent)."""

    def __init__(self, codec: AutoencoderKLWan) -> None:
        self.codec = codec
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(codec.config.latents_mean).view(shape).to(codec.device, torch.float32)
        self._std = torch.tensor(codec.config.latents_std).view(shape).to(codec.device, torch.float32)
        self._features: list[Any] | None = None  # a tensor, None or diffusers' mark "Rep", one a convolution
        self._lead = 1

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, C, F, h, w], normalised → RGB frames [n, H, W, 3] uint8 on the CPU."""
        z = (latents.float() * self._std + self._mean).to(self.codec.dtype)
        z = self.codec.post_quant_conv(z)
        frames = []
        for i in range(z.shape[2]):
            first = self._features is None
            if self._features is None:
                self._features = [None] * self.codec._cached_conv_counts["decoder"]
            x = self.codec.decoder(z[:, :, i : i + 1], feat_cache=self._features, feat_idx=[0], first_chunk=first)
            frames.append(x.expand(-1, -1, self._lead, -1, -1) if first else x)
        video = torch.cat(frames, 2)[0].float().clamp(-1, 1)
        return video.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu()

    def flush(self) -> Tensor:
        """Nothing is ever held back: every latent is shown as it comes."""
        return torch.empty(0, 0, 0, 3, dtype=torch.uint8)

    def reset(self, *, hold: bool = False) -> None:
        """Start anew; with `hold` (a cut) the first latent is held for 4 frames, so that time does not shift."""
        self._features, self._lead = None, FRAMES_PER_LATENT if hold else 1

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs; the codec replaces tensors and never writes into them."""
        return {"memory": None if self._features is None else list(self._features), "lead": self._lead}

    def restore(self, snapshot: dict[str, Any]) -> None:
        memory = snapshot["memory"]
        self._lead = snapshot["lead"]
        own = self.codec.dtype  # another than that of the model that wrote it, maybe
        self._features = memory and [m.to(own) if isinstance(m, Tensor) else m for m in memory]
