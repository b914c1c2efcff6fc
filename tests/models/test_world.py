"""The procedural world is drawn in proportion at every size, and shows what its scenes say and leave unsaid."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import cv2
import numpy as np
import pytest

from models.pocket.world.motion import PERIOD, SUBJECT_RADIUS, pose
from models.pocket.world.renderer import Beat, backdrop, draw_clip, draw_scene, landmark_right
from models.pocket.world.scene import (
    COLOURS,
    HELD_OUT,
    UNSAID,
    WALKERS,
    WORDING,
    Scene,
    changed_scene,
    random_scene,
    unsaid_bits,
    vocabulary,
)
from models.pocket.world.subjects import HALO, INK, SHAPES, sprite

MOTIONS = list(WORDING["motion"])


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean absolute difference of two pictures in grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize(("size", "allowed"), [(64, 7), (128, 3.5), (256, 2)])
def test_a_scene_is_drawn_in_proportion_at_any_size(size: int, allowed: float) -> None:
    rng = random.Random(3)
    for frame in range(8):
        scene = random_scene(rng)
        fine = draw_scene(scene, frame, frame, 512)
        here = draw_scene(scene, frame, frame, size)
        assert here.shape == (size, size, 3)
        assert difference(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), here) < allowed, scene


def test_a_clip_is_its_frames_wherever_it_begins() -> None:
    beats = [Beat(0, Scene(place="sea", weather="rain")), Beat(12, Scene(place="city", motion="left"))]
    whole, centres = draw_clip(beats, 36, 64)
    part, there = draw_clip(beats, 10, 64, start=14)
    assert np.array_equal(whole[14:24], part)
    assert np.array_equal(centres[14:24], there)
    assert (whole.dtype, whole.shape, centres.shape) == (np.uint8, (36, 64, 64, 3), (36, 2))


@pytest.mark.parametrize("fact", UNSAID)
def test_an_unsaid_fact_shows_in_every_scene(fact: str) -> None:
    least = {"layout": 2.5, "landmark": 1.5, "palette": 2.0, "hour": 2.0, "companion": 0.4}[fact]
    rng = random.Random(5)
    for _ in range(30):
        scene = random_scene(rng)
        pictures = [draw_scene(replace(scene, **{fact: value}), 0, 0, 128) for value in UNSAID[fact]]
        for a, b in itertools.combinations(pictures, 2):
            assert difference(a, b) > least, scene


@pytest.mark.parametrize("attribute", WORDING)
def test_every_value_of_a_said_attribute_changes_the_picture(attribute: str) -> None:
    clips = [draw_clip([Beat(0, Scene(**{attribute: v}))], 12, 96, start=3)[0] for v in WORDING[attribute]]
    for a, b in itertools.combinations(clips, 2):
        assert difference(a, b) > 1.5


def test_bits_of_unsaid_facts_tell_every_combination_apart() -> None:
    rng = random.Random(0)
    assert all(len(values) in (2, 4) for values in UNSAID.values())
    combinations = [dict(zip(UNSAID, values, strict=True)) for values in itertools.product(*UNSAID.values())]
    bits = {unsaid_bits(replace(random_scene(rng), **facts)) for facts in combinations}
    assert len(bits) == len(combinations) == 2 ** len(next(iter(bits)))
    assert all(set(b) <= {-1, 1} for b in bits)


def test_captions_never_say_an_unsaid_fact() -> None:
    rng = random.Random(1)
    words = set(vocabulary())
    assert not words & {value for values in UNSAID.values() for value in values}
    for _ in range(50):
        scene = random_scene(rng)
        for fact, values in UNSAID.items():
            said = {replace(scene, **{fact: v}).caption(random.Random(9)) for v in values}
            assert len(said) == 1


def test_held_out_pairs_are_drawn_only_on_request() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(500)]
    assert not any((s.colour, s.subject) in HELD_OUT for s in scenes)
    assert not any(changed_scene(s, rng).held_out for s in scenes)
    assert all(random_scene(rng, held_out=True).held_out for _ in range(50))


@pytest.mark.parametrize("motion", [m for m in MOTIONS if m not in WALKERS])
def test_a_motion_repeats_every_two_chunks_and_is_gentle(motion: str) -> None:
    scene = Scene(motion=motion)
    path = np.array([(p.x, p.y) for p in (pose(scene, t) for t in range(3 * PERIOD))])
    assert path[PERIOD:] == pytest.approx(path[:-PERIOD], abs=1e-9)
    assert np.abs(np.diff(path, axis=0)).max() < 11 / 256
    turn = np.abs(np.diff(path, 2, axis=0)).max()  # a |sin| would have 20 pixels of 256 here
    assert turn < 7 / 256


@pytest.mark.parametrize(("motion", "way"), [("left", -1), ("right", 1)])
def test_a_walker_moves_a_latent_cell_a_latent_and_comes_back(motion: str, way: int) -> None:
    scene = Scene(motion=motion)
    assert (pose(scene, 4).x - pose(scene, 0).x) * way == pytest.approx(1 / 16)
    assert pose(scene, 64).x == pytest.approx(pose(scene, 0).x)
    _, centres = draw_clip([Beat(0, scene)], 64, 64)
    assert centres[:, 0].min() < 0.05 < 0.95 < centres[:, 0].max()
    edge = draw_scene(scene, 0, 32, 128)  # half of it leaves, half of it has come back
    behind = backdrop(scene, 128)
    changed = np.abs(edge.astype(int) - behind).max(-1) > 40
    assert changed[:, :8].any()
    assert changed[:, -8:].any()


def test_a_bounce_squashes_at_the_ground_and_keeps_its_foot() -> None:
    for size, radius in SUBJECT_RADIUS.items():
        poses = [pose(Scene(motion="bounce", size=size), t) for t in range(PERIOD)]
        lowest = max(poses, key=lambda p: p.y)
        assert lowest.squash == min(p.squash for p in poses) < 0.9
        assert max(p.squash for p in poses) == 1
        assert lowest.y + radius == pytest.approx(0.9, abs=0.02)


def test_a_subject_stands_out_from_every_ground() -> None:
    """Around the subject lies a dark line and around that a light one: one of them differs from any ground."""
    for colour, subject in itertools.product(COLOURS, SHAPES):
        drawn = sprite(subject, colour, "small", 256, facing_left=False)
        alpha, paint = drawn.paint[..., 3].astype(float), drawn.paint[..., :3].astype(float)
        outside = cv2.distanceTransform((drawn.body < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        ink, halo = 2 * 256 * INK, 2 * 256 * HALO
        dark = (outside > 1) & (outside < ink - 1)
        light = (outside > ink + 1) & (outside < ink + 0.25 * halo)
        assert alpha[dark].min() > 240
        assert alpha[light].min() > 180
        assert paint[light].mean() - paint[dark].mean() > 110, (colour, subject)


def test_a_landmark_is_never_behind_a_subject_at_a_side() -> None:
    rng = random.Random(2)
    for _ in range(100):
        scene = random_scene(rng)
        if scene.says("side") and scene.side != "middle":
            assert landmark_right(scene) == (scene.side == "left")
        else:
            assert landmark_right(scene) == (scene.layout == "turned")


def test_grounds_at_night_stand_out_from_the_sky_and_are_light_enough() -> None:
    for place, palette, hour in itertools.product(WORDING["place"], UNSAID["palette"], UNSAID["hour"]):
        picture = backdrop(Scene(light="night", place=place, palette=palette, hour=hour), 128).astype(float)
        above, below = picture[70:80, 30:100].mean((0, 1)), picture[112:124, 30:100].mean((0, 1))
        assert np.abs(above - below).max() > 18, (place, palette, hour)
        assert below.max() > 55, (place, palette, hour)


def test_fog_leaves_the_subject_clear() -> None:
    for motion_t in (0, 7):
        clear, fog = (
            draw_scene(Scene(weather=w, place="desert", motion="sway", side="middle"), 0, motion_t, 128)
            for w in ("clear", "fog")
        )
        at = pose(Scene(motion="sway"), motion_t)
        x, y = round(at.x * 128), round(at.y * 128)
        assert difference(clear[y - 12 : y + 12, x - 12 : x + 12], fog[y - 12 : y + 12, x - 12 : x + 12]) == 0
        assert difference(clear, fog) > 10


@pytest.mark.parametrize("weather", ["rain", "snow"])
def test_weather_falls_whole_fractions_of_a_latent_cell(weather: str) -> None:
    """After sixteen latents every layer has moved whole cells: the picture is the one of a shifted start."""
    scene = Scene(weather=weather, motion="sway")
    period = 16 * 16 * 4  # frames after which both layers are back
    first, again = (draw_scene(scene, t, 0, 128) for t in (3, 3 + period))
    assert np.array_equal(first, again)
    assert difference(first, draw_scene(scene, 7, 0, 128)) > 1
