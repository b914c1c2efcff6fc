"""The studio end to end: a real server, a real browser, real H.264; the judge says what the decoded pixels show."""

from __future__ import annotations

import base64
import json
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
import pytest
import torch
from page_probe import PROBE, end, latest, take_of, until, until_ready, until_says, until_seen
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from studio_server import serving

from models import catalog
from models.checkpoints.assemble import ASSETS, load
from models.judge import classifier
from models.time_grid import TimeGrid
from streaming.rollout import Rollout
from streaming.take import journal
from streaming.take.take_file import parse

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]

GRAB = """() => new Promise(done => {
  const v = document.querySelector('video'), c = document.createElement('canvas'), out = [];
  c.width = c.height = 128;
  const take = () => {
    c.getContext('2d').drawImage(v, 0, 0, 128, 128);
    out.push(c.toDataURL('image/png').split(',')[1]);
    if (out.length < 12) v.requestVideoFrameCallback(take); else done(out);
  };
  v.requestVideoFrameCallback(take);
})"""


def pictures(page: Page) -> np.ndarray:
    """Twelve successive decoded frames [12, 128, 128, 3] RGB, read back from the page."""
    raw = [np.frombuffer(base64.b64decode(p), np.uint8) for p in page.evaluate(GRAB)]
    return np.stack([cv2.imdecode(r, cv2.IMREAD_COLOR)[..., ::-1] for r in raw])


def seen(page: Page) -> dict[str, str]:
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    return judge.read(torch.from_numpy(pictures(page))[None])[0]


def shows(page: Page, place: str, light: str, seconds: float = 20) -> None:
    """The decoded pixels come to show it and stay so: a window across a switch may read as anything."""
    until, in_a_row = time.monotonic() + seconds, 0
    while in_a_row < 2:
        now = seen(page)
        in_a_row = in_a_row + 1 if (now["place"], now["light"]) == (place, light) else 0
        assert time.monotonic() < until, now


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    data = tmp_path_factory.mktemp("studio")
    with serving(data) as (address, _):
        yield address, data


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
    yield chromium
    chromium.close()


@pytest.fixture
def page(server: tuple[str, Path], browser: Browser) -> Iterator[Page]:
    errors: list[str] = []
    page = opened(browser, server[0], errors, viewport={"width": 1100, "height": 1000})
    yield page
    end(page)
    assert errors == []


def opened(browser: Browser, address: str, errors: list[str] | None = None, **how: Any) -> Page:
    """Open a studio that is watched by the probe; what its scripts throw is added to `errors`."""
    page = browser.new_page(**how)
    page.add_init_script(PROBE)
    page.on("pageerror", lambda e: errors.append(str(e)) if errors is not None else None)
    page.goto(address)
    until_ready(page)
    return page


def start(page: Page, prompt: str = "a large red ball bounces over the meadow by day") -> None:
    page.fill("[data-lt=prompt]", prompt)
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').videoWidth > 0")


def say(page: Page, prompt: str, keys: str = "Enter") -> None:
    page.fill("[data-lt=prompt]", prompt)
    page.press("[data-lt=prompt]", keys)


def wait_for_latent(page: Page, latent: int) -> None:
    until(page, f"probe.latest('status')?.latent >= {latent}", 60)


def test_start_shows_moving_pictures_and_a_prompt_turns_them(page: Page) -> None:
    began = time.monotonic()
    start(page)
    print(f"\nStart to first picture: {time.monotonic() - began:.2f} s")
    until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 30")
    assert np.abs(np.diff(pictures(page).astype(int), axis=0)).mean() > 0.1
    before = seen(page)
    assert (before["place"], before["light"]) == ("meadow", "day")
    say(page, "a large blue ball bounces in the city at night")
    until_seen(page)
    shows(page, "city", "night")
    until_says(page, "status", "prompt to screen")


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


