"""The meters measure what they say, on frames whose truth is known."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.judge import meters
from models.judge.classifier import ATTRIBUTES, load
from models.judge.train_classifier import ASSETS, accuracy, sample
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import UNSAID, WORDING, Scene, changed_scene, random_scene


def read_as(*scenes: Scene) -> meters.Reading:
    """A perfect reading of these scenes, one a window."""
    return {
        n: torch.stack([F.one_hot(torch.tensor(v.index(getattr(s, n))), len(v)).float() for s in scenes])
        for n, v in ATTRIBUTES.items()
    }


A = Scene(colour="red", place="sea", light="day")
B = Scene(colour="blue", place="sea", light="night")


def test_adherence_is_of_what_the_caption_says() -> None:
    got = meters.adherence(read_as(A, B), [A, A])
    names = list(WORDING)
    assert got[0].tolist() == [1.0] * len(names)
    assert {n for n, v in zip(names, got[1], strict=True) if v == 0} == {"colour", "light"}
    walker = Scene(motion="left")
    assert np.isnan(meters.adherence(read_as(walker), [walker])[0, names.index("side")])


def test_a_switch_is_shown_when_everything_that_changed_is() -> None:
    half = Scene(colour="blue", place="sea", light="day")
    assert meters.changed(A, B) == ["colour", "light"]
    assert meters.chunks_until_shown(read_as(A, half, B, B), A, B) == 3
    assert np.isnan(meters.chunks_until_shown(read_as(A, half), A, B))


def test_a_side_that_was_not_said_before_counts_as_changed() -> None:
    assert "side" in meters.changed(Scene(motion="left"), Scene(motion="sway"))
    assert "side" not in meters.changed(Scene(motion="sway"), Scene(motion="left"))


def test_continuity_sees_unsaid_facts() -> None:
    turned = Scene(**{**B.__dict__, "layout": "turned"})
    assert meters.continuity(read_as(A, A, B, B), 2, A, B) == 1
    lost = meters.continuity(read_as(A, A, turned, turned), 2, A, B)
    kept = [n for n in WORDING if n not in ("colour", "light")]
    assert lost == pytest.approx(1 - 1 / (len(kept) + len(UNSAID)))


def test_diversity_counts_pairs_that_differ_in_what_is_unsaid() -> None:
    turned = Scene(layout="turned")
    assert meters.diversity([read_as(Scene())] * 3) == 0
    assert meters.diversity([read_as(Scene()), read_as(Scene()), read_as(turned)]) == pytest.approx(2 / 3)


def test_windows_hold_the_first_frame() -> None:
    frames = np.arange(21, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    w = meters.windows(frames)
    assert w.shape == (2, 12, 2, 2, 3)
    assert w[:, :, 0, 0, 0].flatten().tolist() == [0, 0, 0, *range(21)]
    with pytest.raises(ValueError, match="not whole chunks"):
        meters.windows(frames[:20])


def test_drift_has_a_sign_and_an_interval_holds_the_mean() -> None:
    assert meters.slope([0, 1, 2, float("nan"), 4]) == pytest.approx(100)
    assert meters.slope([3.0] * 50) == pytest.approx(0)
    mean, low, high = meters.interval([0.0, 1.0, 1.0, 1.0, float("nan")])
    assert (mean, low < mean < high) == (0.75, True)


def test_sharpness_colour_and_motion_follow_the_picture() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    soft = np.stack(
        [
            np.asarray(
                torch.nn.functional.avg_pool2d(torch.tensor(f).float().permute(2, 0, 1), 5, 1, 2).permute(1, 2, 0)
            ).astype(np.uint8)
            for f in noise
        ]
    )
    grey = noise[..., :1].repeat(3, -1)
    still = noise[:1].repeat(4, 0)
    assert meters.sharpness(soft) < 0.2 * meters.sharpness(noise)
    assert meters.colour(grey) == 0 < meters.colour(noise)
    assert meters.motion(still) == 0 < meters.motion(noise)


def test_unsaid_facts_outlive_a_change_of_scene_and_differ_between_scenes() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(200)]
    assert {(s.layout, s.landmark) for s in scenes} == {(a, b) for a in UNSAID["layout"] for b in UNSAID["landmark"]}
    for scene in scenes:
        after = changed_scene(scene, rng)
        assert (after.layout, after.landmark) == (scene.layout, scene.landmark)
        assert after != scene


def test_held_out_pairs_never_reach_training_scenes() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(500)]
    assert not any(s.held_out or changed_scene(s, rng).held_out for s in scenes)
    assert all(random_scene(rng, held_out=True).held_out for _ in range(50))


def test_the_world_differs_in_every_attribute() -> None:
    """No attribute is invisible: each value changes the picture."""
    for name, values in ATTRIBUTES.items():
        clips = [draw_clip([Beat(0, Scene(**{name: v}))], 12, start=21)[0].astype(int) for v in values]
        for a, b in itertools.pairwise(clips):
            assert np.abs(a - b).mean() > 0.5, name


def test_a_subject_that_crosses_the_picture_comes_back_on_the_other_side() -> None:
    _, centres = draw_clip([Beat(0, Scene(motion="right"))], 60)
    assert centres[:, 0].min() < 0.05 < 0.95 < centres[:, 0].max()


def test_the_shipped_judge_reads_the_world() -> None:
    rng = random.Random(4)
    scores = accuracy(
        load(ASSETS / "judge" / "judge.safetensors"), [sample(rng, held_out=i % 2 == 0) for i in range(120)]
    )
    assert {n: s for n, s in scores.items() if s < 0.9} == {}
