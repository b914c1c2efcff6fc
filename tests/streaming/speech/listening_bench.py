"""Measure how well an avatar listens: false alarms and delay in noise, and its own echo, for each detector.

Run it with `python tests/streaming/speech/listening_bench.py`, with the checkout and `tests/streaming/speech` on
PYTHONPATH. It needs espeak-ng and the package silero-vad; with `--recording FILE` (WAV, 16 kHz mono) the sentences are
taken from a recording instead.
"""

from __future__ import annotations

import argparse
import math
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rooms import BACKGROUNDS, BEGINS, at_level, delays, echo_of, onsets, onsets_in_echo, spoken_at, talk, white

from models.driving_signal import LEVEL, RATE
from models.pocket.world.portrait.tts import Sound
from streaming.speech.detectors import new_detector
from streaming.speech.voice_activity import BLOCK, Detector

SECONDS = 120.0
LEVELS = (-35.0, -25.0)  # dBFS of what is behind speech at −21 dBFS
ECHOES = (-10.0, -20.0, -30.0, -40.0)  # dB of what was played
DELAYS = (0.05, 0.15, 0.3)  # seconds
ROOM = -60.0  # dBFS of the noise of a quiet room


@dataclass(frozen=True)
class Row:
    """Hold what was measured of one detector in one room."""

    room: str
    detector: Detector
    false_alarms: float  # a minute, without speech
    delays: list[float]  # seconds from the begin of each sentence; infinity where it was missed

    @property
    def missed(self) -> int:
        """Return how many sentences were not found within a second."""
        return sum(math.isinf(d) for d in self.delays)

    def delay(self, share: float) -> float:
        """Return the delay, in seconds, that this share of the sentences that were found does not exceed."""
        found = sorted(d for d in self.delays if not math.isinf(d))
        return found[round(share * (len(found) - 1))] if found else math.nan

    def __str__(self) -> str:
        p50, p95 = (f"{1000 * d:.0f} ms" if d == d else "–" for d in (self.delay(0.5), self.delay(0.95)))
        cells = (self.room, self.detector, f"{self.false_alarms:.1f}", p50, p95, f"{self.missed} of {len(self.delays)}")
        return f"| {' | '.join(cells)} |"


def recorded_at(file: Path, seconds: float) -> tuple[Sound, list[float]]:
    """Return pieces of a recording that begin after a pause, with silence between them, and when each begins."""
    with wave.open(str(file)) as sound:
        voice = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768
    voice = at_level(voice, LEVEL)
    blocks = voice[: len(voice) // BLOCK * BLOCK].reshape(-1, BLOCK)
    loud = 10 * np.log10(np.square(blocks, dtype=np.float64).mean(1) + 1e-12) > BEGINS
    starts = [n for n in range(15, len(loud)) if loud[n] and not loud[n - 15 : n].any()]
    out, begins, at = np.zeros(round(seconds * RATE), np.float32), [], 5.0
    for n in starts:
        piece = voice[(n - 5) * BLOCK : (n - 5) * BLOCK + 3 * RATE]
        begin = round(at * RATE)
        if begin + len(piece) > len(out):
            break
        out[begin : begin + len(piece)] = piece
        begins.append(at + 5 * BLOCK / RATE)
        at += 5
    return out, begins


def in_rooms(seconds: float = SECONDS, recording: Path | None = None) -> list[Row]:
    """Return a row for every background, level and detector, and for a quiet room."""
    speech, begins = recorded_at(recording, seconds) if recording is not None else spoken_at(seconds, 2)
    rooms = {"quiet": at_level(white(seconds, 1), ROOM)}
    for name, make in BACKGROUNDS.items():
        sound = make(seconds, 1)
        rooms |= {f"{name}, {level:.0f} dBFS": at_level(sound, level) for level in LEVELS}
    rows = []
    for room, background in rooms.items():
        for kind in Detector:
            alarms = len(onsets(new_detector(kind), background)) * 60 / seconds
            found = onsets(new_detector(kind), background + speech)
            rows.append(Row(room, kind, alarms, delays(found, begins)))
    return rows


def in_echo(seconds: float = SECONDS / 2) -> list[Row]:
    """Return a row for every level of the avatar's echo and every detector: false alarms, and speech on top of it."""
    played, room = talk(seconds, 5, "f2"), at_level(white(seconds, 9), ROOM)
    speech, begins = spoken_at(seconds, 3)
    rows = []
    for level in ECHOES:
        for kind in Detector:
            alarms, late = 0, list[float]()
            for delay in DELAYS:
                echo = echo_of(played, delay, level) + room
                alarms += len(onsets_in_echo(new_detector(kind), echo, played))
                late += delays(onsets_in_echo(new_detector(kind), echo + speech, played), begins)
            rows.append(Row(f"echo, {level:.0f} dB", kind, alarms * 60 / seconds / len(DELAYS), late))
    return rows


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each room")
    parser.add_argument("--recording", type=Path, help="take the sentences from this WAV file, 16 kHz mono")
    given = parser.parse_args()
    head = "| detector | false alarms a minute | delay p50 | p95 | missed |\n|---|---|---|---|---|---|"
    print(f"| room {head}")
    for row in in_rooms(given.seconds, given.recording):
        print(row, flush=True)
    print(f"\n| echo of its own voice {head}")
    for row in in_echo(given.seconds / 2):
        print(row, flush=True)


if __name__ == "__main__":
    main()
