"""Run a video codec latent by latent, and frame group by frame group, as a stream that snapshots can go back in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.tensor_copies import copied, on_host
from models.time_grid import FRAMES_PER_LATENT

# What a network carries from one call to the next, one entry for every layer that looks back: a tensor, None where it
# has seen nothing yet, or a mark of diffusers. Networks return a new list and never write into tensors of an old one.
Memory = list[Tensor | str | None]


class Decoder(Protocol):
    """Decode parts of a stream: a codec, or an engine that stands for its decoder."""

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Decode the next latents [B, C, F, h, w] of a stream, which begins where `memory` is None.

        Returns frames [B, n, 3, H, W], 0..1 but not clamped, and what the next call needs. n is 4F; of a stream's first
        part only the last 4F − 3 frames count, and there may be no more.
        """
        ...


class Encoder(Protocol):
    """Encode parts of a stream."""

    def encode_part(self, frames: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        """Encode the next frames [B, n, 3, H, W], 0..1, of a stream, which begins where `memory` is None.

        n is a multiple of 4, and one more at the beginning. Returns normalised latents [B, C, F, h, w] and what the
        next call needs.
        """
        ...


@dataclass(frozen=True)
class StreamSnapshot:
    """Hold where a stream stands; its tensors are never written again."""

    memory: tuple[Tensor | str | None, ...] | None  # None: the stream has not begun, or the memory is left out
    lead: int  # frames that the stream's first latent gives
    left_out: bool = False  # whether it is: it is made anew by decoding the newest latents again


class DecodeStream:
    """Turn latents into frames, in order and each once: the first latent is 1 frame, every later one 4 (Wan's rule)."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._memory: Memory | None = None
        self._lead = 1

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, C, F, h, w], normalised, to RGB frames [n, H, B·W, 3] uint8 on the CPU.

        Takes that run in step stand side by side, the first one on the left.
        """
        return on_host(self.frames(latents))

    @torch.inference_mode()
    def frames(self, latents: Tensor) -> Tensor:
        """Decode latents as `decode` does, to frames on the device that decodes."""
        begins = self._memory is None
        video, self._memory = self._decoder.decode(latents, self._memory)
        frames = torch.cat(list(video), 3)
        if begins:
            frames = frames[-(FRAMES_PER_LATENT * (latents.shape[2] - 1) + 1) :]
            frames = torch.cat([frames[:1].expand(self._lead, -1, -1, -1), frames[1:]])
        return frames.float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def reset(self, *, hold: bool = False) -> None:
        """Start anew. With `hold` (a cut) the first latent is held for 4 frames, so that time does not shift."""
        self._memory, self._lead = None, FRAMES_PER_LATENT if hold else 1

    @torch.inference_mode()
    def prime(self, latents: Tensor) -> None:
        """Start anew as if `latents` [1, C, F, h, w] had just been shown: the next ones go on behind them."""
        _, self._memory = self._decoder.decode(latents, None)
        self._lead = FRAMES_PER_LATENT

    def memory_bytes(self) -> int:
        """Return the bytes of what the network carries from one call to the next."""
        return sum(m.nbytes for m in self._memory or () if isinstance(m, Tensor))

    def snapshot(self, *, memory: bool = True) -> StreamSnapshot:
        """Return what `restore` needs to go on from here; without `memory` that is the newest latents too."""
        if self._memory is None or not memory:
            return StreamSnapshot(None, self._lead, left_out=self._memory is not None)
        tensors = [m for m in self._memory if isinstance(m, Tensor)]
        if tensors and tensors[0].device.type == "cpu":  # out of the way of activations (models.tensor_copies)
            kept = iter(copied(tensors))
            self._memory = [next(kept) if isinstance(m, Tensor) else m for m in self._memory]
        return StreamSnapshot(tuple(self._memory), self._lead)

    def restore(self, snapshot: StreamSnapshot, newest: Sequence[Tensor] = ()) -> None:
        """Go on from where the snapshot was taken.

        If that left the memory out, the stream begins anew with `newest`, the chunks of latents that it decoded last.
        """
        self._memory = None if snapshot.memory is None else list(snapshot.memory)
        for latents in newest if snapshot.left_out else ():
            self.decode(latents)
        self._lead = snapshot.lead


class EncodeStream:
    """Turn frames into latents, in order and each once: the first frame is 1 latent, every later 4 are one more."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._memory: Memory | None = None

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Encode RGB frames [n, H, W, 3] uint8 to normalised latents [1, C, F, h, w] float32.

        ValueError unless n is a multiple of 4, and one more for the first part of the stream.
        """
        n = len(frames) - (1 if self._memory is None else 0)
        if n < 0 or n % FRAMES_PER_LATENT or not len(frames):
            raise ValueError(f"a stream is encoded 1, 4, 4, … frames at a time, not {len(frames)}")
        video = frames.movedim(-1, 1)[None].float().div(255)
        latents, self._memory = self._encoder.encode_part(video, self._memory)
        return latents

    def snapshot(self) -> StreamSnapshot:
        """Return what `restore` needs to go on from here."""
        return StreamSnapshot(None if self._memory is None else tuple(self._memory), 1)

    def restore(self, snapshot: StreamSnapshot) -> None:
        """Go on from where the snapshot was taken."""
        self._memory = None if snapshot.memory is None else list(snapshot.memory)
