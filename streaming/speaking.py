"""A rollout that a portrait and a sound file drive: the sound is read no further than the chunk that hears it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue, Reference
from models.drive import FRAME, Drive
from models.state import Snapshot
from streaming import speech
from streaming.rollout import Rollout
from streaming.take import Take


class SpeakingRollout(Rollout):
    """Draws a take of a driven model, from its start or from a snapshot; the same sound gives the same latents."""

    def __init__(
        self,
        model: Model,
        take: Take,
        snapshot: Snapshot | None,
        portrait: Reference,
        sound: Path | None,
        gain: float = 1.0,
    ) -> None:
        """`gain` is what the sound's samples are multiplied by before they are heard."""
        super().__init__(model, take, snapshot)
        self._portrait = portrait
        self._sound: Iterator[speech.Sound] = speech.read(sound) if sound else iter(())
        self._drive, self._gain = Drive(), gain

    def cues_at(self, latent: int) -> list[Cue]:
        """The portrait comes with the first prompt."""
        return [*super().cues_at(latent), *([self._portrait] if latent == 0 else [])]

    def drive(self, first: int) -> Tensor:
        """What the sound and the silence after it make of the chunk at latent `first`."""
        latents = self.model.entry.rollout.chunk + self.model.entry.rollout.knot
        while self._drive.ready < first + latents and (piece := next(self._sound, None)) is not None:
            self._drive.hear(np.clip(self._gain * piece, -1, 1))
            self._drive.forget(first)
        self._drive.forget(first)
        return torch.from_numpy(self._drive.latents(first, latents))[None].to(self.model.generator.device)


def latents_of(samples: int) -> int:
    """Latents that show a sound of so many samples to its end: frame f > 0 belongs to latent ⌈f / 4⌉."""
    frames = math.ceil(samples / FRAME)
    return 1 + math.ceil(max(0, frames - 1) / 4)
