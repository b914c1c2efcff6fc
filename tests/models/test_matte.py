"""Test that a colour takes the place of what is behind a face, and that nothing of the face is lost."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.checkpoints.matte_file import installed_matte
from models.judge.train_face_reader import random_pose
from models.matte import Ground, alpha_of, cut_out, rgb_of, separable
from models.pocket.world.portrait.backdrop import backdrop
from models.pocket.world.portrait.face import ATTRIBUTES, random_face
from models.pocket.world.portrait.gallery import GALLERY, drawn
from models.pocket.world.portrait.renderer import draw_cut_out

GREEN = (0, 177, 64)
Pictures = NDArray[np.uint8]


def on_backdrops(faces: int, name: str, seed: int) -> tuple[Pictures, NDArray[np.float32], NDArray[np.float32]]:
    """Return held-out faces in random poses on a backdrop, their true alpha, and the same on GREEN."""
    rng = random.Random(seed)
    poses = [np.array([random_pose(rng)], np.float32) for _ in range(faces)]
    cut = np.concatenate([draw_cut_out(random_face(rng, held_out=True), pose) for pose in poses]).astype(np.float32)
    alpha = cut[..., 3] / 255
    behind = cv2.resize(backdrop(name), (128, 128), interpolation=cv2.INTER_AREA)
    pictures, green = (cut[..., :3] + (1 - alpha[..., None]) * ground for ground in (behind, np.array(GREEN)))
    return pictures.round().astype(np.uint8), alpha, green.astype(np.float32)


@pytest.mark.parametrize("name", ATTRIBUTES["background"])
def test_the_ground_is_replaced_and_the_face_is_kept_on_every_backdrop(name: str) -> None:
    pictures, alpha, green = on_backdrops(8, name, seed=11)
    made = Ground(installed_matte(), GREEN).behind(pictures).astype(np.float32)
    off = np.abs(made - green).max(-1)
    ground, person = off[alpha < 0.02], off[alpha > 0.98]
    print(f"\n{name}: ground {np.mean(ground < 8):.3f} is green, person {np.mean(person < 12):.3f} is as it was")
    assert np.mean(ground < 8) > 0.95
    assert np.mean(person < 12) > 0.95
    assert off.mean() < 4.5


def test_faces_that_stand_side_by_side_are_separated_one_by_one() -> None:
    pictures, _, _ = on_backdrops(2, "studio", seed=3)
    network = installed_matte()
    both = Ground(network, GREEN, faces=2).behind(np.concatenate([pictures[:1], pictures[1:]], 2))
    apart = Ground(network, GREEN).behind(pictures)
    assert np.abs(both[0].astype(int) - np.concatenate([apart[0], apart[1]], 1)).max() <= 1


@pytest.mark.parametrize("side", [64, 128, 192])
def test_a_picture_of_any_size_is_cut_out_with_its_own_colours(side: int) -> None:
    pictures, alpha, _ = on_backdrops(1, "night", seed=5)
    picture, wanted = (cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in (pictures[0], alpha[0]))
    cut = cut_out(installed_matte(), picture)
    assert cut.shape == (side, side, 4)
    assert np.abs(cut[..., 3] / 255 - wanted).mean() < 0.03
    inside = cut[..., 3] == 255
    assert np.abs(cut[..., :3][inside].astype(int) - picture[inside]).mean() < 2


def test_no_frames_stay_no_frames() -> None:
    none = np.empty((0, 128, 256, 3), np.uint8)
    assert Ground(installed_matte(), GREEN, faces=2).behind(none).shape == none.shape


@pytest.mark.parametrize("face", GALLERY)
def test_portraits_of_the_gallery_can_be_separated(face: str) -> None:
    reference = drawn(GALLERY[face])
    picture = np.frombuffer(reference.pixels, np.uint8).reshape(1, 128, 128, 3)
    assert separable(picture[0], alpha_of(installed_matte(), picture)[0])


def test_pictures_without_a_person_cannot_be_separated() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    patches = cv2.resize(noise[:4, :4], (128, 128), interpolation=cv2.INTER_NEAREST)
    plain = np.full((128, 128, 3), 200, np.uint8)
    empty = [cv2.resize(backdrop(name), (128, 128)) for name in ATTRIBUTES["background"]]
    pictures = np.stack([noise, patches, plain, *empty])
    assert not any(map(separable, pictures, alpha_of(installed_matte(), pictures)))


@pytest.mark.parametrize("text", ["green", "#00b14", "#00b1400", "00b140", "#00B140", "#00b14g", ""])
def test_texts_that_are_no_colours_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no colour such as #00b140"):
        rgb_of(text)
