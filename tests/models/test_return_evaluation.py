"""What comes back after a return is measured against takes that share everything up to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import tiny_model

from models.judge.classifier import Judge
from models.judge.return_evaluation import BACK, journeys, measure, save, table
from models.pocket.world.scene import UNSAID


def test_a_journey_returns_to_its_place_with_another_subject() -> None:
    for trip in journeys(50):
        assert trip.away.place != trip.home.place
        assert trip.back.subject != trip.home.subject
        said = [(trip.back.place, trip.home.place), (trip.back.light, trip.home.light)]
        assert all(a == b for a, b in [*said, (trip.back.weather, trip.home.weather)])
        assert trip.home.held_out
        assert trip.away.held_out


def test_every_take_of_every_arm_is_read(tmp_path: Path) -> None:
    said: list[str] = []
    arms = measure(tiny_model(), Judge().eval(), journeys(2), 2, 6, said.append)
    assert list(arms) == ["cut", "recall", "ceiling", "away"]
    for arm in arms.values():
        assert len(arm.share) == len(arm.pictures) == 4
        assert np.allclose(arm.share, np.mean([arm.facts[name] for name in UNSAID], 0))
    assert said[-1] == f"ceiling: chunk {BACK} of {BACK}"
    assert not np.array_equal(arms["cut"].pictures[0], arms["recall"].pictures[0])
    assert save(tmp_path, arms, 6, {}) == table(arms, 6)
    assert (tmp_path / "return.png").exists()
