"""Synthesise speech for the portrait world: espeak-ng, room noise, and the mouth shapes that go with speech.

espeak-ng is a formant synthesiser (a Debian package); it is called as a program, one sentence at a time.
"""

from __future__ import annotations

import math
import random
import re
import shutil
import subprocess
import wave
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from models.driving_signal import LEVEL
from models.errors import UserError

Sound = NDArray[np.float32]  # [samples] mono, −1…1
RATE = 16_000  # samples a second of every sound here
PROGRAM = "espeak-ng"

# variants of espeak-ng that come with its data package, women's and men's
VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7")
LANGUAGES = ("en-gb", "en-us", "en-gb-scotland", "de", "fr-fr", "es", "it", "nl", "sv", "pl")

_WHO = ("my sister", "the old baker", "our neighbour", "a small dog", "the whole team", "she", "he", "everyone")
_DOES = (
    "is going to open",
    "will never forget",
    "has moved",
    "found",
    "would love to see",
    "keeps talking about",
    "bought",
    "painted",
)
_WHAT = (
    "a blue umbrella",
    "the museum by the river",
    "four loaves of bread",
    "that amazing film",
    "the map of Paris",
    "your voice",
    "a huge moon",
    "every window in the house",
)
_WHEN = (
    "this morning",
    "before the show",
    "about a week ago",
    "when nobody was looking",
    "and you?",
    "by the way",
    "at half past five",
    "oh well",
)


class SpeechSynthesisError(UserError):
    """Report, in one line for a person, that speech cannot be synthesised."""


@dataclass(frozen=True)
class Speaker:
    """Describe a speaker by language and variant of espeak-ng, words per minute (80…300) and pitch (0…99)."""

    language: str = "en-gb"
    variant: str = "f2"
    speed: int = 165
    pitch: int = 50


def random_voice(rng: random.Random) -> Speaker:
    """Return a random speaker in the range of the training data."""
    return Speaker(rng.choice(LANGUAGES), rng.choice(VARIANTS), rng.randrange(125, 215), rng.randrange(25, 80))


def random_sentence(rng: random.Random) -> str:
    """Return a sentence that uses every vowel and lip closure; a voice of any language may read it."""
    return " ".join(rng.choice(part) for part in (_WHO, _DOES, _WHAT, _WHEN)) + rng.choice((".", "!", "?"))


def installed() -> bool:
    """Return whether the program espeak-ng is on the path."""
    return shutil.which(PROGRAM) is not None


@lru_cache(maxsize=1)
def variants() -> frozenset[str]:
    """Return the variants of voices that espeak-ng has; of others it says nothing, and speaks in its plain voice.

    Raises SpeechSynthesisError if the program is not installed or does not answer.
    """
    program = _program()
    try:
        said = subprocess.run([program, "--voices=variant"], capture_output=True, timeout=60, check=True, text=True)
    except (subprocess.SubprocessError, OSError) as e:
        raise SpeechSynthesisError(f"espeak-ng does not name its voices ({type(e).__name__})") from e
    return frozenset(re.findall(r"!v/(\S+)", said.stdout))


def _program() -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise SpeechSynthesisError(
            "speech needs the program espeak-ng; install it, for example with: apt-get install espeak-ng"
        )
    return program


def speak(text: str, voice: Speaker) -> Sound:
    """Synthesise the text, [samples] float32 at 16 kHz, with silence at both ends cut; errors as of `synthesised`."""
    return at_rate(*synthesised(text, voice))


def synthesised(text: str, voice: Speaker) -> tuple[Sound, int]:
    """Synthesise the text as `speak` does, at the program's own rate; return sound and samples a second.

    Raises SpeechSynthesisError if espeak-ng is not installed, refuses the voice, or returns no sound.
    """
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):  # such text cannot be encoded for a program
        raise SpeechSynthesisError("the text holds a character that cannot be spoken")
    program = _program()
    command = [
        program,
        "--stdout",
        "-v",
        f"{voice.language}+{voice.variant}",
        "-s",
        str(voice.speed),
        "-p",
        str(voice.pitch),
    ]
    try:
        said = subprocess.run(
            [*command, "--stdin"], input=text.encode(), capture_output=True, timeout=60, check=True
        ).stdout  # text as an argument would be limited to 128 KiB on Linux
        with wave.open(BytesIO(said)) as file:
            rate = file.getframerate()
            # espeak-ng streams, so its header holds a length that is far too large
            samples = np.frombuffer(file.readframes(len(said)), np.int16)
    except subprocess.CalledProcessError as e:
        reason = e.stderr.decode(errors="replace").strip().splitlines()
        raise SpeechSynthesisError(
            f"espeak-ng refused voice {voice.language}+{voice.variant} ({(reason or ['no reason'])[0]})"
        ) from e
    except (subprocess.TimeoutExpired, wave.Error, EOFError, OSError) as e:
        raise SpeechSynthesisError(f"espeak-ng gave no sound for this text ({type(e).__name__})") from e
    sound = (samples / 32768).astype(np.float32)
    loud = np.flatnonzero(np.abs(sound) > 1e-3)
    if not len(loud):
        raise SpeechSynthesisError("espeak-ng returned silence: the text holds no word")
    return sound[loud[0] : loud[-1] + 1], rate


