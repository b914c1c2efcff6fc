"""Say what a cache has room for, and where in time its anchors stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from models.time_grid import TimeGrid


class AnchorPolicy(StrEnum):
    """Name the temporal coordinate that the sink takes."""

    FIXED = "fixed"  # where it was captured (LongLive 1.0, 2509.22622)
    TRAILING = "trailing"  # just before the first visible past latent: distances stay bounded (2511.20649)
    AHEAD = "ahead"  # in front of the current chunk, a lookahead sink


@dataclass(frozen=True)
class ReferenceRule:
    """Say where in time a reference stands, so that a take is always on its way to it (Knot Forcing, 2512.21734).

    `fixed`: where it stood for the first chunk. `gap`: `gap` latents in front of the newest one. `stride`: at `start`,
    and whenever the newest latent reaches it, `stride` further (the paper's rule). Lengths count latents.
    """

    policy: Literal["fixed", "gap", "stride"] = "gap"
    gap: int = 2
    start: int = 8
    stride: int = 4

    def __post_init__(self) -> None:
        if self.gap < 1 or self.stride < 1:
            raise ValueError("a reference runs ahead by at least one latent: gap and stride are 1 or more")

    def coordinate(self, newest: int, newest_of_first: int) -> int:
        """Return its coordinate while `newest` is the last latent denoised, and was `newest_of_first` for chunk 0."""
        match self.policy:
            case "fixed":
                return newest_of_first + self.gap
            case "gap":
                return newest + self.gap
            case "stride":
                return self.start + self.stride * max(0, -(-(newest + 1 - self.start) // self.stride))


@dataclass(frozen=True)
class StepKeys:
    """Say how a model without a clean pass keeps the keys that its steps wrote (StreamDiffusionV2, 2511.07399).

    From latent `restart` on, coordinates jump back to the last one of the first window, again and again (None: never).
    A latent of the sink goes when a new one is less like it than the cosine `renew_sink_below` (None: it stays).
    `batch`: one pass runs all steps, each of another chunk (`models.step_batch`), over keys of their own.
    """

    restart: int | None = None
    renew_sink_below: float | None = None
    batch: bool = False

    def __post_init__(self) -> None:
        if self.renew_sink_below is not None and not -1 <= self.renew_sink_below <= 1:
            raise ValueError(f"a cosine is between -1 and 1, not {self.renew_sink_below}")

    def coordinate(self, latent: int, window: int) -> int:
        """Return the temporal coordinate of a latent, which counts from the start or the newest cut."""
        if self.restart is None or latent < self.restart:
            return latent
        return window - 1 + (latent - self.restart) % (self.restart - window + 1)


@dataclass(frozen=True)
class ShotRule:
    """Say what a cut does in a model that goes on from the shot before it (LongLive 2.0).

    The take's sink stays, and so does the first chunk of the newest shot, up to as many latents as the sink has; other
    chunks leave the window as they grow old.
    """

    offset: float = 0.0  # latents by which all coordinates from the cut on lie further from those before
    sink: bool = True  # whether the first chunk of the newest shot stays
    fresh: bool = False  # whether a shot's first chunk is the last one to see chunks of the shot before
    prefix: str = ""  # begins the prompt of a shot's first chunk

    def __post_init__(self) -> None:
        if self.offset < 0:
            raise ValueError(f"a cut moves time on by 0 or more latents, not by {self.offset}")


@dataclass(frozen=True)
class CacheShape:
    """Hold the sizes of a cache. `window` counts the latents of sink, past and current chunk."""

    layers: int
    heads: int
    head_dim: int
    rows: int  # tokens of one latent
    columns: int
    grid: TimeGrid
    window: int
    sink: int  # the first latents of a take that stay, 0 … window - chunk
    knot: int = 0  # latents denoised past the end of a chunk, on top of the window
    reference: ReferenceRule | None = None  # place for a reference, on top of the window
    batch: int = 1  # takes that run in step, a row each; twice as many where a second prompt guides them
    sink_average: float | None = None  # share of itself that the sink keeps when as many latents leave the ring
    shots: ShotRule | None = None  # how cuts go on from the shot before; None: they drop the past
    gap: int = 2  # latents from the newest one to a sink that is `ahead`

    def __post_init__(self) -> None:
        grid, longest = self.grid, self.window - self.grid.chunk
        if longest < 0 or self.window < grid.first_chunk:
            raise ValueError(
                f"window {self.window} has no room for a chunk of {max(grid.chunk, grid.first_chunk)} latents"
            )
        if not 0 <= self.sink <= longest:
            raise ValueError(f"a sink has 0 to {longest} latents (window less chunk), not {self.sink}")
        first = grid.first_chunk + self.knot
        if self.reference and self.reference.policy == "stride" and self.reference.start < first:
            raise ValueError(f"a reference cannot start inside the first chunk: start is {first} or more")

    @property
    def tokens(self) -> int:
        """Return the tokens of one latent."""
        return self.rows * self.columns

    @property
    def values_per_latent(self) -> int:
        """Return how many numbers the keys and values of one latent are, in all layers and rows."""
        return 2 * self.layers * self.batch * self.tokens * self.heads * self.head_dim

    @property
    def ring(self) -> int:
        """Return the latents that the ring has room for, the current chunk's among them."""
        return self.window - self.sink
