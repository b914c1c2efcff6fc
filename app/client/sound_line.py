"""Speak the protocol of an avatar's sound on its WebSocket, and keep what the server tells of each utterance."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, WebSocketException

Event = dict[str, Any]  # as docs/events.md describes them; `type` tells them apart
Rate = Literal[16000, 24000, 48000]
Queue = Literal["append", "replace"]
NAME = r"[\w.:-]{1,64}"  # of an utterance
MOST_BYTES = 1 << 16  # that are sent in one message; the server takes twice as many
MOST_KEPT = 1000  # events that wait to be read, and utterances whose end is remembered; the oldest are dropped
OF_ONE = ("replaced", "cancelled")  # why an interruption happens that does not concern what is said next


class LongtakeError(Exception):
    """Report, in one line, what the server refused, or that it cannot be reached."""


@dataclass(frozen=True)
class Heard:
    """Hold how much of an utterance was heard: samples at its own rate, seconds, and the words so far.

    `why` nothing more of it is heard is `complete`, `lost`, `interrupted`, `replaced`, `cancelled` or `cleared`.
    """

    utterance: str
    sample: int
    seconds: float
    text: str
    why: str = "interrupted"

    @classmethod
    def of(cls, part: Event) -> Heard:
        """Read an `utterance.ended` event, or a part of what an interruption tells."""
        fields = {name: part[name] for name in ("utterance", "sample", "seconds", "text")}
        return cls(**fields, why=part.get("why", "interrupted"))


class SentUtterance:
    """Hold what the server has told of an utterance that was begun here."""

    def __init__(self, name: str) -> None:
        """Begin with nothing told."""
        self.name = name
        self.arrived = False  # whether all of it has
        self.refused: str | None = None  # why the server takes it no more
        self.heard: Heard | None = None  # in the end
        self.stop: Callable[[], None] = lambda: None  # called once, when the server takes no more of it

    @property
    def settled(self) -> bool:
        """Return whether nothing more of it is to be sent."""
        return self.arrived or self.refused is not None or self.heard is not None


class SoundLine:
    """Send sound, one utterance at a time, and read what the server tells; LongtakeError if the connection is lost."""

    def __init__(self, socket: ClientConnection) -> None:
        """Use a socket that is connected; `sound_line` connects one."""
        self._socket = socket
        self.over: str | None = None  # why nothing more is told
        self.epoch = 0  # the newest interruption that is known and silenced all
        self.interrupted: Callable[[], None] = lambda: None  # called at an interruption that silenced all
        self._lost = False
        self._events: deque[Event] = deque(maxlen=MOST_KEPT)
        self._told = asyncio.Condition()
        self._starts: deque[SentUtterance] = deque()  # that were not answered yet
        self._sent: dict[str, SentUtterance] = {}  # that were begun here and have not ended
        self._ended: dict[str, Heard] = {}  # of all utterances of the session
        self._reader = asyncio.create_task(self._read())

    @staticmethod
    def new_name() -> str:
        """Return a name that no other utterance of a session has."""
        return f"s-{secrets.token_hex(6)}"

    # -- to the server ---------------------------------------------------------------------------------------------

    async def start(self, name: str, rate: Rate, queue: Queue) -> SentUtterance:
        """Begin an utterance, whose samples are written next; the server may still refuse it."""
        if not re.fullmatch(NAME, name):
            raise LongtakeError(f"an utterance's name has 1 to 64 letters, digits or _.:-, unlike {name[:80]!r}")
        sent = SentUtterance(name)
        self._starts.append(sent)
        await self._tell(type="start", utterance=name, rate=rate, queue=queue)
        return sent

    async def text(self, text: str) -> None:
        """Tell what the samples that are written next say."""
        await self._tell(type="text", text=text)

    async def write(self, pcm: bytes) -> None:
        """Send samples, split anywhere."""
        for begin in range(0, len(pcm), MOST_BYTES):
            await self._send(pcm[begin : begin + MOST_BYTES])

    async def commit(self) -> None:
        """End the utterance: all of it was written."""
        await self._tell(type="commit")

    async def drop(self, sent: SentUtterance) -> None:
        """End an utterance of which no more will be written; what is heard of it already is silenced."""
        with contextlib.suppress(LongtakeError):
            if sent.heard is None and sent.refused is None:
                await self._tell(type="cancel")  # another utterance may have its name, if the server refuses this one

    # -- from the server -------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was told fulfils a condition; LongtakeError if nothing more is told."""
        async with self._told:
            await self._told.wait_for(lambda: condition() or self.over is not None)
        if not condition():
            raise LongtakeError(self.over or "")

    async def answered(self) -> None:
        """Wait until all utterances that were begun are known to the server, which requests over HTTP may overtake."""
        with contextlib.suppress(LongtakeError):
            await self.until(lambda: not self._starts)

    async def heard(self, name: str) -> Heard:
        """Wait until an utterance of the session has ended, and return what was heard of it."""
        await self.answered()
        await self.until(lambda: name in self._ended)
        return self._ended[name]

    async def events(self) -> AsyncIterator[Event]:
        """Yield the server's events until the session has ended; the oldest are dropped where MOST_KEPT wait."""
        while True:
            async with self._told:
                await self._told.wait_for(lambda: bool(self._events) or self.over is not None)
            while self._events:
                yield self._events.popleft()
            if self.over is not None:
                if self._lost:
                    raise LongtakeError(self.over)
                return

    def end(self, heard: Heard) -> None:
        """Note that an utterance has ended, as the server tells by an event or in an answer."""
        self._ended.pop(heard.utterance, None)
        self._ended[heard.utterance] = heard
        if len(self._ended) > MOST_KEPT:
            del self._ended[next(iter(self._ended))]
        if (sent := self._sent.pop(heard.utterance, None)) is not None:
            sent.heard = heard
            sent.stop()

    async def close(self) -> None:
        """Read no more, and let nobody wait for what would be told."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._finish("the connection to the avatar was closed")

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                event: Event = json.loads(message)
                async with self._told:
                    self._take_in(event)
                    self._events.append(event)
                    self._told.notify_all()
            over = "the avatar's session has ended"
        except ConnectionClosed as e:
            self._lost, over = True, _lost(e)
        except (ValueError, KeyError, TypeError) as e:
            self._lost, over = True, f"the server's events cannot be read: {e!r}"
        await self._finish(over)

    async def _finish(self, over: str) -> None:
        async with self._told:
            self.over = self.over or over
            for sent in [*self._starts, *self._sent.values()]:
                sent.stop()
            self._told.notify_all()

    def _take_in(self, event: Event) -> None:
        match event["type"]:
            case "queued":
                if (sent := self._answered(event["utterance"])) is not None:
                    self._ended.pop(sent.name, None)
                    self._sent[sent.name] = sent
            case "refused" if (name := event.get("utterance")) is not None:
                sent = self._answered(name) or self._sent.get(name)
                if sent is not None and not sent.settled:
                    sent.refused = event["why"]
                    sent.stop()
            case "committed":
                if (sent := self._sent.get(event["utterance"])) is not None:
                    sent.arrived = True
            case "utterance.started":
                self._ended.pop(event["utterance"], None)  # an earlier one had its name
            case "utterance.ended":
                self.end(Heard.of(event))
            case "interrupted" if event["why"] not in OF_ONE and "speaker" not in event and event["epoch"] > self.epoch:
                self.epoch = event["epoch"]
                self.interrupted()

    def _answered(self, name: str) -> SentUtterance | None:
        """Return the utterance whose start an answer with this name belongs to; starts are answered in order."""
        sent = next((s for s in self._starts if s.name == name), None)
        if sent is not None:
            self._starts.remove(sent)
        return sent

    async def _tell(self, **message: Any) -> None:
        await self._send(json.dumps(message))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosedOK:
            raise LongtakeError("the avatar's session has ended") from None
        except ConnectionClosed as e:
            raise LongtakeError(_lost(e)) from e


def _lost(closed: ConnectionClosed) -> str:
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    return f"the connection to the avatar was lost: {reason or closed}"


@contextlib.asynccontextmanager
async def sound_line(server: str, session: str, key: str) -> AsyncIterator[SoundLine]:
    """Connect to the sound of a session; LongtakeError if it has ended, has another key or cannot be reached."""
    url = f"ws{server.rstrip('/').removeprefix('http')}/api/sessions/{session}/audio"
    try:
        socket = await connect(url, additional_headers={"X-Longtake-Key": key})
    except (OSError, WebSocketException) as e:
        raise LongtakeError(f"the avatar's session cannot be reached: {e}") from e
    async with socket:
        try:
            await (await socket.ping())  # a server that refuses closes the socket instead of answering
        except ConnectionClosed as e:
            reason = e.rcvd.reason if e.rcvd is not None else str(e)
            raise LongtakeError(f"the avatar's session cannot be reached: {reason}") from e
        line = SoundLine(socket)
        try:
            yield line
        finally:
            await line.close()
