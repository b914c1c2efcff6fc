"""Follow which samples of which utterance were played, and which of those were heard by a viewer.

A sample that was sent is heard later: half a round trip and what the receiver buffers. Each viewer's connection tells
that delay, or that nothing arrives. The nearest viewer counts; without viewers what is played counts as heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streaming.live.clock import Clock
from streaming.speech.fullband import RATE
from streaming.speech.speech_queue import Given
from streaming.speech.utterance import EndReason, Utterance, seconds
from streaming.transport.events import (
    CaptionEvent,
    Event,
    HeardPart,
    UtteranceEndedEvent,
    UtteranceSpokenEvent,
    UtteranceStartedEvent,
)

RECEIVER_BUFFER = 0.06  # seconds that receivers of Opus keep ready; aiortc, Chromium and Firefox keep 40 to 100 ms
TELL_EVERY = RATE // 4  # samples of an utterance between two events of its progress

Delay = Callable[[], float | None]  # seconds from sending to hearing; None while nothing arrives


@dataclass
class _Part:
    """Hold where samples of an utterance lie in the soundtrack."""

    begin: int
    end: int
    utterance: Utterance
    before: int  # samples of the utterance before them


@dataclass(frozen=True)
class _Sent:
    """Hold up to which sample an utterance was played, and when that was."""

    at: float
    utterance: Utterance
    played: int


class Hearing:
    """Tell by events what of each utterance is heard."""

    def __init__(self, tell: Callable[[Event], None], clock: Clock) -> None:
        self.viewers: set[Delay] = set()
        self._tell, self._clock = tell, clock
        self._parts: deque[_Part] = deque()  # given and not yet played
        self._sent: deque[_Sent] = deque()  # played and not yet heard
        self._told: dict[Utterance, int] = {}  # begun utterances, and up to which sample that was told

    def gave(self, given: Given, at: int) -> None:
        """Note samples that were handed over from sample `at` of the soundtrack on."""
        for begin, n, utterance, before in given.parts:
            self._parts.append(_Part(at + begin, at + begin + n, utterance, before))

    def take_back(self, at: int) -> list[tuple[int, int, Utterance]]:
        """Forget the samples from sample `at` of the soundtrack on, which will not be played.

        Returns the parts that begin there or later, in order: first sample, end, and its utterance.
        """
        parts = deque[_Part]()
        while self._parts and self._parts[-1].begin >= at:
            parts.appendleft(self._parts.pop())
        if self._parts:
            self._parts[-1].end = min(self._parts[-1].end, at)
        return [(part.begin, part.end, part.utterance) for part in parts]

    def begins(self, utterance: Utterance) -> int | None:
        """Return at which sample of the soundtrack an utterance begins; None if it was not given, or sounds already."""
        if utterance.played:
            return None
        return next((part.begin for part in self._parts if part.utterance is utterance), None)

    def given_from(self, at: int) -> list[tuple[int, int, Utterance]] | None:
        """Return what lies behind sample `at` of the soundtrack, in order: first sample, end, and its utterance.

        None if `at` lies within an utterance.
        """
        behind = [part for part in self._parts if part.end > at]
        if behind and behind[0].begin < at:
            return None
        return [(part.begin, part.end, part.utterance) for part in behind]

    @property
    def to_play(self) -> int:
        """Return how many samples of utterances that have not ended were given and not played yet."""
        return sum(
            part.end - part.begin - max(0, part.utterance.played - part.before)
            for part in self._parts
            if part.utterance.ended is None
        )

    @property
    def unplayed(self) -> list[Utterance]:
        """Return the utterances of which given samples were not played yet, in order."""
        return list(dict.fromkeys(part.utterance for part in self._parts))

    def played(self, end: int) -> None:
        """Note that the soundtrack was sent up to sample `end`, and tell what was heard meanwhile."""
        now = self._clock()
        while self._parts and self._parts[0].begin < end:
            part = self._parts[0]
            part.utterance.played = part.before + min(end, part.end) - part.begin
            self._sent.append(_Sent(now, part.utterance, part.utterance.played))
            if part.end > end:
                break
            self._parts.popleft()
        self.look()

    def look(self) -> None:
        """Tell what was heard by now."""
        now = self._clock()
        delays = [delay() for delay in self.viewers]
        known = [delay for delay in delays if delay is not None]
        arrives = bool(known) or not delays
        delay = min(known, default=0.0)
        while self._sent and self._sent[0].at + delay <= now:
            sent = self._sent.popleft()
            if sent.utterance.ended is None:
                self._heard(sent.utterance, sent.played, arrives=arrives)

    def flush(self, end: int) -> None:
        """Count what was sent, up to sample `end` of the soundtrack, as heard: it cannot be taken back any more."""
        self.played(end)
        for sent in self._sent:  # nothing where nothing arrives at a viewer
            if sent.utterance.ended is None:
                self._heard(sent.utterance, sent.played, arrives=True)
        self._sent.clear()

    def settle(self, utterance: Utterance) -> None:
        """End an utterance of which nothing more arrives, if all of it was played and heard."""
        if utterance.complete and not any(sent.utterance is utterance for sent in self._sent):
            self.end(utterance, utterance.natural_end)

    def end(self, utterance: Utterance, why: EndReason) -> HeardPart:
        """End an utterance, tell that, and return how much of it was heard."""
        heard = self._part_of(utterance)
        utterance.end(why)
        self._told.pop(utterance, None)
        self._tell(UtteranceEndedEvent(why=why, **heard.model_dump()))
        return heard

    def _heard(self, utterance: Utterance, sample: int, *, arrives: bool) -> None:
        if utterance not in self._told:
            self._told[utterance] = 0
            self._tell(UtteranceStartedEvent(utterance=utterance.name, rate=utterance.rate))
            self._caption(utterance, -1, 0)
        if arrives:
            before, utterance.heard = utterance.heard, sample
            self._caption(utterance, before, sample)
        if utterance.complete and sample == utterance.given:
            self.end(utterance, utterance.natural_end)
        elif utterance.heard - self._told[utterance] >= TELL_EVERY:
            self._told[utterance] = utterance.heard
            part = self._part_of(utterance)
            self._tell(UtteranceSpokenEvent(**part.model_dump(), viewers=len(self.viewers)))

    def _caption(self, utterance: Utterance, before: int, sample: int) -> None:
        """Tell the captions that begin after sample `before` and up to `sample`."""
        for caption in utterance.captions:
            if before < caption.at <= sample:
                self._tell(CaptionEvent(utterance=utterance.name, text=caption.text, seconds=seconds(caption.at)))

    @staticmethod
    def _part_of(utterance: Utterance) -> HeardPart:
        heard = utterance.heard
        return HeardPart(
            utterance=utterance.name,
            sample=utterance.own(heard),
            seconds=seconds(heard),
            text=utterance.text_until(heard),
        )
