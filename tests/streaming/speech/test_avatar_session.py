"""Test a live avatar: sound leaves with its frames, an interruption silences it at once, its take can be rendered.

Time is simulated, so that what is measured does not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import statistics
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import tiny_avatar
from simulated_time import SimulatedLoop, in_simulated_time
from speakers import PORTRAIT, Watcher, as_samples, now, speaking, tone, until

from models.knot import DISAGREEMENT
from models.time_grid import TimeGrid
from streaming.live.session_state import AvatarState
from streaming.rollout import Rollout
from streaming.speech.avatar import Avatar
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.soundtrack import Soundtrack, driving_sound
from streaming.speech.speech_queue import MicrophoneUse
from streaming.take import journal
from streaming.take.history import replay_journal
from streaming.take.take_file import Take
from streaming.take.take_file import load as load_take
from streaming.transport.commands import ControlError, MicrophoneCommand, parse


def rendered(take: Take, folder: Path) -> dict[int, str]:
    """Return first latent → hash of every chunk, drawn offline from the files beside the take."""
    assert take.sound is not None
    model = tiny_avatar()
    rollout = Rollout(model, take, drive=PortraitDrive(model, PORTRAIT, driving_sound(folder / take.sound)))
    return {b.first: b.hash for b in rollout.until(take.chunks(TimeGrid(3, 3), 25))}


@in_simulated_time
async def test_speech_is_played_once_and_whole_with_the_frames_that_show_it() -> None:
    async with speaking() as (session, avatar, events):
        watcher = Watcher(session)
        await until(lambda: session.playout.released > 5)
        said = tone(1.5) * np.linspace(0.5, 1, int(1.5 * RATE), dtype=np.float32)
        avatar.say(as_samples(said))
        assert (avatar.has_to_say, avatar.state) == (True, AvatarState.IDLE)
        await until(lambda: not avatar.has_to_say and avatar.state is AvatarState.IDLE)
        heard = watcher.sound()
        (begin, *_) = np.flatnonzero(heard)
        assert (heard[begin - 1 : begin - 1 + len(said)] == as_samples(said)).all()
        assert not heard[begin - 1 + len(said) :].any()
        frames = [frame.frame for _, frame in watcher.shown]
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        assert (begin - 1) % FRAME == 0
        assert [e.state for e in events if e.type == "avatar"] == ["speaking", "idle"]


@in_simulated_time
async def test_frames_wait_no_longer_than_a_chunk_and_the_time_to_draw_one() -> None:
    async with speaking() as (session, _, _):
        await until(lambda: session.index >= 9)
        ahead: list[int] = []
        session.playout.watch(lambda frame, number: ahead.append(len(session.playout)))
        await until(lambda: len(ahead) >= 50)
        assert max(ahead) <= 12 + max(3, 1.25 * session.producer.timings.production) + 1
        assert min(ahead) >= 0
        assert statistics.mean(ahead) > 2  # and it does not stall


@in_simulated_time
async def test_a_render_of_the_take_and_its_sound_gives_the_same_latents(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (session, avatar, _):
        watcher = Watcher(session)
        await until(lambda: session.index >= 3)
        avatar.say(as_samples(tone(1.0)))
        await until(lambda: session.index >= 15)
        avatar.say(as_samples(tone(3.0, 330)))
        await until(lambda: avatar.state is AvatarState.SPEAKING and session.playout.released > 60)
        avatar.interrupt("asked to")
        await watcher.frames(7)
        avatar.say(as_samples(tone(0.5, 440)))
        session.obey(parse('{"id": 1, "type": "seed", "seed": 77}'))
        await watcher.frames(5)
        avatar.interrupt("asked to")
        await until(lambda: session.index >= 36)
        told = replay_journal(journal.read(tmp_path / f"{session.history.id}.jsonl"))
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert [e.seed for e in take.cues if e.seed] == [77]
    live = session.history.hashes
    assert rendered(take, tmp_path) == live
    assert any(e.hush is not None for e in take.cues)
    deaf = take.model_copy(update={"cues": [e for e in take.cues if e.hush is None]})
    assert rendered(deaf, tmp_path) != live
    assert told.history.hashes.items() <= live.items()
    assert told.history.take.sound == take.sound


@in_simulated_time
async def test_a_take_that_is_killed_can_be_rendered_from_its_files(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (session, avatar, _):
        avatar.say(as_samples(tone(2)))
        await until(lambda: session.index >= 15)
        name = session.history.id
        told = replay_journal(journal.read(tmp_path / f"{name}.jsonl"))
        (tmp_path / "killed.wav").write_bytes((tmp_path / f"{name}.wav").read_bytes())
        with wave.open(str(tmp_path / "killed.wav")) as file:
            assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
            assert file.getnframes() >= told.history.length * 4 * FRAME
        cut = told.take().model_copy(update={"sound": "killed.wav"})
        assert rendered(cut, tmp_path) == told.history.hashes


@in_simulated_time
async def test_an_interruption_silences_the_avatar_at_once_and_its_mouth_soon() -> None:
    """Check the goals: silent within 100 ms, drawn with silence within the time of a chunk and 200 ms."""
    silent, closed, chunk = [], [], []
    async with speaking() as (session, avatar, events):
        watcher = Watcher(session)
        for i in range(8):
            avatar.say(as_samples(tone(6)))
            await until(lambda: bool(watcher.loud(now() - 0.1)))
            await watcher.frames(12 + i)
            at, frame = now(), session.playout.next_frame
            stale = [f.picture for f in session.playout.waiting]
            avatar.interrupt("asked to")
            await watcher.frames(30)
            silent.append(max([t - at for t in watcher.loud(at)], default=0.0))
            # the first frame that was given silence, and was drawn after that
            new = [(t, f) for t, f in watcher.shown if not any(f.picture is old for old in stale)]
            closed.append(next(t - at for t, f in new if f.frame >= frame))
            chunk.append(session.producer.timings.production / 25)
            assert avatar.state is AvatarState.IDLE
        interrupted = [e for e in events if e.type == "interrupted"]
        assert [e.epoch for e in interrupted] == list(range(1, 9))
        frames = [f.frame for _, f in watcher.shown]
        assert frames == sorted(set(frames))  # no frame twice, none skipped
        assert len(frames) == frames[-1] + 1 - frames[0]
    print(f"\nsilent after {1000 * statistics.median(silent):.0f} ms (p50), {1000 * max(silent):.0f} ms (most of 8)")
    print(f"closed after {1000 * statistics.median(closed):.0f} ms (p50), {1000 * max(closed):.0f} ms (most of 8)")
    assert max(silent) <= 0.1
    assert max(closed) <= max(chunk) + 0.2 + 0.04  # frames leave every 40 ms


@in_simulated_time
async def test_after_an_interruption_only_the_mouth_changes() -> None:
    """Compare the redrawn chunk with the shown one: its past and its noise are the same."""
    async with speaking() as (session, avatar, _):
        watcher = Watcher(session)
        await until(lambda: session.playout.released > 30)
        avatar.say(as_samples(tone(4)))
        await until(lambda: bool(watcher.loud()))
        await watcher.frames(15)
        before = dict(session.history.hashes)
        avatar.interrupt("asked to")
        await until(lambda: session.index > max(before) + 6)
        kept = {k for k, v in before.items() if session.history.hashes[k] == v}
        assert len(kept) >= len(before) - 2
        steps = [
            float(np.abs(a.picture.astype(int) - b.picture).mean())
            for (_, a), (_, b) in zip(watcher.shown, watcher.shown[1:], strict=False)
        ]
        assert max(steps[20:]) <= 3 * statistics.quantiles(steps[20:], n=20)[-1] + 1


@in_simulated_time
async def test_after_an_interruption_new_speech_is_played_and_no_old_speech() -> None:
    async with speaking() as (session, avatar, _):
        watcher = Watcher(session)
        avatar.say(as_samples(tone(5, 200)))
        await until(lambda: bool(watcher.loud()))
        avatar.interrupt("asked to")
        at = len(watcher.shown)
        avatar.say(as_samples(tone(0.6, 900)))
        await until(lambda: not avatar.has_to_say)
        heard = np.concatenate([f.sound for _, f in watcher.shown[at + 1 :]]).astype(float)
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
        hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
        assert abs(hertz[spectrum.argmax()] - 900) < 5
        assert spectrum[(hertz > 180) & (hertz < 220)].max() < 0.02 * spectrum.max()
        assert np.abs(heard[heard.nonzero()[0][0] :]).max() > 3000


async def microphone(avatar: Avatar, sound: np.ndarray) -> None:
    """Send samples as a browser does: 20 ms at a time."""
    began = now()
    for i in range(0, len(sound) - 959, 960):
        await asyncio.sleep(max(0, began + i / RATE - now()))
        avatar.hear(as_samples(sound[i : i + 960]))


@in_simulated_time
async def test_a_puppet_repeats_its_microphone_without_a_gap_and_soon() -> None:
    """Measure the delay from a sound to the frame that shows it: the median and the worst of one utterance."""
    async with speaking() as (session, avatar, _):
        session.obey(MicrophoneCommand(id=1, type="microphone", use=MicrophoneUse.PUPPET))
        watcher = Watcher(session)
        await until(lambda: session.playout.released > 20)
        sweep = (0.3 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 2000, 4 * RATE)) / RATE)).astype(np.float32)
        began = now()
        await microphone(avatar, np.concatenate([np.zeros(RATE // 4, np.float32), sweep, np.zeros(RATE, np.float32)]))
        await until(lambda: avatar.state is AvatarState.IDLE)
        heard = watcher.sound().astype(float)
        (at, end) = np.flatnonzero(np.abs(heard) > 300)[[0, -1]]
        assert abs((end - at) / RATE - 4) < 0.1
        loud = np.abs(heard[at : at + 4 * RATE - 4800]).reshape(-1, 480).max(1)
        assert loud.min() > 500  # no gap of 10 ms in it
        times = np.repeat([t for t, _ in watcher.shown], FRAME) + np.tile(np.arange(FRAME) / RATE, len(watcher.shown))
        late = times[at : at + 4 * RATE] - (began + 0.25 + np.arange(4 * RATE) / RATE)
    print(f"\nmicrophone to screen: p50 {1000 * np.median(late):.0f} ms, p95 {1000 * np.quantile(late, 0.95):.0f} ms")
    # the sum of a chunk, the sound beyond its end that it needs, the time to draw it, and the encoders
    assert np.median(late) < 0.48 + 0.2 + 0.3


@in_simulated_time
async def test_an_avatar_goes_on_when_its_microphone_disappears() -> None:
    async with speaking() as (session, avatar, _):
        session.obey(MicrophoneCommand(id=1, type="microphone", use=MicrophoneUse.PUPPET))
        await until(lambda: session.playout.released > 5)
        await microphone(avatar, tone(0.8))  # then the microphone sends nothing, not even silence
        await until(lambda: avatar.state is not AvatarState.IDLE)
        released = session.playout.released
        await until(lambda: session.playout.released > released + 25, 1.8)
        await until(lambda: avatar.state is AvatarState.IDLE)
        avatar.say(as_samples(tone(0.5)))
        await until(lambda: avatar.state is AvatarState.SPEAKING)


@in_simulated_time
async def test_speech_from_the_viewer_interrupts_the_avatar_which_listens() -> None:
    async with speaking() as (session, avatar, events):
        watcher = Watcher(session)
        avatar.say(as_samples(tone(6)))
        await until(lambda: bool(watcher.loud()))
        began = now()
        await microphone(avatar, tone(0.6, 500))
        interrupted = next(e for e in events if e.type == "interrupted")
        assert interrupted.why == "somebody speaks"
        assert avatar.state is AvatarState.LISTENING
        assert max(watcher.loud(began)) - began < 0.16 + 0.1  # the gate is sure after 160 ms
        await microphone(avatar, np.zeros(RATE // 2, np.float32))
        assert avatar.state is AvatarState.IDLE


@in_simulated_time
async def test_speech_from_the_viewer_that_began_before_the_avatars_interrupts_it_too() -> None:
    async with speaking() as (session, avatar, events):
        await until(lambda: session.playout.released > 5)
        talk = asyncio.create_task(microphone(avatar, tone(2, 500)))
        await until(lambda: avatar.state is AvatarState.LISTENING)
        began = now()
        avatar.say(as_samples(tone(6)))
        await until(lambda: any(e.type == "interrupted" for e in events), 1)
        assert 0.1 < now() - began < 0.16 + 0.2
        assert avatar.state is AvatarState.LISTENING
        talk.cancel()


@in_simulated_time
async def test_a_loud_fan_neither_interrupts_the_avatar_nor_hides_speech_that_does() -> None:
    async with speaking() as (session, avatar, events):
        fan = (10 ** (-45 / 20) * np.random.default_rng(0).standard_normal(10 * RATE)).astype(np.float32)
        await until(lambda: session.playout.released > 5)
        for i in range(0, 8 * RATE, 960):  # the fan runs for 8 s before
            avatar.hear(as_samples(fan[i : i + 960]))
        assert avatar.state is AvatarState.IDLE
        avatar.say(as_samples(tone(6)))
        await microphone(avatar, fan[: RATE // 2])
        assert avatar.has_to_say
        await microphone(avatar, fan[: RATE // 2] + tone(0.5, 500))
        assert [e.why for e in events if e.type == "interrupted"] == ["somebody speaks"]


@in_simulated_time
async def test_a_puppet_is_not_interrupted_by_its_own_voice() -> None:
    async with speaking() as (session, avatar, events):
        session.obey(MicrophoneCommand(id=1, type="microphone", use=MicrophoneUse.PUPPET))
        await until(lambda: session.playout.released > 5)
        await microphone(avatar, tone(1.5, 500))
        assert avatar.state is AvatarState.SPEAKING
        assert not [e for e in events if e.type == "interrupted"]


@in_simulated_time
async def test_an_avatar_that_is_interrupted_30_times_a_second_goes_on() -> None:
    """Interrupt as a key that is held down does, at intervals shorter than the time that a chunk takes."""
    async with speaking() as (session, avatar, events):
        await until(lambda: session.index >= 6)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.drawing = 0.15
        avatar.say(as_samples(tone(20)))
        await until(lambda: avatar.state is AvatarState.SPEAKING and session.playout.audible)
        began, frame = session.index, session.playout.next_frame
        for _ in range(60):
            avatar.interrupt("asked to")
            await asyncio.sleep(1 / 30)
        assert session.playout.next_frame >= frame + 40
        assert session.index >= began + 6
        assert [e.epoch for e in events if e.type == "interrupted"] == list(range(1, 61))
        avatar.say(as_samples(tone(3)))
        await until(lambda: session.playout.audible)
        generation = avatar.interruptions.generation
        avatar.interrupt("asked to")  # speech is audible again
        assert not session.playout.audible
        assert avatar.interruptions.generation == generation + 1


@in_simulated_time
async def test_disagreement_of_chunks_with_knots_is_reported_and_recorded(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (session, _, _):
        await until(lambda: session.index >= 12)
        told, chunks = session.status().knots, len(session.history.hashes)
    lines = [x for x in journal.read(tmp_path / f"{session.history.id}.jsonl") if x.type == "chunk"][:chunks]
    apart = [x.disagreement for x in lines]
    assert all(a > 0 for a in apart)
    assert told.max == pytest.approx(max(apart[1:]), abs=1e-3)
    assert told.median == pytest.approx(statistics.median(apart[1:]), abs=1e-3)
    assert told.leaned == sum(a > DISAGREEMENT for a in apart[1:])


@in_simulated_time
async def test_a_hum_and_a_click_do_not_interrupt() -> None:
    async with speaking() as (_, avatar, events):
        avatar.say(as_samples(tone(3)))
        room = 0.003 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
        room[24_000:25_200] = 0.5
        await microphone(avatar, room)
        assert not [e for e in events if e.type == "interrupted"]


@in_simulated_time
async def test_an_avatar_refuses_prompts_rewinds_and_look_ahead() -> None:
    async with speaking() as (session, _, _):
        await until(lambda: session.index >= 6)
        for message, why in (
            ('{"id": 1, "type": "prompt", "text": "the sea"}', "let it speak"),
            ('{"id": 1, "type": "rewind", "latent": 3}', "no way back"),
            ('{"id": 1, "type": "look_ahead", "value": "lossless"}', "as early as it can"),
        ):
            with pytest.raises(ControlError, match=why):
                session.obey(parse(message))


@in_simulated_time
async def test_a_full_disk_stops_the_files_and_not_the_avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with speaking(tmp_path) as (session, _, events):
        await until(lambda: session.index >= 3)

        add = Soundtrack.add

        def full(track: Soundtrack, sound: np.ndarray) -> None:
            add(track, sound)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Soundtrack, "add", full)
        await until(lambda: any(e.type == "warning" for e in events))
        length = session.index
        await until(lambda: session.index >= length + 9)


@in_simulated_time
async def test_an_avatar_reports_sync_and_identity() -> None:
    class Mouth:
        """Read a mouth that is as open as the picture is bright."""

        def identity(self, frames: np.ndarray) -> np.ndarray:
            return np.ones((len(frames), 1), np.float32)

        def pose(self, frames: np.ndarray) -> dict[str, np.ndarray]:
            return {"mouth": frames.mean((1, 2, 3)).astype(np.float64)}

    async with speaking(reader=Mouth()) as (session, avatar, events):
        viewer = session.broadcast.join()
        avatar.say(as_samples(np.tile(np.concatenate([tone(0.2), np.zeros(RATE // 5, np.float32)]), 20)))
        await until(lambda: any(e.type == "meters" and e.sync is not None for e in events), 12)
        session.broadcast.leave(viewer)
    meters = [e for e in events if e.type == "meters"]
    assert meters[0].sync is None  # too little has been said
    assert meters[-1].identity == 1


@in_simulated_time
async def test_a_recording_has_the_sound_with_its_frames(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (session, avatar, events):
        await until(lambda: session.playout.released > 5)
        session.obey(parse('{"id": 1, "type": "record"}'))
        avatar.say(as_samples(tone(1.0)))
        watcher = Watcher(session)
        await until(lambda: not avatar.has_to_say)
        first = session.playout.released - len(watcher.shown)
        begins = first + next(i for i, (_, f) in enumerate(watcher.shown) if f.sound.any())
        await watcher.frames(8)
        session.obey(parse('{"id": 2, "type": "stop_recording"}'))
        await until(lambda: any(e.type == "recording" and not e.on for e in events))
    with av.open(str(tmp_path / f"{session.history.id}-1.mp4")) as film:
        times = [f.time for f in film.decode(video=0)]
    with av.open(str(tmp_path / f"{session.history.id}-1.mp4")) as film:
        heard = [(f.time, np.abs(f.to_ndarray()).max()) for f in film.decode(audio=0)]
    assert np.allclose(np.diff(times), 0.04, atol=0.001)
    assert 0 < next(t for t, loud in heard if loud > 0.05) < begins / 25
    assert sum(loud > 0.05 for _, loud in heard) == pytest.approx(50, abs=4)
