"""What a cache has room for, and where in time its anchors stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class AnchorPolicy(StrEnum):
    """Which temporal coordinate an anchor takes."""

    FIXED = "fixed"  # where it was captured (LongLive 1.0)
    TRAILING = "trailing"  # just before the first visible past latent: distances stay bounded
    AHEAD = "ahead"  # in front of the current chunk (a lookahead sink)


@dataclass(frozen=True)
class ReferenceRule:
    """Where in time a reference stands, so that a take is always on its way to it (Knot Forcing, 2512.21734).

    `fixed`: where it stood for the first chunk. `gap`: so many latents in front of the newest. `stride`: at `start`,
    and whenever the newest latent reaches it, `stride` further (the paper's rule).
    """

    policy: Literal["fixed", "gap", "stride"] = "gap"
    gap: int = 2
    start: int = 8
    stride: int = 4

    def __post_init__(self) -> None:
        if self.gap < 1 or self.stride < 1:
            raise ValueError("a reference runs ahead by at least one latent: gap and stride are 1 or more")

    def coordinate(self, newest: int, newest_of_first: int) -> int:
        """Its temporal index while `newest` is the last latent denoised; that of the first chunk for `fixed`."""
        match self.policy:
            case "fixed":
                return newest_of_first + self.gap
            case "gap":
                return newest + self.gap
            case "stride":
                return self.start + self.stride * max(0, -(-(newest + 1 - self.start) // self.stride))


@dataclass(frozen=True)
class CacheShape:
    """Sizes of a cache; chunk, window and sink count latents, `window` holds sink, past and current chunk."""

    layers: int
    heads: int
    head_dim: int
    rows: int  # tokens of one latent
    columns: int
    chunk: int
    window: int
    sink: int  # the first chunk, or 0
    knot: int = 0  # latents denoised past the end of a chunk, on top of the window
    reference: ReferenceRule | None = None  # place for a reference, on top of the window
    takes: int = 1  # takes that run in step, a batch row each
    gap: int = 2  # distance from the newest latent to an anchor that is `ahead`

    def __post_init__(self) -> None:
        if self.sink not in (0, self.chunk):
            raise ValueError(f"the sink is 0 or one whole chunk ({self.chunk} latents), not {self.sink}")
        if (self.window - self.sink) % self.chunk or self.ring < self.chunk:
            raise ValueError(f"window {self.window} less sink {self.sink} is not whole chunks of {self.chunk} latents")
        if self.reference and self.reference.policy == "stride" and self.reference.start < self.chunk + self.knot:
            raise ValueError(
                f"a reference cannot start inside the first chunk: start is {self.chunk + self.knot} or more"
            )

    @property
    def tokens(self) -> int:
        """Tokens of one latent."""
        return self.rows * self.columns

    @property
    def ring(self) -> int:
        """Latents in the ring, the current chunk among them."""
        return self.window - self.sink
