"""Compute when a frame is due and when the next chunk may be drawn; the caller has the clock.

Frames are numbered in the order in which they are released, across pauses and rewinds. Media time is that number in
other units: it stands still while nothing is released and never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

TICKS = 90_000  # of media time a second: the clock of RTP video (RFC 6184)
TOLERANCE = 0.5  # frames; a timer's jitter must not move the anchor, or every late wake-up would slow the film down


@dataclass(frozen=True)
class Pace:
    """Tie frame number `frame` to the monotonic time `time` (seconds), with `fps` frames a second around it."""

    fps: int
    frame: int
    time: float

    def due(self, frame: int) -> float:
        """Return the monotonic time (seconds) at which frame number `frame` is due."""
        return self.time + (frame - self.frame) / self.fps

    def released(self, frame: int, now: float, tolerance: float = TOLERANCE) -> Pace:
        """Return the pace after `frame` has left at `now`: a new one only if it was more than `tolerance` frames late.

        After a stall the late frame becomes the anchor, so the frames that piled up behind it are shown at the media
        rate. If this is called for every frame, two in a row are never closer than `1 - tolerance` frames; within a
        tolerance above 1 late frames are caught up.
        """
        late = now - self.due(frame) > tolerance / self.fps
        return replace(self, frame=frame, time=now) if late else self


def pts_of(frame: int, fps: int) -> int:
    """Return the media time of released frame number `frame` in 90 kHz ticks; it does not depend on the pace."""
    return frame * TICKS // fps


class LookAhead(StrEnum):
    """Name how far ahead of the playhead to draw. A prompt lands after the frames that are already drawn."""

    INSTANT = "instant"  # a prompt shows as early as possible; a slow chunk is seen as a stall
    SMOOTH = "smooth"  # a chunk may take as long to draw as one chunk plays
    LOSSLESS = "lossless"  # a chunk may take as long to draw as two chunks play


SHORTEST = 0.25  # chunks that `instant` keeps ready even of a fast model, as measurements do not predict the next chunk
HEADROOM = 1.25  # times the measured time, as chunks vary


def may_draw(look_ahead: LookAhead, *, unplayed: int, chunk: int, production: float) -> bool:
    """Return whether to draw the next chunk now, which then adds its own frames to those left.

    `unplayed` is the number of frames that are decoded and not yet released; the rest is as for `frames_left`.
    """
    return unplayed <= frames_left(look_ahead, chunk=chunk, production=production)


def frames_left(look_ahead: LookAhead, *, chunk: int, production: float) -> float:
    """Return how many frames are left to play when the next chunk is begun:

    - `instant`: those that play while a chunk is drawn, with headroom; at least a quarter of a chunk, at most one
    - `smooth`: one chunk
    - `lossless`: two chunks

    `chunk` are the frames of a chunk, and `production` the frames that play while a chunk is drawn (measured seconds
    times fps; 0 if unknown).
    """
    if look_ahead is LookAhead.INSTANT:
        return min(chunk, max(production * HEADROOM, chunk * SHORTEST))
    return chunk if look_ahead is LookAhead.SMOOTH else 2 * chunk
