"""Release a session's frames at the media rate, encode them once and send them to all viewers: the playing half.

Frames are numbered in the order in which they are released, so media time grows even when the take goes back. Where
there is sound, every frame is released with its own: one clock serves both, so that they cannot drift apart. The sound
goes on in time: where a picture was not drawn in time the one before it is held, and one that comes late is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from models.time_grid import frames_before
from streaming.live.clock import Clock
from streaming.live.pacing import TOLERANCE, Pace, pts_of
from streaming.live.recent_film import RecentFilm, kept
from streaming.media.broadcast import Broadcast
from streaming.media.encodes import Encodes, PictureEncoder, encoded
from streaming.media.h264 import Picture
from streaming.media.live_recording import LiveRecording
from streaming.media.opus import PACKET, SILENCE, SoundEncoder
from streaming.media.vp8 import Vp8Stream
from streaming.rollout import Chunk
from streaming.speech.fullband import FRAME, Samples
from streaming.speech.voice_gain import VoiceGain

LOOK_EVERY = 0.25  # seconds, while nothing is released, between looks for a viewer that has joined a pause
# A film with sound catches up after a stall, since sound that waits is sound that comes ever later.
CAUGHT_UP = 1.0  # seconds; after a longer stall the film goes on from there
PICTURES_LATE = 2.0  # frames; beyond that pictures are left out until the sound is in time again


@dataclass(frozen=True)
class Shown:
    """Hold a frame on its way to the screen, with what must happen when it is shown."""

    picture: Picture  # [H, W, 3] RGB
    chunk: int  # first latent of its chunk
    cut: bool = False  # whether it is the first frame after a cut, which is encoded as a keyframe
    answers: tuple[int, ...] = ()  # numbers of the commands whose cues this frame is the first to show
    frame: int = 0  # its number in the film: that in the take, and the frames for which an avatar's picture was held
    held: bool = False  # whether the picture of an earlier frame stands still
    sound: Samples = field(default_factory=lambda: SILENCE)  # [1920] int16 at 48 kHz, where the film has sound


def frames_of(chunk: Chunk, *, cut: bool, answers: tuple[int, ...]) -> list[Shown]:
    """Return a chunk's frames in order; the first one carries the cut and the answers to commands."""
    shown = [Shown(picture, chunk.first, frame=n) for n, picture in enumerate(chunk.frames, frames_before(chunk.first))]
    return [replace(shown[0], cut=cut, answers=answers), *shown[1:]]


class FilmSound(Protocol):
    """Give the sound of a film's frames, whether or not their pictures are drawn."""

    def frame(self, number: int) -> Samples:
        """Return the sound of the frame of the film with this number, [1920] int16."""

    def audible(self, number: int) -> bool:
        """Return whether the frames from this number on have sound, as far as that is known."""

    def hush(self) -> None:
        """Silence the frames from now on."""


