"""The director has each session on one worker, admits by what is measured, and moves sessions off workers that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from clocks import in_virtual_time
from fake_fleet import FakeFleet, FakeWorker
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cluster.director import Director
from app.cluster.fleet import SessionReport
from app.cluster.placement import Bounds, Order
from app.cluster.roster import MovingError, NoSuchSessionError, NoSuchWorkerError, WorkerState
from streaming.live.admission import FullError
from streaming.live.waiting_line import MOST_PLACES, CrowdedLineError

TWO = Bounds(2, 2, 0)


@asynccontextmanager
async def directing(fleet: FakeFleet, bounds: Bounds = TWO, **more: Any) -> AsyncIterator[Director]:
    director = Director(fleet, bounds, fleet.length, **more)
    tasks = [asyncio.create_task(director.run()), asyncio.create_task(fleet.draw())]
    await asyncio.sleep(0.01)
    try:
        yield director
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 120) -> float:
    """Return how many seconds it took until the condition held."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, "it does not happen"
        await asyncio.sleep(0.05)
    return loop.time() - began


def begin(director: Director, session: str, *, factor: float = 0.4, ticket: str | None = None) -> FakeWorker:
    """Ask for a session as the ingress does, and begin it on the first worker that has room."""
    worker, *_ = director.workers_for(Order(factor), ticket, [session])
    assert isinstance(worker, FakeWorker)
    with director.placing(worker, Order(factor)):
        director.began(worker, session, worker.begins(session, factor=factor), ticket)
    return worker


def refusal(director: Director, asker: str, *, factor: float = 0.4, ticket: str | None = None) -> FullError:
    with pytest.raises(FullError) as refused:
        director.workers_for(Order(factor), ticket, [asker])
    return refused.value


def two_workers() -> tuple[FakeFleet, FakeWorker, FakeWorker]:
    fleet = FakeFleet()
    return fleet, fleet.add(), fleet.add()


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        in_virtual_time(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtual
async def test_sessions_go_to_the_least_loaded_worker_until_the_measured_load_leaves_no_room() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet) as director:
        assert {begin(director, "a").name, begin(director, "b").name} == {one.name, two.name}
        begin(director, "c")
        begin(director, "d")
        full = refusal(director, "e")
        assert (full.place, full.args[0]) == (1, "the device is busy; place 1 in line: 2 workers have no room for about"
                                                 " 40% of one's time")  # fmt: skip
        assert director.roster.worker_of("a").worker.name == one.name


@virtual
async def test_all_wait_in_one_line_and_who_came_first_gets_the_first_free_place() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        for name in "abcd":
            begin(director, name)
        first, second = refusal(director, "e"), refusal(director, "f")
        assert (first.place, second.place) == (1, 2)
        one.sessions.pop("a", None) or one.sessions.pop("c", None)
        await asyncio.sleep(1.5)
        assert refusal(director, "f", ticket=second.ticket).place == 2
        begin(director, "e", ticket=first.ticket)
        assert refusal(director, "f", ticket=second.ticket).place == 1


@virtual
async def test_a_model_goes_only_to_a_worker_with_enough_free_memory_or_one_that_has_it_loaded() -> None:
    fleet, *_ = two_workers()
    async with directing(fleet) as director:
        with pytest.raises(FullError):
            director.workers_for(Order(0.1, "large", 4000), None, ["a"])
        assert director.workers_for(Order(0.1, "large", 900), None, ["a"])
        assert director.workers_for(Order(0.1, "tiny", 4000), None, ["a"])


@virtual
async def test_one_asker_does_not_fill_the_line() -> None:
    async with directing(FakeFleet(start=999)) as director:
        for _ in range(MOST_PLACES):
            refusal(director, "a")
        with pytest.raises(CrowdedLineError):
            director.workers_for(Order(0.4), None, ["a"])


