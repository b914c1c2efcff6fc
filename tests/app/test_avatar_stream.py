"""Stream sound into an avatar as an agent does, and compare what it is told was heard with what a receiver heard."""

from __future__ import annotations

import asyncio
import io
import json
import time
import wave
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from agent_sound import RATE, Sound, audio_url, joined, sweep
from avatar_client import begin, tone, until, wav
from studio_server import serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("avatar"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


def test_sound_that_is_streamed_is_heard_soon_and_what_was_heard_is_told_within_100_ms(server: str) -> None:
    async def client() -> None:
        async with (
            joined(server) as (url, session, listener, sound),
            httpx.AsyncClient(headers={"x-longtake-key": session["key"]}) as control,
        ):
            await sound.tell(type="start", utterance="a", rate=RATE)
            began = time.monotonic()
            sending = asyncio.create_task(sound.send(sweep(8), 961, in_time=True))  # pieces cut within samples
            await until(lambda: len(sound.told("utterance.spoken")) >= 6)
            await control.get(url)  # connects
            asked = time.monotonic()
            got = (await control.post(f"{url}/interrupt")).json()
            await asyncio.sleep(1)
            sending.cancel()
            places = listener.places(began)
            first, (last_at, last) = places[0][0] - began, places[-1]
            errors = []
            for at, event in sound.events:
                if event["type"] == "utterance.spoken":
                    truth = np.interp(at, [p[0] for p in places], [p[1] for p in places])
                    errors.append(event["seconds"] - truth)
            told = got["heard"][0]
            print(
                f"\nPCM to audible {1000 * first:.0f} ms, interrupt to silence {1000 * (last_at - asked):.0f} ms; "
                f"heard {told['seconds']:.3f} s told, {last:.3f} s in truth; while speaking "
                f"{1000 * np.median(errors):+.0f} ms (p50), {1000 * max(map(abs, errors)):.0f} ms (most)"
            )
            assert told["utterance"] == "a"
            assert told["sample"] == pytest.approx(RATE * told["seconds"], abs=RATE / 1000 + 1)
            assert abs(told["seconds"] - last) <= 0.1
            assert np.median(np.abs(errors)) <= 0.1
            assert sound.told("utterance.ended")[0]["why"] == "interrupted"
            assert sound.told("interrupted")[0]["heard"] == got["heard"]

    asyncio.run(client())


def test_a_streamed_utterance_is_played_whole_and_leaves_the_seat_of_the_page(server: str) -> None:
    async def client() -> None:
        session = await asyncio.to_thread(begin, server)
        url, key = f"{server}/api/sessions/{session['id']}", session["key"]
        page_url = f"{url.replace('http', 'ws')}/stream?key={key}"
        async with connect(page_url, max_size=None) as page, connect(audio_url(url, key)) as socket:
            sound, pcm = Sound(socket), sweep(1.5)
            await sound.tell(type="start", rate=RATE)
            await sound.tell(type="text", text="Hello there.")
            await sound.send(pcm, 4095)
            await sound.tell(type="commit")
            await until(lambda: bool(sound.told("utterance.ended")))
            name = sound.told("queued")[0]["utterance"]
            ended = sound.told("utterance.ended")[0]
            assert ended == {
                "type": "utterance.ended",
                "utterance": name,
                "sample": len(pcm) // 2,
                "seconds": 1.5,
                "text": "Hello there.",
                "why": "complete",
            }
            assert [e["text"] for e in sound.told("caption")] == ["Hello there."]
            await page.send('{"id": 7, "type": "interrupt"}')  # the page still controls the session
            async with asyncio.timeout(10):
                while True:
                    message = await page.recv()
                    if isinstance(message, str) and json.loads(message).get("id") == 7:
                        assert json.loads(message)["type"] == "accepted"
                        break
        await asyncio.to_thread(httpx.delete, url, headers={"x-longtake-key": key})
        got = await asyncio.to_thread(httpx.get, f"{server}/api/takes/{session['take']}/sound")
        with wave.open(io.BytesIO(got.content)) as file:
            kept = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            assert file.getframerate() == 48_000
        loud = np.flatnonzero(np.abs(kept) > 100)
        assert (loud[-1] - loud[0]) / 48_000 == pytest.approx(1.5, abs=0.01)

    asyncio.run(client())


def test_a_cancel_without_a_name_drops_the_utterance_begun_last_although_it_was_committed(server: str) -> None:
    async def client() -> None:
        session = await asyncio.to_thread(begin, server)
        url, key = f"{server}/api/sessions/{session['id']}", session["key"]
        async with connect(audio_url(url, key)) as socket:
            sound = Sound(socket)
            await sound.tell(type="start", utterance="a", rate=RATE)
            await sound.send(sweep(2), 9600)
            await sound.tell(type="start", utterance="b", rate=RATE)
            await sound.send(sweep(60), 9600)
            await sound.tell(type="commit")
            await sound.tell(type="cancel")
            await until(lambda: any(e["utterance"] == "b" for e in sound.told("utterance.ended")))
            (b,) = (e for e in sound.told("utterance.ended") if e["utterance"] == "b")
            assert b["why"] == "cancelled"
            await sound.tell(type="cancel")
            await until(lambda: bool(sound.told("refused")))
            assert sound.told("refused")[0]["why"] == "no utterance that was begun here is being spoken or waits"
        await asyncio.to_thread(httpx.delete, url, headers={"x-longtake-key": key})

    asyncio.run(client())


def test_messages_that_cannot_be_obeyed_are_refused_in_a_line_and_the_socket_goes_on(server: str) -> None:
    async def client() -> None:
        session = await asyncio.to_thread(begin, server)
        url, key = f"{server}/api/sessions/{session['id']}", session["key"]
        async with connect(audio_url(url, key)) as socket:
            sound = Sound(socket)
            await socket.send(b"\0\0")
            await sound.tell(type="commit")
            await sound.tell(type="start", rate=44_100)
            await sound.tell(type="start", queue="first")
            await sound.tell(type="cancel", utterance="nobody")
            await sound.tell(type="start", utterance="../x")
            await socket.send("[]")
            await sound.tell(type="start", utterance="a")
            await until(lambda: len(sound.told("refused")) >= 6 and bool(sound.told("queued")))
            whys = [event["why"] for event in sound.told("refused")]
            assert "no utterance was begun; send start before its samples" in whys
            assert "no utterance named nobody is being spoken or waits" in whys
            assert any("16000, 24000 or 48000" in why for why in whys)
            assert all("\n" not in why and len(why) < 300 for why in whys)
        for wrong in (audio_url(url, "x"), audio_url(f"{server}/api/sessions/{'0' * 32}", key)):
            async with connect(wrong) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        await asyncio.to_thread(httpx.delete, url, headers={"x-longtake-key": key})

    asyncio.run(client())


def test_the_key_of_a_socket_may_come_as_a_header(server: str) -> None:
    async def client() -> None:
        session = await asyncio.to_thread(begin, server)
        url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
        address = audio_url(url, "").partition("?")[0]
        async with connect(address, additional_headers=key) as socket:
            await socket.send('{"type": "start", "utterance": "a"}')
            assert json.loads(await socket.recv())["type"] == "queued"
        await asyncio.to_thread(httpx.delete, url, headers=key)

    asyncio.run(client())


def test_a_chunked_post_of_raw_sound_is_spoken_while_it_arrives(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    states: list[str] = []

    def slowly() -> Iterator[bytes]:
        pcm = sweep(3)
        for at in range(0, len(pcm), 9601):
            yield pcm[at : at + 9601]
            time.sleep(0.2)
            states.append(httpx.get(url).json()["state"])

    headers = key | {"content-type": "audio/pcm; rate=24000"}
    got = httpx.post(f"{url}/audio?utterance=b", content=slowly(), headers=headers, timeout=30)
    assert (got.status_code, got.json()) == (202, {"utterance": "b", "seconds": 3.0, "notes": []})
    assert "speaking" in states
    for kind in ("audio/pcm", "audio/pcm; rate=8000", "audio/pcm; rate=24000; channels=2"):
        refused = httpx.post(f"{url}/audio", content=b"\0\0", headers=key | {"content-type": kind})
        assert refused.status_code == 400, kind
    httpx.delete(url, headers=key)


def test_waiting_utterances_are_replaced_cleared_and_cancelled_over_http(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    for name in ("a", "b", "c"):
        assert httpx.post(f"{url}/audio?utterance={name}", content=wav(tone(9)), headers=key).status_code == 202
    twice = httpx.post(f"{url}/audio?utterance=b", content=wav(tone(1)), headers=key)
    assert (twice.status_code, "named b" in twice.json()["error"]) == (409, True)
    assert httpx.delete(f"{url}/utterances/c", headers=key).json() == {"cleared": ["c"]}
    assert httpx.delete(f"{url}/utterances/c", headers=key).status_code == 404
    deadline = time.monotonic() + 20
    while httpx.get(url).json()["to_say_s"] > 17.9:  # until the first is being spoken
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert httpx.delete(f"{url}/utterances", headers=key).json() == {"cleared": ["b"]}
    epoch = httpx.get(url).json()["epoch"]
    assert httpx.post(f"{url}/audio?queue=replace", content=wav(tone(1)), headers=key).status_code == 202
    assert httpx.get(url).json()["epoch"] == epoch + 1
    assert httpx.get(url).json()["to_say_s"] <= 1
    httpx.delete(url, headers=key)
