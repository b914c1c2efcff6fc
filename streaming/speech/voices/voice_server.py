"""Speak with a server that answers a text with raw sound, as OpenAI's `/v1/audio/speech` and its likes do."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

import httpx

from streaming.speech.fullband import PcmReader, Samples
from streaming.speech.voices.text_voice import USUAL_SPEED, VoiceError, VoiceWish

PATIENCE = 30.0  # seconds in which the answer, or more of it, has to come
CONNECT = 5.0  # seconds in which the server has to be reached
TYPES = ("audio/pcm", "application/octet-stream")  # of raw sound


class ServerVoice:
    """Speak with a server (TextVoice)."""

    kind: ClassVar[str] = "server"

    def __init__(
        self,
        url: str,
        rate: int | None,
        body: Mapping[str, Any],
        token: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Ask `url` by POST with the fields of `body` and the text as `input`; `token` is sent as a bearer token.

        The sound is PCM of 16 bits, little-endian, mono, of `rate` a second unless the answer's type names another.
        """
        self._url, self._rate, self._body = url, rate, {"response_format": "pcm", **body}
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = httpx.Timeout(patience, connect=CONNECT)
        self._host = httpx.URL(url).host

    @property
    def ready(self) -> bool:
        """Return True: whether the server answers is known when it is asked."""
        return True

    async def speak(self, sentence: str, wish: VoiceWish) -> AsyncGenerator[Samples]:
        """Yield the server's sound while it arrives."""
        wish.require_only("voice", "speed", by="another server")
        body = {**self._body, "input": sentence}
        if wish.voice is not None:
            body["voice"] = wish.voice
        if wish.speed is not None:
            body["speed"] = wish.speed / USUAL_SPEED
        try:
            async with (
                httpx.AsyncClient(timeout=self._timeout, headers=self._headers) as client,
                client.stream("POST", self._url, json=body) as answer,
            ):
                await self._require_success(answer)
                reader = PcmReader(self._rate_of(answer.headers.get("content-type", "")))
                async for pcm in answer.aiter_bytes():
                    if reader.samples == 0 and pcm.startswith(b"RIFF"):
                        raise VoiceError(f"the voice at {self._host} sends a WAV file; have it send raw samples")
                    yield reader.add(pcm)
                yield reader.rest()
        except httpx.HTTPError as e:
            raise VoiceError(f"the voice at {self._host} did not answer ({type(e).__name__})") from e

    async def _require_success(self, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.OK:
            said = " ".join((await answer.aread()).decode(errors="replace").split())[:200]
            raise VoiceError(
                f"the voice at {self._host} answered with {answer.status_code}{f': {said}' if said else ''}"
            )

    def _rate_of(self, content_type: str) -> int:
        """Return the samples a second of an answer; VoiceError if it is no raw sound or tells no rate."""
        kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
        if kind not in TYPES:
            raise VoiceError(f"the voice at {self._host} sends {json.dumps(kind[:60])}, not raw sound ({TYPES[0]})")
        named = dict(p.partition("=")[::2] for p in parameters).get("rate", "")
        if not named.isdecimal() and self._rate is None:
            raise VoiceError(f"the voice at {self._host} tells no rate; start this server with --voice-rate")
        return int(named) if named.isdecimal() else self._rate or 0
