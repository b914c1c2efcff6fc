"""Take snapshots of a take, go on from them, and hold the newest within a budget of memory, to rewind to.

A snapshot of a small model holds its keys and values, and a take goes on from it to the bit. Of a large one, keys are
dear: at LongLive's size (832x480, bfloat16) a chunk has 863 MB of them and its video codec 1.9 GB of features, but
1.2 MB of latents. Its snapshots hold latents, anchors and embeddings alone; what was left out is computed again. The
keys then differ a little from what they were, so a take that goes on has the recache written into it, as a cue.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace

from models.cache_snapshot import CacheSnapshot
from models.codecs.stream import StreamSnapshot
from models.dataclass_tree import tensors_of
from models.prompt_memory import PromptMemory
from models.state import TakeFields, TakeState
from models.tensor_copies import copied

DEAR_BYTES = 32_000_000  # that a chunk writes into cache and codec; beyond that snapshots leave them out
ANCHORS_HELD = 2  # sinks for which there is room beside the budget where keys are dear: today's, and one before a cut
TENSOR_BYTES = 1000  # of a tensor object beside its storage: 904 were measured, and an entry in a table
LATENTS_DECODED = 6  # of the past, decoded again for a codec's memory; the tiny codecs look no further back


@dataclass(frozen=True)
class Snapshot:
    """Hold a take at a boundary. Neighbouring snapshots share the tensors that neither wrote."""

    take: TakeFields
    cache: CacheSnapshot
    codec: StreamSnapshot

    @property
    def index(self) -> int:
        """Return how many latents the take has."""
        return self.take.index


def snapshot_of(state: TakeState, *, keys: bool = True) -> Snapshot:
    """Return a take as it is; what earlier snapshots hold is shared.

    Without `keys` the keys of the ring and of the prompt and the memory of the codec are left out.
    """
    for newest in (state.recent, state.driven):
        newest[-1:] = copied(newest[-1:])
    if state.knot is not None:
        [state.knot] = copied([state.knot])
    take = state.copied()
    if not keys and take.text is not None:
        take.text = replace(take.text, layers=())
    return Snapshot(take, state.cache.snapshot(keys=keys), state.codec.snapshot(memory=keys))


def restore_into(place: TakeState, snapshot: Snapshot, prompts: PromptMemory) -> TakeState:
    """Return the take of the snapshot; its cache and codec stream are those of `place`, a take of its size and seeds.

    Left-out keys of the prompt and memory of the codec are computed; those of the ring are missing in the cache.
    """
    take = snapshot.take.copied()
    if take.text is not None:
        take.text = prompts.completed(take.text)
    place.cache.restore(snapshot.cache)
    place.codec.restore(snapshot.codec, take.newest_chunks(LATENTS_DECODED))
    return TakeState(cache=place.cache, codec=place.codec, **vars(take))


def keys_are_dear(state: TakeState) -> bool:
    """Return whether a chunk writes so much into cache and codec that snapshots should leave it out."""
    return state.cache.chunk_bytes + state.codec.memory_bytes() > DEAR_BYTES


class Snapshots:
    """Hold the newest snapshots of a take, within a budget of memory."""

    def __init__(self, budget_mb: float) -> None:
        self.budget = budget_mb * 1e6
        self._room_for_anchors = 0  # bytes, on top of the budget
        self._held: dict[int, Snapshot] = {}
        self._users: dict[int, int] = {}  # key of a storage or tensor → snapshots that hold it
        self._bytes = 0

    def taken(self, state: TakeState) -> Snapshot:
        """Return a snapshot of the state, to be added: without keys where they are dear.

        Anchors have their keys in any case; where those are dear, there is room for ANCHORS_HELD beside the budget.
        """
        dear = keys_are_dear(state)
        self._room_for_anchors = ANCHORS_HELD * state.cache.anchor_bytes if dear else 0
        return snapshot_of(state, keys=not dear)

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot and drop the oldest ones until the rest fits; the one that is added stays in any case."""
        if snapshot.index in self._held:
            self._drop(snapshot.index)
        self._held[snapshot.index] = snapshot
        for key, size in _parts(snapshot).items():
            users = self._users.get(key, 0)
            self._bytes += 0 if users else size
            self._users[key] = users + 1
        while len(self._held) > 1 and self._bytes > self.budget + self._room_for_anchors:
            self._drop(min(self._held))

    def _drop(self, index: int) -> None:
        for key, size in _parts(self._held.pop(index)).items():
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._bytes -= size

    def bytes(self) -> int:
        """Return the bytes of memory held, tensor objects included; what snapshots share counts once."""
        return self._bytes

    def oldest(self) -> int | None:
        """Return the latent of the oldest snapshot; None if there is none."""
        return min(self._held, default=None)

    def at(self, index: int) -> Snapshot:
        """Return the newest snapshot at or before latent `index`; KeyError if there is none."""
        at = max((i for i in self._held if i <= index), default=None)
        if at is None:
            raise KeyError(f"nothing is held at or before latent {index}; the earliest is {self.oldest()}")
        return self._held[at]

    def drop_after(self, index: int) -> None:
        """Drop all snapshots behind latent `index`, as after a rewind."""
        for i in [i for i in self._held if i > index]:
            self._drop(i)


def _parts(snapshot: Snapshot) -> dict[int, int]:
    """Return key and size in bytes of every storage and every tensor object that the snapshot keeps alive.

    A storage counts in whole pages, since copies that are kept have mappings of their own (models.tensor_copies).
    Tensors on `meta`, with which sizes are computed, have no address; each counts as a storage of its own.
    """
    parts = {}
    for t in tensors_of(snapshot):
        storage = t.untyped_storage()
        parts[storage.data_ptr() or id(t)] = -(-storage.nbytes() // mmap.PAGESIZE) * mmap.PAGESIZE
        parts[-id(t)] = TENSOR_BYTES  # addresses and identities are positive
    return parts
