"""Run a take chunk by chunk: the only loop. A session is this with a clock and viewers, a render this with a muxer."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue
from models.recache import replaces_commit
from models.snapshots import Snapshot, Snapshots
from streaming.take.take_file import Take


@dataclass(frozen=True)
class Chunk:
    """Hold a chunk that is drawn and decoded. Its frames can be shown; its keys and values are not in the cache yet."""

    first: int  # index of its first latent
    latents: int  # how many it has
    frames: NDArray[np.uint8]  # [n, H, W, 3] RGB
    landed: tuple[Cue, ...]
    seconds: dict[str, float] = field(compare=False)  # draw (recache included), decode
    disagreement: float | None  # with the knot that it took up (models.knot); None: it took up none


@dataclass(frozen=True)
class Boundary(Chunk):
    """Hold a chunk after which snapshots may be taken; `seconds` has `commit`, unless a recache will take its place."""

    hash: str  # of its latents


def latent_hash(latents: Tensor) -> str:
    """Return a name for exactly these latents: 16 hexadecimal digits over their float32 bytes (BLAKE2b)."""
    data = latents.float().contiguous().cpu().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class DriveSource(Protocol):
    """Give what drives a take beside its cues, such as a portrait and the sound that it speaks."""

    def cues(self, latent: int) -> list[Cue]:
        """Return what lands on the chunk that starts at `latent`, after the take's own cues."""

    def drive(self, first: int, cues: Sequence[Cue]) -> Tensor:
        """Return what drives the chunk at latent `first`, on which `cues` land: [1, latents, tokens, features]."""


