"""Hold what a cache keeps between passes, as tensors that are never written again and that snapshots can share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.cache_protocol import KeysValues
from models.cache_shape import AnchorPolicy


@dataclass(frozen=True)
class Anchor:
    """Hold pinned latents: keys before rotation and values of every layer, [batch, latents·tokens, heads, d]."""

    layers: tuple[KeysValues, ...]
    captured_at: int  # coordinate of its first latent
    latents: int


@dataclass(frozen=True)
class Piece:
    """Hold latents of the ring that one pass wrote: number of the first, how many, and copies of every layer.

    Keys are rotated at their absolute coordinate. `layers` is empty until a snapshot has asked for the copies.
    """

    first: int
    latents: int
    layers: tuple[KeysValues, ...] = ()

    @property
    def stop(self) -> int:
        """Return the number behind its last latent."""
        return self.first + self.latents


@dataclass(frozen=True)
class SlotTurn:
    """Say which slots of a layer the steps write next, in a model that keeps the keys of its steps."""

    order: tuple[int, ...] = ()  # slots that are overwritten next, the first one by the next step once all are filled
    filled: int = 0  # slots from the first on
    end: int = 0  # coordinate behind the newest latent
    steps_left: int = 1  # of those that the first slot of the order takes


@dataclass(frozen=True)
class Shots:
    """Hold what cuts left behind that go on from the shot before; a cache without any has an empty one."""

    kept: tuple[int, int] = (0, 0)  # latents of the newest shot that never leave: first, and behind the last
    coming: tuple[int, int] = (0, 0)  # of a shot that has begun and whose first chunk is not committed
    fresh: bool = False  # whether that commit drops what is older
    offsets: tuple[tuple[int, float], ...] = ()  # latent from which on its coordinate lies so much further


@dataclass(frozen=True)
class CacheSnapshot:
    """Hold all that a cache shows to later passes; neighbouring snapshots share what neither wrote.

    `pieces` is empty where the keys of the ring were left out: they are made anew from latents (`models.recache`).
    Where the keys of steps are kept, pieces are slots, and `turns` has a turn for each layer and row.
    """

    anchors: Mapping[str, Anchor]
    pieces: tuple[Piece, ...]  # oldest first
    past: tuple[int, int]  # visible latents of the ring: the first, and behind the last
    origin: int
    policy: AnchorPolicy
    turns: tuple[SlotTurn, ...] = ()
    places: tuple[tuple[int, int], ...] | None = None  # visible latents and their places; None: as their numbers say
    shots: Shots = Shots()
