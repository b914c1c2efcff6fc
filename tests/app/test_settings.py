"""Settings of the environment are typed, and a value that cannot be used is reported by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.settings import SettingsError, from_environment, ice_servers, public_address, publish_target


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


@pytest.mark.parametrize("token", [" a", "a ", "line\nbreak", "\udcff", "tab\t", " "])
def test_a_token_that_no_header_can_carry_is_one_line(token: str) -> None:
    with pytest.raises(SettingsError, match=r"^LONGTAKE_TOKEN must not .*$"):
        from_environment({"LONGTAKE_TOKEN": token})


@pytest.mark.parametrize("token", ["two words", "ünïcödé", "無", "q+8/Zz1b7w=="])
def test_a_token_may_have_characters_of_any_script(token: str) -> None:
    assert from_environment({"LONGTAKE_TOKEN": token}).token == token


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LONGTAKE_ORIGINS", "*"),
        ("LONGTAKE_ORIGINS", "example.org"),
        ("LONGTAKE_ORIGINS", "https://a.example/path"),
        ("LONGTAKE_ORIGINS", "https://a.example, null"),
        ("LONGTAKE_PROXIES", "*"),
        ("LONGTAKE_PROXIES", "proxy.example"),
        ("LONGTAKE_PROXIES", "10.0.0.1/24"),
        ("LONGTAKE_VIDEO_KEYS", "alice"),
        ("LONGTAKE_VIDEO_KEYS", "alice:short"),
        ("LONGTAKE_VIDEO_KEYS", "alice:0123456789abcdef bob:0123456789abcdef"),
        ("LONGTAKE_VIDEO_KEYS", "alice:0123456789abcdef alice:fedcba9876543210"),
        ("LONGTAKE_GRACE", "0"),
        ("LONGTAKE_GRACE", "nan"),
        ("LONGTAKE_GRACE", "1e9"),
        ("LONGTAKE_GRACE", "20s"),
        ("LONGTAKE_KEEP_SPEECH", "maybe"),
    ],
)
def test_a_value_that_cannot_be_used_is_reported_by_its_name(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}"):
        from_environment({variable: text})


def test_lists_have_spaces_or_commas_between() -> None:
    settings = from_environment(
        {"LONGTAKE_ORIGINS": "https://A.example:443, http://b.example:8000", "LONGTAKE_PROXIES": "10.0.0.7 fd00::/8"}
    )
    assert [str(origin) for origin in settings.origins] == ["https://a.example", "http://b.example:8000"]
    assert settings.proxies == ("10.0.0.7", "fd00::/8")
    assert from_environment({"LONGTAKE_GRACE": "90", "LONGTAKE_KEEP_SPEECH": "no"}).grace == 90


@pytest.mark.parametrize(
    "text",
    ["example.org", "ftp://example.org", "https://", "https://u:p@example.org", "https://example.org/?x",
     "https://x/a b", "https://example.org/api", "https://example.org/../x", "https://[::1", "https://x:99999"],
)  # fmt: skip
def test_an_address_to_serve_under_is_a_plain_url(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--public-url: "):
        public_address(text)


def test_a_public_address_has_no_slash_at_its_end() -> None:
    assert str(public_address("HTTPS://Example.org:443/longtake/")) == "https://example.org/longtake"
    assert str(public_address("http://[::1]:8000")) == "http://[::1]:8000"
    assert public_address(None) is None


@pytest.mark.parametrize("text", ["{", "5", '["turn:x"]', '[{"username": "x"}]', '[{"urls": "turn:x", "extra": 1}]'])
def test_ice_servers_that_a_browser_would_refuse_are_reported_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^LONGTAKE_ICE must be a JSON list such as .*$"):
        ice_servers(text)


def test_ice_servers_are_passed_on_unchanged() -> None:
    server = {"urls": ["turn:example.org:3478"], "username": "u", "credential": "c"}
    (read,) = ice_servers(json.dumps([server]))
    assert read.model_dump() == server
    assert ice_servers(None) == ice_servers("") == []


@pytest.mark.parametrize(
    "servers",
    [
        [{"urls": "example.org"}],
        [{"urls": "http://example.org"}],
        [{"urls": []}],
        [{"urls": ["stun:example.org", "ftp:example.org"]}],
        [{"urls": "stun:example.org?transport=udp"}],
        [{"urls": "turn:example.org?transport=sctp", "username": "u", "credential": "c"}],
        [{"urls": "turn:example.org", "username": "", "credential": ""}],
        [{"urls": "turns:example.org", "username": "u"}],
    ],
)
def test_ice_servers_that_a_browser_throws_at_are_refused(servers: list[dict[str, object]]) -> None:
    with pytest.raises(SettingsError, match="LONGTAKE_ICE must be a JSON list such as"):
        from_environment({"LONGTAKE_ICE": json.dumps(servers)})


def test_a_turn_server_has_credentials_or_a_secret_that_makes_them() -> None:
    bare, static = '[{"urls": "turn:example.org"}]', '[{"urls": "turn:x", "username": "u", "credential": "c"}]'
    assert from_environment({"LONGTAKE_ICE": bare, "LONGTAKE_TURN_SECRET": "s"}).turn_secret == "s"
    with pytest.raises(SettingsError, match="needs username and credential, or LONGTAKE_TURN_SECRET"):
        from_environment({"LONGTAKE_ICE": bare})
    for ice in ("", static, '[{"urls": "stun:example.org"}]'):
        with pytest.raises(SettingsError, match="LONGTAKE_TURN_SECRET is set, and LONGTAKE_ICE has no TURN server"):
            from_environment({"LONGTAKE_ICE": ice, "LONGTAKE_TURN_SECRET": "s"})


VARIABLES = ("TOKEN", "ICE", "TURN_SECRET", "ORIGINS", "PROXIES", "GRACE", "KEEP_SPEECH")
VALUES = st.one_of(
    st.text(max_size=80),
    st.from_regex(r"[a-z]{0,6}:?/{0,2}[a-z0-9.:*@/-]{0,30}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["urls", "username", "x"]), inner),
        max_leaves=6,
    ).map(json.dumps),
)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(VARIABLES), VALUES)
def test_any_value_of_any_variable_is_read_or_refused_in_one_line_that_names_it(variable: str, value: str) -> None:
    name, said = f"LONGTAKE_{variable}", None
    try:
        from_environment({name: value})
    except SettingsError as error:
        said = str(error)
    assert said is None or (said.startswith(name) and said.isprintable())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "live.example/whip",
        "ftp://live.example/whip",
        "https:///whip",
        "https://live.example:0/",
        "https://live.example:99999/",
        "https://live.example/a b",
        "https://live.example/{name}",
        "https://live.example/\x7f",
        "https://☃.example/",
        "https://xn--/",
        "https://1.2.3.999/",
        "https://user:word@live.example/",
    ],
)
def test_what_is_no_address_of_a_receiver_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="--publish-to: "):
        publish_target(text, None)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8080/{session}/whip?of={session}", "https://[::1]/", "HTTPS://bücher.example"]
)
def test_a_film_is_published_to_the_address_of_its_session(text: str) -> None:
    target = publish_target(text, "token")
    assert target is not None
    assert (target.of("17"), target.token) == (text.replace("{session}", "17"), "token")