@virtual
async def test_sessions_of_a_killed_worker_go_on_elsewhere_at_once_from_where_viewers_were() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet) as director:
        assert begin(director, "a") is one
        await asyncio.sleep(10.3)
        seen = one.sessions["a"].report.shown
        one.dies()
        assert await until(lambda: "a" in two.sessions, 1) < 0.2
        assert director.roster.worker_of("a").worker is two
        assert abs(two.sessions["a"].report.shown - seen) <= 16, "at most a second is shown twice or left out"
        assert director.roster.holds_key("a", "key of a")
        assert not director.roster.holds_key("a", "another")
        assert director.figures.moved == {"killed": 1}
        assert 0 <= director.figures.seconds < 0.2


@virtual
async def test_a_session_without_a_place_is_being_moved_until_a_replacement_is_hired() -> None:
    fleet = FakeFleet(start=27)
    one = fleet.add()
    async with directing(fleet, Bounds(1, 1, 0)) as director:
        begin(director, "a")
        await asyncio.sleep(5)
        one.dies()
        await asyncio.sleep(1)
        with pytest.raises(MovingError):
            director.roster.worker_of("a")
        assert director.roster.holds_key("a", "key of a"), "a page that waits for it is not refused"
        refusal(director, "b")  # it stands behind the one that is being moved
        assert 25 < await until(lambda: not director.roster.homeless) < 31


@virtual
async def test_a_silent_worker_is_killed_before_its_sessions_go_on_and_after_three_missed_reports() -> None:
    fleet, one, two = two_workers()
    fleet.fence = 1.0
    async with directing(fleet) as director:
        begin(director, "a")
        await asyncio.sleep(10)
        one.stopped = True
        took = await until(lambda: "a" in two.sessions)
        assert 6 < took < 9
        assert fleet.kills == [one.name]
        assert one.dead


@virtual
async def test_a_starved_worker_whose_sessions_are_drawn_is_neither_killed_nor_run_twice() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet) as director:
        begin(director, "a")
        await asyncio.sleep(5)
        one.starved = True
        await asyncio.sleep(120)
        assert fleet.kills == []
        assert director.roster.worker_of("a").worker is one
        assert begin(director, "b") is two, "it gets no further session meanwhile"
        one.starved = False
        await until(lambda: director.roster.members[one.name].state is WorkerState.READY, 5)


@virtual
async def test_sessions_of_a_worker_that_cannot_be_killed_wait() -> None:
    fleet, one, two = two_workers()
    fleet.unkillable = True
    async with directing(fleet) as director:
        begin(director, "a")
        await asyncio.sleep(5)
        one.stopped = True
        await asyncio.sleep(30)
        assert "a" not in two.sessions
        fleet.unkillable = False
        await until(lambda: "a" in two.sessions, 3)


@virtual
async def test_an_avatar_begins_anew_and_its_page_is_told_why() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        director.roster.began(one, "a", one.begins("a", speaks=True))
        await asyncio.sleep(2)
        one.dies()
        await until(lambda: one.name not in director.roster.members and not director.roster.homeless, 2)
        with pytest.raises(NoSuchSessionError, match="an avatar cannot be continued"):
            director.roster.worker_of("a")


@virtual
async def test_a_session_that_nobody_has_room_for_is_given_up_after_a_minute() -> None:
    fleet, one, two = two_workers()
    two.refuses = True
    async with directing(fleet, Bounds(1, 1, 0)) as director:
        director.roster.began(one, "a", one.begins("a"))
        await asyncio.sleep(2)
        one.dies()
        await until(lambda: "a" in director.roster.homeless, 1)
        assert 55 < await until(lambda: not director.roster.homeless) < 65
        with pytest.raises(NoSuchSessionError, match="no other had room"):
            director.roster.worker_of("a")


@virtual
async def test_a_drained_worker_hands_its_sessions_over_and_ends() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet, Bounds(1, 2, 0)) as director:
        director.roster.began(one, "a", one.begins("a"))
        director.roster.began(one, "b", one.begins("b"))
        director.drain(one.name)
        await until(lambda: one.dead, 5)
        assert set(two.sessions) == {"a", "b"}
        assert director.figures.moved == {"drained": 2}
        with pytest.raises(NoSuchWorkerError):
            director.drain(one.name)


