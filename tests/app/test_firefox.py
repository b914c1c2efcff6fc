"""Debian's Firefox, which has no H.264, plays the page of a share link, and by WHEP from a page of another site."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from firefox import Firefox, firefox, needs_firefox
from other_origin import another_origin
from tiny_server import serving_tiny_model, session_of, status_of

pytestmark = needs_firefox


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox")) as window:
        yield window


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with another_origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("data"), {"LONGTAKE_ORIGINS": origin}) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server) as session:
        yield session


def test_firefox_plays_by_whep_in_vp8_and_restarts_ice(
    window: Firefox, server: str, origin: str, session: dict[str, Any]
) -> None:
    window.goto(f"{origin}/whep_player.html")
    assert window.evaluate("RTCRtpReceiver.getCapabilities('video').codecs.some((c) => c.mimeType === 'video/VP8')")
    assert window.evaluate(f"play('{server}/whep/{session['id']}')") == 201
    window.until("figures().then((f) => f.frames > 8)")
    print(f"\nFirefox {window.version}: {window.evaluate('figures()')}")
    assert window.evaluate("restart()") == {"status": 200, "renewed": True}
    frames = window.evaluate("figures()")["frames"]
    window.until(f"figures().then((f) => f.frames > {frames} + 20)")
    assert window.evaluate("fetch(player.resource, {method: 'DELETE'}).then((a) => a.status)") == 200


def test_firefox_sends_its_camera_by_whip(window: Firefox, server: str, origin: str, session: dict[str, Any]) -> None:
    window.goto(f"{origin}/whep_player.html")
    assert window.evaluate(f"publish('{server}/whip/{session['id']}', '{session['key']}')") == 201
    end = time.monotonic() + 20
    while not ((camera := status_of(server, session)["camera"]) or {}).get("fps"):
        assert time.monotonic() < end, camera
        time.sleep(0.05)
    print(f"\nFirefox by WHIP: {camera}")
    assert camera["width"] * camera["height"] > 0


def test_firefox_plays_the_page_of_a_share_link(window: Firefox, server: str, session: dict[str, Any]) -> None:
    window.goto(f"{server}/watch/{session['id']}")
    window.until("document.querySelector('video').currentTime > 1")
    window.until("/WebRTC .* [1-9][0-9]* fps played/.test(document.querySelector('[data-lt=status]').textContent)")
    assert status_of(server, session)["viewers"] == 1
