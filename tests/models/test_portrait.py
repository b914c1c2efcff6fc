"""The portrait world draws the face that is asked for, lives as people do, and moves its lips with real speech."""

from __future__ import annotations

import itertools
import math
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from models.judge.lip_sync import sync
from models.pocket.world.portrait import tts as voice
from models.pocket.world.portrait.face import ATTRIBUTES, HELD_OUT, Face, Pose, random_face
from models.pocket.world.portrait.motion import living
from models.pocket.world.portrait.renderer import draw_portrait, places
from models.pocket.world.portrait.tts import RATE, Speaker, SpeechSynthesisError, mouth_of, room_tone

QUICK = (Phase.explicit, Phase.generate)
needs_espeak = pytest.mark.skipif(shutil.which(voice.PROGRAM) is None, reason="espeak-ng is not installed")


def drawn(face: Face, *poses: Pose) -> np.ndarray:
    return draw_portrait(face, np.array(poses, np.float32)).astype(np.int16)


def changed_at(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised x and y of the pixels that differ visibly."""
    y, x = np.nonzero(np.abs(a - b).max(-1) > 24)
    return (x + 0.5) / a.shape[1], (y + 0.5) / a.shape[0]


def lips(pose: Pose) -> tuple[float, float]:
    """Return width and height in pixels of what is redder than a pale skin where the mouth is."""
    face = Face(skin="porcelain")
    left, top, right, bottom = (places(face, np.array([pose], np.float32)).mouth[0] * 128).round().astype(int)
    red = drawn(face, pose)[0, top + 3 : bottom, left:right, 1] < 185  # below the nose
    return float(np.ptp(np.nonzero(red.any(0))[0])), float(np.ptp(np.nonzero(red.any(1))[0]))


def test_there_are_more_faces_than_anybody_has_seen_and_some_are_held_out() -> None:
    assert math.prod(len(v) for v in ATTRIBUTES.values()) > 10_000
    pairs = len(ATTRIBUTES["hair"]) * len(ATTRIBUTES["hair_colour"])
    assert 0.1 < len(HELD_OUT) / pairs < 0.25
    # every style and every colour is seen in training, only not together
    assert {h for h, _ in HELD_OUT} == set(ATTRIBUTES["hair"])
    rng = random.Random(0)
    assert not any(random_face(rng).held_out for _ in range(300))
    assert all(random_face(rng, held_out=True).held_out for _ in range(30))


@pytest.mark.parametrize("attribute", list(ATTRIBUTES))
def test_every_value_of_every_attribute_can_be_seen(attribute: str) -> None:
    base = Face(hair="short", beard="none")
    looks = [drawn(replace(base, **{attribute: value}), Pose())[0] for value in ATTRIBUTES[attribute]]
    differences = [(a != b).any(-1).sum() for i, a in enumerate(looks) for b in looks[i + 1 :]]
    assert min(differences) > 25


def test_a_face_that_cannot_be_drawn_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="hair 'mohawk' is unknown; there is short, parted"):
        Face(hair="mohawk")


@given(
    seed=st.integers(0, 10_000),
    mouth=st.floats(0, 1),
    width=st.floats(0, 1),
    turn=st.floats(-1, 1),
    tilt=st.floats(-1, 1),
    shift=st.floats(-1, 1),
)
@settings(max_examples=40, deadline=None, phases=QUICK)
def test_the_mouth_and_the_eyes_move_inside_their_boxes(
    seed: int, mouth: float, width: float, turn: float, tilt: float, shift: float
) -> None:
    face = random_face(random.Random(seed))
    rest = Pose(turn=turn, tilt=tilt, shift_x=shift, shift_y=-shift)
    at = places(face, np.array([rest], np.float32))
    assert (at.face[0] >= -0.01).all()
    assert (at.face[0] <= 1.01).all()
    still, looking = drawn(face, rest, rest._replace(gaze_x=0.9))
    x, y = changed_at(still, looking)
    left, top, right, bottom = at.eyes[0]
    assert ((x > left) & (x < right) & (y > top) & (y < bottom)).all()
    speaking = rest._replace(mouth=mouth, width=width)
    at = places(face, np.array([speaking], np.float32))
    left, top, right, bottom = at.mouth[0]
    face_left, _, face_right, face_bottom = at.face[0]
    x, y = changed_at(still, drawn(face, speaking)[0])
    chin = (y > bottom) & (y < face_bottom + 0.1) | (x < left) | (x > right)  # the jaw drops
    lids = y < at.eyes[0][3]
    assert ((x > left) & (x < right) & (y > top) & (y < bottom) | chin | lids).all()
    assert ((x > face_left - 0.05) & (x < face_right + 0.05)).all()


def test_a_mouth_opens_steadily_and_round_is_not_wide() -> None:
    poses = [Pose(mouth=m) for m in np.linspace(0, 1, 9)]
    frames = drawn(Face(), *poses)
    opened = [len(changed_at(frames[0], f)[0]) for f in frames[1:]]
    assert all(b > a for a, b in itertools.pairwise(opened))
    assert lips(Pose(mouth=1.0))[1] > 18  # readable at 128 pixels
    assert lips(Pose(mouth=0.0))[1] < 8


@pytest.mark.parametrize("mouth", [0.0, 0.6])
def test_an_oo_is_narrower_than_an_ee(mouth: float) -> None:
    assert lips(Pose(mouth=mouth, width=1.0))[0] > lips(Pose(mouth=mouth, width=0.0))[0] + 6


def test_drawing_is_a_function_of_face_and_pose() -> None:
    face, poses = Face(hair="curly"), living(5, np.random.default_rng(0))
    once = draw_portrait(face, poses)
    assert once.shape == (5, 128, 128, 3)
    assert once.dtype == np.uint8
    assert (once == draw_portrait(face, poses)).all()
    assert (once[3:4] == draw_portrait(face, poses[3:4])).all()


def test_a_living_face_moves_without_a_jump_blinks_and_is_seeded() -> None:
    frames = 25 * 120
    poses = living(frames, np.random.default_rng(1))
    column = dict(zip(Pose._fields, poses.T, strict=True))
    assert (poses == living(frames, np.random.default_rng(1))).all()
    assert not (poses == living(frames, np.random.default_rng(2))).all()
    assert (poses >= -1).all()
    assert (poses <= 1).all()
    for name in ("turn", "tilt", "shift_x", "shift_y"):
        assert np.abs(np.diff(column[name])).max() < 0.12, name
        assert 0.1 < column[name].std() < 0.6, name
    blinks = ((column["blink"][1:] == 1) & (column["blink"][:-1] < 1)).sum() / 2
    assert 10 < blinks < 25  # a minute
    breaths = (np.diff(np.sign(column["breath"])) > 0).sum() / 2
    assert 12 < breaths < 20
    assert (column["mouth"] == 0).all()
    centred = (np.abs(column["gaze_y"]) < 0.05).mean()
    assert 0.4 < centred < 0.8
    leaps = (np.abs(np.diff(column["gaze_y"])) > 0.02).sum() / 2
    assert 15 < leaps / 2 < 60  # a minute; each takes two frames


def test_a_stressed_syllable_nods() -> None:
    mouth = np.zeros((250, 2), np.float32) + 0.5
    mouth[:, 0] = 0.2
    mouth[100:108, 0] = 1
    nod = (living(250, np.random.default_rng(0), mouth) - living(250, np.random.default_rng(0)))[:, 8]
    assert 98 < nod.argmax() < 110
    assert nod.max() > 0.2
    assert np.abs(nod[:60]).max() < 0.02


def test_silence_and_room_tone_keep_the_lips_closed() -> None:
    assert mouth_of(np.zeros(0, np.float32)).shape == (0, 2)
    for sound in (np.zeros(RATE, np.float32), room_tone(1, np.random.default_rng(0), -55)):
        assert mouth_of(sound)[:, 0].max() == 0
    assert mouth_of(np.zeros(RATE + 1, np.float32)).shape == (26, 2)


def vowel(*formants: float) -> np.ndarray:
    """Return half a second of a 120 Hz pulse train with two formants."""
    t = np.arange(RATE // 2) / RATE
    sound = sum(
        np.sin(2 * np.pi * h * t) / h**0.5 * sum(1 / (1 + ((h - f) / 80) ** 2) for f in formants)
        for h in np.arange(120, 4000, 120)
    )
    return (0.09 * sound / np.std(sound)).astype(np.float32)


def test_ee_is_wide_oo_is_round_and_louder_is_wider_open() -> None:
    ee, oo = vowel(280, 2300), vowel(300, 800)
    assert mouth_of(ee)[4:8, 1].mean() > mouth_of(oo)[4:8, 1].mean() + 0.25
    assert mouth_of(oo)[5, 0] > mouth_of(oo / 4)[5, 0] + 0.2 > 0.3
    assert mouth_of(oo / 300)[5, 0] == 0


def test_a_voice_that_is_missing_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "PROGRAM", "espeak-ng-that-is-not-there")
    with pytest.raises(SpeechSynthesisError, match="install it") as error:
        voice.speak("hello", Speaker())
    assert "\n" not in str(error.value)


@needs_espeak
def test_voices_speak_and_nonsense_is_refused() -> None:
    slow, fast = (voice.speak("The moon is bright tonight.", Speaker(speed=s)) for s in (120, 240))
    assert slow.dtype == np.float32
    assert len(slow) > 1.3 * len(fast)
    assert 0.05 < np.abs(slow).max() <= 1.01
    with pytest.raises(SpeechSynthesisError, match="holds no word"):
        voice.speak(" ", Speaker())
    with pytest.raises(SpeechSynthesisError, match="refused voice"):
        voice.speak("hello", Speaker(language="klingon-of-nowhere"))


def test_a_monologue_begins_and_ends_anywhere_and_sometimes_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(voice, "speak", lambda text, how: rng.standard_normal(int(2.6 * RATE)).astype(np.float32))
    clips = [voice.monologue(2.8, random.Random(seed)) for seed in range(120)]
    assert all(c.shape == (round(2.8 * RATE),) and np.abs(c).max() <= 1 for c in clips)
    mouths = np.stack([mouth_of(c)[:, 0] > 0 for c in clips])
    assert 0.05 < (~mouths).all(1).mean() < 0.2
    assert 0.2 < (~mouths).mean() < 0.5
    assert mouths[:, 0].mean() > 0.4  # amid a sentence or at its beginning
    assert (mouths[:, 20] & ~mouths[:, 40]).mean() > 0.05  # it ends inside


@needs_espeak
def test_the_mouth_of_a_monologue_follows_its_voice() -> None:
    sound = voice.monologue(8, random.Random(4))
    assert sound.shape == (8 * RATE,)
    mouth = mouth_of(sound)
    assert mouth.shape == (200, 2)
    assert mouth.min() >= 0
    assert mouth.max() <= 1
    assert mouth[:, 0].std() > 0.2
    found = sync(mouth[:, 0].astype(float), sound)
    assert found.lag_ms == pytest.approx(0, abs=8)
    assert found.correlation > 0.75


def test_resampling_keeps_a_tone_and_drops_what_would_fold() -> None:
    t = np.arange(22050) / 22050
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    expected = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(voice.at_rate(tone, 22050) - expected)[100:-100].max() < 0.01
    assert np.abs(voice.at_rate(np.sin(2 * np.pi * 10000 * t).astype(np.float32), 22050))[100:-100].max() < 0.02
