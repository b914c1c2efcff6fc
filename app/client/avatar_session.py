"""Drive an avatar of a Longtake server from an agent: stream its voice, follow what is heard, interrupt it.

The module needs httpx and websockets, and nothing of Longtake that loads a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from app.client.sound_line import Event, Heard, LongtakeError, Queue, Rate, SentUtterance, SoundLine, sound_line

__all__ = [
    "AvatarSession",
    "Event",
    "Heard",
    "LongtakeError",
    "Queue",
    "Rate",
    "Spoken",
    "avatar_session",
    "avatar_sound",
]
USUAL_WAIT = 2  # seconds before a server is asked again whose proxy does not say when
LOOK_EVERY = 0.25  # seconds between two looks at whether somebody watches


@dataclass(frozen=True)
class Spoken:
    """Hold the name of an utterance, and what was heard of it if it ended before all of it was sent, else None."""

    utterance: str
    heard: Heard | None = None


class AvatarSession:
    """Speak through one avatar. `events` may be read by one task; all methods belong to one event loop.

    They raise LongtakeError for what the server refuses and if the connection is lost.
    """

    def __init__(self, server: str, session: str, key: str, http: httpx.AsyncClient, line: SoundLine) -> None:
        """Use a session that was started; `avatar_session` starts one, `avatar_sound` joins one."""
        self.id, self.key = session, key
        self.page = f"{server}/watch/{session}"  # where a viewer sees and hears the avatar
        self._http, self._line = http, line
        self._turn = asyncio.Lock()  # of the utterance that is being sent
        self._sending: SentUtterance | None = None
        self._overtaken = 0  # how often what waited for its turn was dropped
        self._why = ""  # that happened last
        line.interrupted = lambda: self._overtake("interrupted")

    # -- a voice ---------------------------------------------------------------------------------------------------

    async def speak(
        self,
        pcm: AsyncIterable[bytes | str],
        *,
        rate: Rate = 24000,
        utterance: str | None = None,
        text: str | None = None,
        queue: Queue = "append",
    ) -> Spoken:
        """Stream raw sound (PCM of 16 bits, little-endian, mono) as it is made, and return once all of it has arrived.

        `text` comes back as the caption when it is heard; a `str` among the pieces tells what those behind it say.
        One utterance is sent at a time; another call waits for it, unless it is to `replace` what is spoken or waits.
        An utterance that ends while it is sent, as by an interruption, is not sent further: what was heard of it is in
        the answer. If `pcm` raises, or this call is cancelled, the utterance is cancelled.

        Raises LongtakeError if the server refuses the name, the rate, a text or further samples.
        """
        name = utterance or self._line.new_name()
        if queue == "replace":
            self._overtake("replaced")
            if self._sending is not None:
                self._sending.stop()
        called = self._overtaken
        try:
            async with self._turn:
                if called != self._overtaken:
                    return Spoken(name, Heard(name, 0, 0.0, "", self._why))
                sent = self._sending = await self._line.start(name, rate, queue)
                try:
                    await self._send(sent, pcm, text)
                finally:
                    self._sending = None
        finally:
            if isinstance(pcm, AsyncGenerator):
                await pcm.aclose()
        await self._line.until(lambda: sent.settled)
        if sent.heard is None and sent.refused is not None:
            raise LongtakeError(f"the avatar refused {name}: {sent.refused}")
        return Spoken(name, sent.heard)

    async def _send(self, sent: SentUtterance, pcm: AsyncIterable[bytes | str], text: str | None) -> None:
        """Send an utterance until its end, or until `sent.stop` is called; end one that was not sent whole."""
        enough = asyncio.timeout(None)

        def stop() -> None:
            sent.stop = _nothing
            enough.reschedule(asyncio.get_running_loop().time())

        try:
            async with enough:
                sent.stop = stop
                try:
                    if not sent.settled:
                        await self._send_all(pcm, text)
                finally:
                    sent.stop = _nothing
        except BaseException as e:
            await self._line.drop(sent)
            if not (isinstance(e, TimeoutError) and enough.expired()):
                raise

    async def _send_all(self, pcm: AsyncIterable[bytes | str], text: str | None) -> None:
        if text is not None:
            await self._line.text(text)
        async for piece in pcm:
            await (self._line.text(piece) if isinstance(piece, str) else self._line.write(piece))
        await self._line.commit()

    async def start(self, *, utterance: str | None = None, rate: Rate = 24000, queue: Queue = "append") -> str:
        """Begin an utterance and return its name: for a voice that comes piece by piece from elsewhere.

        Then call `text` and `write`, and `commit` at the end; what the server refuses of it, `refused` in `events`
        tells. Nothing else may `speak` meanwhile.
        """
        return (await self._line.start(utterance or self._line.new_name(), rate, queue)).name

    async def text(self, text: str) -> None:
        """Tell what the samples that are written next say; it comes back as a caption when they are heard."""
        await self._line.text(text)

    async def write(self, pcm: bytes) -> None:
        """Send samples of the utterance that was started, split anywhere."""
        await self._line.write(pcm)

    async def commit(self) -> None:
        """End the utterance that was started: all of it was written."""
        await self._line.commit()

    async def say(self, text: str, **how: Any) -> str:
        """Speak a text with the server's voice, and return the utterance's name; `how` as in the HTTP API's `/say`."""
        return str((await self._asked("POST", "/say", {"text": text, **how}))["utterance"])

    # -- what is heard ---------------------------------------------------------------------------------------------

    async def heard(self, utterance: str) -> Heard:
        """Wait until nothing more of an utterance is heard, and return how much was, and why it ended."""
        return await self._line.heard(utterance)

    async def watched(self) -> None:
        """Wait until somebody watches; what is said before that, nobody hears."""
        while not (await self.status())["viewers"]:
            await asyncio.sleep(LOOK_EVERY)

    async def status(self) -> Event:
        """Return the session's newest `status` event."""
        return await self._asked("GET", "")

    def events(self) -> AsyncIterator[Event]:
        """Yield the server's events, from the first one on, until the session has ended.

        The oldest are dropped where 1000 wait to be read.
        """
        return self._line.events()

    # -- silence ---------------------------------------------------------------------------------------------------

    async def interrupt(self) -> list[Heard]:
        """Silence the avatar at once, and return what was heard of each utterance that this ended.

        A `speak` that is sending ends, and those that wait for it are not begun.
        """
        self._overtake("interrupted")
        await self._line.answered()
        told = await self._asked("POST", "/interrupt")
        self._line.epoch = max(self._line.epoch, told["epoch"])
        heard = [Heard.of(part) for part in told["heard"]]
        for part in heard:
            self._line.end(part)
        return heard

    async def cancel(self, utterance: str) -> Heard:
        """Drop an utterance, or silence it if it is heard already; the others are spoken. Returns what was heard."""
        await self._line.answered()
        await self._asked("DELETE", f"/utterances/{utterance}")
        return await self._line.heard(utterance)

    async def clear(self) -> list[str]:
        """Drop the utterances of which nothing is heard yet, and return their names; what is heard goes on."""
        await self._line.answered()
        return [str(name) for name in (await self._asked("DELETE", "/utterances"))["cleared"]]

    def _overtake(self, why: str) -> None:
        """Begin none of the utterances that wait for their turn."""
        self._overtaken, self._why = self._overtaken + 1, why

    async def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _told(await _answer(self._http, method, f"/api/sessions/{self.id}{path}", body))


