"""The face reader knows a face again and sees its mouth, on faces that it was never trained on."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoints.weight_files import CheckpointError
from models.judge import drift
from models.judge.face_reader import EMBEDDING, READ, FaceReader, load, save
from models.judge.lip_sync import sync
from models.judge.train_face_reader import ASSETS, reading, train, verification, weighed
from models.pocket.world.portrait.face import Face, random_face
from models.pocket.world.portrait.motion import living
from models.pocket.world.portrait.renderer import draw_portrait

WEIGHTS = ASSETS / "judge" / "face.safetensors"


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return load(WEIGHTS)


def test_it_reads_the_poses_of_held_out_faces(reader: FaceReader) -> None:
    scores = reading(reader, 120, 7, held_out=True)
    assert set(scores) == set(READ)
    assert scores["mouth"][0] > 0.95
    assert scores["mouth"][1] < 0.08
    assert min(correlation for correlation, _ in scores.values()) > 0.8


def test_it_tells_held_out_strangers_apart(reader: FaceReader) -> None:
    scores = verification(reader, 60, 7, held_out=True)
    assert scores["strangers"] > 0.93
    assert scores["area"] > 0.7


def test_its_openness_follows_a_voice_without_a_lag(reader: FaceReader) -> None:
    rng = np.random.default_rng(0)
    seconds, rate = 8, 16_000
    times = np.arange(0, seconds + 0.2, 0.13)
    syllables = np.interp(np.arange(seconds * rate) / rate, times, rng.random(len(times)))
    sound = (0.3 * 10 ** (1.5 * (syllables - 1)) * rng.standard_normal(seconds * rate)).astype(np.float32)
    mouth = np.stack([syllables[320::640], np.full(200, 0.5)], 1).astype(np.float32)
    face = random_face(random.Random(1), held_out=True)
    frames = draw_portrait(face, living(200, rng, mouth))
    found = sync(reader.pose(frames)["mouth"], sound)
    assert found.lag_ms == pytest.approx(0, abs=15)
    assert found.correlation > 0.8
    late = sync(reader.pose(frames[:-3])["mouth"], sound[3 * 640 :])
    assert late.lag_ms == pytest.approx(120, abs=15)


def test_identity_falls_when_the_face_becomes_another(reader: FaceReader) -> None:
    poses = living(300, np.random.default_rng(2))
    stays, other = Face(), Face(skin="deep", hair="long", hair_colour="ginger", glasses="round")
    film = draw_portrait(stays, poses)
    same = drift.identity(drift.likeness(film, film[:1], reader.identity))
    film[150:] = draw_portrait(other, poses[150:])
    lost = drift.identity(drift.likeness(film, film[:1], reader.identity))
    assert same.mean > 0.75
    assert lost.change < -0.3
    assert lost.trend.high < 0


def test_clothes_and_background_are_not_identity(reader: FaceReader) -> None:
    poses = living(8, np.random.default_rng(3))
    a = reader.identity(draw_portrait(Face(), poses))
    dressed = reader.identity(draw_portrait(Face(clothes="red", background="night", collar="hood"), poses))
    shaved = reader.identity(draw_portrait(Face(hair="bald", skin="brown"), poses))
    assert a.shape == (8, EMBEDDING)
    assert np.linalg.norm(a, axis=1) == pytest.approx(1, abs=1e-5)
    assert (a * dressed).sum(1).mean() > (a * shaved).sum(1).mean() + 0.2


def test_pictures_of_another_size_are_read(reader: FaceReader) -> None:
    frames = draw_portrait(Face(), living(4, np.random.default_rng(4)))
    twice = frames.repeat(2, 1).repeat(2, 2)
    assert reader.pose(twice)["mouth"] == pytest.approx(reader.pose(frames)["mouth"], abs=1e-4)


def test_gaze_behind_closed_lids_is_not_asked_for() -> None:
    wanted = torch.zeros(2, len(READ))
    wanted[1, READ.index("blink")] = 1
    weight = weighed(wanted)
    assert weight[1, READ.index("gaze_x")] == weight[1, READ.index("gaze_y")] == 0
    assert (weight[0] > 0).all()


def test_training_learns_saves_and_goes_on(tmp_path: Path) -> None:
    first, steps = train(0.01, None)
    assert steps > 0
    save(first, tmp_path / "face.safetensors", {"minutes": 0.01, "steps": steps})
    again, _ = train(0.001, load(tmp_path / "face.safetensors"))
    assert again.identity(np.zeros((1, 128, 128, 3), np.uint8)).shape == (1, EMBEDDING)
    with pytest.raises(CheckpointError, match="probably a model of another size"):
        load(ASSETS / "judge" / "judge.safetensors")
