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

    def commit(self) -> None:
        """End the utterance, of which all has arrived."""
        if self.utterance.ended is None:
            self.utterance.add(self._reader.rest())
        self._avatar.commit(self.utterance)


class SoundSocket:
    """Serve one sender of sound, which needs no place on the session's page."""

    def __init__(self, socket: WebSocket, session: Session, avatar: AnyAvatar) -> None:
        """Serve an accepted socket."""
        self._socket, self._session, self._avatar = socket, session, avatar
        self._events: asyncio.Queue[Event] = asyncio.Queue(MOST_EVENTS)
        self._streamed: StreamedUtterance | None = None
        self._last: Utterance | None = None  # the one that was begun last, which may have been committed

    async def run(self) -> None:
        """Serve until the session is over or the sender has left; what it has sent by then is spoken."""
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
                self._streamed.commit()
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
            except UserError as e:
                self._tell(RefusedEvent(id=None, why=str(e)))

    def _add(self, pcm: bytes) -> None:
        if self._streamed is None:
            raise SoundMessageError("no utterance was begun; send start before its samples")
        if len(pcm) > MOST_BYTES:
            raise SoundMessageError(f"a message of samples has at most {MOST_BYTES} bytes")
        try:
            self._streamed.add(pcm)
        except UserError:
            self._streamed = None  # its further samples are refused in one line each, not spoken with a hole
            raise

    def _obey(self, message: SoundMessage) -> None:
        match message:
            case StartMessage():
                self._commit()
                self._streamed = StreamedUtterance(self._avatar.speaker(message.speaker), message)
                self._last = self._streamed.utterance
                self._tell(QueuedEvent(utterance=self._last.name, rate=message.rate))
            case TextMessage(text=text):
                self._begun().utterance.caption(text)
            case CommitMessage():
                self._begun()
                self._commit()
            case CancelMessage(utterance=name):
                self._cancel(name)
            case ClearMessage():
                self._avatar.clear()
            case InterruptMessage(speaker=speaker):
                silenced = self._avatar if speaker is None else self._avatar.speaker(speaker)
                silenced.interrupt("asked to")

    def _begun(self) -> StreamedUtterance:
        if self._streamed is None:
            raise SoundMessageError("no utterance was begun; send start first")
        return self._streamed

    def _commit(self) -> None:
        if self._streamed is not None:
            self._streamed.commit()
            self._streamed = None

    def _cancel(self, name: str | None) -> None:
        utterance = self._last if name is None else self._avatar.find(name)
        if utterance is None or utterance.ended is not None:
            which = f"utterance named {name}" if name is not None else "utterance that was begun here"
            raise SoundMessageError(f"no {which} is being spoken or waits")
        self._avatar.cancel(utterance)
        if self._streamed is not None and self._streamed.utterance is utterance:
            self._streamed = None
