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

from dataclasses import replace

import torch
from torch import Tensor

from models.cache_pass import Pass, Span, spans_of
from models.cache_protocol import KeysValues, Visible
from models.cache_shape import AnchorPolicy, CacheShape
from models.cache_snapshot import Anchor, CacheSnapshot, Piece
from models.ring_places import RingPlaces
from models.rope import Rotation, rotation
from models.tensor_copies import copied

SINK, REFERENCE = "sink", "reference"  # names of anchors


class RingCache:
    """Hold the keys and values of one rollout.

    A pass is announced by `begin`, `begin_recache` or `begin_reference`, which return the rotation of its tokens; every
    layer then calls `extend`, as often as the chunk is denoised; `end` closes it.
    """

    def __init__(self, shape: CacheShape, policy: AnchorPolicy, device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self.policy, self.device = shape, policy, device
        self.anchors: dict[str, Anchor] = {}
        self._pieces: list[Piece] = []  # what lies in the ring, pass by pass
        self._latent_bytes = shape.values_per_latent * dtype.itemsize  # keys and values of one latent
        sink_at = shape.knot + (1 if shape.reference else 0)
        self._at = {REFERENCE: shape.knot, SINK: sink_at}
        self._ring = RingPlaces(sink_at + shape.sink, shape.ring, shape.sink)
        size = (shape.batch, (sink_at + shape.sink + shape.ring) * shape.tokens, shape.heads, shape.head_dim)
        # of all layers at once, and layer by layer: parts of the same memory, apart for gradients
        self._layers = [torch.zeros((shape.layers, *size), device=device, dtype=dtype) for _ in range(2)]
        self._keys, self._values = ([whole[i].detach() for i in range(shape.layers)] for whole in self._layers)
        # anchors as they lie in the buffer, and the coordinates that their latents have there
        self._placed: dict[str, tuple[tuple[float, ...], Anchor]] = {}
        self._pass: Pass | None = None
        self._gathered: tuple[list[Span], KeysValues] | None = None  # the past that was asked for last, until a write

    @property
    def keeps_steps(self) -> bool:
        """Return whether what a denoising step wrote stays, as no clean pass replaces it."""
        return False

    # -- passes --------------------------------------------------------------------------------------------------

    def begin(self, first: int, latents: int, *, clean: bool = False) -> Rotation:
        """Begin a pass over the chunk of `latents` latents from `first` on.

        A clean pass leaves what later chunks see; others leave nothing and carry the knot behind the chunk. ValueError
        for one of these while keys of the past are missing.
        """
        if self.keys_missing and not clean:
            raise ValueError("the past was restored without its keys; a recache makes them anew before the next chunk")
        if clean:
            self._ring.drop_before_shot(first)
        gone = self._ring.make_room(first, latents)
        if self.shape.sink_average is not None and len(gone) == self.shape.sink:
            self._average_sink(gone, self.shape.sink_average)
        self._drop_pieces()
        return self._begin(first, latents, knot=0 if clean else self.shape.knot, clean=clean)

    def begin_recache(self, first: int, latents: int) -> Rotation:
        """Begin a clean pass over the newest `latents` latents, from `first` on, that writes them anew.

        They see each other and the sinks. From the origin on, the first of them become the sink again.
        """
        self._ring.visible = {latent: at for latent, at in self._kept_shot().items() if latent < first}
        self._drop_pieces()
        if first == self.origin:
            self.anchors.pop(SINK, None)
        return self._begin(first, latents, knot=0, clean=True)

    def begin_reference(self) -> Rotation:
        """Begin a clean pass over the one latent of an image, which sees nothing else and becomes the reference."""
        own = Span(self._at[REFERENCE], self._at[REFERENCE] + 1)
        self._pass = Pass(0, [own], [own], (0,), [], anchor=REFERENCE, latents=1)
        return self._rotation((0,))

    def _begin(self, first: int, latents: int, *, knot: int, clean: bool) -> Rotation:
        own = range(first, first + latents)
        in_take = self._ring.places(own)
        coordinates = tuple(self._ring.coordinate(latent) for latent in own)
        coordinates += tuple(coordinates[-1] + 1 + i for i in range(knot))
        places = in_take + list(range(knot))
        past = {place: self._ring.coordinate(latent) for latent, place in self._ring.visible.items()}
        if SINK in self.anchors:
            past |= self._place_sink(min(past.values(), default=coordinates[0]), coordinates[-1])
        if REFERENCE in self.anchors:
            past |= self._place_reference(first + latents - 1)
        seen = dict(zip(places, coordinates, strict=True)) | past
        into_sink = max(0, self.origin + self.shape.sink - first)  # more than `latents` where the sink is still longer
        self._pass = Pass(
            first,
            writes=spans_of(places),
            visible=spans_of(sorted(seen)),
            coordinates=tuple(seen[place] for place in sorted(seen)),
            past=spans_of(sorted(past)),
        )
        if clean:
            self._pass.leaves = dict(list(zip(own, in_take, strict=True))[into_sink:])
            self._pass.anchor, self._pass.latents = SINK if into_sink else None, min(into_sink, latents)
        return self._rotation(coordinates)

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Write a layer's new keys (before rotation) and values in place and return all that it sees, as a view."""
        assert self._pass is not None, "extend outside a pass"
        rotated, keys, values, n = rotation(key), self._keys[layer], self._values[layer], self.shape.tokens
        self._gathered = None
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

        Rotated keys and values of all layers, [layers, batch, P, heads, d], contiguous; P may be 0. They are gathered
        once a chunk: its steps and its clean pass see the same past, and an engine's steps write nothing between.
        """
        assert self._pass is not None, "past outside a pass"
        spans, n = self._pass.past, self.shape.tokens
        if self._gathered is None or self._gathered[0] != spans:
            keys, values = (
                torch.cat([whole[:, :, s.start * n : s.stop * n] for s in spans] or [whole[:, :, :0]], 2).contiguous()
                for whole in self._layers
            )
            self._gathered = spans, (keys, values)
        return self._gathered[1]

    def end(self) -> None:
        """Close the pass; what a clean one wrote is past from now on."""
        assert self._pass is not None, "end outside a pass"
        done, self._pass = self._pass, None
        if done.anchor is not None:
            self._capture(done.anchor, Anchor(tuple(done.captured), done.first, done.latents))
        if done.leaves:
            leaves = list(done.leaves)
            self._ring.hold(leaves, done.leaves.values())
            step = self.shape.grid.chunk  # as much as the next chunk will overwrite, so that its copies go whole
            self._pieces += [Piece(c, min(step, leaves[-1] + 1 - c)) for c in leaves[::step]]
            self._ring.keep_shot(range(done.first, leaves[-1] + 1))

    # -- what happens at a switch or a cut ------------------------------------------------------------------------

    def keep_newest(self) -> None:
        """Drop the past but for its newest latent, and keep the anchors: a flush."""
        self._ring.keep(list(self._ring.visible)[-1:])
        self._drop_pieces()

    def clear(self, origin: int) -> None:
        """Forget everything but the reference; the latent `origin` comes next."""
        self._ring.clear(origin)
        self._drop_pieces()
        self.anchors.pop(SINK, None)

    def begin_shot(self, first: int, latents: int) -> None:
        """Begin a shot with the chunk of `latents` latents from `first` on, in a cache that has a rule for it."""
        assert self.shape.shots is not None, "a shot in a cache whose cuts drop the past"
        self._ring.begin_shot(first, latents, self.shape.shots)

    def kept_before(self, first: int) -> int:
        """Return how many latents before `first` are kept of the newest shot."""
        return sum(latent < first for latent in self._kept_shot())

    # -- snapshots -----------------------------------------------------------------------------------------------

    @property
    def origin(self) -> int:
        """Return the number of the latent that the cache counts from: the start, a cut, a new sink."""
        return self._ring.origin

    @property
    def past_latents(self) -> range:
        """Return the latents in the ring that the next pass sees: the newest that follow each other.

        Those that are kept of a shot before them are not among them, unless their keys are missing.
        """
        held = self._latents_of_pieces()
        return self._ring.newest_run(latent for latent in self._kept_shot() if latent in held)

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
        return not self._ring.visible.keys() <= self._latents_of_pieces()

    def snapshot(self, *, keys: bool = True) -> CacheSnapshot:
        """Copy what no earlier snapshot holds yet; the rest is shared.

        Without `keys` the ring is left out, but for what is kept of a shot: no latents are held to make it anew.
        """
        visible, kept = self._ring.visible, self._kept_shot()
        pieces = []
        for i, piece in enumerate(self._pieces):
            latents = range(piece.first, piece.stop)
            if not piece.layers and (keys or any(latent in kept for latent in latents)):
                spans = spans_of([visible[latent] for latent in latents])
                pairs = zip(self._keys, self._values, strict=True)
                read = copied([self._read(t, spans) for pair in pairs for t in pair])
                self._pieces[i] = piece = replace(piece, layers=tuple(zip(read[::2], read[1::2], strict=True)))
            if keys or any(latent in kept for latent in latents):
                pieces.append(piece)
        past = (min(visible), max(visible) + 1) if visible else (0, 0)
        places = tuple(visible.items()) if self.shape.shots else None
        return CacheSnapshot(
            dict(self.anchors),
            tuple(pieces),
            past,
            self.origin,
            self.policy,
            places=places,
            shots=self._ring.shots,
        )

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Take up exactly the keys and values of the moment of the snapshot, none of the ring if it left them out."""
        self._pass, self._gathered = None, None  # of a chunk that was given up
        self.anchors, self._placed = dict(snapshot.anchors), {}
        self.policy = snapshot.policy
        self._ring.clear(snapshot.origin)
        self._ring.shots = snapshot.shots
        past = range(*snapshot.past)
        places = dict(snapshot.places or zip(past, self._ring.places(past), strict=True))
        self._ring.hold(places.keys(), places.values())
        self._pieces, n = list(snapshot.pieces), self.shape.tokens
        for piece in self._pieces:
            for latent in (c for c in range(piece.first, piece.stop) if c in self._ring.visible):
                place, source = self._ring.visible[latent] * n, (latent - piece.first) * n
                for (k, v), keys, values in zip(piece.layers, self._keys, self._values, strict=True):
                    keys[:, place : place + n] = k[:, source : source + n]
                    values[:, place : place + n] = v[:, source : source + n]

    # -- inside --------------------------------------------------------------------------------------------------

    def _rotation(self, coordinates: tuple[float, ...]) -> Rotation:
        s = self.shape
        return rotation(coordinates, s.rows, s.columns, s.head_dim, self.device)

    def _kept_shot(self) -> dict[int, int]:
        """Return the visible latents that are kept of the newest shot, and their places."""
        kept = range(*self._ring.shots.kept)
        return {latent: place for latent, place in self._ring.visible.items() if latent in kept}

    def _latents_of_pieces(self) -> set[int]:
        return {latent for piece in self._pieces for latent in range(piece.first, piece.stop)}

    def _read(self, buffer: Tensor, spans: list[Span]) -> Tensor:
        """Return the tokens of the spans: a view, but for the few chunks after a flush."""
        n = self.shape.tokens
        parts = [buffer[:, s.start * n : s.stop * n] for s in spans] or [buffer[:, :0]]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _drop_pieces(self) -> None:
        """Let go of what is not visible any more; pieces that were copied stay whole, as snapshots share them."""
        pieces: list[Piece] = []
        for piece in self._pieces:
            shown = [latent for latent in range(piece.first, piece.stop) if latent in self._ring.visible]
            whole = piece.layers or len(shown) == piece.latents
            runs = [piece] if whole else [Piece(run.start, run.stop - run.start) for run in spans_of(shown)]
            pieces += runs if shown else []
        self._pieces = pieces

    def _capture(self, name: str, anchor: Anchor) -> None:
        """Make an anchor of what a pass has captured; a sink that was begun by an earlier chunk grows by it."""
        begun = self.anchors.get(name) if name == SINK and anchor.captured_at != self.origin else None
        placed = self._placed.get(name)
        if begun is not None:
            pairs = zip(begun.layers, anchor.layers, strict=True)
            layers = tuple((torch.cat([a[0], b[0]], 1), torch.cat([a[1], b[1]], 1)) for a, b in pairs)
            anchor = Anchor(layers, begun.captured_at, begun.latents + anchor.latents)
        self.anchors[name] = anchor
        if begun is None or (placed is not None and placed[0] == self._captured_at(begun) and placed[1] is begun):
            self._placed[name] = (self._captured_at(anchor), anchor)  # passes have written it rotated to where it was

    def _average_sink(self, gone: dict[int, int], share: float) -> None:
        """Keep `share` of the sink, and take the rest from the latents that have left, at their places in the ring.

        Keys are averaged as they are before rotation (Reward-Forcing).
        """
        sink = self.anchors[SINK]
        turn = self._rotation(tuple(self._ring.coordinate(latent) for latent in gone))
        back, spans = replace(turn, sin=-turn.sin), spans_of(list(gone.values()))
        layers = []
        for (k, v), keys, values in zip(sink.layers, self._keys, self._values, strict=True):
            evicted = back(self._read(keys, spans)), self._read(values, spans)
            kept_k, kept_v = (
                torch.lerp(new.float(), old.float(), share) for old, new in zip((k, v), evicted, strict=True)
            )
            layers.append((kept_k.to(k.dtype), kept_v.to(v.dtype)))
        self.anchors[SINK] = replace(sink, layers=tuple(layers))

    def _captured_at(self, anchor: Anchor) -> tuple[float, ...]:
        """Return the coordinates that an anchor's latents had when it was captured."""
        return tuple(self._ring.coordinate(anchor.captured_at + i) for i in range(anchor.latents))

    def _place_sink(self, oldest: float, newest: float) -> dict[int, float]:
        """Rotate the sink to where its policy puts it, given the oldest past latent and the newest of the pass."""
        sink = self.anchors[SINK]
        if self.policy is AnchorPolicy.FIXED:
            return self._place(SINK, self._captured_at(sink))
        first = oldest - sink.latents if self.policy is AnchorPolicy.TRAILING else newest + self.shape.gap
        return self._place(SINK, tuple(first + i for i in range(sink.latents)))

    def _place_reference(self, newest: int) -> dict[int, float]:
        """Rotate the reference to where its rule puts it, given the newest latent of the current chunk."""
        rule, grid, knot = self.shape.reference, self.shape.grid, self.shape.knot
        assert rule is not None, "a reference in a cache without a place for it"
        newest_of_first = self.origin + (grid.chunk if self.origin else grid.first_chunk) - 1
        return self._place(REFERENCE, (rule.coordinate(newest + knot, newest_of_first + knot),))

    def _place(self, name: str, coordinates: tuple[float, ...]) -> dict[int, float]:
        """Have an anchor in the buffer, rotated to these coordinates of its latents; return them by place."""
        anchor, at, n = self.anchors[name], self._at[name], self.shape.tokens
        placed = self._placed.get(name)
        if placed is None or placed[0] != coordinates or placed[1] is not anchor:
            turn, place = self._rotation(coordinates), slice(at * n, (at + anchor.latents) * n)
            for (k, v), keys, values in zip(anchor.layers, self._keys, self._values, strict=True):
                keys[:, place], values[:, place] = turn(k), v
            self._placed[name] = (coordinates, anchor)
            self._gathered = None
        return {at + i: c for i, c in enumerate(coordinates)}
