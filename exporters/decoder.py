"""Express the tiny codec's decoder as a function of tensors: latents and memory in, frames and new memory out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.codecs.tiny import MemoryBlock, TinyCodec


class DecoderStep(nn.Module):
    """Decode one step of a stream; a stream begins with a memory of zeros, as a missing one means to the codec."""

    def __init__(self, codec: TinyCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return frames [1, 4F, 3, H, W] and new memory.

        latents [1, C, F, h, w]; memory [1, width, h', w'] a block.
        """
        frames, fresh = self.codec.decode(latents, list(memory))
        return frames, *(m for m in fresh if isinstance(m, Tensor))

    def memory_names(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(f"{prefix}memory_{i}" for i in range(len(memory_shapes(self.codec, (1, 1)))))

    def example_inputs(self, cells: tuple[int, int], latents: int) -> dict[str, Any]:
        """Return random latents over `cells` (h, w) and a random memory."""
        make = torch.Generator().manual_seed(0)
        shapes = memory_shapes(self.codec, cells)
        channels = self.codec.config.latent_channels
        like = next(self.codec.parameters())
        return {
            "latents": torch.randn(1, channels, latents, *cells, generator=make).to(like),
            "memory": tuple(torch.randn(s, generator=make).abs().to(like) for s in shapes),
        }


def memory_shapes(codec: TinyCodec, cells: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return the shape [1, width, h', w'] of every memory block, its last frame, for latents of `cells` (h, w)."""
    shapes: list[tuple[int, int, int, int]] = []
    h, w = cells
    for layer in codec.decoder:
        if isinstance(layer, nn.Upsample):
            h, w = int(h * float(layer.scale_factor)), int(w * float(layer.scale_factor))  # type: ignore[arg-type]
        elif isinstance(layer, MemoryBlock):
            shapes.append((1, layer.width, h, w))
    return shapes
