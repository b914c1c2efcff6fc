"""Test in simulated time that the estimate of a line finds a bottleneck, and takes neither loss nor jitter for one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming.media.line_estimate import FLOOR, HISTORY, SILENCE, LineEstimate

PACKET, FPS = 500, 16  # bytes; pictures a second
AMPLE = 340_000.0  # bits a second


@dataclass
class Simulated:
    """Send packets at the estimated rate over a line, and return a receiver's report about once a second."""

    capacity: Callable[[float], float]  # bits a second at a time; 0: nothing arrives
    loss: float = 0.0
    queue: float = 1.0  # seconds
    delay: float = 0.05  # seconds, each way
    jitter: float = 0.02
    uses: float = 1.0  # share of the rate that the film takes, where there is a limit
    estimate: LineEstimate = field(default_factory=lambda: LineEstimate(AMPLE))
    rates: list[float] = field(default_factory=list)  # every second, AMPLE where there is no limit
    waits: list[float] = field(default_factory=list)  # seconds of every packet in front of the bottleneck

    def run(self, seconds: float) -> Simulated:
        chance, estimate = random.Random(1), self.estimate
        now, free, next_packet, next_report, number, held = 0.0, 0.0, 0.0, 1.0, 0, 0.0
        arrivals: list[tuple[float, int]] = []
        seen = expected = received = last_expected = last_received = 0
        while now < seconds:
            now += 0.005
            if now >= max(next_packet, held):
                sending = AMPLE if estimate.rate is None else min(AMPLE, self.uses * estimate.rate)
                next_packet = now + 8 * PACKET / sending
                estimate.sent(number, PACKET, now)
                wait, capacity = max(0.0, free - now), self.capacity(now)
                if capacity and wait <= self.queue and chance.random() >= self.loss:
                    free = now + wait + 8 * PACKET / capacity
                    self.waits.append(wait)
                    arrivals.append((free + self.delay + chance.uniform(0, self.jitter), number))
                number += 1
            while arrivals and arrivals[0][0] <= now:
                seen, received = max(seen, arrivals.pop(0)[1]), received + 1
                expected = seen + 1
            if now >= next_report + self.delay:
                next_report = now + chance.uniform(0.5, 1.5)
                fresh = expected - last_expected
                lost = 1 - (received - last_received) / fresh if fresh > 0 else 0.0
                last_expected, last_received = expected, received
                if received and self.capacity(now):
                    held = now + estimate.reported(seen, max(0.0, lost), now)
            if int(now) > len(self.rates):
                self.rates.append(estimate.rate or AMPLE)
        return self


