"""Divide slow viewers into a few groups of similar lines, so that one who claims little slows only its own group.

An encode is made for the slowest line of a group. What a viewer loses by that is measured as the logarithm of its line
over the slowest, and each group costs as much as a viewer who gets two thirds of its line. So lines that are near to
one another share an encode, and with few groups the cuts lie where they save most.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import inf, log

GROUP = log(1.5)  # what a group costs
STEP = log(1.1)  # lines that differ by less are not told apart, so that the search for many viewers stays short


def loss(groups: Sequence[Sequence[float]]) -> float:
    """Return what a division of lines (bits a second, each above 0) costs."""
    return sum(GROUP + sum(log(line / min(group)) for line in group) for group in groups if group)


def divided(lines: Sequence[float], most: int) -> list[list[int]]:
    """Return the positions of the lines in each of the groups that cost least, at most `most`, slowest group first.

    Lines are bits a second above 0.
    """
    order = sorted(range(len(lines)), key=lambda i: lines[i])
    logs = [log(lines[i]) for i in order]
    sums = list(accumulate(logs, initial=0.0))
    levels = [round(value / STEP) for value in logs]
    places = [i for i in range(len(order)) if i == 0 or levels[i] > levels[i - 1]] + [len(order)]

    def cost(begin: int, end: int) -> float:
        return GROUP + sums[end] - sums[begin] - (end - begin) * logs[begin]

    # the least cost of the lines up to each place in the groups so far, and where those groups begin
    best: list[tuple[float, list[int]]] = [(0.0, []), *((inf, list[int]()) for _ in places[1:])]
    for _ in range(most):
        best = [
            min([best[n], *((best[m][0] + cost(places[m], end), [*best[m][1], places[m]]) for m in range(n))])
            for n, end in enumerate(places)
        ]
    return [order[begin:end] for begin, end in pairwise([*best[-1][1], len(order)])]
