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
from aioice import Candidate
from aiortc import RTCConfiguration, RTCDtlsTransport, RTCIceTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from streaming.live.session import Session
from streaming.transport.candidates import Candidates
from streaming.transport.ice_restart import RestartableIce, fragment_of
from streaming.transport.offer import Offer, OfferError, Section, Use
from streaming.transport.tolerant_transport import tolerate_damage

log = logging.getLogger(__name__)

CONNECTED_WITHIN = 15.0  # seconds after an answer; a peer that is not connected by then never will be
CLOSED_WITHIN = 3.0  # seconds that a connection has to end by itself
MOST_RESTARTS = 20  # of ICE: each lets the peer name other addresses for the server to ask
_LIBRARIES = tuple(str(Path(inspect.getfile(module)).parent) for module in (aiortc, aioice))


class RestartError(OfferError):
    """Refuse to restart ICE (RFC 9725, section 4.3.3)."""


class WebRtcConnection:
    """Connect one peer to a session; the peer leaves by itself when its connection is gone."""

    def __init__(self, session: Session, ice: RTCConfiguration | None = None, near: str | None = None) -> None:
        """Prepare a connection to `session`; `ice` names the STUN and TURN server that it uses (None: neither).

        `near` is the address that the peer's offer came from, see `Candidates`.
        """
        self.session, self.near = session, near
        self.connection = RTCPeerConnection(ice or RTCConfiguration(iceServers=[]))
        self.gone = asyncio.Event()
        self.etag = _etag()  # of the ICE session
        self._offer: Offer | None = None
        self._ice: RestartableIce | None = None  # of the one transport; None where sections have one each
        self._ice_names: set[str] = set()  # ice-ufrag of the peer's ICE session
        self._restarts = 0
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
        try:
            async with asyncio.timeout(CLOSED_WITHIN):
                await self.connection.close()
        except TimeoutError:
            await self._force_close()
        self._collect_errors()

    async def _force_close(self) -> None:
        """End what is left of a connection one part of which does not end.

        aiortc waits for ever for a task of its own that an error has ended, such as that of an absurd receiver report.
        """
        log.info("a connection did not end by itself; its parts are ended one by one")
        sections = self.connection.getTransceivers()
        stops = [part.stop() for section in sections for part in (section.sender, section.receiver)]
        _, waiting = await asyncio.wait([asyncio.ensure_future(stop) for stop in stops], timeout=CLOSED_WITHIN)
        for task in waiting:
            task.cancel()
        for secured in self._secured():
            await secured.stop()
            await secured.transport.stop()

    def left(self) -> None:
        """Do what follows from the end of the connection; called once, before it is closed."""

    def restarts(self, fragment: str) -> bool:
        """Return whether an SDP fragment belongs to another ICE session than the connection's."""
        return bool(self._ice_names) and any(name not in self._ice_names for name in _values(fragment, "ice-ufrag"))

    async def restart(self, fragment: str, near: str | None = None) -> str:
        """Begin the ICE session of an SDP fragment, and return the fragment that answers it; then connect.

        Media go on over the former ICE session until the new one is connected, or if it never is. `near` is the address
        that the fragment came from, see `Candidates`. RestartError if sections have transports of their own, the
        connection is not connected or has restarted MOST_RESTARTS times, OfferError for a bad fragment.
        """
        offer, ice = self._offer, self._ice
        if offer is None or ice is None or self.connection.connectionState != "connected":
            raise RestartError("ICE is restarted only while connected, with one transport for all sections (BUNDLE)")
        if self._restarts == MOST_RESTARTS:
            raise RestartError(f"ICE was restarted {MOST_RESTARTS} times; close this connection and offer a new one")
        names, passwords = set(_values(fragment, "ice-ufrag")), set(_values(fragment, "ice-pwd"))
        if len(names) != 1 or len(passwords) != 1:
            raise OfferError("an ICE restart has one ice-ufrag and one ice-pwd")
        try:
            made = await ice.restart(*names, *passwords)
        except ValueError as e:
            raise OfferError(str(e)) from None
        self._restarts += 1
        self.etag, self._ice_names, offer.candidates = _etag(), names, Candidates(near)
        await self.trickle(fragment)
        self._spawn(self._take_over(ice, made))
        place = offer.carrier() or offer.sections[0]
        section = [f"m={place.kind} 9 {place.protocol} {place.formats[0]}", *([f"a=mid:{place.mid}"] * bool(place.mid))]
        group = [f"a=group:BUNDLE {' '.join(offer.bundle)}"] if offer.bundle else []
        return fragment_of(made, [*group, *section])

    async def trickle(self, fragment: str) -> None:
        """Add the candidates of an SDP fragment (RFC 8840) of the present ICE session.

        OfferError if the fragment is not valid. Candidates that cannot be used are left out, as those of an offer are.
        """
        offer = self._offer
        if offer is None or self.gone.is_set():
            raise OfferError("this connection has no answer yet, or has ended")
        place = offer.carrier() or offer.sections[0]
        for line in (text.strip() for text in fragment.splitlines()):
            attribute, _, value = line.partition(":")
            if attribute == "a=mid":
                found = offer.section(value)
                if found is None:
                    raise OfferError(f"no media section has the mid {value[:60]!r}")
                place = found
            elif attribute == "a=candidate":
                for usable in offer.candidates.usable([value]):
                    await self._add(usable, place)
            elif attribute == "a=end-of-candidates" and not offer.candidates.ignored:
                await self.connection.addIceCandidate(None)
            elif line and not re.match(r"[a-z]=", line):
                raise OfferError("this is not an SDP fragment with candidates")

    async def _add(self, candidate: str, place: Section) -> None:
        """Add a candidate to the transport of a section, or to that of all sections."""
        if self._ice is not None:
            await self._ice.add_remote_candidate(Candidate.from_sdp(candidate))
            return
        described = candidate_from_sdp(candidate)
        described.sdpMid = place.name
        await self.connection.addIceCandidate(described)

    async def _take_over(self, ice: RestartableIce, made: aioice.Connection) -> None:
        """Go on over a restarted ICE session once it is connected."""
        if await ice.take_over(made, CONNECTED_WITHIN):
            log.info("ICE was restarted")

    async def _answer(self, offer: Offer, uses: Mapping[int, Use]) -> str:
        """Return the answer to an offer of which these sections are used, by their numbers; then connect.

        The transceivers of the sections are there already, in their order.
        """
        self._offer = offer
        self.connection.on("connectionstatechange", self._state_changed)
        uses = dict(uses)
        for transceiver in self.connection.getTransceivers():
            RestartableIce.of(transceiver.receiver.transport.transport)
        try:
            told = RTCSessionDescription(offer.for_aiortc(uses), "offer")
            await self.connection.setRemoteDescription(told)
            await self.connection.setLocalDescription(await self.connection.createAnswer())
            for transport in self._secured():
                tolerate_damage(transport)
            self._collect_errors()
        except BaseException as e:  # aiortc raises all kinds; a request that is cancelled must leave no viewer behind
            await self.close()
            if not isinstance(e, Exception):
                raise
            log.info("an offer was refused: %r", e)
            raise OfferError("this SDP offer cannot be answered") from e
        if self.gone.is_set():
            raise OfferError("the session has ended")
        self._ice_names = {use.section.value("ice-ufrag") for use in uses.values()}
        transports = self._transports()
        self._ice = RestartableIce.of(*transports) if len(transports) == 1 else None
        self._spawn(self._leave_unless_connected())
        return offer.answer(self.connection.localDescription.sdp, uses)

    def _transports(self) -> set[RTCIceTransport]:
        """Return the transports of all sections; those of a bundle share one."""
        return {secured.transport for secured in self._secured()}

    def _secured(self) -> set[RTCDtlsTransport]:
        """Return what encrypts the transports of all sections."""
        found = {t.receiver.transport for t in self.connection.getTransceivers()}
        channel = self.connection.sctp
        return found if channel is None else {*found, channel.transport}

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


def _values(fragment: str, attribute: str) -> list[str]:
    return re.findall(rf"^a={attribute}:(\S+)", fragment, re.MULTILINE)


def _etag() -> str:
    """Return a new entity tag of an ICE session (RFC 9725, section 4.3.1)."""
    return f'"{secrets.token_hex(8)}"'


def _note_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("a connection that ended lost a part: %r", error)
