"""Show the studio without a session, in English and German: nothing overflows, and axe-core finds no fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_page import chromium, needs_chromium
from page_faults import PHONE, WIDE, axe_script, faults, needs_npm
from page_probe import until_ready
from playwright.sync_api import Browser, Page, Route
from studio_browser import until_stage
from test_page import MOUNT, PAGE, Server

from app.gradio_page import PAGES, STYLES

pytestmark = [needs_chromium, needs_npm]
TAKE: dict[str, Any] = {
    "id": "20261127-120000-abcd", "seconds": 63.2, "sound": False, "prompts": ["a large red ball over the sea"],
    "name": "", "parent": None, "parent_seconds": None, "picture": False,
    "changed": 1.79e9, "state": "cut off", "recordings": [1],
    "render": {"state": "held", "film": True, "chunks": 9, "done": 4},
}  # fmt: skip


def with_takes(route: Route) -> None:
    route.fulfill(json=[TAKE, {**TAKE, "id": "20261127-130000-abcd", "state": "live", "render": None}])


def in_its_frame(route: Route) -> None:
    """Send the studio as Gradio frames it: with a title, in a main landmark, with its style sheets."""
    sheets = "".join(f'<link rel="stylesheet" href="/page/{name}.css">' for name in (*STYLES, *PAGES[-1][3]))
    studio = (PAGE / "studio.html").read_text(encoding="utf-8")
    body = (
        f'<!doctype html><html lang="en"><title>Longtake</title>{sheets}<body class="dark"><main>{studio}</main>{MOUNT}'
    )
    route.fulfill(content_type="text/html", body=body)


def show_help(page: Page) -> None:
    page.click("[data-lt=help]")
    page.wait_for_selector("[data-lt=sheet]", state="visible")  # its script is loaded first


def show_takes(page: Page) -> None:
    if page.is_visible(".views"):
        page.click(".views [data-view=takes]")
    else:
        page.click("[data-lt=takestab]")
    page.locator(".take button[aria-expanded]").first.click()
    page.wait_for_selector(".take .menu")


def show_tune(page: Page) -> None:
    if page.is_visible(".views"):
        page.click(".views [data-view=tune]")
    for summary in page.locator(".panel summary").all():
        summary.click()
    page.wait_for_selector("[data-lt=savelist]")
    page.evaluate("document.querySelector('[name=lt-input][value=film]').click()")


def wait_in_line(page: Page) -> None:
    page.click("[data-lt=start]")
    until_stage(page, "busy")


STATES: dict[str, Callable[[Page], None]] = {
    "first": lambda page: None,
    "help": show_help,
    "takes": show_takes,
    "tune": show_tune,
    "busy": wait_in_line,
}
WORDS = {"first": "Film ohne Ende", "help": "Leertaste", "takes": "Herunterladen", "tune": "Vorlauf", "busy": "Platz 1"}


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize(("locale", "window"), [("de-DE", PHONE), ("de-DE", WIDE), ("en-US", PHONE)])
def test_the_studio_fits_and_has_no_fault_in_the_language_of_the_browser(
    browser: Browser, axe: str, locale: str, window: dict[str, int]
) -> None:
    found: dict[str, Any] = {}
    with browser.new_context(locale=locale, viewport=window, reduced_motion="reduce") as context:  # type: ignore[arg-type]
        context.route("http://studio.test/**", Server())
        context.route("http://studio.test/", in_its_frame)
        context.route("http://studio.test/api/takes", with_takes)
        for state, enter in STATES.items():
            page = context.new_page()
            page.goto("http://studio.test/")
            until_ready(page)
            assert page.evaluate("document.documentElement.lang") == locale[:2]
            enter(page)
            if locale == "de-DE":
                assert WORDS[state] in page.inner_text("body")
            found |= faults(page, axe, f"{locale}-{state}")
            page.close()
    assert found == {}
