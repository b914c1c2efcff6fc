"""Drive takes that run in step, each with its own portrait and sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.cue import Cue, Hush, Reference
from streaming.speech.portrait_drive import PortraitDrive


class DialogueDrive:
    """Turn several portraits and their sounds into one reference and one driving signal."""

    def __init__(self, drives: Sequence[PortraitDrive], names: Sequence[str] = ()) -> None:
        """Drive a face with each of `drives`; `names` are their speakers, which cues that silence one of them name."""
        self._drives, self._names = drives, names

    def cues(self, latent: int) -> list[Cue]:
        """Return the portraits as one reference for latent 0, and nothing for later latents."""
        references = [cue for drive in self._drives for cue in drive.cues(latent) if isinstance(cue, Reference)]
        return [joined_portraits(references)] if references else []

    def drive(self, first: int, cues: Sequence[Cue] = ()) -> Tensor:
        """Return what each face hears in the chunk at latent `first`: [faces, latents, tokens, features]."""
        names = [*self._names, *[None] * (len(self._drives) - len(self._names))]
        return torch.cat(
            [
                drive.drive(first, [cue for cue in cues if not isinstance(cue, Hush) or cue.speaker in (None, name)])
                for drive, name in zip(self._drives, names, strict=True)
            ]
        )


def joined_portraits(portraits: Sequence[Reference]) -> Reference:
    """Return portraits of one size as the reference of takes that run in step."""
    first = portraits[0]
    return Reference(b"".join(portrait.pixels for portrait in portraits), first.width, first.height)
