"""Run Wan's own video codecs as streams: diffusers' `AutoencoderKLWan`, its feature caches kept outside of it.

`AutoencoderKLWan.encode` and `decode` clear their cache before and after every call. Here every call is given a list of
its own (Wan 2.1: 26 entries to encode, 33 to decode; Wan 2.2: 26 and 34) and one latent, or one group of frames, at a
time, which gives the frames and latents of a whole clip. Wan 2.2 (2503.20314, `is_residual`, `patch_size` 2) folds 2x2
pixels into channels first and has 48 latent channels and cells of 16x16 pixels; Wan 2.1 has 16 and 8x8.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor

from models.codecs.codec import Codec
from models.codecs.stream import Memory
from models.time_grid import FRAMES_PER_LATENT

log = logging.getLogger(__name__)

WAN_2_2: dict[str, Any] = {  # configuration of the published codec, without the statistics of its latents
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}
HARMLESS = 40.0  # decibels of peak signal to noise from which on two decoders' frames look the same


class WanCodec(Codec):
    """Run the codec of Wan 2.1 or of Wan 2.2, as the network's configuration has it.

    Frames are encoded in float32, as lower precision costs quality that cannot be had back.
    """

    def __init__(self, network: AutoencoderKLWan, decode_in: torch.dtype = torch.float32) -> None:
        """Run a network of float32 weights; it decodes in another precision if that is measured to be harmless."""
        self.network = network
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(network.config.latents_mean).view(shape).to(network.device, torch.float32)
        self._std = torch.tensor(network.config.latents_std).view(shape).to(network.device, torch.float32)
        self._patch = network.config.patch_size or 1
        self.decodes_in = torch.float32
        if decode_in != torch.float32:
            self.lower(decode_in)

    @property
    def latent_channels(self) -> int:
        return int(self.network.config.z_dim)

    @property
    def stride(self) -> int:
        return int(self.network.config.scale_factor_spatial)

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode the next latents of a stream; the first gives one frame."""
        z = self.network.post_quant_conv((latents.float() * self._std + self._mean).to(self.decodes_in))
        features, frames = self._features(memory, "decoder", self.decodes_in), []
        for i in range(z.shape[2]):
            begins = memory is None and i == 0
            frames.append(
                self.network.decoder(z[:, :, i : i + 1], feat_cache=features, feat_idx=[0], first_chunk=begins)
            )
        video = unpatchify(torch.cat(frames, 2), self._patch)
        return video.transpose(1, 2).float().add(1).div(2), features

    def encode_part(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Encode the next frames of a stream to the means of their latents; the first frame gives one."""
        video = frames.transpose(1, 2).to(self.network.device).float().mul(2).sub(1)
        features = self._features(memory, "encoder", torch.float32)
        parts = [
            self.network.encoder(group, feat_cache=features, feat_idx=[0])
            for group in _groups(patchify(video, self._patch), begins=memory is None)
        ]
        mean = self.network.quant_conv(torch.cat(parts, 2)).chunk(2, 1)[0]
        return (mean.float() - self._mean) / self._std, features

    @torch.inference_mode()
    def lower(self, dtype: torch.dtype) -> None:
        """Decode in another precision if frames of two random latents stay the same to the eye."""
        make = torch.Generator().manual_seed(0)
        latents = torch.randn(1, self.latent_channels, 2, 8, 8, generator=make).to(self._mean.device)
        exact, whole = self.decode(latents)[0].clamp(0, 1), (self.network.decoder, self.network.post_quant_conv)
        self.network.decoder, self.network.post_quant_conv = (copy.deepcopy(part).to(dtype) for part in whole)
        self.decodes_in = dtype
        error = (self.decode(latents)[0].clamp(0, 1) - exact).square().mean().clamp(min=1e-12)
        if (likeness := float(-10 * error.log10())) < HARMLESS:
            self.network.decoder, self.network.post_quant_conv = whole
            self.decodes_in = torch.float32
            log.warning("the codec decodes in float32: %s is only %.0f dB like it", dtype, likeness)

    def _features(self, memory: Sequence[Tensor | str | None] | None, which: str, dtype: torch.dtype) -> Memory:
        """Return the feature list that the network writes to, in its precision."""
        if memory is None:
            return [None] * int(self.network._cached_conv_counts[which])
        return [m.to(dtype) if isinstance(m, Tensor) else m for m in memory]


def _groups(video: Tensor, *, begins: bool) -> Iterator[Tensor]:
    """Split frames [B, C, n, H, W] as the encoder takes them: the stream's first alone, then four by four."""
    if begins:
        yield video[:, :, :1]
        video = video[:, :, 1:]
    yield from video.split(FRAMES_PER_LATENT, 2) if video.shape[2] else ()


def random_network(latent_channels: int) -> AutoencoderKLWan:
    """Return the network of Wan 2.1 (16 latent channels) or Wan 2.2 (48) with random weights."""
    return AutoencoderKLWan(**(WAN_2_2 if latent_channels == 48 else {}))
