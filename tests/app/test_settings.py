"""Settings of the environment are typed, and a value that cannot be used is reported by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.settings import SettingsError, from_environment, ice_servers


def test_an_empty_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LONGTAKE_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = from_environment({})
    assert settings.token is None
    assert settings.ice_servers == []
    assert settings.models == tmp_path / "longtake" / "models"
    assert settings.engines == tmp_path / "longtake" / "engines"
    assert settings.data == tmp_path / "longtake" / "studio"


def test_folders_stand_beside_the_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LONGTAKE_MODELS", str(tmp_path / "m"))
    settings = from_environment({"LONGTAKE_TOKEN": "t", "LONGTAKE_ICE": '[{"urls": "stun:example.org"}]'})
    assert (settings.token, settings.models, settings.data) == ("t", tmp_path / "m", tmp_path / "studio")
    assert settings.ice_servers[0].urls == "stun:example.org"


def test_an_empty_token_is_no_token() -> None:
    assert from_environment({"LONGTAKE_TOKEN": ""}).token is None


@pytest.mark.parametrize("token", ["two words", "ünïcödé", "line\nbreak", "\udcff", "tab\t"])
def test_a_token_that_no_header_can_carry_is_one_line(token: str) -> None:
    with pytest.raises(SettingsError, match=r"^LONGTAKE_TOKEN must be ASCII .*$"):
        from_environment({"LONGTAKE_TOKEN": token})


@pytest.mark.parametrize("text", ["{", "5", '["turn:x"]', '[{"username": "x"}]', '[{"urls": "turn:x", "extra": 1}]'])
def test_ice_servers_that_a_browser_would_refuse_are_reported_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^LONGTAKE_ICE must be a JSON list such as .*$"):
        ice_servers(text)


def test_ice_servers_are_passed_on_unchanged() -> None:
    server = {"urls": ["turn:example.org:3478"], "username": "u", "credential": "c"}
    (read,) = ice_servers(json.dumps([server]))
    assert read.model_dump() == server
    assert ice_servers(None) == ice_servers("") == []
