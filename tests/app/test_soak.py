"""Measure a long session, viewers that vanish and many viewers: `pytest -s -m long tests/app/test_soak.py`.

Figures and a plot are written into out/. LONGTAKE_SOAK_MINUTES sets the length of the session (20),
LONGTAKE_VANISH_CYCLES the number of viewers that vanish (50).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from studio_server import ROOT, serving

MINUTES = float(os.environ.get("LONGTAKE_SOAK_MINUTES", "20"))
CYCLES = int(os.environ.get("LONGTAKE_VANISH_CYCLES", "50"))
MEASURED = {
    "buffer_ms": "drawn and not yet shown, ms",
    "prompt_ms": "prompt to release, ms",
    "lag_ms": "behind the media rate, ms",
    "rss_mb": "memory, MB",
    "rest_mb": "memory without snapshots, MB",
    "files": "descriptors",
    "threads": "threads",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    with serving(tmp_path) as (address, process):
        yield address, psutil.Process(process.pid)


def taken(process: psutil.Process, url: str) -> tuple[int, int, int]:
    """Return megabytes of memory without snapshots, file descriptors and threads of the server."""
    held = httpx.get(url, timeout=30).json()["held_mb"]
    return round(process.memory_info().rss / 1e6 - held), process.num_fds(), process.num_threads()


def plot(rows: list[dict[str, float]], file: Path, measured: dict[str, str]) -> None:
    """Draw each measured value over the minutes into a PNG; `measured` has the labels by name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(measured), 1, sharex=True, figsize=(8, 10), layout="constrained")
    for axis, (name, label) in zip(axes, measured.items(), strict=True):
        axis.plot([r["seconds"] / 60 for r in rows], [r[name] for r in rows])
        axis.set_title(label, fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    figure.savefig(file, dpi=110)


def print_halves(rows: list[dict[str, float]], measured: dict[str, str]) -> None:
    """Print the medians of both halves of a soak, and the largest value."""
    half = len(rows) // 2
    print()
    for name in measured:
        values = [r[name] for r in rows]
        print(
            f"{name}: first half {np.median(values[:half]):.0f}, second half {np.median(values[half:]):.0f}, "
            f"max {max(values):.0f}"
        )


def begin(server: str, size: str | None = None) -> dict[str, Any]:
    asked = {"prompt": "a red ball bounces over the meadow by day"} | ({"size": size} if size else {})
    got = httpx.post(f"{server}/api/sessions", json=asked)
    assert got.status_code == 201, got.text
    return got.json()


async def watch(server: str, session: dict[str, Any]) -> tuple[RTCPeerConnection, asyncio.Task[None], list[int]]:
    """Connect a viewer; return the connection, the task that receives frames, and a list with their count."""
    connection, count = RTCPeerConnection(), [0]
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{server}/api/sessions/{session['id']}/offer", json={"sdp": connection.localDescription.sdp}
        )
    await connection.setRemoteDescription(RTCSessionDescription(answer.json()["sdp"], "answer"))

    async def take() -> None:
        while True:
            await connection.getTransceivers()[0].receiver.track.recv()
            count[0] += 1

    return connection, asyncio.create_task(take()), count


