"""A person who knows nothing of the studio reaches a film with two prompts and a recalled scene: `-m long -s` counts.

The script does only what the page says: it finds controls by the words and roles that a person sees or hears.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import av
import pytest
from browser_page import chromium, needs_chromium
from playwright.sync_api import Locator, Page, expect
from studio_server import serving

pytestmark = [needs_chromium, pytest.mark.long, pytest.mark.timeout(900)]


class Person:
    """Count what a person clicks and types, and how long it takes until what the page promises is there."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks, self.keys = page, 0, 0
        self.began = time.monotonic()
        self.diary: list[str] = []

    def note(self, what: str) -> None:
        """Write down that something has happened."""
        self.diary.append(f"{time.monotonic() - self.began:5.1f} s, {self.clicks} clicks: {what}")

    def click(self, what: Locator) -> None:
        """Click what can be clicked."""
        what.click(timeout=60_000)
        self.clicks += 1

    def types(self, text: str) -> None:
        """Type into the one field that asks for a prompt."""
        field = self.page.get_by_role("textbox", name="Prompt")
        field.fill(text)
        self.clicks += 1
        self.keys += len(text)

    def sees(self, text: str, seconds: float = 120) -> None:
        """Wait until the page shows a text (a regular expression, with its capitals)."""
        expect(self.page.get_by_text(re.compile(text)).first).to_be_visible(timeout=1000 * seconds)
        self.note(f"the page says {text!r}")


def test_a_stranger_makes_a_film_with_two_prompts_and_a_recalled_scene(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        person = Person(page)
        person.click(page.get_by_role("button", name="Start", exact=True).first)
        person.sees("^Live$")
        person.types("a blue fish drifts right over the sea by day")
        person.click(page.get_by_role("button", name="Send", exact=True))
        person.sees("on screen after")
        person.types("a yellow star sways in the city at night")
        person.click(page.get_by_role("button", name="Send", exact=True))
        person.sees("Star, city")
        person.click(page.get_by_role("button", name="Timeline with pictures"))
        box = page.get_by_role("slider", name="Timeline").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 10, box["y"] + box["height"] / 2)  # the first scene
        person.clicks += 1
        person.click(page.get_by_role("button", name="Bring back this scene"))
        person.sees("Back to")
        person.click(page.get_by_role("button", name="End", exact=True))
        person.click(page.get_by_role("button", name="Render film"))
        person.sees("Film ready", 600)
        with page.expect_download() as film:
            person.click(page.get_by_role("link", name="Film ready").first)
        film.value.save_as(tmp_path / "film.mp4")
        person.note("the film is there")
        print(*person.diary, sep="\n")
        with av.open(str(tmp_path / "film.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) > 48
        assert person.clicks <= 14