@virtual
async def test_a_drained_worker_keeps_its_sessions_until_another_has_room() -> None:
    fleet = FakeFleet(start=20)
    one = fleet.add()
    async with directing(fleet, Bounds(1, 2, 0)) as director:
        begin(director, "a")
        director.drain(one.name)
        await asyncio.sleep(15)
        assert director.roster.worker_of("a").worker is one
        await until(lambda: one.dead, 30)
        assert director.roster.worker_of("a").worker.name == "worker 2"


@virtual
async def test_workers_of_another_release_are_replaced() -> None:
    fleet = FakeFleet(release="new")
    old = fleet.add(release="old")
    old.begins("a")
    async with directing(fleet, Bounds(1, 2, 0), release="new") as director:
        assert director.roster.worker_of("a").worker is old
        await until(lambda: old.dead, 30)
        assert director.roster.worker_of("a").worker.name == "worker 2"


@virtual
async def test_a_new_director_goes_on_with_the_workers_and_sessions_of_the_last_one() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet) as director:
        assert begin(director, "a") is one
        await asyncio.sleep(3)
    lost = two.begins("b")
    two.sessions.clear()

    async def left() -> dict[str, tuple[str, SessionReport]]:
        return {"b": ("a worker of before", lost)}

    async with directing(fleet, left=left) as director:
        await until(lambda: bool(director.roster.members) and not director.roster.homeless, 30)
        assert director.roster.worker_of("a").worker is one
        assert director.roster.worker_of("b").worker is two
        assert director.roster.holds_key("a", "key of a")


@virtual
async def test_a_session_is_not_lost_to_a_report_that_comes_while_it_is_handed_over() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet, Bounds(1, 2, 0)) as director:
        director.roster.began(one, "a", one.begins("a"))
        await asyncio.sleep(2)
        one.torn = 5.0  # it reports several times without the session before it answers
        director.drain(one.name)
        await asyncio.sleep(3)
        with pytest.raises(MovingError):
            director.roster.worker_of("a")
        await until(lambda: "a" in two.sessions, 8)
        assert director.roster.worker_of("a").worker is two
        assert two.sessions["a"].report.shown == one.handed["a"]


@virtual
async def test_a_worker_that_dies_while_it_hands_a_session_over_loses_none() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet, Bounds(1, 2, 0)) as director:
        director.roster.began(one, "a", one.begins("a"))
        await asyncio.sleep(2)
        one.torn = 5.0
        director.drain(one.name)
        await asyncio.sleep(2)
        one.dies()
        await until(lambda: "a" in two.sessions, 5)


@virtual
async def test_a_session_is_not_run_twice_when_the_answer_of_the_worker_that_goes_on_with_it_is_lost() -> None:
    fleet, one, two = two_workers()
    three = fleet.add()
    two.breaks = 1
    async with directing(fleet, Bounds(3, 3, 0)) as director:
        director.roster.began(one, "a", one.begins("a"))
        director.roster.began(three, "b", three.begins("b"))  # so that the second one is asked first
        await asyncio.sleep(2)
        one.dies()
        await until(lambda: not director.roster.homeless and one.name not in director.roster.members, 5)
        assert [w.name for w in (two, three) if "a" in w.sessions] == [director.roster.worker_of("a").worker.name]
        assert "a" in two.handed, "the one that had begun it was made to stop it"


@virtual
async def test_a_hired_worker_that_does_not_report_is_ended() -> None:
    fleet = FakeFleet(start=1)
    hire = fleet.hire

    async def stillborn() -> Any:
        worker = await hire()
        assert isinstance(worker, FakeWorker)
        worker.stopped = len(fleet.workers) == 1
        return worker

    fleet.hire = stillborn  # type: ignore[method-assign]
    async with directing(fleet, Bounds(1, 1, 0)) as director:
        await until(lambda: bool(director.roster.rooms()), 90)
        assert [w.name for w in fleet.workers.values() if w.dead] == fleet.kills == ["worker 1"]


