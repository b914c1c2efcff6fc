"""Keep a sound that is spoken as one, from the arrival of its first sample to the hearing of its last."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streaming.speech.fullband import RATE, Samples

EndReason = Literal["complete", "lost", "interrupted", "replaced", "cancelled", "cleared"]
USUAL_PACE = 2.5  # words a second of speech (150 a minute)
FASTEST_PACE = 5.0  # words a second of speech that is still followed (300 a minute)


@dataclass(frozen=True)
class Caption:
    """Hold what is said from a sample (48 kHz) of an utterance on."""

    at: int
    text: str


class Utterance:
    """Queue the samples of an utterance, which may still be arriving, and count those that were played and heard."""

    def __init__(self, name: str, rate: int = RATE) -> None:
        """Begin without samples; positions are told at `rate`, that of the sound as it was sent."""
        self.name, self.rate = name, rate
        self.open = True  # whether further samples may arrive
        self.lost = False  # whether its sender went before all of it had arrived
        self.held = False  # whether it waits for its turn: another face of a dialogue speaks before it
        self.pause: int | None = None  # samples of silence before it in a dialogue; None: the usual gap
        self.ended: EndReason | None = None  # why nothing more of it is heard
        self.captions: list[Caption] = []  # in order
        self.arrived = 0  # samples, all at 48 kHz
        self.waiting = 0
        self.given = 0  # handed to the soundtrack
        self.played = 0  # sent to viewers
        self.heard = 0
        self._pieces: deque[Samples] = deque()

    def add(self, voice: Samples) -> None:
        """Append samples at 48 kHz; they are dropped if the utterance is not open."""
        if len(voice) and self.open:
            self._pieces.append(voice)
            self.arrived, self.waiting = self.arrived + len(voice), self.waiting + len(voice)

    def caption(self, text: str) -> None:
        """Note what the samples that follow say."""
        self.captions.append(Caption(self.arrived, text))

    def take(self, n: int) -> Samples:
        """Remove and return the next n samples, or as many as wait."""
        parts = [np.zeros(0, np.int16)]
        missing = min(n, self.waiting)
        self.waiting, self.given = self.waiting - missing, self.given + missing
        while missing:
            piece = self._pieces.popleft()
            parts.append(piece[:missing])
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def put_back(self, voice: Samples) -> None:
        """Have the samples wait again that were taken last; an utterance that has ended forgets them."""
        self.given -= len(voice)
        if self.ended is None:
            self.waiting += len(voice)
            self._pieces.appendleft(voice)

    def end(self, why: EndReason) -> None:
        """Take no further samples, and drop what waits."""
        self.open, self.waiting, self.ended = False, 0, why
        self._pieces.clear()

    @property
    def complete(self) -> bool:
        """Return whether nothing more arrives and all that has was played."""
        return not self.open and not self.waiting and self.played == self.given

    @property
    def natural_end(self) -> EndReason:
        """Return why it ends once it was heard up to its last sample."""
        return "lost" if self.lost else "complete"

    def own(self, samples: int) -> int:
        """Convert a number of samples at 48 kHz to the utterance's own rate."""
        return samples * self.rate // RATE

    def text_until(self, sample: int) -> str:
        """Return what its captions say up to a sample (48 kHz): of the last one as many words as its share of time.

        How long that one lasts is not known while its samples still arrive, or if its sender was lost: the share of
        those that have arrived would claim nearly all words of a voice that is sent as fast as it is heard. Then they
        are counted at USUAL_PACE. A sender that ends it too early, because its voice failed, is told no more words than
        FASTEST_PACE allows, and one.
        """
        begun = self.captions[: bisect_right([c.at for c in self.captions], sample)] if sample else []
        if not begun:
            return ""
        *whole, last = begun
        end = self.captions[len(begun)].at if len(begun) < len(self.captions) else self.arrived
        words = last.text.split()
        said = round((sample - last.at) / max(1, end - last.at) * len(words))
        if last is self.captions[-1]:
            heard = (sample - last.at) / RATE
            cut_short = self.open or self.lost
            said = min(said, round(USUAL_PACE * heard) if cut_short else 1 + round(FASTEST_PACE * heard))
        return " ".join([*(c.text for c in whole), *words[:said]])


def seconds(samples: int) -> float:
    """Return the length of so many samples at 48 kHz in seconds, to the millisecond below."""
    return 1000 * samples // RATE / 1000
