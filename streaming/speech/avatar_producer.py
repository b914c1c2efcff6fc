"""The drawing half of a live avatar: every chunk is given the sound that it hears, and an interruption redraws.

    voice → given to the chunk that is drawn next → frames, each with its own sound → playout

When the avatar is interrupted, what waits to be played is silent at once, and the chunk that will be on screen by the
time it is drawn anew is drawn from the snapshot before it, with silence and the same noise: the face stays where it is
and only the mouth closes. The chunk before may have heard up to 200 ms of what is taken back; that stays in the sound
beside the take, and a cue on the redrawn chunk says that from there on it is not heard. So a render of both gives the
same latents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import FRAME
from models.time_grid import frames_before, latent_of
from streaming.live.chunk_producer import ChunkProducer, Waiting
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.playout import Playout, Shown
from streaming.media.opus import SILENCE
from streaming.rollout import Chunk
from streaming.speech.driven_rollout import GivenUpError, LiveRollout
from streaming.speech.soundtrack import Soundtrack
from streaming.speech.speech_queue import SpeechQueue
from streaming.take.history import TakeFiles
from streaming.take.take_file import CueLine, Take
from streaming.transport.events import Event

PATIENCE = 0.25  # seconds for which a chunk waits for a microphone that has stopped to send
LOOK_EVERY = 0.005
BARELY = 2  # frames that are not worth a chunk of their own


class AvatarProducer(ChunkProducer):
    """Draws a take of a portrait that speaks what its voice is about to say, never more than a chunk ahead."""

    _rollout: LiveRollout

    def __init__(
        self,
        model: Model,
        take: Take,
        device: DeviceThread,
        playout: Playout,
        *,
        folder: Path | None,
        tell: Callable[[Event], None],
        clock: Callable[[], float],
        portrait: Reference,
        voice: SpeechQueue,
    ) -> None:
        self._portrait, self._voice = portrait, voice
        self._given = Soundtrack()
        self._interrupted: int | None = None  # frame of the take at which it was
        self._mute_before = 0  # frame of the take up to which what was given is not heard
        self.epoch = 0  # interruptions so far: what was asked for in another one is stale
        self._redraws = 0  # of them that had something to silence: what was drawn before the newest is stale
        self._silent = True  # nothing but silence is being drawn, or is about to be, since the newest of those
        super().__init__(
            model, take, device, playout, folder=folder, look_ahead=LookAhead.INSTANT, tell=tell, clock=clock
        )
        self._keep(self._lay_beside)

    def _lay_beside(self, files: TakeFiles) -> None:
        """Portrait and sound lie beside the take, which names them."""
        names = {"reference": f"{self.line.id}.png", "sound": f"{self.line.id}.wav"}
        pixels = np.frombuffer(self._portrait.pixels, np.uint8).reshape(self._portrait.height, self._portrait.width, 3)
        _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        files.beside(names["reference"]).write_bytes(png.tobytes())
        self._given = Soundtrack(files.beside(names["sound"]))
        self.line.take = self.line.take.model_copy(update=names)

    def _new_rollout(self, take: Take) -> LiveRollout:
        return LiveRollout(self._model, take, self._portrait)

    @property
    def _unplayed(self) -> int:
        return frames_before(self.line.length) - self._playout.next_frame  # what waits may be about to be redrawn

    # -- what it is told ------------------------------------------------------------------------------------------

    def rewind(self, latent: int) -> None:
        raise ValueError("an avatar's take has no way back; interrupt what it says, or begin a new one")

    def interrupt(self) -> None:
        """Nothing that was about to be said is heard or shown any more.

        Where nothing was said since the last time, what is drawn is that silence already: to begin it anew each time,
        as a key that is held down would have it, would never show it.
        """
        self.epoch += 1
        if self._silent:
            return
        self._silent = True
        self._redraws += 1
        if self._interrupted is None:
            self._interrupted = self._playout.next_frame
        self._rollout.give_up = True
        self._playout.hush()
        self.wake()

    def close(self) -> None:
        super().close()
        self._given.close()

    # -- what it does ---------------------------------------------------------------------------------------------

    async def _turn_back(self) -> None:
        while self._interrupted is not None:
            frame, self._interrupted = self._interrupted, None
            await self._silence_from(frame)

    async def _silence_from(self, frame: int) -> None:
        """Go back to where silence after `frame` of the take is seen soonest, and take back what is given from there on."""
        at = self._soonest()
        if at:
            snapshot = self.snapshots.at(at)
            self._rollout.state = await self._device.run(lambda: self._model.generator.restore(snapshot))
            self.snapshots.drop_after(at)
        else:
            self._rollout = await self._device.run(lambda: self._new_rollout(self.line.take))
        self._rollout.give_up = self._interrupted is not None
        silent = max(FRAME * frame, self._rollout.heard(at)) if at else 0
        self._rollout.hush(silent)
        self._given.hush(silent)
        self._mute_before = silent // FRAME
        if at < self.line.length:
            again = [e.model_copy(update={"at": 0, "landed": None}) for e in self.line.shortened(at)]
            self._waiting = [Waiting(None, e, self._clock()) for e in again] + self._waiting
            self._keep(lambda files: files.redrawn(at))
        hushes = [w.entry.hush for w in self._waiting if w.entry.hush is not None]  # of interruptions just before
        self._waiting = [w for w in self._waiting if w.entry.hush is None]
        if FRAME * (muted := min([frame, *hushes])) < self._rollout.heard(at):
            self._waiting.insert(0, Waiting(None, CueLine(hush=muted), self._clock()))

    def _soonest(self) -> int:
        """The latent from which to draw anew: of the chunk that is on screen once it is drawn.

        One that was shown by then would be drawn for nobody, and one that is nearly over leaves no time for the next.
        """
        grid, takes = self._model.entry.rollout.grid, round(self.figures.production)
        shown = self._playout.next_frame + takes + BARELY
        return min(max(grid.first_chunk, grid.start(grid.number(latent_of(shown)))), self.line.length)

    async def _draw(self, entries: list[CueLine]) -> Chunk | None:
        redraws = self._redraws
        missing = self._rollout.needs(self.line.length) - self._given.length
        await self._listen(missing)
        if redraws != self._redraws or self._over:
            return None
        sound = self._voice.next(missing)
        self._silent = self._silent and not sound.any()
        self._rollout.hear(sound)
        try:
            self._given.add(sound)
        except OSError as e:
            self._given.close()
            self._no_longer_kept(e)
        try:
            chunk = await super()._draw(entries)
        except GivenUpError:
            return None
        return chunk if redraws == self._redraws else None

    async def _listen(self, samples: int) -> None:
        """A live voice gives the rest of what it says in real time; it may be a little late."""
        until, redraws = self._clock() + PATIENCE, self._redraws
        while self._voice.awaits(samples) and redraws == self._redraws and not self._over and self._clock() < until:
            await asyncio.sleep(LOOK_EVERY)

    def _shown(self, chunk: Chunk) -> list[Shown]:
        shown = super()._shown(chunk)
        sounds = self._given.frames(shown[0].frame, len(shown))
        return [
            replace(frame, sound=SILENCE if frame.frame < self._mute_before else sound)
            for frame, sound in zip(shown, sounds, strict=True)
        ]

    def _queue(self, frames: list[Shown]) -> None:
        self._playout.redraw(frames)
