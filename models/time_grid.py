"""Say how frames, latents and chunks belong together: the one place that counts them.

A video codec turns the first frame of a stream into one latent and every later `FRAMES_PER_LATENT` frames into one more
(Wan's rule, 2503.20314), so frame f > 0 belongs to latent ceil(f / 4). A model denoises the latents of a chunk
together. All chunks have the same length but for the first, which may have another (Self-Forcing's independent first
frame, 2506.08009): chunks are numbered from 0, and latents from the start of a take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FRAMES_PER_LATENT = 4  # of every latent but a stream's first, which is one frame


def latent_of(frame: float) -> int:
    """Return the latent that shows frame `frame` ≥ 0; a fraction of a frame belongs to the next one."""
    return math.ceil(frame / FRAMES_PER_LATENT)


def latents_showing(frames: int) -> int:
    """Return how many latents from the start of a take show its first `frames` frames; at least 1."""
    return 1 + latent_of(max(0, frames - 1))


def frames_before(latent: int) -> int:
    """Return how many frames the latents before `latent` show, which is the number of the first frame of `latent`."""
    return 0 if latent == 0 else FRAMES_PER_LATENT * (latent - 1) + 1


@dataclass(frozen=True)
class TimeGrid:
    """Hold the lengths of chunks in latents, and tell where the borders between them lie."""

    chunk: int
    first_chunk: int

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.first_chunk < 1:
            raise ValueError(f"a chunk has at least one latent, not {min(self.chunk, self.first_chunk)}")

    @property
    def frames(self) -> int:
        """Return the frames that a chunk shows, unless it is a take's first."""
        return FRAMES_PER_LATENT * self.chunk

    def number(self, latent: int) -> int:
        """Return the number of the chunk that latent `latent` belongs to."""
        return 0 if latent < self.first_chunk else 1 + (latent - self.first_chunk) // self.chunk

    def start(self, number: int) -> int:
        """Return the first latent of chunk `number`, which is also how many latents the chunks before it have."""
        return 0 if number == 0 else self.first_chunk + (number - 1) * self.chunk

    def length(self, latent: int) -> int:
        """Return how many latents the chunk has that latent `latent` belongs to."""
        return self.first_chunk if latent < self.first_chunk else self.chunk

    def chunks(self, latents: int) -> int:
        """Return how many chunks from the start of a take are needed for `latents` latents; 0 for none."""
        return 0 if latents <= 0 else self.number(latents - 1) + 1

    def border(self, latent: int) -> int:
        """Return the first latent at or after `latent` that begins a chunk: where a cue asked for at `latent` lands."""
        return self.start(self.chunks(latent))
