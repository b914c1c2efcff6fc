"""Join the sounds of the faces of a live dialogue: each face hears its own, and the film has all of them.

    speech queues (one a face) → live sounds, in turn → chunks of faces in step → one film with one sound

The faces are drawn in step, so their sounds grow together, by the same number of samples. An utterance begins a quarter
of a second after the last sound of the face that spoke before it, or after its own pause, to the sample, whichever
chunk that falls into.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from streaming.live.playout import Shown
from streaming.media.h264 import Picture
from streaming.media.opus import SILENCE
from streaming.speech.dialogue_drive import DialogueDrive
from streaming.speech.face_cut import FaceCut
from streaming.speech.fullband import FRAME, RATE, Samples
from streaming.speech.live_sound import LiveSound
from streaming.speech.soundtrack import Soundtrack
from streaming.speech.utterance import Utterance
from streaming.take.speakers import LayoutName, TakeSpeaker
from streaming.take.take_file import CueLine

GAP = RATE // 4  # samples between two turns; people leave 0.2 s in conversation (Stivers et al., PNAS 2009)


class JoinedSound:
    """Hand the samples of several speech queues to chunks that are drawn in step, one speaker after another."""

    def __init__(self, lanes: Mapping[str, LiveSound], layout: LayoutName) -> None:
        """Join the sounds of speakers by name, in the order in which their faces stand."""
        self._lanes = dict(lanes)
        self._names = list(lanes)
        self._turns: deque[tuple[LiveSound, Utterance]] = deque()  # that wait for others, in order
        self._own = [SILENCE] * len(lanes)  # what each face said with the newest frame
        self._silenced: list[str] = []  # the speakers whom the newest interruption silenced
        self._aloud = Soundtrack()  # what listeners hear
        self.failed: Callable[[OSError], None] = lambda error: None  # called when a sound's file cannot grow
        sounds = list(lanes.values())
        self._cut = FaceCut(len(lanes), lambda face, frame: sounds[face].loud(frame)) if layout == "cut" else None

    def await_turn(self, name: str, utterance: Utterance) -> None:
        """Have an utterance, which its face's queue holds, begin when those before it were spoken."""
        utterance.held = True
        self._turns.append((self._lanes[name], utterance))

    def own(self) -> list[Samples]:
        """Return what each face said with the newest frame, [1920] int16 each."""
        return self._own

    # -- for the drawing -------------------------------------------------------------------------------------------

    def new_drive(self) -> DialogueDrive:
        """Return the drive source of a rollout of all faces that begins at the take's start."""
        return DialogueDrive([lane.new_drive() for lane in self._lanes.values()], self._names)

    def keep(self, take: str, beside: Callable[[str], Path]) -> dict[str, object]:
        """Write each portrait and each speaker's sound beside a take, and the sound that listeners hear.

        Returns the take's fields that name them; OSError if the disk does not take them.
        """
        speakers: list[TakeSpeaker] = []
        for number, (name, lane) in enumerate(self._lanes.items(), 1):
            lane.failed = self.failed
            lane.keep_in(beside(f"{take}-{number}.png"), beside(f"{take}-{number}.wav"))
            speakers.append(TakeSpeaker(name=name, reference=f"{take}-{number}.png", sound=f"{take}-{number}.wav"))
        self._aloud = Soundtrack(beside(f"{take}.wav"))
        return {"sound": f"{take}.wav", "speakers": speakers}

    async def wait(self, first: int, wanted: Callable[[], bool]) -> None:
        """Wait a moment, while `wanted()`, for the sounds of the chunk at latent `first` that are about to arrive."""
        await asyncio.gather(*(lane.wait(first, wanted) for lane in self._lanes.values()))

    def longest_hold(self, first: int) -> int | None:
        """Return for how many frames at most the picture may be held before the chunk at `first`; None: any."""
        holds = [hold for lane in self._lanes.values() if (hold := lane.longest_hold(first)) is not None]
        return min(holds, default=None)

    def give(self, first: int, hold: int = 0) -> None:
        """Let all faces hear in the chunk at latent `first` what they need; the picture is held before it."""
        self._speak_until(max(lane.until(first, hold) for lane in self._lanes.values()))
        for lane in self._lanes.values():
            lane.give(first, hold)

    def silence(self, frame: int, at: int, following: int) -> None:
        """Take back what the speakers that were interrupted say after frame `frame`, as `LiveSound.silence` does."""
        self._silenced = [name for name, lane in self._lanes.items() if lane.interrupted]
        for name in self._silenced:
            self._lanes[name].silence(frame, at, following)

    def hush_cues(self, frame: int, at: int, earlier: Sequence[CueLine]) -> list[CueLine]:
        """Return a cue for each speaker of whom chunks before latent `at` have heard sound that is taken back."""
        cues: list[CueLine] = []
        for name, lane in self._lanes.items():
            frames = [line.hush for line in earlier if line.hush is not None and line.speaker == name]
            frames += [frame] if name in self._silenced else []
            if frames and lane.was_heard(min(frames), at):
                cues.append(CueLine(hush=min(frames), speaker=name))
        return cues

    def held(self, latent: int) -> int:
        """Return for how many frames the picture was held before the chunk of a latent, from the take's start on."""
        return self._first.held(latent)

    def in_film(self, frames: list[Shown], first: int) -> list[Shown]:
        """Return the frames of the chunk at latent `first`, all faces side by side, numbered as in the film."""
        return self._first.in_film(frames, first)

    def seen_of(self, picture: Picture, frame: int) -> Picture:
        """Return what the layout shows of a picture [H, faces · W, 3] with a frame of the film, held or drawn."""
        return picture if self._cut is None else self._cut.of(picture[None], frame)[0]

    def close(self) -> None:
        """Close the files of all sounds."""
        for lane in self._lanes.values():
            lane.close()
        self._aloud.close()

    # -- for the playout -------------------------------------------------------------------------------------------

    def frame(self, number: int) -> Samples:
        """Return what is heard with a frame of the film, [1920] int16, whether or not its picture is drawn."""
        self._speak_until(FRAME * (number + 1))
        self._own = [lane.frame(number) for lane in self._lanes.values()]
        mixed = np.clip(np.sum(self._own, axis=0, dtype=np.int32), -32768, 32767).astype(np.int16)
        try:
            self._aloud.add(mixed)
        except OSError as e:
            self._aloud.close()
            self.failed(e)
        return mixed

    def audible(self, number: int) -> bool:
        """Return whether sound that was handed over is to be heard from frame `number` of the film on."""
        return any(lane.audible(number) for lane in self._lanes.values())

    def hush(self) -> None:
        """Silence everything that was handed over."""
        for lane in self._lanes.values():
            lane.hush()

    @property
    def _first(self) -> LiveSound:
        return self._lanes[self._names[0]]

    def _speak_until(self, sample: int) -> None:
        """Let the utterances whose turn comes before `sample` begin, each at its time."""
        lanes = list(self._lanes.values())
        if any(lane.interrupted for lane in lanes):
            return  # what is handed over now would be taken back
        while self._turns:
            lane, utterance = self._turns[0]
            if utterance.ended is not None:
                self._turns.popleft()
                continue
            for other in lanes:
                if other.speaks:
                    other.extend_to(sample)
            if any(other.speaks for other in lanes):
                return
            gap = GAP if utterance.pause is None else utterance.pause
            before = [o for o in lanes if o.quiet_from and (o is not lane or utterance.pause is not None)]
            begins = max([lane.length, *(FRAME * other.quiet_from + gap for other in before)])
            if begins >= sample:
                return
            lane.extend_to(begins)
            utterance.held = False
            self._turns.popleft()
