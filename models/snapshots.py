"""Take snapshots of a take, go on from them, and hold the newest within a budget of memory, to rewind to."""

from __future__ import annotations

from dataclasses import dataclass

from models.cache_snapshot import CacheSnapshot
from models.codecs.stream import StreamSnapshot
from models.dataclass_tree import tensors_of
from models.state import TakeFields, TakeState
from models.tensor_copies import copied


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


def snapshot_of(state: TakeState) -> Snapshot:
    """Return a take as it is; what earlier snapshots hold is shared."""
    for newest in (state.recent, state.driven):
        newest[-1:] = copied(newest[-1:])
    if state.knot is not None:
        [state.knot] = copied([state.knot])
    return Snapshot(state.copied(), state.cache.snapshot(), state.codec.snapshot())


def restore_into(empty: TakeState, snapshot: Snapshot) -> TakeState:
    """Return the take of the snapshot; its cache and codec stream are those of `empty`, a new take of its size."""
    empty.cache.restore(snapshot.cache)
    empty.codec.restore(snapshot.codec)
    return TakeState(cache=empty.cache, codec=empty.codec, **vars(snapshot.take.copied()))


class Snapshots:
    """Hold the newest snapshots of a take, within a budget of memory."""

    def __init__(self, budget_mb: float) -> None:
        self.budget = budget_mb * 1e6
        self._held: dict[int, Snapshot] = {}
        self._users: dict[int, int] = {}  # address of a storage → snapshots that hold it
        self._bytes = 0

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot and drop the oldest ones until the rest fits; the one that is added stays in any case."""
        if snapshot.index in self._held:
            self._drop(snapshot.index)
        self._held[snapshot.index] = snapshot
        for address, size in _storages(snapshot).items():
            users = self._users.get(address, 0)
            self._bytes += 0 if users else size
            self._users[address] = users + 1
        while len(self._held) > 1 and self._bytes > self.budget:
            self._drop(min(self._held))

    def _drop(self, index: int) -> None:
        for address, size in _storages(self._held.pop(index)).items():
            self._users[address] -= 1
            if not self._users[address]:
                del self._users[address]
                self._bytes -= size

    def bytes(self) -> int:
        """Return the bytes of memory held; tensors that snapshots share count once."""
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


def _storages(snapshot: Snapshot) -> dict[int, int]:
    """Return address and size in bytes of every storage that the snapshot keeps alive."""
    storages = (t.untyped_storage() for t in tensors_of(snapshot))
    return {s.data_ptr(): s.nbytes() for s in storages}