@virtual
async def test_an_idle_worker_that_is_starved_is_not_killed_and_one_that_stays_silent_is_at_last() -> None:
    fleet, one, two = two_workers()
    async with directing(fleet) as director:
        await asyncio.sleep(2)
        one.starved = two.stopped = True
        await until(lambda: not director.roster.rooms(), 10)
        await asyncio.sleep(60)
        assert fleet.kills == []
        one.starved = False
        await until(lambda: len(director.roster.rooms()) == 1, 5)
        await until(lambda: two.dead, 120)
        assert not one.dead


@virtual
async def test_a_worker_that_answers_late_each_time_is_alive() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        begin(director, "a")
        await asyncio.sleep(2)
        one.late, one.sessions["a"].report = 3.0, replace(one.sessions["a"].report, playing=True)
        fleet.frozen = True  # no session writes a line, as while a large model is loaded
        await asyncio.sleep(120)
        assert fleet.kills == []


@virtual
async def test_a_busy_worker_is_not_killed_while_its_paused_sessions_write_nothing() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        begin(director, "a")
        one.sessions["a"].report = replace(one.sessions["a"].report, playing=False)
        await asyncio.sleep(3)
        fleet.frozen = one.starved = True
        await asyncio.sleep(100)
        assert fleet.kills == []


@virtual
async def test_no_worker_is_killed_because_the_shared_folder_cannot_be_read() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        begin(director, "a")
        await asyncio.sleep(3)
        fleet.unreadable = one.starved = True
        await asyncio.sleep(60)
        assert fleet.kills == []
        fleet.unreadable = one.starved = False
        one.stopped = True
        await until(lambda: one.dead, 15)


@virtual
async def test_a_new_director_serves_at_once_although_a_worker_of_the_last_one_does_not_answer() -> None:
    fleet, one, two = two_workers()
    one.begins("a")
    fleet.unkillable = two.stopped = True
    lost = two.begins("b")

    async def left() -> dict[str, tuple[str, SessionReport]]:
        return {"b": (two.name, lost)}

    async with directing(fleet, left=left) as director:
        await asyncio.sleep(0.5)
        assert director.roster.worker_of("a").worker is one
        assert director.roster.holds_key("b", "key of b"), "its page is not refused meanwhile"
        assert begin(director, "c", factor=0.1) is one
        fleet.unkillable = False
        await until(lambda: "b" in one.sessions, 20)
        assert two.dead


@virtual
async def test_a_place_in_line_is_kept_when_the_worker_that_had_room_refuses() -> None:
    async with directing(FakeFleet(start=5), Bounds(1, 1, 0)) as director:
        first, second = refusal(director, "a"), refusal(director, "b")
        await until(lambda: bool(director.roster.rooms()), 30)
        director.workers_for(Order(0.4), first.ticket, ["a"])  # and the worker refuses by its own measure
        assert director.full(Order(0.4), first.ticket, ["a"]).place == 1
        begin(director, "a", ticket=first.ticket)
        assert director.full(Order(0.4), second.ticket, ["b"]).place == 1


@virtual
async def test_what_sessions_are_measured_to_cost_is_expected_of_the_next_ones_of_their_kind() -> None:
    fleet, one, _ = two_workers()
    async with directing(fleet) as director:
        assert director.roster.expected("tiny") == 0.4
        assert director.roster.expected("tiny", faces=2) == 0.8
        director.roster.began(one, "a", one.begins("a", factor=0.2))
        one.sessions["a"].report = replace(one.sessions["a"].report, kind="tiny")
        await asyncio.sleep(2)
        assert director.roster.expected("tiny") == 0.2


