"""Hold one WebRTC connection: its answer, candidates that come later, its end, and everything that aiortc starts."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import secrets
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aioice
import aiortc
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from streaming.live.session import Session
from streaming.transport.offer import Offer, OfferError, Use

log = logging.getLogger(__name__)

CONNECTED_WITHIN = 15.0  # seconds after an answer; a peer that is not connected by then never will be
_LIBRARIES = tuple(str(Path(inspect.getfile(module)).parent) for module in (aiortc, aioice))


class RestartError(OfferError):
    """Refuse to restart ICE, which aiortc cannot do (RFC 9725, section 4.3.3)."""


class WebRtcConnection:
    """Connect one peer to a session; the peer leaves by itself when its connection is gone."""

    def __init__(self, session: Session, ice: RTCConfiguration | None = None) -> None:
        """Prepare a connection to `session`; `ice` names the STUN and TURN server that it uses (None: neither)."""
        self.session = session
        self.connection = RTCPeerConnection(ice or RTCConfiguration(iceServers=[]))
        self.gone = asyncio.Event()
        self.etag = f'"{secrets.token_hex(8)}"'  # of the ICE session (RFC 9725, section 4.3.1)
        self._offer: Offer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: WeakSet[asyncio.Task[Any]] = WeakSet()  # tasks of aiortc whose errors are collected

    async def close(self) -> None:
        """Leave the session; safe to call again."""
        if self.gone.is_set():
            return
        self.gone.set()
        self.left()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        await self.connection.close()
        self._collect_errors()

    def left(self) -> None:
        """Do what follows from the end of the connection; called once, before it is closed."""

    async def trickle(self, fragment: str) -> None:
        """Add the candidates of an SDP fragment (RFC 8840); RestartError if it begins another ICE session.

        OfferError if the fragment is not valid. Candidates that cannot be used are left out, as those of an offer are.
        """
        offer = self._offer
        if offer is None or self.gone.is_set():
            raise OfferError("this connection has no answer yet, or has ended")
        place = offer.carrier() or offer.sections[0]
        own = {section.value("ice-ufrag") for section in offer.sections}
        for line in (text.strip() for text in fragment.splitlines()):
            attribute, _, value = line.partition(":")
            if attribute == "a=ice-ufrag" and value not in own:
                raise RestartError("this server does not restart ICE; close this connection and offer a new one")
            if attribute == "a=mid":
                found = offer.section(value)
                if found is None:
                    raise OfferError(f"no media section has the mid {value[:60]!r}")
                place = found
            elif attribute == "a=candidate":
                for usable in offer.candidates.usable([value]):
                    candidate = candidate_from_sdp(usable)
                    candidate.sdpMid = place.name
                    await self.connection.addIceCandidate(candidate)
            elif attribute == "a=end-of-candidates" and not offer.candidates.ignored:
                await self.connection.addIceCandidate(None)
            elif line and not re.match(r"[a-z]=", line):
                raise OfferError("this is not an SDP fragment with candidates")

    async def _answer(self, offer: Offer, uses: Mapping[int, Use]) -> str:
        """Return the answer to an offer of which these sections are used, by their numbers; then connect.

        The transceivers of the sections are there already, in their order.
        """
        self._offer = offer
        self.connection.on("connectionstatechange", self._state_changed)
        uses = dict(uses)
        try:
            told = RTCSessionDescription(offer.for_aiortc(uses), "offer")
            await self.connection.setRemoteDescription(told)
            await self.connection.setLocalDescription(await self.connection.createAnswer())
            self._collect_errors()
        except BaseException as e:  # aiortc raises all kinds; a request that is cancelled must leave no viewer behind
            await self.close()
            if not isinstance(e, Exception):
                raise
            log.info("an offer was refused: %r", e)
            raise OfferError("this SDP offer cannot be answered") from e
        if self.gone.is_set():
            raise OfferError("the session has ended")
        self._spawn(self._leave_unless_connected())
        return offer.answer(self.connection.localDescription.sdp, uses)

    async def _state_changed(self) -> None:
        self._collect_errors()
        if self.connection.connectionState in ("failed", "closed"):
            await self.close()

    async def _leave_unless_connected(self) -> None:
        """Leave if no connection comes about: ICE would wait for ever, and the viewer would keep the session alive."""
        await asyncio.sleep(CONNECTED_WITHIN)
        if self.connection.connectionState != "connected":
            await self.close()

    def _collect_errors(self) -> None:
        """Take the errors of the tasks that aiortc starts and nobody awaits, such as one that a leaving peer ends.

        Without this each is reported as an exception that was never retrieved, with a traceback.
        """
        for task in asyncio.all_tasks():
            code = getattr(task.get_coro(), "cr_code", None)
            if code is not None and code.co_filename.startswith(_LIBRARIES) and task not in self._watched:
                self._watched.add(task)
                task.add_done_callback(_note_error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the connection of a viewer lost a part: %r", error)


def _note_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("a connection that ended lost a part: %r", error)
