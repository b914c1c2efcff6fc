"""Say what a transformer's layer asks of a key/value cache, whether it writes in place or concatenates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.rope import Rotation

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Visible:
    """Hold what a layer's queries attend to: rotated keys and values, each [B, S, heads, d].

    `coordinates` has the temporal coordinate of every latent among them, in the order of the keys; it is empty where
    keys come in rotated from outside. `lengths` has the keys that each row sees, the first ones; empty: all of them.
    """

    keys: Tensor
    values: Tensor
    coordinates: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()


class Cache(Protocol):
    """Take in a layer's own new keys and values, give out all that its queries may see."""

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Add keys (before rotation) and values [B, L, heads, d] of a pass to what the layer sees."""
        ...


class EngineCache(Cache, Protocol):
    """Hand the past to an engine as one input, besides serving torch's layers one by one."""

    def past(self) -> KeysValues:
        """Return rotated keys and values [layers, B, P, heads, d] that the pass under way sees and does not write."""
        ...
