"""Implement the tiny video codec: TAEHV's layout (Wan 2.1 `taew2_1.pth`), with widths that pocket shrinks.

Every layer is a 2-D convolution over single frames; time enters through memory blocks, which see the frame
before, and through layers that merge or split neighbouring frames. A stream therefore carries exactly one frame
per memory block, and decoding latent by latent equals decoding at once.
Layout of the public checkpoint: madebyollin/taehv (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.codecs.codec import Codec
from models.codecs.stream import Memory
from models.time_grid import FRAMES_PER_LATENT


@dataclass(frozen=True)
class TinyCodecConfig:
    """Hold widths and strides; the defaults are those of `taew2_1`."""

    latent_channels: int = 16
    patch_size: int = 1  # frames are folded by pixel-unshuffle before the encoder and unfolded after the decoder
    encoder_width: int = 64
    encoder_strides: tuple[int, int, int] = (2, 2, 2)
    decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    decoder_scales: tuple[int, int, int] = (2, 2, 2)
    bounded: bool = False  # the encoder's latents pass the soft clamp too, which keeps a small one stable in training
    latents_mean: tuple[float, ...] | None = None  # per channel; None: latents are used as they are
    latents_std: tuple[float, ...] | None = None

    @property
    def spatial_stride(self) -> int:
        a, b, c = self.decoder_scales
        return self.patch_size * a * b * c


class MemoryBlock(nn.Module):
    """Add to a frame what convolutions over it and the previous frame give."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Sequential(
            nn.Conv2d(width * 2, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        return F.relu(self.conv(torch.cat([x, past], 1)) + x)


class MergeFrames(nn.Module):
    """Merge `stride` neighbouring frames into one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width * stride, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return self.conv(x.reshape(n // self.stride, self.stride * c, h, w))


class SplitFrames(nn.Module):
    """Split one frame into `stride` neighbouring ones."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return self.conv(x).reshape(n * self.stride, c, h, w)


class SoftClamp(nn.Module):
    """Keep latents within ±3 without a hard edge."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class TinyCodec(nn.Module, Codec):
    """Encode [B, T, 3, H, W] in 0..1 to [B, C, T/4, h, w], and decode back, 4 frames a latent."""

    mean: Tensor  # [1, C, 1, 1, 1]
    std: Tensor

    def __init__(self, config: TinyCodecConfig) -> None:
        super().__init__()
        self.config = config
        pixels, n = 3 * config.patch_size**2, config.encoder_width
        encoder: list[nn.Module] = [nn.Conv2d(pixels, n, 3, padding=1), nn.ReLU()]
        for merge, stride in zip((2, 2, 1), config.encoder_strides, strict=True):
            encoder += [MergeFrames(n, merge), nn.Conv2d(n, n, 3, stride=stride, padding=1, bias=False)]
            encoder += [MemoryBlock(n) for _ in range(3)]
        encoder.append(nn.Conv2d(n, config.latent_channels, 3, padding=1))
        self.encoder = nn.Sequential(*encoder, *([SoftClamp()] if config.bounded else []))

        widths = config.decoder_widths
        decoder: list[nn.Module] = [SoftClamp(), nn.Conv2d(config.latent_channels, widths[0], 3, padding=1), nn.ReLU()]
        for stage, (scale, split) in enumerate(zip(config.decoder_scales, (1, 2, 2), strict=True)):
            width, following = widths[stage], widths[stage + 1]
            decoder += [MemoryBlock(width) for _ in range(3)]
            decoder += [nn.Upsample(scale_factor=scale), SplitFrames(width, split)]
            decoder += [nn.Conv2d(width, following, 3, padding=1, bias=False)]
        self.decoder = nn.Sequential(*decoder, nn.ReLU(), nn.Conv2d(widths[3], pixels, 3, padding=1))

        def per_channel(values: tuple[float, ...] | None, default: float) -> Tensor:
            return torch.tensor(values or [default] * config.latent_channels).view(1, -1, 1, 1, 1)

        self.register_buffer("mean", per_channel(config.latents_mean, 0.0), persistent=False)
        self.register_buffer("std", per_channel(config.latents_std, 1.0), persistent=False)

    @property
    def latent_channels(self) -> int:
        return self.config.latent_channels

    @property
    def stride(self) -> int:
        return self.config.spatial_stride

    @property
    def decodes_in(self) -> torch.dtype:
        """Return the precision of the decoder; the encoder always runs in float32, as what it loses stays lost."""
        return next(self.decoder.parameters()).dtype

    def encode(self, frames: Tensor) -> Tensor:
        """Encode a clip [B, T, 3, H, W] in 0..1, T a multiple of 4, to normalised latents [B, C, T/4, H/s, W/s].

        A clip whose first frame stands for a whole latent repeats it four times.
        """
        return self._encode(frames, None)[0]

    def encode_part(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Encode the next frames of a stream; its first frame is held for four."""
        frames = frames.to(self.mean.device)
        if memory is None:
            frames = torch.cat([frames[:, :1].expand(-1, FRAMES_PER_LATENT - 1, -1, -1, -1), frames], 1)
        latents, memory = self._encode(frames, memory)
        return latents.float(), memory

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode latents [B, C, F, h, w] to frames [B, 4F, 3, H, W] (not clamped), and say what the next call needs.

        At the start of a stream the first three frames stand before time zero; the caller drops them.
        """
        b = latents.shape[0]
        x = (latents * self.std + self.mean).to(self.decodes_in).transpose(1, 2).flatten(0, 1)
        x, fresh = _run(self.decoder, x, b, memory)
        return F.pixel_shuffle(x, self.config.patch_size).unflatten(0, (b, -1)), fresh

    def _encode(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None) -> tuple[Tensor, Memory]:
        b = frames.shape[0]
        x = F.pixel_unshuffle(frames.to(self.mean.dtype).flatten(0, 1), self.config.patch_size)
        x, fresh = _run(self.encoder, x, b, memory)
        return (x.unflatten(0, (b, -1)).transpose(1, 2) - self.mean) / self.std, fresh


def _run(
    layers: nn.Sequential, x: Tensor, batch: int, memory: Sequence[Tensor | str | None] | None
) -> tuple[Tensor, Memory]:
    """Walk the layers over [B·T, C, H, W]; `memory` is read and a new one returned, so a caller may keep the old."""
    fresh: Memory = []
    for layer in layers:
        if isinstance(layer, MemoryBlock):
            frames = x.unflatten(0, (batch, -1))
            last = memory[len(fresh)] if memory else None
            first = last.unsqueeze(1).to(frames) if isinstance(last, Tensor) else torch.zeros_like(frames[:, :1])
            past = torch.cat([first, frames[:, :-1]], 1).flatten(0, 1)
            fresh.append(frames[:, -1].clone())  # a view would keep the whole clip alive
            x = layer(x, past)
        else:
            x = layer(x)
    return x, fresh
