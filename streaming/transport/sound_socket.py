"""Take an avatar's sound from a WebSocket as it is made, and tell its sender what is heard of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging

from starlette.websockets import WebSocket, WebSocketDisconnect

from models.errors import UserError
from streaming.live.session import Session
from streaming.speech.any_avatar import AnyAvatar
from streaming.speech.avatar import Avatar
from streaming.speech.fullband import PcmReader
from streaming.speech.utterance import Utterance
from streaming.transport.events import (
    AvatarEvent,
    CaptionEvent,
    CommittedEvent,
    Event,
    InterruptedEvent,
    ListenerEvent,
    PhaseEvent,
    QueuedEvent,
    RefusedEvent,
    SlowEvent,
    UtteranceEndedEvent,
    UtteranceSpokenEvent,
    UtteranceStartedEvent,
    WarningEvent,
)
from streaming.transport.sound_messages import (
    CancelMessage,
    ClearMessage,
    CommitMessage,
    InterruptMessage,
    SoundMessage,
    SoundMessageError,
    StartMessage,
    StartRefusedError,
    TextMessage,
    parse_sound_message,
)

log = logging.getLogger(__name__)

MOST_BYTES = 128 << 10  # of a binary message: 1.3 seconds at 48 kHz; the server closes a socket that gets more
MOST_EVENTS = 256  # that may wait to be sent; later ones are dropped, so that a sender that reads nothing holds little
TOLD = (
    AvatarEvent
    | CaptionEvent
    | InterruptedEvent
    | ListenerEvent
    | PhaseEvent
    | SlowEvent
    | UtteranceEndedEvent
    | UtteranceSpokenEvent
    | UtteranceStartedEvent
    | WarningEvent
)


class StreamedUtterance:
    """Speak raw sound as it arrives."""

    def __init__(self, avatar: Avatar, start: StartMessage) -> None:
        """Queue an utterance; SpeechQueueError if too much would wait or its name is taken."""
        self._avatar, self._reader = avatar, PcmReader(start.rate)
        self.utterance = Utterance(start.utterance or avatar.new_name(), start.rate)
        avatar.begin(self.utterance, start.queue)

    @property
    def samples(self) -> int:
        """Return how many samples have arrived, at the utterance's own rate."""
        return self._reader.samples

    def add(self, pcm: bytes) -> None:
        """Add bytes of sound, split anywhere; SpeechQueueError if it has ended or too much would wait."""
        self._avatar.add(self.utterance, self._reader.add(pcm))

    def commit(self, *, lost: bool = False) -> None:
        """End the utterance, of which all has arrived, unless its sender was `lost`."""
        if self.utterance.ended is None:
            self.utterance.add(self._reader.rest())
        self._avatar.commit(self.utterance, lost=lost)