@pytest.mark.long
@pytest.mark.timeout(int(60 * MINUTES) + 300)
def test_memory_descriptors_threads_and_delay_of_a_long_session_stay_flat(server: tuple[str, psutil.Process]) -> None:
    """Send a prompt every ten seconds."""
    address, process = server

    async def soak() -> list[dict[str, float]]:
        session = begin(address)
        connection, task, count = await watch(address, session)
        rows, began = [], time.monotonic()
        headers = {"x-longtake-key": session["key"]}
        url = f"{address}/api/sessions/{session['id']}"
        async with httpx.AsyncClient(timeout=30) as client:
            for number in range(int(6 * MINUTES)):
                colour, place = ("red", "blue", "white")[number % 3], ("sea", "meadow")[number % 2]
                text = f"a {colour} ball bounces over the {place} by day"
                await client.post(
                    f"{url}/control", headers=headers, json={"id": number, "type": "prompt", "text": text}
                )
                await asyncio.sleep(10)
                status = (await client.get(url)).json()
                rows.append(
                    {
                        "seconds": time.monotonic() - began,
                        "frames": count[0],
                        "buffer_ms": status["buffer_ms"],
                        "prompt_ms": status["prompt_ms"][0],
                        "lag_ms": 1000 * (time.monotonic() - began - count[0] / 16),
                        "rss_mb": process.memory_info().rss / 1e6,
                        "rest_mb": process.memory_info().rss / 1e6 - status["held_mb"],
                        "files": process.num_fds(),
                        "threads": process.num_threads(),
                    }
                )
        task.cancel()
        await connection.close()
        return rows

    rows = asyncio.run(soak())
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    (out / "soak.json").write_text(json.dumps(rows))
    plot(rows, out / "soak.png", MEASURED)
    half = len(rows) // 2
    print_halves(rows, MEASURED)
    elapsed, frames = rows[-1]["seconds"] - rows[0]["seconds"], rows[-1]["frames"] - rows[0]["frames"]
    print(f"frames a second received: {frames / elapsed:.2f}")
    assert frames / elapsed == pytest.approx(16, rel=0.02)
    assert np.median([r["files"] for r in rows[half:]]) <= np.median([r["files"] for r in rows[:half]]) + 2
    assert max(r["rest_mb"] for r in rows[half:]) - max(r["rest_mb"] for r in rows[:half]) < 60


@pytest.mark.long
@pytest.mark.timeout(900)
def test_viewers_that_vanish_leave_no_memory_descriptors_or_threads(server: tuple[str, psutil.Process]) -> None:
    """Abort the viewers' transports without a goodbye, as when a machine is switched off."""
    address, process = server

    async def cycles() -> None:
        session = begin(address)
        url = f"{address}/api/sessions/{session['id']}"
        keeper, keeping, _ = await watch(address, session)
        await asyncio.sleep(5)
        before = taken(process, url)
        async with httpx.AsyncClient(timeout=30) as client:
            for _ in range(CYCLES):
                connection, task, count = await watch(address, session)
                async with asyncio.timeout(20):
                    while count[0] < 3:
                        await asyncio.sleep(0.05)
                task.cancel()
                for transceiver in connection.getTransceivers():
                    ice = transceiver.receiver.transport.transport._connection
                    for protocol in list(ice._protocols):
                        protocol.transport.abort()
            began = time.monotonic()
            while (viewers := (await client.get(url)).json()["viewers"]) > 1 and time.monotonic() - began < 120:
                await asyncio.sleep(2)
            print(f"\nall were gone {time.monotonic() - began:.0f} s after the last vanished")
            assert viewers == 1
            await asyncio.sleep(10)
        after = taken(process, url)
        print(f"MB (without snapshots), descriptors, threads: before {before}, after {after}")
        assert after[1] <= before[1] + 3
        assert after[2] <= before[2] + 3
        assert after[0] - before[0] < 80
        keeping.cancel()
        await keeper.close()

    asyncio.run(cycles())


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_further_viewer_costs_less_than_a_twentieth_of_a_core(server: tuple[str, psutil.Process]) -> None:
    address, process = server

    async def cost() -> list[float]:
        session = begin(address)
        shares, peers = [], []
        for viewers in (1, 2, 4):
            while len(peers) < viewers:
                peers.append(await watch(address, session))
            await asyncio.sleep(3)
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            await asyncio.sleep(15)
            shares.append((sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began))
        for connection, task, _ in peers:
            task.cancel()
            await connection.close()
        return shares

    one, two, four = asyncio.run(cost())
    print(
        f"\nCPU of the server in cores: 1 viewer {one:.3f}, 2 {two:.3f}, 4 {four:.3f}; "
        f"each further one {(four - one) / 3:.4f}"
    )
    assert (four - one) / 3 < 0.05
