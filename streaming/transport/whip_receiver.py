"""Offer a film to a WHIP receiver over HTTP, and tell it of the end (RFC 9725)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import httpx

from models.errors import ErrorKind, UserError
from streaming.transport.candidates import is_out_of_reach
from streaming.transport.offer import SDP_LIMIT

CONNECT_SECONDS = 5.0  # in which the receiver has to be reached
ANSWER_SECONDS = 15.0  # in which its whole answer has to come
END_SECONDS = 3.0  # in which the end has to be told
MOST_REDIRECTS = 3
LONGEST_WAIT = 300.0  # seconds of a Retry-After that is obeyed
# the same offer would be refused again: wrong token, wrong address, no codec in common
_FINAL = {400, 401, 403, 405, 406, 410, 413, 415, 422}
# what httpx raises for a receiver that is not there, or whose answer is no HTTP; UnicodeError is that of IDNA
_FAULTS = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)


class ReceiverError(UserError):
    """Report in one line that a receiver cannot take the film now; `wait` is how many seconds it asked to wait."""

    kind = ErrorKind.BAD_GATEWAY

    def __init__(self, why: str, wait: float = 0.0) -> None:
        """Create the error with a line for a person."""
        super().__init__(why)
        self.wait = wait


class ReceiverRefusalError(ReceiverError):
    """Report in one line that a receiver will not take the film, however often it is asked."""


@dataclass(frozen=True)
class Accepted:
    """Hold a receiver's answer to an offer."""

    sdp: str
    resource: httpx.URL  # takes DELETE
    near: str  # address that the answer came from


class WhipReceiver:
    """Speak HTTP with one receiver. Redirects and the resource stay where the receiver itself may lead.

    A receiver on the internet cannot name an address of a private network, as `Candidates` has it of peers, and one
    that is reached by HTTPS cannot name one without it. The token goes to where the receiver leads (RFC 9725, 4.7).
    """

    def __init__(self, url: str, token: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Speak with the endpoint `url`; `token` is sent as a bearer token. `transport` is httpx's own by default."""
        self._url = httpx.URL(url)
        self._transport = transport
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.host = self._url.netloc.decode()  # for messages: the path may hold a secret

    async def offer(self, sdp: str) -> Accepted:
        """Return the answer to an offer; ReceiverError where there is none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._client() as client:
                return await self._offered(client, sdp)
        except TimeoutError:
            raise ReceiverError(f"{self.host} does not answer") from None
        except _FAULTS as e:
            raise ReceiverError(f"{self.host} cannot be reached ({type(e).__name__})") from None

    async def end(self, resource: httpx.URL) -> str:
        """Tell the receiver that the film has ended; return what went wrong, or nothing. It is not asked twice."""
        try:
            async with asyncio.timeout(END_SECONDS), self._client() as client:
                status = (await client.delete(resource, headers=self._headers)).status_code
        except (TimeoutError, *_FAULTS) as e:
            return f"{self.host} was not told of the end ({type(e).__name__})"
        return "" if status < 300 or status == httpx.codes.NOT_FOUND else f"{self.host} answered DELETE with {status}"

    def _client(self) -> httpx.AsyncClient:
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return httpx.AsyncClient(timeout=timeout, trust_env=False, transport=self._transport)

    async def _offered(self, client: httpx.AsyncClient, sdp: str) -> Accepted:
        url, headers = self._url, {**self._headers, "Content-Type": "application/sdp", "Accept": "application/sdp"}
        for _ in range(1 + MOST_REDIRECTS):
            async with client.stream("POST", url, content=sdp, headers=headers) as answer:
                body, near = await _read(answer), _address(answer)
            location = answer.headers.get("location", "")
            if answer.status_code in (307, 308) and location:
                url = await self._led_to(url, location, near)
                continue
            self._require_created(answer)
            if not location:
                raise ReceiverRefusalError(f"{self.host} answered without Location, which says how to end")
            return Accepted(body, await self._led_to(url, location, near), near)
        raise ReceiverRefusalError(f"{self.host} redirects more than {MOST_REDIRECTS} times")

    def _require_created(self, answer: httpx.Response) -> None:
        """Raise ReceiverError unless an answer says that the film is expected.

        None of the receiver's own words are repeated, not even its phrase of the status: servers name the path, which
        may hold a secret ("Cannot POST /whip/stream-key").
        """
        status, kind = answer.status_code, answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if status == httpx.codes.CREATED and kind == "application/sdp":
            return
        if status == httpx.codes.CREATED:
            raise ReceiverRefusalError(f"{self.host} answered 201 with what is not application/sdp")
        why = f"{self.host} answered {status} {httpx.codes.get_reason_phrase(status)}".strip()
        if status in _FINAL or status < 400:
            raise ReceiverRefusalError(why)
        raise ReceiverError(why, _wait(answer))

    async def _led_to(self, base: httpx.URL, location: str, near: str) -> httpx.URL:
        """Return the address that a receiver named; ReceiverRefusalError for one where it may not lead."""
        try:
            url = base.join(location)
            known = url.scheme in ("http", "https") and bool(url.host) and (url.port is None or 0 < url.port < 65536)
        except (httpx.InvalidURL, UnicodeError):
            known = False
        if not known:
            raise ReceiverRefusalError(f"{self.host} leads to what is no address")
        if base.scheme == "https" and url.scheme != "https":
            raise ReceiverRefusalError(f"{self.host} leads to an address without TLS")
        if url.host != base.host and any(is_out_of_reach(found, near) for found in await _addresses(url)):
            raise ReceiverRefusalError(f"{self.host} leads into a private network")
        return url


async def _addresses(url: httpx.URL) -> list[str]:
    """Return the addresses of a host; none if its name is not known."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a part of the name is too long
        return []
    return [str(address[0]) for *_, address in found]


async def _read(answer: httpx.Response) -> str:
    """Return the body of an answer, of which no more than an SDP is kept."""
    body = b""
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > SDP_LIMIT:
            break
    return body[:SDP_LIMIT].decode("utf-8", "replace")


def _address(answer: httpx.Response) -> str:
    """Return the address that an answer came from; an empty text where the transport does not tell."""
    stream = answer.extensions.get("network_stream")
    address = stream.get_extra_info("server_addr") if stream is not None else None
    return str(address[0]) if address else ""


def _wait(answer: httpx.Response) -> float:
    """Return the seconds of an answer's Retry-After, at most LONGEST_WAIT; 0 without one, or for a date."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), LONGEST_WAIT) if text.isascii() and text.isdigit() else 0.0
