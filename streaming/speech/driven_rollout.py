"""Rollouts that a portrait and a voice drive: one reads a file, the other is given its sound as it comes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue, Hush, Reference
from models.driving_signal import FRAME, Drive, heard_before
from models.state import Snapshot
from models.time_grid import FRAMES_PER_LATENT, latents_showing
from streaming.rollout import Rollout
from streaming.speech import audio_file
from streaming.speech.soundtrack import Samples, as_sound
from streaming.take.take_file import Take

KEPT_CHUNKS = 3  # of the past whose sound is remembered: an interruption goes back two at most


class DrivenRollout(Rollout):
    """Draws a take of a driven model: the same portrait and sound give the same latents."""

    def __init__(self, model: Model, take: Take, snapshot: Snapshot | None, portrait: Reference) -> None:
        super().__init__(model, take, snapshot)
        self._portrait = portrait
        self._drive = Drive()

    def cues_at(self, latent: int) -> list[Cue]:
        """The portrait comes with the first prompt."""
        return [*super().cues_at(latent), *([self._portrait] if latent == 0 else [])]

    def drive(self, first: int, cues: Sequence[Cue] = ()) -> Tensor:
        """What is heard so far, and silence after it, make of the chunk at latent `first`."""
        for cue in cues:
            if isinstance(cue, Hush):  # what only earlier latents heard may be forgotten
                self._drive.mute(FRAME * max(cue.frame, FRAMES_PER_LATENT * (first - 1)), self.heard(first))
        drive = self._drive.latents(first, self.model.entry.rollout.latents_drawn(first))
        return torch.from_numpy(drive)[None].to(self.model.generator.device)

    def heard(self, latent: int) -> int:
        """Samples from the take's start that the chunks before `latent` heard, for themselves and for their knot."""
        return heard_before(latent + self.model.entry.rollout.knot) if latent else 0


class SpeakingRollout(DrivenRollout):
    """Speaks a sound file, from the take's start or from a snapshot; it is read no further than the chunk that hears it."""

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
        super().__init__(model, take, snapshot, portrait)
        self._sound: Iterator[audio_file.Sound] = audio_file.read(sound) if sound else iter(())
        self._gain = gain

    def drive(self, first: int, cues: Sequence[Cue] = ()) -> Tensor:
        while (
            self._drive.ready < first + self.model.entry.rollout.latents_drawn(first)
            and (piece := next(self._sound, None)) is not None
        ):
            self._drive.hear(np.clip(self._gain * piece, -1, 1))
            self._drive.forget(first)
        self._drive.forget(first)
        return super().drive(first, cues)


class GivenUpError(Exception):
    """A chunk was not drawn to its end, as what it was to show is no longer wanted."""


class LiveRollout(DrivenRollout):
    """Speaks what it is given, chunk by chunk. `give_up` may be set by another thread while a chunk is drawn."""

    def __init__(self, model: Model, take: Take, portrait: Reference) -> None:
        super().__init__(model, take, None, portrait)
        self.give_up = False

    def needs(self, first: int) -> int:
        """Samples from the take's start that must have been given before the chunk at `first` is drawn."""
        return heard_before(first + self.model.entry.rollout.latents_drawn(first))

    def hear(self, sound: Samples) -> None:
        """The samples after those that were given."""
        self._drive.hear(as_sound(sound))

    def hush(self, at: int) -> None:
        """What was given from sample `at` on is taken back."""
        self._drive.hush(at)

    def drive(self, first: int, cues: Sequence[Cue] = ()) -> Tensor:
        self._drive.forget(max(0, first - KEPT_CHUNKS * self.model.entry.rollout.chunk))
        return super().drive(first, cues)

    def may_go_on(self) -> None:
        if self.give_up:
            raise GivenUpError


def latents_of(samples: int) -> int:
    """Return how many latents show a sound of `samples` samples to its end."""
    return latents_showing(math.ceil(samples / FRAME))
