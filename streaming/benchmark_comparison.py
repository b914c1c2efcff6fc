"""Compare how fast two engines roll out one model: measured in turns, so that a busy moment hits both."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from models.checkpoints.assemble import Model
from streaming.benchmark import Result, measure

ROUNDS = 3


@dataclass(frozen=True)
class Comparison:
    """Hold the results of an engine and of the one that it is compared with, as many of each, measured in turns."""

    results: tuple[Result, ...]
    others: tuple[Result, ...]

    def as_line(self, name: str, other: str) -> str:
        """Return the ratios of both engines' speeds: medians of the rounds, and their range."""
        pairs = list(zip(self.results, self.others, strict=True))
        ratios = {
            "end to end": [a.end_to_end_fps / b.end_to_end_fps for a, b in pairs],
            "loop": [a.loop_fps / b.loop_fps for a, b in pairs],
            "decode": [b.median["decode"] / a.median["decode"] for a, b in pairs],
        }
        said = ", ".join(f"{n} {statistics.median(r):.2f}x ({min(r):.2f} – {max(r):.2f})" for n, r in ratios.items())
        return f"- {name} against {other}, {len(pairs)} rounds in turns: {said}"


def compare(
    model: Model, other: Model, size: tuple[int, int] | None, chunks: int, text_length: int, rounds: int = ROUNDS
) -> Comparison:
    """Measure `chunks` chunks of one model by two engines in turns, each first in every other round."""
    results: dict[bool, list[Result]] = {True: [], False: []}
    for number in range(rounds):
        for first in (True, False) if number % 2 == 0 else (False, True):
            results[first].append(measure(model if first else other, size, chunks, text_length))
    return Comparison(tuple(results[True]), tuple(results[False]))
