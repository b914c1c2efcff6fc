"""Talk with an avatar for an hour, as an agent and a person do: `pytest -s -m long tests/app/test_conversation.py`.

Figures and a plot are written into out/. LONGTAKE_CONVERSATION_MINUTES sets the length (60); there are 200 utterances
all the same, 60 of which are interrupted: every second one of those by a voice at the microphone, the others by the
agent's `interrupt`. The avatar draws with random weights; its picture is white in frames with loud sound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil
import pytest
from agent_sound import Sound, audio_url, place_in_sweep, sweep
from aiortc import MediaStreamTrack
from avatar_client import Viewer, begin, tone, until
from studio_server import ROOT, serving
from test_soak import plot, print_halves
from websockets.asyncio.client import connect

MINUTES = float(os.environ.get("LONGTAKE_CONVERSATION_MINUTES", "60"))
UTTERANCES, INTERRUPTED = 200, 60
PATIENCE = 120  # seconds; a busy machine is measured, not refused
NOTICED = 3  # seconds within which a voice interrupts, unless it is missed
MEASURED = {
    "first_ms": "first sound sent to first sound heard, ms",
    "picture_ms": "picture after its sound, by arrival, ms",
    "sound_behind_ms": "newest sound received behind the clock, ms",
    "pictures_behind_ms": "newest picture received behind the clock, ms",
    "fps": "pictures received a second",
    "to_say_ms": "left in the queue after an utterance, ms",
    "buffer_ms": "drawn and not yet shown, ms",
    "rss_mb": "memory, MB",
    "rest_mb": "memory without snapshots, MB",
    "files": "descriptors",
    "threads": "threads",
}


class Person(MediaStreamTrack):
    """Is silent at a microphone until told to speak."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at, self._began = 0, 0.0
        self._waits = np.zeros(0)  # samples still to be spoken

    def speak(self, seconds: float) -> None:
        self._waits = 2 * tone(seconds, 48_000, 700)

    async def recv(self) -> av.AudioFrame:
        self._began = self._began or time.monotonic()
        await asyncio.sleep(max(0, self._began + self._at / 48_000 - time.monotonic()))
        block, self._waits = self._waits[:960], self._waits[960:]
        samples = (32767 * np.pad(block, (0, 960 - len(block)))).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._at, Fraction(1, 48_000)
        self._at += 960
        return frame


class Watcher(Viewer):
    """Keeps of one utterance when each loud block and each white picture arrived."""

    def __init__(self, microphone: MediaStreamTrack) -> None:
        super().__init__(microphone)
        self.white: list[float] = []
        self._begins: dict[str, tuple[float, float]] = {}  # of sound and of pictures, on the clock and in media time
        self._newest: dict[str, float] = {}  # media time, s
        self.heard: list[tuple[float, np.ndarray]] = []

    def forget(self) -> None:
        self.loud, self.white, self.heard = [], [], []

    async def _receive(self, track: MediaStreamTrack) -> None:
        while True:
            frame = await track.recv()
            assert frame.pts is not None
            assert frame.time_base is not None
            self._newest[track.kind] = media = float(frame.pts * frame.time_base)
            self._begins.setdefault(track.kind, (time.monotonic(), media))
            if isinstance(frame, av.AudioFrame):
                self.blocks += 1
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0].astype(float)
                if np.abs(samples).max() > 3000:
                    self.loud.append(time.monotonic())
                    self.heard.append((self.loud[-1], samples))
            elif isinstance(frame, av.VideoFrame):
                self.pictures += 1
                if frame.to_ndarray(format="gray")[:16, :16].mean() > 128:
                    self.white.append(time.monotonic())

    def behind_ms(self, kind: str) -> float:
        """Return by how much the newest sound or picture is later than the first one was."""
        clock, media = self._begins[kind]
        return 1000 * (time.monotonic() - clock - (self._newest[kind] - media))

    def place(self) -> float:
        """Return up to which second of the sweep was heard.

        The pitch is read in 40 ms before the last block, of which a part may be silent.
        """
        (_, a), (_, b), (_, last) = self.heard[-3:]
        loud = int(np.flatnonzero(np.abs(last) > 3000)[-1]) + 1
        return place_in_sweep(np.concatenate([a, b]), 48_000) + 0.02 + loud / 48_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, psutil.Process]]:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("LONGTAKE_KEEP_SPEECH", "no")
    with serving(tmp_path / "data", program="flashing_server.py") as (address, process):
        yield address, psutil.Process(process.pid)


