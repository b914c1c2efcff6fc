"""Read dialogues, put their turns in time, and render them: every face in step, each with its own voice."""

from __future__ import annotations

import unicodedata
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import tiny_avatar
from hypothesis import given
from hypothesis import strategies as st
from renders import KilledError

from models.catalog import AVATAR
from models.checkpoints.assemble import ASSETS, missing_files
from models.cue import Reference
from models.driving_signal import FRAME, RATE
from models.pocket.world.portrait.tts import Speaker, SpeechSynthesisError, installed
from streaming.render_files import RenderError
from streaming.rollout import Rollout
from streaming.speech.dialogue_file import Dialogue, DialogueError, Turn, read_dialogue
from streaming.speech.dialogue_film import DialogueDrive, Layout, arranged, job_of_dialogue, portraits_of
from streaming.speech.dialogue_sound import GAP, LEAD, DialogueSound, spoken_dialogue
from streaming.speech.fullband import REACH, driving_samples, quantised
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import as_sound
from streaming.take.speakers import TakeSpeaker
from streaming.take.take_file import CueLine, Take

TALK = """\
# at the door
Ada = voice en-us+f1, pitch 60
guest = guest.png, voice de+m3, speed 150

ada: Good evening: come in.
Guest: Guten Abend!
pause 1.5s
guest: Hm.
ada: Yes?
"""
FACES = [Reference(np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8).tobytes(), 32, 32) for i in (0, 1)]


def dialogue_of(text: str, folder: Path) -> Dialogue:
    (folder / "talk.txt").write_text(text, encoding="utf-8")
    return read_dialogue(folder / "talk.txt")


def humming(text: str, voice: Speaker) -> np.ndarray:
    """Speak as a tone of 50 ms for each character, at a loudness and a height that are the voice's."""
    t = np.arange(len(text) * 48_000 // 20) / 48_000
    return quantised((voice.pitch / 200 * np.sin(2 * np.pi * 2 * voice.speed * t)).astype(np.float32))


@pytest.fixture
def sound(tmp_path: Path) -> DialogueSound:
    """Return a dialogue of two faces in five turns, 2.9 s."""
    lines = "ada: Good evening.\nbo: Hello.\nada: Oh.\nbo: So.\nada: Bye.\n"
    return spoken_dialogue(dialogue_of(lines, tmp_path), "talk.txt", lambda text: None, humming)


def test_a_dialogue_says_who_speaks_with_which_face_and_voice(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "guest.png"), np.zeros((40, 40, 3), np.uint8))
    found = dialogue_of(TALK, tmp_path)
    ada, guest = found.roles
    assert (ada.name, ada.face, ada.portrait, ada.voice) == ("Ada", "ada", None, Speaker("en-us", "f1", 165, 60))
    assert (guest.portrait, guest.voice) == (tmp_path / "guest.png", Speaker("de", "m3", 150, 50))
    assert found.turns == (
        Turn(0, "Good evening: come in.", 5),
        Turn(1, "Guten Abend!", 6),
        Turn(1, "Hm.", 8, pause=1.5),
        Turn(0, "Yes?", 9),
    )
    assert [(p.reference.width, p.reference.height) for p in portraits_of(found, "talk.txt", (32, 32))][1] == (32, 32)


def test_a_wide_colon_or_equals_sign_is_read_as_one(tmp_path: Path) -> None:
    found = dialogue_of("Ada \uff1d voice en-us+f1\nada\uff1a Good: evening.\n", tmp_path)
    assert [turn.text for turn in found.turns] == ["Good: evening."]
    assert found.roles[0].voice.variant == "f1"


@pytest.mark.parametrize("name", ["नेहा", "ราตรี", "עֲדָה", "Mari\u0301a", "می\u200cنا", "O'Brien Jr."])
def test_a_name_is_of_any_script_and_the_same_however_its_accents_are_typed(name: str, tmp_path: Path) -> None:
    other = unicodedata.normalize("NFC", name)
    dialogue = dialogue_of(f"{name} = hair=curly\n{other}: A.\n{unicodedata.normalize('NFD', name)}: B.\n", tmp_path)
    assert [role.name for role in dialogue.roles] == [other]
    assert [turn.text for turn in dialogue.turns] == ["A.", "B."]
    assert TakeSpeaker(name=other).name == other


