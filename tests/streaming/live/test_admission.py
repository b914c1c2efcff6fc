"""Sessions start in the order of their tickets while the device carries them, and end without harm to each other."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from clocks import TestClock, turn
from conftest import tiny_model
from sessions import TAKE

from models.catalog import AVATAR
from streaming.live.admission import Admission, FullError, HostedSession, SessionRegistry
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session_state import SessionState
from streaming.live.speed_forecast import SpeedForecast
from streaming.live.waiting_line import LONGEST_WAIT, MOST_PLACES, MOST_WAITING, TICKET_LIFE, CrowdedLineError
from streaming.speech.barge_in import Listening
from streaming.speech.voice_activity import Detector
from streaming.take.speakers import TakeSpeaker
from streaming.take.take_file import CueLine, Take

pytestmark = pytest.mark.asyncio


class Over:
    """Stand in for a session that is over; `close` returns once `may_close` is set."""

    viewers, state = 0, SessionState.LIVE

    def __init__(self, *, fails: bool = False, over: bool = True, avatar: Any = None) -> None:
        self.over, self.avatar = over, avatar
        self.fails, self.closing, self.closed, self.may_close = fails, asyncio.Event(), False, asyncio.Event()
        self.may_close.set()

    async def close(self) -> None:
        self.closing.set()
        await self.may_close.wait()
        if self.fails:
            raise RuntimeError("its disk is gone")
        self.closed = True


def hosting(*them: Any, clock: TestClock | None = None, **named: Any) -> SessionRegistry:
    async def load(name: str) -> Any:
        raise AssertionError(name)

    sessions = SessionRegistry(load, DeviceThread(), clock=clock or TestClock(), **named)
    sessions.hosted = {str(i): HostedSession(s, "key", 0.0) for i, s in enumerate(them)}
    return sessions


async def test_a_session_may_be_ended_while_tidying_waits_for_another() -> None:
    first, second, third = Over(), Over(), Over()
    first.may_close.clear()
    sessions = hosting(first, second, third)
    tidying = asyncio.create_task(sessions.tidy())
    await first.closing.wait()
    await sessions.end("1")
    first.may_close.set()
    await tidying
    assert (first.closed, second.closed, third.closed) == (True, True, True)
    sessions.device.close()


async def test_a_session_outlives_its_last_viewer_command_and_sound_by_the_grace_period() -> None:
    watched, commanded, speaking = Over(over=False), Over(over=False), Over(over=False)
    watched.viewers = 1
    speaking.avatar = SimpleNamespace(has_to_say=True)
    ended: list[Any] = []
    clock = TestClock()
    sessions = hosting(watched, commanded, speaking, Over(over=False), clock=clock, grace=5.0, closed=ended.append)
    for _ in range(4):
        clock.now += 4.0
        sessions.keep(sessions.hosted["1"])
        await sessions.tidy()
    assert list(sessions.hosted) == ["0", "1", "2"]
    watched.viewers, speaking.avatar.has_to_say = 0, False
    clock.now += 4.9
    await sessions.tidy()
    assert len(ended) == 1
    clock.now += 0.2
    await sessions.tidy()
    assert not sessions.hosted
    assert len(ended) == 4
    sessions.device.close()


async def test_tidying_goes_on_after_a_session_that_cannot_be_closed() -> None:
    last = Over()
    sessions = hosting(Over(fails=True), last)
    running = asyncio.create_task(sessions.run())
    await last.closing.wait()
    assert not running.done()
    assert last.closed
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    sessions.device.close()


async def test_a_session_that_is_being_closed_when_the_server_stops_is_closed_whole() -> None:
    closing, other = Over(), Over(over=False)
    other.viewers = 1
    closing.may_close.clear()
    sessions = hosting(closing, other)
    running = asyncio.create_task(sessions.run())
    await closing.closing.wait()
    running.cancel()
    await turn()
    closing.may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (closing.closed, other.closed) == (True, True)
    sessions.device.close()


class Busy:
    """Stand in for a running session that takes all of the device's time."""

    over, real_time_factor = False, 1.0

    def __init__(self) -> None:
        self.model, self.viewers = tiny_model(), 1
        self.history = SimpleNamespace(take=TAKE)


