"""Servers publish their films to receivers of other makers: Debian's Janus, and the WHIP endpoint of another server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from avatar_client import begin
from conftest import tiny_avatar
from janus_server import Janus, needs_janus
from tiny_server import serving_tiny_model, session_of, status_of

from models import catalog
from models.checkpoints.assemble import Model

TOKEN = "of-the-receiver"


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@needs_janus
def test_janus_takes_picture_and_sound_gets_keyframes_and_is_told_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_avatar()
    entry = replace(tiny.entry, name=catalog.AVATAR.name)
    monkeypatch.setitem(catalog.ENTRIES, entry.name, entry)

    def avatar() -> Model:
        return replace(tiny, entry=entry)

    environment = {"LONGTAKE_PUBLISH_TOKEN": TOKEN}
    with Janus(tmp_path, TOKEN) as janus:
        with serving_tiny_model(tmp_path, environment, model=avatar, publish_to=janus.front.address) as address:
            session = begin(address)
            assert {(picture.width, picture.height) for picture in janus.video.pictures(8)} == {(256, 256)}
            stamps = [stamp for stamp, _, _ in itertools.islice(janus.audio.packets(), 8)]
            assert {b - a for a, b in itertools.pairwise(stamps)} == {960}  # 20 ms of Opus
            until(lambda: status_of(address, session).get("publishing") == "live")
            janus.front.ask_for_keyframe()
            janus.video.keyframe()
            httpx.delete(f"{address}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
            until(lambda: len(janus.front.ended) == 1)
            other = begin(address)
            until(lambda: status_of(address, other).get("publishing") == "live")
        assert janus.front.ended == janus.front.published  # at the end of the server too
        assert len(janus.front.ended) == 2


def test_a_second_server_takes_the_film_of_a_first_as_its_camera(tmp_path: Path) -> None:
    with serving_tiny_model(tmp_path / "second") as second, session_of(second) as followed:
        target, environment = f"{second}/whip/{followed['id']}", {"LONGTAKE_PUBLISH_TOKEN": followed["key"]}
        with serving_tiny_model(tmp_path / "first", environment, publish_to=target) as first, session_of(first) as own:
            until(lambda: (status_of(second, followed)["camera"] or {}).get("fps"))
            camera = status_of(second, followed)["camera"]
            assert (camera["width"], camera["height"]) == (256, 256)
            until(lambda: status_of(first, own).get("publishing") == "live")
        until(lambda: status_of(second, followed)["camera"] is None)
