"""Test with a simulated TCP connection that the film of a WebSocket viewer follows its line."""

from __future__ import annotations

import pytest
from clocks import TestClock

from streaming.media.broadcast import Broadcast
from streaming.transport.socket_line import SocketLine

AMPLE = 330_000.0


class Simulated:
    """Take messages of a quarter second of film, two of which may be on their way, as a PacedSocket does."""

    def __init__(self) -> None:
        self.clock, self.viewer = TestClock(), Broadcast().join()
        self.line = SocketLine(self.viewer, AMPLE, self.clock)
        self._arrivals = [0.0, 0.0]
        self.waits: list[float] = []

    def play(self, seconds: float, carried: float) -> None:
        """Play for so long over a line that carries so many bits a second."""
        end, due = self.clock.now + seconds, self.clock.now
        while self.clock.now < end:
            due = max(due + 0.25, self.clock.now)
            self.clock.now = due
            size = round((self.viewer.line or AMPLE) * 0.25 / 8)
            waited = max(0.0, self._arrivals[-2] - self.clock.now)
            self.clock.now += waited
            self._arrivals.append(max(self._arrivals[-1], self.clock.now) + 8 * size / carried)
            self.line.sent(size, waited)
            self.waits.append(waited)


@pytest.mark.parametrize("carried", [24_000, 60_000, 200_000])
def test_the_film_comes_to_take_what_the_line_carries(carried: int) -> None:
    simulated = Simulated()
    simulated.play(30, carried)
    lines, waits = [], len(simulated.waits)
    for _ in range(40):
        simulated.play(1, carried)
        lines.append(simulated.viewer.line or AMPLE)
    assert 0.6 * carried < sum(lines) / len(lines) < 1.1 * carried
    assert sorted(simulated.waits[waits:])[len(simulated.waits[waits:]) // 2] < 0.1


def test_a_good_line_has_no_limit_and_one_that_becomes_good_loses_it() -> None:
    simulated = Simulated()
    simulated.play(30, 5_000_000)
    assert simulated.viewer.line is None
    simulated.play(20, 60_000)
    assert simulated.viewer.line is not None
    simulated.play(60, 5_000_000)
    assert simulated.viewer.line is None
