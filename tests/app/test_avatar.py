"""Render a portrait and a sound to a film, also after a kill; refuse what is no picture or text."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_avatar

from models.catalog import AVATAR
from models.checkpoints.assemble import ASSETS, load, missing_files
from models.cue import Hush
from models.driving_signal import FRAME, DrivingSignal
from models.pocket.world.portrait.gallery import GALLERY, drawn
from models.pocket.world.portrait.tts import SpeechSynthesisError, installed
from streaming.render_job import RenderError
from streaming.rollout import Rollout
from streaming.speech import audio_file
from streaming.speech.audio_file import voice_in
from streaming.speech.avatar_film import hushed, job_of, job_of_take, said
from streaming.speech.film_sound import with_sound
from streaming.speech.portrait_check import doubt
from streaming.speech.portrait_drive import PortraitDrive, latents_of
from streaming.speech.portrait_file import portrait_of
from streaming.take import journal
from streaming.take.take_file import CueLine, Take


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """Write two seconds of a tone that comes and goes like syllables."""
    t = np.arange(32_000) / 16_000
    sound = np.sin(2 * np.pi * 180 * t) * np.clip(np.sin(2 * np.pi * 1.5 * t), 0, 1) * 0.5
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound * 32767).astype(np.int16).tobytes())
    return tmp_path / "voice.wav"


@pytest.fixture
def face(tmp_path: Path) -> Path:
    picture = np.random.default_rng(0).integers(0, 255, (48, 40, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), picture)
    return tmp_path / "face.png"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_a_text_with_an_unspeakable_character_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpeechSynthesisError, match="a character that cannot be spoken"):
        said(text, tmp_path / "film.mp4")


def test_a_text_longer_than_an_argument_of_a_program_may_be_is_read(tmp_path: Path) -> None:
    if not installed():
        pytest.skip("espeak-ng is not installed")
    assert said(" " * 140_000 + "hello", tmp_path / "film.mp4").stat().st_size > 8000


class Killed(BaseException):
    pass


def test_the_film_is_as_long_as_the_sound(tmp_path: Path, face: Path, voice: Path) -> None:
    job = job_of(tiny_avatar(), portrait_of(face, (32, 32)).reference, voice_in(voice), tmp_path / "film.mp4", seed=1)
    job.run(go_on=False)
    with_sound(job.out, voice, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        frames = [f.time for f in film.decode(video=0)]
    with av.open(str(tmp_path / "film.mp4")) as film:
        heard = sum(f.samples for f in film.decode(audio=0)) / 16_000
    assert frames[0] == 0
    assert np.allclose(np.diff(frames), 0.04)
    assert abs(heard - 2) < 0.1
    # the chunk that shows the last sound, and the knot behind it
    chunks = -(-latents_of(32_000) // 3)
    assert len(frames) == 4 * 3 * chunks - 3 + 4


def test_a_render_that_was_killed_resumes_to_the_same_film(tmp_path: Path, face: Path, voice: Path) -> None:
    whole = job_of(
        tiny_avatar(), portrait_of(face, (32, 32)).reference, voice_in(voice), tmp_path / "whole.mp4", seed=1
    )
    whole.run(go_on=False)

    def killed(boundary, report):  # type: ignore[no-untyped-def]
        if boundary.first == 12:
            raise Killed

    part = job_of(tiny_avatar(), portrait_of(face, (32, 32)).reference, voice_in(voice), tmp_path / "part.mp4", seed=1)
    with pytest.raises(Killed):
        part.run(go_on=False, progress=killed)
    part = job_of(tiny_avatar(), portrait_of(face, (32, 32)).reference, voice_in(voice), tmp_path / "part.mp4", seed=1)
    assert part.run(go_on=True).differing == []
    hashes = [[x.hash for x in journal.read(j.files.journal) if x.type == "chunk"] for j in (whole, part)]
    assert hashes[0] == hashes[1]
    assert whole.out.read_bytes() == part.out.read_bytes()


def test_sound_changes_the_latents_that_attend_to_it_and_a_muted_span_is_silence(face: Path, voice: Path) -> None:
    model = tiny_avatar()
    take = Take(model="tiny-avatar", length=12, cues=[CueLine(prompt="speaks")])
    reference = portrait_of(face, model.entry.size).reference
    loud = Rollout(model, take, drive=PortraitDrive(model, reference, audio_file.read(voice)))
    silent = Rollout(model, take, drive=PortraitDrive(model, reference))
    a, b = ([x.hash for x in r.until(4)] for r in (loud, silent))
    assert all(x != y for x, y in zip(a, b, strict=True))
    signal = DrivingSignal()
    for piece in audio_file.read(voice):
        signal.hear(piece)
    again = PortraitDrive(model, reference, audio_file.read(voice))
    for first in (0, 3, 6):
        assert torch.equal(again.drive(first)[0], torch.from_numpy(signal.latents(first, 4)))
    signal.mute(FRAME * 20, FRAME * 26)  # the sound of the chunk before latent 6 and its knot
    hushed = again.drive(6, [Hush(20)])[0]
    assert torch.equal(hushed, torch.from_numpy(signal.latents(6, 4)))
    assert not torch.equal(hushed, PortraitDrive(model, reference, audio_file.read(voice)).drive(6)[0])


def test_a_live_take_is_rendered_from_the_portrait_and_sound_beside_it(tmp_path: Path, face: Path, voice: Path) -> None:
    take = Take(model="tiny-avatar", seed=1, length=9, cues=[CueLine(prompt="a portrait speaks")])
    with pytest.raises(RenderError, match="needs a portrait and a sound"):
        job_of_take(tiny_avatar(), take, tmp_path, tmp_path / "film.mp4")
    take = take.model_copy(update={"reference": "face.png", "sound": "voice.wav"})
    job, sound = job_of_take(tiny_avatar(), take, tmp_path, tmp_path / "film.mp4")
    job.run(go_on=False)
    assert sound == voice
    model = tiny_avatar()
    drive = PortraitDrive(model, portrait_of(face, (32, 32)).reference, audio_file.read(voice))
    rollout = Rollout(model, take, drive=drive)
    drawn = [x.hash for x in journal.read(job.files.journal) if x.type == "chunk"]
    assert drawn == [b.hash for b in rollout.until(3)]
    with pytest.raises(RenderError, match="is missing"):
        job_of_take(tiny_avatar(), take.model_copy(update={"sound": "none.wav"}), tmp_path, tmp_path / "film.mp4")


def test_interrupted_sound_is_silent_in_the_film(tmp_path: Path, face: Path, voice: Path) -> None:
    cues = [CueLine(prompt="a portrait speaks"), CueLine(at=6, hush=18)]
    take = Take(model="tiny-avatar", length=9, cues=cues, reference="face.png", sound="voice.wav")
    model, film = tiny_avatar(), tmp_path / "film.mp4"
    job, sound = job_of_take(model, take, tmp_path, film)
    job.run(go_on=False)
    silent = hushed(take, model)
    assert silent == [(18 * FRAME, 26 * FRAME)]  # the sound of the chunk before latent 6 and its knot
    with_sound(job.out, sound, film, silent)
    with av.open(str(film)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    spoken = np.concatenate(list(audio_file.read(voice)))
    loud = np.abs(spoken[18 * FRAME : 26 * FRAME]).max()
    assert loud > 0.2
    assert np.abs(heard[18 * FRAME + 2048 : 26 * FRAME - 2048]).max() < 0.02
    assert np.abs(heard[28 * FRAME : 36 * FRAME]).max() > 0.2
    with_sound(job.out, sound, film)
    with av.open(str(film)) as container:
        assert (
            np.abs(
                np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])[18 * FRAME : 26 * FRAME]
            ).max()
            > 0.2
        )


def test_the_last_latent_shows_the_last_frame_of_sound() -> None:
    assert [latents_of(FRAME * frames) for frames in (1, 2, 5, 6, 50)] == [1, 2, 2, 3, 14]


def test_a_picture_that_is_no_face_of_the_portrait_world_is_recognised(tmp_path: Path) -> None:
    if missing_files(AVATAR, ASSETS):
        pytest.skip("assets/pocket-avatar has no weights")
    model = load(AVATAR, ASSETS, torch.device("cpu"), torch.float32)
    assert [doubt(model, drawn(face)) for face in GALLERY.values()] == [None] * len(GALLERY)
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    for picture, why in ((noise, "does not stay itself"), (np.full_like(noise, 60), "no face")):
        cv2.imwrite(str(tmp_path / "odd.png"), picture)
        said = doubt(model, portrait_of(tmp_path / "odd.png", AVATAR.size).reference)
        assert said is not None
        assert why in said
        assert "--face" in said
        assert "\n" not in said
