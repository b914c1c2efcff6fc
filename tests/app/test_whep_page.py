"""A browser plays by WHEP from a page of another site, if that is listed, and restarts ICE without a new connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser_page import chromium, needs_chromium
from other_origin import another_origin
from playwright.sync_api import Browser, Page
from tiny_server import serving_tiny_model, session_of

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def listed() -> Iterator[str]:
    with another_origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(listed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("page"), {"LONGTAKE_ORIGINS": listed}) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server) as session:
        yield session


@pytest.fixture
def player(browser: Browser, listed: str) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(f"{listed}/whep_player.html")
    yield page
    page.close()


def plays(page: Page, more: int = 10) -> dict[str, Any]:
    """Wait for more pictures; return what the connection uses."""
    begun = page.evaluate("figures()").get("frames") or 0
    page.wait_for_function(f"figures().then((f) => f.frames >= {begun + more})", timeout=20_000)
    page.wait_for_function("figures().then((f) => f.codec)", timeout=20_000)  # for a moment a restart leaves it out
    found: dict[str, Any] = page.evaluate("figures()")
    return found


def restarts(page: Page) -> None:
    """Restart ICE, and wait until one of the server's new addresses is in use."""
    began, former = time.monotonic(), set(page.evaluate("player.ports"))
    assert page.evaluate("restart()") == {"status": 200, "renewed": True}
    assert former.isdisjoint(page.evaluate("player.ports"))
    page.wait_for_function("figures().then((f) => player.ports.includes(f.port))", timeout=10_000)
    print(f"\nICE restarted in Chromium after {1000 * (time.monotonic() - began):.0f} ms")


def test_a_page_of_a_listed_site_plays_and_restarts_ice_without_a_new_connection(
    server: str, session: dict[str, Any], player: Page
) -> None:
    assert player.evaluate(f"play('{server}/whep/{session['id']}')") == 201
    plays(player)
    for _ in range(2):
        restarts(player)
        after = plays(player)
        assert (after["dtls"], after["codec"]) == ("connected", "video/H264")
    etag, resource = player.evaluate("[player.etag, player.resource]")
    trickled = {"content-type": "application/trickle-ice-sdpfrag", "if-match": etag}
    candidate = "a=candidate:1 1 udp 1 192.0.2.9 5 typ host\r\n"
    assert httpx.patch(resource, content=candidate, headers=trickled).status_code == 204
    for bad in ("a=ice-ufrag:abcd\r\n", "a=ice-ufrag:ab\r\na=ice-pwd:0123456789012345678901\r\n"):
        assert httpx.patch(resource, content=bad, headers=trickled).status_code == 400
    assert player.evaluate("fetch(player.resource, {method: 'DELETE'}).then((a) => a.status)") == 200
    assert httpx.options(resource).status_code == 404


def test_a_restart_that_never_connects_costs_nothing(server: str, session: dict[str, Any], player: Page) -> None:
    player.evaluate(f"play('{server}/whep/{session['id']}')")
    plays(player)
    fragment = "a=ice-ufrag:nobody\r\na=ice-pwd:0123456789012345678901\r\n"
    headers = {"content-type": "application/trickle-ice-sdpfrag", "if-match": "*"}
    resource = player.evaluate("player.resource")
    begun = httpx.patch(resource, content=fragment, headers=headers)
    assert begun.status_code == 200
    assert plays(player, 20)["port"] in player.evaluate("player.ports")  # those of the answer; it may change to another
    restarts(player)
    plays(player)


def test_a_page_of_a_site_that_is_not_listed_is_refused_and_its_console_says_why(
    server: str, session: dict[str, Any], browser: Browser
) -> None:
    with another_origin() as origin:
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{origin}/whep_player.html")
        tried = page.evaluate(f"play('{server}/whep/{session['id']}').catch((e) => e.message)")
        assert tried == "Failed to fetch"
        assert any("has been blocked by CORS policy" in line and origin in line for line in said)
        page.close()
    refused = httpx.post(f"{server}/whep/{session['id']}", headers={"origin": origin})
    assert refused.status_code == 403
