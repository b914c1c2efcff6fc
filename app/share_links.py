"""Issue and check share links: signed permissions to watch one session until a time, for a number of viewers at once.

A link takes the place of a session's id in every address under which the session can be watched. It permits nothing
else, and ends before its time if it is revoked or its session ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from app.errors import ConflictError, NotFoundError

MOST_LINKS = 50  # of one session that are valid at a time
EXPIRED = "this share link has expired; ask for another"
REVOKED = "this share link was revoked"
PATTERN = "[A-Za-z0-9_-]{56}"
_FIELDS = struct.Struct(">16sIIH")  # session, number, expiry in seconds since 1970, viewers
_SIGNATURE = 16  # bytes of an HMAC-SHA-256


class GoneError(HTTPException):
    """Report a link that was valid once (410)."""

    def __init__(self, reason: str) -> None:
        """Create the error with a line for a person."""
        super().__init__(410, reason)


@dataclass(frozen=True)
class ShareLink:
    """Hold what a link permits."""

    session: str
    number: int  # of the link, among all of the server
    expires: int  # seconds since 1970
    viewers: int  # at the same time
    text: str  # stands in addresses instead of the session's id


class ShareLinks:
    """Issue, check and revoke the links of a server."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Sign with a random secret: links, like the sessions they show, end with the server's process.

        `clock` returns seconds since 1970.
        """
        self._secret, self._clock = secrets.token_bytes(32), clock
        self._numbers = itertools.count(1)
        self._issued: dict[str, dict[int, ShareLink]] = {}  # session → number → link that was not revoked

    def issue(self, session: str, seconds: int, viewers: int) -> ShareLink:
        """Return a new link to the session; ConflictError if MOST_LINKS of its links are valid."""
        if len(self.of(session)) >= MOST_LINKS:
            raise ConflictError(f"this session has {MOST_LINKS} share links, the most at a time; revoke one first")
        number, expires = next(self._numbers), int(self._clock()) + seconds
        fields = _FIELDS.pack(bytes.fromhex(session), number, expires, viewers)
        text = base64.urlsafe_b64encode(fields + self._signature(fields)).decode()
        link = ShareLink(session, number, expires, viewers, text)
        self._issued.setdefault(session, {})[number] = link
        return link

    def of(self, session: str) -> list[ShareLink]:
        """Return the valid links of a session, the oldest first; expired ones are forgotten."""
        links = self._issued.get(session, {})
        for link in [one for one in links.values() if one.expires <= self._clock()]:
            del links[link.number]
        return list(links.values())

    def signed(self, text: str) -> ShareLink:
        """Return the link with this text, valid or not; NotFoundError unless this server signed it."""
        try:
            decoded = base64.b64decode(text.encode("ascii", "replace"), b"-_", validate=True)
        except binascii.Error:
            decoded = b""
        fields, signature = decoded[: _FIELDS.size], decoded[_FIELDS.size :]
        if len(fields) < _FIELDS.size or not hmac.compare_digest(signature, self._signature(fields)):
            raise NotFoundError("no such share link, or its session has ended")
        session, number, expires, viewers = _FIELDS.unpack(fields)
        return ShareLink(session.hex(), number, expires, viewers, text)

    def valid(self, text: str) -> ShareLink:
        """Return the link with this text; NotFoundError for a forged one, GoneError for one that is no longer valid."""
        link = self.signed(text)
        if link.expires <= self._clock():
            raise GoneError(EXPIRED)
        if link.number not in self._issued.get(link.session, {}):
            raise GoneError(REVOKED)
        return link

    def revoke(self, session: str, number: int) -> None:
        """Make a link of a session invalid; NotFoundError if the session has no such valid link."""
        if number not in {link.number for link in self.of(session)}:
            raise NotFoundError("this session has no such share link")
        del self._issued[session][number]

    def forget(self, session: str) -> None:
        """Forget the links of a session that has ended."""
        self._issued.pop(session, None)

    def seconds_left(self, link: ShareLink) -> float:
        """Return the seconds until a link expires, at least 0."""
        return max(0.0, link.expires - self._clock())

    def _signature(self, fields: bytes) -> bytes:
        return hmac.digest(self._secret, fields, hashlib.sha256)[:_SIGNATURE]


def is_link(segment: str) -> bool:
    """Return whether a segment of a path has the form of a share link's text, which no session's id has."""
    return re.fullmatch(PATTERN, segment) is not None