def _nothing() -> None:
    """Do nothing."""


@asynccontextmanager
async def avatar_sound(server: str, session: str, key: str) -> AsyncIterator[AvatarSession]:
    """Join a session that was started, which goes on afterwards; LongtakeError if it has ended or has another key."""
    server = server.rstrip("/")
    async with (
        httpx.AsyncClient(base_url=server, headers={"X-Longtake-Key": key}, timeout=60) as http,
        sound_line(server, session, key) as line,
    ):
        yield AvatarSession(server, session, key, http, line)


@asynccontextmanager
async def avatar_session(
    server: str,
    *,
    token: str | None = None,
    timeout: float | None = None,
    on_wait: Callable[[str], None] | None = None,
    **how: Any,
) -> AsyncIterator[AvatarSession]:
    """Start a session of an avatar, and end it afterwards, whatever it is saying; LongtakeError if that is refused.

    `how` is what `POST /api/sessions` takes, such as `face`. A server that is starting or busy is asked again as it
    says, with the place in line, for up to `timeout` seconds (None: for ever); `on_wait` gets a line each time.
    """
    server = server.rstrip("/")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    patience = httpx.Timeout(60, read=timeout)  # a model that is loaded for the session takes its time
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=patience) as http:
        waits = ["it has not answered"]
        try:
            async with asyncio.timeout(timeout):
                session = await _started(http, {"model": "pocket-avatar", **how}, waits, on_wait)
        except TimeoutError:
            raise LongtakeError(f"no session was started within {timeout:g} s: {waits[-1]}") from None
        http.headers["X-Longtake-Key"] = session["key"]
        http.timeout = httpx.Timeout(60)
        try:
            async with sound_line(server, session["id"], session["key"]) as line:
                yield AvatarSession(server, session["id"], session["key"], http, line)
        finally:
            with suppress(httpx.HTTPError):  # a server that is gone has ended it
                await http.delete(f"/api/sessions/{session['id']}")


async def _started(
    http: httpx.AsyncClient, body: dict[str, Any], waits: list[str], on_wait: Callable[[str], None] | None
) -> dict[str, Any]:
    """Ask for a session until the server starts one; `waits` gets the reason each time that it does not yet."""
    while True:
        answer = await _answer(http, "POST", "/api/sessions", body)
        if answer.status_code not in (429, 503):
            return _told(answer)
        error = _error(answer)
        if isinstance(error, dict):  # the device is busy; there is a line to stand in
            body["ticket"] = error["ticket"]
            error = error["message"]
        waits[:] = [error]
        if on_wait is not None:
            on_wait(error)
        wait = answer.headers.get("Retry-After", "")
        await asyncio.sleep(int(wait) if wait.isascii() and wait.isdigit() else USUAL_WAIT)


async def _answer(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
    try:
        return await http.request(method, path, json=body)
    except httpx.HTTPError as e:
        raise LongtakeError(f"the server cannot be reached: {e or type(e).__name__}") from e


def _error(answer: httpx.Response) -> Any:
    """Return the error of an answer; a line about one that a proxy gave, which has words of its own."""
    try:
        return answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}".strip()


def _told(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        with suppress(ValueError):
            told: dict[str, Any] = answer.json()
            return told
    said = " ".join(answer.text.split())[:400]  # that of a proxy may be a page
    raise LongtakeError(f"{answer.request.url.path} was answered with {answer.status_code}: {said}")