async def place(sessions: SessionRegistry, ticket: str | None = None) -> tuple[str, int]:
    """Ask for a session in vain; return the ticket and the place in line."""
    with pytest.raises(FullError) as full:
        await sessions.create(TAKE, LookAhead.SMOOTH, ticket)
    return full.value.ticket, full.value.place


async def test_the_line_is_served_in_the_order_of_its_tickets() -> None:
    started: list[str] = []

    async def load(name: str) -> Any:
        started.append(name)
        raise LookupError("admitted")  # as far as this test goes

    clock = TestClock()
    sessions = SessionRegistry(load, DeviceThread(), clock=clock)
    sessions.hosted["busy"] = HostedSession(Busy(), "key", 0.0)  # type: ignore[arg-type]
    first, at = await place(sessions)
    second, behind = await place(sessions)
    assert (at, behind) == (1, 2)
    assert await place(sessions, second) == (second, 2)
    del sessions.hosted["busy"]
    for ticket in (None, "nobody's", second):  # no ticket, an invented one, and a later one
        assert (await place(sessions, ticket))[1] >= 2
    assert (await place(sessions, "invented"))[0] != "invented"
    assert started == []
    with pytest.raises(LookupError, match="admitted"):
        await sessions.create(TAKE, LookAhead.SMOOTH, first)
    with pytest.raises(LookupError, match="admitted"):
        await sessions.create(TAKE, LookAhead.SMOOTH, second)
    sessions.device.close()


async def test_a_ticket_that_is_not_shown_again_loses_its_place() -> None:
    async def load(name: str) -> Any:
        raise LookupError("admitted")

    clock = TestClock()
    sessions = SessionRegistry(load, DeviceThread(), clock=clock)
    sessions.hosted["busy"] = HostedSession(Busy(), "key", 0.0)  # type: ignore[arg-type]
    await place(sessions)
    clock.now += TICKET_LIFE - 1
    later, _ = await place(sessions)
    clock.now += 1
    assert await place(sessions, later) == (later, 1)
    sessions.device.close()


async def test_sessions_whose_model_is_loading_count() -> None:
    loaded = asyncio.Event()

    async def load(name: str) -> Any:
        await loaded.wait()
        raise LookupError("loaded")  # as far as this test goes

    sessions = SessionRegistry(load, DeviceThread(), clock=TestClock())
    loading = [asyncio.create_task(sessions.create(TAKE, LookAhead.SMOOTH)) for _ in range(2)]
    await turn()
    ticket, at = await place(sessions)  # two models of unknown speed are taken to fill the device
    assert at == 1
    loaded.set()
    assert [str(e) for e in await asyncio.gather(*loading, return_exceptions=True)] == ["loaded", "loaded"]
    with pytest.raises(LookupError, match="loaded"):
        await sessions.create(TAKE, LookAhead.SMOOTH, ticket)
    sessions.device.close()


async def test_a_session_is_closed_even_if_what_is_told_of_its_end_fails() -> None:
    def broken(session: Any) -> None:
        raise RuntimeError("the speeds cannot be written")

    async def load(name: str) -> Any:
        raise AssertionError(name)

    sessions, over = SessionRegistry(load, DeviceThread(), clock=TestClock(), ended=broken), Over()
    sessions.hosted["a"] = HostedSession(over, "key", 0.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="cannot be written"):
        await sessions.end("a")
    assert over.closed
    sessions.device.close()


