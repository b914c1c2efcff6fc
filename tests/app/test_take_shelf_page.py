"""The gallery of takes plays, renames, compares and deletes takes; what was just seen is saved from the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from browser_page import chromium, needs_chromium
from films import film
from page_probe import take_of, until, until_says
from playwright.sync_api import Browser, Page
from studio_browser import start, studio_page, until_latent
from tiny_server import serving_tiny_model

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="module")
def browser(data: Path) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with serving_tiny_model(data, pages=True) as address:
        yield address


@pytest.fixture
def page(server: str, browser: Browser) -> Iterator[Page]:
    with studio_page(browser, server) as page:
        yield page


def test_the_last_ten_seconds_and_a_gif_are_saved_from_the_picture(page: Page) -> None:
    start(page)
    until_latent(page, 12)
    page.hover("[data-lt=stage]")
    with page.expect_download() as saved:
        page.click("[data-lt=last10]")
    until_says(page, "note", "the last 10 seconds are saved")
    with av.open(str(saved.value.path())) as shown:
        assert 16 <= sum(1 for _ in shown.decode(video=0)) <= 160
    with page.expect_download() as saved:
        page.click("[data-lt=gif10]")
    assert saved.value.suggested_filename.endswith("last.gif")
    assert page.evaluate("probe.phase()") == "live"


def take_with_film(page: Page, data: Path) -> str:
    """Draw a take, end it, give it a film, and return its id."""
    start(page)
    until_latent(page, 9)
    take = take_of(page)
    page.click("[data-lt=end]")
    film(data / "takes" / f"{take}.mp4", frames=64, fps=16, size=64)
    return take


def test_a_take_is_opened_played_renamed_compared_with_its_branch_and_deleted(page: Page, data: Path) -> None:
    take = take_with_film(page, data)
    page.click("[data-lt=takestab]")
    card = page.locator(f"[data-take='{take}']")
    card.get_by_text("Continue", exact=True).click()
    until(page, f"probe.latest('timeline').take != '{take}' && probe.phase() == 'live'")
    until_latent(page, 15)
    branch = take_of(page)
    page.locator("[data-lt=lines] button", has_text="A · ").wait_for()
    page.click("[data-lt=takename]")
    page.fill("[data-lt=takefield]", "Second thoughts")
    page.press("[data-lt=takefield]", "Enter")
    until_says(page, "takeword", "Second thoughts")
    page.click("[data-lt=end]")
    until_says(page, "title", "Second thoughts")
    film(data / "takes" / f"{branch}.mp4", frames=90, fps=16, size=64)

    ours = page.locator(f"[data-take='{branch}']")
    ours.locator(".branch").wait_for()
    ours.get_by_text("Second thoughts").wait_for()
    for one in (card, ours):
        one.locator(".plays").wait_for()
    card.get_by_role("button", name="Open ").click()
    dialog = page.locator("[data-lt=onetake]")
    until(page, "document.querySelector('[data-lt=onetake] video').currentTime > 0")
    dialog.get_by_role("textbox", name="Name").fill("The red one")
    dialog.get_by_role("button", name="Rename").click()
    dialog.get_by_text("renamed").wait_for()
    assert dialog.locator(".family button").count() == 2
    dialog.locator("[data-lt=take-compare]").select_option(branch)
    until(page, "[...document.querySelectorAll('.two video')].every((film) => film.currentTime > 0.5)")
    apart = page.evaluate(
        "(([a, b]) => Math.abs(a.currentTime - b.currentTime))(document.querySelectorAll('.two video'))"
    )
    assert apart < 0.3
    dialog.locator("[data-lt=two-b]").click()
    until(page, f"probe.latest('timeline').take != '{branch}' && probe.phase() == 'live'")
    assert page.evaluate("probe.latest('timeline').parent").startswith(f"{branch}@")
    page.click("[data-lt=end]")

    page.get_by_role("button", name="Open The red one").click()
    dialog.locator("[data-lt=take-delete]").click()
    dialog.locator("[data-lt=take-gone]").click()
    card.wait_for(state="detached")
    assert not list((data / "takes").glob(f"{take}*"))
