"""Test what an avatar does when somebody speaks to it, and that its own echo is not taken for somebody."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from fractions import Fraction
from functools import partial
from typing import Any

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from clocks import LoopClock
from conftest import tiny_avatar
from hypothesis import given
from hypothesis import strategies as st
from rooms import at_level, delays, echo_of, onsets, onsets_in_echo, sentence, spoken_at, talk, white
from simulated_time import SimulatedLoop
from speakers import PORTRAIT, TAKE, as_samples, tone

from models.driving_signal import RATE as DRIVING_RATE
from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.live.session_state import AvatarState
from streaming.speech import detectors
from streaming.speech.avatar import Avatar
from streaming.speech.barge_in import BargeIn
from streaming.speech.detectors import DetectorError, best_detector, new_detector
from streaming.speech.echo_canceller import EchoFreeDetector
from streaming.speech.fullband import FRAME, RATE, DrivingSamples, quantised, whole_sound
from streaming.speech.microphone import listen
from streaming.speech.speech_queue import MicrophoneUse
from streaming.speech.voice_activity import BLOCK, Detector
from streaming.speech.voice_gain import DUCKED, VoiceGain
from streaming.transport.commands import ControlError, parse
from streaming.transport.events import Event

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng"
)
PIECE = RATE // 50  # samples of a microphone that arrive at once: 20 ms


class Room:
    """Run an avatar in a room, in simulated time: its microphone hears voices, and the avatar as an echo."""

    def __init__(self, session: Session, avatar: Avatar, events: list[Event], echo: float, delay: float) -> None:
        """Hear the avatar `delay` seconds after its frames were released, at `echo` dB of them."""
        self.session, self.avatar, self.events = session, avatar, events
        self._air = np.zeros(60 * RATE, np.float32)  # what is played, from the room's begin on
        self._delay, self._factor = round(delay * RATE), 10 ** (echo / 20)
        self._begin = asyncio.get_running_loop().time()
        self.played: list[np.ndarray] = []  # sound of each frame
        session.playout.watch(lambda frame, number: self._play(frame.sound))

    def _play(self, sound: np.ndarray) -> None:
        self.played.append(sound)
        at = round((asyncio.get_running_loop().time() - self._begin) * RATE) + self._delay
        self._air[at : at + len(sound)] = self._factor * sound.astype(np.float32) / 32768

    async def pass_time(self, seconds: float, voice: np.ndarray | None = None) -> None:
        """Let the microphone send what it hears, 20 ms at a time; `voice` [samples] speaks from the begin on."""
        loop = asyncio.get_running_loop()
        hiss = np.random.default_rng(0)
        for n in range(round(seconds * 50)):
            await asyncio.sleep(0.02)
            at = round((loop.time() - self._begin) * RATE) - PIECE
            heard = self._air[at : at + PIECE] + 0.0005 * hiss.standard_normal(PIECE)
            if voice is not None:
                said = voice[n * PIECE :][:PIECE]
                heard[: len(said)] += said
            self.avatar.hear(as_samples(np.clip(heard, -1, 1)))

    def told(self, kind: str) -> list[Any]:
        """Return the events of a type so far."""
        return [e for e in self.events if e.type == kind]


@asynccontextmanager
async def listening(
    detector: Detector = Detector.ENERGY, barge_in: BargeIn = BargeIn.STOP, echo: float = -200.0, delay: float = 0.1
) -> AsyncIterator[Room]:
    """Run a session of a tiny avatar that listens; yield its room once it plays."""
    device, model = DeviceThread(), tiny_avatar()
    avatar = partial(Avatar, model, PORTRAIT, None, detector=new_detector(detector), barge_in=barge_in)
    session = Session(model, TAKE, device, clock=LoopClock(), avatar=avatar)
    assert session.avatar is not None
    events: list[Event] = []
    session.listen(events.append)
    session.start()
    room = Room(session, session.avatar, events, echo, delay)
    try:
        await room.pass_time(1)
        yield room
    finally:
        await session.close()
        device.close()


def simulated(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in simulated time, on a machine that draws fast."""
    with asyncio.Runner(loop_factory=partial(SimulatedLoop, encoding=0.004, drawing=0.1, late=True)) as runner:
        runner.run(test())


def voice_of(seed: int) -> np.ndarray:
    """Return a sentence at 48 kHz [samples], float32."""
    return whole_sound(sentence(seed), DRIVING_RATE).astype(np.float32) / 32768


def monologue(seconds: float) -> np.ndarray:
    """Return what an avatar says, [samples] int16 at 48 kHz."""
    return whole_sound(talk(seconds, 5, "f2"), DRIVING_RATE)


def loudness(frames: list[np.ndarray]) -> float:
    return 10 * np.log10(np.square(np.concatenate(frames).astype(float)).mean() + 1e-9)


# -- what speech does ---------------------------------------------------------------------------------------------


