"""Keep the keys and values of a causal rollout: anchors that stay and a ring of past latents, in one buffer a layer.

Attention does not care about the order of keys, so nothing ever moves: a latent is written into the place of the one
that just left the window. Per layer the buffer is, in latents,

    [ knot | reference | sink | ring: past and current chunk ]

The first latents of a take go to the sink, later ones to the ring, so a chunk may lie in both and a chunk at the ring's
end goes on at its beginning. The knot's place is filled while a chunk is denoised and seen by nothing else. The
reference is one latent of an image.

Past keys are stored rotated at their absolute coordinate. Keys of anchors are kept as they were before rotation and are
rotated once a chunk at the coordinate that their policy gives. What is not filled yet is sliced off: a zero key would
still draw attention.
Equivalent to LongLive's shifting cache (2509.22622); un-rotated anchors as in Infinity-RoPE (2511.20649).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from models.cache_protocol import KeysValues, Visible
from models.cache_shape import AnchorPolicy, CacheShape
from models.cache_snapshot import Anchor, CacheSnapshot, Piece
from models.rope import Rotation, rotation
from models.tensor_copies import copied

SINK, REFERENCE = "sink", "reference"  # names of anchors


@dataclass(frozen=True)
class Span:
    """Hold a run of neighbouring latents of the buffer; `source` is their place in the pass that writes them."""

    start: int
    stop: int
    source: int = 0


@dataclass
class Pass:
    """Hold a forward pass under way: what it writes where, what it may see, and what it leaves behind."""

    first: int  # coordinate of its first latent
    writes: list[Span]
    visible: list[Span]
    coordinates: tuple[int, ...]  # of the visible latents, in the buffer's order
    past: list[Span]  # visible, and not written by the pass
    leaves: range = range(0)  # coordinates of the latents in the ring that are past once it is over
    anchor: str | None = None  # the anchor that its first latents become
    latents: int = 0  # how many of them do
    captured: list[KeysValues] = field(default_factory=list)  # keys before rotation and values, layer by layer


class RingCache:
    """Hold the keys and values of one rollout.

    A pass is announced by `begin`, `begin_recache` or `begin_reference`, which return the rotation of its tokens; every
    layer then calls `extend`, as often as the chunk is denoised; `end` closes it.
    """

    def __init__(self, shape: CacheShape, policy: AnchorPolicy, device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self.policy, self.device = shape, policy, device
        self.anchors: dict[str, Anchor] = {}
        self.origin = 0  # coordinate of the first latent that the cache counts from: the start, a cut, a new sink
        self._past = range(0)  # coordinates of the visible latents of the ring
        self._pieces: list[Piece] = []  # what lies there, pass by pass
        self._latent_bytes = shape.values_per_latent * dtype.itemsize  # keys and values of one latent
        sink_at = shape.knot + (1 if shape.reference else 0)
        self._at = {REFERENCE: shape.knot, SINK: sink_at}
        self._ring_at = sink_at + shape.sink
        size = (shape.batch, (self._ring_at + shape.ring) * shape.tokens, shape.heads, shape.head_dim)
        self._keys = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.layers)]
        self._values = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.layers)]
        # anchors as they lie in the buffer, and the coordinate that their first latent has there
        self._placed: dict[str, tuple[int, Anchor]] = {}
        self._pass: Pass | None = None
        self._gathered: KeysValues | None = None  # the past of the pass under way, once it was asked for

    @property
    def keeps_steps(self) -> bool:
        """Return whether what a denoising step wrote stays, as no clean pass replaces it."""
        return False

    # -- passes --------------------------------------------------------------------------------------------------

    def begin(self, first: int, latents: int, *, clean: bool = False) -> Rotation:
        """Begin a pass over the chunk of `latents` latents at coordinate `first`.

        A clean pass leaves what later chunks see; others leave nothing and carry the knot behind the chunk. ValueError
        for one of these while keys of the past are missing.
        """
        if self.keys_missing and not clean:
            raise ValueError("the past was restored without its keys; a recache makes them anew before the next chunk")
        self._keep(range(max(self._past.start, first + latents - self.shape.ring), self._past.stop))
        return self._begin(first, latents, knot=0 if clean else self.shape.knot, clean=clean)

    def begin_recache(self, first: int, latents: int) -> Rotation:
        """Begin a clean pass over the newest `latents` latents, from coordinate `first` on, that writes them anew.

        They see each other and the sink. From the origin on, the first of them become the sink again.
        """
        self._keep(range(0))
        if first == self.origin:
            self.anchors.pop(SINK, None)
        return self._begin(first, latents, knot=0, clean=True)

    def begin_reference(self) -> Rotation:
        """Begin a clean pass over the one latent of an image, which sees nothing else and becomes the reference."""
        own = Span(self._at[REFERENCE], self._at[REFERENCE] + 1)
        self._pass, self._gathered = Pass(0, [own], [own], (0,), [], anchor=REFERENCE, latents=1), None
        return self._rotation(0, 1)

    def _begin(self, first: int, latents: int, *, knot: int, clean: bool) -> Rotation:
        places = [self._place_of(c) for c in range(first, first + latents)] + list(range(knot))
        coordinates = dict(zip(places, range(first, first + latents + knot), strict=True))
        past = {self._place_of(c): c for c in self._past}
        if SINK in self.anchors:
            past |= self._place_sink(self._past.start if self._past else first, first + latents + knot - 1)
        if REFERENCE in self.anchors:
            past |= self._place_reference(first + latents - 1)
        seen = coordinates | past
        into_sink = max(0, self.origin + self.shape.sink - first)  # more than `latents` where the sink is still longer
        self._pass = Pass(
            first,
            writes=_spans(places),
            visible=_spans(sorted(seen)),
            coordinates=tuple(seen[place] for place in sorted(seen)),
            past=_spans(sorted(past)),
        )
        self._gathered = None
        if clean:
            self._pass.leaves = range(first + min(into_sink, latents), first + latents)
            self._pass.anchor, self._pass.latents = SINK if into_sink else None, min(into_sink, latents)
        return self._rotation(first, latents + knot)

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Write a layer's new keys (before rotation) and values in place and return all that it sees, as a view."""
        assert self._pass is not None, "extend outside a pass"
        rotated, keys, values, n = rotation(key), self._keys[layer], self._values[layer], self.shape.tokens
        for span in self._pass.writes:
            source = slice(span.source * n, (span.source + span.stop - span.start) * n)
            keys[:, span.start * n : span.stop * n] = rotated[:, source]
            values[:, span.start * n : span.stop * n] = value[:, source]
        if self._pass.anchor is not None:
            kept = self._pass.latents * n
            self._pass.captured.append((key[:, :kept].clone(), value[:, :kept].clone()))
        seen = self._pass.visible
        return Visible(self._read(keys, seen), self._read(values, seen), self._pass.coordinates)

    def past(self) -> KeysValues:
        """Return what the pass under way sees and does not write, for an engine that takes it as an input.

        Rotated keys and values of all layers, [layers, batch, P, heads, d]; P may be 0. Gathered once a pass.
        """
        assert self._pass is not None, "past outside a pass"
        if self._gathered is None:
            spans = self._pass.past
            keys, values = ([self._read(t, spans) for t in layers] for layers in (self._keys, self._values))
            self._gathered = torch.stack(keys), torch.stack(values)
        return self._gathered

    def end(self) -> None:
        """Close the pass; what a clean one wrote is past from now on."""
        assert self._pass is not None, "end outside a pass"
        done, self._pass, self._gathered = self._pass, None, None
        if done.anchor is not None:
            self._capture(done.anchor, Anchor(tuple(done.captured), done.first, done.latents))
        if done.leaves:
            self._past = range(self._past.start if self._past else done.leaves.start, done.leaves.stop)
            step = self.shape.grid.chunk  # as much as the next chunk will overwrite, so that its copies go whole
            self._pieces += [Piece(c, min(step, done.leaves.stop - c)) for c in done.leaves[::step]]

    # -- what happens at a switch or a cut ------------------------------------------------------------------------

    def keep_newest(self) -> None:
        """Drop the past but for its newest latent, and keep the anchors: a flush."""
        self._keep(self._past[-1:])

    def clear(self, origin: int) -> None:
        """Forget everything but the reference; the chunk at coordinate `origin` comes next."""
        self._keep(range(0))
        self.anchors.pop(SINK, None)
        self.origin = origin

    # -- snapshots -----------------------------------------------------------------------------------------------

    @property
    def past_latents(self) -> range:
        """Return the coordinates of the latents in the ring that the next pass sees."""
        return self._past

    @property
    def chunk_bytes(self) -> int:
        """Return the bytes of the keys and values of a chunk."""
        return self._latent_bytes * self.shape.grid.chunk

    @property
    def anchor_bytes(self) -> int:
        """Return the bytes of the keys and values of a whole sink and a reference."""
        return self._latent_bytes * (self.shape.sink + (1 if self.shape.reference else 0))

    @property
    def keys_missing(self) -> bool:
        """Return whether latents of the ring are visible whose keys a snapshot left out; a recache makes them anew."""
        return bool(self._past) and (not self._pieces or self._pieces[0].first > self._past.start)

    def snapshot(self, *, keys: bool = True) -> CacheSnapshot:
        """Copy what no earlier snapshot holds yet; the rest is shared. Without `keys` the ring is left out."""
        past = (self._past.start, self._past.stop)
        if not keys:
            return CacheSnapshot(dict(self.anchors), (), past, self.origin, self.policy)
        for i, piece in enumerate(self._pieces):
            if not piece.layers:
                spans = _spans([self._place_of(c) for c in range(piece.first, piece.stop)])
                pairs = zip(self._keys, self._values, strict=True)
                kept = copied([self._read(t, spans) for pair in pairs for t in pair])
                self._pieces[i] = replace(piece, layers=tuple(zip(kept[::2], kept[1::2], strict=True)))
        return CacheSnapshot(dict(self.anchors), tuple(self._pieces), past, self.origin, self.policy)

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Take up exactly the keys and values of the moment of the snapshot, none of the ring if it left them out."""
        self.anchors, self.origin, self._placed = dict(snapshot.anchors), snapshot.origin, {}
        self.policy = snapshot.policy
        self._past, self._pieces, n = range(*snapshot.past), list(snapshot.pieces), self.shape.tokens
        for piece in self._pieces:
            for c in range(piece.first, piece.stop):  # newer pieces overwrite what the ring no longer shows
                place, source = self._place_of(c) * n, (c - piece.first) * n
                for (k, v), keys, values in zip(piece.layers, self._keys, self._values, strict=True):
                    keys[:, place : place + n] = k[:, source : source + n]
                    values[:, place : place + n] = v[:, source : source + n]

    # -- inside --------------------------------------------------------------------------------------------------

    def _rotation(self, first: int, latents: int) -> Rotation:
        s = self.shape
        return rotation(range(first, first + latents), s.rows, s.columns, s.head_dim, self.device)

    def _place_of(self, coordinate: int) -> int:
        """Return where in the buffer a latent of the take lies, in latents."""
        after = coordinate - self.origin - self.shape.sink
        return self._ring_at + (after if after < 0 else after % self.shape.ring)

    def _read(self, buffer: Tensor, spans: list[Span]) -> Tensor:
        """Return the tokens of the spans: a view, but for the few chunks after a flush."""
        n = self.shape.tokens
        parts = [buffer[:, s.start * n : s.stop * n] for s in spans] or [buffer[:, :0]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _keep(self, past: range) -> None:
        """Let go of all of the ring but the latents at the coordinates `past`."""
        self._past = past
        self._pieces = [p for p in self._pieces if past and p.stop > past.start]

    def _capture(self, name: str, anchor: Anchor) -> None:
        """Make an anchor of what a pass has captured; a sink that was begun by an earlier chunk grows by it."""
        begun = self.anchors.get(name) if name == SINK and anchor.captured_at != self.origin else None
        placed = self._placed.get(name)
        if begun is not None:
            pairs = zip(begun.layers, anchor.layers, strict=True)
            layers = tuple((torch.cat([a[0], b[0]], 1), torch.cat([a[1], b[1]], 1)) for a, b in pairs)
            anchor = Anchor(layers, begun.captured_at, begun.latents + anchor.latents)
        self.anchors[name] = anchor
        if begun is None or (placed is not None and placed[0] == begun.captured_at and placed[1] is begun):
            self._placed[name] = (anchor.captured_at, anchor)  # passes have written it rotated to where it was captured

    def _place_sink(self, oldest: int, newest: int) -> dict[int, int]:
        """Rotate the sink to where its policy puts it, given the oldest past latent and the newest of the pass."""
        sink = self.anchors[SINK]
        first = {
            AnchorPolicy.FIXED: sink.captured_at,
            AnchorPolicy.TRAILING: oldest - sink.latents,
            AnchorPolicy.AHEAD: newest + self.shape.gap,
        }[self.policy]
        return self._place(SINK, first)

    def _place_reference(self, newest: int) -> dict[int, int]:
        """Rotate the reference to where its rule puts it, given the newest latent of the current chunk."""
        rule, grid, knot = self.shape.reference, self.shape.grid, self.shape.knot
        assert rule is not None, "a reference in a cache without a place for it"
        newest_of_first = self.origin + (grid.chunk if self.origin else grid.first_chunk) - 1
        return self._place(REFERENCE, rule.coordinate(newest + knot, newest_of_first + knot))

    def _place(self, name: str, first: int) -> dict[int, int]:
        """Have an anchor in the buffer, rotated from coordinate `first` on; return its coordinates by place."""
        anchor, at, n = self.anchors[name], self._at[name], self.shape.tokens
        placed = self._placed.get(name)
        if placed is None or placed[0] != first or placed[1] is not anchor:
            turn, place = self._rotation(first, anchor.latents), slice(at * n, (at + anchor.latents) * n)
            for (k, v), keys, values in zip(anchor.layers, self._keys, self._values, strict=True):
                keys[:, place], values[:, place] = turn(k), v
            self._placed[name] = (first, anchor)
        return {at + i: first + i for i in range(anchor.latents)}


def _spans(places: list[int]) -> list[Span]:
    """Join neighbouring places, in the order given; `source` counts along that order."""
    spans: list[Span] = []
    for source, place in enumerate(places):
        if spans and place == spans[-1].stop:
            spans[-1] = replace(spans[-1], stop=place + 1)
        else:
            spans.append(Span(place, place + 1, source))
    return spans
