"""Encode each picture once for all viewers, and once more for slow lines while there are others beside them.

A single viewer on a slow line, or several that are all slow, share the one encode, whose bitrate and frame rate follow
the slowest line. With a viewer on a good line or a recording beside them, the slow ones get a lower encode of their
own: a picture of 128x128 (enlarged to 256x256) costs 2 ms more on one core, and the others lose nothing. Keyframes
alone would cost them nothing either, but give a slow line of 60 kbit/s less than a picture a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import av

from streaming.media.broadcast import Broadcast, Source, Viewer
from streaming.media.h264 import Picture
from streaming.media.rungs import COARSEST, EVERY, UP, Rung, rung_for

STEP = 0.05  # relative change of a bitrate that is worth telling x264
ROOM = 2  # times the bitrate for which a slow line's encoder is opened


class PictureEncoder(Protocol):
    """Encode pictures of one size, as `streaming.media.h264.LiveEncoder` does."""

    width: int  # of the encoded picture, in pixels
    height: int
    bitrate: int  # bits a second if every frame is encoded; may be changed between two frames

    def another(self, bitrate: int) -> Self:
        """Return a new encoder of the same pictures for other bits a second."""

    def encode(self, picture: Picture, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        """Return the packets of one picture [H, W, 3] RGB with media time `pts` in 90 kHz ticks."""


@dataclass(frozen=True)
class Job:
    """Say that an encode takes the next picture."""

    source: Source
    encoder: PictureEncoder
    keyframe: bool


class _Encode:
    """Hold the encoder of a source, whose rate is changed in place where its buffer suits the new one.

    x264 bounds bursts by a buffer of a quarter second of the rate for which it was opened, which cannot be changed. An
    encoder opened for much more sends twice the new rate for two seconds (measured: 51 kbit/s where 30 were asked for),
    and keyframes that take a slow line a second. One that is opened anew for `ROOM` times the rate keeps to it; that
    costs a keyframe, when a viewer who fell behind needs one anyway.
    """

    def __init__(self, encoder: PictureEncoder, source: Source) -> None:
        self.source, self._encoder, self._opened = source, encoder, encoder.bitrate

    def aim(self, rung: Rung, full: int) -> PictureEncoder:
        """Return the encoder, set to a rung of a film of `full` bits a second."""
        aim = rung.bitrate * rung.every  # x264 shares it among all frames, though it is given one of `every`
        if aim > self._opened or aim * ROOM**2 < self._opened:
            self._opened = min(full, ROOM * aim)
            self._encoder = self._encoder.another(self._opened)
        if abs(aim - self._encoder.bitrate) > STEP * self._encoder.bitrate:
            self._encoder.bitrate = aim
        return self._encoder


class Encodes:
    """Hold the encoder of a broadcast, and a second one while slow viewers need it."""

    def __init__(self, encoder: PictureEncoder, broadcast: Broadcast, fps: int) -> None:
        """Encode for the viewers of `broadcast`, at the encoder's bitrate where no line is slower."""
        self._broadcast, self._fps, self._first = broadcast, fps, encoder
        self._full = _Encode(encoder, broadcast.full)
        self._lower: _Encode | None = None
        self.bitrate = encoder.bitrate  # of the full encode, bits a second

    def due(self, number: int, *, cut: bool, recording: bool, recording_waits: bool) -> list[Job]:
        """Return which encodes take frame `number`; after a cut, and where one is wanted, as a keyframe.

        A recording takes the full encode, which then keeps its rate.
        """
        self._arrange(recording=recording)
        broadcast, jobs = self._broadcast, []
        full, lower = broadcast.of(broadcast.full), broadcast.of(broadcast.lower)
        if full or recording or not lower:
            free = recording or not full or any(viewer.line is None for viewer in full)
            rung = Rung(self.bitrate, 1) if free else self._rung(full, broadcast.full)
            jobs += self._job(number, self._full, rung, keyframe=cut or recording_waits)
        if not lower:
            self._lower = None
        else:
            self._lower = self._lower or _Encode(self._first.another(self.bitrate), broadcast.lower)
            jobs += self._job(number, self._lower, self._rung(lower, broadcast.lower), keyframe=cut)
        return jobs

    def _job(self, number: int, encode: _Encode, rung: Rung, *, keyframe: bool) -> list[Job]:
        source = encode.source
        source.every = rung.every
        keyframe = keyframe or self._broadcast.wants_keyframe(source)
        if not keyframe and (number % rung.every or self._behind(source)):
            return []
        return [Job(source, encode.aim(rung, self.bitrate), keyframe)]

    def _behind(self, source: Source) -> bool:
        """Return whether the viewers of an encode have all enough to receive, so that a picture can be left out.

        A picture that is not encoded is missed by none of the later ones; one that a full queue drops costs a keyframe.
        """
        viewers = [viewer for viewer in self._broadcast.of(source) if not (viewer.held or viewer.sparse)]
        return bool(viewers) and all(viewer.line is not None and viewer.behind for viewer in viewers)

    def _arrange(self, *, recording: bool) -> None:
        """Give each viewer its encode: slow ones leave the full one to others, and come back when they are not slow."""
        broadcast = self._broadcast
        viewers = [*broadcast.of(broadcast.full), *broadcast.of(broadcast.lower)]
        others = recording or any(viewer.line is None and not viewer.held for viewer in viewers)
        for viewer in viewers:
            if viewer.line is None:
                viewer.sparse = False
                viewer.take(broadcast.full)
                continue
            line = viewer.line / UP if viewer.sparse else viewer.line
            viewer.sparse = rung_for(line, self.bitrate, self._fps, EVERY[-1]) is None
            if others:
                viewer.take(broadcast.lower)

    def _rung(self, viewers: Sequence[Viewer], source: Source) -> Rung:
        """Return how to encode for the slowest of these viewers; one that takes keyframes only does not count."""
        lines = [viewer.line for viewer in viewers if viewer.line is not None and not viewer.sparse]
        rung = rung_for(min(lines), self.bitrate, self._fps, source.every) if lines else None
        return rung or Rung(self.bitrate // COARSEST // EVERY[-1], EVERY[-1])
