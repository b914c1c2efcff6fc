"""Measure when an avatar's voice and mouth are received, and when it is silent: `pytest -s -m long` of this file.

A receiver with aiortc hears a sweep, whose pitch tells the place in it, and sees white pictures with loud sound. The
figures are also taken while another process uses up a core, and where a chunk takes twice as long to draw as it lasts.
Run it on a machine that is free otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from agent_sound import RATE, Sound, audio_url, place_in_sweep, sweep
from avatar_client import begin, until
from studio_server import serving
from test_conversation import Person, Watcher
from websockets.asyncio.client import connect

TIMES = 20
PLACES_OFF = 0.01  # seconds by which a place in the sweep may be read wrongly


@pytest.fixture(params=[[], ["--half-real-time"]], ids=["drawing in time", "drawing at half real time"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bool]]:
    """Give the address of a server, and whether it draws too slowly."""
    with serving(tmp_path_factory.mktemp("timing"), *request.param, program="flashing_server.py") as (address, _):
        yield address, bool(request.param)


@contextmanager
def burner(burns: bool) -> Iterator[None]:
    """Use up a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if burns else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def torn(heard: list[tuple[float, np.ndarray]]) -> int:
    """Count the places at which what was heard of a sweep does not go on where the block before it ended."""
    blocks = [samples for _, samples in heard[1:-1]]  # the first and the last one are heard in part
    places = [place_in_sweep(np.concatenate(pair), 48_000) for pair in itertools.pairwise(blocks)]
    return int(np.count_nonzero(np.abs(np.diff(places) - 0.02) > PLACES_OFF))


async def measured(server: str, speed: float) -> dict[str, list[float]]:
    """Send TIMES utterances, `speed` times as fast as they are heard; every second one is interrupted.

    The figures are seconds, but for `torn` and for the pictures `held` and `dropped`.
    """
    session = await asyncio.to_thread(begin, server)
    url = f"{server}/api/sessions/{session['id']}"
    watcher = Watcher(Person())
    await watcher.join(url)
    names = ("first sound", "first picture", "picture after sound", "silent", "heard off", "lost")
    found: dict[str, list[float]] = {name: [] for name in names}
    whole: list[list[tuple[float, np.ndarray]]] = []  # what was heard of those that were not interrupted
    async with (
        httpx.AsyncClient(headers={"x-longtake-key": session["key"]}, timeout=30) as control,
        connect(audio_url(url, session["key"])) as socket,
    ):
        sound = Sound(socket)
        await until(lambda: watcher.pictures > 50 and watcher.blocks > 100)
        for n in range(TIMES):
            watcher.forget()
            sound.events.clear()
            seconds, sent = 1.5, time.monotonic()
            await sound.tell(type="start", utterance=f"u{n}", rate=RATE)
            sending = asyncio.create_task(sound.send(sweep(seconds), 1920, in_time=speed == 1))
            await until(lambda: len(watcher.loud) > 2 and bool(watcher.white))
            found["first sound"].append(watcher.loud[0] - sent)
            found["first picture"].append(watcher.white[0] - sent)
            found["picture after sound"].append(watcher.white[0] - watcher.loud[0])
            if n % 2:
                await asyncio.sleep(0.3)
                asked = time.monotonic()
                got = (await control.post(f"{url}/interrupt")).json()
                await asyncio.sleep(0.6)
                sending.cancel()
                found["silent"].append(watcher.loud[-1] - asked)
                found["heard off"].append(got["heard"][0]["seconds"] - watcher.place())
            else:
                await sending
                await sound.tell(type="commit")
                await until(lambda: bool(sound.told("utterance.ended")))
                await asyncio.sleep(0.3)
                found["lost"].append(seconds - 0.02 * len(watcher.loud))
                whole.append(watcher.heard)
            await asyncio.sleep(0.2 + 0.037 * n)
        status = (await control.get(url)).json()
        found |= {"held": [status["held_frames"]], "dropped": [status["dropped_frames"]]}
        await control.delete(url)
    await watcher.leave()
    return found | {"torn": list(map(torn, whole))}


@pytest.mark.long
@pytest.mark.parametrize("burns", [False, True], ids=["free", "a core is burnt"])
@pytest.mark.parametrize(("speed", "most"), [(1000, 0.5), (1, 1.05)], ids=["fast", "in time"])
def test_a_voice_is_received_in_time_with_its_picture_and_falls_silent(
    server: tuple[str, bool], speed: float, most: float, burns: bool
) -> None:
    address, slow = server
    with burner(burns):
        found = asyncio.run(measured(address, speed))
    for name in ("torn", "held", "dropped"):
        print(f"{name}: {sum(found[name]):.0f}")
    for name, values in found.items():
        if name not in ("torn", "held", "dropped"):
            p50, p95 = 1000 * np.quantile(values, [0.5, 0.95])
            print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, n {len(values)}")
    assert sum(found["torn"]) == 0
    assert max(map(abs, found["lost"])) <= 0.045  # blocks of 20 ms are counted, and Opus rings
    assert max(map(abs, found["heard off"])) <= 0.1
    assert np.quantile(found["silent"], 0.95) <= 0.1 + 0.08  # four packets of 20 ms lie in aiortc's receiver
    if not slow:
        assert np.quantile(found["first sound"], 0.95) <= most
        # pictures are shown at once
        assert -0.12 <= np.median(found["picture after sound"]) <= 0.04