def test_speech_stops_an_avatar_by_default() -> None:
    async def test() -> None:
        async with listening() as room:
            room.avatar.say(as_samples(tone(8)))
            await room.pass_time(2)
            await room.pass_time(0.6, tone(0.6, 500))
            (interrupted,) = room.told("interrupted")
            assert interrupted.why == "somebody speaks"
            assert room.avatar.state is AvatarState.LISTENING
            assert not any(f.any() for f in room.played[-3:])

    simulated(test)


def test_speech_lowers_the_voice_of_an_avatar_that_ducks_and_silence_brings_it_back() -> None:
    async def test() -> None:
        async with listening(barge_in=BargeIn.DUCK) as room:
            room.avatar.say(as_samples(tone(12)))
            await room.pass_time(2)
            before = loudness(room.played[-10:])
            await room.pass_time(1.5, tone(1.5, 500))
            assert room.avatar.state is AvatarState.SPEAKING
            assert loudness(room.played[-10:]) - before == pytest.approx(DUCKED, abs=0.1)
            await room.pass_time(1.5)
            assert loudness(room.played[-10:]) == pytest.approx(before, abs=0.1)
            assert room.told("interrupted") == []
            assert [e.speaks for e in room.told("listener")] == [True, False]

    simulated(test)


def test_speech_does_nothing_to_an_avatar_that_ignores_it_but_is_told() -> None:
    async def test() -> None:
        async with listening(barge_in=BargeIn.IGNORE) as room:
            room.avatar.say(as_samples(tone(8)))
            await room.pass_time(2)
            before = loudness(room.played[-10:])
            await room.pass_time(1, tone(1, 500))
            assert loudness(room.played[-10:]) == pytest.approx(before, abs=0.1)
            await room.pass_time(0.6)
            assert room.told("interrupted") == []
            assert [e.speaks for e in room.told("listener")] == [True, False]

    simulated(test)


def test_what_speech_does_can_be_changed_while_the_avatar_speaks() -> None:
    async def test() -> None:
        async with listening(barge_in=BargeIn.IGNORE) as room:
            room.avatar.say(as_samples(tone(8)))
            await room.pass_time(2)
            await room.pass_time(1, tone(1, 500))
            room.session.obey(parse(json.dumps({"id": 1, "type": "barge_in", "policy": "stop"})))
            assert room.session.status().barge_in is BargeIn.STOP
            await room.pass_time(0.5, tone(0.5, 500))
            assert len(room.told("interrupted")) == 1

    simulated(test)


def test_a_policy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ControlError, match="policy"):
        parse(json.dumps({"id": 1, "type": "barge_in", "policy": "shout"}))


def test_a_puppet_that_ducks_keeps_the_level_of_its_own_voice() -> None:
    async def test() -> None:
        async with listening(barge_in=BargeIn.DUCK) as room:
            room.avatar.queue.use = MicrophoneUse.PUPPET
            await room.pass_time(3, tone(3, 500))
            loud = [f for f in room.played if f.any()]
            assert loudness(loud[-10:]) > -25 + 20 * np.log10(32768)

    simulated(test)


@pytest.mark.skipif(best_detector() is not Detector.SILERO, reason="needs the package silero-vad")
def test_a_puppet_hums_with_the_detector_that_knows_voices_too() -> None:
    async def test() -> None:
        async with listening(Detector.SILERO) as room:
            room.avatar.queue.use = MicrophoneUse.PUPPET
            assert room.session.status().detector is Detector.ENERGY
            await room.pass_time(3, tone(2, 220))
            hummed = np.concatenate(room.played)
            assert np.ptp(np.flatnonzero(np.abs(hummed) > 1000)) > 1.5 * RATE
            room.avatar.queue.use = MicrophoneUse.LISTEN
            assert room.session.status().detector is Detector.SILERO

    simulated(test)


def test_a_ducked_voice_is_15_db_lower_within_120_ms_and_back_400_ms_after_the_other_has_ended() -> None:
    gain, voice = VoiceGain(), np.full(FRAME, 20_000, np.int16)  # of 40 ms

    def level(frames: int) -> float:
        return 20 * np.log10([gain.apply(voice) for _ in range(frames)][-1][-1] / 20_000)

    gain.ducked = True
    assert level(3) == pytest.approx(-15, abs=0.01)
    assert level(25) == pytest.approx(-15, abs=0.01)
    gain.ducked = False
    assert level(9) < -1
    assert level(1) == 0


@given(st.lists(st.booleans(), max_size=40))
def test_the_level_of_a_ducked_voice_has_no_step(ducked: list[bool]) -> None:
    gain, out = VoiceGain(), []
    for down in ducked:
        gain.ducked = down
        out.append(gain.apply(np.full(FRAME, 20_000, np.int16)))
    level = np.concatenate([[20_000], *out]).astype(float)
    assert np.abs(np.diff(level)).max(initial=0) <= 10
    assert level.min() >= 20_000 * 10 ** (DUCKED / 20) - 1
    assert level.max() <= 20_000


# -- its own echo -------------------------------------------------------------------------------------------------


