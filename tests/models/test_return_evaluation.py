"""What comes back after a return is measured against takes that share everything up to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_model

from models.errors import UserError
from models.judge.classifier import Judge
from models.judge.kept_results import KeptResults
from models.judge.return_evaluation import ARMS, Returned, journeys, measure, save, table
from models.pocket.world.scene import UNSAID


def test_a_journey_returns_to_its_place_with_another_subject() -> None:
    for trip in journeys(50):
        assert trip.away.place != trip.home.place
        assert trip.back.subject != trip.home.subject
        said = [(trip.back.place, trip.home.place), (trip.back.light, trip.home.light)]
        assert all(a == b for a, b in [*said, (trip.back.weather, trip.home.weather)])
        assert trip.home.held_out
        assert trip.away.held_out


def _measured(folder: Path, seeds: int, say: Callable[[str], None], latents: int = 6) -> dict[str, Returned]:
    kept = KeptResults(folder / "takes", {"latents": latents})
    return measure(tiny_model(), Judge().eval(), journeys(2), seeds, latents, kept, say)


def _ignore(_: str) -> None:
    pass


def test_every_take_of_every_arm_is_read(tmp_path: Path) -> None:
    arms = _measured(tmp_path, 2, _ignore)
    assert tuple(arms) == ARMS
    for arm in arms.values():
        assert len(arm.share()) == len(arm.pictures) == 2
        assert np.allclose(arm.share(), np.mean([arm.facts[name] for name in UNSAID], (0, 2)))
        assert all(len(takes) == 2 for takes in (*arm.facts["palette"], *arm.adherence))
    assert not np.array_equal(arms["cut"].pictures[0], arms["recall"].pictures[0])
    assert save(tmp_path, arms, 6, {}) == table(arms, 6)
    assert "2 prompts, 4 takes" in table(arms, 6)
    assert (tmp_path / "return.png").exists()


def test_an_interrupted_measurement_goes_on_and_ends_with_the_same_results(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = _measured(whole, 2, _ignore)

    def interrupt(progress: str) -> None:
        if progress == "prompt 2 of 2, take 1 of 2: recall":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _measured(parts, 2, interrupt)
    said: list[str] = []
    found = _measured(parts, 2, said.append)
    assert said[0] == "prompt 2 of 2, take 1 of 2: at home"
    for name in ARMS:
        assert found[name].facts == expected[name].facts
        assert np.array_equal(found[name].adherence, expected[name].adherence, equal_nan=True)
        assert np.array_equal(found[name].pictures, expected[name].pictures)
    said.clear()
    _measured(parts, 2, said.append)
    assert not said


def test_results_of_another_length_are_not_taken_for_these(tmp_path: Path) -> None:
    _measured(tmp_path, 1, _ignore)
    with pytest.raises(UserError, match=r"0000-000.json was measured with latents 6, this is 9: choose another folder"):
        _measured(tmp_path, 1, _ignore, latents=9)
