"""Restart ICE under a DTLS connection that goes on, which aiortc cannot (RFC 8445, section 9; RFC 9725, section 4.3.3).

A restart makes a new ICE connection with sockets, user name and password of its own. The former one carries the data
until the new one is connected, so that a restart that fails costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence

from aioice import Candidate, Connection
from aioice.ice import StunProtocol
from aiortc import RTCIceTransport

log = logging.getLogger(__name__)

GATHERING_SECONDS = 1  # aioice waits 5 s, such as for an answer of STUN to an address without a way to the server
_NAME, _PASSWORD = re.compile(r"[A-Za-z0-9+/]{4,256}"), re.compile(r"[A-Za-z0-9+/]{22,256}")


class _PromptConnection(Connection):
    """Gather candidates for GATHERING_SECONDS at most."""

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = GATHERING_SECONDS
    ) -> list[Candidate]:
        """Return the candidates that are found in time; the default of `timeout` is all that differs from aioice."""
        return await super().get_component_candidates(component, addresses, timeout)


class RestartableIce(_PromptConnection):
    """Carry the data of one transport; it is the first connection, and hands over to one of each restart."""

    def __init__(self, replaced: Connection) -> None:
        """Take the settings of a connection that has not been used yet."""
        super().__init__(
            ice_controlling=replaced.ice_controlling,
            stun_server=replaced.stun_server,
            turn_server=replaced.turn_server,
            turn_username=replaced.turn_username,
            turn_password=replaced.turn_password,
            turn_ssl=replaced.turn_ssl,
            turn_transport=replaced.turn_transport,
            local_username=replaced.local_username,
            local_password=replaced.local_password,
        )
        self._current: Connection = self  # which carries the data
        self._newest: Connection = self  # which may still connect
        self._retired = False  # whether this first connection has handed over

    @classmethod
    def of(cls, transport: RTCIceTransport) -> RestartableIce:
        """Return the connection of a transport of aiortc, after giving it one that can be restarted."""
        found = transport._connection
        if isinstance(found, cls):
            return found
        made = cls(found)
        transport.iceGatherer._connection = transport._connection = made
        transport._recv, transport._send = made.recv, made.send
        return made

    async def restart(self, username: str, password: str) -> Connection:
        """Return a new connection, to be told the peer's candidates, with own ones; ValueError for bad credentials.

        It takes over once `take_over` finds it connected. An earlier restart that has not connected is given up.
        """
        if not _NAME.fullmatch(username) or not _PASSWORD.fullmatch(password):
            raise ValueError("ice-ufrag has 4 to 256 and ice-pwd 22 to 256 letters, digits, + and /")
        former, made = self._newest, _Successor(self)
        made.remote_username, made.remote_password = username, password
        self._newest = made
        if former is not self._current:
            await former.close()
        await made.gather_candidates()
        return made

    async def take_over(self, made: Connection, seconds: float) -> bool:
        """Connect what `restart` returned, and let it carry the data; return whether that came about in time."""
        try:
            async with asyncio.timeout(seconds):
                await made.connect()
        except (ConnectionError, TimeoutError) as e:
            log.info("an ICE restart failed: %r", e)
            if self._newest is made:
                self._newest = self._current
            await made.close()
            return False
        former, self._current = self._current, made
        if former is self:
            await self._retire()
        else:
            await former.close()
        return True

    @property
    def current(self) -> Connection:
        """Return the connection that carries the data."""
        return self._current

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """Add a candidate of the peer's newest ICE session; the end of a list is of interest to the first alone."""
        if self._newest is self and not self._remote_candidates_end:
            await super().add_remote_candidate(remote_candidate)
        elif self._newest is not self and remote_candidate is not None:
            await self._newest.add_remote_candidate(remote_candidate)

    async def sendto(self, data: bytes, component: int) -> None:
        """Send over the connection that carries the data."""
        if self._current is self:
            await super().sendto(data, component)
        else:
            await self._current.sendto(data, component)

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """Take the loss of a socket as the end only while this connection has not handed over."""
        if not self._retired:
            super().protocol_lost(protocol)

    async def close(self) -> None:
        """Close all connections."""
        self._retired = False
        for connection in {self._current, self._newest} - {self}:
            await Connection.close(connection)
        await super().close()

    async def _retire(self) -> None:
        """Close the sockets, and stop asking the peer for its consent; aiortc must not see this as an end."""
        self._retired = True
        if self._query_consent_task is not None:
            self._query_consent_task.cancel()
            self._query_consent_task = None
        for protocol in self._protocols:
            await protocol.close()
        self._protocols.clear()


class _Successor(_PromptConnection):
    """Take the place of the first connection; what arrives here is received there."""

    def __init__(self, first: RestartableIce) -> None:
        super().__init__(
            ice_controlling=first.ice_controlling,
            stun_server=first.stun_server,
            turn_server=first.turn_server,
            turn_username=first.turn_username,
            turn_password=first.turn_password,
            turn_ssl=first.turn_ssl,
            turn_transport=first.turn_transport,
        )
        self.remote_is_lite = first.remote_is_lite
        self._first = first

    def data_received(self, data: bytes, component: int) -> None:
        """Pass data to the first connection, from which aiortc reads."""
        self._first.data_received(data, component)

    async def close(self) -> None:
        """Close; the peer that no longer consents to the current connection has left."""
        await super().close()
        if self._first.current is self:
            await self._first.close()


def fragment_of(connection: Connection, sections: Sequence[str]) -> str:
    """Return an SDP fragment with the lines of its section, and user name, password and candidates (RFC 8840)."""
    lines = [
        *sections,
        f"a=ice-ufrag:{connection.local_username}",
        f"a=ice-pwd:{connection.local_password}",
        *(f"a=candidate:{candidate.to_sdp()}" for candidate in connection.local_candidates),
        "a=end-of-candidates",
    ]
    return "\r\n".join([*lines, ""])
