"""Watch an avatar over WebRTC: it is heard, falls silent when it is interrupted, and speaks a microphone's sound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from avatar_client import Microphone, Viewer, begin, tone, until, wav
from avatar_server import trained
from studio_server import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("avatar"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def trained_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the server as a user does, with the weights that ship."""
    with serving(tmp_path_factory.mktemp("trained")) as (address, _):
        yield address


@pytest.fixture
def avatar(server: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the address of a session and the headers that control it."""
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    yield url, key
    httpx.delete(url, headers=key)


def test_an_avatar_is_heard_and_an_interruption_silences_it_within_180_ms(
    server: str, avatar: tuple[str, dict[str, str]]
) -> None:
    url, key = avatar

    async def client() -> None:
        viewer = Viewer()
        await viewer.join(url)
        await until(lambda: viewer.pictures > 10 and viewer.blocks > 20)
        assert not viewer.loud
        async with httpx.AsyncClient(headers=key) as control:
            silences = []
            for i in range(4):
                got = await control.post(f"{url}/audio", content=wav(tone(8)))
                assert got.json() == {"utterance": f"u{i + 1}", "seconds": 8.0, "notes": []}
                heard = len(viewer.loud)
                await until(lambda n=heard: len(viewer.loud) > n + 10)
                assert (await control.get(url)).json()["state"] == "speaking"
                at = time.monotonic()
                got = await control.post(f"{url}/interrupt")
                assert got.json()["epoch"] == i + 1
                assert [part["utterance"] for part in got.json()["heard"]] == [f"u{i + 1}"]
                await asyncio.sleep(1.5)
                silences.append(max([t - at for t in viewer.loud if t > at], default=0))
                assert (await control.get(url)).json()["state"] == "idle"
        print(f"\ninterrupt to silence over WebRTC: {', '.join(f'{1000 * s:.0f}' for s in silences)} ms")
        # 100 ms, and the four packets of 20 ms that aiortc's receiver always holds back
        assert sorted(silences)[1] <= 0.1 + 0.08
        await viewer.leave()

    asyncio.run(client())


def test_a_microphones_sound_comes_back_from_the_avatar_within_1800_ms(server: str) -> None:
    """Measure from sound in to sound out; both connections have jitter buffers."""
    late = sorted(asyncio.run(to_and_fro(server, 1.0, 1))[0] for _ in range(3))
    print(f"\nsound in to sound out over WebRTC: {', '.join(f'{x:.0f}' for x in late)} ms")
    assert late[1] < 1800


@pytest.mark.long
@pytest.mark.skipif(not trained(), reason="assets/pocket-avatar has no weights, and this measures how long they take")
def test_of_twenty_sounds_95_percent_come_back_within_2200_ms(trained_server: str) -> None:
    late = asyncio.run(to_and_fro(trained_server, 0.8, 20))
    p50, p95 = np.quantile(late, [0.5, 0.95])
    print(f"\nsound in to the frame that says it, over WebRTC, {len(late)} times: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    assert len(late) == 20
    # the sound of a chunk and of its knot arrives before they are drawn (0.68 s with the speech window); the chunk is
    # drawn (0.44 s) and waits its turn (up to 0.48 s); both connections have jitter buffers
    assert p95 < 2200


async def to_and_fro(server: str, seconds: float, tones: int) -> list[float]:
    """Measure, for each tone, the ms from its first packet to the first loud packet that comes back."""
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    microphone = Microphone(seconds, tones)
    async with httpx.AsyncClient(headers=key) as control:
        message = b'{"id": 1, "type": "microphone", "use": "puppet"}'
        assert (await control.post(f"{url}/control", content=message)).status_code == 202
        viewer = Viewer(microphone)
        await viewer.join(url, session["key"])
        every = seconds + 2
        await until(
            lambda: len(microphone.spoke) == tones and viewer.loud[-1:] > microphone.spoke[-1:], 30 + tones * every
        )
        await asyncio.sleep(1.5)
        await viewer.leave()
        await control.delete(url)
    heard = [b for a, b in zip([0.0, *viewer.loud], viewer.loud, strict=False) if b - a > 1]  # after silence
    return [1000 * (b - a) for a, b in zip(microphone.spoke, heard, strict=True)]


def test_a_viewer_without_the_key_cannot_speak_through_the_avatar(
    server: str, avatar: tuple[str, dict[str, str]]
) -> None:
    url, _ = avatar

    async def client() -> None:
        viewer = Viewer(Microphone(2))
        await viewer.join(url)
        assert "a=sendonly" in viewer.connection.remoteDescription.sdp.partition("m=audio")[2]
        await until(lambda: viewer.blocks > 100)
        assert not viewer.loud
        await viewer.leave()

    asyncio.run(client())
