"""Run the studio's scripts in a real browser; the tests themselves answer the requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_probe import until_ready
from playwright.sync_api import Page, Route, sync_playwright
from studio_browser import until_stage

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
PAGE = Path(__file__).resolve().parents[2] / "app" / "page"
MOUNT = """<script type="module">
import { mount } from "/page/studio.js";
mount(document.querySelector(".longtake"));
</script>"""
MODEL: dict[str, Any] = {
    "name": "pocket", "title": "pocket", "speaks": False, "here": True, "loaded": True, "size": "256x256", "fps": 16,
    "memory_mb": 1, "disk_mb": 1, "measured": None, "understands": {}, "inputs": ["image", "film", "camera"],
}  # fmt: skip


class Server:
    """Answers as a busy server does, and keeps the bodies of requests for a session."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.broken = 0  # requests for the list of models that fail before one is answered

    def __call__(self, route: Route) -> None:
        path = route.request.url.removeprefix("http://studio.test/")
        if path == "":
            studio = (PAGE / "studio.html").read_text(encoding="utf-8")
            route.fulfill(content_type="text/html", body=studio + MOUNT)
        elif path.startswith("page/"):
            route.fulfill(path=PAGE / path.removeprefix("page/"))
        elif path == "api/models" and self.broken > 0:
            self.broken -= 1
            route.abort()
        elif path == "api/models":
            route.fulfill(json=[MODEL])
        elif path == "api/sessions":
            self.asked.append(route.request.post_data_json)
            error = {"message": "busy", "ticket": f"ticket {len(self.asked)}", "place": 1}
            route.fulfill(status=503, json={"error": error})
        else:
            route.fulfill(status=404, json={"error": "no such session; it has ended"})


@pytest.fixture(scope="module")
def blank() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox"])
        yield chromium.new_page()
        chromium.close()


@pytest.fixture
def server(blank: Page) -> Iterator[Server]:
    server = Server()
    blank.route("http://studio.test/**", server)
    yield server
    blank.unroute("http://studio.test/**", server)


@pytest.fixture
def page(blank: Page, server: Server) -> Page:
    """Open the studio with timers that run ten times as fast."""
    blank.goto("http://studio.test/")
    until_ready(blank)
    blank.evaluate("{ const timer = setTimeout; window.setTimeout = (what, ms) => timer(what, ms / 10); }")
    return blank


def test_waiting_in_line_asks_again_with_the_ticket_and_by_one_timer_only(page: Page, server: Server) -> None:
    page.click("[data-lt=start]")
    until_stage(page, "busy")
    page.fill("[data-lt=prompt]", "the sea")
    page.press("[data-lt=prompt]", "Enter")
    before = len(server.asked)
    page.wait_for_timeout(1100)
    assert "ticket" not in server.asked[0]
    assert [a["ticket"] for a in server.asked[1:]] == [f"ticket {i}" for i in range(1, len(server.asked))]
    assert {a["prompt"] for a in server.asked[before:]} == {"the sea"}
    assert 3 <= len(server.asked) - before <= 1 + 1100 / 200  # one timer, not two


def test_cancel_leaves_the_line(page: Page, server: Server) -> None:
    page.click("[data-lt=start]")
    page.click("[data-lt=leave]")
    until_stage(page, "first")
    asked = len(server.asked)
    page.wait_for_timeout(600)
    assert len(server.asked) == asked


def test_a_list_of_models_that_cannot_be_had_at_first_is_asked_for_again(blank: Page, server: Server) -> None:
    server.broken = 1
    blank.goto("http://studio.test/")
    blank.wait_for_function("document.querySelector('[data-lt=facts]')?.textContent.includes('not known')")
    blank.click("[data-lt=start]")
    until_stage(blank, "busy")
    blank.wait_for_function("document.querySelector('[data-lt=facts]').textContent.includes('256x256')")
    assert server.asked[0]["model"] == "pocket"


def test_a_slot_that_is_played_before_the_start_begins_the_session(page: Page, server: Server) -> None:
    page.fill("[data-lt=prompt]", "in the slot")
    page.press("[data-lt=prompt]", "Alt+4")
    page.fill("[data-lt=prompt]", "in the box")
    page.click("[data-slot='4'] .play")
    until_stage(page, "busy")
    assert server.asked[0]["prompt"] == "in the slot"
    assert page.input_value("[data-lt=prompt]") == "in the slot"