@needs_espeak
@pytest.mark.parametrize("kind", Detector)
@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_the_echo_of_an_avatar_is_no_speech_and_a_voice_on_top_of_it_is(kind: Detector, delay: float) -> None:
    played = talk(14, 5, "f2")
    echo = echo_of(played, delay, -20) + at_level(white(14, 9), -60)
    assert onsets(new_detector(kind), echo, echo=True)  # it sounds like speech to a detector that knows no better
    assert onsets_in_echo(new_detector(kind), echo, played) == []
    speech, begins = spoken_at(14, 3, 4.0)
    late = delays(onsets_in_echo(new_detector(kind), echo + speech, played), begins)
    assert len(late) >= 2
    assert max(late) < 0.5


@needs_espeak
@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_an_avatar_is_not_interrupted_by_its_echo_but_by_a_voice_over_it(delay: float) -> None:
    async def test() -> None:
        async with listening(best_detector(), echo=-20, delay=delay) as room:
            room.avatar.say(monologue(12))
            await room.pass_time(7)
            assert room.told("listener") == []
            assert room.avatar.state is AvatarState.SPEAKING
            await room.pass_time(1, voice_of(3))
            assert len(room.told("interrupted")) == 1

    simulated(test)


@needs_espeak
def test_a_microphone_that_was_muted_is_heard_without_the_echo_again() -> None:
    async def test() -> None:
        async with listening(best_detector(), echo=-20, delay=0.15) as room:
            room.avatar.say(monologue(12))
            await room.pass_time(3)
            await asyncio.sleep(1.5)  # the microphone sends nothing, and the avatar goes on
            await room.pass_time(4)
            assert room.told("interrupted") == []
            await room.pass_time(1, voice_of(3))
            assert len(room.told("interrupted")) == 1

    simulated(test)


class LossyTrack(MediaStreamTrack):
    """Give a microphone's sound [samples] int16 in frames of 20 ms, of which `lost` (their numbers) do not arrive."""

    kind = "audio"

    def __init__(self, sound: np.ndarray, lost: set[int], passed: Callable[[int], None] = lambda number: None) -> None:
        """Call `passed` with the number of each frame when its time has come."""
        super().__init__()
        self._sound, self._lost, self._passed = sound, lost, passed
        self._number = 0

    async def recv(self) -> av.AudioFrame:
        """Return the next frame that arrives; MediaStreamError at the end of the sound."""
        while True:
            number, self._number = self._number, self._number + 1
            if (number + 1) * PIECE > len(self._sound):
                raise MediaStreamError
            self._passed(number)
            if number in self._lost:
                continue
            block = self._sound[number * PIECE : (number + 1) * PIECE]
            frame = av.AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, number * PIECE, Fraction(1, RATE)
            return frame


@pytest.mark.asyncio
async def test_lost_packets_of_a_microphone_are_silent_and_a_long_pause_is_left_out() -> None:
    sound, heard = np.full(100 * PIECE, 1000, np.int16), list[np.ndarray]()
    await listen(LossyTrack(sound, {10, 20, 21, *range(50, 80)}), heard.append)
    blocks = np.concatenate(heard).reshape(-1, PIECE)
    assert len(blocks) == 70
    assert [n for n, block in enumerate(blocks) if not block.any()] == [10, 20, 21]


@needs_espeak
@pytest.mark.parametrize("kind", Detector)
@pytest.mark.asyncio
async def test_the_echo_of_an_avatar_is_no_speech_where_packets_are_lost(kind: Detector) -> None:
    played = talk(20, 5, "f2")
    echo = whole_sound(echo_of(played, 0.15, -20), DRIVING_RATE)
    lost = {int(n) for n in np.flatnonzero(np.random.default_rng(1).random(1000) < 0.04)}
    ear, driving, found = EchoFreeDetector(new_detector(kind)), DrivingSamples(), list[bool]()
    frames = quantised(played)[: 20 * DRIVING_RATE].reshape(-1, 2 * BLOCK)

    def passed(number: int) -> None:
        if number % 2 == 0:
            ear.played(frames[number // 2])

    def hear(sound: np.ndarray) -> None:
        for block in driving.add(sound).reshape(-1, BLOCK):
            found.append(ear.hear(block, echo=True))

    await listen(LossyTrack(echo, lost, passed), hear)
    assert len(found) >= 995
    assert not any(found)


# -- detectors ----------------------------------------------------------------------------------------------------


@needs_espeak
@pytest.mark.parametrize("level", [-35.0, -25.0])
def test_silero_finds_speech_in_noise_and_takes_no_noise_for_it(level: float) -> None:
    noise = at_level(white(20, 1), level)
    assert onsets(new_detector(Detector.SILERO), noise) == []
    speech, begins = spoken_at(20, 2)
    assert max(delays(onsets(new_detector(Detector.SILERO), noise + speech), begins)) < 0.3


def test_a_detector_that_is_not_installed_is_refused_and_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "silero_weights", lambda: None)
    assert best_detector() is Detector.ENERGY
    with pytest.raises(DetectorError, match=r"longtake\[listen\]"):
        new_detector(Detector.SILERO)
