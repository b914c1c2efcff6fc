"""Run a take chunk by chunk: the one loop that sessions (with a clock and viewers) and renders (with a file) share."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import archive
from models.catalog import ENTRIES
from models.checkpoints.assemble import Model
from models.checkpoints.matte_file import installed_matte
from models.cue import Cue, CueError, Follow, Recache, Recall
from models.float8_weights import kept_in_float8
from models.matte import Ground, rgb_of
from models.recache import replaces_commit
from models.snapshots import Snapshot, Snapshots
from models.source import Following
from models.transformer import CausalWanTransformer
from streaming.take.footage import TakeFootage
from streaming.take.picture_cue import NOTHING
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import lora_record

MOST_SEEDS = 2**63  # torch's generators take a signed 64-bit number


@dataclass(frozen=True)
class Chunk:
    """Hold a chunk that is drawn and decoded: its frames can be shown, its keys and values are not in the cache yet."""

    first: int  # index of its first latent
    latents: int  # how many it has
    frames: NDArray[np.uint8]  # [n, H, W, 3] RGB; takes that run in step stand side by side
    landed: tuple[Cue, ...]
    seconds: dict[str, float] = field(compare=False)  # draw (recache included), decode
    disagreement: float | None  # with the knot that was fused into it (models.knot); None without a knot


@dataclass(frozen=True)
class Boundary(Chunk):
    """Hold a chunk after which snapshots may be taken; `seconds` has `commit` unless a recache will take its place."""

    hash: str  # of its latents


def latent_hash(latents: Tensor) -> str:
    """Return a hash of latents: 16 hexadecimal digits of BLAKE2b (RFC 7693) over their float32 bytes."""
    data = latents.float().contiguous().cpu().numpy().tobytes()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class DriveSource(Protocol):
    """Supply what drives a take apart from its cues, such as a portrait and the sound that it speaks."""

    def cues(self, latent: int) -> list[Cue]:
        """Return the cues that land on the chunk at latent `latent` after the take's own."""

    def drive(self, first: int, cues: Sequence[Cue]) -> Tensor:
        """Return the driving signal of the chunk at latent `first` with its `cues`: [faces, latents, tokens, features].

        There is one face, unless several takes run in step.
        """


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
        footage: TakeFootage | None = None,
        faces: int = 1,
    ) -> None:
        """Draw `take` with `model`, from `snapshot` if there is one. A background of the take is put behind its faces.

        With several `faces` as many takes run in step, in one batch, with the take's seed and those that follow it;
        the reference and the drive of the source are then theirs, one behind the other.

        A model that is driven needs a drive source, which counts from the take's start. With `keep_mb` snapshots of the
        newest boundaries are kept within so many megabytes, for `go_back`. `footage` reads the pictures and films that
        the take names (None: it names none).
        """
        self.model, self.take, self._drive = model, take, drive
        generator, entry = model.generator, model.entry
        width, height = take.width_height(entry.size)
        self._footage = footage or TakeFootage(entry, (width, height))
        self._footage.codec = model.codec
        seeds = tuple((take.seed + face) % MOST_SEEDS for face in range(faces))
        self.state = (
            generator.restore(snapshot) if snapshot else generator.new_take(seeds, width, height, take.drawn_from)
        )
        colour = take.background
        self._ground = Ground(installed_matte(), rgb_of(colour), faces) if colour is not None else None
        self._landing = take.landing(entry.rollout.grid, entry.fps)
        self._drawn: tuple[Chunk, Tensor] | None = None  # the newest chunk and its latents, until it is settled
        self._snapshots = Snapshots(keep_mb) if keep_mb is not None else None
        self._held: Snapshot | None = None
        self._lock = threading.Lock()  # snapshots are added on the device thread and asked for on the event loop

    def cues_at(self, latent: int) -> list[Cue]:
        """Return the cues of the take and of its drive source that land on the chunk at latent `latent`."""
        own = self.cues_of([entry for first, entry in self._landing if first == latent])
        return own + (self._drive.cues(latent) if self._drive is not None else [])

    def cues_of(self, lines: Sequence[CueLine]) -> list[Cue]:
        """Return the cues of several lines in the order in which they apply; pictures that they name are read now."""
        return [cue for line in lines for cue in line.cues(self._footage)]

    def check(self, line: CueLine, before: Sequence[CueLine] = ()) -> None:
        """Raise UserError if a cue could not land on the next chunk, after those `before` it: without any effect."""
        for cue in line.cues(self._footage):
            if isinstance(cue, Recall):
                archive.found(self.state, cue.latent)
            if isinstance(cue, Follow) and cue.source is None:
                named = [one.source for one in before if one.source is not None]
                if named[-1] == NOTHING if named else self.state.source is None:
                    raise CueError("the take follows nothing, so that no strength or region can change; name a source")

    def step(self, extra: Sequence[Cue | CueLine] = (), may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        """Draw and decode the next chunk; `extra` cues land after the take's own. Hand its frames on, then `settle`.

        A Recache is put before them if the take goes on from a snapshot without keys: it belongs to the take's record.
        `may_go_on` is called between the steps of the chunk. An exception from it gives the chunk up, and the take must
        go on from a snapshot.
        """
        generator, state = self.model.generator, self.state
        first = state.index
        cues = [*self.cues_at(first), *self._as_cues(extra)]
        if state.cache.keys_missing and not any(isinstance(cue, Recache) for cue in cues):
            cues = [Recache(), *cues]
        began = time.perf_counter()
        drive = self._drive.drive(first, cues) if self._drive is not None else None
        latents = generator.draw(state, cues, drive, may_go_on, self._footage)
        _wait(generator.device)
        drawn = time.perf_counter()
        frames = self._on_ground(state.codec.decode(latents).numpy())
        seconds = {"draw": drawn - began, "decode": time.perf_counter() - drawn}
        may_go_on()
        apart = None if state.disagreement is None else float(state.disagreement[0])
        chunk = Chunk(first, latents.shape[2], frames, tuple(cues), seconds, apart)
        self._drawn = chunk, latents
        return chunk

    def settle(self, coming: Sequence[Cue | CueLine] = ()) -> Boundary:
        """Write the newest chunk's keys and values and hash its latents, so that the take is at a boundary.

        The clean pass is left out where the take's next cues, or `coming` (cues that wait for the next chunk), will
        replace or drop what it writes; if they do not land after all, the next chunk makes up for it. ValueError if no
        chunk was drawn since the last boundary.
        """
        if self._drawn is None:
            raise ValueError("there is no chunk to settle; draw one first")
        (chunk, latents), self._drawn = self._drawn, None
        generator, state = self.model.generator, self.state
        began = time.perf_counter()
        seconds = chunk.seconds
        if not replaces_commit(state, [*self.cues_at(state.index), *self._as_cues(coming)]):
            generator.commit(state)
            _wait(generator.device)
            seconds = seconds | {"commit": time.perf_counter() - began}
        kept = self._snapshots  # which may be released meanwhile
        snapshot = self._taken(kept) if kept is not None else None
        with self._lock:
            if self._snapshots is not None and snapshot is not None:
                self._snapshots.add(snapshot)
        return Boundary(
            chunk.first, chunk.latents, chunk.frames, chunk.landed, seconds, chunk.disagreement, latent_hash(latents)
        )

    def ending(self) -> NDArray[np.uint8]:
        """Return the frames [n, H, W, 3] of the knot that is held at the end of a take; extending it replaces them.

        Those of takes that run in step stand side by side.
        """
        codec, knot = self.state.codec, self.state.knot
        if knot is None:
            width, height = self.state.size
            return np.empty((0, height, width * len(self.state.seeds), 3), np.uint8)
        before = codec.snapshot()
        frames = self._on_ground(codec.decode(knot).numpy())
        codec.restore(before)
        return frames

    def _on_ground(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return frames if self._ground is None else self._ground.behind(frames)

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the take as it is, with its keys."""
        return self.model.generator.snapshot(self.state)

    @torch.inference_mode()
    def _taken(self, kept: Snapshots) -> Snapshot:
        return kept.taken(self.state)

    # -- the way back ---------------------------------------------------------------------------------------------

    def following(self) -> Following | None:
        """Return the source that the take follows, with what its newest chunk was given; None if it follows none."""
        return self.state.source

    def newest_latents(self) -> Tensor | None:
        """Return the clean latents that the next chunk could see, [1, C, n, h, w]; None if no take can begin with them.

        That is so where several takes run in step, and where the model stays true to an image.
        """
        config, state = self.model.generator.config, self.state
        if config.reference is not None or config.step_keys is not None or len(state.seeds) > 1 or not state.recent:
            return None
        held = sum(chunk.shape[2] for chunk in state.recent)
        return state.newest(min(held, config.window - config.chunk))

    def oldest(self) -> int | None:
        """Return the earliest latent that `go_back` can reach; None before the first boundary."""
        with self._lock:
            return self._oldest()

    def held_mb(self) -> float:
        """Return the megabytes that the kept snapshots take."""
        with self._lock:
            return self._snapshots.bytes() / 1e6 if self._snapshots is not None else 0.0

    def hold(self, latent: int) -> int:
        """Keep the last snapshot at or before `latent` for `go_back`, even if the budget drops it meanwhile.

        Returns the latent of its boundary; ValueError if it is not kept any more.
        """
        with self._lock:
            self._held = self._at(latent)
            return self._held.index

    def go_back(self, latent: int) -> int:
        """Have the take go on from the last boundary at or before `latent`, and drop later snapshots.

        Returns the latent of that boundary; ValueError if its snapshot is neither kept nor held.
        """
        with self._lock:  # an earlier boundary may be held on another thread meanwhile, for the next call
            snapshot = self._at(latent)
            if self._held is not None and self._held.index >= snapshot.index:
                self._held = None
        self.state, self._drawn = self.model.generator.restore(snapshot, self.state), None
        with self._lock:
            if self._snapshots is not None:
                self._snapshots.drop_after(snapshot.index)
                self._snapshots.add(snapshot)
        return snapshot.index

    def forget(self) -> None:
        """Release all snapshots."""
        with self._lock:
            self._snapshots, self._held = None, None

    def _as_cues(self, mixed: Sequence[Cue | CueLine]) -> list[Cue]:
        return [cue for one in mixed for cue in (one.cues(self._footage) if isinstance(one, CueLine) else [one])]

    def _at(self, latent: int) -> Snapshot:
        """Return the newest snapshot at or before `latent`, kept or held; ValueError if there is none."""
        found = [self._held] if self._held is not None and self._held.index <= latent else []
        oldest = self._oldest()
        if self._snapshots is not None and oldest is not None and oldest <= latent:
            found.append(self._snapshots.at(latent))
        if not found:
            raise ValueError(f"latent {latent} is not held; one can go back to {oldest}")
        return max(found, key=lambda snapshot: snapshot.index)

    def _oldest(self) -> int | None:
        return self._snapshots.oldest() if self._snapshots is not None else None

    def until(self, chunks: int) -> Iterator[Boundary]:
        """Draw and yield boundaries until the take has `chunks` chunks."""
        while self.state.index < self.model.entry.rollout.grid.start(chunks):
            self.step()
            yield self.settle()


def _wait(device: torch.device) -> None:
    """Wait until the device is done, so that seconds count its work; decoding waits for the latents anyway."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _other_window(model: Model) -> dict[str, int]:
    """Return the window of a model that was shortened to fit into a card's memory."""
    known, window = ENTRIES.get(model.entry.name), model.generator.config.window
    return {} if known is None or known.rollout.window == window else {"window": window}


def _compiled_blocks(model: Model) -> dict[str, str]:
    """Return that blocks are compiled, whose sums are rounded in another order."""
    network = model.generator.transformer
    return {"blocks": "compiled"} if isinstance(network, CausalWanTransformer) and network.compiled else {}


def _rounded_weights(model: Model) -> dict[str, str]:
    """Return the type in which weights are kept, where that is not the one in which they are used."""
    network = model.generator.transformer
    return {"storage": "float8"} if isinstance(network, nn.Module) and kept_in_float8(network) else {}


def record_of(model: Model, device: torch.device, loras: Sequence[str] = ()) -> dict[str, str | int]:
    """Return the facts that must be equal for a replay to give the same latents; `loras` names those that it uses."""
    return {
        "model": model.entry.name,
        "weights": model.fingerprint,
        "codec": model.codec,
        "engine": "torch",
        "precision": str(model.generator.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "diffusers": version("diffusers"),
        **model.engine,
        **_other_window(model),
        **_compiled_blocks(model),
        **_rounded_weights(model),
        **lora_record(model, loras),
    }
