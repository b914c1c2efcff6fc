"""What every codec's decoder stream can do."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class CodecStream(Protocol):
    """Latents in, frames out, in order and each once. The first latent is 1 frame, every later one 4 (the Wan rule)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, C, F, h, w] → RGB frames [n, H, W, 3] uint8 on the CPU."""
        ...

    def flush(self) -> Tensor:
        """Frames still held inside the stream at its end, [n, H, W, 3] uint8; n may be 0."""
        ...

    def reset(self, *, hold: bool = False) -> None:
        """Start anew. With `hold` (a cut) the first latent is held for 4 frames, so that time does not shift."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; its tensors are never written again."""
        ...

    def restore(self, snapshot: dict[str, Any]) -> None: ...
