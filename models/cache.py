"""The key/value cache of a causal rollout: anchors that stay and a ring of past chunks, in one buffer a layer.

Attention does not care about the order of keys, so nothing ever moves: a chunk is written into the slot of the
chunk that just left the window. Per layer the buffer is

    [ knot | reference | sink | ring: past and current chunks ]

The knot's place is filled while a chunk is denoised and seen by nothing else. The reference is one latent of an image.

Past keys are stored rotated at their absolute coordinate. The sink's keys are kept as they were before rotation and
are rotated once a chunk at the coordinate that the anchor policy gives. What is not filled yet is sliced off: a zero
key would still draw attention.
Equivalent to LongLive's shifting cache (2509.22622); un-rotated anchors as in Infinity-RoPE (2511.20649).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from models.cache_shape import AnchorPolicy, CacheShape
from models.copies import copied
from models.rope import Rotation, rotation
from models.transformer import KeysValues


@dataclass(frozen=True)
class Anchor:
    """Keys before rotation and values of every layer, [takes, n·tokens, heads, d]; never written again."""

    layers: tuple[KeysValues, ...]
    captured_at: int  # coordinate of its first latent
    latents: int


@dataclass(frozen=True)
class Slot:
    """What lies in one ring slot. After a flush only the last `latents` of its chunk are visible."""

    coordinate: int  # of the chunk's first latent
    latents: int
    saved: tuple[KeysValues, ...] | None = None  # copies for snapshots, made once


@dataclass(frozen=True)
class CacheSnapshot:
    """All that a cache holds, as tensors that are never written again and that neighbouring snapshots share."""

    sink: Anchor | None
    slots: dict[int, Slot]
    origin: int
    reference: Anchor | None = None

    def tensors(self) -> Iterable[Tensor]:
        anchors = [a.layers for a in (self.sink, self.reference) if a]
        saved = [s.saved for s in self.slots.values() if s.saved] + anchors
        return (t for layers in saved for pair in layers for t in pair)


@dataclass(frozen=True)
class Pass:
    """A forward pass under way: which tokens go where, which it may see, and what it leaves behind."""

    first: int  # coordinate of its first latent
    writes: list[tuple[int, int, int]]  # token of the pass, token of the buffer, how many
    visible: list[tuple[int, int]]  # ranges of buffer tokens
    leaves: dict[int, Slot]  # slots that are past once it is over
    captured: list[KeysValues] | None = None  # keys and values of its first latents, layer by layer, for an anchor
    becomes: Literal["sink", "reference"] = "sink"  # which anchor that is


class RingCache:
    """One rollout's keys and values.

    A pass is announced by `begin` or `begin_recache`, which return the rotation of its tokens; every layer then calls
    `extend`, as often as the chunk is denoised; `end` closes it.
    """

    def __init__(self, shape: CacheShape, policy: AnchorPolicy, device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self.policy, self.device = shape, policy, device
        self.sink: Anchor | None = None
        self.reference: Anchor | None = None
        self.origin = 0  # coordinate of the first latent that the cache counts from: the start, a cut, a new sink
        self._slots: dict[int, Slot] = {}
        self._reference_at = shape.knot * shape.tokens
        self._sink_at = self._reference_at + (shape.tokens if shape.reference else 0)
        self._ring_at = self._sink_at + shape.sink * shape.tokens
        size = (shape.takes, self._ring_at + shape.ring * shape.tokens, shape.heads, shape.head_dim)
        self._keys = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.layers)]
        self._values = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.layers)]
        self._placed: dict[int, tuple[int, Anchor]] = {}  # where the anchor at a place in the buffer is rotated to
        self._pass: Pass | None = None
        self._gathered: tuple[Pass, KeysValues] | None = None  # the past of a pass, once it was asked for

    @property
    def empty(self) -> bool:
        return self.sink is None and not self._slots

    def visible_past(self) -> list[int]:
        """Coordinates of the latents in the ring, oldest first."""
        chunk = self.shape.chunk
        return sorted(s.coordinate + i for s in self._slots.values() for i in range(chunk - s.latents, chunk))

    # -- passes --------------------------------------------------------------------------------------------------

    def begin(self, first: int, *, clean: bool = False) -> Rotation:
        """A pass over the chunk at coordinate `first`. A clean one leaves what later chunks see; others leave nothing
        and carry the knot behind the chunk."""
        n = self.shape.chunk * self.shape.tokens
        into_sink = self.shape.sink > 0 and first == self.origin
        slot = self._slot_of(first)
        past = self._slots if into_sink else {k: s for k, s in self._slots.items() if k != slot}
        at = self._sink_at if into_sink else self._ring_at + slot * n
        writes, visible, latents = [(0, at, n)], [(at, at + n), *self._ranges(past)], self.shape.chunk
        if self.shape.knot and not clean:
            writes.append((n, 0, self._reference_at))
            visible.append((0, self._reference_at))
            latents += self.shape.knot
        if not into_sink and self.sink is not None:
            oldest = min((s.coordinate + self.shape.chunk - s.latents for s in past.values()), default=first)
            visible.append(self._place_sink(oldest, first + latents))
        if self.reference is not None:
            visible.append(self._place_reference(first + self.shape.chunk))
        self._slots = dict(past)
        leaves = {slot: Slot(first, self.shape.chunk)} if clean and not into_sink else {}
        self._pass = Pass(first, writes, visible, leaves, [] if clean and into_sink else None)
        return self._rotation(first, latents)

    def begin_reference(self) -> Rotation:
        """A clean pass over the one latent of an image, which sees nothing else and becomes the reference."""
        self._pass = Pass(0, [(0, self._reference_at, self.shape.tokens)], [], {}, [], "reference")
        self._pass.visible.append((self._reference_at, self._sink_at))
        return self._rotation(0, 1)

    def begin_recache(self, first: int, latents: int, *, into_sink: bool) -> Rotation:
        """A clean pass over whole chunks from coordinate `first` that writes their slots anew.

        With `into_sink` the first of them becomes the sink, else they see the sink that is there.
        """
        n = self.shape.chunk * self.shape.tokens
        writes, leaves = [], {}
        if into_sink:
            self.origin, self.sink = first, None
        for i in range(latents // self.shape.chunk):
            coordinate = first + i * self.shape.chunk
            if into_sink and i == 0:
                writes.append((0, self._sink_at, n))
            else:
                slot = self._slot_of(coordinate)
                leaves[slot] = Slot(coordinate, self.shape.chunk)
                writes.append((i * n, self._ring_at + slot * n, n))
        visible = [(at, at + n) for _, at, n in writes]
        if self.sink is not None:
            visible.append(self._place_sink(first, first + latents))
        if self.reference is not None:
            visible.append(self._place_reference(first + latents))
        self._slots = {}
        self._pass = Pass(first, writes, visible, leaves, [] if into_sink else None)
        return self._rotation(first, latents)

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> KeysValues:
        """Write a layer's new keys (not rotated) and values; return every visible one, [takes, S, heads, d]."""
        assert self._pass is not None, "extend outside a pass"
        rotated, keys, values = rotation(key), self._keys[layer], self._values[layer]
        for source, at, n in self._pass.writes:
            keys[:, at : at + n] = rotated[:, source : source + n]
            values[:, at : at + n] = value[:, source : source + n]
        if self._pass.captured is not None:
            n = self._anchor_tokens(self._pass.becomes)
            self._pass.captured.append((key[:, :n].clone(), value[:, :n].clone()))
        ranges = _merged(self._pass.visible)
        if len(ranges) == 1:  # always, but for the two chunks after a flush
            ((start, stop),) = ranges
            return keys[:, start:stop], values[:, start:stop]
        return torch.cat([keys[:, i:j] for i, j in ranges], 1), torch.cat([values[:, i:j] for i, j in ranges], 1)

    def past(self) -> KeysValues:
        """What the pass under way sees and does not write, for an engine that takes it as an input.

        Keys (rotated) and values of all layers, [layers, takes, P, heads, d]; P may be 0. Gathered once a pass.
        """
        assert self._pass is not None, "past outside a pass"
        if self._gathered is None or self._gathered[0] is not self._pass:
            written = {(at, at + n) for _, at, n in self._pass.writes}
            ranges = _merged([r for r in self._pass.visible if r not in written]) or [(0, 0)]
            self._gathered = self._pass, (_gather(self._keys, ranges), _gather(self._values, ranges))
        return self._gathered[1]

    def end(self) -> None:
        """Close the pass; what a clean one wrote is past from now on."""
        assert self._pass is not None, "end outside a pass"
        done, self._pass, self._gathered = self._pass, None, None
        self._slots.update(done.leaves)
        if done.captured is not None:
            anchor = Anchor(tuple(done.captured), done.first, self._anchor_tokens(done.becomes) // self.shape.tokens)
            setattr(self, done.becomes, anchor)
            at = self._sink_at if done.becomes == "sink" else self._reference_at
            self._placed[at] = (done.first, anchor)  # the pass has written it rotated to where it was captured

    # -- what happens at a switch or a cut ------------------------------------------------------------------------

    def keep_newest(self) -> None:
        """Flush: of the past only the newest latent stays, and the sink."""
        if self._slots:
            slot, newest = max(self._slots.items(), key=lambda item: item[1].coordinate)
            self._slots = {slot: replace(newest, latents=1)}

    def clear(self, origin: int) -> None:
        """Forget everything but the reference; the chunk at coordinate `origin` comes next."""
        self._slots, self.sink, self.origin = {}, None, origin

    # -- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self) -> CacheSnapshot:
        """Copies of what no earlier snapshot holds yet; the rest is shared."""
        n = self.shape.chunk * self.shape.tokens
        for slot, held in self._slots.items():
            if held.saved is None:
                at = self._ring_at + slot * n
                pairs = zip(self._keys, self._values, strict=True)
                kept = copied([t[:, at : at + n] for pair in pairs for t in pair])
                saved = tuple(zip(kept[::2], kept[1::2], strict=True))
                self._slots[slot] = replace(held, saved=saved)
        return CacheSnapshot(self.sink, dict(self._slots), self.origin, self.reference)

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Exactly the keys and values of the moment of the snapshot."""
        self.sink, self.reference, self.origin, self._placed = snapshot.sink, snapshot.reference, snapshot.origin, {}
        self._slots = dict(snapshot.slots)
        for slot, held in self._slots.items():
            at = self._ring_at + slot * self.shape.chunk * self.shape.tokens
            for (k, v), keys, values in zip(held.saved or (), self._keys, self._values, strict=True):
                keys[:, at : at + k.shape[1]], values[:, at : at + v.shape[1]] = k, v

    # -- inside --------------------------------------------------------------------------------------------------

    def _rotation(self, first: int, latents: int) -> Rotation:
        s = self.shape
        return rotation(range(first, first + latents), s.rows, s.columns, s.head_dim, self.device)

    def _slot_of(self, coordinate: int) -> int:
        chunks = (coordinate - self.origin) // self.shape.chunk - (1 if self.shape.sink else 0)
        return chunks % (self.shape.ring // self.shape.chunk)

    def _ranges(self, slots: dict[int, Slot]) -> list[tuple[int, int]]:
        chunk, t = self.shape.chunk, self.shape.tokens
        ends = {slot: self._ring_at + (slot + 1) * chunk * t for slot in slots}
        return [(ends[slot] - held.latents * t, ends[slot]) for slot, held in slots.items()]

    def _place_sink(self, oldest: int, after: int) -> tuple[int, int]:
        """Rotate the sink to where its policy puts it, given the oldest visible past latent and the newest one + 1."""
        assert self.sink is not None
        first = {
            AnchorPolicy.FIXED: self.sink.captured_at,
            AnchorPolicy.TRAILING: oldest - self.sink.latents,
            AnchorPolicy.AHEAD: after - 1 + self.shape.gap,
        }[self.policy]
        return self._place(self.sink, self._sink_at, first)

    def _place_reference(self, after: int) -> tuple[int, int]:
        """Rotate the reference to where its rule puts it, given the newest latent of the current chunk + 1."""
        assert self.reference is not None
        assert self.shape.reference is not None
        ahead = self.shape.knot - 1
        first_newest = self.origin + self.shape.chunk + ahead
        where = self.shape.reference.coordinate(after + ahead, first_newest)
        return self._place(self.reference, self._reference_at, where)

    def _place(self, anchor: Anchor, at: int, first: int) -> tuple[int, int]:
        stop = at + anchor.latents * self.shape.tokens
        placed = self._placed.get(at)
        if placed is None or placed[0] != first or placed[1] is not anchor:
            turn = self._rotation(first, anchor.latents)
            for (k, v), keys, values in zip(anchor.layers, self._keys, self._values, strict=True):
                keys[:, at:stop], values[:, at:stop] = turn(k), v
            self._placed[at] = (first, anchor)
        return at, stop

    def _anchor_tokens(self, which: Literal["sink", "reference"]) -> int:
        return (self.shape.sink if which == "sink" else 1) * self.shape.tokens


def _gather(layers: list[Tensor], ranges: list[tuple[int, int]]) -> Tensor:
    return torch.stack([torch.cat([t[:, i:j] for i, j in ranges], 1) for t in layers])


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
