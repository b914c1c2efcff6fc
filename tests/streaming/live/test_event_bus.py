"""Events reach every listener in order, whatever another listener does."""

from __future__ import annotations

from streaming.live.event_bus import EventBus
from streaming.transport.events import Event, WarningEvent

EVENTS = [WarningEvent(why=str(i)) for i in range(3)]


def test_a_listener_gets_every_event_until_it_unsubscribes() -> None:
    bus, got = EventBus(), list[Event]()
    unsubscribe = bus.subscribe(got.append)
    bus.publish(EVENTS[0])
    bus.publish(EVENTS[1])
    unsubscribe()
    unsubscribe()
    bus.publish(EVENTS[2])
    assert got == EVENTS[:2]


def test_a_listener_that_fails_keeps_no_event_from_the_others() -> None:
    bus, got = EventBus(), list[Event]()

    def broken(event: Event) -> None:
        raise RuntimeError("its connection is gone")

    bus.subscribe(broken)
    bus.subscribe(got.append)
    for event in EVENTS:
        bus.publish(event)
    assert got == EVENTS


def test_a_listener_may_unsubscribe_while_an_event_is_published() -> None:
    bus, got = EventBus(), list[Event]()
    unsubscribe = bus.subscribe(lambda event: unsubscribe())
    bus.subscribe(got.append)
    bus.publish(EVENTS[0])
    bus.close()
    bus.publish(EVENTS[1])
    assert got == EVENTS[:1]
