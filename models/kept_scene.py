"""Hold what is kept of an earlier scene of a take, so that it can be recalled."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class KeptScene:
    """Hold chunks of a scene: clean latents [batch, C, n, h, w] in float16, the oldest chunk first."""

    began: int  # first latent of the scene that they are of
    stop: int  # latent behind the newest of them
    prompt: str | tuple[str, ...]
    vector: Tensor  # of the prompt, [batch · text_dim], of length 1
    chunks: tuple[Tensor, ...]

    @property
    def latents(self) -> int:
        """Return how many latents are kept."""
        return sum(chunk.shape[2] for chunk in self.chunks)

    @property
    def bytes(self) -> int:
        """Return the memory that the latents take."""
        return sum(chunk.nbytes for chunk in self.chunks)
