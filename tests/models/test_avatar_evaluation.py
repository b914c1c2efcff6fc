"""The meters of a film agree with what was put into it, and arms differ in nothing but their way."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_avatar

from models.checkpoints.assemble import ASSETS
from models.judge import avatar_evaluation as evaluation
from models.judge import face_reader
from models.pocket.world.portrait.face import Face
from models.pocket.world.portrait.motion import living
from models.pocket.world.portrait.renderer import draw_portrait
from models.pocket.world.portrait.tts import monologue, mouth_of
from models.time_grid import TimeGrid

GRID = TimeGrid(3, 3)


@pytest.fixture(scope="module")
def spoken() -> tuple[Face, evaluation.Sound, evaluation.Frames]:
    """Draw eight seconds of the portrait world itself."""
    face, voice = evaluation.cast(1)[0]
    sound = monologue(8, random.Random(voice))
    poses = living(200, np.random.default_rng(0), mouth_of(sound)[:200])
    return face, sound, draw_portrait(face, poses)


def measured(frames: evaluation.Frames, sound: evaluation.Sound, face: Face) -> dict[str, float]:
    reader = face_reader.load(ASSETS / "judge" / "face.safetensors")
    return evaluation.measured(frames, sound, face, reader, GRID)


def test_the_world_itself_has_no_seam_keeps_its_face_and_moves_its_lips_in_time(
    spoken: tuple[Face, evaluation.Sound, evaluation.Frames],
) -> None:
    face, sound, frames = spoken
    film = measured(frames, sound, face)
    assert film["seam ratio"] < 1.5
    assert film["likeness"] > 0.9
    assert film["sync"] > 0.8
    assert abs(film["lag ms"]) < 20


def test_a_jump_at_every_border_a_late_mouth_and_another_face_are_seen(
    spoken: tuple[Face, evaluation.Sound, evaluation.Frames],
) -> None:
    face, sound, frames = spoken
    before = measured(frames, sound, face)
    jumping = frames.copy()
    for border in range(9, len(frames), 12):
        jumping[border] = np.roll(jumping[border], 3, axis=1)
    assert measured(jumping, sound, face)["seam ratio"] > 1.5 * before["seam ratio"]
    assert measured(jumping, sound, face)["beyond codec"] > 1.5
    pulsing = np.repeat(frames[::4], 4, axis=0)[: len(frames)]  # once a latent, whatever the chunk
    pulsing = np.concatenate([pulsing[3:], pulsing[-3:]])
    assert measured(pulsing, sound, face)["seam ratio"] > 3
    assert measured(pulsing, sound, face)["beyond codec"] == pytest.approx(1, abs=0.25)
    late = np.concatenate([frames[:1].repeat(4, 0), frames[:-4]])
    assert measured(late, sound, face)["lag ms"] == pytest.approx(before["lag ms"] + 160, abs=15)
    other = evaluation.cast(3)[2][0]
    assert measured(frames, sound, other)["likeness"] < before["likeness"] - 0.2


def test_arms_share_faces_sound_and_noise_and_the_table_says_how_they_differ() -> None:
    model = tiny_avatar()
    model = replace(model, entry=replace(model.entry, size=(128, 128)))
    who = [face for face, _ in evaluation.cast(2)]
    sounds = [monologue(2, random.Random(voice)) for _, voice in evaluation.cast(2)]

    def made(arm: str, faces: slice = slice(0, 1)) -> list[evaluation.Frames]:
        return evaluation.films(model, ways[arm].config, who[faces], sounds[faces], (4, 5)[faces])[0]

    ways = {a.name: a for a in evaluation.arms(model.entry.rollout)}
    assert len(ways) == 8
    again = [made("knot 1")[0] for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert len(again[0]) >= 50
    together = made("knot 1", slice(0, 2))  # each gives what it gives by itself
    for alone, film in zip((again[0], made("knot 1", slice(1, 2))[0]), together, strict=True):
        assert np.abs(alone.astype(int) - film).max() <= 1
    assert (together[0] != together[1]).any()
    for name in ("hard cut", "knot 2", "gap 4"):
        assert (made(name)[0] != again[0]).any(), name
    arm = evaluation.Arm("three films, two faces", model.entry.rollout)
    arm.films = [{"face": f, "sync": v} for f, v in ((1, 0.2), (1, 0.4), (2, 0.9))]
    assert arm.by_face("sync") == pytest.approx([0.3, 0.9])
    rows = [dict.fromkeys((*evaluation.MEASURES, "face"), float(i)) for i in range(3)]
    arms = list(ways.values())
    for arm in arms:
        arm.films = [{k: v + (arm.name == "gap 4") for k, v in row.items()} for row in rows]
    table = evaluation.table(arms, "knot 1")
    assert "Δ +1 (+1 – +1)" in table
    assert table.count("Δ +0 (+0 – +0)") > 6