class Playout:
    """Queue frames, and encode and send each when it is due."""

    def __init__(
        self, encoder: PictureEncoder, fps: int, *, freed: Callable[[], None], clock: Clock, sound: bool = False
    ) -> None:
        """Send what `encoder` makes of the frames, `fps` a second; `freed` is called whenever a frame leaves the queue.

        With `sound` every frame carries 40 ms of it, so `fps` is 25.
        """
        self.fps = fps
        self.broadcast = Broadcast()
        self.vp8 = Vp8Stream(fps)  # the same film, for viewers without H.264
        self.recent = RecentFilm(fps)
        self.sound = Broadcast() if sound else None
        self.voice_gain = VoiceGain()
        self._sound_encoder = SoundEncoder() if sound else None
        self._encodes = Encodes(encoder, self.broadcast, fps)
        self.recording: LiveRecording | None = None
        self.released = 0  # frames so far
        self.playhead = 0  # first latent of the chunk that is on screen
        self.next_frame = 0  # number in the film of the frame that follows the one on screen
        self.film_sound: FilmSound | None = None  # with it the sound goes on while pictures are late
        # chooses, as a frame is released, what is seen of its picture, by the frame's number in the film
        self.seen_of: Callable[[Picture, int], Picture] = lambda picture, _: picture
        self.held = self.dropped = 0  # frames for which the picture stood still, and pictures that came too late
        self._newest = -1  # number of the newest frame that was released with its own picture
        self._encoder, self._freed, self._clock = encoder, freed, clock
        self._watchers: list[Callable[[Shown, int], None]] = []
        self._frames: deque[Shown] = deque()
        self.sounded = 0  # sample of the film up to which its sound was sent
        # what is still to be sent of the newest sound, its place in what was released, and its end in the film
        self._rest: tuple[Samples, int, int] | None = None
        self._wake = asyncio.Event()
        self._playing, self._over = False, False

    def watch(self, watcher: Callable[[Shown, int], None]) -> None:
        """Call `watcher` with every frame after it was sent, and with its number among the released frames."""
        self._watchers.append(watcher)

    def __len__(self) -> int:
        """Return how many frames wait."""
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

    @property
    def bitrate(self) -> int:
        """Return the bits a second of the encoded pictures where no line is slow."""
        return self._encodes.bitrate

    def add(self, frames: Iterable[Shown]) -> None:
        """Queue frames after those that wait."""
        self._frames.extend(frames)
        self._wake.set()

    def redraw(self, frames: list[Shown]) -> None:
        """Replace the frames that wait, from the first one's number on; frames whose time has passed are dropped."""
        kept = (f for f in self._frames if f.frame < frames[0].frame)
        self._frames = deque([*kept, *(f for f in frames if f.frame > self._newest)])
        self._wake.set()

    def clear(self) -> None:
        """Drop the frames that wait."""
        self._frames.clear()

    def hush(self) -> None:
        """Silence the film from now on; the pictures that wait are still shown."""
        if self._rest is not None:
            self._rest[0].fill(0)  # in the film that is kept as well
        if self.film_sound is not None:
            self.film_sound.hush()

    @property
    def playing(self) -> bool:
        """Return whether frames are released as they are due."""
        return self._playing

    @property
    def audible(self) -> bool:
        """Return whether sound follows that was handed over already."""
        return self.film_sound is not None and self.film_sound.audible(self.next_frame)

    def hold(self, *, held: bool) -> None:
        """Hold the picture, and media time with it, or go on with the next frame."""
        self._playing = not held
        self._wake.set()

    def end(self) -> None:
        """Release no further frame; `run` then returns."""
        self._over = True
        self.hold(held=True)

    async def run(self) -> None:
        """Release one frame after another until `end` is called."""
        pace: Pace | None = None
        last: Shown | None = None
        while not self._over:
            if not self._playing or not self._goes_on(last):
                pace = pace if self._playing else None
                await self._clock.wait(self._wake, LOOK_EVERY)
                self._wake.clear()
                missed = self.broadcast.picture_missed or self.vp8.broadcast.picture_missed
                if not (self._playing or self._over) and last is not None and missed:
                    # a viewer that joins a pause is sent the frame on screen, as a keyframe
                    await self._show(replace(last, cut=True, answers=(), sound=SILENCE))
                continue
            pace = pace or Pace(self.fps, self.released, self._clock())
            if (delay := pace.due(self.released) - self._clock()) > 0:
                await self._clock.sleep(delay)
                if not self._playing or not self._goes_on(last):
                    continue
            now = self._clock()
            late = self.fps * (now - pace.due(self.released))
            caught_up = self.film_sound is None or late <= PICTURES_LATE
            pace = pace.released(self.released, now, TOLERANCE if self.film_sound is None else CAUGHT_UP * self.fps)
            last = self._next(last)
            await self._show(last, seen=caught_up or last.cut or bool(last.answers))
            if self._rest is not None:
                if (delay := pace.due(self.released) - 0.5 / self.fps - self._clock()) > 0:
                    await self._clock.sleep(delay)
                self._send_rest()

    def _goes_on(self, last: Shown | None) -> bool:
        return bool(self._frames) or (self.film_sound is not None and last is not None)

    def _next(self, last: Shown | None) -> Shown:
        """Remove the frame that is due and return it; with sound of the film, the picture before it if it is late."""
        if self.film_sound is None:
            return self._frames.popleft()
        due, late = self.next_frame, list[Shown]()
        while self._frames and self._frames[0].frame < due:
            late.append(self._frames.popleft())
        self.dropped += len(late)
        if self._frames and (self._frames[0].frame == due or last is None):
            shown = self._frames.popleft()
            self._newest = shown.frame
        else:
            newest = late[-1] if late else last
            assert newest is not None, "nothing is released before the first picture"
            shown = replace(newest, frame=due, cut=False, answers=(), held=True)
            self.held += 1
            self._newest = max(self._newest, late[-1].frame if late else -1)
        return replace(
            shown,
            cut=shown.cut or any(frame.cut for frame in late),
            answers=(*(answer for frame in late for answer in frame.answers), *shown.answers),
            sound=self.film_sound.frame(shown.frame),
        )

    async def _show(self, shown: Shown, *, seen: bool = True) -> None:
        """Release one frame: encode it, send it, and call the watchers; its sound alone unless it is to be `seen`."""
        picture = self.seen_of(shown.picture, shown.frame)
        shown = replace(shown, picture=picture, sound=self.voice_gain.apply(shown.sound).copy())  # its own, see `hush`
        number, self.released, self.playhead = self.released, self.released + 1, shown.chunk
        self.next_frame = shown.frame + 1
        self._freed()
        recording = self.recording
        waits = recording is not None and recording.waiting
        if seen:
            jobs = self._encodes.due(number, cut=shown.cut, recording=recording is not None, recording_waits=waits)
        else:
            jobs, self.dropped = [], self.dropped + 1
        pts = pts_of(number, self.fps)
        if self.sound is not None:
            self._send_rest()
            end = FRAME * self.next_frame
            self._send_sound(shown.sound[:PACKET], number * FRAME, end - PACKET)
            self._rest = shown.sound[PACKET:], number * FRAME + PACKET, end
        # on another thread than the encoding: no viewer waits while a large picture is kept
        keeping = asyncio.ensure_future(asyncio.to_thread(kept, shown.picture, shown.sound))
        for source, packet in await asyncio.to_thread(encoded, jobs, shown.picture, pts):
            self.broadcast.send(packet, source)
            if recording is not None and source is self.broadcast.full:
                recording.offer(packet)
        if seen:
            await self.vp8.send(shown.picture, number, cut=shown.cut)
        for watcher in self._watchers:
            watcher(shown, number)
        self.recent.add(await keeping)

    def _send_rest(self) -> None:
        """Send the second half of a frame's sound, if it was not sent yet."""
        rest, self._rest = self._rest, None
        if rest is not None:
            self._send_sound(*rest)

    def _send_sound(self, sound: Samples, at: int, end: int) -> None:
        """Send samples up to sample `end` of the film, the first of which is sample `at` of what was released."""
        assert self.sound is not None, "the film has no sound"
        assert self._sound_encoder is not None, "the film has no sound"
        for packet in self._sound_encoder.encode(sound, at):
            self.sound.send(packet)
            if self.recording is not None:
                self.recording.offer_sound(packet)
        self.sounded = max(self.sounded, end)  # a frame that is sent once more in a pause ends no earlier
