"""Viewers that no UDP of the server reaches play through coturn, with credentials that expire."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_page import CHROMIUM, FLAGS
from page_probe import PROBE, until
from playwright.sync_api import sync_playwright
from test_whep import GSTREAMER, PYTHON, needs_gstreamer
from tiny_server import serving_tiny_model, session_of, status_of
from two_networks import SECRET, Networks, coturn, forwarded, needs_turnserver, two_networks

pytestmark = needs_turnserver
CLIENT = Path(__file__).with_name("whep_client.py")


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    with two_networks() as networks:
        yield networks


@pytest.fixture(scope="module")
def turn_log(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with coturn(networks, tmp_path_factory.mktemp("coturn")) as log:
        for _ in range(200):
            if log.exists() and "TCP listener opened" in log.read_text():
                break
            time.sleep(0.02)
        yield log


@pytest.fixture(scope="module")
def server(networks: Networks, turn_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Serve with coturn's secret; give the server's address and the one for viewers."""
    ice = json.dumps([{"urls": f"turn:{networks.between}"}])
    environment = {"LONGTAKE_ICE": ice, "LONGTAKE_TURN_SECRET": SECRET}
    with (
        serving_tiny_model(tmp_path_factory.mktemp("turn"), environment, networks.server) as address,
        forwarded(networks, int(address.rpartition(":")[2])) as forwarder,
    ):
        yield address, forwarder


@pytest.fixture
def session(server: tuple[str, str]) -> Iterator[dict[str, Any]]:
    with session_of(server[0]) as session:
        yield session


def allocations(log: Path) -> int:
    return log.read_text().count("ALLOCATE processed, success")


def test_no_udp_passes_between_a_viewer_and_the_server(networks: Networks) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        waiting.bind((networks.server, 0))
        send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {waiting.getsockname()!r})"
        with pytest.raises(AssertionError, match="Network is unreachable"):
            networks.run(sys.executable, "-c", send)


@pytest.mark.parametrize("way", ["own", "given"])
def test_a_player_is_relayed_by_the_server_s_relay_or_by_the_one_that_it_is_given(
    networks: Networks, server: tuple[str, str], session: dict[str, Any], turn_log: Path, way: str
) -> None:
    before = allocations(turn_log)
    url = f"{server[1]}/whep/{session['id']}"
    played = json.loads(networks.run(sys.executable, str(CLIENT), url, "20", way))
    print(f"\nrelayed ({way}): first picture after {played['first_ms']} ms")
    assert [networks.between, "relay"] in played["answered"]
    kinds = {kind for _, kind in played["offered"]}
    assert kinds == ({"relay"} if way == "given" else {"host"})
    assert allocations(turn_log) - before == (2 if way == "given" else 1)


@needs_gstreamer
def test_gstreamer_is_relayed_by_the_server_s_relay(
    networks: Networks, server: tuple[str, str], session: dict[str, Any], turn_log: Path
) -> None:
    before = allocations(turn_log)
    played = json.loads(networks.run(PYTHON, str(GSTREAMER), "whep", f"{server[1]}/whep/{session['id']}", "20"))
    assert played["got"]["video"] >= 20
    assert allocations(turn_log) == before + 1


def test_a_watch_page_is_given_the_relay_and_plays_on_after_a_change_of_network(
    networks: Networks, server: tuple[str, str], session: dict[str, Any], tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    inside = tmp_path / "chromium"  # a browser of the viewers' network
    inside.write_text(f'#!/bin/sh\nexec {" ".join(networks.viewers)} {CHROMIUM} "$@"\n')
    inside.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=inside, headless=True, args=list(FLAGS))
        page = browser.new_page()
        page.add_init_script(PROBE)
        began = time.monotonic()
        page.goto(f"{server[1]}/watch/{session['id']}")
        until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 8")
        print(f"\nrelayed page: 8 pictures after {time.monotonic() - began:.1f} s")
        assert page.evaluate("probe.peers.at(-1).connectionState") == "connected"
        assert status_of(server[0], session)["viewers"] == 1
        networks.move(9)
        began, peers = time.monotonic(), page.evaluate("probe.peers.length")
        until(page, f"probe.peers.length > {peers} && probe.peers.at(-1).connectionState === 'connected'", 30)
        until(page, "window.seen = document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames")
        until(page, "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > window.seen + 4")
        print(f"\nplays again {time.monotonic() - began:.1f} s after its address has changed")
        browser.close()


def test_expired_credentials_are_told_in_one_line_and_the_server_connects_without_the_relay(
    networks: Networks, turn_log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expired = [{"urls": f"turn:{networks.between}", "username": "1600000000:longtake", "credential": "x"}]
    with (
        caplog.at_level(logging.WARNING, "streaming.transport.ice_servers"),
        serving_tiny_model(tmp_path, {"LONGTAKE_ICE": json.dumps(expired)}, networks.server) as address,
        session_of(address) as session,
    ):
        (line,) = [r.message for r in caplog.records]
        assert line == (
            f"the TURN server turn:{networks.between}:3478?transport=udp refuses: 401 Unauthorized; its credentials "
            "expired at 2020-09-13 12:26 UTC; this server connects without it"
        )
        assert session["ice"] == expired
