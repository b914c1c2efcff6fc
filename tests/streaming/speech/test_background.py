"""Test that a colour behind an avatar is shown live, in dialogues and in films alike, and changes nothing else."""

from __future__ import annotations

import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clocks import LoopClock
from conftest import tiny_avatar
from simulated_time import in_simulated_time
from speakers import PORTRAIT, TAKE, as_samples, tone, until

from models.catalog import POCKET
from models.checkpoints.matte_file import installed_matte
from models.cue import Reference
from models.driving_signal import RATE
from models.matte import Ground
from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.render_files import RenderError
from streaming.rollout import Rollout
from streaming.speech.audio_file import voice_in
from streaming.speech.avatar import Avatar
from streaming.speech.avatar_film import job_of
from streaming.speech.dialogue_drive import DialogueDrive
from streaming.speech.portrait_check import require_separable
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.portrait_file import PortraitError
from streaming.speech.soundtrack import driving_sound
from streaming.take.take_file import Take, TakeError, parse
from streaming.take.take_file import load as load_take
from streaming.take.take_notes import notes_on

GREEN = "#00b140"


def drawn(take: Take, faces: int = 1, chunks: int = 2) -> tuple[list[np.ndarray], list[str]]:
    """Return the frames of the first chunks of a take and of the knot behind them, and the hashes of the chunks."""
    model = tiny_avatar()
    voices = [np.random.default_rng(face).normal(0, 0.1, 4 * RATE).astype(np.float32) for face in range(faces)]
    drives = [PortraitDrive(model, PORTRAIT, [voice]) for voice in voices]
    rollout = Rollout(model, take, drive=DialogueDrive(drives) if faces > 1 else drives[0], faces=faces)
    boundaries = list(rollout.until(chunks))
    return [*(boundary.frames for boundary in boundaries), rollout.ending()], [b.hash for b in boundaries]


@pytest.mark.parametrize("faces", [1, 2])
def test_a_background_is_laid_behind_every_frame_and_leaves_the_latents_as_they_are(faces: int) -> None:
    plain, hashes = drawn(TAKE, faces)
    green, same = drawn(TAKE.model_copy(update={"background": GREEN}), faces)
    assert same == hashes
    ground = Ground(installed_matte(), (0, 177, 64), faces)
    for before, after in zip(plain, green, strict=True):
        assert not np.array_equal(before, after)
        np.testing.assert_array_equal(after, ground.behind(before))


@in_simulated_time
async def test_the_film_of_a_live_take_has_the_background_that_was_seen(tmp_path: Path) -> None:
    device, model = DeviceThread(), tiny_avatar()
    take = TAKE.model_copy(update={"background": GREEN})
    session = Session(
        model, take, device, folder=tmp_path, clock=LoopClock(), avatar=partial(Avatar, model, PORTRAIT, None)
    )
    seen: dict[int, np.ndarray] = {}
    session.playout.watch(lambda shown, _: seen.setdefault(shown.frame, shown.picture))
    session.start()
    assert isinstance(session.avatar, Avatar)
    session.avatar.say(as_samples(tone(1)))
    try:
        await until(lambda: session.index >= 9)
    finally:
        await session.close()
        device.close()
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert take.background == GREEN
    assert take.sound is not None
    rollout = Rollout(model, take, drive=PortraitDrive(model, PORTRAIT, driving_sound(tmp_path / take.sound)))
    film = np.concatenate([boundary.frames for boundary in rollout.until(2)])
    assert len(seen) > 12
    for number in range(min(len(film), len(seen))):
        np.testing.assert_array_equal(seen[number], film[number])


def test_a_film_that_was_begun_on_another_background_is_not_gone_on_with(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * RATE))
    model, voice = tiny_avatar(), voice_in(tmp_path / "said.wav")
    job_of(model, PORTRAIT, voice, tmp_path / "film.mp4", 0).run(go_on=False)
    with pytest.raises(RenderError, match="another background"):
        job_of(model, PORTRAIT, voice, tmp_path / "film.mp4", 0, background=GREEN).run(go_on=True)


def test_a_portrait_whose_ground_cannot_be_told_from_a_person_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    with pytest.raises(PortraitError, match="cannot be told from the person"):
        require_separable(Reference(noise.tobytes(), 128, 128))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("background: #00b140", "write it in quotes"),
        ("background: green", "'green' is no colour such as #00b140"),
        ("background: '#00B140'", "is no colour"),
    ],
)
def test_a_take_file_names_its_background_as_a_colour_in_quotes(line: str, why: str) -> None:
    text = "model: pocket-avatar\n{}\ncues:\n  - prompt: a portrait speaks\n"
    assert parse(text.format(f"background: '{GREEN}'"), "take.yaml").background == GREEN
    with pytest.raises(TakeError, match=f"take.yaml:2: .*{why}"):
        parse(text.format(line), "take.yaml")


def test_a_model_that_draws_scenes_has_no_background_to_replace() -> None:
    take = parse(f"background: '{GREEN}'\ncues:\n  - prompt: a red ball bounces\n", "take.yaml")
    with pytest.raises(TakeError, match="background: #00b140 is for an avatar"):
        notes_on(take, POCKET)
