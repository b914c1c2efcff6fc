"""Drive the studio in a real browser: what becomes of its takes, recordings and renders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
from browser_page import chromium, needs_chromium
from page_probe import PROBE, latest, shared_link, take_of, until, until_says, until_seen
from playwright.sync_api import Browser, Page
from studio_browser import open_scene, say, start, studio_page, until_latent
from studio_server import serving

from app.loaded_model import load_model
from models import catalog
from models.time_grid import TimeGrid
from streaming.rollout import Rollout
from streaming.take import journal
from streaming.take.take_file import parse

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, data folder)."""
    data = tmp_path_factory.mktemp("studio")
    with serving(data) as (address, _):
        yield address, data


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(server: tuple[str, Path], browser: Browser) -> Iterator[Page]:
    with studio_page(browser, server[0]) as page:
        yield page


def test_a_take_that_was_rewound_branched_and_rerolled_renders_to_the_same_latents(
    page: Page, server: tuple[str, Path]
) -> None:
    start(page)
    until_latent(page, 9)
    say(page, "a large blue fish drifts left over the sea at night", "Shift+Enter")
    until_latent(page, 21)
    page.click("[data-lt=reroll]")
    until_latent(page, 30)
    first = take_of(page)
    open_scene(page, 0.6)
    page.click("[data-lt=scene-branch]")
    until(page, f"probe.latest('timeline').take != '{first}'")
    say(page, "a large white star circles in the city at sunset", "Control+Enter")
    until_latent(page, 36)
    line = take_of(page)
    page.click("[data-lt=end]")
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
    model = load_model(catalog.POCKET, "cpu")
    chunks = take.chunks(TimeGrid(3, 3), 16)
    assert chunks >= 12
    assert {b.first: b.hash for b in Rollout(model, take).until(chunks)} == {3 * i: live[3 * i] for i in range(chunks)}


def test_recordings_and_films_are_downloaded_from_the_page(page: Page) -> None:
    start(page)
    until_latent(page, 6)
    page.click("[data-lt=record]")
    page.wait_for_function("/Stop [1-9]/.test(document.querySelector('[data-lt=record]').textContent)", timeout=20_000)
    page.click("[data-lt=record]")
    until_says(page, "note", "recorded: see Takes")
    line = take_of(page)
    page.click("[data-lt=end]")
    page.click("[data-lt=render]")
    ours = page.locator(f"[data-take='{line}']")
    ours.locator("progress").wait_for()
    ours.get_by_text("Film ready").wait_for(timeout=240_000)
    ours.get_by_role("button", name="Download").click()
    for name in ("Recording 1", "Film"):
        with page.expect_download() as download:
            ours.get_by_text(name, exact=True).click()
        with av.open(str(download.value.path())) as film:
            assert sum(1 for _ in film.decode(video=0)) >= 16
    ours.get_by_text("Continue", exact=True).click()
    until(page, f"probe.latest('timeline').take != '{line}'")
    until(page, "probe.phase() == 'live' && probe.latest('status').playhead > 6", 30)
    assert len(latest(page, "timeline")["cues"]) == 1


def test_a_reloaded_page_continues_its_take(page: Page) -> None:
    start(page)
    until_says(page, "now", "a large red ball bounces")
    page.press("[data-lt=prompt]", "Alt+5")
    until_latent(page, 6)
    line = take_of(page)
    page.reload()
    until(page, "document.querySelector('video')?.videoWidth > 0")
    until(page, f"probe.latest('timeline')?.take == '{line}'")
    assert str(page.get_attribute("[data-slot='5'] .play", "title")).startswith("a large red ball bounces")  # is kept
    page.evaluate("probe.breakLine()")
    until_says(page, "status", "reconnecting")
    until(page, "probe.ways.length == 2 && probe.ways[1].readyState == 'open'")
    say(page, "a large blue ball bounces in the city at night")
    until_seen(page)
    assert take_of(page) == line


def test_a_share_link_shows_the_session_and_cannot_control_it(
    page: Page, browser: Browser, server: tuple[str, Path]
) -> None:
    start(page)
    until_latent(page, 6)
    viewer = browser.new_page()
    viewer.add_init_script(PROBE)
    viewer.goto(shared_link(page))
    until(viewer, "document.querySelector('video').videoWidth > 0")
    until(viewer, "probe.ways.at(-1)?.readyState == 'open'")
    until_says(viewer, "now", "a large red ball")
    until_says(viewer, "status", "fps played")
    prompt = json.dumps({"id": 1, "type": "prompt", "text": "x", "blend": 1, "cut": False})
    viewer.evaluate("(prompt) => probe.ways.at(-1).send(prompt)", prompt)
    until(viewer, "probe.latest('refused')")
    assert latest(viewer, "refused")["why"] == "this link only watches"
    page.click("[data-lt=end]")
    until_says(viewer, "status", "ended")
    viewer.close()


# no candidate is ever found, as where all UDP is blocked
WITHOUT_UDP = """
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(how) {
    super({ ...how, iceTransportPolicy: "relay" });
  }
};
"""


def test_a_revoked_link_ends_its_viewers_and_says_so(page: Page, browser: Browser) -> None:
    start(page)
    link, viewer = shared_link(page), browser.new_page()
    viewer.goto(link)
    until(viewer, "document.querySelector('video').videoWidth > 0")
    page.click("[data-lt=revoke]")
    until_says(page, "note", "was revoked")
    assert page.is_hidden("[data-lt=shared]")
    until_says(viewer, "status", "this share link was revoked")
    viewer.reload()
    until_says(viewer, "status", "this share link was revoked")
    viewer.close()


def test_a_link_for_one_viewer_lets_its_page_change_to_a_socket_until_revoked_and_no_second_page_in(
    page: Page, browser: Browser, server: tuple[str, Path]
) -> None:
    start(page)
    session = json.loads(page.evaluate("sessionStorage.getItem('longtake.session')"))
    url = f"{server[0]}/api/sessions/{session['id']}/links"
    key = {"x-longtake-key": session["key"]}
    made = httpx.post(url, json={"viewers": 1}, headers=key).json()
    viewer, second = browser.new_page(), browser.new_page()
    viewer.add_init_script(WITHOUT_UDP)
    viewer.goto(f"{server[0]}/{made['watch']}")
    until_says(viewer, "status", "WebSocket")
    second.goto(f"{server[0]}/{made['watch']}")
    until_says(second, "status", "this share link is full: 1 of 1 viewers are watching; try again later")
    second.close()
    httpx.delete(f"{url}/{made['number']}", headers=key)
    until_says(viewer, "status", "this share link was revoked")
    viewer.close()