def test_speakers_without_a_voice_get_one_that_nobody_else_has(tmp_path: Path) -> None:
    lines = "zoe = hair=curly, skin=deep\ncem = voice de+f2\nlee = ada, voice fr-fr\nada: A.\nzoe: B.\ncem: C.\nlee: D."
    voices = [role.voice.variant for role in dialogue_of(lines, tmp_path).roles]
    assert len(set(voices)) == len(voices) == 4
    assert voices[1] == "f2"


def test_a_speaker_who_says_nothing_listens_and_is_told_of(tmp_path: Path) -> None:
    found = dialogue_of("elin = elin\nada: Hello.", tmp_path)
    assert len(found.roles) == 2
    assert found.notes == ("talk.txt: elin says nothing",)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("ada: A.\nGood evening", ":2: 'Good evening' is no line of a dialogue; write NAME: what is said"),
        ("ada: A.\nbob: B.", ":2: bob has no face; did you mean bo?"),
        ("xyz: A.", ":1: xyz has no face; say which before, such as xyz = xyz.png, voice en-gb+f3"),
        ("ada:", ":1: ada says nothing; write pause 1s for a silence"),
        ("a_b@: A.", ":1: 'a_b@' is no name"),
        (f"ada: {'a' * 4001}", ":1: 4001 characters are too long a turn"),
        ("ada: A.\nada = voice de+f1", ":2: ada has a face and a voice since line 1"),
        ("xyz = voice de+f1\nxyz: A.", ":1: xyz has no face; name a picture"),
        ("ada = none.png\nada: A.", ":1: 'none.png' is no picture here"),
        ("ada = bo, cem\nada: A.", ":1: a second face; say one"),
        ("ada = bo, hair=curly\nada: A.", ":1: a second face; say one"),
        ("ada = hair=green\nada: A.", ":1: 'hair=green' cannot be drawn"),
        ("ada = voice ../x\nada: A.", ":1: 'voice ../x' is no voice"),
        ("ada = voice de+f1, voice de+f2\nada: A.", ":1: a second voice; say one"),
        ("ada = speed 20\nada: A.", ":1: 'speed 20': write a whole number from 80 to 300"),
        ("ada = pitch x\nada: A.", ":1: 'pitch x': write a whole number from 0 to 99"),
        ("ada = bo,,pitch 3\nada: A.", ":1: a part between two commas is empty"),
        ("pause 1s\nada: A.", ":1: a pause before the first turn"),
        ("ada: A.\npause 1s", ":2: a pause at the end"),
        ("ada: A.\npause 1s\npause 1s\nada: B.", ":3: two pauses in a row"),
        ("ada: A.\npause long\nada: B.", ":2: 'long' is no time; write pause 1s"),
        ("ada: A.\npause 1h\nada: B.", ":2: a pause lasts from 0 to 60 seconds"),
        ("".join(f"s{i} = ada\n" for i in range(7)), ":7: s6 is one too many"),
        ("ada: A.\n" * 2001, ":2001: more than 2000 turns"),
        ("# nothing\n", ": nobody says anything"),
    ],
)
def test_what_is_no_dialogue_is_refused_with_its_line(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(DialogueError) as error:
        dialogue_of(text, tmp_path)
    assert str(error.value).startswith(f"talk.txt{wrong}")
    assert str(error.value).isprintable()


@given(st.lists(st.text("ab :=,.+-#1\tß", max_size=12), max_size=4))
def test_any_text_is_a_dialogue_or_is_refused_with_a_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("talk")
    wrong, found = "", None
    try:
        found = dialogue_of("\n".join(["ada: A.", *lines]), folder)
    except DialogueError as e:
        wrong = str(e)
    if found is None:
        assert 2 <= int(wrong.split(":")[1]) <= len(lines) + 1
    else:
        said = [line for line in lines if line.strip() and not line.strip().startswith("#")]
        declared = [role for role in found.roles if role.name != "ada"]
        assert len(found.turns) + len(declared) - 1 <= len(said)


def test_turns_follow_each_other_with_gaps_and_each_speaker_has_silence_while_others_speak(tmp_path: Path) -> None:
    lines = "ada: Good evening.\nbo: Hello.\npause 1s\nbo: So.\nada: Bye.\n"
    sound = spoken_dialogue(dialogue_of(lines, tmp_path), "talk.txt", lambda text: None, humming)
    begins = [turn.begin for turn in sound.turns]
    ends = [turn.end for turn in sound.turns]
    assert begins[0] == LEAD
    assert [b - e for b, e in zip(begins[1:], ends[:-1], strict=True)] == [GAP, RATE, GAP]
    ada, bo = (np.concatenate(list(sound.pieces(role))) for role in (0, 1))
    assert len(ada) == len(bo) == sound.samples
    assert not (ada * bo).any()
    assert max(map(len, sound.pieces(0))) <= RATE
    sound.write(tmp_path / "said.wav")
    with wave.open(str(tmp_path / "said.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (48_000, 3 * sound.samples)
        voice = np.frombuffer(file.readframes(3 * sound.samples), np.int16)
    assert np.array_equal(as_sound(driving_samples(voice, np.zeros(REACH, np.int16))), ada + bo)


def test_voices_are_equally_loud_and_a_voice_keeps_its_factor(tmp_path: Path) -> None:
    lines = "ada = pitch 5\nbo = pitch 95\nada: Good evening.\nbo: Hello there."
    sound = spoken_dialogue(dialogue_of(lines, tmp_path), "talk.txt", lambda text: None, humming)
    loud = [20 * np.log10(np.sqrt(np.square(turn.driving).mean())) for turn in sound.turns]
    assert loud == pytest.approx([-21, -21], abs=0.5)


def test_a_voice_that_fails_is_told_with_the_line_of_its_turn(tmp_path: Path) -> None:
    def failing(text: str, voice: Speaker) -> np.ndarray:
        raise SpeechSynthesisError("espeak-ng returned silence: the text holds no word")

    with pytest.raises(DialogueError, match=r"^talk.txt:2: espeak-ng returned silence"):
        spoken_dialogue(dialogue_of("\nada: ...", tmp_path), "talk.txt", lambda text: None, failing)


@pytest.mark.skipif(not installed(), reason="espeak-ng is not installed")
@pytest.mark.parametrize(
    ("voice", "wrong"), [("en-gb+zzz", "talk.txt:1: espeak-ng has no variant 'zzz'"), ("qq+f1", "talk.txt:2: .*qq")]
)
def test_a_voice_that_espeak_does_not_have_is_refused(tmp_path: Path, voice: str, wrong: str) -> None:
    with pytest.raises(DialogueError, match=wrong):
        spoken_dialogue(dialogue_of(f"ada = voice {voice}\nada: Hello.", tmp_path), "talk.txt", lambda text: None)


def test_every_face_is_drawn_as_if_it_were_alone_with_its_voice(sound: DialogueSound) -> None:
    model = tiny_avatar()
    take = Take(model="tiny-avatar", seed=4, length=9, cues=[CueLine(prompt="speaks")])
    drives = [PortraitDrive(model, face, sound.pieces(i)) for i, face in enumerate(FACES)]
    together = Rollout(model, take, drive=DialogueDrive(drives), faces=2)
    frames = np.concatenate([*(b.frames for b in together.until(3)), together.ending()])
    for i, face in enumerate(FACES):
        alone = Rollout(
            model, take.model_copy(update={"seed": 4 + i}), drive=PortraitDrive(model, face, sound.pieces(i))
        )
        own = np.concatenate([*(b.frames for b in alone.until(3)), alone.ending()])
        assert np.abs(frames[:, :, 32 * i : 32 * (i + 1)].astype(int) - own).max() <= 1
    assert frames.shape == (4 * 9 - 3 + 4, 32, 64, 3)


def test_a_dialogue_that_was_killed_resumes_to_the_same_film(tmp_path: Path, sound: DialogueSound) -> None:
    def killed(boundary, report):  # type: ignore[no-untyped-def]
        if boundary.first == 18:
            raise KilledError

    whole = job_of_dialogue(tiny_avatar(), FACES, sound, tmp_path / "whole.mp4", Layout.CUT)
    whole.run(go_on=False)
    part = job_of_dialogue(tiny_avatar(), FACES, sound, tmp_path / "part.mp4", Layout.CUT)
    with pytest.raises(KilledError):
        part.run(go_on=False, progress=killed)
    report = job_of_dialogue(tiny_avatar(), FACES, sound, tmp_path / "part.mp4", Layout.CUT).run(go_on=True)
    assert report.differing == []
    assert report.chunks < whole.chunks
    assert whole.out.read_bytes() == part.out.read_bytes()


@pytest.mark.parametrize("change", ["layout", "portrait", "sound"])
def test_another_dialogue_does_not_go_on_with_the_film_of_the_first(
    tmp_path: Path, sound: DialogueSound, change: str
) -> None:
    job_of_dialogue(tiny_avatar(), FACES, sound, tmp_path / "a.mp4", Layout.SIDE).run(go_on=False)
    layout = Layout.CUT if change == "layout" else Layout.SIDE
    faces = FACES[::-1] if change == "portrait" else FACES
    other = DialogueSound(sound.turns[:-1]) if change == "sound" else sound
    with pytest.raises(RenderError, match=f"another .*{change}"):
        job_of_dialogue(tiny_avatar(), faces, other, tmp_path / "a.mp4", layout).run(go_on=True)


@pytest.mark.parametrize("first", [0, 9, 31])
def test_a_film_that_cuts_shows_the_face_that_speaks(sound: DialogueSound, first: int) -> None:
    number = np.arange(first, first + 48, dtype=np.uint8)[:, None, None, None]
    faces = np.concatenate([np.full((48, 2, 3, 3), 100, np.uint8) * i + number for i in (0, 1)], 2)
    assert np.array_equal(arranged(sound, 2, Layout.SIDE).shown(faces, first), faces)
    cut = arranged(sound, 2, Layout.CUT).shown(faces, first)
    assert cut.shape == (48, 2, 3, 3)
    checked = 0
    for turn in sound.turns:
        for frame in range(turn.begin // FRAME - 1, turn.end // FRAME + 1):  # there shortly before and after it speaks
            if first <= frame < first + 48:
                assert (cut[frame - first] == 100 * turn.role + frame).all()
                checked += 1
    assert checked > 20


@pytest.mark.long
@pytest.mark.skipif(bool(missing_files(AVATAR, ASSETS)) or not installed(), reason="needs weights and espeak-ng")
def test_lips_of_both_faces_follow_their_own_voice_and_listeners_keep_their_mouths_shut(tmp_path: Path) -> None:
    import torch

    from models.checkpoints.assemble import load
    from models.judge import face_reader
    from models.judge.lip_sync import sync

    lines = (
        "cem = voice en-gb+m3\nada: Good evening. Did you see the moon tonight?\ncem: It is huge! I opened every window"
        " in the house.\nada: Then let us go for a walk by the river.\ncem: I would love to, by the way.\n"
    )
    found = dialogue_of(lines, tmp_path)
    sound = spoken_dialogue(found, "talk.txt", lambda text: None)
    model = load(AVATAR, ASSETS, torch.device("cpu"), torch.float32)
    faces = [portrait.reference for portrait in portraits_of(found, "talk.txt", AVATAR.size)]
    job = job_of_dialogue(model, faces, sound, tmp_path / "film.mp4")
    job.run(go_on=False)
    with av.open(str(job.out)) as film:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])
    reader = face_reader.load(ASSETS / "judge" / "face.safetensors")
    for i, role in enumerate(found.roles):
        mouth = reader.pose(np.ascontiguousarray(frames[:, :, 128 * i : 128 * (i + 1)]))["mouth"]
        spans = [np.arange(t.begin // FRAME, t.end // FRAME) for t in sound.turns if t.role != i]
        own = sync(mouth, np.concatenate(list(sound.pieces(i))))
        listening = float(mouth[np.concatenate(spans)].mean())
        print(
            f"{role.name}: sync {own.correlation:.2f} (chance {own.null:.2f}) at {own.lag_ms:+.0f} ms, {listening:.3f}"
        )
        assert own.margin > 0.2
        assert abs(own.lag_ms) <= 80
        assert listening < 0.1