CONNECTION = """async () => {
  const { Connection } = await import("/page/connection.js");
  const { PresentedFrames } = await import("/page/presented_frames.js");
  const video = document.querySelector("video"), session = { id: "x", key: "k", ice: [], sound: false };
  window.told = [];
  const on = { heard() {}, opened() {}, lost() {}, ended: (why) => told.push(why) };
  window.connection = new Connection(video, new PresentedFrames(video), "", session, on);
}"""


def test_a_browser_without_media_sources_is_told_in_one_sentence(page: Page) -> None:
    page.evaluate(CONNECTION)
    page.evaluate("{ window.MediaSource = window.ManagedMediaSource = undefined; connection.fallBack(); }")
    assert page.evaluate("told") == ["WebRTC does not get through, and this browser plays no stream without it"]


def test_a_phone_plays_from_its_managed_media_source(page: Page) -> None:
    page.evaluate(CONNECTION)
    page.evaluate("""{
      const real = MediaSource;
      window.MediaSource = undefined;
      window.ManagedMediaSource = class extends real { constructor() { super(); window.managed = this; } };
      connection.fallBack().catch(() => {});
      connection.over = true;  // there is no server to connect to again
    }""")
    page.wait_for_function("managed.readyState == 'open'")
    assert page.evaluate("document.querySelector('video').disableRemotePlayback")


def test_an_answer_that_arrives_after_the_fallback_is_ignored(page: Page) -> None:
    page.evaluate(CONNECTION)
    answer = json.dumps({"type": "answer", "sdp": "v=0"})
    result = page.evaluate(f"""async () => {{
      window.fetch = async () => {{ connection.fallBack().catch(() => {{}}); return new Response('{answer}'); }};
      const result = await connection.open().then(() => "ignored", (e) => e.message);
      connection.close();
      return result;
    }}""")
    assert result == "ignored"


SOCKETS = """{  // time goes by five times as fast
  const every = setInterval;
  window.setInterval = (what, ms) => every(what, ms / 5);
  window.sockets = [];
  window.WebSocket = class { constructor() { sockets.push(this); } send() {} close() {} };
  window.tell = (event) => sockets.at(-1).onmessage({ data: JSON.stringify(event) });
  connection.on.lost = () => told.push("lost");
  connection.fallBack().catch(() => {});
  tell({ type: "hello" });
}"""
# every 500 ms, for longer than the patience of a page
TELL = """async (event) => {
  for (let left = 8; left > 0; left -= 1) {
    await new Promise((done) => {
      const timer = setInterval(() => { clearInterval(timer); done(); }, 500);
    });
    tell(event);
  }
}"""


def test_a_page_returns_to_a_server_that_has_fallen_silent_and_not_to_one_that_tells_its_status(page: Page) -> None:
    page.evaluate(CONNECTION)
    page.evaluate(SOCKETS)
    page.evaluate(TELL, {"type": "status"})
    assert page.evaluate("[told, sockets.length]") == [[], 1]
    page.wait_for_function("sockets.length == 2", timeout=5000)
    assert page.evaluate("told") == ["lost"]
    page.evaluate("tell({ type: 'hello' })")
    page.evaluate(TELL, {"type": "status"})
    assert page.evaluate("sockets.length") == 2
    page.evaluate("connection.close()")


SCREEN = """async (tab) => {
  const { PresentedFrames } = await import("/page/presented_frames.js");
  const video = { requestVideoFrameCallback(then) { this.then = then; } };
  const hide = (hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  const frames = new PresentedFrames(video), told = [];
  const present = (at, how) => video.then(0, { expectedDisplayTime: at, ...how });
  frames.attach();
  frames.startsAt(0);
  if (tab.hidden_first) { hide(true); hide(false); }
  for (const number of [0, 1, 2]) {
    present(-number, tab.rtp ? { rtpTimestamp: 777 + 5625 * number } : { mediaTime: number / 16 });
  }
  if (tab.hidden_later) { hide(true); hide(false); }
  frames.whenShown(2, 16, (at) => told.push(at));
  return told;
}"""


@pytest.mark.parametrize("rtp", [True, False])
def test_a_frame_is_shown_at_the_time_that_the_browser_reports(page: Page, rtp: bool) -> None:
    assert page.evaluate(SCREEN, {"rtp": rtp}) == [-2]
    assert page.evaluate(SCREEN, {"rtp": rtp, "hidden_later": True}) == [-2]


def test_in_a_tab_that_was_hidden_at_the_first_frame_the_present_time_is_used(page: Page) -> None:
    (at,) = page.evaluate(SCREEN, {"rtp": True, "hidden_first": True})
    assert at > 0  # as in a browser that does not report frames
    assert page.evaluate(SCREEN, {"rtp": False, "hidden_first": True}) == [-2]  # the browser's media time is the film's