class Rollout:
    """Draw a take chunk by chunk, from its start or from a snapshot."""

    def __init__(
        self,
        model: Model,
        take: Take,
        snapshot: Snapshot | None = None,
        drive: DriveSource | None = None,
        *,
        keep_mb: float | None = None,
    ) -> None:
        """Draw `take` with `model`; a model that is driven needs a drive source, which reads from the take's start.

        With `keep_mb` a snapshot is kept at every boundary, the newest ones within so many megabytes, to go back to.
        """
        self.model, self.take, self._drive = model, take, drive
        generator, entry = model.generator, model.entry
        width, height = take.width_height(entry.size)
        self.state = generator.restore(snapshot) if snapshot else generator.new_take(take.seed, width, height)
        self._landing = take.landing(entry.rollout.grid, entry.fps)
        self._drawn: tuple[Chunk, Tensor] | None = None  # the newest chunk and its latents, until it is settled
        self._snapshots = Snapshots(keep_mb) if keep_mb is not None else None
        self._held: Snapshot | None = None
        self._lock = (
            threading.Lock()
        )  # boundaries are made on another thread than the one that asks how far back they go

    def cues_at(self, latent: int) -> list[Cue]:
        """Return what lands on the chunk that starts at `latent`."""
        own = [cue for first, entry in self._landing if first == latent for cue in entry.cues()]
        return own + (self._drive.cues(latent) if self._drive is not None else [])

    def step(self, extra: Sequence[Cue] = (), may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        """Draw and decode the next chunk; `extra` cues land after the take's own. Call `settle` once its frames left.

        `may_go_on` is called between the steps of the chunk: what it raises gives the chunk up, and the take must go on
        from a snapshot.
        """
        generator, state = self.model.generator, self.state
        first = state.index
        cues = [*self.cues_at(first), *extra]
        began = time.perf_counter()
        drive = self._drive.drive(first, cues) if self._drive is not None else None
        latents = generator.draw(state, cues, drive, may_go_on)
        _wait(generator.device)
        drawn = time.perf_counter()
        frames = state.codec.decode(latents)
        seconds = {"draw": drawn - began, "decode": time.perf_counter() - drawn}
        may_go_on()
        apart = None if state.disagreement is None else float(state.disagreement[0])  # the device is done: no wait
        chunk = Chunk(first, latents.shape[2], frames.numpy(), tuple(cues), seconds, apart)
        self._drawn = chunk, latents
        return chunk

    def settle(self, coming: Sequence[Cue] = ()) -> Boundary:
        """Write the newest chunk's keys and values, and hash its latents: the take is at a boundary.

        Where the take's next cues or `coming`, those that wait for the next chunk, will replace or drop what the clean
        pass would write, the pass is left out. It is made up for if they do not come after all. ValueError if no chunk
        was drawn since the last boundary.
        """
        if self._drawn is None:
            raise ValueError("there is no chunk to settle; draw one first")
        (chunk, latents), self._drawn = self._drawn, None
        generator, state = self.model.generator, self.state
        began = time.perf_counter()
        seconds = chunk.seconds
        if not replaces_commit(state, [*self.cues_at(state.index), *coming]):
            generator.commit(state)
            _wait(generator.device)
            seconds = seconds | {"commit": time.perf_counter() - began}
        snapshot = self.snapshot() if self._snapshots is not None else None
        with self._lock:
            if self._snapshots is not None and snapshot is not None:
                self._snapshots.add(snapshot)
        return Boundary(
            chunk.first, chunk.latents, chunk.frames, chunk.landed, seconds, chunk.disagreement, latent_hash(latents)
        )

    def ending(self) -> NDArray[np.uint8]:
        """Return frames [n, H, W, 3] of the knot that is held when a take ends; a take that goes on replaces them."""
        codec, knot = self.state.codec, self.state.knot
        if knot is None:
            return np.empty((0, *reversed(self.state.size), 3), np.uint8)
        before = codec.snapshot()
        frames = codec.decode(knot).numpy()
        codec.restore(before)
        return frames

    def snapshot(self) -> Snapshot:
        """Return the take as it is."""
        return self.model.generator.snapshot(self.state)

    # -- the way back ---------------------------------------------------------------------------------------------

    def oldest(self) -> int | None:
        """Return the earliest latent that `go_back` can reach; None before the first boundary."""
        with self._lock:
            return self._oldest()

    def held_mb(self) -> float:
        """Return the megabytes that the snapshots take which one can go back to."""
        with self._lock:
            return self._snapshots.bytes() / 1e6 if self._snapshots is not None else 0.0

    def hold(self, latent: int) -> int:
        """Keep the way back to the last boundary at or before `latent` open, whatever is drawn meanwhile.

        Returns the latent of that boundary; ValueError if it is not kept any more.
        """
        with self._lock:
            oldest = self._oldest()
            if self._snapshots is None or oldest is None or latent < oldest:
                raise ValueError(f"latent {latent} is not held; one can go back to {oldest}")
            self._held = self._snapshots.at(latent)
            return self._held.index

    def go_back(self, latent: int) -> int:
        """Have the take go on from the last boundary at or before `latent` and forget what lay ahead of it.

        Returns the latent of that boundary; ValueError if it is neither kept nor held.
        """
        if self._held is None or self._held.index > latent:
            self.hold(latent)
        snapshot, self._held = self._held, None
        assert snapshot is not None
        self.state, self._drawn = self.model.generator.restore(snapshot), None
        with self._lock:
            if self._snapshots is not None:
                self._snapshots.drop_after(snapshot.index)
                self._snapshots.add(snapshot)
        return snapshot.index

    def forget(self) -> None:
        """Give up the way back, and the memory that it takes."""
        with self._lock:
            self._snapshots, self._held = None, None

    def _oldest(self) -> int | None:
        return self._snapshots.oldest() if self._snapshots is not None else None

    def until(self, chunks: int) -> Iterator[Boundary]:
        """Yield the boundaries up to the take's chunk number `chunks`."""
        while self.state.index < self.model.entry.rollout.grid.start(chunks):
            self.step()
            yield self.settle()


def _wait(device: torch.device) -> None:
    """Wait until the device is done, so that seconds are what they say; decoding waits for the latents anyway."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def record_of(model: Model, device: torch.device) -> dict[str, str | int]:
    """Return what must be the same for a replay to give the same latents."""
    import diffusers

    return {
        "model": model.entry.name,
        "weights": model.fingerprint,
        "codec": model.codec,
        "engine": "torch",
        "precision": str(model.generator.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "diffusers": diffusers.__version__,
        **model.engine,
    }
