"""Encode each picture once for all viewers, and a few times more for slow lines while there are any.

The rule: viewers on good lines and a recording take the full encode. Slow viewers are divided into at most MOST_LOWER
groups of similar lines (`streaming.media.line_groups`), each with an encode whose bitrate and frame rate follow the
slowest line of the group; where nobody takes the full encode, one group does, and it follows that group. Viewers whose
lines carry not even one frame of eight share an encode of keyframes. So there are at most four encodes of a frame, and
a fifth of some keyframes, whatever viewers claim. A picture of 128x128 (enlarged to 256x256) costs 2 ms on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import av

from streaming.live.pacing import pts_of
from streaming.media.broadcast import Broadcast, Source, Viewer
from streaming.media.h264 import Picture
from streaming.media.line_groups import divided, loss
from streaming.media.rungs import COARSEST, EVERY, UP, Rung, rung_for

MOST_LOWER = 3  # encodes for slow lines
GAIN = 0.3  # by which another division of the viewers must be better: a viewer that changes needs a keyframe
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


def encoded(jobs: list[Job], picture: Picture, pts: int) -> list[tuple[Source, av.Packet]]:
    """Return what each job makes of a picture [H, W, 3] RGB with media time `pts` in 90 kHz ticks."""
    return [(job.source, p) for job in jobs for p in job.encoder.encode(picture, pts, keyframe=job.keyframe)]


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
        aim = min(full, rung.bitrate * rung.every)  # x264 shares it among all frames, though it gets one of `every`
        if aim > self._opened or aim * ROOM**2 < self._opened:
            self._opened = min(full, ROOM * aim)
            self._encoder = self._encoder.another(self._opened)
        if abs(aim - self._encoder.bitrate) > STEP * self._encoder.bitrate:
            self._encoder.bitrate = aim
        return self._encoder


class Encodes:
    """Hold the encoder of a broadcast, and the lower ones while slow viewers need them."""

    def __init__(self, encoder: PictureEncoder, broadcast: Broadcast, fps: int) -> None:
        """Encode for the viewers of `broadcast`, at the encoder's bitrate where no line is slower."""
        self._broadcast, self._fps, self._first = broadcast, fps, encoder
        self._lower, self._keyframes = [Source() for _ in range(MOST_LOWER)], Source()
        self._encodes = {broadcast.full: _Encode(encoder, broadcast.full)}
        self.bitrate = encoder.bitrate  # of the full encode, bits a second

    def due(self, number: int, *, cut: bool, recording: bool, recording_waits: bool) -> list[Job]:
        """Return which encodes take frame `number`; after a cut, and where one is wanted, as a keyframe.

        A recording takes the full encode, which then keeps its rate.
        """
        broadcast, full = self._broadcast, self._broadcast.full
        self._arrange(recording=recording, look=number % self._fps == 0)
        jobs: list[Job] = []
        for source in (full, *self._lower, self._keyframes):
            source.reach(pts_of(number, self._fps))
            viewers = broadcast.of(source)
            if source is not full and not viewers:
                self._encodes.pop(source, None)
            elif viewers or recording or not broadcast.viewers:
                there = [viewer for viewer in viewers if not viewer.held]
                whole = source is full and (recording or not there or any(viewer.line is None for viewer in there))
                rung = Rung(self.bitrate, 1) if whole else self._rung(viewers, source)
                jobs += self._job(number, source, rung, keyframe=cut or (source is full and recording_waits))
        return jobs

    def _job(self, number: int, source: Source, rung: Rung, *, keyframe: bool) -> list[Job]:
        source.every = rung.every
        keyframe = keyframe or self._broadcast.wants_keyframe(source)
        left_out = source is self._keyframes or number % rung.every or self._behind(source)
        if left_out and not keyframe:
            return []
        if source not in self._encodes:
            self._encodes[source] = _Encode(self._first.another(self.bitrate), source)
        return [Job(source, self._encodes[source].aim(rung, self.bitrate), keyframe)]

    def _behind(self, source: Source) -> bool:
        """Return whether the viewers of an encode have all enough to receive, so that a picture can be left out.

        A picture that is not encoded is missed by none of the later ones; one that a full queue drops costs a keyframe.
        """
        viewers = [viewer for viewer in self._broadcast.of(source) if not viewer.held]
        return bool(viewers) and all(viewer.line is not None and viewer.behind for viewer in viewers)

    def _arrange(self, *, recording: bool, look: bool) -> None:
        """Give each viewer its encode; `look` for a better division of the slow ones, which those that have none get.

        Where others take the full encode, slow viewers leave it, and come back when they are not slow.
        """
        full, viewers = self._broadcast.full, self._broadcast.viewers
        others = recording or any(viewer.line is None and not viewer.held for viewer in viewers)
        lines: dict[Viewer, float] = {}
        for viewer in viewers:
            line = viewer.line
            tried = line / UP if line is not None and viewer.sparse else line
            viewer.sparse = tried is not None and rung_for(tried, self.bitrate, self._fps, EVERY[-1]) is None
            if line is None:
                viewer.take(full)
            elif viewer.sparse:
                viewer.take(self._keyframes)
            else:
                lines[viewer] = line
        places = [*self._lower] if others else [*self._lower, full]
        placed = all(viewer.source in places for viewer in lines)
        if lines and (look or not placed):
            self._divide(lines, places, placed=placed)

    def _divide(self, lines: dict[Viewer, float], places: Sequence[Source], *, placed: bool) -> None:
        """Divide slow viewers among encodes, if another division is much better or some are at none of these places."""
        slow = list(lines)
        present = [[line for viewer, line in lines.items() if viewer.source is place] for place in places]
        groups = [[slow[i] for i in group] for group in divided(list(lines.values()), MOST_LOWER)]
        better = loss([[lines[viewer] for viewer in group] for group in groups])
        if placed and sum(map(bool, present)) <= MOST_LOWER and loss(present) < better + GAIN:
            return
        free = list(places)
        for group in sorted(groups, key=len, reverse=True):  # each stays where most of it is
            place = max(free, key=lambda place: sum(viewer.source is place for viewer in group))
            free.remove(place)
            for viewer in group:
                viewer.take(place)

    def _rung(self, viewers: Sequence[Viewer], source: Source) -> Rung:
        """Return how to encode for the slowest of these viewers."""
        lines = [viewer.line for viewer in viewers if viewer.line is not None and not viewer.sparse]
        rung = rung_for(min(lines), self.bitrate, self._fps, source.every) if lines else None
        return rung or Rung(self.bitrate // COARSEST // EVERY[-1], EVERY[-1])