def test_prompt_to_pixel(tmp_path: Path, browser: Browser) -> None:
    """From Enter to the frame on which a burnt-in mark shows the chunk that the prompt landed on.

    Goal: 95 of 100 within a chunk, the look-ahead and 300 ms. The page's own figure is as good as a frame.
    """
    with serving(tmp_path, program="marked_server.py") as (address, _):
        page = opened(browser, address)
        start(page)
        page.evaluate(READ_MARKS)
        wait_for_latent(page, 9)
        for i in range(10):
            say(page, f"a large {('red', 'blue')[i % 2]} ball bounces over the {('sea', 'meadow')[i % 2]} by day")
            until_seen(page, i + 1)
            time.sleep(0.3 + 0.07 * i)
        pixels, told = page.evaluate(PIXEL_WAITS), page.evaluate("probe.waits")
        numbers = [number for _, number in page.evaluate("marks")]
        end(page)
    assert None not in pixels
    assert sorted(set(numbers)) == list(range(min(numbers), max(numbers) + 1, 3))  # every chunk was seen and read
    for name, waits in (("pixels", pixels), ("the page", told)):
        p50, p95 = share(waits, 0.5), share(waits, 0.95)
        print(f"\nprompt to screen by {name}, {len(waits)} prompts: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    differences = [abs(a - b) for a, b in zip(pixels, told, strict=True)]
    print(f"the page is off by {statistics.median(differences):.0f} ms (median), {max(differences):.0f} ms (most)")
    chunk_ms = 12 / 16 * 1000
    assert share(pixels, 0.95) <= chunk_ms + chunk_ms + 300
    assert statistics.median(differences) <= 1000 / 16


def share(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def test_rewind_branch_reroll_and_the_take_renders_to_the_same_latents(page: Page, server: tuple[str, Path]) -> None:
    start(page)
    wait_for_latent(page, 9)
    say(page, "a large blue fish drifts left over the sea at night", "Shift+Enter")
    wait_for_latent(page, 21)
    page.click("[data-lt=reroll]")
    wait_for_latent(page, 30)
    first = take_of(page)
    box = page.locator("[data-lt=timeline]").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + 5)
    until(page, f"probe.latest('timeline').take != '{first}'")
    say(page, "a large white star circles in the city at sunset", "Control+Enter")
    wait_for_latent(page, 36)
    line = take_of(page)
    with page.expect_download() as download:
        page.click("[data-lt=take]")
    text = Path(download.value.path()).read_text()
    take = parse(text, "take.yaml")
    assert take.parent is not None
    assert take.parent.startswith(f"{first}@")
    prompts = [c.prompt for c in take.cues if c.prompt]
    assert prompts[0].startswith("a large red ball")
    assert prompts[-1].startswith("a large white star")
    live = {x.first: x.hash for x in journal.read(server[1] / "takes" / f"{line}.jsonl") if x.type == "chunk"}
    model = load(catalog.POCKET, ASSETS, torch.device("cpu"), torch.float32)
    chunks = take.chunks(TimeGrid(3, 3), 16)
    assert chunks >= 12
    assert {b.first: b.hash for b in Rollout(model, take).until(chunks)} == {3 * i: live[3 * i] for i in range(chunks)}


def test_pause_undo_slots_help_and_words_it_does_not_know(page: Page) -> None:
    start(page)
    wait_for_latent(page, 6)
    say(page, "a large red dragon bounces over the sea by day")
    until_says(page, "note", "dragon")
    until_seen(page)
    line = take_of(page)
    page.click("[data-lt=undo]")
    until(page, f"probe.latest('timeline').take != '{line}'")
    page.click("[data-lt=pause]")
    until(page, "probe.phase() == 'paused'")
    page.fill("[data-lt=prompt]", "a large red dragon beside a unicorn")
    page.press("[data-lt=prompt]", "Alt+3")
    until(page, "probe.latest('encoded').id == Math.max(...probe.sent.keys())")  # before the slot is played
    assert "unicorn" in latest(page, "encoded")["not_understood"]
    assert "unicorn" not in page.inner_text("[data-lt=note]")
    assert page.inner_text("[data-lt=slots] button").startswith("3 a large red dragon")
    page.locator("[data-lt=status]").click()
    page.keyboard.press("?")
    assert page.is_visible("[data-lt=sheet]")
    page.click("[data-lt=pause]")
    until(page, "probe.phase() == 'live'")
    page.click("[data-lt=start]")
    until_says(page, "start", "Start")


def test_what_is_recorded_and_rendered_is_downloaded_from_the_page(page: Page) -> None:
    start(page)
    wait_for_latent(page, 6)
    page.click("[data-lt=record]")
    page.wait_for_function("/Stop [1-9]/.test(document.querySelector('[data-lt=record]').textContent)", timeout=20_000)
    page.click("[data-lt=record]")
    until_says(page, "note", "recorded: see Takes")
    page.click("[data-lt=render]")
    line = take_of(page)
    ours = page.locator(".take", has=page.locator(f"[href='api/takes/{line}']"))
    ours.locator("progress").wait_for()
    page.click("[data-lt=start]")
    for name, seconds in (("Recording 1", 1), ("Film", 1)):
        ours.get_by_text(name, exact=True).wait_for(timeout=90_000)
        with page.expect_download() as download:
            ours.get_by_text(name, exact=True).click()
        with av.open(str(download.value.path())) as film:
            assert sum(1 for _ in film.decode(video=0)) >= 16 * seconds
    ours.get_by_text("Continue", exact=True).click()
    until(page, f"probe.latest('timeline').take != '{line}'")
    until(page, "probe.phase() == 'live' && probe.latest('status').playhead > 6", 30)
    assert len(latest(page, "timeline")["cues"]) == 1


def test_presets_and_settings_of_the_surrounding_page_reach_the_take(page: Page) -> None:
    page.get_by_role("button", name="Snow").click()
    until(page, "probe.latest('timeline')?.cues[0]?.prompt.includes('in the snow')")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("radio", name="flush").check()
    until(page, "probe.latest('timeline').cues.some((cue) => cue.set?.on_switch == 'flush')")


def test_a_reloaded_page_goes_on_with_its_take(page: Page) -> None:
    start(page)
    page.press("[data-lt=prompt]", "Alt+5")
    wait_for_latent(page, 6)
    line = take_of(page)
    page.reload()
    until(page, "document.querySelector('video')?.videoWidth > 0")
    until(page, f"probe.latest('timeline')?.take == '{line}'")
    assert page.inner_text("[data-lt=slots] button").startswith("5 a large red ball")  # slots outlive the page
    page.evaluate("probe.breakLine()")
    until_says(page, "status", "reconnecting")
    until(page, "probe.ways.length == 2 && probe.ways[1].readyState == 'open'")
    say(page, "a large blue ball bounces in the city at night")
    until_seen(page)
    assert take_of(page) == line


def test_a_model_says_what_it_asks_for_before_it_is_loaded(page: Page) -> None:
    facts = page.inner_text("[data-lt=facts]")
    assert "256x256 at 16 fps" in facts
    assert "of memory" in facts
    assert "on disk" in facts
    page.select_option("[data-lt=model]", "longlive-1.3b")
    facts = page.inner_text("[data-lt=facts]")
    assert re.search(r"\d\d\.\d GB of memory", facts)
    assert "not here: longtake models pull longlive-1.3b" in facts
    assert "not measured here" in facts
    page.click("[data-lt=start]")
    until_says(page, "status", "models pull longlive-1.3b")
    page.select_option("[data-lt=model]", "pocket")
    start(page)
    wait_for_latent(page, 18)
    page.click("[data-lt=start]")
    until_says(page, "facts", "fps here (session")


def test_a_share_link_watches_and_cannot_control(page: Page, browser: Browser, server: tuple[str, Path]) -> None:
    start(page)
    wait_for_latent(page, 6)
    link = page.get_attribute("[data-lt=share]", "href")
    viewer = browser.new_page()
    viewer.add_init_script(PROBE)
    viewer.goto(f"{server[0]}/{link}")
    until(viewer, "document.querySelector('video').videoWidth > 0")
    until(viewer, "probe.ways.at(-1)?.readyState == 'open'")
    until(viewer, "document.querySelectorAll('[data-lt=timeline] .block').length == 1")
    until_says(viewer, "status", "fps played")
    prompt = json.dumps({"id": 1, "type": "prompt", "text": "x", "blend": 1, "cut": False})
    viewer.evaluate("(prompt) => probe.ways.at(-1).send(prompt)", prompt)
    until(viewer, "probe.latest('refused')")
    assert latest(viewer, "refused")["why"] == "this link only watches"
    page.click("[data-lt=start]")
    until_says(viewer, "status", "ended")
    viewer.close()


def test_without_udp_the_page_plays_by_itself_over_a_socket(playwright: Playwright, server: tuple[str, Path]) -> None:
    blocked = [*QUIET, "--webrtc-ip-handling-policy=disable_non_proxied_udp"]
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=blocked)
    page = opened(chromium, server[0])
    began = time.monotonic()
    page.fill("[data-lt=prompt]", "a large red ball bounces over the meadow by day")
    page.click("[data-lt=start]")
    until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
    took = time.monotonic() - began
    print(f"\nwithout UDP: playing after {took:.1f} s")
    assert took < 8
    until_says(page, "status", "WebSocket")
    say(page, "a large blue ball bounces in the city at night")
    until_seen(page)
    shows(page, "city", "night")
    end(page)
    chromium.close()


