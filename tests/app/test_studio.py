"""Drive the studio in a real browser: pictures, prompts, keys, presets and models."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_page import chromium, needs_chromium
from page_probe import latest, take_of, until, until_ready, until_says, until_seen
from playwright.sync_api import Browser, Page
from studio_browser import pictures, say, seen, shows, start, studio_page, until_latent, until_stage
from studio_server import serving

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


def test_start_shows_moving_pictures_and_a_prompt_changes_them(page: Page) -> None:
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
    until_says(page, "line", "prompt to screen")


def test_pause_undo_slots_and_help_work_and_unknown_words_are_reported(page: Page) -> None:
    start(page)
    until_latent(page, 6)
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
    until(page, "probe.latest('encoded').id == Math.max(...probe.sent.keys())")  # encoded before the slot is played
    assert "unicorn" in latest(page, "encoded")["not_understood"]
    assert "unicorn" not in page.inner_text("[data-lt=note]")
    assert page.get_attribute("[data-slot='3'] .play", "title") == "a large red dragon beside a unicorn"
    page.locator("[data-lt=pause]").focus()
    page.keyboard.press("?")
    page.wait_for_selector("[data-lt=sheet]", state="visible")
    page.keyboard.press("Escape")
    page.click("[data-lt=resume]")
    until(page, "probe.phase() == 'live'")
    page.click("[data-lt=end]")
    until_stage(page, "ended")


def test_slots_begin_with_pictured_scenes_and_settings_reach_the_take(page: Page) -> None:
    page.locator("[data-lt=slots] .play", has_text="Fish, forest").click()
    until(page, "probe.latest('timeline')?.cues[0]?.prompt.includes('in the snow')")
    page.get_by_text("Memory: four more", exact=True).click()
    page.get_by_role("group", name="At a new prompt").get_by_label("Flush").check()
    until(page, "probe.latest('timeline').cues.some((cue) => cue.set?.on_switch == 'flush')")


def test_the_size_memory_and_speed_of_a_model_are_shown_before_it_is_loaded(page: Page) -> None:
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
    until_stage(page, "failed")
    until_says(page, "status", "models pull longlive-1.3b")
    page.select_option("[data-lt=model]", "pocket")
    start(page)
    until_latent(page, 18)
    page.click("[data-lt=end]")
    until_stage(page, "ended")
    page.reload()
    until_ready(page)
    until_says(page, "facts", "fps here (session")
