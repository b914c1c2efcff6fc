"""Make what a microphone hears in a room: sentences at known times, and noise, music and other voices behind them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from models.driving_signal import LEVEL, RATE
from models.pocket.world.portrait.tts import Sound, Speaker, random_sentence, speak
from streaming.speech.echo_canceller import EchoFreeDetector
from streaming.speech.fullband import quantised
from streaming.speech.voice_activity import BLOCK, VoiceActivityDetector

BEGINS = -40.0  # dBFS of a block of 20 ms in which speech has begun
LISTENER = ("en-gb", "en-us", "de", "fr-fr", "es", "it")
OTHERS = ("f1", "f3", "f4", "m2", "m4", "m6")  # voices behind the one that speaks


def at_level(sound: np.ndarray, level: float) -> Sound:
    """Return a sound scaled to `level` dBFS, root mean square over its whole length."""
    power = float(np.square(sound, dtype=np.float64).mean())
    return (sound * (10 ** (level / 20) / max(power, 1e-12) ** 0.5)).astype(np.float32)


@lru_cache(maxsize=256)
def sentence(seed: int, variant: str = "") -> Sound:
    """Return a sentence of one of the voices of espeak-ng at the level of speech; the seed chooses both."""
    chance = random.Random(seed)
    voice = Speaker(chance.choice(LISTENER), variant or chance.choice(("f2", "f5", "m1", "m3", "m7")), 165, 50)
    return at_level(speak(random_sentence(chance), voice), LEVEL)


def talk(seconds: float, seed: int, variant: str = "", pause: float = 0.4) -> Sound:
    """Return one voice that goes on for so many seconds with short pauses, at the level of speech."""
    parts: list[Sound] = []
    number = 1000 * seed
    while sum(map(len, parts)) < seconds * RATE:
        parts += [sentence(number, variant), np.zeros(round(pause * RATE), np.float32)]
        number += 1
    return np.concatenate(parts)[: round(seconds * RATE)]


def white(seconds: float, seed: int) -> Sound:
    """Return noise without a pause, as of a fan."""
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def babble(seconds: float, seed: int) -> Sound:
    """Return six voices at once, as of a full room."""
    voices = [np.roll(talk(seconds, 10 * seed + n, v, 0.2), 7919 * n) for n, v in enumerate(OTHERS)]
    return np.sum(voices, 0, dtype=np.float32)


def music(seconds: float, seed: int) -> Sound:
    """Return chords, a melody and a drum at 110 beats a minute, synthesised."""
    chance = np.random.default_rng(seed)
    out = np.zeros(round(seconds * RATE), np.float64)
    beat = 60 / 110

    def play(at: float, hertz: float, length: float, loud: float) -> None:
        begin = round(at * RATE)
        t = np.arange(min(round(length * RATE), len(out) - begin)) / RATE
        shape = np.minimum(1, t / 0.01) * np.exp(-2.5 * t / length)
        for harmonic in range(1, 7):
            out[begin : begin + len(t)] += loud / harmonic * shape * np.sin(2 * np.pi * harmonic * hertz * t)

    scale = 220 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12]) / 12)
    for number in range(int(seconds / beat)):
        at = number * beat
        if number % 4 == 0:
            root = int(chance.integers(0, 4))
            for step in (0, 2, 4):
                play(at, scale[root + step] / 2, 4 * beat, 0.25)
        play(at, float(chance.choice(scale)) * 2, beat, 0.35)
        hit = round(at * RATE)
        click = chance.standard_normal(min(RATE // 10, len(out) - hit))
        out[hit : hit + len(click)] += 0.5 * click * np.exp(-np.arange(len(click)) / (0.02 * RATE))
    return out.astype(np.float32)


def second_speaker(seconds: float, seed: int) -> Sound:
    """Return one other voice, as of somebody further away: its treble is dulled."""
    return np.convolve(talk(seconds, 77 + seed, "m6", 0.6), 0.4 * 0.6 ** np.arange(16), "same").astype(np.float32)


BACKGROUNDS: dict[str, Callable[[float, int], Sound]] = {
    "white noise": white,
    "babble": babble,
    "music": music,
    "second speaker": second_speaker,
}


def spoken_at(seconds: float, seed: int, every: float = 5.0) -> tuple[Sound, list[float]]:
    """Return sentences with pauses between them, and the seconds at which each is first above BEGINS."""
    out, begins = np.zeros(round(seconds * RATE), np.float32), []
    chance = np.random.default_rng(seed)
    at = 5.0
    number = 31 * seed
    while at + every < seconds:
        said = sentence(number)[: round((every - 1.5) * RATE)]
        begin = round(at * RATE)
        out[begin : begin + len(said)] = said
        blocks = said[: len(said) // BLOCK * BLOCK].reshape(-1, BLOCK)
        loud = 10 * np.log10(np.square(blocks, dtype=np.float64).mean(1) + 1e-12) > BEGINS
        begins.append(at + int(np.argmax(loud)) * BLOCK / RATE)
        at += every + float(chance.uniform(-0.3, 0.3))
        number += 1
    return out, begins


def echo_of(played: Sound, delay: float, level: float) -> Sound:
    """Return what a microphone picks up of a loudspeaker in a room (reverberation 250 ms).

    It comes `delay` seconds later, at `level` dB of what was played.
    """
    t = np.arange(RATE // 5) / RATE
    room = np.random.default_rng(0).standard_normal(len(t)) * np.exp(-6.9 * t / 0.25)
    room[0] = 4 * np.abs(room).max()
    room /= np.sqrt(np.square(room).sum())
    late = np.concatenate([np.zeros(round(delay * RATE)), np.convolve(played, room)])
    return (10 ** (level / 20) * late[: len(played)]).astype(np.float32)


def onsets(detector: VoiceActivityDetector, sound: Sound, *, echo: bool = False) -> list[float]:
    """Return the seconds at which a detector finds that speech begins in the sound of a microphone."""
    blocks = quantised(sound)[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return [(n + 1) * BLOCK / RATE for n, block in enumerate(blocks) if detector.hear(block, echo=echo)]


def onsets_in_echo(detector: VoiceActivityDetector, sound: Sound, played: Sound) -> list[float]:
    """Return the same for a microphone that hears what is `played`, frame by frame, as an avatar's session does it."""
    ear, found = EchoFreeDetector(detector), []
    near, far = quantised(sound), quantised(played)
    for n in range(len(near) // BLOCK):
        if n % 2 == 0:
            ear.played(far[n * BLOCK :][: 2 * BLOCK])
        if ear.hear(near[n * BLOCK :][:BLOCK], echo=True):
            found.append((n + 1) * BLOCK / RATE)
    return found


def delays(found: list[float], begins: list[float]) -> list[float]:
    """Return how many seconds after its begin each sentence was found, infinity where it was not within a second."""
    return [min((f - b for f in found if -0.05 <= f - b < 1), default=math.inf) for b in begins]