def test_nothing_is_fetched_from_elsewhere_and_each_module_once(browser: Browser, server: tuple[str, Path]) -> None:
    page, fetched = browser.new_page(), list[str]()
    page.on("request", lambda r: fetched.append(r.url) if r.url.startswith("http") else None)
    page.goto(server[0])
    until_ready(page)
    page.close()
    assert {httpx.URL(url).host for url in fetched} == {"127.0.0.1"}
    scripts = [url for url in fetched if "/page/" in url and url.endswith(".js")]
    assert len(scripts) == len(set(scripts)) >= 10
    for script in scripts:  # a browser runs no module of another type
        kind = httpx.get(script).headers["content-type"].partition(";")[0]
        assert kind in ("text/javascript", "application/javascript")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_the_page_fits_its_window(
    browser: Browser, server: tuple[str, Path], tmp_path: Path, scheme: str, width: int
) -> None:
    """Its pictures lie in the folder that `--basetemp` names."""
    page = opened(browser, f"{server[0]}/?__theme={scheme}", viewport={"width": width, "height": 860})
    start(page, "a large red ball bounces in the middle over the meadow by day")
    wait_for_latent(page, 12)
    say(page, "a large yellow star sways on the left in the city at night")
    until_seen(page)
    page.press("[data-lt=prompt]", "Alt+1")
    if width > 600:
        page.click("summary")
    page.wait_for_timeout(2500)
    page.screenshot(path=str(tmp_path / f"studio-{scheme}-{width}.png"))
    for name in ("video", "timeline", "prompt", "start", "pause", "status"):
        box = page.locator(f"[data-lt={name}]").bounding_box()
        assert box is not None
        assert box["x"] > 0
        assert box["x"] + box["width"] < width
        assert box["y"] + box["height"] <= 860  # what one needs is there without scrolling
    assert page.locator("[data-lt=prompt]").bounding_box()["width"] > 150  # type: ignore[index]
    if width < 600:
        page.click("summary")
    page.click("[data-lt=help]")
    page.get_by_text("More", exact=True).click()
    page.wait_for_timeout(500)
    page.screenshot(path=str(tmp_path / f"studio-{scheme}-{width}-whole.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    end(page)
