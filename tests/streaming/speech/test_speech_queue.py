"""Test the samples that an avatar speaks: sounds in order, a live voice without a gap, silence where there is none."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from speakers import as_samples, tone

from models.driving_signal import RATE as GATE_RATE
from models.pocket.world.portrait.tts import Speaker, random_sentence, random_voice, room_tone, speak
from streaming.speech.energy_gate import EnergyGate
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.speech_queue import BEFORE_ONSET, MicrophoneUse, SpeechQueue, SpeechQueueError
from streaming.speech.utterance import Utterance
from streaming.speech.voice_activity import BLOCK

CHUNK = 12 * FRAME


def say(queue: SpeechQueue, sound: np.ndarray) -> None:
    utterance = Utterance("a")
    utterance.add(as_samples(sound))
    queue.begin(utterance)
    utterance.open = False


def next_of(queue: SpeechQueue, samples: int) -> np.ndarray:
    return queue.next(samples).samples


def test_sounds_are_spoken_one_after_another_and_silence_follows() -> None:
    queue = SpeechQueue()
    a, b = tone(0.3), tone(0.4, 500)
    say(queue, a)
    say(queue, b)
    assert queue.reads
    got = np.concatenate([next_of(queue, CHUNK) for _ in range(3)])
    assert (got[: len(a) + len(b)] == as_samples(np.concatenate([a, b]))).all()
    assert not got[len(a) + len(b) :].any()
    assert not queue.reads


def test_removed_sounds_are_not_spoken() -> None:
    queue = SpeechQueue()
    say(queue, tone(5))
    next_of(queue, CHUNK)
    queue.remove(queue.utterances)
    assert queue.waiting == 0
    assert not next_of(queue, CHUNK).any()


def test_no_more_than_ten_minutes_wait() -> None:
    queue = SpeechQueue()
    say(queue, np.zeros(599 * RATE, np.float32))
    with pytest.raises(SpeechQueueError, match="600 seconds"):
        say(queue, np.zeros(2 * RATE, np.float32))


def test_no_more_than_a_thousand_utterances_wait() -> None:
    queue = SpeechQueue()
    for number in range(1000):
        queue.begin(Utterance(f"{number}"))
    with pytest.raises(SpeechQueueError, match="1000 utterances"):
        queue.begin(Utterance("one more"))
    queue.remove(queue.utterances[:1])
    queue.begin(Utterance("one more"))


def heard(queue: SpeechQueue, sound: np.ndarray) -> None:
    for i in range(0, len(sound), 1440):
        queue.hear(as_samples(sound[i : i + 1440]), echo=False)


def test_a_live_voice_begins_late_and_goes_on_without_a_gap() -> None:
    queue = SpeechQueue()
    queue.use = MicrophoneUse.PUPPET
    sound = np.concatenate([np.zeros(9600, np.float32), tone(2, loud=0.1)])
    heard(queue, sound[:17_280])  # 160 ms of queue, with 200 ms before its onset: 120 and 960 samples of silence
    first = next_of(queue, CHUNK)
    assert first[-1] != 0
    assert not first[: CHUNK - 17_280].any()
    assert queue.awaits(CHUNK)
    heard(queue, sound[17_280 : 17_280 + CHUNK])
    assert not queue.awaits(CHUNK)
    both = np.concatenate([first, next_of(queue, CHUNK)])
    begin = np.flatnonzero(both)[0] - 1
    assert (both[begin:] == as_samples(sound[9600:])[: len(both) - begin]).all()


def test_a_live_voice_that_is_over_is_spoken_at_once() -> None:
    queue = SpeechQueue()
    queue.use = MicrophoneUse.PUPPET
    heard(queue, np.concatenate([np.zeros(24_000, np.float32), tone(0.2), np.zeros(19_200, np.float32)]))
    assert not queue.detector.open
    got = next_of(queue, 2 * CHUNK)
    assert BEFORE_ONSET // 2 < np.flatnonzero(got)[0] <= BEFORE_ONSET
    assert not queue.awaits(CHUNK)


@pytest.mark.parametrize("clock", [0.999, 1.0, 1.001])
def test_a_microphone_with_a_slow_or_fast_clock_does_not_fall_behind(clock: float) -> None:
    """Speak for ten minutes with a clock that is 0.1% off, which would add up to 600 ms without pauses."""
    queue, chance = SpeechQueue(), np.random.default_rng(0)
    queue.use = MicrophoneUse.PUPPET
    given = 0.0
    for chunk in range(1250):
        loud = chunk % 20 < 15
        given += clock * CHUNK
        sound = tone(int(given) / RATE) if loud else np.zeros(int(given), np.float32)
        given -= len(sound)
        heard(queue, sound + 0.0005 * chance.standard_normal(len(sound)).astype(np.float32))
        next_of(queue, CHUNK)
        assert queue.waiting <= BEFORE_ONSET + 0.001 * 20 * CHUNK + 9 * BLOCK
        if chunk % 20 == 19:
            assert queue.waiting == 0


def test_a_microphone_that_is_only_listened_to_is_not_spoken() -> None:
    queue = SpeechQueue()
    heard(queue, tone(1))
    assert queue.detector.open
    assert queue.waiting == 0


def test_a_quiet_live_voice_is_brought_to_the_level_of_speech() -> None:
    queue = SpeechQueue()
    queue.use = MicrophoneUse.PUPPET
    heard(queue, np.concatenate([np.zeros(9600, np.float32), tone(4, loud=0.02)]))
    got = next_of(queue, RATE).astype(float) / 32768
    assert 20 * np.log10(np.sqrt((got[-12_000:] ** 2).mean())) == pytest.approx(-21, abs=2)


def opened(sound: np.ndarray, *, echo: bool = False) -> np.ndarray:
    """Return whether the gate is open, for every block of 20 ms."""
    gate, out = EnergyGate(), []
    for block in as_samples(np.clip(sound, -1, 1))[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK):
        gate.hear(block, echo=echo)
        out.append(gate.open)
    return np.array(out)


@pytest.mark.parametrize("level", [-70.0, -62.0, -50.0])
def test_a_room_does_not_open_the_gate(level: float) -> None:
    # the gate needs a while to learn the level of a loud room
    assert not opened(room_tone(30, np.random.default_rng(1), level))[500:].any()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
@pytest.mark.parametrize("seed", range(4))
def test_a_sentence_opens_the_gate_once_and_soon(seed: int) -> None:
    rng = random.Random(seed)
    said = speak(random_sentence(rng), random_voice(rng) if seed else Speaker())
    said = said * np.float32(10 ** (-24 / 20) / np.sqrt((said**2).mean()))
    room = room_tone(len(said) / GATE_RATE + 3, np.random.default_rng(seed))
    room[GATE_RATE : GATE_RATE + len(said)] += said
    found = opened(room)
    edges = np.flatnonzero(np.diff(found.astype(int)))
    assert len(edges) == 2
    assert 50 <= edges[0] <= 50 + 8
    end = 50 + len(said) // BLOCK
    assert end <= edges[1] <= end + 20


def noise(seconds: float, level: float) -> np.ndarray:
    """Return white noise at `level` dBFS, as of a fan: no block of it is quieter than another."""
    sound = np.random.default_rng(3).standard_normal(round(seconds * GATE_RATE))
    return (10 ** (level / 20) * sound).astype(np.float32)


@pytest.mark.parametrize("level", [-45.0, -35.0])
def test_a_noise_that_never_pauses_does_not_hold_the_gate_open(level: float) -> None:
    found = opened(noise(30, level))
    assert found[:50].any()  # the gate needs a while to learn the level of the room
    assert not found[8 * 50 :].any()


@pytest.mark.parametrize("level", [-45.0, -35.0])
def test_speech_over_a_noise_opens_the_gate_and_its_end_closes_it(level: float) -> None:
    sound = noise(40, level)
    for at in (12, 20, 28):
        t = np.arange(3 * GATE_RATE) / GATE_RATE
        syllables = np.clip(np.sin(2 * np.pi * 2 * t), 0, 1) + 0.001
        sound[at * GATE_RATE : (at + 3) * GATE_RATE] += (0.25 * syllables * np.sin(2 * np.pi * 180 * t)).astype(
            np.float32
        )
    found = opened(sound)
    edges = np.flatnonzero(np.diff(found.astype(int)))
    edges = edges[edges > 10 * 50]
    assert len(edges) == 6
    for begin, end, at in zip(edges[::2], edges[1::2], (12, 20, 28), strict=True):
        assert 0 <= begin - at * 50 <= 10
        assert -15 <= end - (at + 3) * 50 <= 20


def test_a_note_that_is_held_for_five_seconds_is_a_voice() -> None:
    assert opened(tone(5, loud=0.3, rate=GATE_RATE))[3:].all()


def test_speech_is_found_over_the_echo_of_the_avatar_only_if_it_goes_on() -> None:
    def over(said: np.ndarray) -> list[bool]:
        gate, out = EnergyGate(), []
        for number, block in enumerate(as_samples(said).reshape(-1, BLOCK)):
            gate.hear(block, echo=number >= 50)
            out.append(gate.over_echo)
        return out

    on = over(tone(2, rate=GATE_RATE))
    assert not any(on[: 50 + 7])
    assert on[50 + 7]  # 160 ms of it
    assert not any(over(np.concatenate([tone(1.1, rate=GATE_RATE), np.zeros(int(0.9 * GATE_RATE), np.float32)])))
