"""Hold the state of a take: everything that changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from models.cache import RingCache
from models.codecs.stream import DecodeStream
from models.cue import LoraScale, OnLora, OnSwitch, SinkOnSwitch
from models.kept_scene import KeptScene
from models.noise import Noise
from models.source import Following, Given
from models.step_batch import UnderWay
from models.transformer import TextState


@dataclass(frozen=True)
class Blend:
    """Hold a prompt change under way: embeddings move from `start` to `goal` in `chunks` parts, `done` of them made.

    The factors of the emphases of both, [N, L], move with them; None where nothing is emphasised.
    """

    start: Tensor
    goal: Tensor
    chunks: int
    done: int = 0
    start_emphasis: Tensor | None = None
    goal_emphasis: Tensor | None = None

    def mixed(self) -> tuple[Tensor, Tensor | None]:
        """Return embeddings and emphasis after the parts that are made."""
        part = self.done / self.chunks
        if self.start_emphasis is None and self.goal_emphasis is None:
            return torch.lerp(self.start, self.goal, part), None
        ones = self.start.new_ones(self.start.shape[:2], dtype=torch.float32)
        start = ones if self.start_emphasis is None else self.start_emphasis.to(ones)
        goal = ones if self.goal_emphasis is None else self.goal_emphasis.to(ones)
        return torch.lerp(self.start, self.goal, part), torch.lerp(start, goal, part)


@dataclass(kw_only=True)
class TakeFields:
    """Hold what changes while a take runs and is saved as it is: a field that is added here is saved everywhere."""

    size: tuple[int, int]  # width and height of a frame in pixels
    seeds: tuple[int, ...]  # one for each take that runs in step
    noise: Noise = Noise.TORCH  # as in snapshots of releases that had no other
    on_switch: OnSwitch
    sink_on_switch: SinkOnSwitch
    on_lora: OnLora = OnLora.RECACHE  # what other LoRA scales do to the cache, where the prompt stays
    loras: tuple[LoraScale, ...] = ()  # merged into the weights that draw the take, in the order of names
    prompt: str | tuple[str, ...] | None = None
    text: TextState | None = None
    blend: Blend | None = None
    announced: bool = False  # whether `text` has the prefix of a shot's first chunk, which the next chunk has not
    index: int = 0  # latents so far
    prefix: int = 0  # of these, the clean latents at the start that were given and not drawn
    recent: list[Tensor] = field(default_factory=list)  # clean latents of the window since the last cut, a chunk each
    driven: list[Tensor] = field(default_factory=list)  # what drove them, [batch, chunk, T, features] each
    knot: Tensor | None = None  # clean latents held back, [batch, C, k, h, w]; of the first chunk its reference
    pending: bool = False  # the newest chunk is drawn, but its clean pass has not run
    pinned: Tensor | None = None  # clean latents that the next chunk begins with and keeps, [batch, C, k, h, w]
    given: Tensor | None = None  # clean latents that come next instead of drawn ones, [batch, C, n, h, w], whole chunks
    given_to: int = 0  # the latent behind the newest given ones
    source: Following | None = None  # the film or camera that is followed
    under_way: tuple[UnderWay, ...] = ()  # of a stream batch: chunks between two of their steps, the newest first
    read_ahead: tuple[Given, ...] = ()  # what the source gave chunks that a cut made begin anew, the oldest first
    scene: int = 0  # latent at which the present scene began: a prompt, a cut, a start or a recall
    archive: tuple[KeptScene, ...] = ()  # what can be recalled, the oldest first

    def copied(self) -> TakeFields:
        """Return these fields alone; tensors are shared, lists are not."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(TakeFields)}
        values |= {name: list(value) for name, value in values.items() if isinstance(value, list)}
        return TakeFields(**values)

    def append(self, latents: Tensor, drive: Tensor | None, window: int) -> None:
        """Make clean latents [batch, C, n, h, w], a chunk, the newest of the take; its commit is then pending.

        `drive` [batch, n or more, T, features] moved them. Of the chunks before, those within `window` latents are
        kept, which is what a recache needs.
        """
        n = latents.shape[2]
        self.recent = _newest_chunks([*self.recent, latents], window, axis=2)
        self.driven = [] if drive is None else _newest_chunks([*self.driven, drive[:, :n]], window, axis=1)
        self.index += n
        self.pending = True

    def newest_chunks(self, latents: int) -> list[Tensor]:
        """Return the last chunks of clean latents that together have at least `latents` latents, or all of them."""
        return _newest_chunks(self.recent, latents, axis=2)

    def newest(self, latents: int) -> Tensor:
        """Return the newest `latents` clean latents, [batch, C, latents, h, w]."""
        return _last(self.recent, latents, axis=2)

    def newest_drive(self, latents: int) -> Tensor | None:
        """Return what drove the newest `latents` latents, [batch, latents, T, features]; None in a model not driven."""
        return _last(self.driven, latents, axis=1) if self.driven else None

    def forget_latents(self) -> None:
        """Forget the clean latents, and with them the commit that is pending; the index stays."""
        self.recent, self.driven, self.pending = [], [], False


@dataclass(kw_only=True)
class TakeState(TakeFields):
    """Hold everything that changes while a take runs: its fields, and what makes snapshots of its own."""

    cache: RingCache
    codec: DecodeStream
    disagreement: Tensor | None = None  # of the newest chunk and the knot it began with, [batch]; None: no knot


def _newest_chunks(chunks: list[Tensor], latents: int, *, axis: int) -> list[Tensor]:
    """Return the last of the chunks that together have at least `latents` latents along `axis`, or all of them."""
    kept: list[Tensor] = []
    for chunk in reversed(chunks):
        if sum(c.shape[axis] for c in kept) >= latents:
            break
        kept.insert(0, chunk)
    return kept


def _last(chunks: list[Tensor], latents: int, *, axis: int) -> Tensor:
    """Return the last `latents` latents of the chunks along `axis`, contiguous."""
    joined = torch.cat(_newest_chunks(chunks, latents, axis=axis), axis)
    return joined.narrow(axis, joined.shape[axis] - latents, latents).contiguous()
