"""Describe a forward pass under way by the places of a cache's buffer that it writes and sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from models.cache_protocol import KeysValues


@dataclass(frozen=True)
class Span:
    """Hold a run of neighbouring latents of the buffer; `source` is their place in the pass that writes them."""

    start: int
    stop: int
    source: int = 0


@dataclass
class Pass:
    """Hold a forward pass under way: what it writes where, what it may see, and what it leaves behind."""

    first: int  # number of its first latent
    writes: list[Span]
    visible: list[Span]
    coordinates: tuple[float, ...]  # of the visible latents, in the buffer's order
    past: list[Span]  # visible, and not written by the pass
    leaves: dict[int, int] = field(default_factory=dict)  # latents that are past once it is over → places in the ring
    anchor: str | None = None  # the anchor that its first latents become
    latents: int = 0  # how many of them do
    captured: list[KeysValues] = field(default_factory=list)  # keys before rotation and values, layer by layer


def spans_of(places: Sequence[int]) -> list[Span]:
    """Join neighbouring places, in the order given; `source` counts along that order."""
    spans: list[Span] = []
    for source, place in enumerate(places):
        if spans and place == spans[-1].stop:
            spans[-1] = replace(spans[-1], stop=place + 1)
        else:
            spans.append(Span(place, place + 1, source))
    return spans
