"""Say which latents of a take are in a cache's ring, where each lies, and where in time it stands.

A latent goes where its number says, or to the next free place: with nothing to keep the ring is overwritten in order.
What leaves is the oldest latent. A cut that goes on from the shot before (LongLive 2.0, `models.cache_shape.ShotRule`)
keeps its first chunk, as the take's sink is kept, until a later shot has one, and moves all later coordinates on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from models.cache_shape import ShotRule
from models.cache_snapshot import Shots


class RingPlaces:
    """Hold the visible latents of a ring of `size` places that begins at place `at`, behind a sink of `sink` places."""

    def __init__(self, at: int, size: int, sink: int) -> None:
        self._at, self._size, self._sink = at, size, sink
        self.origin = 0  # number of the first latent that the cache counts from: the start, a cut, a new sink
        self.visible: dict[int, int] = {}  # number of a latent → its place, oldest first
        self.shots = Shots()

    def places(self, latents: range) -> list[int]:
        """Return where the latents of a pass lie; the first of a take, or behind a cut, lie in the sink."""
        taken, found = set(self.visible.values()), []
        for latent in latents:
            after = latent - self.origin - self._sink
            wished = self._at + (after if after < 0 else after % self._size)
            around = (self._at + (after + i) % self._size for i in range(self._size))
            place = wished if after < 0 else next(p for p in around if p not in taken)
            taken.add(place)
            found.append(place)
        return found

    def hold(self, latents: Iterable[int], places: Iterable[int]) -> None:
        """Make latents visible, newer than those that are."""
        self.visible |= zip(latents, places, strict=True)

    def keep(self, latents: Iterable[int]) -> None:
        """Let go of all latents but these; the kept ones of a shot stay."""
        kept = {*latents, *range(*self.shots.kept)}
        self.visible = {latent: place for latent, place in self.visible.items() if latent in kept}

    def make_room(self, first: int, latents: int) -> dict[int, int]:
        """Let go of the oldest latents until those from `first` on have room, so many as do not go to the sink.

        Returns those that went, and the places that they had.
        """
        room = self._size - max(0, min(latents, first + latents - self.origin - self._sink))
        evictable = [latent for latent in self.visible if latent not in range(*self.shots.kept)]
        return {latent: self.visible.pop(latent) for latent in evictable[: max(0, len(self.visible) - room)]}

    def clear(self, origin: int) -> None:
        """Forget everything; latent `origin` comes next, and time is not moved on any more."""
        self.visible, self.shots, self.origin = {}, Shots(), origin

    def newest_run(self, without: Iterable[int] = ()) -> range:
        """Return the newest visible latents that follow each other, up to one of `without`."""
        if not self.visible:
            return range(0)
        last, hidden = max(self.visible), set(without)
        first = last
        while first - 1 in self.visible and first - 1 not in hidden:
            first -= 1
        return range(first, last + 1)

    # -- shots ---------------------------------------------------------------------------------------------------

    def coordinate(self, latent: int) -> float:
        """Return where in time a latent stands."""
        return latent + next((by for start, by in reversed(self.shots.offsets) if start <= latent), 0)

    def begin_shot(self, first: int, latents: int, rule: ShotRule) -> None:
        """Begin a shot with the chunk of `latents` latents from `first` on; its first ones stay once committed."""
        before = self.shots
        oldest = min(self.visible, default=first)
        following = [*(start for start, _ in before.offsets), first][1:]
        needed = zip(before.offsets, following, strict=True)
        offsets = [offset for offset, until in needed if until > oldest or self._in_sink(offset[0])]
        total = (before.offsets[-1][1] if before.offsets else 0.0) + rule.offset
        self.shots = Shots(
            kept=before.coming if len(range(*before.coming)) else before.kept,
            coming=(first, first + min(self._sink, latents)) if rule.sink else (0, 0),
            fresh=rule.fresh,
            offsets=(*offsets, (first, total)) if rule.offset else before.offsets,
        )

    def drop_before_shot(self, first: int) -> None:
        """Let go of the shots before, if the chunk from `first` on begins one that is to be fresh and is committed."""
        if self.shots.fresh and self._begins(first):
            self.shots = replace(self.shots, kept=(0, 0))
            self.visible = {}

    def keep_shot(self, committed: range) -> None:
        """Keep the first chunk of the shot that has begun, once a clean pass has written it."""
        if any(self._begins(latent) for latent in committed):
            self.shots = replace(self.shots, kept=self.shots.coming, coming=(0, 0))

    def _begins(self, latent: int) -> bool:
        return bool(range(*self.shots.coming)) and latent == self.shots.coming[0]

    def _in_sink(self, latent: int) -> bool:
        return latent < self.origin + self._sink
