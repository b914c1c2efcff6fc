"""A browser logs in on a page of its own and out again with a button of the studio and of the avatar."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from browser_page import chromium, needs_chromium
from fastapi import FastAPI
from playwright.sync_api import Browser
from studio_app import studio
from studio_server import free_port

from app import gradio_page

pytestmark = needs_chromium
TOKEN = "päss wörd"
LOGOUT = "[data-lt=logout] button"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Serve the pages with a tiny model from a thread; the test's parameter is the token."""
    app: FastAPI = gradio_page.mount(studio(tmp_path, local=True, TOKEN=request.param))
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    while not web.started and thread.is_alive():
        thread.join(0.02)
    yield f"http://127.0.0.1:{port}"
    web.should_exit = True
    thread.join(15)


@pytest.mark.parametrize("address", [TOKEN], indirect=True)
@pytest.mark.parametrize("path", ["/", "/avatar/"])
def test_a_login_ends_with_the_button_of_the_page(browser: Browser, address: str, path: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address + path)
    assert page.url == f"{address}/login"
    page.fill("[name=token]", TOKEN)
    page.click("text=Open")
    page.wait_for_url(f"{address}/")
    page.goto(address + path)
    page.click(LOGOUT)
    page.wait_for_url(f"{address}/login")
    assert context.cookies() == []
    page.goto(address + path)
    assert page.url == f"{address}/login"
    context.close()


@pytest.mark.parametrize("address", [""], indirect=True)
def test_a_server_without_a_token_offers_no_logout(browser: Browser, address: str) -> None:
    page = browser.new_page()
    with page.expect_response("**/api/login"):
        page.goto(address)
    page.wait_for_selector("[data-lt=start]")
    assert page.is_hidden(LOGOUT)
    page.close()
