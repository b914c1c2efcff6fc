"""Parse and compare the origins of web pages (RFC 6454), and the public address of this server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers

PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"(/(?!\.+(/|$))[\w.~-]+)*")


class Origin(NamedTuple):
    """Hold scheme, host and port of a page, in a form in which equal origins compare as equal."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the origin as a browser writes it, without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if PORTS[self.scheme] == self.port else f":{self.port}")


@dataclass(frozen=True)
class PublicAddress:
    """Hold the address under which browsers reach this server through a proxy."""

    origin: Origin
    path: str  # in front of the server's own paths, such as `/longtake`; empty at the top

    def __str__(self) -> str:
        """Return the address as a URL without a final slash."""
        return f"{self.origin}{self.path}"


def origin_of(text: str) -> Origin | None:
    """Parse an origin such as `https://example.org:8443`; return None for other text, `null` or a URL with a path."""
    address = address_of(text)
    return address.origin if address is not None and not address.path and not text.endswith("/") else None


def address_of(text: str) -> PublicAddress | None:
    """Parse a URL of http or https with a plain path; return None for other text or with user, query or fragment."""
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:  # such as brackets around text that is no IPv6 address
        return None
    path = parts.path.rstrip("/")
    plain = not (parts.username or parts.password or parts.query or parts.fragment) and host.isascii()
    if scheme not in PORTS or not host or not plain or not _PATH.fullmatch(path) or re.search(r"[\s?#@\\]", text):
        return None
    return PublicAddress(Origin(scheme, host, port or PORTS[scheme]), path)


def from_own_page(headers: Headers) -> bool:
    """Return whether the page that sends a request was loaded from this server, or no page sends it.

    The header `Sec-Fetch-Site` (Fetch Metadata) decides if it is present: no page can set it, and it stays correct
    behind a proxy that changes the host name or drops the port. Otherwise the origin is compared with the request's
    host.
    """
    sent = headers.get("origin")
    if sent is None or headers.get("sec-fetch-site") == "same-origin":
        return True
    origin = origin_of(sent)
    return origin is not None and origin == origin_of(f"{origin.scheme}://{headers.get('host', '')}")
