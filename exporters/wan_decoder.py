"""Express Wan's decoder as a streaming step: one latent and the feature cache in, four frames and the new cache out.

diffusers' decoder keeps its cache in a list that it writes to; the first two latents of a stream find marks there
instead of tensors and take other ways through it. From the third on every entry is a tensor, and that step, which runs
for the rest of a take, is what is exported; the first two stay in torch.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

LEAD = 2  # latents at a stream's start that are not this step's


class WanDecoderStep(nn.Module):
    """Decode from a stream's third latent on. `places` are the entries of the cache that hold a tensor by then."""

    def __init__(self, codec: AutoencoderKLWan, places: tuple[int, ...]) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = codec.post_quant_conv, codec.decoder
        self.places, self._size = places, codec._cached_conv_counts["decoder"]

    def forward(self, latents: Tensor, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return frames [1, 3, 4, H, W] and new features for latents [1, C, 1, h, w] that are not normalised."""
        kept: list[Tensor | str | None] = [None] * self._size
        for place, feature in zip(self.places, features, strict=True):
            kept[place] = feature
        frames = self.decoder(self.post_quant_conv(latents), feat_cache=kept, feat_idx=[0], first_chunk=False)
        return frames, *(kept[place] for place in self.places)


@torch.no_grad()
def steady_features(codec: AutoencoderKLWan, latents: Tensor) -> dict[int, Tensor]:
    """Return the feature cache after a stream's first two latents [1, C, 2, h, w], by place."""
    features: list[Tensor | str | None] = [None] * codec._cached_conv_counts["decoder"]
    z = codec.post_quant_conv(latents)
    for i in range(LEAD):
        codec.decoder(z[:, :, i : i + 1], feat_cache=features, feat_idx=[0], first_chunk=i == 0)
    return {place: f for place, f in enumerate(features) if isinstance(f, Tensor)}
