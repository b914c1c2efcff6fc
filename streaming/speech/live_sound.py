"""Give each chunk of a live avatar the sound that drives it, and each frame the sound that is played with it.

    speech queue → soundtrack → the chunk that is drawn next hears it; every frame of the film is played with its own

The sound goes on in time, drawn or not: where a chunk comes late, the playout holds the picture and takes the sound of
the next frame all the same. A chunk that will not be drawn in time hears the sound of the time at which it is shown.

A voice that arrives in silence is not made to wait for the next chunk: the chunk on screen is drawn anew from the
snapshot before it, with the same noise and the voice from the frame that follows its drawing. Where the voice arrives
no faster than it is heard nothing is gained, because a chunk needs all the sound that it hears before it is drawn.

When the avatar is interrupted, the frames that wait are silenced at once. The chunk that will be on screen by the time
it is drawn anew is drawn from the snapshot before it, with silence and the same noise: the face keeps its pose and only
the mouth closes. The chunk before may have heard up to 200 ms of the sound that is taken back. Those samples stay in
the sound file of the take, and a cue on the redrawn chunk marks them as not heard, so that a render of the take and its
sound gives the same latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from models.checkpoints.assemble import Model
from models.cue import Reference
from streaming.live.clock import Clock
from streaming.live.playout import Shown
from streaming.media.opus import SILENCE
from streaming.speech.fullband import FRAME, REACH, TIMES, Samples, driving_samples
from streaming.speech.hearing import Hearing
from streaming.speech.interruptions import Interruptions
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import Soundtrack
from streaming.speech.speech_queue import MicrophoneUse, SpeechQueue
from streaming.take.take_file import CueLine

PATIENCE = 0.25  # seconds for which a chunk waits for the next samples of a microphone
LOOK_EVERY = 0.005  # seconds
WORTHWHILE = 2  # frames by which a voice must be heard sooner for a chunk to be drawn anew


class LiveSound:
    """Hand the samples of the speech queue to chunks, and keep them until their frames are released."""

    def __init__(
        self,
        model: Model,
        portrait: Reference,
        queue: SpeechQueue,
        *,
        hearing: Hearing,
        interruptions: Interruptions,
        clock: Clock,
    ) -> None:
        """Drive `model` with the portrait and the sounds of the queue.

        `hearing` is told where they lie, and `interruptions` whether there is something to silence.
        """
        self._model, self._portrait, self._queue, self._clock = model, portrait, queue, clock
        self._hearing, self._interruptions = hearing, interruptions
        self._unheard: list[Samples] = []  # driving samples that were played before a chunk could hear them
        # the sample from which what was given is taken back, until it is known what chunks have heard of it; 0: at once
        self._cut: int | None = None
        self.failed: Callable[[OSError], None] = lambda error: None  # called when the sound's file cannot grow
        self._track = Soundtrack()
        self._muted = 0, 0  # samples (from, to) that chunks have heard and listeners do not
        self._loud_until = 0  # frame of the film behind the last one that was given sound
        self._drive = PortraitDrive(model, portrait)

    def new_drive(self) -> PortraitDrive:
        """Return the drive source of a rollout that begins at the take's start."""
        self._drive = PortraitDrive(self._model, self._portrait)
        return self._drive

    def keep(self, take: str, beside: Callable[[str], Path]) -> dict[str, object]:
        """Write the portrait, and the sound as it is given, beside a take; return the take's fields that name them."""
        names: dict[str, object] = {"reference": f"{take}.png", "sound": f"{take}.wav"}
        self.keep_in(beside(f"{take}.png"), beside(f"{take}.wav"))
        return names

    def keep_in(self, portrait: Path, sound: Path) -> None:
        """Write the portrait (PNG), and the sound as it is given (WAV); OSError if the disk does not take it."""
        pixels = np.frombuffer(self._portrait.pixels, np.uint8).reshape(self._portrait.height, self._portrait.width, 3)
        _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        portrait.write_bytes(png.tobytes())
        self._track = Soundtrack(sound)

    async def wait(self, first: int, wanted: Callable[[], bool]) -> None:
        """Wait up to PATIENCE, while `wanted()`, until the microphone has given what the chunk at `first` needs."""
        missing, until = self._missing(first), self._clock() + PATIENCE
        while self._queue.awaits(missing) and wanted() and self._clock() < until:
            await self._clock.sleep(LOOK_EVERY)

    def longest_hold(self, first: int) -> int | None:
        """Return for how many frames at most the picture may be held before the chunk at latent `first`; None: any.

        A chunk that hears later needs more sound. Where that is still to arrive, a longer hold would tear the voice.
        """
        if self._queue.arrived is None:
            return None
        self._drive.hold(first, 0)
        return max(0, (self._queue.arrived - self._missing(first)) // FRAME)

    @property
    def length(self) -> int:
        """Return how many samples were given so far."""
        return self._track.length

    @property
    def quiet_from(self) -> int:
        """Return the frame of the film behind the last one that was given sound."""
        return self._loud_until

    @property
    def interrupted(self) -> bool:
        """Return whether what was given is to be silenced and it is not known yet from which sample on."""
        return self._cut is not None

    @property
    def speaks(self) -> bool:
        """Return whether an utterance waits or is being given whose turn it is."""
        return self._queue.reads and not self._queue.utterances[0].held

    def until(self, first: int, hold: int = 0) -> int:
        """Return up to which sample the chunk at latent `first` hears if the picture is held before it."""
        self._drive.hold(first, hold)
        return TIMES * self._drive.needs(first)

    def extend_to(self, sample: int) -> None:
        """Take the samples up to `sample` from the queue, as far as they were not taken."""
        self._extend(sample - self._track.length)

    def loud(self, frame: int) -> bool:
        """Return whether sound was given for a frame of the film, of the newest ten seconds."""
        return bool(self._track.frames(frame, 1).any())

    def give(self, first: int, hold: int = 0) -> None:
        """Let the chunk at latent `first` hear what it needs; the picture is held for `hold` frames before it."""
        self._drive.hold(first, hold)
        self._extend(self._missing(first))
        for sound in self._unheard:
            self._drive.hear(sound)
        self._unheard = []

    def frame(self, number: int) -> Samples:
        """Return the sound of a frame of the film, [1920] int16, whether or not its picture is drawn."""
        begin, end = FRAME * number, FRAME * (number + 1)
        if self._cut is None:
            self._extend(end - self._track.length)
        elif self._cut <= begin:
            return SILENCE
        sound = self._track.between(begin, end)
        for low, high in (self._muted, (end if self._cut is None else self._cut, end)):
            sound[max(0, low - begin) : max(0, high - begin)] = 0
        return sound

    def audible(self, number: int) -> bool:
        """Return whether sound that was handed over is to be heard from frame `number` of the film on."""
        loud_until = self._loud_until if self._cut is None else min(self._loud_until, -(-self._cut // FRAME))
        return loud_until > number

    def hush(self, at: int = 0) -> None:
        """Silence what was handed over from sample `at` on, until `silence` says which of it the chunks have heard."""
        self._cut = at if self._cut is None else min(at, self._cut)

    def give_again(self, at: int) -> None:
        """Have utterances that were handed over from sample `at` on and have not ended wait again, to be given anew."""
        given = [part for part in self._hearing.take_back(at) if part[2].ended is None]
        self._queue.put_back([(utterance, self._track.between(begin, end)) for begin, end, utterance in given])

    def start(self, at: int, frame: int) -> int:
        """Return the first frame of the film, `frame` or later, whose sound no chunk before latent `at` has heard."""
        return max(frame, -(-TIMES * self._drive.heard(at) // FRAME), -(-self._muted[1] // FRAME))

    def may_begin_sooner(self, at: int, frame: int, further: float) -> bool:
        """Return whether a voice is heard sooner if it begins at frame `frame` and latents from `at` are drawn anew.

        So much of it must have arrived that the redrawn chunk has all that it hears and `further` frames are left for
        the chunk behind it, whose drawing begins earlier for the voice than it would.
        """
        begins = FRAME * frame
        given = self._hearing.given_from(begins)
        if given is None or self.interrupted or self._queue.use is MicrophoneUse.PUPPET:
            return False
        voices = [*(utterance for _, _, utterance in given), *self._queue.utterances]
        arrived = sum(end - begin for begin, end, _ in given) + self._queue.waiting
        would_begin = given[0][0] if given else self._track.length
        if not arrived or would_begin - begins < WORTHWHILE * FRAME or self._track.between(begins, would_begin).any():
            return False
        needed = TIMES * self._drive.needs(at) - begins + math.ceil(FRAME * further)
        return arrived >= needed or not any(utterance.open for utterance in voices)

    def begin_sooner(self, frame: int) -> None:
        """Take back what was handed over from frame `frame` of the film on, so that it is given again from there.

        Nothing is taken back if a voice is heard at that frame already.
        """
        begins = FRAME * frame
        given = self._hearing.given_from(begins)
        if given is None:
            return
        self._queue.put_back([(utterance, self._track.between(begin, end)) for begin, end, utterance in given])
        self._hearing.take_back(begins)
        self._forget(begins)
        self._loud_until = min(self._loud_until, frame)
        if (missing := begins - self._track.length) > 0:
            self._append(np.zeros(missing, np.int16))

    def silence(self, frame: int, at: int, following: int) -> None:
        """Take back what `hush` silenced, from frame `frame` of the film on at the latest.

        What chunks before latent `at` have heard of it stays in the soundtrack and is not played. New sound begins no
        earlier than frame `following`, the next one to be shown.
        """
        begin = self._cut or FRAME * frame
        silent = max(begin, TIMES * self._drive.heard(at)) if at or self._cut else 0
        self._forget(silent)
        at_once = begin <= FRAME * following
        self._loud_until = 0 if at_once else min(self._loud_until, -(-begin // FRAME))
        self._muted, self._cut = (0 if at_once else begin, silent), None
        if (missing := FRAME * following - self._track.length) > 0:
            self._append(np.zeros(missing, np.int16))

    def hush_cues(self, frame: int, at: int, earlier: Sequence[CueLine]) -> list[CueLine]:
        """Return the cue that marks sound after frame `frame`, which the chunks before latent `at` have heard, if any.

        `earlier` are such cues that have not landed.
        """
        first = min([frame, *(line.hush for line in earlier if line.hush is not None)])
        return [CueLine(hush=first)] if self.was_heard(first, at) else []

    def was_heard(self, frame: int, at: int) -> bool:
        """Return whether the chunks before latent `at` have heard sound that begins after frame `frame`."""
        return FRAME * frame < TIMES * self._drive.heard(at)

    def held(self, latent: int) -> int:
        """Return for how many frames the picture was held before the chunk of a latent, from the take's start on."""
        return self._drive.held(latent)

    def in_film(self, frames: list[Shown], first: int) -> list[Shown]:
        """Return the frames of the chunk at latent `first`, numbered as in the film, held frames included."""
        return [replace(frame, frame=frame.frame + self.held(first)) for frame in frames]

    def close(self) -> None:
        """Close the sound's file."""
        self._track.close()

    def _forget(self, at: int) -> None:
        """Drop the sound from sample `at` on."""
        unheard = np.concatenate([np.zeros(0, np.int16), *self._unheard])
        begins = self._track.length // TIMES - len(unheard)
        self._unheard = [unheard[: max(0, at // TIMES - begins)]]
        self._drive.hush(at // TIMES)
        self._track.hush(at)

    def _extend(self, missing: int) -> None:
        """Take so many samples from the queue, if any are missing."""
        if missing <= 0:
            return
        given, at = self._queue.next(missing), self._track.length
        self._hearing.gave(given, at)
        self._interruptions.gave(given.samples)
        if given.samples.any():
            self._loud_until = -(-(at + int(given.samples.nonzero()[0][-1]) + 1) // FRAME)
        self._append(given.samples)

    def _append(self, sound: Samples) -> None:
        at = self._track.length
        self._unheard.append(driving_samples(sound, self._track.between(at - REACH, at)))
        try:
            self._track.add(sound)
        except OSError as e:
            self._track.close()
            self.failed(e)

    def _missing(self, first: int) -> int:
        return TIMES * self._drive.needs(first) - self._track.length