def at_rate(sound: Sound, rate: int) -> Sound:
    """Resample a sound of `rate` samples a second to 16 kHz; windowed sinc over 32 samples, −60 dB beyond 7.6 kHz."""
    if rate == RATE:
        return sound
    at = np.arange(int(len(sound) * RATE / rate))
    kernels = _kernels(rate)
    phases, taps = kernels.shape
    padded = np.pad(sound, taps)
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)[at * rate // RATE + taps // 2 + 1]
    out = np.empty(len(at), np.float32)
    for phase in range(phases):  # outputs at the same distance from an input share a kernel
        out[phase::phases] = windows[phase::phases] @ kernels[phase]
    return out


@lru_cache(maxsize=4)
def _kernels(rate: int) -> NDArray[np.float32]:
    """Return resampling kernels [distances, taps], one for each distance of an output from the input before it."""
    phases = RATE // math.gcd(rate, RATE)
    reach = math.ceil(16 * max(1.0, rate / RATE))
    cut = 0.95 * min(1.0, RATE / rate)
    x = np.arange(1 - reach, reach + 1) - (np.arange(phases) * rate % RATE / RATE)[:, None]
    shape = np.where(np.abs(x) < reach, 0.5 + 0.5 * np.cos(math.pi * x / reach), 0)
    return (cut * np.sinc(cut * x) * shape).astype(np.float32)


def room_tone(seconds: float, rng: np.random.Generator, level: float = -62.0) -> Sound:
    """Return the hiss and hum of a quiet room at `level` dBFS."""
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hertz = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 40)
    tone = np.fft.irfft(spectrum / hertz**0.5, n)
    return (tone / np.sqrt((tone**2).mean()) * 10 ** (level / 20)).astype(np.float32)


def monologue(seconds: float, rng: random.Random) -> Sound:
    """Synthesise one voice that says sentences with pauses, [seconds · 16000] float32, near `LEVEL`.

    The sound begins within a sentence, with one or before one; one sound in eight holds no speech. Half of the sounds
    have room tone in the background, the others digital silence. Raises SpeechSynthesisError as `speak` does.
    """
    voice, loudness = random_voice(rng), 10 ** ((LEVEL + rng.uniform(-3, 3)) / 20)
    sound = np.zeros(round(seconds * RATE), np.float32)
    at = len(sound) if rng.random() < 0.125 else round(rng.choice([0.0, rng.uniform(-4, 1.2)]) * RATE)
    while at < len(sound):
        said = speak(random_sentence(rng), voice)
        said = said * np.float32(loudness / max(1e-4, math.sqrt(float((said**2).mean()))))
        begin, end = max(0, at), min(len(sound), at + len(said))
        if begin < end:
            sound[begin:end] = said[begin - at : end - at]
        at += len(said) + round(rng.choice([0.15, 0.5, rng.uniform(0.8, 2.4)]) * RATE)
    if rng.random() < 0.5:
        sound = sound + room_tone(seconds, np.random.default_rng(rng.getrandbits(32)), rng.uniform(-72, -55))
    return np.clip(sound, -1, 1).astype(np.float32)


def mouth_of(audio: Sound, fps: float = 25) -> NDArray[np.float32]:
    """Return mouth openness and width 0…1 for every frame of 16 kHz mono sound: [⌈seconds · fps⌉, 2] float32.

    Openness follows the logarithm of the loudness around the frame and is 0 below −48 dBFS. It is absolute, so that a
    frame's mouth depends on the sound near it alone; speech should be levelled to `LEVEL`. Width follows the spectrum:
    energy at 1.7…3.5 kHz, where the second formant of spread vowels lies, against that at 0.3…1.1 kHz, where both
    formants of rounded ones lie. Both are smoothed to the speed of lips.
    """
    frames = math.ceil(len(audio) * fps / RATE)
    if not frames:
        return np.zeros((0, 2), np.float32)
    step = RATE / fps
    span = 640  # 40 ms around the middle of each frame
    padded = np.pad(np.asarray(audio, np.float64), (span, span + math.ceil(step)))
    starts = ((np.arange(frames) + 0.5) * step - span / 2).astype(np.int64) + span
    windows = padded[starts[:, None] + np.arange(span)] * np.hanning(span)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2 / (span * 0.375 * span / 2)
    hertz = np.fft.rfftfreq(span, 1 / RATE)

    def band(low: float, high: float) -> NDArray[np.float64]:
        return power[:, (hertz >= low) & (hertz < high)].sum(1) + 1e-10

    level = 10 * np.log10(band(80, 5000))
    openness = np.where(level > -48, np.clip((level - LEVEL + 22) / 26, 0, 1) ** 1.4, 0)
    voiced = band(80, 4000) / (band(4000, 7900) + band(80, 4000))
    openness = openness * np.clip(2 * voiced - 0.5, 0.15, 1)  # lips are nearly shut in s, f, sh
    ratio = 10 * np.log10(band(1700, 3500) / band(300, 1100))
    width = np.where(level > -48, np.clip(0.5 + (ratio + 14) / 28, 0, 1), 0.5)
    smoothed = [_eased(openness, (0.2, 0.6, 0.2)), _eased(width, (0.25, 0.5, 0.25))]
    return np.stack(smoothed, 1).astype(np.float32)


def _eased(values: NDArray[np.float64], kernel: tuple[float, float, float]) -> NDArray[np.float64]:
    return np.convolve(np.pad(values, 1, mode="edge"), kernel, mode="valid")