@virtual
async def test_a_spare_worker_is_kept_within_bounds_and_idle_ones_are_dismissed() -> None:
    fleet = FakeFleet(start=13)
    async with directing(fleet, Bounds(1, 3, 1)) as director:
        await until(lambda: len(director.roster.members) == 1, 15)
        begin(director, "a")
        assert 17 < await until(lambda: len(director.roster.members) == 2, 30) < 22
        for name in "bcd":
            begin(director, name)
        await until(lambda: len(director.roster.members) == 3, 30)
        await asyncio.sleep(60)
        assert len(fleet.workers) == 3, "three are the most"
        for worker in fleet.workers.values():
            worker.sessions.clear()
        assert await until(lambda: len(director.roster.members) == 1, 700) > 590


@virtual
async def test_a_failure_to_hire_is_tried_again() -> None:
    fleet = FakeFleet(start=1)
    hire, failures = fleet.hire, [OSError("no node"), OSError("no node")]

    async def failing() -> Any:
        if failures:
            raise failures.pop()
        return await hire()

    fleet.hire = failing  # type: ignore[method-assign]
    async with directing(fleet, Bounds(1, 1, 0)) as director:
        await until(lambda: bool(director.roster.rooms()), 60)


EVENTS = st.tuples(
    st.sampled_from(["kill", "stop", "go on", "starve", "begin", "end", "drain", "unkillable", "killable", "restart"]),
    st.integers(0, 9),
    st.floats(0, 12),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, max_size=14))
def test_whatever_happens_no_session_is_run_twice_and_each_goes_on_or_is_reported_lost(
    events: list[tuple[str, int, float]],
) -> None:
    async def story() -> None:
        fleet = FakeFleet(start=8, fence=0.3)
        fleet.add()
        fleet.add()
        begun: set[str] = set()
        ended: set[str] = set()

        async def left() -> dict[str, tuple[str, SessionReport]]:
            had = {name: w.name for w in fleet.workers.values() for name in w.sessions}
            return {name: (had.get(name, ""), fleet.known[name].report) for name in begun - ended}

        rest = list(events)
        while True:
            async with directing(fleet, Bounds(1, 4, 1), left=left) as director:
                while rest:
                    what, which, wait = rest.pop(0)
                    alive = [w for w in fleet.workers.values() if not w.dead]
                    worker = alive[which % len(alive)] if alive else None
                    if what == "restart":
                        break
                    _happen(what, worker, director, fleet, begun, ended)
                    await asyncio.sleep(wait)
                else:
                    fleet.unkillable = False
                    for one in fleet.workers.values():
                        one.stopped = one.starved = False
                    await asyncio.sleep(150)
                    for name in begun - ended:
                        holders = [w.name for w in fleet.workers.values() if not w.dead and name in w.sessions]
                        lost = director.roster.report_of(name) is None
                        assert holders == ([] if lost else [director.roster.worker_of(name).worker.name])
                    return

    in_virtual_time(story())


def _happen(
    what: str,
    worker: FakeWorker | None,
    director: Director,
    fleet: FakeFleet,
    begun: set[str],
    ended: set[str],
) -> None:
    match what:
        case "kill" if worker is not None:
            worker.dies()
        case "stop" if worker is not None:
            worker.stopped = True
        case "go on" if worker is not None:
            worker.stopped = worker.starved = False
        case "starve" if worker is not None:
            worker.starved = True
        case "drain" if worker is not None and worker.name in director.roster.members:
            director.drain(worker.name)
        case "begin":
            name = f"session {len(begun)}"
            try:
                found, *_ = director.workers_for(Order(0.4), None, [name])
            except FullError:
                return
            chosen = fleet.workers[found.name]
            if not (chosen.dead or chosen.stopped or chosen.starved):
                director.roster.began(chosen, name, chosen.begins(name))
                begun.add(name)
        case "end" if worker is not None and worker.sessions:
            name = next(iter(worker.sessions))
            if not (worker.stopped or worker.starved):
                worker.sessions.pop(name)
                director.roster.ended(name)
                ended.add(name)
        case "unkillable" | "killable":
            fleet.unkillable = what == "unkillable"
