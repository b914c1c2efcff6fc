"""Hold the STUN and TURN servers that help peers and this server to reach each other (RFC 8489, RFC 8656).

A TURN server that shares a secret with this one accepts credentials that expire: draft-uberti-behave-turn-rest-00, the
option `use-auth-secret` of coturn.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aioice import Connection, stun, turn
from aiortc import RTCConfiguration, RTCIceServer

from streaming.transport.ice_server import IceServer, IceUrl

log = logging.getLogger(__name__)

# seconds for which a credential is valid: one for a peer outlives its session by no more, as nothing can take it back
LIFETIME = 3600
OWN_LIFETIME = 24 * 3600  # of a credential that the server uses itself, as the draft recommends
CHECK_EVERY = 60.0  # seconds
CHECK_PATIENCE = 3.0  # seconds that a TURN server has to answer a check
USER = "longtake"


@dataclass(frozen=True)
class _Relay:
    """Hold what a connection of this server needs to ask a TURN server for a relayed address."""

    url: IceUrl
    username: str
    credential: str

    async def fault(self) -> str | None:
        """Ask for a relayed address and give it back; return why there is none, or None."""
        try:
            async with asyncio.timeout(CHECK_PATIENCE):
                endpoint, _ = await turn.create_turn_endpoint(
                    asyncio.DatagramProtocol,
                    (self.url.host, self.url.port),
                    self.username,
                    self.credential,
                    ssl=self.url.scheme == "turns" or None,
                    transport=self.url.transport,
                )
        except stun.TransactionFailed as e:
            return f"refuses: {' '.join(map(str, e.response.attributes['ERROR-CODE']))}{self._expired()}"
        except (TimeoutError, stun.TransactionTimeout):
            return "does not answer"
        except (ConnectionError, OSError) as e:
            return f"cannot be reached: {e}"
        endpoint.close()
        return None

    def _expired(self) -> str:
        """Return since when a user name of the draft's form is too old, for a message; an empty text if it is not."""
        found = re.match(r"(\d{9,10})(:|$)", self.username)
        if found is None or int(found[1]) > time.time():
            return ""
        return f"; its credentials expired at {datetime.fromtimestamp(int(found[1]), UTC):%Y-%m-%d %H:%M} UTC"


async def _binding_fault(url: IceUrl) -> str | None:
    """Ask a STUN server for this machine's address as others see it; return why it is not told, or None."""
    connection = Connection(ice_controlling=False, stun_server=(url.host, url.port))
    await connection.gather_candidates()
    told = any(candidate.type == "srflx" for candidate in connection.local_candidates)
    await connection.close()
    return None if told else "does not answer"


class IceServers:
    """Give ICE servers to peers, and one STUN and one TURN server to this server's own connections.

    A server is used for own connections only while it answers, as `watch` finds out: gathering would wait 5 s for it.
    """

    def __init__(
        self, servers: Sequence[IceServer] = (), secret: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Hold servers; `secret` makes the credentials of TURN servers that have none. `clock` gives Unix time in s."""
        self._servers, self._secret, self._clock = list(servers), secret, clock
        self._faults: dict[IceUrl, str | None] = {}  # of the servers that were checked; None: it answers

    def given(self, seconds: float | None = None) -> list[IceServer]:
        """Return the servers for a peer, with credentials that are valid from now for LIFETIME, or `seconds` if less.

        Credentials that the settings hold are given as they are.
        """
        return self._with_credentials(LIFETIME if seconds is None else max(1, min(LIFETIME, math.ceil(seconds))))

    def own(self) -> RTCConfiguration:
        """Return the configuration of a connection of this server; without servers it has host candidates only.

        aiortc uses one STUN and one TURN server: the first of each that it can use.
        """
        binding, relay = self._binding(), self._relay()
        if relay is not None and not self._answers(relay.url):
            relay = None
        if binding is not None and not self._answers(binding):
            binding = None
        servers = [RTCIceServer(f"stun:{binding.host}:{binding.port}")] if binding is not None else []
        if relay is not None:
            servers.append(RTCIceServer(str(relay.url), relay.username, relay.credential))
        return RTCConfiguration(iceServers=servers)

    async def watch(self) -> None:
        """Check the servers of own connections once a minute for ever; return at once if there are none."""
        while self._binding() is not None or self._relay() is not None:
            await self.check()
            await asyncio.sleep(CHECK_EVERY)

    async def check(self) -> None:
        """Find out whether the servers of own connections answer; log it when one begins or ends to fail."""
        if (binding := self._binding()) is not None:
            self._note("STUN", binding, await _binding_fault(binding))
        if (relay := self._relay()) is not None:
            self._note("TURN", relay.url, await relay.fault())

    def _note(self, kind: str, url: IceUrl, fault: str | None) -> None:
        """Remember the result of a check, and log a change."""
        old, self._faults[url] = self._faults.get(url), fault
        if fault is not None and fault != old:
            log.warning("the %s server %s %s; this server connects without it", kind, url, fault)
        elif fault is None and old is not None:
            log.info("the %s server %s answers again", kind, url)

    def _answers(self, url: IceUrl) -> bool:
        return url in self._faults and self._faults[url] is None

    def _with_credentials(self, life: int) -> list[IceServer]:
        return [s.model_copy(update=self._credentials(life)) if s.lacks_credentials else s for s in self._servers]

    def _credentials(self, life: int) -> dict[str, str]:
        """Return a user name, which begins with its end in Unix time, and its signature."""
        username = f"{int(self._clock()) + life}:{USER}"
        digest = hmac.digest((self._secret or "").encode(), username.encode(), hashlib.sha1)
        return {"username": username, "credential": base64.b64encode(digest).decode()}

    def _binding(self) -> IceUrl | None:
        return next((url for _, url in self._usable() if url.scheme == "stun"), None)

    def _relay(self) -> _Relay | None:
        for server, url in self._usable():
            if url.scheme.startswith("turn") and (url.scheme, url.transport) != ("turns", "udp"):
                return _Relay(url, server.username or "", server.credential or "")
        return None

    def _usable(self) -> Iterator[tuple[IceServer, IceUrl]]:
        """Give each URL that aiortc can parse, which takes no IPv6 address, with its server."""
        for server in self._with_credentials(OWN_LIFETIME):
            for address in server.addresses:
                url = IceUrl.read(address)
                if url is not None and not url.host.startswith("["):
                    yield server, url
