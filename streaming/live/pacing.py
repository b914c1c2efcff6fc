"""When a frame is due, and when the next chunk may be drawn: arithmetic only, the clock is the caller's.

Frames are numbered as they are released. The number only ever grows, also over a pause or a rewind, and media time is
the number: it stands still while nothing is released and never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

TICKS = 90_000  # of media time a second: the clock of RTP video (RFC 6184)
TOLERANCE = 0.5  # of a frame. A timer's jitter must not move the anchor, or every late wake-up would slow the film down


@dataclass(frozen=True)
class Pace:
    """Ties frame number `frame` to the monotonic time `time` (seconds), with `fps` frames a second around it."""

    fps: int
    frame: int
    time: float

    def due(self, frame: int) -> float:
        """Return the monotonic time (seconds) at which a frame leaves, if it is there."""
        return self.time + (frame - self.frame) / self.fps

    def released(self, frame: int, now: float) -> Pace:
        """Return the pace after `frame` has left at `now`: another only if that was later than the tolerance.

        After a stall the frame that was waited for is the new anchor, so what piled up behind it is shown at the media
        rate. Asked of every frame as it leaves, two in a row are never closer than `1 - TOLERANCE` frames.
        """
        late = now - self.due(frame) > TOLERANCE / self.fps
        return replace(self, frame=frame, time=now) if late else self


def pts_of(frame: int, fps: int) -> int:
    """Return the media time of a released frame in 90 kHz ticks; it grows with the number, whatever the pace was."""
    return frame * TICKS // fps


class LookAhead(StrEnum):
    """Says how far ahead of the playhead to draw. A prompt lands behind what is already drawn."""

    INSTANT = "instant"  # a prompt shows at the earliest moment; a slow chunk is seen as a stall
    SMOOTH = "smooth"  # a chunk may take as long as it plays
    LOSSLESS = "lossless"  # a chunk may take as long as two play


SHORTEST = 0.25  # of a chunk: what `instant` keeps even of a fast model, as no measurement foretells the next chunk
HEADROOM = 1.25  # times the measured time: chunks vary


def may_draw(look_ahead: LookAhead, *, unplayed: int, chunk: int, production: float) -> bool:
    """Return whether to draw the next chunk now: when no more than so many frames are left to play.

    - `instant`: as many as play while a chunk is made, with headroom; from a quarter of a chunk to one
    - `smooth`: one chunk
    - `lossless`: two chunks

    A chunk that begins then adds its own frames, so up to one chunk more may lie ready. `unplayed` frames are decoded
    and not yet released, `chunk` is a chunk's frames, `production` the frames that play while a chunk is made (measured
    seconds times fps; 0 if unknown). A model slower than its film may draw whenever no more than a chunk is left,
    whatever the dial says.
    """
    if look_ahead is LookAhead.INSTANT:
        return unplayed <= min(chunk, max(production * HEADROOM, chunk * SHORTEST))
    return unplayed <= (chunk if look_ahead is LookAhead.SMOOTH else 2 * chunk)
