"""Check a server's token, and the logins of browsers that have sent it.

A browser stores a random number instead of the token; it becomes invalid at a logout or a restart of the server.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

COOKIE = "longtake_login"
LOGIN_SECONDS = 7 * 24 * 3600
MOST_LOGINS = 1000  # logins at a time; a further one ends the oldest
CLOCK_WAS_SET = 5.0  # seconds by which the clock of the machine was moved; one that runs 0.05 % too fast takes hours
WRONG_TOKENS = RateLimitItemPerMinute(20)  # from one address; beyond that no token from it is compared


class TooManyError(HTTPException):
    """Report an address or a key with too many requests (429)."""

    def __init__(self, reason: str, retry_after: int) -> None:
        """Create the error with a line for a person; `retry_after` is in seconds."""
        super().__init__(429, reason, {"Retry-After": str(retry_after)})


class Rates:
    """Count requests in moving windows of time.

    The library counts by the machine's clock. Where that is set, as on a device that learns the time after its start,
    counting begins anew: after an hour back nobody could send anything for an hour.
    """

    def __init__(self) -> None:
        self._begin()

    def count(self, limit: RateLimitItem, sender: str, reason: str) -> None:
        """Count one request; raise TooManyError if that exceeds the limit."""
        self._begin_anew_if_clock_was_set()
        if not self._limiter.hit(limit, sender):
            raise self._refusal(limit, sender, reason)

    def require(self, limit: RateLimitItem, sender: str, reason: str) -> None:
        """Raise TooManyError if one more request would exceed the limit."""
        self._begin_anew_if_clock_was_set()
        if not self._limiter.test(limit, sender):
            raise self._refusal(limit, sender, reason)

    def _begin(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._clock_is_ahead = time.time() - time.monotonic()

    def _begin_anew_if_clock_was_set(self) -> None:
        if abs(time.time() - time.monotonic() - self._clock_is_ahead) > CLOCK_WAS_SET:
            self._begin()

    def _refusal(self, limit: RateLimitItem, sender: str, reason: str) -> TooManyError:
        wait = self._limiter.get_window_stats(limit, sender).reset_time - time.time()
        return TooManyError(reason, max(1, math.ceil(wait)))


class Credentials:
    """Check tokens and logins."""

    def __init__(
        self,
        token: str | None,
        clock: Callable[[], float] = time.monotonic,
        video_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Require `token`, or no token if it is None; `clock` returns seconds.

        `video_keys` (owner → key) permit nothing but `/v1/videos`.
        """
        self._video_keys = {owner: _spellings(key) for owner, key in (video_keys or {}).items()}
        self.needed = token is not None
        self._tokens = _spellings(token) if token is not None else []
        self._clock = clock
        self._rates = Rates()
        self._logins: dict[str, float] = {}  # random number → when it ends, the oldest first

    def accept_token(self, offered: bytes, address: str) -> bool:
        """Return whether the token is right, in a time that does not depend on where it differs.

        Raises TooManyError, without comparing, after too many wrong tokens from the address.
        """
        sender = network_of(address)
        self._rates.require(WRONG_TOKENS, sender, "too many wrong tokens; wait a minute")
        if any(hmac.compare_digest(offered, token) for token in self._tokens):
            return True
        self._rates.count(WRONG_TOKENS, sender, "too many wrong tokens; wait a minute")
        log.warning("a wrong token from %s", address)  # no more than are looked at; what was sent may be a password
        return False

    def accept(self, headers: Headers, address: str) -> bool:
        """Return whether a request carries a login or the right bearer token; raise TooManyError as `accept_token`."""
        if not self.needed or self.holds_login(headers):
            return True
        bearer = _bearer(headers)
        return bearer is not None and self.accept_token(bearer, address)

    def owner(self, headers: Headers) -> str | None:
        """Return whose key for videos a request carries; None if it carries none."""
        bearer, found = _bearer(headers) or b"", None
        for owner, spellings in self._video_keys.items():  # all are compared, whichever is right
            if any(hmac.compare_digest(bearer, spelling) for spelling in spellings):
                found = owner
        return found

    def log_in(self) -> str:
        """Create a login and return its random number, which a browser stores as a cookie."""
        now = self._clock()
        kept = [(number, ends) for number, ends in self._logins.items() if ends > now][-(MOST_LOGINS - 1) :]
        number = secrets.token_urlsafe(32)
        self._logins = {**dict(kept), number: now + LOGIN_SECONDS}
        return number

    def logged_in(self, number: str) -> bool:
        """Return whether a login with this number exists and has not expired."""
        return self._logins.get(number, -math.inf) > self._clock()

    def holds_login(self, headers: Headers) -> bool:
        """Return whether a request carries a login that has not expired."""
        return bool(self.logins(headers))

    def logins(self, headers: Headers) -> list[str]:
        """Return the logins that a request carries and that have not expired."""
        return [number for number in _cookies(headers) if self.logged_in(number)]

    def log_out(self, headers: Headers) -> None:
        """End the logins that a request carries."""
        for number in _cookies(headers):
            self._logins.pop(number, None)


def _bearer(headers: Headers) -> bytes | None:
    for name, value in headers.raw:
        scheme, _, bearer = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"bearer" and bearer.strip():
            return bearer.strip()
    return None


def network_of(address: str) -> str:
    """Return the network by which senders are distinguished: an IPv4 address, or an IPv6 address's /64 network.

    A single machine commonly has a whole /64 of IPv6 addresses (RFC 6177).
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


def _spellings(token: str) -> list[bytes]:
    """Return the encodings of a token that clients send: UTF-8, and ISO 8859-1 if it can encode the token."""
    spellings = [token.encode("utf-8", "surrogateescape")]
    with contextlib.suppress(UnicodeEncodeError):
        spellings.append(token.encode("latin-1"))
    return spellings


def _cookies(headers: Headers) -> Iterable[str]:
    """Yield the values of this server's cookie from headers that may hold other cookies (RFC 6265, 5.4)."""
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                yield value
