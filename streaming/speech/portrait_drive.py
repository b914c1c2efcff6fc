"""Drive the rollout of a speaking portrait, live and offline, with the portrait and its sound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue, Hold, Hush, Reference
from models.driving_signal import FRAME, DrivingSignal, heard_before
from models.time_grid import FRAMES_PER_LATENT, latents_showing
from streaming.speech.audio_file import Sound
from streaming.speech.fullband import Samples
from streaming.speech.soundtrack import as_sound

KEPT_CHUNKS = 3  # chunks of the past whose sound is kept; an interruption goes back two at most


class PortraitDrive:
    """Turn a portrait and its sound into cues and driving tokens; equal inputs give equal latents.

    Sound is read piece by piece, no further than the next chunk needs, or is handed over by `hear`. Past its end the
    portrait hears silence.
    """

    def __init__(self, model: Model, portrait: Reference, sound: Iterable[Sound] = (), gain: float = 1.0) -> None:
        """Read pieces of 16 kHz mono sound, −1…1, from the start of the take; each is multiplied by `gain`."""
        self._config, self._device = model.entry.rollout, model.generator.device
        self._portrait, self._sound, self._gain = portrait, iter(sound), gain
        self._signal = DrivingSignal()

    def cues(self, latent: int) -> list[Cue]:
        """Return the portrait for latent 0, where it lands with the first prompt, and nothing for later latents."""
        return [self._portrait] if latent == 0 else []

    def drive(self, first: int, cues: Sequence[Cue] = ()) -> Tensor:
        """Return what the chunk at latent `first`, on which `cues` land, hears: [1, latents, tokens, features]."""
        drawn = self._config.latents_drawn(first)
        kept = max(0, first - KEPT_CHUNKS * self._config.chunk)
        self.hold(first, sum(cue.frames for cue in cues if isinstance(cue, Hold)))
        while self._signal.heard < self.needs(first) and (piece := next(self._sound, None)) is not None:
            self._signal.hear(np.clip(self._gain * piece, -1, 1))
            self._signal.forget(kept)
        self._signal.forget(kept)
        for cue in cues:
            if isinstance(cue, Hush):  # sound that only earlier latents heard may be dropped already
                kept_from = FRAMES_PER_LATENT * (first - 1) + self.held(first - 1)
                self._signal.mute(FRAME * max(cue.frame, kept_from), self.heard(first))
        return torch.from_numpy(self._signal.latents(first, drawn))[None].to(self._device)

    def heard(self, latent: int) -> int:
        """Return how many samples the chunks before `latent`, knots included, have heard."""
        return heard_before(latent + self._config.knot) + FRAME * self.held(latent - 1) if latent else 0

    def needs(self, first: int) -> int:
        """Return how many samples must have been handed over before the chunk at latent `first` is drawn."""
        return heard_before(first + self._config.latents_drawn(first)) + FRAME * self.held(first)

    def hold(self, first: int, frames: int) -> None:
        """Have the chunk at latent `first` and later ones hear `frames` frames later; later holds are dropped."""
        self._signal.hold(first, frames)

    def held(self, latent: int) -> int:
        """Return for how many frames the picture was held before the chunk of a latent, from the take's start on."""
        return self._signal.held(latent)

    def hear(self, sound: Samples) -> None:
        """Append samples [samples] int16 at 16 kHz."""
        self._signal.hear(as_sound(sound))

    def hush(self, at: int) -> None:
        """Drop the samples from `at` on; ValueError if that is more than eight seconds ago."""
        self._signal.hush(at)


def latents_of(samples: int) -> int:
    """Return how many latents show a sound of `samples` samples to its end."""
    return latents_showing(math.ceil(samples / FRAME))
