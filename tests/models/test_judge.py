"""The meters measure what they say, on frames whose truth is known."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.judge import meters
from models.judge.classifier import ATTRIBUTES, SEEN, SIDE, WINDOW, load, save, small, window_of
from models.judge.train_classifier import ASSETS, accuracy, glimpse, labels, moment, sample, train
from models.pocket.world.renderer import FADE_FRAMES, draw_clip
from models.pocket.world.scene import UNSAID, WORDING, Scene, changed_scene, random_scene


def read_as(*scenes: Scene) -> meters.Reading:
    """Return a perfect reading of these scenes, one a window."""
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


@pytest.mark.parametrize(
    ("frames", "window"),
    [
        (12, [*range(12)]),
        (9, [0, 0, 0, *range(9)]),  # a take's first chunk, of three latents
        (1, [0] * 12),  # a first chunk of one latent
        (8, [0, 0, 0, 0, *range(8)]),  # chunks of two latents
        (17, [*range(5, 17)]),  # a first chunk of five latents
    ],
)
def test_a_window_holds_the_first_frame_of_a_short_chunk_and_the_last_of_a_long_one(
    frames: int, window: list[int]
) -> None:
    chunk = np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert meters.window(chunk)[:, 0, 0, 0].tolist() == window


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
    assert meters.motion(noise[:1]) == 0


def test_unsaid_facts_outlive_a_change_of_scene_and_differ_between_scenes() -> None:
    rng = random.Random(0)
    scenes = [random_scene(rng) for _ in range(200)]
    for fact, values in UNSAID.items():
        assert {getattr(s, fact) for s in scenes} == set(values)
    for scene in scenes:
        after = changed_scene(scene, rng)
        assert [getattr(after, fact) for fact in UNSAID] == [getattr(scene, fact) for fact in UNSAID]
        assert after != scene


def test_a_window_shows_its_scene_whole_even_after_a_change() -> None:
    """A window begins when the cross-fade before it is over."""
    rng = random.Random(1)
    seen = [moment(rng) for _ in range(300)]
    later = [(beats, start) for beats, start in seen if len(beats) == 2]
    assert 50 < len(later) < 150
    assert all(1 <= beats[1].frame <= start - FADE_FRAMES + 1 for beats, start in later)
    assert {beats[-1].scene.held_out for beats, _ in seen} == {True, False}
    assert not any(moment(rng, held_out=False)[0][-1].scene.held_out for _ in range(100))


def test_the_judge_looks_at_frames_of_any_size_alike() -> None:
    rng = random.Random(2)
    for _ in range(4):
        state = rng.getstate()
        large, scene = sample(rng, held_out=True)
        rng.setstate(state)
        assert sample(rng, held_out=True, size=128)[1] == scene
        rng.setstate(state)
        less = sample(rng, held_out=True, size=128)[0]
        a, b = (window_of(torch.from_numpy(c)[None]) for c in (large, less))
        assert a.shape == b.shape == (1, len(SEEN), 3, SIDE, SIDE)
        assert (a - b).abs().mean() < 0.015


def test_what_the_judge_is_trained_on_is_what_it_will_look_at() -> None:
    """Drawing only the frames that it sees gives the windows that whole clips give."""
    rng = random.Random(6)
    state = rng.getstate()
    (frames,), scene = glimpse(rng)
    rng.setstate(state)
    beats, start = moment(rng)
    clip = draw_clip(beats, WINDOW, 256, start)[0]
    assert scene == beats[-1].scene
    assert (small(torch.from_numpy(frames)[None]) - window_of(torch.from_numpy(clip)[None])).abs().mean() < 0.015


def test_a_facts_index_is_hidden_where_it_cannot_be_seen() -> None:
    found = labels([Scene(motion="left", side="right"), Scene(motion="sway", side="right", palette="rose")])
    assert found["side"].tolist() == [-1, list(WORDING["side"]).index("right")]
    assert found["palette"].tolist() == [0, UNSAID["palette"].index("rose")]


def test_a_judge_that_was_written_reads_as_before(tmp_path: Path) -> None:
    """It is trained for a moment beside a process that draws, as it is done beside a GPU."""
    judge, steps = train(0.1, None, workers=1)
    assert steps > 0
    save(judge, tmp_path / "judge.safetensors", {"steps": steps})
    again = load(tmp_path / "judge.safetensors")
    rng = random.Random(8)
    clips = torch.from_numpy(np.stack([sample(rng, size=96)[0] for _ in range(8)]))
    before, after = judge.probabilities(clips), again.probabilities(clips)
    assert all((before[n] - after[n]).abs().max() < 0.02 for n in ATTRIBUTES)


def test_the_shipped_judge_reads_the_world() -> None:
    rng = random.Random(4)
    scores = accuracy(
        load(ASSETS / "judge" / "judge.safetensors"), [sample(rng, held_out=i % 2 == 0) for i in range(120)]
    )
    assert {n: s for n, s in scores.items() if s < 0.97} == {}