@settings(max_examples=20, deadline=None)
@given(st.integers(24, 250), st.floats(0.4, 2.0))
@example(189, 0.5)  # the queue is there before the first report, so that only its losses tell of it
@example(174, 0.4)
def test_the_rate_settles_below_a_bottleneck_without_a_standing_queue(kbit: int, queue: float) -> None:
    line = Simulated(lambda _: 1000.0 * kbit, queue=queue).run(60)
    late = line.rates[30:]
    assert max(late) < 1800 * kbit
    assert sum(late) / len(late) > 500 * kbit
    packet = 8 * PACKET / (1000 * kbit)
    waits = sorted(line.waits[len(line.waits) // 2 :])
    assert waits[len(waits) // 2] < 0.3 + 2 * packet  # half of the packets hardly wait


@pytest.mark.parametrize(("kbit", "queue"), [(24, 1.0), (40, 0.5), (60, 0.5), (60, 1.0)])
def test_a_film_that_takes_two_thirds_of_what_it_may_comes_to_use_the_line(kbit: int, queue: float) -> None:
    line = Simulated(lambda _: 1000.0 * kbit, queue=queue, uses=0.65).run(60)
    used = [min(0.65 * rate, 1000 * kbit) for rate in line.rates[8:]]
    assert sum(used) / len(used) > 750 * kbit


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 0.2), st.floats(0, 0.25), st.floats(0, 0.06))
def test_loss_and_jitter_and_distance_alone_do_not_lower_the_rate(loss: float, delay: float, jitter: float) -> None:
    line = Simulated(lambda _: 1e8, loss=loss, delay=delay, jitter=jitter).run(30)
    assert set(line.rates) == {AMPLE}
    assert abs(line.estimate.loss - loss) < 0.12


def test_the_rate_falls_within_seconds_and_the_limit_is_lifted_slowly_when_the_bottleneck_is_gone() -> None:
    line = Simulated(lambda now: 1e8 if now < 10 or now > 40 else 60_000.0).run(120)
    assert set(line.rates[:9]) == {AMPLE}
    assert max(line.rates[16:40]) < 90_000
    assert line.rates[45] < AMPLE / 2  # more is tried step by step
    assert line.estimate.rate is None


def test_one_late_report_does_not_lower_the_rate() -> None:
    estimate = LineEstimate(AMPLE)
    for number in range(160):
        estimate.sent(number, PACKET, number / FPS)
        if number % FPS == FPS - 1:
            late = 0.8 if number == 79 else 0.05
            assert estimate.reported(number - (12 if late > 0.5 else 0), 0.0, number / FPS + late) == 0.0
    assert estimate.rate is None


def test_losses_among_packets_sent_before_a_reduction_do_not_lower_the_rate_again() -> None:
    estimate = LineEstimate(AMPLE)
    for number in range(120):
        estimate.sent(number, PACKET, number / 80)
    estimate.reported(20, 0.0, 0.7)
    estimate.reported(40, 0.6, 1.5)
    rate = estimate.rate
    assert rate is not None
    for number in range(120, 130):
        estimate.sent(number, PACKET, 2.5 + number / 80)
    for newest, lost, now in ((60, 0.7, 2.5), (119, 0.9, 4.0), (121, 0.8, 4.4)):  # they were dropped at a full queue
        estimate.reported(newest, lost, now)
        assert estimate.rate == rate
    estimate.reported(129, 0.9, 5.5)
    assert estimate.rate < rate


def test_a_queue_that_the_first_report_tells_of_lowers_the_rate_at_once() -> None:
    estimate = LineEstimate(AMPLE)
    for number in range(80):
        estimate.sent(number, PACKET, number / 80)
    estimate.reported(14, 0.0, 1.0)
    assert estimate.rate is not None
    assert 40_000 < estimate.rate < 80_000


def test_a_line_is_silent_when_reports_stop_and_not_before_the_first() -> None:
    estimate = LineEstimate(AMPLE)
    estimate.sent(0, PACKET, 0.0)
    assert not estimate.silent(60.0)
    for second in range(1, 10):
        estimate.sent(second, PACKET, second)
        estimate.reported(second, 0.0, second + 0.1)
        assert not estimate.silent(second + 1.0)
    assert estimate.silent(9.2 + SILENCE)
    estimate.heard(11.0)  # a request for a lost packet is a sign of life
    assert not estimate.silent(9.2 + SILENCE)


def test_a_receiver_that_reports_rarely_is_not_called_silent_between_its_reports() -> None:
    estimate = LineEstimate(AMPLE)
    for n in range(5):
        estimate.sent(n, PACKET, 5.0 * n)
        estimate.reported(n, 0.0, 5.0 * n + 0.1)
    assert not estimate.silent(5.0 * 4 + 7)


@pytest.mark.parametrize("asks", [False, True])
def test_an_outage_is_no_pause_between_reports_so_that_the_next_one_is_noticed_as_soon(asks: bool) -> None:
    estimate = LineEstimate(AMPLE)

    def reports(seconds: range, lost: float = 0.0) -> None:
        for second in seconds:
            estimate.sent(second, PACKET, second)
            estimate.reported(second, lost if second == seconds[0] else 0.0, second + 0.1)

    reports(range(10))
    for second in range(10, 18):
        estimate.sent(second, PACKET, second)
    assert estimate.silent(17.9)
    if asks:  # for what it lost, before its first report
        estimate.heard(17.95)
    reports(range(18, 21), lost=8 / 9)
    assert estimate.silent(20.1 + 1.1 * SILENCE)


def test_an_outage_does_not_lower_the_rate_of_the_line_that_comes_back() -> None:
    line = Simulated(lambda now: 0.0 if 10 <= now < 18 else 1e8).run(30)
    assert set(line.rates) == {AMPLE}


@pytest.mark.parametrize("asks", [False, True])
def test_losses_of_an_outage_and_a_late_report_beside_them_do_not_lower_the_rate(asks: bool) -> None:
    estimate, number = LineEstimate(AMPLE), 0
    for second in range(1, 9):
        for _ in range(FPS):
            number += 1
            estimate.sent(number, PACKET, second + number % FPS / FPS)
        estimate.reported(number - 2, 0.0, second + 1.0)  # a busy machine: there seems to be a short queue
    seen = number - 2
    for n in range(50):
        estimate.sent(number := number + 1, PACKET, 9 + n / FPS)
    if asks:
        estimate.heard(17.0)
    estimate.reported(seen, 0.0, 17.1)
    for n in range(8):
        estimate.sent(number := number + 1, PACKET, 17.2 + n / FPS)
    estimate.reported(number - 6, 0.94, 17.8)
    assert estimate.rate is None


def test_what_is_remembered_is_bounded_and_reports_about_forgotten_packets_change_nothing() -> None:
    estimate = LineEstimate(AMPLE)
    for number in range(10 * HISTORY):
        estimate.sent(number, PACKET, number / 100)
    assert len(estimate) == HISTORY
    for unknown in (0, -5, 10**9):
        assert estimate.reported(unknown, 1.0, 1000.0) == 0.0
    assert estimate.rate is None
    assert estimate.loss == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1), st.floats(0, 3)), max_size=60), st.floats(0, 1e9))
def test_no_reports_make_the_rate_negative_or_larger_than_the_stream(
    reports: list[tuple[int, float, float]], remb: float
) -> None:
    estimate, now = LineEstimate(AMPLE), 0.0
    for number in range(400):
        estimate.sent(number, PACKET, number / 40)
    for number, lost, later in reports:
        now += later
        assert 0 <= estimate.reported(number, lost, now) <= 2
        estimate.remb(remb, now)
        assert estimate.rate is None or FLOOR <= estimate.rate <= 1.2 * AMPLE