async def test_an_asker_has_a_few_places_in_line_and_the_others_still_get_theirs() -> None:
    clock = TestClock()
    busy: Any = Busy()
    sessions = hosting(busy, clock=clock)

    async def stand(*askers: str, ticket: str | None = None) -> str:
        with pytest.raises(FullError) as full:
            await sessions.create(TAKE, LookAhead.SMOOTH, ticket, askers=askers)
        return full.value.ticket

    mine = [await stand(f"network {n % 2}", "login a") for n in range(MOST_PLACES)]
    for askers in (("network 0", "login a"), ("network 7", "login a")):
        with pytest.raises(CrowdedLineError, match=f"{MOST_PLACES} of your requests wait in line"):
            await sessions.create(TAKE, LookAhead.SMOOTH, askers=askers)
    assert await stand("network 0", "login a", ticket=mine[-1]) == mine[-1]
    other = await stand("network 0", "login b")
    clock.now += TICKET_LIFE - 1
    assert await stand("network 0", "login b", ticket=other) == other
    clock.now += 2
    assert await stand("network 0", "login a") not in mine  # none of them was shown any more
    assert sessions.load().waiting == 2
    sessions.device.close()


async def test_a_ticket_that_is_shown_for_ever_goes_to_the_end_of_the_line_after_the_longest_wait() -> None:
    clock = TestClock()
    busy: Any = Busy()
    sessions = hosting(busy, clock=clock)
    first, _ = await place(sessions)
    second, _ = await place(sessions)
    while clock.now + TICKET_LIFE / 2 < LONGEST_WAIT:
        clock.now += TICKET_LIFE / 2
        assert [await place(sessions, first), (await place(sessions, second))] == [(first, 1), (second, 2)]
    clock.now = LONGEST_WAIT
    late, _ = await place(sessions, first)
    assert late != first
    assert len(sessions.hosted) == 1
    for _ in range(MOST_WAITING - 1):
        await place(sessions)
    with pytest.raises(CrowdedLineError, match=f"{MOST_WAITING} requests wait in line"):
        await sessions.create(TAKE, LookAhead.SMOOTH)
    sessions.device.close()


def avatars(faces: int) -> Take:
    """Return a take of one face or of a dialogue."""
    speakers = [TakeSpeaker(name=f"face {n}") for n in range(faces)] if faces > 1 else None
    return Take(model=AVATAR.name, length=1, speakers=speakers, cues=[CueLine(prompt="a portrait speaks")])


def beside(faces: int, factor: float) -> SessionRegistry:
    """Return a registry with a session of so many faces that takes this share of the device, all of it measured."""

    async def load(name: str) -> Any:
        raise LookupError("admitted")  # as far as these tests go

    forecast = SpeedForecast()
    forecast.measured(AVATAR, AVATAR.size, 0.3)
    sessions = SessionRegistry(load, DeviceThread(), clock=TestClock(), forecast=forecast)
    running = SimpleNamespace(
        over=False,
        index=1000,
        real_time_factor=factor,
        model=SimpleNamespace(entry=AVATAR),
        history=SimpleNamespace(take=avatars(faces)),
    )
    sessions.hosted["running"] = HostedSession(running, "key", 0.0, Admission(AVATAR.size, factor))  # type: ignore[arg-type]
    return sessions


@pytest.mark.parametrize(("faces", "starts"), [(2, True), (3, False), (6, False)])
async def test_a_dialogue_is_admitted_as_so_many_sessions_as_it_has_faces(faces: int, starts: bool) -> None:
    """A face takes 0.3 of the device, as one that runs does."""
    sessions = beside(1, 0.3)
    asked = sessions.create_dialogue(avatars(faces), {}, None, listening=Listening(detector=Detector.ENERGY))
    if starts:
        with pytest.raises(LookupError, match="admitted"):
            await asked
    else:
        with pytest.raises(FullError, match=f"takes 30% .* would take about {30 * faces}%"):
            await asked
    sessions.device.close()


@pytest.mark.parametrize(("faces", "factor", "starts"), [(1, 0.5, False), (2, 0.5, True)])
async def test_what_a_face_takes_is_learnt_from_faces_that_are_alone(faces: int, factor: float, starts: bool) -> None:
    """Two faces in step take less than twice what one does, so that a dialogue tells nothing of one face."""
    sessions = beside(faces, factor)
    asked = sessions.create_avatar(avatars(1), None, None, listening=Listening(detector=Detector.ENERGY))  # type: ignore[arg-type]
    with pytest.raises(LookupError if starts else FullError, match="admitted" if starts else "would take about 50%"):
        await asked
    sessions.device.close()
