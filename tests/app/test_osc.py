"""Open Sound Control over a real UDP socket steers the session that was started last."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import websockets.sync.client
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient
from studio_server import free_port
from tiny_server import serving_tiny_model, session_of, status_of

from app.listening import ListenError, bound_datagrams
from app.osc_input import OscError, command_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    port = free_port()
    with serving_tiny_model(tmp_path_factory.mktemp("osc"), osc=bound_datagrams(str(port))) as address:
        yield address, port


def until(condition: Callable[[], Any]) -> Any:
    """Return what the condition returns once that is true."""
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_prompts_cuts_seeds_and_buttons_steer_the_newest_session(server: tuple[str, int]) -> None:
    address, port = server
    desk = SimpleUDPClient("127.0.0.1", port)
    with session_of(address) as older, session_of(address) as newer:
        desk.send_message("/longtake/prompt", ["a blue cube", 2])
        desk.send_message("/longtake/cut", "a green tree")
        desk.send_message("/longtake/seed", 7)

        def cues() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = status_of(address, newer)["timeline"]["cues"]
            return found

        said = until(lambda: cues() if any(cue.get("seed") == 7 for cue in cues()) else None)
        assert [cue["prompt"] for cue in said if cue.get("prompt")][-1] == "a green tree"
        until(lambda: status_of(address, newer)["phase"] == "live")
        desk.send_message("/longtake/pause", 0.0)  # the button is let go
        assert status_of(address, newer)["phase"] == "live"
        desk.send_message("/longtake/pause", 1.0)
        until(lambda: status_of(address, newer)["phase"] == "paused")
        assert status_of(address, older)["phase"] == "live"
        assert len(status_of(address, older)["timeline"]["cues"]) == 1


def test_a_slot_reaches_the_page_and_a_refusal_its_viewers(server: tuple[str, int]) -> None:
    address, port = server
    desk = SimpleUDPClient("127.0.0.1", port)
    with session_of(address) as session:
        url = f"{address.replace('http', 'ws')}/api/sessions/{session['id']}/stream?key={session['key']}"
        with websockets.sync.client.connect(url, max_size=None) as page:
            heard: list[dict[str, Any]] = []

            def hears(kind: str) -> dict[str, Any]:
                while True:
                    message = page.recv(timeout=20)
                    if isinstance(message, str):
                        heard.append(json.loads(message))
                        if heard[-1]["type"] == kind:
                            return heard[-1]

            hears("hello")
            bundle = OscBundleBuilder(IMMEDIATELY)
            for name, value in (("slot/4", 0), ("slot/3", 1)):  # a button is let go, another one pressed
                message = OscMessageBuilder(f"/longtake/{name}")
                message.add_arg(value)
                bundle.add_content(message.build())
            desk.send(bundle.build())
            assert hears("slot")["slot"] == 3
            for strength in (0.3, 0.4, 0.5):  # a fader that moves
                desk.send_message("/longtake/strength", strength)
            assert "follows nothing" in hears("warning")["why"]
            desk.send_message("/longtake/slot", 9)
            assert hears("slot")["slot"] == 9
            assert [event["type"] for event in heard].count("warning") == 1  # of three values the newest was obeyed


def test_datagrams_that_are_no_osc_change_nothing(server: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    address, port = server
    chance = random.Random(0)
    with session_of(address) as session, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in range(300):
            good = b"/longtake/seed\0\0,i\0\0" + chance.randbytes(4)
            cut = good[: chance.randrange(len(good))] if number % 2 else chance.randbytes(chance.randrange(200))
            stranger.sendto(cut if number % 3 else b"#bundle\0" + cut, ("127.0.0.1", port))
        until(lambda: status_of(address, session)["phase"] == "live")
        SimpleUDPClient("127.0.0.1", port).send_message("/longtake/pause", [])
        until(lambda: status_of(address, session)["phase"] == "paused")
        assert len(status_of(address, session)["timeline"]["cues"]) == 1
        assert "pythonosc" not in caplog.text
        assert "content type" not in caplog.text
        assert httpx.get(f"{address}/healthz").status_code == 200


NOTHING: list[tuple[str, list[Any]]] = [
    ("prompt", [7]),
    ("prompt", []),
    ("nothing", [1]),
    ("slot/x", [1]),
    ("slot/²", [1]),
    ("slot/٣", [1]),
    ("seed", [float("nan")]),
    ("slot", [float("inf")]),
    ("strength/x", [1.0]),
    ("lora", [1.0]),
    ("", []),
]


@pytest.mark.parametrize(("name", "values"), NOTHING)
def test_a_message_that_says_nothing_is_refused(name: str, values: list[Any]) -> None:
    with pytest.raises(OscError, match=r"docs/vj\.md"):
        command_of(name, values)


@given(
    st.sampled_from(["prompt", "cut", "seed", "slot", "slot/2", "strength", "lora/a", "pause"]) | st.text(max_size=20),
    st.lists(st.text() | st.integers() | st.floats() | st.booleans(), max_size=3),
)
def test_any_message_is_a_command_or_refused(name: str, values: list[Any]) -> None:
    try:
        command = command_of(name, values)
    except OscError:
        return
    assert command is None or "type" in command


@pytest.mark.parametrize("address", ["x", "0", "70000", "nowhere.invalid:9000", "9000:", "127.0.0.1:-1"])
def test_an_address_that_cannot_be_opened_is_refused_in_one_line(address: str) -> None:
    with pytest.raises(ListenError, match="--osc") as error:
        bound_datagrams(address)
    assert "\n" not in str(error.value)


def test_a_port_in_use_is_refused() -> None:
    port = str(free_port())
    with bound_datagrams(port), pytest.raises(ListenError, match="cannot be opened"):
        bound_datagrams(port)
