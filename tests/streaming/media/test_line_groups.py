"""Test that slow lines are divided into the groups that cost viewers least."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.media.line_groups import STEP, divided, loss


def divisions(lines: list[float], most: int) -> Iterator[list[list[float]]]:
    ordered = sorted(lines)
    for groups in range(1, most + 1):
        for cuts in itertools.combinations(range(1, len(ordered)), groups - 1):
            yield [ordered[a:b] for a, b in itertools.pairwise([0, *cuts, len(ordered)])]


@given(st.lists(st.floats(1_000, 3e6), min_size=1, max_size=7), st.integers(1, 4))
def test_no_other_division_costs_less_by_more_than_lines_that_are_not_told_apart(lines: list[float], most: int) -> None:
    groups = divided(lines, most)
    assert sorted(itertools.chain(*groups)) == list(range(len(lines)))
    assert len(groups) <= most
    least = min(loss(other) for other in divisions(lines, most))
    assert loss([[lines[i] for i in group] for group in groups]) <= least + STEP * len(lines)


@pytest.mark.parametrize(
    ("lines", "groups"),
    [
        ([], []),
        ([60], [[60]]),
        ([60, 59, 61], [[59, 60, 61]]),
        ([60, 5, 58, 20], [[5], [20], [58, 60]]),
        ([200, 110, 25, 5], [[5], [25], [110, 200]]),
    ],
)
def test_near_lines_share_a_group(lines: list[float], groups: list[list[float]]) -> None:
    assert [[lines[i] for i in group] for group in divided(lines, 3)] == groups
