"""A face comes from the gallery or from a design where no portrait is given."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.pocket.world.portrait.gallery import GALLERY, FaceError, drawn, face_named


def picture(text: str) -> np.ndarray:
    return np.frombuffer(drawn(face_named(text)).pixels, np.uint8).reshape(128, 128, 3).astype(int)


def test_no_two_faces_of_the_gallery_look_alike() -> None:
    for a, b in itertools.combinations(GALLERY, 2):
        assert np.abs(picture(a) - picture(b)).mean() > 10


def test_what_is_said_is_drawn_and_the_rest_is_plain() -> None:
    face = face_named("hair=curly,skin=deep")
    assert (face.hair, face.skin) == ("curly", "deep")
    assert (face.glasses, face.beard, face.collar, face.background) == ("none", "none", "crew", "studio")
    assert np.abs(picture("hair=bun, glasses=none") - picture("ada")).mean() > 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zoe", "no face is called 'zoe'"),
        ("", "no face is called"),
        ("hair=curlyy", "did you mean curly?"),
        ("hiar=curly", "did you mean hair?"),
        ("skin=striped", "there is porcelain, peach"),
        ("hair=curly,", "cannot be drawn"),
        ("hair=curly,hair=bob", "hair is named twice, as curly and as bob"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(text: str, said: str) -> None:
    with pytest.raises(FaceError) as e:
        face_named(text)
    assert said in str(e.value)
    assert "\n" not in str(e.value)
