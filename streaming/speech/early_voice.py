"""Decide whether the newest chunk of an avatar is drawn anew because a voice has arrived in silence.

The voice is then heard from the first frame that can show the new chunk, instead of behind everything that the old one
has heard: that is its own frames, its knot and one frame more. Drawing must be fast enough for the chunk behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MARGIN = 2  # frames for the way back to the snapshot, and because chunks vary


@dataclass(frozen=True)
class Redrawn:
    """Hold what a chunk that is drawn anew can show, in frames of the film."""

    frame: int  # the first that can show it
    further: float  # of sound that must have arrived for the chunk behind it, beyond what the redrawn one hears


def redrawn(*, next_frame: int, left: int, chunk: int, lead: float, settling: float, ahead: float) -> Redrawn | None:
    """Return what the newest chunk would show if it was begun anew now; None if the chunk behind it then came late.

    `left` frames are still to be shown from `next_frame` on, a chunk has `chunk` frames, `lead` frames play while it is
    drawn and `settling` more until the next can be begun, which is when `ahead` frames are left. Until then a voice
    that arrives as it is spoken brings a frame's sound every frame.
    """
    if MARGIN + 2 * lead + settling > left:
        return None
    return Redrawn(next_frame + MARGIN + math.ceil(lead), max(0.0, chunk - max(0.0, left - ahead)))
