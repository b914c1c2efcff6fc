"""Check that every page fits its window and loads nothing from another host; pictures lie under `--basetemp`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import avatar_browser
import httpx
import pytest
import studio_browser
from avatar_browser import speech_file, until_louder
from browser_page import AUDIBLE, chromium, needs_chromium
from page_probe import end, shared_link, until, until_ready, until_says, until_seen
from playwright.sync_api import Browser, Page
from studio_browser import say, until_latent
from studio_server import serving

from app.page_folder import PAGE

pytestmark = needs_chromium
HEIGHT = 860
WINDOWS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(AUDIBLE, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        yield browser


def fits(page: Page, *parts: str, height: int | None = HEIGHT) -> None:
    """Check that parts of a page lie inside its window, at most `height` pixels down; None: at any height."""
    width = page.evaluate("innerWidth")
    for name in parts:
        box = page.locator(f"[data-lt={name}]").bounding_box()
        assert box is not None, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
        assert height is None or box["y"] + box["height"] <= height, name


def no_sideways_scrolling(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("path", ["/", "/avatar/"])
def test_a_page_loads_each_module_once_as_javascript_and_nothing_from_another_host(
    browser: Browser, server: str, path: str
) -> None:
    page, loaded = browser.new_page(), list[str]()
    page.on("request", lambda r: loaded.append(r.url) if r.url.startswith("http") else None)
    page.goto(server + path)
    until_ready(page)
    page.close()
    assert {httpx.URL(url).host for url in loaded} == {"127.0.0.1"}
    scripts = [url for url in loaded if "/page/" in url and url.endswith(".js")]
    assert len(scripts) == len(set(scripts)) >= 10
    for script in scripts:
        assert httpx.get(script).headers["content-type"] == "text/javascript; charset=utf-8"


# of our own files and answers: name, bytes on the line with headers, bytes of the file
LOADED = """() => performance.getEntriesByType("resource").filter(({ name }) => /[/](page|api)[/]/.test(name))
  .map(({ name, transferSize, decodedBodySize }) => [name, transferSize, decodedBodySize])"""
SHIFTS = """{ window.shifted = 0; new PerformanceObserver((list) => {
  for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.shifted += value;
}).observe({ type: "layout-shift", buffered: true }); }"""
MOST_BYTES, MOST_REQUESTS, MOST_SHIFT = 250_000, 80, 0.1  # more than 0.1 is felt (web.dev: Cumulative Layout Shift)


@pytest.mark.parametrize("width", [1440, 390])
def test_the_first_look_at_the_studio_is_light_and_stays_where_it_is(browser: Browser, server: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    page.add_init_script(SHIFTS)
    page.goto(server)
    until_ready(page)
    page.wait_for_load_state("networkidle")
    loaded, shifted = page.evaluate(LOADED), page.evaluate("shifted")
    page.close()
    markup = (PAGE / "studio.html").stat().st_size  # which Gradio sends among its own
    assert sum(wire for _, wire, _ in loaded) + markup <= MOST_BYTES
    assert sum(size for name, _, size in loaded if name.endswith((".js", ".css"))) <= MOST_BYTES  # where none is packed
    assert len(loaded) <= MOST_REQUESTS
    assert shifted < MOST_SHIFT
    scripts = {httpx.URL(name).path.rsplit("/", 1)[-1] for name, _, _ in loaded}
    later = {"connection.js", "take_list.js", "take_sheet.js", "help_sheet.js", "lora_sliders.js", "share_links.js"}
    assert "studio.js" in scripts
    assert not scripts & later


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_the_studio_and_its_share_link_fit_the_window(
    browser: Browser, server: str, tmp_path: Path, scheme: str, width: int
) -> None:
    address, viewport = f"{server}/?__theme={scheme}", {"width": width, "height": HEIGHT}
    page = studio_browser.opened(browser, address, viewport=viewport)
    studio_browser.start(page, "a large red ball bounces in the middle over the meadow by day")
    until_latent(page, 12)
    say(page, "a large yellow star sways on the left in the city at night")
    until_seen(page)
    page.press("[data-lt=prompt]", "Alt+9")
    until_says(page, "figures", "kbit/s")
    page.screenshot(path=str(tmp_path / f"studio-{scheme}-{width}.png"))
    fits(page, "stage", "prompt", "send", "pause")
    if width > 600:
        fits(page, "timeline", "slots", "takestab")
        stage = page.locator("[data-lt=stage]").bounding_box()
        assert stage is not None
        assert stage["height"] > 450  # more than half of the window
    assert page.locator("[data-lt=prompt]").bounding_box()["width"] > 150  # type: ignore[index]
    page.hover("[data-lt=stage]")
    viewer = browser.new_page(viewport=viewport)  # type: ignore[arg-type]
    viewer.goto(shared_link(page))
    until(viewer, "document.querySelector('video').videoWidth > 0")
    viewer.screenshot(path=str(tmp_path / f"watch-{scheme}-{width}.png"))
    fits(viewer, "controls")
    assert no_sideways_scrolling(viewer)
    viewer.close()
    for view in ("time", "tune", "takes") if width < 600 else ():
        page.click(f".views [data-view={view}]")
        page.screenshot(path=str(tmp_path / f"studio-{scheme}-{width}-{view}.png"), full_page=True)
        assert no_sideways_scrolling(page)
    end(page)


@pytest.mark.parametrize(("scheme", "width"), WINDOWS)
def test_the_avatar_page_fits_the_window(
    browser: Browser, server: str, tmp_path: Path, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT})
    avatar_browser.opened(page, server, f"?__theme={scheme}")
    avatar_browser.start(page)
    page.set_input_files("[data-lt=sound]", speech_file(tmp_path / "voice.wav"))
    until_louder(page, -40)
    page.click("[data-lt=microphone]")
    until_says(page, "status", "to say")
    page.screenshot(path=str(tmp_path / f"avatar-{scheme}-{width}.png"))
    fits(page, "stage", "state", "text", "interrupt", height=HEIGHT if width > 600 else None)
    page.click("[data-lt=facetab]")
    page.screenshot(path=str(tmp_path / f"avatar-{scheme}-{width}-whole.png"), full_page=True)
    assert no_sideways_scrolling(page)
    end(page)