class SoundSocket:
    """Serve one sender of sound, which needs no place on the session's page."""

    def __init__(self, socket: WebSocket, session: Session, avatar: AnyAvatar) -> None:
        """Serve an accepted socket."""
        self._socket, self._session, self._avatar = socket, session, avatar
        self._events: asyncio.Queue[Event] = asyncio.Queue(MOST_EVENTS)
        self._streamed: StreamedUtterance | None = None
        self._last: Utterance | None = None  # the one that was begun last, which may have been committed
        # whether what belongs to an utterance is dropped until the next start, because that was told
        self._deaf = False

    async def run(self) -> None:
        """Serve until the session is over or the sender has left.

        What it has sent by then is spoken; an utterance that it did not commit is lost.
        """
        leave = self._session.listen(self._hear_of)
        tasks = [asyncio.create_task(work) for work in (self._receive(), self._send_events())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leave()
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                # reading from and writing to a closed socket raise RuntimeError
                if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
                    log.info("a sound ended: %r", result)
            if self._streamed is not None:
                self._streamed.commit(lost=True)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close()

    def _hear_of(self, event: Event) -> None:
        if isinstance(event, TOLD):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if not self._events.full():
            self._events.put_nowait(event)

    async def _send_events(self) -> None:
        while True:
            event = await self._events.get()
            await self._socket.send_text(json.dumps(event.wire()))
            if isinstance(event, PhaseEvent) and self._session.over:
                return

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if (pcm := message.get("bytes")) is not None:
                    self._add(pcm)
                else:
                    self._obey(parse_sound_message(message["text"]))
            except StartRefusedError as e:
                self._refuse_start(e.utterance, str(e))
            except UserError as e:
                self._tell_refused(self._streamed.utterance.name if self._streamed is not None else None, str(e))

    def _add(self, pcm: bytes) -> None:
        if self._deaf:
            return
        if self._streamed is None:
            self._deaf = True
            raise SoundMessageError("no utterance was begun; send start before its samples")
        try:
            if len(pcm) > MOST_BYTES:
                raise SoundMessageError(f"a message of samples has at most {MOST_BYTES} bytes")
            self._streamed.add(pcm)
        except UserError as e:  # its further samples are not spoken with a hole before them
            name = self._streamed.utterance.name
            self._commit(lost=True)
            self._refuse(name, str(e))

    def _obey(self, message: SoundMessage) -> None:
        match message:
            case StartMessage():
                self._start(message)
            case TextMessage(text=text):
                if (streamed := self._begun()) is not None:
                    streamed.utterance.caption(text)
            case CommitMessage():
                if (streamed := self._begun()) is not None:
                    if streamed.utterance.ended is None:
                        self._tell(CommittedEvent(utterance=streamed.utterance.name, sample=streamed.samples))
                    self._commit()
            case CancelMessage(utterance=name):
                self._cancel(name)
            case ClearMessage():
                self._avatar.clear()
            case InterruptMessage(speaker=speaker):
                silenced = self._avatar if speaker is None else self._avatar.speaker(speaker)
                silenced.interrupt("asked to")

    def _start(self, message: StartMessage) -> None:
        self._commit()
        try:
            self._streamed = StreamedUtterance(self._avatar.speaker(message.speaker), message)
        except UserError as e:
            self._refuse_start(message.utterance, str(e))
            return
        self._deaf, self._last = False, self._streamed.utterance
        self._tell(QueuedEvent(utterance=self._last.name, rate=message.rate))

    def _refuse_start(self, utterance: str | None, why: str) -> None:
        """Tell that an utterance is not taken; the one before it has ended all the same."""
        self._commit()
        self._last = None
        self._refuse(utterance, why)

    def _refuse(self, utterance: str | None, why: str) -> None:
        """Tell once that an utterance is not, or no longer, taken; what follows of it is dropped."""
        self._deaf = True
        self._tell_refused(utterance, why)

    def _tell_refused(self, utterance: str | None, why: str) -> None:
        if utterance is None:
            self._tell(RefusedEvent(id=None, why=why))
        else:
            self._tell(RefusedEvent(id=None, why=why, utterance=utterance))

    def _begun(self) -> StreamedUtterance | None:
        """Return the utterance that samples belong to; None if it was refused. SoundMessageError if there is none."""
        if self._streamed is None and not self._deaf:
            raise SoundMessageError("no utterance was begun; send start first")
        return self._streamed

    def _commit(self, *, lost: bool = False) -> None:
        if self._streamed is not None:
            self._streamed.commit(lost=lost)
            self._streamed = None

    def _cancel(self, name: str | None) -> None:
        utterance = self._last if name is None else self._avatar.find(name)
        if utterance is None or utterance.ended is not None:
            which = f"utterance named {name}" if name is not None else "utterance that was begun here"
            named = name or (utterance.name if utterance is not None else None)
            self._tell_refused(named, f"no {which} is being spoken or waits")
            return
        self._avatar.cancel(utterance)
        if self._streamed is not None and self._streamed.utterance is utterance:
            self._streamed, self._deaf = None, True
