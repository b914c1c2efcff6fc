"""Subjects are counted in frames of the world: one, none, and the ghosts that are painted beside the first."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from models.judge.subject_count import count
from models.pocket.world.renderer import backdrop, draw_scene
from models.pocket.world.scene import Scene, random_scene

SIZE = 128


def scenes(number: int) -> list[Scene]:
    """Draw scenes whose subject is seen whole, small and at the left, so that there is room for another one."""
    rng = random.Random(3)
    return [replace(random_scene(rng), side="left", motion="bounce", size="small") for _ in range(number)]


@pytest.fixture(scope="module")
def counted() -> dict[str, np.ndarray]:
    """Return counts for each of the scenes: with its subject, without, and with a second one of some opacity."""
    found: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes(24)):
        one = draw_scene(scene, 5 * number, 5 * number, SIZE)
        other = draw_scene(replace(scene, side="right"), 5 * number, 5 * number, SIZE)
        ground = backdrop(scene, SIZE)
        half = np.concatenate([one[:, : SIZE // 2], other[:, SIZE // 2 :]], 1)
        frames = {"one": one, "none": ground, "two": half}
        for opacity in (0.8, 0.5):
            right = (opacity * other + (1 - opacity) * one).round().astype(np.uint8)
            frames[f"a second of {opacity}"] = np.concatenate([one[:, : SIZE // 2], right[:, SIZE // 2 :]], 1)
        for name, frame in frames.items():
            found.setdefault(name, []).append(int(count(frame[None], scene)[0]))
    return {name: np.array(values) for name, values in found.items()}


def test_one_subject_is_counted_as_one_and_a_picture_without_as_none(counted: dict[str, np.ndarray]) -> None:
    assert (counted["one"] == 1).mean() >= 0.95
    assert (counted["none"] == 0).mean() >= 0.95


def test_a_second_subject_is_counted_and_a_ghost_as_far_as_it_can_be_seen(counted: dict[str, np.ndarray]) -> None:
    assert (counted["two"] == 2).mean() >= 0.95
    assert (counted["a second of 0.8"] == 2).mean() >= 0.9
    assert 0.3 <= (counted["a second of 0.5"] == 2).mean() <= 0.7


def test_subjects_of_other_colours_count_where_they_are_asked_for() -> None:
    scene = replace(scenes(1)[0], colour="red")
    other = replace(scene, colour="blue", side="right")
    left, right = draw_scene(scene, 0, 0, SIZE), draw_scene(other, 0, 0, SIZE)
    both = np.concatenate([left[:, : SIZE // 2], right[:, SIZE // 2 :]], 1)[None]
    assert count(both, scene).tolist() == [1]
    assert count(both, scene, ("red", "blue")).tolist() == [2]
    assert count(both, scene, ("green",)).tolist() == [0]
