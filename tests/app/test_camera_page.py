"""Chromium's fake camera reaches a session: by WHIP from a page of another site, and beside the film of a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser_page import chromium, needs_chromium
from other_origin import another_origin
from playwright.sync_api import Page
from tiny_server import serving_tiny_model, session_of, status_of

pytestmark = needs_chromium
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with another_origin() as origin, chromium(*FAKE) as browser:
        page = browser.new_page()
        page.goto(f"{origin}/whep_player.html")
        yield page


@pytest.fixture(scope="module")
def server(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    origin = page.evaluate("location.origin")
    with serving_tiny_model(tmp_path_factory.mktemp("camera"), {"LONGTAKE_ORIGINS": origin}) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server) as session:
        yield session


def until_camera(page: Page, server: str, session: dict[str, Any], *, sends: bool) -> dict[str, Any] | None:
    """Wait until the session's camera sends at its rate, or has gone; return what the status tells of it."""
    for _ in range(400):
        camera: dict[str, Any] | None = status_of(server, session)["camera"]
        if (camera is None) if not sends else bool(camera and (camera["fps"] or 0) > 5 and camera["width"] == 320):
            return camera
        page.wait_for_timeout(50)
    raise AssertionError(f"the camera is {camera}")


def test_a_page_of_another_site_publishes_by_whip_and_leaves(page: Page, server: str, session: dict[str, Any]) -> None:
    assert page.evaluate(f"publish('{server}/whip/{session['id']}', '{session['key']}')") == 201
    camera = until_camera(page, server, session, sends=True)
    assert camera is not None
    print(f"\nChromium by WHIP: {camera}")
    assert (camera["width"], camera["height"]) == (320, 240)
    assert 5 < camera["fps"] <= 35
    headers = f"{{authorization: 'Bearer {session['key']}'}}"
    left = page.evaluate(f"fetch(player.resource, {{method: 'DELETE', headers: {headers}}}).then((a) => a.status)")
    assert left == 200
    until_camera(page, server, session, sends=False)


def test_a_page_that_controls_sends_its_camera_beside_the_film(
    page: Page, server: str, session: dict[str, Any]
) -> None:
    url = f"{server}/api/sessions/{session['id']}/offer"
    assert page.evaluate(f"joinWithCamera('{url}', '{session['key']}')") == 200
    until_camera(page, server, session, sends=True)
    page.wait_for_function("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 4")
    assert status_of(server, session)["viewers"] == 1
    page.evaluate("player.peer.close()")
    until_camera(page, server, session, sends=False)
