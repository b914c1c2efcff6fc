"""Films are published to a strict WHIP receiver, anew when it comes back, and it is told of their end."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import pytest
from aiortc import RTCConfiguration
from aiortc.rtp import RTCP_PSFB_FIR, RTCP_PSFB_PLI
from clocks import turn
from film_receiver import ENDPOINT, TOKEN, FilmReceiver
from sessions import async_test, running, until
from speakers import speaking

from streaming.live.session import Session
from streaming.transport import publishing
from streaming.transport.publish_target import PublishTarget
from streaming.transport.publishing import Publishing
from streaming.transport.whip_receiver import ReceiverError, ReceiverRefusalError, WhipReceiver

GLOBAL = "8.8.8.8"  # an address that is not of a private network; nothing is sent there


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "SHORTEST_PAUSE", 0.05)


@asynccontextmanager
async def published(
    receiver: FilmReceiver, session: Session, url: str = ENDPOINT, token: str | None = TOKEN
) -> AsyncIterator[Publishing]:
    target = PublishTarget(url, token)
    publishes = Publishing(target, lambda: RTCConfiguration(iceServers=[]), receiver.transport)
    publishes.begin(session)
    try:
        yield publishes
    finally:
        await publishes.close()
        await receiver.close()


def states(events: list[Any]) -> list[str]:
    return [event.state for event in events if event.type == "publishing"]


def told(events: list[Any]) -> str:
    (*_, last) = (event for event in events if event.type == "publishing")
    return str(last.why)


async def pictures(receiver: FilmReceiver, number: int) -> None:
    await until(lambda: bool(receiver.peers))
    async with asyncio.timeout(30):
        await receiver.pictures(number)


@async_test
async def test_a_film_is_published_from_the_one_encode_and_the_receiver_told_of_its_end() -> None:
    receiver = FilmReceiver()
    async with running() as (session, events):
        async with published(receiver, session) as publishes:
            await pictures(receiver, 8)
            await until(lambda: states(events) == ["connecting", "live"])
            assert (session.viewers, session.status().publishing) == (1, "live")
            publishes.end(session)
            await turn()  # the receiver is being told when the server ends too
        assert receiver.ended == ["/resource/0"]
        assert receiver.faults == []
        assert session.viewers == 0


@pytest.mark.parametrize("feedback", [(RTCP_PSFB_PLI, b""), (RTCP_PSFB_FIR, bytes(8))], ids=["PLI", "FIR"])
@async_test
async def test_a_receiver_that_asks_for_a_keyframe_gets_one(feedback: tuple[int, bytes]) -> None:
    receiver = FilmReceiver()
    async with running() as (session, _), published(receiver, session):
        await pictures(receiver, 8)
        before = session.broadcast.full.keyframe
        await receiver.ask_for_keyframe(*feedback)
        await until(lambda: session.broadcast.full.keyframe > before)


@async_test
async def test_a_receiver_that_vanishes_is_offered_the_film_again_until_it_is_back() -> None:
    receiver = FilmReceiver()
    async with running() as (session, events), published(receiver, session):
        await pictures(receiver, 2)
        busy = httpx.Response(503, text="restarting", headers={"retry-after": "0"})
        receiver.refuses = [busy, httpx.Response(409, text="in\n use")]
        await receiver.close()
        await until(lambda: states(events)[-1] == "live" and len(receiver.peers) == 2)
        await pictures(receiver, 2)
        assert states(events) == ["connecting", "live", *["lost", "connecting"] * 3, "live"]
        whys = [event.why for event in events if event.type == "publishing" and event.state == "lost"]
        assert whys[0].startswith("live.example: the receiver ")
        assert whys[1] == "live.example answered 503 Service Unavailable"
        assert whys[2] == "live.example answered 409 Conflict"
    assert receiver.ended[-1] == "/resource/1"


@async_test
async def test_a_receiver_that_refuses_is_not_asked_again_and_says_so_in_one_line() -> None:
    receiver = FilmReceiver(refuses=[httpx.Response(401, text="no \x1b[31m such\nkey")])
    async with running() as (session, events), published(receiver, session) as publishes:
        await until(lambda: states(events)[-1:] == ["refused"])
        assert told(events) == "live.example answered 401 Unauthorized"
        await until(lambda: not publishes.active)
        assert len(receiver.offers) == 1
        assert not session.over


@async_test
async def test_a_pause_is_as_long_as_the_receiver_asks_and_else_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "LONGEST_PAUSE", 0.15)
    refuses = [httpx.Response(500), httpx.Response(500), httpx.Response(500)]
    receiver = FilmReceiver(refuses=[*refuses, httpx.Response(429, headers={"retry-after": "240"})])
    async with running() as (session, events), published(receiver, session):
        await until(lambda: states(events).count("lost") == 4)
        waits = [event.retry_s for event in events if event.type == "publishing" and event.state == "lost"]
        assert waits == [0.05, 0.1, 0.15, 240.0]


class _Stream:
    def get_extra_info(self, name: str) -> tuple[str, int]:
        return GLOBAL, 443


FROM_AFAR = {"network_stream": _Stream()}


async def refusal(*answers: httpx.Response, url: str = ENDPOINT) -> tuple[str, FilmReceiver]:
    """Return why an offer was refused for good after these answers, and what received it."""
    receiver = FilmReceiver(refuses=list(answers))
    with pytest.raises(ReceiverRefusalError) as refused:
        await WhipReceiver(url, TOKEN, receiver.transport).offer("v=0")
    return str(refused.value), receiver


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://127.0.0.1:6379/", "leads into a private network"),
        ("http://169.254.169.254/latest", "leads into a private network"),
        ("http://[::ffff:10.0.0.7]/x", "leads into a private network"),
        ("http://live.example:99999/", "leads to what is no address"),
        ("file:///etc/passwd", "leads to what is no address"),
    ],
)
@pytest.mark.parametrize("status", [307, 308, 201])
@async_test
async def test_a_receiver_on_the_internet_leads_nowhere_but_there(status: int, location: str, says: str) -> None:
    headers = {"location": location, "content-type": "application/sdp"}
    why, receiver = await refusal(httpx.Response(status, headers=headers, extensions=FROM_AFAR))
    assert why == f"live.example {says}"
    assert receiver.addresses == [ENDPOINT]


@async_test
async def test_a_name_that_httpx_cannot_read_is_an_error_in_one_line() -> None:
    headers = {"location": "https://xn--/", "content-type": "application/sdp"}
    why, _ = await refusal(httpx.Response(201, headers=headers))
    assert why == "live.example leads to what is no address"
    receiver = FilmReceiver(refuses=[httpx.Response(307, headers=headers)])
    with pytest.raises(ReceiverError, match="cannot be reached"):
        await WhipReceiver(ENDPOINT, TOKEN, receiver.transport).offer("v=0")


@async_test
async def test_redirects_are_followed_three_times_and_never_from_tls_to_without() -> None:
    moved = httpx.Response(307, headers={"location": "https://other.example/whip/7"})
    back = httpx.Response(308, headers={"location": "http://live.example/whip"})
    why, receiver = await refusal(moved, back, url="https://live.example/whip")
    assert why == "live.example leads to an address without TLS"
    assert receiver.addresses == ["https://live.example/whip", "https://other.example/whip/7"]
    again = [httpx.Response(307, headers={"location": "/again"}) for _ in range(4)]
    why, receiver = await refusal(*again)
    assert why == "live.example redirects more than 3 times"
    assert len(receiver.addresses) == 4


@async_test
async def test_an_answer_that_is_no_description_is_refused_and_one_without_end_read_no_further() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 4096

    why, _ = await refusal(httpx.Response(406, content=endless()))
    assert why == "live.example answered 406 Not Acceptable"
    assert sent < 40
    why, _ = await refusal(httpx.Response(201, html="<html>", headers={"location": "/7"}))
    assert why == "live.example answered 201 with what is not application/sdp"
    why, _ = await refusal(httpx.Response(201, text="v=0", headers={"content-type": "application/sdp"}))
    assert why == "live.example answered without Location, which says how to end"


@pytest.mark.parametrize("takes", [True, False])
@async_test
async def test_the_sound_of_an_avatar_is_published_to_a_receiver_that_takes_it(takes: bool) -> None:
    receiver = FilmReceiver(takes_sound=takes)
    async with speaking() as (session, _, events), published(receiver, session):
        await until(lambda: states(events)[-1:] == ["live"])
        async with asyncio.timeout(30):
            await receiver.pictures(4)
            if takes:
                await receiver.pictures(8, "audio")
        assert [offer.count("m=audio") for offer in receiver.offers] == ([1] if takes else [1, 0])
        assert told(events) == ("" if takes else "without sound, which it refused")
        assert receiver.faults == []


@async_test
async def test_sessions_with_one_address_use_it_in_turn_and_those_with_their_own_do_not_wait() -> None:
    one, many = FilmReceiver(), FilmReceiver()
    async with running() as (first, _), running() as (second, events):
        async with published(one, first) as publishes:
            await until(lambda: first.status().publishing == "live")
            publishes.begin(second)
            await until(lambda: states(events) == ["waiting"])
            publishes.end(first)
            await until(lambda: states(events)[-1] == "live")
            assert one.ended == ["/resource/0"]
        async with published(many, first, f"{ENDPOINT}/{{session}}") as publishes:
            publishes.begin(second)
            await until(lambda: len(many.peers) == 2)
        assert sorted(many.addresses) == sorted(f"{ENDPOINT}/{session.id}" for session in (first, second))


@async_test
async def test_the_log_tells_of_every_change_and_of_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    said = f"Cannot POST /whip/stream-key with {TOKEN}"  # as servers say it
    echo = httpx.Response(401, text=said, extensions={"reason_phrase": said.encode()})
    receiver = FilmReceiver(refuses=[echo])
    with caplog.at_level(logging.INFO, logger="streaming"):
        async with running() as (session, events), published(receiver, session, f"{ENDPOINT}/stream-key"):
            await until(lambda: states(events)[-1:] == ["refused"])
    lines = [r.getMessage() for r in caplog.records if r.name == publishing.__name__]
    assert lines == [
        f"publishing session {session.id}: connecting (to live.example)",
        f"publishing session {session.id}: refused (live.example answered 401 Unauthorized)",
    ]
    for secret in (TOKEN, "stream-key"):
        assert secret not in caplog.text
        assert secret not in told(events)


MEDIA = "m=video 9 UDP/TLS/RTP/SAVPF 99\r\n"


@pytest.mark.parametrize(
    "answer",
    ["", "v=0\r\n", "m=video \r\n", "m=video\r\n", "m=video x y z\r\n", MEDIA, f"{MEDIA}a=setup:\r\na=rtpmap:99\r\n"],
)
@async_test
async def test_an_answer_that_cannot_be_used_is_refused_in_a_line_and_its_resource_ended(answer: str) -> None:
    headers = {"location": "/resource/9", "content-type": "application/sdp"}
    receiver = FilmReceiver(refuses=[httpx.Response(201, text=answer, headers=headers)])
    async with running() as (session, events), published(receiver, session) as publishes:
        await until(lambda: not publishes.active)
        assert states(events) == ["connecting", "refused"]
        assert told(events).startswith("live.example: the answer ")
        assert receiver.ended == ["/resource/9"]


def failing(error: Exception) -> Callable[[], RTCConfiguration]:
    """Return what raises an error at the first connection and gives a configuration for the next ones."""
    errors = [error]

    def ice() -> RTCConfiguration:
        if errors:
            raise errors.pop()
        return RTCConfiguration(iceServers=[])

    return ice


@pytest.mark.parametrize(
    ("error", "ends"),
    [(OSError("too many open files"), ["lost", "connecting", "live"]), (KeyError("urls"), ["refused"])],
)
@async_test
async def test_an_error_of_the_server_is_told_and_one_that_may_pass_is_followed_by_another_offer(
    error: Exception, ends: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    receiver = FilmReceiver()
    async with running() as (session, events):
        publishes = Publishing(PublishTarget(ENDPOINT, TOKEN), failing(error), receiver.transport)
        publishes.begin(session)
        await until(lambda: states(events) == ["connecting", *ends])
        why = next(e.why for e in events if e.type == "publishing" and e.state in ("lost", "refused"))
        assert why == f"an error in this server, which its log describes ({type(error).__name__})"
        assert str(error) in caplog.text
        assert session.status().publishing == ends[-1]
        await publishes.close()
        await receiver.close()


@async_test
async def test_an_address_that_is_none_is_refused_and_nothing_of_a_session_stays() -> None:
    receiver = FilmReceiver()
    async with running() as (session, events), published(receiver, session, "http://☃.example/") as publishes:
        await until(lambda: not publishes.active)
        assert states(events) == ["refused"]
        publishes.begin(session)
        publishes.end(session)  # before the task has run
        await until(lambda: not publishes.active)


class NewAddresses(PublishTarget):
    """Name a new address at every call, as for session after session."""

    addresses: ClassVar[Iterator[int]] = itertools.count()

    def of(self, session: str) -> str:
        return f"{ENDPOINT}/{next(self.addresses)}"


@async_test
async def test_no_lock_is_kept_for_an_address_that_is_used_no_more() -> None:
    receiver = FilmReceiver(refuses=[httpx.Response(401) for _ in range(6)])
    kept = []
    async with running() as (session, _):
        publishes = Publishing(NewAddresses(ENDPOINT), lambda: RTCConfiguration(iceServers=[]), receiver.transport)
        for times in (1, 5):
            for _ in range(times):
                publishes.begin(session)
                await until(lambda: not publishes.active)
            gc.collect()
            kept.append(sum(type(thing) is asyncio.Lock for thing in gc.get_objects()))
        assert len(set(receiver.addresses)) == 6
        assert kept[1] - kept[0] < 5
        await publishes.close()
