"""Test a live dialogue: faces speak in turn, are silenced one by one or together, and their take can be rendered."""

from __future__ import annotations

import asyncio
import itertools
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clocks import LoopClock
from conftest import tiny_avatar
from simulated_time import SimulatedLoop
from speakers import as_samples, tone

from models.cue import Reference
from models.time_grid import TimeGrid
from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.media.h264 import Picture
from streaming.speech.avatar import Place
from streaming.speech.barge_in import BargeIn
from streaming.speech.face_cut import AHEAD, FaceCut
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.joined_sound import GAP
from streaming.speech.live_dialogue import LiveDialogue, UnknownSpeakerError
from streaming.speech.live_dialogue_film import job_of_live_dialogue
from streaming.speech.speech_queue import SpeechQueueError
from streaming.speech.utterance import Utterance
from streaming.take.speakers import LayoutName, TakeSpeaker
from streaming.take.take_file import CueLine, Take
from streaming.take.take_file import load as load_take

SPEAKERS = [TakeSpeaker(name="ada"), TakeSpeaker(name="bo")]


def portrait(seed: int) -> Reference:
    return Reference(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8).tobytes(), 32, 32)


class Stage:
    """Hold a running dialogue with all that was told and shown."""

    def __init__(self, session: Session, dialogue: LiveDialogue) -> None:
        self.session, self.dialogue = session, dialogue
        self.events: list[Any] = []
        self.shown: list[Shown] = []
        session.listen(self.events.append)
        session.playout.watch(lambda frame, number: self.shown.append(frame))

    def say(
        self,
        speaker: str,
        seconds: float,
        name: str,
        hertz: float = 220,
        place: Place = Place.APPEND,
        pause: float | None = None,
    ) -> None:
        utterance = Utterance(name)
        utterance.pause = None if pause is None else round(pause * RATE)
        utterance.caption(f"This is {speaker}.")
        utterance.add(as_samples(tone(seconds, hertz)))
        self.dialogue.speaker(speaker).begin(utterance, place)
        self.dialogue.speaker(speaker).commit(utterance)

    def told(self, *types: str) -> list[Any]:
        return [event for event in self.events if event.type in types]

    def sound(self) -> np.ndarray:
        return np.concatenate([frame.sound for frame in self.shown])


@asynccontextmanager
async def staged(layout: LayoutName, folder: Path | None) -> AsyncIterator[Stage]:
    device, model = DeviceThread(), tiny_avatar()
    cues = [CueLine(prompt="a portrait speaks")]
    take = Take(model="tiny-avatar", seed=5, length=1, cues=cues, speakers=SPEAKERS, layout=layout)
    faces = {"ada": portrait(0), "bo": portrait(1)}
    maker = partial(LiveDialogue, model, faces, layout=layout)
    session = Session(model, take, device, folder=folder, clock=LoopClock(), avatar=maker)
    dialogue = session.avatar
    assert isinstance(dialogue, LiveDialogue)
    stage = Stage(session, dialogue)
    session.start()
    try:
        await asyncio.sleep(1)
        yield stage
    finally:
        await session.close()
        device.close()


def simulated(
    test: Callable[[Stage], Any], layout: LayoutName = "side", folder: Path | None = None, drawing: float = 0.15
) -> None:
    """Run a test with a dialogue of two faces in simulated time, in which a chunk takes `drawing` seconds."""

    async def run() -> None:
        async with staged(layout, folder) as stage:
            await test(stage)

    loop = partial(SimulatedLoop, encoding=0.01, drawing=drawing, late=True)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


