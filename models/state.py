"""Hold the state of a take: what changes while it runs, and snapshots of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from models.cache import RingCache
from models.cache_snapshot import CacheSnapshot
from models.codecs.stream import DecodeStream, StreamSnapshot
from models.cue import OnSwitch, SinkOnSwitch
from models.dataclass_tree import tensors_of
from models.transformer import TextState


@dataclass(frozen=True)
class Blend:
    """Hold a prompt change under way: embeddings move from `start` to `goal` in `chunks` parts, `done` of them made."""

    start: Tensor
    goal: Tensor
    chunks: int
    done: int = 0


@dataclass(kw_only=True)
class TakeFields:
    """Hold what changes while a take runs and is saved as it is: a field that is added here is saved everywhere."""

    size: tuple[int, int]  # width and height of a frame in pixels
    seeds: tuple[int, ...]  # one for each take that runs in step
    on_switch: OnSwitch
    sink_on_switch: SinkOnSwitch
    prompt: str | tuple[str, ...] | None = None
    text: TextState | None = None
    blend: Blend | None = None
    index: int = 0  # latents so far
    prefix: int = 0  # of these, the clean latents at the start that were given and not drawn
    recent: list[Tensor] = field(default_factory=list)  # clean latents of the window since the last cut, a chunk each
    driven: list[Tensor] = field(default_factory=list)  # what drove them, [batch, chunk, T, features] each
    knot: Tensor | None = None  # clean latents held back, [batch, C, k, h, w]; of the first chunk its reference
    pending: bool = False  # the newest chunk is drawn, but its clean pass has not run

    def copied(self) -> TakeFields:
        """Return these fields alone; tensors are shared, lists are not."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(TakeFields)}
        values |= {name: list(value) for name, value in values.items() if isinstance(value, list)}
        return TakeFields(**values)


@dataclass(kw_only=True)
class TakeState(TakeFields):
    """Hold everything that changes while a take runs: its fields, and what makes snapshots of its own."""

    cache: RingCache
    codec: DecodeStream
    disagreement: Tensor | None = (
        None  # of the newest chunk with the knot that it took up, [batch]; None: it took up none
    )


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
