"""Bring the studio into each state of its stage; in each, the newest picture stays and axe-core finds no fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_page import chromium, needs_chromium
from page_faults import PHONE, WIDE, axe_script, faults, needs_npm
from page_probe import end, take_of, until, until_says
from playwright.sync_api import Browser
from studio_browser import open_scene, opened, say, stage, start, until_latent, until_stage
from studio_server import serving

pytestmark = [needs_chromium, needs_npm]
# whether the newest picture is on the stage and is not black
PICTURE_STAYS = """() => {
  const canvas = document.querySelector("[data-lt=last]"), video = document.querySelector("video");
  const shown = canvas.hidden ? video : canvas, copy = document.createElement("canvas");
  copy.width = copy.height = 8;
  copy.getContext("2d").drawImage(shown, 0, 0, 8, 8);
  const { data } = copy.getContext("2d").getImageData(0, 0, 8, 8);
  return data.some((value, i) => i % 4 < 3 && value > 60);
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("studio")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("window", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_state_keeps_its_picture_and_has_no_fault(
    browser: Browser, server: str, axe: str, window: dict[str, int]
) -> None:
    # without motion, so that no colour is on its way to another theme when it is checked
    page = opened(browser, server, viewport=window, reduced_motion="reduce")
    assert stage(page) == "first"
    assert page.evaluate("document.body.classList.contains('dark')")  # unless chosen otherwise
    assert faults(page, axe, "take-first") == {}
    start(page)
    until_stage(page, "live")
    until_latent(page, 9)
    page.fill("[data-lt=prompt]", "a large red dragon over the sea")
    page.get_by_role("button", name="dragon").first.wait_for()
    page.evaluate("document.querySelector('[name=lt-input][value=film]').click()")
    assert faults(page, axe, "take-live") == {}
    page.click("[data-lt=pause]")
    until_stage(page, "paused")
    say(page, "a large blue ball over the sea at night")
    until_says(page, "status", "a large blue ball over the sea at night")
    assert page.locator(".block.waits").count() == 1
    assert page.evaluate(PICTURE_STAYS)
    assert faults(page, axe, "take-paused") == {}
    page.click("[data-lt=resume]")
    until_stage(page, "live")
    page.evaluate("probe.breakLine()")
    until_stage(page, "reconnecting")
    assert page.evaluate(PICTURE_STAYS)
    until_stage(page, "live")
    page.click("[data-lt=end]")
    until_stage(page, "ended")
    assert page.evaluate(PICTURE_STAYS)
    assert page.is_visible("[data-lt=continue]")
    assert faults(page, axe, "take-ended") == {}
    line = page.get_attribute("[data-lt=take]", "href")
    page.click("[data-lt=continue]")
    until_stage(page, "live", 60)
    assert page.get_attribute("[data-lt=take]", "href") != line
    end(page)


def test_end_is_apart_from_the_prompt_and_the_field_tells_its_hint_from_text(browser: Browser, server: str) -> None:
    page = opened(browser, server, viewport={"width": 1100, "height": 800})
    start(page)
    assert page.locator("[data-lt=form] [data-lt=end]").count() == 0
    assert page.inner_text("[data-lt=send]") == "Send"
    assert page.input_value("[data-lt=prompt]") == ""  # what plays stands beside it, so that the field is empty
    until_says(page, "now", "a large red ball bounces")
    colours = page.evaluate("""() => {
      const field = document.querySelector("[data-lt=prompt]");
      return [getComputedStyle(field).color, getComputedStyle(field, "::placeholder").color];
    }""")
    assert colours[0] != colours[1]
    page.press("[data-lt=prompt]", "ArrowUp")
    assert page.input_value("[data-lt=prompt]").startswith("a large red ball bounces")
    end(page)


def test_space_presses_the_focused_button_and_keys_work_after_a_click_on_a_radio(browser: Browser, server: str) -> None:
    page = opened(browser, server, viewport={"width": 1100, "height": 800})
    start(page)
    until_stage(page, "live")
    page.locator("[data-lt=help]").focus()
    page.keyboard.press("Space")
    page.wait_for_selector("[data-lt=sheet]", state="visible")
    assert stage(page) == "live"
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Instant").check()
    page.keyboard.press("v")
    page.wait_for_function("/Stop/.test(document.querySelector('[data-lt=record]').textContent)")
    page.click("[data-lt=stage]", position={"x": 5, "y": 60})
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    until_stage(page, "paused")
    page.click("[data-lt=end]")
    start(page)
    until_says(page, "recordword", "Record")  # nothing of the session before is left
    end(page)


def test_a_text_without_a_known_word_is_refused_before_it_is_sent_and_a_near_word_is_a_click(
    browser: Browser, server: str
) -> None:
    page = opened(browser, server, viewport={"width": 1100, "height": 800})
    page.fill("[data-lt=prompt]", "\U0001f680 \u0ba8\u0bbf\u0bb2\u0bb5\u0bc1")
    until_says(page, "reading", "knows no word")
    assert page.is_disabled("[data-lt=send]")
    page.press("[data-lt=prompt]", "Enter")
    assert stage(page) == "first"
    page.fill("[data-lt=prompt]", "dragon")
    until_says(page, "reading", "knows no word of 'dragon'")
    page.get_by_role("button", name=re.compile("dragon fish")).click()
    assert page.input_value("[data-lt=prompt]") == "fish"
    page.fill("[data-lt=prompt]", "a large red dragon over the sea")
    page.get_by_role("button", name=re.compile("dragon fish")).click()
    assert page.input_value("[data-lt=prompt]") == "a large red fish over the sea"
    assert page.is_enabled("[data-lt=send]")
    page.close()


def test_a_click_on_the_timeline_changes_nothing_and_a_branch_has_a_way_back(browser: Browser, server: str) -> None:
    page = opened(browser, server, viewport={"width": 1100, "height": 800})
    start(page)
    until_latent(page, 12)
    line = take_of(page)
    box = page.locator("[data-lt=blocks]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    assert re.match(r"0:0\d\.\d · Red ball, meadow", page.inner_text("[data-lt=hover]").strip().split("\n")[-1])
    open_scene(page, 0.5)
    page.keyboard.press("Escape")
    assert take_of(page) == line
    page.locator("[data-lt=timeline]").focus()
    page.keyboard.press("Home")
    assert page.get_attribute("[data-lt=timeline]", "aria-valuenow") == "0"
    page.keyboard.press("Enter")
    page.click("[data-lt=scene-branch]")
    until(page, f"probe.latest('timeline').take != '{line}'")
    branch = take_of(page)
    page.get_by_role("button", name="Back to the old line").click()
    back = f"probe.latest('timeline').take != '{branch}' && probe.latest('timeline').parent?.startsWith('{line}@')"
    until(page, back, 60)  # both come from the old line; this is another take than the branch
    end(page)


# how long the take is that the page shows
SECONDS = """(() => {
  const [minutes, seconds] = document.querySelector("[data-lt=time]").innerText.split(":");
  return 60 * Number(minutes) + Number(seconds);
})"""


@pytest.mark.long
def test_a_server_that_dies_and_comes_back_costs_the_page_neither_its_picture_nor_its_take(
    browser: Browser, tmp_path: Path
) -> None:
    """Kill the server under a live take: the last picture stays, the page says what is so, and the take goes on."""
    with serving(tmp_path) as (address, process):
        page = opened(browser, address, viewport=WIDE)
        start(page)
        until_latent(page, 24)
        process.kill()
        until_stage(page, "reconnecting")
        until_says(page, "title", "The line is gone")
        until_says(page, "nowword", "Held")
        assert page.evaluate(PICTURE_STAYS)
        until_stage(page, "ended", 60)  # the page tries for as long as a server would keep the session
        until_says(page, "status", "the connection was lost")
        assert page.evaluate(PICTURE_STAYS)
        played = page.evaluate(SECONDS)
        page.click("[data-lt=continue]")
        until_says(page, "status", "the server does not answer")
        assert page.evaluate(PICTURE_STAYS)
        page.click("[data-lt=why]")
        page.get_by_role("dialog").get_by_text("the server does not answer").wait_for()
        page.keyboard.press("Escape")
    with serving(tmp_path, port=int(address.rsplit(":", 1)[1])):
        page.click("[data-lt=continue]")
        until_stage(page, "live", 60)
        page.wait_for_function(f"{SECONDS}() > {played - 1}")  # it goes on where it was
        end(page)
