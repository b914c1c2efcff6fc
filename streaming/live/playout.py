"""The playing half of a session: frames leave at the media rate, encoded once, to all viewers.

Frames are numbered as they are released, so media time only ever grows, also over a rewind. Where there is sound, every
frame carries its own: there is one queue and one clock, and nothing that could drift apart.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import av

from streaming.live.clock import Clock
from streaming.live.pacing import Pace, pts_of
from streaming.media.broadcast import Broadcast
from streaming.media.h264 import Picture
from streaming.media.live_recording import LiveRecording
from streaming.media.opus import SILENCE, SoundEncoder
from streaming.speech.soundtrack import Samples

LOOK_EVERY = 0.25  # seconds, while nothing is released: somebody may have joined a pause


class PictureEncoder(Protocol):
    """Encodes pictures of one size, such as `streaming.media.h264.LiveEncoder`."""

    width: int  # of the encoded picture, in pixels
    height: int

    def encode(self, picture: Picture, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        """Return the packets of one picture, with its media time in 90 kHz ticks."""


@dataclass(frozen=True)
class Shown:
    """Holds a frame on its way to the screen, and the latent with which its chunk begins."""

    picture: Picture  # [H, W, 3]
    chunk: int  # first latent of its chunk
    cut: bool = False  # the first frame after a cut: the encoder starts anew there
    answers: tuple[int, ...] = ()  # messages whose cues this frame is the first to show
    frame: int = 0  # its place in the take
    sound: Samples = field(default_factory=lambda: SILENCE)  # what is heard with it, where the film has sound


class Playout:
    """Keeps frames until their time, then encodes and sends them."""

    def __init__(
        self, encoder: PictureEncoder, fps: int, *, freed: Callable[[], None], clock: Clock, sound: bool = False
    ) -> None:
        """Send what `encoder` makes of frames, `fps` a second; with `sound` that is 25, and all frames carry theirs.

        `freed` is called as a frame leaves the queue.
        """
        self.fps = fps
        self.broadcast = Broadcast()
        self.sound = Broadcast() if sound else None
        self._sound_encoder = SoundEncoder() if sound else None
        self.recording: LiveRecording | None = None
        self.released = 0  # frames
        self.playhead = 0  # first latent of the chunk on screen
        self.next_frame = 0  # of the take: what comes after the frame on screen
        self._encoder, self._freed, self._clock = encoder, freed, clock
        self._watchers: list[Callable[[Shown, int], None]] = []
        self._frames: deque[Shown] = deque()
        self._wake = asyncio.Event()
        self._playing, self._over = False, False

    def watch(self, watcher: Callable[[Shown, int], None]) -> None:
        """Call `watcher` with every frame once it was sent, and with its number among the released frames."""
        self._watchers.append(watcher)

    def __len__(self) -> int:
        """Count the frames that wait."""
        return len(self._frames)

    @property
    def waiting(self) -> tuple[Shown, ...]:
        """Return the frames that wait, in order."""
        return tuple(self._frames)

    @property
    def picture_width(self) -> int:
        """Return the width of the encoded picture in pixels."""
        return self._encoder.width

    @property
    def picture_height(self) -> int:
        """Return the height of the encoded picture in pixels."""
        return self._encoder.height

    def add(self, frames: Iterable[Shown]) -> None:
        """Queue frames behind those that wait."""
        self._frames.extend(frames)
        self._wake.set()

    def redraw(self, frames: list[Shown]) -> None:
        """Queue frames instead of those that wait for their places in the take and after; late ones are left out."""
        kept = (f for f in self._frames if f.frame < frames[0].frame)
        self._frames = deque([*kept, *(f for f in frames if f.frame >= self.next_frame)])
        self._wake.set()

    def clear(self) -> None:
        """Forget the frames that wait."""
        self._frames.clear()

    def hush(self) -> None:
        """Take the sound from the frames that wait; they are still seen."""
        self._frames = deque(replace(f, sound=SILENCE) for f in self._frames)

    @property
    def audible(self) -> bool:
        """Return whether anything of what waits would be heard."""
        return any(frame.sound.any() for frame in self.waiting)

    def hold(self, *, held: bool) -> None:
        """Hold the picture, and media time with it, or go on."""
        self._playing = not held
        self._wake.set()

    def end(self) -> None:
        """Release nothing more; `run` returns."""
        self._over = True
        self.hold(held=True)

    async def run(self) -> None:
        """Release one frame after another until the end."""
        pace: Pace | None = None
        last: Shown | None = None
        while not self._over:
            if not self._playing or not self._frames:
                pace = pace if self._playing else None
                await self._clock.wait(self._wake, LOOK_EVERY)
                self._wake.clear()
                if not (self._playing or self._over) and last is not None and self.broadcast.keyframe_wanted:
                    await self._show(
                        replace(last, answers=(), sound=SILENCE)
                    )  # a viewer that joins a pause sees where it stands
                continue
            pace = pace or Pace(self.fps, self.released, self._clock())
            if (delay := pace.due(self.released) - self._clock()) > 0:
                await self._clock.sleep(delay)
                if not self._playing or not self._frames:
                    continue
            pace = pace.released(self.released, self._clock())
            last = self._frames.popleft()
            await self._show(last)

    async def _show(self, shown: Shown) -> None:
        """Release one frame: encode it, send it, and call the watchers."""
        number, self.released, self.playhead = self.released, self.released + 1, shown.chunk
        self.next_frame = shown.frame + 1
        self._freed()
        recording = self.recording
        keyframe = shown.cut or self.broadcast.keyframe_wanted or (recording is not None and recording.waiting)
        pts = pts_of(number, self.fps)
        if self.sound is not None and self._sound_encoder is not None:
            for packet in self._sound_encoder.encode(shown.sound, number):
                self.sound.send(packet)
                if recording is not None:
                    recording.offer_sound(packet)
        encode = partial(self._encoder.encode, shown.picture, pts, keyframe=keyframe)
        for packet in await asyncio.get_running_loop().run_in_executor(None, encode):
            self.broadcast.send(packet)
            if recording is not None:
                recording.offer(packet)
        for watcher in self._watchers:
            watcher(shown, number)