def loud_spans(sound: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, end) of each stretch of sound with less than 0.1 s of silence in it."""
    at = np.flatnonzero(sound)
    breaks = np.flatnonzero(np.diff(at) > RATE // 10)
    return list(zip([at[0], *at[breaks + 1]], [*at[breaks] + 1, at[-1] + 1], strict=True))


def test_faces_speak_one_after_another_with_a_quarter_of_a_second_between_and_events_name_them() -> None:
    async def test(stage: Stage) -> None:
        stage.say("ada", 1.3, "a")
        stage.say("bo", 0.7, "b", 330)
        stage.say("ada", 0.9, "c")
        await asyncio.sleep(6)
        spans = loud_spans(stage.sound())
        assert [round((end - begin) / RATE, 2) for begin, end in spans] == [1.3, 0.7, 0.9]
        gaps = [begin - end for (_, end), (begin, _) in itertools.pairwise(spans)]
        assert all(GAP <= gap <= GAP + FRAME for gap in gaps)
        got = [(e.type, e.speaker, e.utterance) for e in stage.told("utterance.started", "caption", "utterance.ended")]
        assert got == [
            (kind, speaker, name)
            for speaker, name in (("ada", "a"), ("bo", "b"), ("ada", "c"))
            for kind in ("utterance.started", "caption", "utterance.ended")
        ]
        for speaker, turns in (("ada", 2), ("bo", 1), (None, 1)):
            states = [e.state for e in stage.told("avatar") if e.speaker == speaker]
            assert states == ["speaking", "idle"] * turns

    simulated(test)


def test_a_turn_begins_after_its_own_pause_also_behind_its_own_speaker() -> None:
    async def test(stage: Stage) -> None:
        stage.say("ada", 0.6, "a", pause=5)  # before the first turn there is nothing to wait for
        stage.say("bo", 0.7, "b", 330, pause=1.5)
        stage.say("bo", 0.5, "c", 330, pause=0.8)
        stage.say("ada", 0.5, "d", pause=0)
        stage.say("bo", 0.5, "e", 330)
        await asyncio.sleep(8)
        spans = loud_spans(stage.sound())
        gaps = [begin - end for (_, end), (begin, _) in itertools.pairwise(spans)]
        wanted = [1.5 * RATE, 0.8 * RATE, GAP]  # without a pause two turns are one stretch of sound
        assert all(gap <= found <= gap + FRAME for gap, found in zip(wanted, gaps, strict=True))
        assert [round((end - begin) / RATE, 1) for begin, end in spans] == [0.6, 0.7, 1.0, 0.5]
        assert [e.utterance for e in stage.told("utterance.ended")] == list("abcde")

    simulated(test)


def test_a_turn_waits_for_one_that_still_arrives() -> None:
    async def test(stage: Stage) -> None:
        first, ada = Utterance("a"), stage.dialogue.speaker("ada")
        ada.begin(first)
        stage.say("bo", 0.5, "b", 330)
        for _ in range(20):
            ada.add(first, as_samples(tone(0.1)))
            await asyncio.sleep(0.08)
        assert not stage.told("utterance.started") or {e.speaker for e in stage.told("utterance.started")} == {"ada"}
        ada.commit(first)
        await asyncio.sleep(3)
        assert [e.speaker for e in stage.told("utterance.ended")] == ["ada", "bo"]
        assert len(loud_spans(stage.sound())) == 2

    simulated(test)


def test_one_speaker_is_silenced_and_the_other_takes_the_turn() -> None:
    async def test(stage: Stage) -> None:
        stage.say("ada", 3.0, "a")
        stage.say("bo", 1.0, "b", 330)
        await asyncio.sleep(1.5)
        released = stage.session.playout.released
        heard = stage.dialogue.speaker("ada").interrupt("asked to")
        assert [part.utterance for part in heard] == ["a"]
        await asyncio.sleep(4)
        (begin, end), *_ = loud_spans(stage.sound())
        assert heard[0].sample == pytest.approx(end - begin, abs=2)  # the tone begins and may end with 0
        cut = stage.sound()[FRAME * released :]
        (begin, end), *more = loud_spans(cut)
        assert (end - begin) == pytest.approx(1.0 * RATE, abs=FRAME)
        assert not more
        assert [(e.speaker, e.why) for e in stage.told("utterance.ended")] == [
            ("ada", "interrupted"),
            ("bo", "complete"),
        ]

    simulated(test)


def test_a_listener_who_speaks_silences_whoever_speaks() -> None:
    async def test(stage: Stage) -> None:
        stage.say("bo", 3.0, "b", 330)
        stage.say("ada", 1.0, "a")
        await asyncio.sleep(1.2)
        assert stage.dialogue.speaker("bo").state == "speaking"
        sweep = 0.3 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 2000, 48 * 960)) / RATE)
        for piece in as_samples(np.concatenate([np.zeros(12 * 960), sweep])).reshape(-1, 960):
            stage.dialogue.hear(piece)
            await asyncio.sleep(0.02)
        assert {e.why for e in stage.told("interrupted")} == {"somebody speaks"}
        ended = {(e.speaker, e.why) for e in stage.told("utterance.ended")}
        assert ended == {("bo", "interrupted"), ("ada", "interrupted")}
        released = stage.session.playout.released
        await asyncio.sleep(2)
        assert not stage.sound()[FRAME * released :].any()

    simulated(test)


def test_a_listener_who_speaks_lowers_the_voices_of_all_where_the_policy_is_to_duck() -> None:
    async def test(stage: Stage) -> None:
        stage.dialogue.barge_in = BargeIn.DUCK
        stage.say("ada", 1.2, "a")
        stage.say("bo", 3.0, "b", 330)
        for piece in as_samples(np.concatenate([np.zeros(100 * 960), tone(1, 700)])).reshape(-1, 960):
            stage.dialogue.hear(piece)
            await asyncio.sleep(0.02)
        assert stage.dialogue.speaker("bo").state == "speaking"
        assert [e.speaks for e in stage.told("listener")] == [True]
        before, after = stage.shown[-40].sound, stage.shown[-1].sound  # 1.6 s apart: alone, and beside the listener
        assert 20 * np.log10(np.ptp(after) / np.ptp(before)) == pytest.approx(-15, abs=0.5)
        assert stage.told("interrupted") == []

    simulated(test)


def test_a_speaker_is_found_by_name_case_aside_and_the_status_counts_what_all_have_to_say() -> None:
    async def test(stage: Stage) -> None:
        assert stage.dialogue.speaker("BO") is stage.dialogue.speaker("bo")
        assert stage.dialogue.speaker(None) is stage.dialogue.speaker("ada")
        stage.say("Ada", 1.0, "a")
        stage.say("Bo", 3.0, "b")
        status = stage.session.status()
        assert (status.to_say_s, status.speaking) == (4.0, [])
        await asyncio.sleep(1)
        assert stage.session.status().speaking == ["ada"]

    simulated(test)


def test_what_is_heard_is_counted_at_the_nearest_viewer_for_every_face_and_no_more_once_that_has_left() -> None:
    async def test(stage: Stage) -> None:
        leave = stage.dialogue.add_listener(lambda: None)
        for present in (True, False):
            stage.say("ada", 0.5, f"a {present}")
            stage.say("bo", 0.5, f"b {present}")
            await asyncio.sleep(3)
            leave()
        heard = [(e.utterance, e.seconds) for e in stage.told("utterance.ended")]
        assert heard == [("a True", 0), ("b True", 0), ("a False", 0.5), ("b False", 0.5)]

    simulated(test)


def test_what_replaces_silences_all_and_names_are_taken_once() -> None:
    async def test(stage: Stage) -> None:
        stage.say("ada", 2.0, "a")
        with pytest.raises(SpeechQueueError, match="named a"):
            stage.say("bo", 0.5, "a")
        await asyncio.sleep(1.2)
        stage.say("bo", 0.5, "b", 330, Place.REPLACE)
        await asyncio.sleep(3)
        assert [(e.speaker, e.why) for e in stage.told("utterance.ended")] == [("ada", "replaced"), ("bo", "complete")]
        with pytest.raises(UnknownSpeakerError, match="no speaker is called 'cem'; there are ada, bo"):
            stage.dialogue.speaker("cem")

    simulated(test)


@pytest.mark.parametrize("drawing", [0.15, 1.2])  # seconds for the 0.48 s of a chunk
def test_a_film_that_cuts_shows_the_face_that_speaks_also_where_pictures_are_late(drawing: float) -> None:
    stages: list[Stage] = []

    async def test(stage: Stage) -> None:
        stages.append(stage)
        seen_of = stage.session.playout.seen_of

        def painted(picture: Picture, frame: int) -> Picture:
            both = picture.copy()
            both[:, :32], both[:, 32:] = 0, 255
            return seen_of(both, frame)

        stage.session.playout.seen_of = painted
        await asyncio.sleep(3)
        stage.shown.clear()
        await asyncio.sleep(0.5)
        stage.say("bo", 1.0, "b", 330)
        stage.say("ada", 1.2, "a")
        stage.say("bo", 0.6, "c", 330)
        await asyncio.sleep(6)
        assert [e.speaker for e in stage.told("utterance.started")] == ["bo", "ada", "bo"]

    simulated(test, "cut", drawing=drawing)
    film = stages[0].shown
    assert all(frame.picture.shape == (32, 32, 3) and np.ptp(frame.picture) == 0 for frame in film)
    assert any(frame.held for frame in film) == (drawing > 0.48)
    faces = [int(frame.picture.any()) for frame in film]
    turns = loud_spans(np.concatenate([frame.sound for frame in film]))
    assert [set(faces[begin // FRAME : -(-end // FRAME)]) for begin, end in turns] == [{1}, {0}, {1}]
    heard = [bool(frame.sound.any()) for frame in film]
    cuts = [n for n in range(1, len(faces)) if faces[n] != faces[n - 1]]
    assert len(cuts) == 3
    assert all(not heard[n - 1] and any(heard[n : n + AHEAD + 1]) for n in cuts)


def test_slow_drawing_is_told_once_and_not_by_every_face() -> None:
    async def test(stage: Stage) -> None:
        await asyncio.sleep(3)
        assert [(e.slow, getattr(e, "speaker", None)) for e in stage.told("slow")] == [(True, None)]

    simulated(test, drawing=1.2)


def test_a_cut_comes_before_the_voice_and_not_while_the_other_speaks() -> None:
    heard = {(0, f) for f in range(10, 20)} | {(1, f) for f in range(22, 30)}
    cut = FaceCut(2, lambda face, frame: (face, frame) in heard)
    film = np.stack([np.full((2, 2, 3), n, np.uint8).repeat(2, 1) for n in range(40)])
    film[:, :, 2:] += 100  # the second face
    shown = np.concatenate([cut.of(film[:24], 0), cut.of(film[24:], 24)])[:, 0, 0, 0]
    assert [frame for frame in range(1, 40) if (shown[frame] > 99) != (shown[frame - 1] > 99)] == [20]
    again = cut.of(film[16:], 16)[:, 0, 0, 0]
    assert (again == shown[16:]).all()


@pytest.mark.parametrize("silenced", [None, "ada", "cleared"])
def test_a_render_of_the_recorded_dialogue_gives_the_same_latents(tmp_path: Path, silenced: str | None) -> None:
    stages: list[Stage] = []

    async def test(stage: Stage) -> None:
        stages.append(stage)
        stage.say("ada", 2.0, "a")
        stage.say("bo", 1.0, "b", 330)
        await asyncio.sleep(1.5)
        if silenced == "ada":
            stage.dialogue.speaker(silenced).interrupt("asked to")
        elif silenced is not None:
            while not stage.dialogue.find("b").given:
                await asyncio.sleep(0.01)
            assert [part.utterance for part in stage.dialogue.clear()] == ["b"]
        await asyncio.sleep(4)
        heard = {e.utterance: (e.why, e.seconds > 0) for e in stage.told("utterance.ended")}
        ends = {None: ("complete", True), "ada": ("complete", True), "cleared": ("cleared", False)}
        assert heard == {"a": ("interrupted" if silenced == "ada" else "complete", True), "b": ends[silenced]}

    simulated(test, folder=tmp_path)
    (stage,) = stages
    history = stage.session.history
    take = load_take(tmp_path / f"{history.id}.yaml")
    assert [speaker.name for speaker in take.speakers or []] == ["ada", "bo"]
    hushed = {cue.speaker for cue in take.cues if cue.hush is not None}
    assert hushed == {"ada"} if silenced == "ada" else hushed <= {"bo"}
    model = tiny_avatar()
    job, sound = job_of_live_dialogue(model, take, tmp_path, tmp_path / "film.mp4")
    rollout = job.rollout()
    drawn = {b.first: b.hash for b in rollout.until(take.chunks(TimeGrid(3, 3), 25))}
    assert drawn == history.hashes
    with wave.open(str(sound)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert (heard[: len(stage.sound())] == stage.sound()[: len(heard)]).all()
