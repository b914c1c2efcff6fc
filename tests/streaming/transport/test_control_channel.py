"""A control channel sends the initial state, numbers its events, refuses what is not permitted, and sends status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from sessions import running, until

from streaming.live.clock import MonotonicClock
from streaming.transport.control_channel import MOST_COMMANDS, MOST_OF_WATCHER, ControlChannel

pytestmark = pytest.mark.asyncio


class Connection:
    """Collect what a channel sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def types(self) -> list[str]:
        return [event["type"] for event in self.sent]


async def test_hello_and_timeline_come_first_and_events_are_numbered() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        viewer = Connection()
        channel = ControlChannel(session, lambda: True, viewer.send)
        assert viewer.types()[:2] == ["hello", "timeline"]
        assert viewer.sent[0]["controls"] is True
        channel.receive('{"id": 3, "type": "seed", "seed": 9}')
        assert viewer.types()[-1] == "accepted"
        assert [event["n"] for event in viewer.sent] == list(range(1, len(viewer.sent) + 1))
        channel.close()
        before = len(viewer.sent)
        channel.receive('{"id": 4, "type": "seed", "seed": 10}')  # it is obeyed, and not answered here
        channel.close()
        assert len(viewer.sent) == before


async def test_a_command_of_a_viewer_that_only_watches_is_refused_with_its_number() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        viewer = Connection()
        channel = ControlChannel(session, None, viewer.send)
        assert viewer.sent[0]["controls"] is False
        channel.receive('{"id": 3, "type": "end"}')
        assert viewer.sent[-1] == {"n": 3, "type": "refused", "id": 3, "why": "this link only watches"}
        assert not session.over


async def test_commands_after_losing_control_and_malformed_ones_are_refused() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        viewer, has_control = Connection(), True
        channel = ControlChannel(session, lambda: has_control, viewer.send)
        has_control = False
        channel.receive('{"id": 4, "type": "end"}')
        assert "another window controls" in viewer.sent[-1]["why"]
        channel.receive(b"{")
        assert viewer.sent[-1]["type"] == "refused"
        assert viewer.sent[-1]["id"] is None


@pytest.mark.parametrize("first_pts", [None, 4500])
async def test_the_status_has_the_first_packets_pts_only_where_it_is_asked_for(first_pts: int | None) -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        plain, counted = Connection(), Connection()
        channels = [
            ControlChannel(session, None, plain.send),
            ControlChannel(session, None, counted.send, lambda: first_pts),
        ]
        for channel in channels:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(channel.tell_status(), 0.01)
        status = next(event for event in plain.sent if event["type"] == "status")
        assert "first_pts" not in status
        assert "state" not in status  # an avatar's
        assert next(e for e in counted.sent if e["type"] == "status")["first_pts"] == first_pts


class HeldClock(MonotonicClock):
    """Show a time that only the test changes."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("controls", "most"), [(None, MOST_OF_WATCHER), (lambda: True, MOST_COMMANDS)])
async def test_more_messages_than_are_allowed_get_one_answer_and_are_not_read(
    controls: Callable[[], bool] | None, most: tuple[int, int]
) -> None:
    a_second, burst = most
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        viewer, clock = Connection(), HeldClock()
        channel = ControlChannel(session, controls, viewer.send, clock=clock)
        for _ in range(burst):
            channel.receive("{}")
        for _ in range(3 * a_second):  # a steady stream at the allowed rate goes on
            clock.now += 1.01 / a_second
            channel.receive("{}")
        assert not channel.flooded.is_set()
        answered = len(viewer.sent)
        for _ in range(1000):
            channel.receive("{}")
        assert channel.flooded.is_set()
        assert [event["why"] for event in viewer.sent[answered:]][-1:] == [
            "too many messages; the connection is closed"
        ]
        assert len(viewer.sent) - answered <= 5  # a few are left of the steady stream
