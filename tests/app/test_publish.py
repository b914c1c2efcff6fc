"""Servers publish their films to the WHIP endpoints of other servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tiny_server import serving_tiny_model, session_of, status_of


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_second_server_takes_the_film_of_a_first_as_its_camera(tmp_path: Path) -> None:
    with serving_tiny_model(tmp_path / "second") as second, session_of(second) as followed:
        target, environment = f"{second}/whip/{followed['id']}", {"LONGTAKE_PUBLISH_TOKEN": followed["key"]}
        with serving_tiny_model(tmp_path / "first", environment, publish_to=target) as first, session_of(first) as own:
            until(lambda: (status_of(second, followed)["camera"] or {}).get("fps"))
            camera = status_of(second, followed)["camera"]
            assert (camera["width"], camera["height"]) == (256, 256)
            until(lambda: status_of(first, own).get("publishing") == "live")
        until(lambda: status_of(second, followed)["camera"] is None)
