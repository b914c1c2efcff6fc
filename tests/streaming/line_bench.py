"""Watch a session over poor lines with real WebRTC peers, and measure what arrives.

Run it with `python tests/streaming/line_bench.py`, with the checkout, `tests` and `tests/streaming` on PYTHONPATH.

Two receivers are measured on each line. *Screen* is aiortc's own: its jitter buffer gives one picture for each packet
that comes, so a picture that was late stays late, and the lag of every stall is kept for good. *Arrived* decodes the
same packets as soon as a picture and all before it, or a keyframe, is there: the best that a receiver could do, and
near to what a browser does. Both lags are from the release of a frame in the server to its decoded picture.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import av
import numpy as np
import torch
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.h264 import h264_depayload
from aiortc.mediastreams import MediaStreamError
from conftest import TINY_CODEC, tiny_model, tiny_text
from torch import Tensor
from udp_relay import Line, Relay

from models.checkpoints.assemble import Model
from models.codecs.stream import Memory
from models.codecs.tiny import TinyCodec
from models.generator import Generator
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import Scene
from models.text.prompt_reading import any_prompt
from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.take.take_file import CueLine, Take
from streaming.transport.peers import Peer

BITS = 12  # of a frame's number, which is painted in blocks a sixteenth of the picture's side
SMALL, POCKET_SIZE = 32, 128  # pixels: 41 kbit/s, and 300 kbit/s as the pocket model's film
SCENES = [
    Scene("large", "red", "ball", "right", "middle", "sea", weather="rain"),
    Scene("small", "white", "star", "circle", "left", "forest", weather="snow"),
]


def painted(picture: np.ndarray, number: int) -> np.ndarray:
    """Return the picture [side, side, 3] with a number in Gray code, of which one block changes from frame to frame."""
    gray, picture, block = number ^ number >> 1, picture.copy(), len(picture) // 16
    for bit in range(BITS):
        picture[:block, bit * block : (bit + 1) * block] = 235 if gray >> bit & 1 else 16
    return picture


def number_in(luma: np.ndarray) -> int:
    """Return the number that is painted in a picture [side, side] of brightness."""
    block = luma.shape[1] // 16
    inner = max(block // 4, 0)
    gray = sum(
        1 << b
        for b in range(BITS)
        if luma[inner : block - inner, b * block + inner : (b + 1) * block - inner].mean() > 125
    )
    number = 0
    while gray:
        number, gray = number ^ gray, gray >> 1
    return number


class FilmCodec(TinyCodec):
    """Decode any latents to the frames of a film that repeats, each with its number, so that drawing costs little."""

    def __init__(self, side: int) -> None:
        super().__init__(TINY_CODEC)
        beats = [Beat(96 * i, scene) for i, scene in enumerate([*SCENES, *SCENES])]
        self.film, self.at = draw_clip(beats, 96 * len(beats), side)[0], 0

    def decode(self, latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        count = 4 * latents.shape[2]
        frames = [painted(self.film[n % len(self.film)], n) for n in range(self.at, self.at + count)]
        self.at += count
        kept: Memory = [torch.zeros(1)]
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] / 255, kept


def film_model(side: int) -> Model:
    """Return a model with a tiny transformer whose codec shows a film of the pocket world, of this side in pixels."""
    tiny = tiny_model()
    generator = Generator(tiny.entry.rollout, tiny.generator.transformer, tiny_text, FilmCodec(side).eval())
    return Model(replace(tiny.entry, size=(side, side)), generator, "tiny", any_prompt)


@dataclass
class Watched:
    """Note which frames a receiver showed, and when."""

    shown: list[tuple[float, int]] = field(default_factory=list)  # monotonic seconds; number

    def note(self, frame: av.VideoFrame) -> None:
        self.shown.append((time.monotonic(), number_in(frame.to_ndarray(format="gray"))))

    def figures(self, released: dict[int, float], begin: float, end: float) -> dict[str, float]:
        """Return fps, the worst gap between pictures, and lags behind the release (seconds), from begin to end."""
        seen = [(t, n) for t, n in self.shown if begin <= t < end and n in released and released[n] <= t]
        times = [begin, *(t for t, _ in seen), end]
        lags = [t - released[n] for t, n in seen]
        lag_at_end = [t - released[n] for t, n in seen if t > end - 3]
        return {
            "fps": len({n for _, n in seen}) / (end - begin),
            "freeze": max(b - a for a, b in itertools.pairwise(times)),
            "lag": statistics.median(lags) if lags else float("nan"),
            "lag_end": statistics.median(lag_at_end) if lag_at_end else float("nan"),
        }


class BestReceiver:
    """Decode RTP packets as soon as a picture is there with all before it since a keyframe."""

    def __init__(self, watched: Watched) -> None:
        self._watched, self._codec = watched, av.CodecContext.create("h264", "r")
        self._packets: dict[int, tuple[bool, bytes]] = {}  # extended number → last of its frame, data
        self._next: int | None = None
        self._newest: int | None = None

    def add(self, number: int, last: bool, data: bytes) -> None:
        """Add a packet of H.264 in Annex B; its RTP number is 16 bits."""
        if self._newest is None:
            self._newest = number + (1 << 16)
        full = self._newest + ((number - self._newest + (1 << 15)) % (1 << 16)) - (1 << 15)
        self._newest = max(self._newest, full)
        if self._next is None or full >= self._next:
            self._packets.setdefault(full, (last, data))
        while self._show():
            pass

    def _show(self) -> bool:
        for begin in sorted(self._packets):
            key = re.search(rb"\x00\x00\x01\x67", self._packets[begin][1][:64]) is not None
            if begin != self._next and not key:
                continue
            end = begin
            while end in self._packets and not self._packets[end][0]:
                end += 1
            if end not in self._packets:
                continue
            data = b"".join(self._packets[n][1] for n in range(begin, end + 1))
            self._next = end + 1
            self._packets = {n: p for n, p in self._packets.items() if n > end}
            if data:
                with contextlib.suppress(av.FFmpegError):
                    for frame in self._codec.decode(av.Packet(data)):
                        self._watched.note(frame)
            return True
        return False


class Client:
    """Watch a session over a line with aiortc, as a page does: video and a control channel."""

    def __init__(self, session: Session, down: Line, up: Line, seed: int) -> None:
        self.screen, self.arrived = Watched(), Watched()
        self.events: list[dict[str, object]] = []
        self._session, self._lines, self._seed = session, (down, up), seed
        self._page, self.peer = RTCPeerConnection(), Peer(session)
        self.relay: Relay | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect through the relay, whose address takes the place of the server's candidates."""
        page = self._page
        receiver = page.addTransceiver("video", direction="recvonly").receiver
        channel = page.createDataChannel("control")
        channel.on("message", lambda text: self.events.append(json.loads(text)))
        await page.setLocalDescription(await page.createOffer())
        bare = re.sub(r"a=candidate:[^\r\n]*\r\n", "", page.localDescription.sdp).replace("a=end-of-candidates\r\n", "")
        answer = await self.peer.answer(bare)
        found = re.search(r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", answer)
        assert found is not None
        self.relay = Relay(found[1], *self._lines, seed=self._seed)
        await self.relay.open((found[1], int(found[2])))
        candidate = f"a=candidate:1 1 udp 2130706431 {found[1]} {self.relay.port} typ host\r\na=end-of-candidates\r\n"
        answer = re.sub(r"a=candidate:[^\r\n]*\r\n", "", answer).replace("a=end-of-candidates\r\n", "")
        answer = re.sub(r"(a=ice-pwd:[^\r\n]*\r\n)", lambda m: m[1] + candidate, answer)
        self._tap(receiver, answer)
        await page.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._task = asyncio.create_task(self._watch(receiver.track))
        self.relay.begin()

    def _tap(self, receiver: object, answer: str) -> None:
        again = {int(a): int(b) for a, b in re.findall(r"a=fmtp:(\d+) apt=(\d+)", answer)}
        film = {int(t) for t in re.findall(r"a=rtpmap:(\d+) H264/", answer)}
        best, inner = BestReceiver(self.arrived), receiver._handle_rtp_packet  # type: ignore[attr-defined]

        async def handle(packet: object, arrival_time_ms: int) -> None:
            kind, number, payload = packet.payload_type, packet.sequence_number, packet.payload  # type: ignore[attr-defined]
            if kind in again and len(payload) >= 2:
                kind, number, payload = again[kind], int.from_bytes(payload[:2], "big"), payload[2:]
            if kind in film:
                data = h264_depayload(payload) if payload else b""
                best.add(number, bool(packet.marker), data)  # type: ignore[attr-defined]
            await inner(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = handle  # type: ignore[attr-defined]

    async def _watch(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.screen.note(frame)

    async def close(self) -> None:
        """Leave, and close the relay."""
        if self._task is not None:
            self._task.cancel()
        await self._page.close()
        await self.peer.close()
        if self.relay is not None:
            self.relay.close()


@dataclass(frozen=True)
class Row:
    """Describe one row of the table."""

    name: str
    side: int  # of the film, pixels
    down: Line
    up: Line
    seconds: float = 30.0
    measured_from: float = 8.0  # seconds after the connection: a line's first seconds teach what it carries


def _both(name: str, side: int, **line: object) -> Row:
    return Row(name, side, Line(**line), Line(**{k: v for k, v in line.items() if k not in ("rate", "queue")}))  # type: ignore[arg-type]


FAR: dict[str, object] = {"delay": 0.065, "jitter": 0.02}
ROWS = [
    _both("clean", SMALL),
    _both("150 ms RTT + jitter", SMALL, **FAR),
    _both("+ 5 % loss", SMALL, **FAR, loss=0.05),
    _both("+ 10 % loss", SMALL, **FAR, loss=0.1),
    _both("+ 20 % loss", SMALL, **FAR, loss=0.2),
    replace(
        _both("8 s outage, then clean", SMALL, delay=0.02, outages=((8.0, 16.0),)), seconds=30.0, measured_from=16.0
    ),
    _both("24 kbit/s bottleneck", SMALL, delay=0.02, rate=24_000),
    _both("60 kbit/s bottleneck", SMALL, delay=0.02, rate=60_000),
    _both("100 kbit/s bottleneck", SMALL, delay=0.02, rate=100_000),
    _both("clean, pocket's film", POCKET_SIZE),
    _both("+ 5 % loss, pocket's film", POCKET_SIZE, **FAR, loss=0.05),
    _both("60 kbit/s, pocket's film", POCKET_SIZE, delay=0.02, rate=60_000),
    _both("100 kbit/s, pocket's film", POCKET_SIZE, delay=0.02, rate=100_000),
    _both("200 kbit/s, pocket's film", POCKET_SIZE, delay=0.02, rate=200_000),
]


async def measure(row: Row, seed: int = 1) -> dict[str, object]:
    """Run a session with a clean viewer and one behind the row's line; return what both saw."""
    device = DeviceThread()
    session = Session(film_model(row.side), Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")]), device)
    released: dict[int, float] = {}

    def note(shown: Shown, _: int) -> None:
        released[number_in(shown.picture.mean(2))] = time.monotonic()

    session.playout.watch(note)
    session.start()
    clean, poor = Client(session, Line(), Line(), seed + 100), Client(session, row.down, row.up, seed)
    try:
        await clean.connect()
        await asyncio.sleep(2)
        await poor.connect()
        began = time.monotonic()
        await asyncio.sleep(row.measured_from)
        assert poor.relay is not None
        sent, begin = poor.relay.down.sent, time.monotonic()
        await asyncio.sleep(row.seconds - row.measured_from)
        end = time.monotonic()
        kbit = (poor.relay.down.sent - sent) * 8 / (end - begin) / 1000
        if session.over:
            raise RuntimeError(f"the session ended: {session.failure}")
        shown = poor.arrived.shown
        live = [t - began for t, n in shown if t >= begin and n in released and t - released[n] < 1.0]
        return {
            "name": row.name,
            "screen": poor.screen.figures(released, begin, end),
            "arrived": poor.arrived.figures(released, begin, end),
            "first": shown[0][0] - began if shown else float("nan"),
            "live_after": live[0] - row.measured_from if live else float("nan"),
            "kbit": kbit,
            "clean_fps": clean.arrived.figures(released, begin, end)["fps"],
            "lines": [e for e in poor.events if e["type"] == "line"],
        }
    finally:
        await poor.close()
        await clean.close()
        await session.close()
        device.close()


HEAD = """\
| line | fps: arrived, screen | worst freeze | behind live | at the end | live after | kbit/s | clean viewer's fps |
|---|---|---|---|---|---|---|---|"""


def written(found: dict[str, object]) -> str:
    """Return a row of the table."""

    def pair(key: str) -> str:
        return f"{found['arrived'][key]:.2f}, {found['screen'][key]:.2f}"  # type: ignore[index]

    return (
        f"| {found['name']} | {pair('fps')} | {pair('freeze')} | {pair('lag')} | {pair('lag_end')} | "
        f"{found['live_after']:.1f} | {found['kbit']:.0f} | {found['clean_fps']:.1f} |"
    )


async def run(rows: Sequence[Row], at_once: int) -> list[dict[str, object]]:
    """Measure rows, several at the same time, each with a session of its own."""
    turns = asyncio.Semaphore(at_once)

    async def one(row: Row) -> dict[str, object]:
        async with turns:
            found = await measure(row)
            print(written(found), flush=True)
            return found

    return list(await asyncio.gather(*(one(row) for row in rows)))


def main() -> None:
    """Print the table, or the rows whose names contain a text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--events", action="store_true")
    options = parser.parse_args()
    print(HEAD, flush=True)
    for found in asyncio.run(run([r for r in ROWS if options.only in r.name], options.at_once)):
        if options.events:
            print(found["name"], *found["lines"], sep="\n  ")  # type: ignore[misc]


if __name__ == "__main__":
    main()