async def converse(address: str, process: psutil.Process, data: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Have the conversation; return a row of figures for each utterance, and pieces of the sound that was kept."""
    chance = random.Random(19)
    session = await asyncio.to_thread(begin, address, detector="energy")
    url, key = f"{address}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    person = Person()
    watcher = Watcher(person)
    await watcher.join(url, session["key"])
    await until(lambda: watcher.pictures > 50 and watcher.blocks > 100)
    turns = chance.sample(range(UTTERANCES), INTERRUPTED)
    slot = 60 * MINUTES / UTTERANCES
    rows: list[dict[str, Any]] = []
    async with (
        httpx.AsyncClient(headers=key, timeout=60) as control,
        connect(audio_url(url, session["key"])) as socket,
    ):
        sound, began = Sound(socket), time.monotonic()
        for n in range(UTTERANCES):
            watcher.forget()
            sound.events.clear()
            seconds = chance.uniform(0.25, 0.5) * slot
            sent, pictures = time.monotonic(), watcher.pictures
            await sound.tell(type="start", utterance=f"u{n}")
            await sound.tell(type="text", text=f"Sentence number {n}.")
            pcm, piece = sweep(seconds), chance.choice((960, 4801, 9600))
            row: dict[str, Any] = {"utterance": n, "seconds": sent - began, "length": seconds, "by": ""}
            speaking = asyncio.create_task(sound.send(pcm, piece, in_time=chance.random() < 0.5))
            await until(lambda: len(watcher.loud) > 2, PATIENCE)
            row["first_ms"] = 1000 * (watcher.loud[0] - sent)
            if n in turns:
                await asyncio.sleep(chance.uniform(0.3, 0.5) * seconds)
                row["by"] = ("agent", "voice")[turns.index(n) % 2]
                asked = time.monotonic()
                if row["by"] == "agent":
                    got = (await control.post(f"{url}/interrupt")).json()
                else:
                    person.speak(0.6)
                    with contextlib.suppress(TimeoutError):
                        await until(lambda: bool(sound.told("interrupted")), NOTICED)
                    got = sound.told("interrupted")[0] if sound.told("interrupted") else {"heard": []}
                row["missed"] = not got["heard"]  # a voice may come too late, or be taken for the echo of the avatar's
                if row["missed"]:
                    await speaking
                    await sound.tell(type="commit")
                    await until(lambda: bool(sound.told("utterance.ended")), PATIENCE)
                else:
                    speaking.cancel()
                    await asyncio.sleep(1)
                    row["silent_ms"] = 1000 * (watcher.loud[-1] - asked)
                    row["heard_off_ms"] = 1000 * (got["heard"][0]["seconds"] - watcher.place())
            else:
                await speaking
                await sound.tell(type="commit")
                await until(lambda: bool(sound.told("utterance.ended")), PATIENCE)
                await asyncio.sleep(0.5)
                row["lost_ms"] = 1000 * seconds - 20 * len(watcher.loud)
                row["gap_ms"] = 1000 * float(np.max(np.diff(watcher.loud)))
            row["picture_ms"] = 1000 * (watcher.white[0] - watcher.loud[0]) if watcher.white else float("nan")
            status = (await control.get(url)).json()
            row |= {
                "to_say_ms": 1000 * status["to_say_s"],
                "buffer_ms": status["buffer_ms"],
                "held": status["held_frames"],
                "dropped": status["dropped_frames"],
                "sound_behind_ms": watcher.behind_ms("audio"),
                "pictures_behind_ms": watcher.behind_ms("video"),
                "fps": (watcher.pictures - pictures) / (time.monotonic() - sent),
                "rss_mb": process.memory_info().rss / 1e6,
                "rest_mb": process.memory_info().rss / 1e6 - status["held_mb"],
                "files": process.num_fds(),
                "threads": process.num_threads(),
            }
            rows.append(row)
            print(json.dumps({name: round(x, 1) if isinstance(x, float) else x for name, x in row.items()}), flush=True)
            await asyncio.sleep(max(0, began + slot * (n + 1) - time.monotonic()))
        kept = (data / "takes" / f"{session['take']}.wav").read_bytes()
        pieces = [kept[at : at + 64] for at in range(44, len(kept) - 64, 200_001)]
        await control.delete(url)
    await watcher.leave()
    return rows, [piece for piece in pieces if len(set(piece)) > 16]


@pytest.mark.long
@pytest.mark.timeout(int(60 * MINUTES) + 600)
def test_a_long_conversation_keeps_its_pace_and_nothing_of_what_was_said(
    server: tuple[str, psutil.Process], tmp_path: Path
) -> None:
    address, process = server
    rows, said = asyncio.run(converse(address, process, tmp_path / "data"))
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    (out / "conversation.json").write_text(json.dumps(rows))
    plot(rows, out / "conversation.png", MEASURED)
    print_halves(rows, MEASURED)
    print(f"voices missed: {sum(row.get('missed', False) for row in rows)} of {INTERRUPTED // 2}")
    for name in ("silent_ms", "heard_off_ms", "lost_ms", "gap_ms"):
        for by in ("", "agent", "voice"):
            if found := [row[name] for row in rows if name in row and row["by"] == by]:
                print(f"{name} {by}: p50 {np.median(found):.0f}, p95 {np.quantile(found, 0.95):.0f}, n {len(found)}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    half = len(rows) // 2
    first, second = rows[:half], rows[half:]
    assert len(said) > 100
    assert [path.name for path in files if any(piece in path.read_bytes() for piece in said)] == []
    assert sum(row["by"] != "" for row in rows) == INTERRUPTED
    assert sum(row.get("missed", False) for row in rows) <= INTERRUPTED / 20
    assert max(abs(row["lost_ms"]) for row in rows if row["by"] == "") <= 60
    assert max(row["to_say_ms"] for row in rows) <= 100
    assert np.median([r["files"] for r in second]) <= np.median([r["files"] for r in first]) + 2
    assert max(r["rest_mb"] for r in second) - max(r["rest_mb"] for r in first) < 60
    # a stall of more than a second moves the film for good: it adds to the sum, not to what an utterance waits for
    print(f"stalls of the machine beyond a second, in all: {rows[-1]['sound_behind_ms'] / 1000:.1f} s")
    waited = [np.median([r["first_ms"] for r in part]) for part in (first, second)]
    assert waited[1] - waited[0] < 200
    apart = [r["sound_behind_ms"] - r["pictures_behind_ms"] for r in second]
    assert abs(np.median(apart)) < 100
