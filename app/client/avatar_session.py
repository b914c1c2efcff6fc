"""Drive an avatar of a Longtake server from an agent: stream its voice, follow what is heard, interrupt it.

The module needs httpx and websockets, and nothing of Longtake that loads a model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

Event = dict[str, Any]  # as docs/events.md describes them; `type` tells them apart
Rate = Literal[16000, 24000, 48000]
Queue = Literal["append", "replace"]
MOST_BYTES = 1 << 16  # that are sent in one message; the server takes twice as many


class LongtakeError(Exception):
    """Report, in one line, what the server refused."""


@dataclass(frozen=True)
class Heard:
    """Hold how much of an utterance was heard: samples at its own rate, seconds, and the words so far."""

    utterance: str
    sample: int
    seconds: float
    text: str


class AvatarSound:
    """Speak the protocol of an avatar's sound: one utterance is begun, written and committed at a time.

    `events` may be read by one task; all methods belong to one event loop, and raise LongtakeError if the connection
    is lost.
    """

    def __init__(self, socket: ClientConnection) -> None:
        """Use a socket that is connected; `avatar_sound` connects one."""
        self._socket = socket

    async def start(self, *, utterance: str | None = None, rate: Rate = 24000, queue: Queue = "append") -> None:
        """Begin an utterance, whose samples are written next; the event `queued` tells its name."""
        named = {} if utterance is None else {"utterance": utterance}
        await self._tell(type="start", rate=rate, queue=queue, **named)

    async def text(self, text: str) -> None:
        """Tell what the samples that are written next say; it comes back as a caption when they are heard."""
        await self._tell(type="text", text=text)

    async def write(self, pcm: bytes) -> None:
        """Send samples (PCM of 16 bits, little-endian, mono), split anywhere."""
        for begin in range(0, len(pcm), MOST_BYTES):
            await self._send(pcm[begin : begin + MOST_BYTES])

    async def commit(self) -> None:
        """End the utterance: all of it was written."""
        await self._tell(type="commit")

    async def interrupt(self) -> None:
        """Silence the avatar at once; the event `interrupted` tells what was heard."""
        await self._tell(type="interrupt")

    async def events(self) -> AsyncIterator[Event]:
        """Yield the server's events until the session has ended."""
        try:
            async for message in self._socket:
                yield json.loads(message)
        except ConnectionClosed as e:
            raise LongtakeError(f"the connection to the avatar was lost: {e}") from e

    async def _tell(self, **message: Any) -> None:
        await self._send(json.dumps(message))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as e:
            raise LongtakeError(f"the connection to the avatar was lost: {e}") from e


class AvatarSession:
    """Speak through one avatar. `events` may be read by one task; all methods belong to one event loop."""

    def __init__(self, server: str, session: dict[str, Any], http: httpx.AsyncClient, sound: AvatarSound) -> None:
        """Use a session that was started; `avatar_session` does both."""
        self.id, self.key = str(session["id"]), str(session["key"])
        self.page = f"{server}/watch/{self.id}"  # where a viewer sees and hears the avatar
        self._http, self._sound = http, sound
        self._speaking = asyncio.Lock()

    async def speak(
        self,
        pcm: AsyncIterable[bytes],
        *,
        rate: Rate = 24000,
        utterance: str | None = None,
        text: str | None = None,
        queue: Queue = "append",
    ) -> None:
        """Stream raw sound (PCM of 16 bits, little-endian, mono) as it is made; `text` comes back as its caption.

        Returns once all of it is sent. One utterance is sent at a time; another call waits for it.
        """
        async with self._speaking:
            await self._sound.start(utterance=utterance, rate=rate, queue=queue)
            if text is not None:
                await self._sound.text(text)
            async for piece in pcm:
                await self._sound.write(piece)
            await self._sound.commit()

    async def say(self, text: str, **how: Any) -> str:
        """Speak a text with the server's voice, and return the utterance's name; `how` as in the HTTP API's `/say`."""
        return str((await self._asked("POST", "say", {"text": text, **how}))["utterance"])

    async def interrupt(self) -> list[Heard]:
        """Silence the avatar at once, and return what was heard of each utterance that this ended."""
        return [Heard(**part) for part in (await self._asked("POST", "interrupt"))["heard"]]

    async def clear(self) -> list[str]:
        """Drop the utterances that wait, and return their names; the one that is being spoken goes on."""
        return [str(name) for name in (await self._asked("DELETE", "utterances"))["cleared"]]

    def events(self) -> AsyncIterator[Event]:
        """Yield the server's events until the session has ended."""
        return self._sound.events()

    async def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _answered(await self._http.request(method, f"/api/sessions/{self.id}/{path}", json=body))


@asynccontextmanager
async def avatar_sound(server: str, session: str, key: str) -> AsyncIterator[AvatarSound]:
    """Connect to the sound of a session that was started; LongtakeError if it has ended or has another key."""
    url = f"ws{server.rstrip('/').removeprefix('http')}/api/sessions/{session}/audio"
    try:
        socket = await connect(url, additional_headers={"X-Longtake-Key": key})
    except (OSError, WebSocketException) as e:
        raise LongtakeError(f"the avatar's session cannot be reached: {e}") from e
    async with socket:
        yield AvatarSound(socket)


@asynccontextmanager
async def avatar_session(server: str, *, token: str | None = None, **how: Any) -> AsyncIterator[AvatarSession]:
    """Start a session of an avatar and end it afterwards; `how` is what `POST /api/sessions` takes, such as `face`.

    Raises LongtakeError with the server's reason. A busy server is asked again as it says, with the place in line.
    """
    server = server.rstrip("/")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=60) as http:
        body: dict[str, Any] = {"model": "pocket-avatar", **how}
        while (answer := await http.post("/api/sessions", json=body)).status_code == 503:
            error = answer.json()["error"]
            if isinstance(error, dict):  # the device is busy; a server that starts or has too many clients has no line
                body["ticket"] = error["ticket"]
            await asyncio.sleep(int(answer.headers["Retry-After"]))
        session = _answered(answer)
        http.headers["X-Longtake-Key"] = session["key"]
        try:
            async with avatar_sound(server, session["id"], session["key"]) as sound:
                yield AvatarSession(server, session, http, sound)
        finally:
            await http.delete(f"/api/sessions/{session['id']}")


def _answered(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise LongtakeError(f"{answer.request.url.path} was answered with {answer.status_code}: {answer.text[:400]}")
    told: dict[str, Any] = answer.json()
    return told
