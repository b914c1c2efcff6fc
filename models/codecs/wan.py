"""Run Wan's own video codecs as streams: diffusers' `AutoencoderKLWan`, its feature caches kept outside of it.

`AutoencoderKLWan.encode` and `decode` clear their cache before and after every call. Here every call is given a list of
its own (Wan 2.1: 26 entries to encode, 33 to decode; Wan 2.2: 26 and 34) and one latent, or one group of frames, at a
time, which gives the frames and latents of a whole clip. Wan 2.2 (2503.20314, `is_residual`, `patch_size` 2) folds 2x2
pixels into channels first and has 48 latent channels and cells of 16x16 pixels; Wan 2.1 has 16 and 8x8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor

from models.codecs.codec import Codec
from models.codecs.stream import Memory
from models.time_grid import FRAMES_PER_LATENT


class WanCodec(Codec):
    """Run the codec of Wan 2.1 or of Wan 2.2, as the network's configuration has it."""

    def __init__(self, network: AutoencoderKLWan) -> None:
        self.network = network
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(network.config.latents_mean).view(shape).to(network.device, torch.float32)
        self._std = torch.tensor(network.config.latents_std).view(shape).to(network.device, torch.float32)
        self._patch = network.config.patch_size or 1

    @property
    def latent_channels(self) -> int:
        return int(self.network.config.z_dim)

    @property
    def stride(self) -> int:
        return int(self.network.config.scale_factor_spatial)

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode the next latents of a stream; the first gives one frame."""
        z = self.network.post_quant_conv((latents.float() * self._std + self._mean).to(self.network.dtype))
        features, frames = self._features(memory, "decoder"), []
        for i in range(z.shape[2]):
            begins = memory is None and i == 0
            frames.append(
                self.network.decoder(z[:, :, i : i + 1], feat_cache=features, feat_idx=[0], first_chunk=begins)
            )
        video = unpatchify(torch.cat(frames, 2), self._patch)
        return video.transpose(1, 2).float().add(1).div(2), features

    def encode_part(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Encode the next frames of a stream to the means of their latents; the first frame gives one."""
        video = frames.transpose(1, 2).to(self.network.device).mul(2).sub(1).to(self.network.dtype)
        features = self._features(memory, "encoder")
        parts = [
            self.network.encoder(group, feat_cache=features, feat_idx=[0])
            for group in _groups(patchify(video, self._patch), begins=memory is None)
        ]
        mean = self.network.quant_conv(torch.cat(parts, 2)).chunk(2, 1)[0]
        return (mean.float() - self._mean) / self._std, features

    def _features(self, memory: Sequence[Tensor | str | None] | None, which: str) -> Memory:
        """Return the feature list that the network writes to, in its own precision."""
        if memory is None:
            return [None] * int(self.network._cached_conv_counts[which])
        return [m.to(self.network.dtype) if isinstance(m, Tensor) else m for m in memory]


def _groups(video: Tensor, *, begins: bool) -> Iterator[Tensor]:
    """Split frames [B, C, n, H, W] as the encoder takes them: the stream's first alone, then four by four."""
    if begins:
        yield video[:, :, :1]
        video = video[:, :, 1:]
    yield from video.split(FRAMES_PER_LATENT, 2) if video.shape[2] else ()
