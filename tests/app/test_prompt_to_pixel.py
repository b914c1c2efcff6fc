"""Measure in a real browser how long a prompt takes to reach the screen."""

from __future__ import annotations

import statistics
from pathlib import Path

from browser_page import chromium, needs_chromium
from page_probe import end, until, until_seen
from studio_browser import opened, say, start, until_latent
from studio_server import serving

pytestmark = needs_chromium


FRAMES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
READ_MARKS = """() => {
  const v = document.querySelector('video'), c = document.createElement('canvas');
  c.width = 128; c.height = 8;
  const picture = c.getContext('2d', {willReadFrequently: true});
  window.marks = [];
  const read = (now, frame) => {
    picture.drawImage(v, 0, 0, v.videoWidth, v.videoHeight / 16, 0, 0, 128, 8);
    const data = picture.getImageData(0, 0, 128, 8).data;
    let number = 0;
    for (let bit = 0; bit < 16; bit++) if (data[4 * (4 * 128 + 8 * bit + 4) + 1] > 127) number += 1 << bit;
    window.marks.push([frame.expectedDisplayTime, number]);
    v.requestVideoFrameCallback(read);
  };
  v.requestVideoFrameCallback(read);
}"""
PIXEL_WAITS = """() => probe.events.filter(e => e.type == 'live').map(e => {
  const sent = probe.sent.get(e.id), first = marks.find(([at, number]) => at > sent && number == e.latent);
  return first ? first[0] - sent : null;
})"""


def test_half_of_the_prompts_reach_the_screen_within_two_chunks_and_all_within_three(tmp_path: Path) -> None:
    """Measure from Enter to the frame whose burnt-in mark shows the chunk that the prompt landed on.

    A prompt waits for a chunk and the look-ahead. The page's own figure must be as exact as one frame.
    """
    with serving(tmp_path, program="marked_server.py") as (address, _), chromium() as browser:
        page = opened(browser, address)
        start(page)
        page.evaluate(READ_MARKS)
        until_latent(page, 9)
        for i in range(10):
            say(page, f"a large {('red', 'blue')[i % 2]} ball bounces over the {('sea', 'meadow')[i % 2]} by day")
            until_seen(page, i + 1)
            frames = page.evaluate(FRAMES)
            until(page, f"{FRAMES} >= {frames + 5 + i}")  # so that prompts are sent at every moment of a chunk
        pixels, told = page.evaluate(PIXEL_WAITS), page.evaluate("probe.waits")
        numbers = [number for _, number in page.evaluate("marks")]
        end(page)
    assert None not in pixels
    assert sorted(set(numbers)) == list(range(min(numbers), max(numbers) + 1, 3))  # every chunk was presented and read
    for name, waits in (("pixels", pixels), ("the page", told)):
        p50, p95 = share(waits, 0.5), share(waits, 0.95)
        print(f"\nprompt to screen by {name}, {len(waits)} prompts: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    differences = [abs(a - b) for a, b in zip(pixels, told, strict=True)]
    print(f"the page is off by {statistics.median(differences):.0f} ms (median), {max(differences):.0f} ms (most)")
    chunk_ms = 12 / 16 * 1000
    assert share(pixels, 0.5) <= 2 * chunk_ms + 300  # alone on two cores: median 1255 ms, most 1710
    assert max(pixels) <= 3 * chunk_ms + 300
    assert statistics.median(differences) <= 1000 / 16


def share(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]
