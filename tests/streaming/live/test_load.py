"""Sessions are admitted by what they cost beside those that run, in order, and the load is told in words."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clocks import TestClock, turn
from conftest import tiny_model

from models.catalog import POCKET
from models.checkpoints.assemble import Model
from streaming.live.admission import GRACE, MOST_PASSED, Admission, FullError, HostedSession, SessionRegistry
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session_state import SessionState
from streaming.live.speed_forecast import SpeedForecast
from streaming.take.take_file import CueLine, Take

pytestmark = pytest.mark.asyncio


FACTORS = {32: 0.1, 128: 0.3, 256: 0.9, 384: 2.4}  # real-time factor of pocket by the width of its pictures


def pocket() -> Model:
    """Return a tiny model that is taken for pocket."""
    return replace(tiny_model(), entry=replace(POCKET, rollout=tiny_model().entry.rollout))


class Running:
    """Stand in for a session that runs."""

    viewers, avatar, state = 1, None, SessionState.LIVE

    def __init__(self, factor: float | None, take: Take) -> None:
        self.history = SimpleNamespace(take=take)
        self.real_time_factor, self.model, self.over = factor, pocket(), False
        self.index = 300  # latents


class Server:
    """Ask for sessions of pocket by the width of their pictures; what is admitted runs until it is ended."""

    def __init__(self, measured: dict[int, float] = FACTORS) -> None:
        self.forecast, self.clock, self.device = SpeedForecast(), TestClock(), DeviceThread()
        for size, factor in measured.items():
            self.forecast.measured(POCKET, (size, size), factor)
        self.sessions = SessionRegistry(self._load, self.device, clock=self.clock, forecast=self.forecast)

    async def _load(self, name: str) -> Any:
        raise LookupError("admitted")  # as far as these tests go

    async def ask(self, size: int, ticket: str | None = None) -> FullError | Running:
        """Ask for a session; return it, or why it waits."""
        take = self._take(size)
        try:
            await self.sessions.create(take, LookAhead.SMOOTH, ticket)
        except FullError as full:
            return full
        except LookupError:
            return self.host(size, FACTORS[size])
        raise AssertionError("a session without a model")

    def _take(self, size: int) -> Take:
        return Take(model="pocket", size=f"{size}x{size}", length=1, cues=[CueLine(prompt="a red ball")])

    def host(self, size: int, factor: float | None) -> Running:
        session: Any = Running(factor, self._take(size))
        admission = Admission((size, size), FACTORS[size])
        self.sessions.hosted[str(len(self.sessions.hosted))] = HostedSession(session, "key", 0.0, admission)
        return cast(Running, session)

    async def waits(self, size: int, ticket: str | None = None) -> FullError:
        answer = await self.ask(size, ticket)
        assert isinstance(answer, FullError)
        return answer

    async def runs(self, size: int, ticket: str | None = None) -> Running:
        answer = await self.ask(size, ticket)
        assert isinstance(answer, Running), answer
        return answer


async def test_a_large_session_waits_beside_a_small_one_and_four_small_ones_run_together() -> None:
    server = Server()
    small = [await server.runs(32) for _ in range(4)]
    large = await server.waits(256)
    assert str(large).endswith("place 1 in line: what runs takes 40% of its time, and this would take about 90%")
    assert server.sessions.load().words == "4 sessions take 40% of the device's time; 1 in line"
    for session in small[:3]:
        session.over = True
    await server.waits(256, large.ticket)  # 10 and 90 % are more than the device has to spare
    small[3].over = True
    await server.runs(256, large.ticket)
    assert server.sessions.load().words == "1 session takes 90% of the device's time"


async def test_a_size_that_was_never_measured_is_judged_by_one_that_was() -> None:
    server = Server({32: 0.1})
    await server.runs(32)
    await server.waits(256)
    await server.runs(32)


async def test_small_sessions_pass_one_that_does_not_fit_yet_a_bounded_number_of_times() -> None:
    server = Server()
    first = await server.runs(128)
    large = await server.waits(256)
    for _ in range(MOST_PASSED):
        await server.runs(32)
    late = await server.waits(32)  # 60 % are taken: it would fit
    assert late.place == 2
    assert "others came first" in str(late)
    first.over = True
    for hosted in server.sessions.hosted.values():
        hosted.session.over = True  # type: ignore[misc]
    await server.waits(32, late.ticket)  # on an idle device the one that came first is first
    await server.runs(256, large.ticket)
    assert (await server.waits(32, late.ticket)).place == 1


async def test_a_session_does_not_pass_one_that_would_fit_too() -> None:
    server = Server()
    first, second = await server.runs(128), await server.runs(128)
    await server.runs(128)
    waiting = await server.waits(128)
    first.over = second.over = True
    assert (await server.waits(32)).place == 2
    await server.runs(128, waiting.ticket)


async def test_what_running_sessions_measure_counts_and_not_what_was_predicted() -> None:
    server = Server({32: 0.1})
    running = server.host(32, None)
    assert server.sessions.load().share == 0.1  # as predicted until it has measured
    running.real_time_factor = 0.5
    assert server.sessions.load().share == 0.5
    assert "about 50%" in str(await server.waits(32))  # and the next one is expected to take as much
    running.real_time_factor = 1.4
    assert server.sessions.load().words.startswith("1 session takes 140% of the device's time, more than there is")


async def test_the_cheap_first_chunks_of_a_take_do_not_count() -> None:
    server = Server({256: 0.9})
    running = server.host(256, 0.3)
    running.index = POCKET.rollout.window
    assert server.sessions.load().share == 0.9
    waiting = await server.waits(32)
    assert server.forecast.factor(POCKET, (256, 256)) == 0.9
    running.real_time_factor = 1.2  # more than was predicted counts at once
    assert server.sessions.load().share == 1.2
    running.real_time_factor, running.index = 0.5, 60
    assert server.sessions.load().share == 0.5
    await server.runs(32, waiting.ticket)
    assert server.forecast.factor(POCKET, (256, 256)) == 0.5


async def test_the_first_session_starts_even_if_it_is_slower_than_real_time_and_says_so() -> None:
    async def load(name: str) -> Model:
        return pocket()

    forecast, device = SpeedForecast(), DeviceThread()
    forecast.measured(POCKET, (32, 32), 2.5)
    sessions = SessionRegistry(load, device, forecast=forecast)
    take = Take(model="pocket", size="32x32", length=1, cues=[CueLine(prompt="a red ball")])
    hosted = await sessions.create(take, LookAhead.SMOOTH)
    assert hosted.admission.note == "slower than real time here: about 6.4 of 16 frames a second"
    assert (hosted.admission.size, hosted.factor) == ((32, 32), 2.5)
    assert "250% of the device's time" in sessions.load().words
    with pytest.raises(FullError):
        await sessions.create(take, LookAhead.SMOOTH)
    await turn()  # its tasks have begun
    await sessions.end(hosted.session.id)
    assert sessions.load().words == "no session runs; 1 in line"
    device.close()


async def test_a_session_lives_while_a_request_with_its_key_is_answered() -> None:
    server = Server()
    session = server.host(32, 0.1)
    session.viewers = 0
    (hosted,) = server.sessions.hosted.values()
    with server.sessions.answering(hosted):  # such as the upload of a long sound
        server.clock.now += 3600
        await server.sessions.tidy()
        assert server.sessions.hosted
        server.clock.now += 3600
    server.clock.now += GRACE - 1
    await server.sessions.tidy()
    assert server.sessions.hosted
