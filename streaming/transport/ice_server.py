"""Describe and check the addresses of STUN and TURN servers (RFC 7064, RFC 7065)."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?(\?transport=(?P<way>udp|tcp))?",
    re.IGNORECASE | re.ASCII,
)
_PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}


class IceUrl(NamedTuple):
    """Hold the parts of an address, in small letters."""

    scheme: str  # stun, stuns, turn or turns
    host: str  # an IPv6 address is in brackets
    port: int
    transport: str  # udp or tcp

    @classmethod
    def read(cls, text: str) -> IceUrl | None:
        """Read an address; return None for other text, or for a STUN server with a transport, which browsers refuse."""
        found = _URL.fullmatch(text)
        if found is None or (found["way"] and found["scheme"].lower().startswith("stun")):
            return None
        scheme = found["scheme"].lower()
        way = found["way"] or ("tcp" if scheme.endswith("s") else "udp")
        return cls(scheme, found["host"].lower(), int(found["port"] or _PORTS[scheme]), way.lower())

    def __str__(self) -> str:
        """Return the address with port and, for TURN, with the transport."""
        return f"{self.scheme}:{self.host}:{self.port}" + (
            f"?transport={self.transport}" if self.scheme.startswith("turn") else ""
        )


class IceServer(BaseModel):
    """Describe STUN or TURN servers as a browser's `RTCPeerConnection` takes them (W3C WebRTC, RTCIceServer)."""

    model_config = ConfigDict(extra="forbid")

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None

    @property
    def addresses(self) -> list[str]:
        """Return the URLs as a list."""
        return [self.urls] if isinstance(self.urls, str) else self.urls

    @property
    def lacks_credentials(self) -> bool:
        """Return whether this is a TURN server without user name and credential."""
        return self.username is None and any(url.lower().startswith("turn") for url in self.addresses)

    @model_validator(mode="after")
    def _usable(self) -> IceServer:
        found = [IceUrl.read(url) for url in self.addresses]
        if not found or None in found:
            raise ValueError("urls are such as stun:HOST, turn:HOST:PORT or turns:HOST?transport=tcp")
        if bool(self.username) != bool(self.credential) or "" in (self.username, self.credential):
            raise ValueError("username and credential belong together")
        return self
