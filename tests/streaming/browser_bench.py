"""Watch a session over poor lines with Chromium, and measure what it shows.

Run it with `python tests/streaming/browser_bench.py`, with the checkout, `tests`, `tests/streaming` and
`tests/app` on PYTHONPATH.
It takes the rows of `line_bench` whose names contain a text; lags are from the release of a frame in the server to the
browser's presentation of its picture.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time

from browser_page import CHROMIUM, FLAGS
from line_bench import BITS, ROWS, Row, Watched, film_model, number_in
from playwright.async_api import Browser, async_playwright
from udp_relay import Relay

from streaming.live.device import DeviceThread
from streaming.live.playout import Shown
from streaming.live.session import Session
from streaming.take.take_file import CueLine, Take
from streaming.transport.peers import Peer

PAGE = """
<video muted autoplay playsinline></video><canvas width=256 height=256></canvas>
<script>
  const video = document.querySelector("video"), canvas = document.querySelector("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const shown = [];
  let peer;
  function look() {
    context.drawImage(video, 0, 0, 256, 256);
    const row = context.getImageData(0, 8, 256, 1).data;
    let gray = 0, number = 0;
    for (let bit = 0; bit < BITS; bit++) if (row[4 * (16 * bit + 8)] > 125) gray |= 1 << bit;
    for (; gray; gray >>= 1) number ^= gray;
    shown.push([(performance.timeOrigin + performance.now()) / 1000, number]);
    video.requestVideoFrameCallback(look);
  }
  async function offer() {
    peer = new RTCPeerConnection();
    const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // as a page of ours does
    peer.createDataChannel("control");
    video.srcObject = new MediaStream([receiver.track]);
    video.requestVideoFrameCallback(look);
    await peer.setLocalDescription();
    return peer.localDescription.sdp;
  }
  async function figures() {
    for (const s of (await peer.getStats()).values())
      if (s.type === "inbound-rtp")
        return { pli: s.pliCount, nack: s.nackCount, lost: s.packetsLost, keys: s.keyFramesDecoded };
    return {};
  }
</script>
""".replace("BITS", str(BITS))


async def measure(browser: Browser, row: Row, seed: int = 1) -> str:
    """Run a session watched by Chromium behind the row's line; return a row of the table."""
    device = DeviceThread()
    session = Session(film_model(row.side), Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")]), device)
    released: dict[int, float] = {}

    def note(shown: Shown, _: int) -> None:
        released[number_in(shown.picture.mean(2))] = time.time()

    session.playout.watch(note)
    session.start()
    page, peer = await browser.new_page(), Peer(session)
    relay: Relay | None = None
    try:
        await page.set_content(PAGE)
        await asyncio.sleep(2)
        offered = re.sub(r"a=candidate:[^\r\n]*\r\n", "", await page.evaluate("offer()"))
        answer = await peer.answer(offered.replace("a=end-of-candidates\r\n", ""))
        found = re.search(r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", answer)
        assert found is not None
        relay = Relay(found[1], row.down, row.up, seed=seed)
        await relay.open((found[1], int(found[2])))
        candidate = f"a=candidate:1 1 udp 2130706431 {found[1]} {relay.port} typ host\r\na=end-of-candidates\r\n"
        answer = re.sub(r"a=candidate:[^\r\n]*\r\n", "", answer).replace("a=end-of-candidates\r\n", "")
        answer = re.sub(r"(a=ice-pwd:[^\r\n]*\r\n)", lambda m: m[1] + candidate, answer)
        await page.evaluate("(sdp) => peer.setRemoteDescription({ type: 'answer', sdp })", answer)
        relay.begin()
        await asyncio.sleep(row.measured_from)
        sent, begin = relay.down.sent, time.time()
        await asyncio.sleep(row.seconds - row.measured_from)
        kbit = (relay.down.sent - sent) * 8 / (time.time() - begin) / 1000
        watched, end = Watched(), time.time()
        watched.shown = [(t, n) for t, n in await page.evaluate("shown")]
        figures = watched.figures(released, begin, end)
        numbers = " | ".join(f"{figures[name]:.2f}" for name in ("fps", "freeze", "lag", "lag_end"))
        return f"| {row.name} | {numbers} | {kbit:.0f} | {await page.evaluate('figures()')} |"
    finally:
        await page.close()
        await peer.close()
        if relay is not None:
            relay.close()
        await session.close()
        device.close()


async def run(only: str, runs: int) -> None:
    """Print the rows whose names contain a text, each so many times."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        print("| Chromium | fps | worst freeze | behind live | at the end | kbit/s | receiver |", flush=True)
        for row in ROWS:
            for number in range(runs if only in row.name else 0):
                print(await measure(browser, row, number + 1), flush=True)
        await browser.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.only, options.runs))


if __name__ == "__main__":
    main()
