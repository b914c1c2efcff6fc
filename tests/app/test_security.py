"""Tokens, logins, headers and limits keep out who does not belong, and nobody else."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from limits import RateLimitItemPerMinute
from PIL import Image
from studio_app import client_of, studio

from app import gradio_page, security
from app.credentials import COOKIE, LOGIN_SECONDS, Credentials, Rates, TooManyError, network_of
from streaming.live import admission
from streaming.live.waiting_line import MOST_PLACES
from streaming.take.take_file import TakeError, parse

TOKEN = "päss 無 wörd+/="
GHOST = "0" * 32
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def bearer(token: str = TOKEN) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + token.encode())]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return gradio_page.mount(studio(tmp_path_factory.mktemp("guarded"), TOKEN=TOKEN, ORIGINS="https://pages.example"))


@pytest.fixture(scope="module")
def running(app: FastAPI) -> Iterator[TestClient]:
    with client_of(app) as client:
        yield client


@pytest.fixture
def client(app: FastAPI, running: TestClient, request: pytest.FixtureRequest) -> TestClient:
    """Return a client without cookies, from an address of its own: limits count by address."""
    number = abs(hash(request.node.name))
    address = (f"10.{number % 250}.{number // 250 % 250}.{number // 62500 % 250}", 5000)
    return TestClient(app, "http://example.org", client=address, follow_redirects=False)


def log_in(client: TestClient) -> httpx.Response:
    return client.post("/login", data={"token": TOKEN})


# -- token and login -----------------------------------------------------------------------------------------------


def test_a_login_is_a_cookie_that_is_not_the_token_and_ends_with_a_logout(client: TestClient) -> None:
    answer = log_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/;", f"Max-Age={LOGIN_SECONDS}"))
    number = client.cookies[COOKIE]
    assert client.get("/api/takes").status_code == 200
    assert client.post("/logout").headers["location"] == "login"
    assert client.get("/api/takes", headers={"cookie": f"{COOKIE}={number}"}).status_code == 401


def test_a_login_ends_after_a_week_and_is_one_of_a_bounded_number() -> None:
    now = [0.0]
    credentials = Credentials("t", clock=lambda: now[0])
    number = credentials.log_in()
    now[0] = LOGIN_SECONDS - 1
    assert credentials.logged_in(number)
    now[0] = LOGIN_SECONDS
    assert not credentials.logged_in(number)
    first, *_ = [credentials.log_in() for _ in range(1001)]
    assert not credentials.logged_in(first)
    assert credentials.logged_in(credentials.log_in())


@pytest.mark.parametrize("others", ['{"a":1}', "a[0]=1", "x y=1; =; ;;", "a=\x80", f"{COOKIE}=old", '"'])
def test_cookies_of_other_programs_do_not_hide_a_login(client: TestClient, others: str) -> None:
    log_in(client)
    number = client.cookies[COOKIE]
    client.cookies.clear()
    for line in (f"{others}; {COOKIE}={number}", f"{COOKIE}={number}; {others}"):
        assert client.get("/api/takes", headers=[(b"cookie", line.encode("latin-1"))]).status_code == 200


def test_a_token_of_any_characters_works_as_bearer_and_in_the_form(client: TestClient) -> None:
    assert client.get("/api/takes", headers=bearer()).status_code == 200
    assert log_in(client).status_code == 303
    latin = Credentials("pässwörd")
    assert latin.accept_token("pässwörd".encode("latin-1"), "::1")
    assert not latin.accept_token(b"p", "::1")


def test_a_browser_without_a_login_is_sent_to_the_login_page_and_a_program_is_told(client: TestClient) -> None:
    for path, login in (("/", "login"), ("/avatar/", "../login"), ("/docs", "login")):
        answer = client.get(path, headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (303, login), path
    answer = client.get("/api/takes")
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]


def test_wrong_tokens_are_limited_by_the_address_of_the_socket_and_told_when_to_try_again(app: FastAPI) -> None:
    with client_of(app, ("198.51.100.1", 1)) as guesser, client_of(app, ("198.51.100.2", 1)) as owner:
        log_in(owner)
        statuses = [
            guesser.post(
                "/login", data={"token": f"guess {n}"}, headers={"x-forwarded-for": f"192.0.2.{n}"}
            ).status_code
            for n in range(15)
        ]
        statuses += [guesser.get("/api/takes", headers=bearer(f"guess {n}")).status_code for n in range(240)]
        assert statuses == [401] * 20 + [429] * 235
        refused = guesser.get("/api/takes", headers=bearer())  # a right one is not looked at either: it would tell
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert owner.get("/api/takes").status_code == owner.post("/logout").status_code - 103 == 200
        guesser.cookies.update({COOKIE: app.state.credentials.log_in()})  # a login from the same address goes on
        assert guesser.get("/api/takes").status_code == 200


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_locks_nobody_out(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rates, limit, clock = Rates(), RateLimitItemPerMinute(3), time.time
    for _ in range(3):
        rates.count(limit, "10.0.0.1", "")
    with pytest.raises(TooManyError):
        rates.count(limit, "10.0.0.1", "")
    monkeypatch.setattr(time, "time", lambda: clock() + 3600 * hours)
    for _ in range(3):
        rates.require(limit, "10.0.0.1", "")
        rates.count(limit, "10.0.0.1", "")
    with pytest.raises(TooManyError) as refusal:  # what is counted from then on holds
        rates.count(limit, "10.0.0.1", "")
    assert 50 < int((refusal.value.headers or {})["Retry-After"]) <= 61


def test_each_wrong_token_is_a_line_of_the_log_with_its_address_and_without_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = studio(tmp_path, TOKEN=TOKEN)
    with (
        caplog.at_level(logging.DEBUG, logger="app"),
        client_of(app, ("198.51.100.7", 1)) as by_header,
        client_of(app, ("198.51.100.8", 1)) as by_form,
    ):
        for number in range(30):
            by_header.get("/api/takes", headers=bearer(f"guessed-{number}"))
            by_form.post("/login", data={"token": f"guessed-{number}"})
        log_in(by_form)
        by_header.get("/api/takes")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for address in ("198.51.100.7", "198.51.100.8"):
        assert said.count(f"a wrong token from {address}") == 20
    refused = [line for line in said if line.startswith("'/api/takes' from 198.51.100.7 refused: ")]
    assert len(refused) == 10  # of any kind; later ones are told at the level debug
    assert len(said) == 50
    assert "guessed-" not in caplog.text
    assert TOKEN not in caplog.text


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    credentials = Credentials("t")
    for n in range(20):
        assert not credentials.accept_token(b"x", f"2001:db8::{n}")
    with pytest.raises(TooManyError):
        credentials.accept_token(b"t", "2001:db8::abcd")
    assert credentials.accept_token(b"t", "2001:db8:1::1")


# -- headers, pages and documents ----------------------------------------------------------------------------------


def test_every_answer_tells_the_browser_what_is_not_needed(client: TestClient) -> None:
    for path in ("/healthz", "/login", "/nothing", "/page/studio.js", f"/watch/{GHOST}", "/api/takes"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "object-src 'none'" in headers["content-security-policy"]
        assert (headers.get("x-frame-options") == "SAMEORIGIN") == (not path.startswith("/watch/")), path
    watched = client.get(f"/watch/{GHOST}").headers["content-security-policy"]
    assert "frame-ancestors 'self' https://pages.example" in watched


@pytest.mark.parametrize("path", ["/", "/avatar/", "/docs"])
def test_scripts_in_a_page_carry_a_nonce_that_is_new_each_time_and_none_is_from_elsewhere(
    client: TestClient, path: str
) -> None:
    nonces = set()
    for _ in range(2):
        answer = client.get(path, headers=bearer())
        assert answer.status_code == 200
        (nonce,) = re.findall(r"script-src [^;]*'nonce-([^']+)'", answer.headers["content-security-policy"])
        assert "script-src 'self' 'nonce-" in answer.headers["content-security-policy"]
        tags = re.findall(r"<script[^>]*>", answer.text)
        assert tags
        assert all(f'nonce="{nonce}"' in tag for tag in tags)
        assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"'](?:https?:)?//", answer.text)
        nonces.add(nonce)
    assert len(nonces) == 2


def test_the_api_documentation_loads_everything_from_here(client: TestClient) -> None:
    page = client.get("/docs", headers=bearer()).text
    files: list[str] = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(files) >= 3
    for file in files:
        assert client.get(file, headers=bearer()).status_code == 200, file


CLOSED = ("upload", "file=/etc/passwd", "run/start", "component_server", "stream/a/b/1/x.ts", "proxy=http://x")
CALLS = ("queue/join", "queue/data", "call/start", f"call/start/{'0' * 32}")


@pytest.mark.parametrize(
    "path", [f"{base}/gradio_api/{path}" for base in ("", "/avatar") for path in CLOSED + (CALLS if base else ())]
)
def test_gradio_takes_and_sends_no_files_and_runs_nothing_of_the_avatar_page(client: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert client.request(method, path, headers=bearer()).status_code == 404


@pytest.mark.parametrize("path", CALLS)
def test_the_calls_of_the_studios_endpoints_need_the_token(client: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert client.request(method, f"/gradio_api/{path}").status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout", "/config", "/gradio_api/info", "/nothing", f"/whep/{GHOST}"])
def test_no_path_takes_a_large_body(client: TestClient, path: str) -> None:
    def parts() -> Iterator[bytes]:  # without a length in the header
        for _ in range(40):
            yield bytes(1 << 12)

    headers = [*bearer(), (b"content-type", b"application/sdp")]
    answer = client.post(path, content=bytes(1 << 18), headers=headers)
    assert answer.status_code == 413
    assert "at most 131072 bytes" in answer.json()["error"]
    assert client.post(path, content=parts(), headers=headers).status_code in (303, 404, 405, 413)


# -- pages of other sites ------------------------------------------------------------------------------------------


def test_a_page_of_a_listed_origin_may_use_the_api_and_another_may_not(client: TestClient) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    ours = client.options("/api/sessions", headers={"origin": "https://pages.example", **asked})
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://pages.example"
    assert "access-control-allow-credentials" not in ours.headers
    other = client.options("/api/sessions", headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers
    for origin, status in (("https://pages.example", 422), ("https://PAGES.example:443", 422), ("null", 403)):
        answer = client.post("/api/sessions", headers=[*bearer(), (b"origin", origin.encode())], json={"x": 1})
        assert answer.status_code == status, origin
    exposed = client.get("/api/takes", headers=[*bearer(), (b"origin", b"https://pages.example")]).headers
    assert "location" in exposed["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("origin", "host", "site", "status"),
    [
        ("http://example.org", "example.org", None, 422),
        ("http://EXAMPLE.org:80", "example.org", None, 422),
        ("https://example.org", "example.org:443", None, 422),
        (
            "https://example.org:8443",
            "127.0.0.1:7860",
            "same-origin",
            422,
        ),  # nginx' own Host, and a browser that says so
        ("https://example.org:8443", "example.org", None, 403),
        ("https://example.org:8443", "example.org", "same-site", 403),
        ("https://example.org.evil.example", "example.org", "cross-site", 403),
        ("https://example.org@evil.example", "example.org", None, 403),
    ],
)
def test_a_request_of_the_servers_own_page_is_known_behind_a_proxy(
    client: TestClient, origin: str, host: str, site: str | None, status: int
) -> None:
    headers = [*bearer(), (b"origin", origin.encode()), (b"host", host.encode())]
    headers += [(b"sec-fetch-site", site.encode())] if site else []
    assert client.post("/api/sessions", headers=headers, json={"x": 1}).status_code == status


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["/etc/x.png", "../../../etc/passwd.png", "a.png/../x.png", "x.png\n", "x.pngs", ".png"]
)
def test_a_take_names_files_beside_itself_alone(name: str) -> None:
    text = f"reference: {json.dumps(name)}\ncues: [{{prompt: x}}]\n"
    with pytest.raises(TakeError, match="reference"):
        parse(text, "take.yaml")
    with pytest.raises(TakeError, match="sound"):
        parse(text.replace("reference", "sound").replace("png", "wav"), "take.yaml")


def test_no_file_outside_the_data_folder_is_sent_or_written_through_a_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret " * 100)
    with client_of(studio(tmp_path / "data", local=True), base="http://localhost") as client:
        session = client.post("/api/sessions", json={"prompt": "a red ball", "seed": 5}).json()
        while not client.get(f"/api/sessions/{session['id']}").json()["timeline"]["cues"]:
            pass  # the prompt lands with the first chunk
        client.delete(f"/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
        takes, take = tmp_path / "data" / "takes", session["take"]
        journal = (takes / f"{take}.jsonl").read_text()
        (takes / f"{take}.jsonl").write_text(
            journal.replace('"take":{', f'"take":{{"reference":"{take}.png","sound":"{take}.wav",', 1)
        )
        for file in (f"{take}.mp4", f"{take}-1.mp4", f"{take}.png", f"{take}.wav"):
            (takes / file).symlink_to(secret)
        assert client.get(f"/api/takes/{take}").status_code == 200
        for path in ("film", "recordings/1", "reference", "sound"):
            answer = client.get(f"/api/takes/{take}/{path}")
            assert answer.status_code == 404, path
            assert "secret" not in answer.text
        shutil.copy(takes / f"{take}.jsonl", tmp_path / "outside.jsonl")
        (takes / ("a" * 12 + ".jsonl")).symlink_to(tmp_path / "outside.jsonl")
        assert client.get(f"/api/takes/{'a' * 12}").status_code == 404
        assert [t["id"] for t in client.get("/api/takes").json()] == [take]
    assert secret.read_bytes() == b"secret " * 100


def test_a_take_that_names_a_link_is_neither_rendered_nor_continued_by_a_server(tmp_path: Path) -> None:
    with client_of(studio(tmp_path, local=True, GRACE="600"), base="http://localhost") as client:
        session = client.post("/api/sessions", json={"prompt": "a red ball", "seed": 5}).json()
        while not client.get(f"/api/sessions/{session['id']}").json()["timeline"]["cues"]:
            pass  # the prompt lands with the first chunk
        client.delete(f"/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
        takes, take = tmp_path / "takes", session["take"]
        Image.new("RGB", (32, 32)).save(tmp_path / "outside.png")
        (takes / "a.png").symlink_to(tmp_path / "outside.png")
        journal = (takes / f"{take}.jsonl").read_text()
        (takes / f"{take}.jsonl").write_text(journal.replace('"prompt":', '"start":"a.png","prompt":'))
        for asked in ("render", "continue"):
            refused = client.post(f"/api/takes/{take}/{asked}", json={})
            why = "a.png: is a symbolic link, or lies behind one, which is not followed here"
            assert (refused.status_code, refused.json()) == (409, {"error": why})
        assert client.get(f"/api/takes/{take}/render").status_code == 404


def test_the_folder_of_takes_is_for_the_server_alone(tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir(mode=0o755)
    studio(tmp_path)
    assert (tmp_path / "takes").stat().st_mode & 0o777 == 0o700


# -- proxies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", ["", "/studio"])
def test_a_public_address_holds_whether_the_proxy_cuts_its_path_off_or_not(tmp_path: Path, front: str) -> None:
    app = studio(tmp_path, public_url="https://example.org:8443/studio", TOKEN=TOKEN)
    with client_of(app, base="http://127.0.0.1:7860") as client:
        assert client.get(f"{front}/healthz").json() == {"status": "ok"}
        assert client.get(f"{front}/page/studio.js").status_code == 200
        assert client.get(f"{front}/", headers=BROWSER).headers["location"] == "login"
        answer = client.post(f"{front}/login", data={"token": TOKEN}, headers={"origin": "https://example.org:8443"})
        assert answer.status_code == 303
        assert "Path=/studio/" in answer.headers["set-cookie"]
        assert "Secure" in answer.headers["set-cookie"]
        for origin, status in (("https://EXAMPLE.org:8443", 401), ("https://example.org", 403), ("null", 403)):
            wrong = client.post(f"{front}/login", data={"token": "x"}, headers={"origin": origin})
            assert wrong.status_code == status, origin
        schema = client.get(f"{front}/openapi.json", headers=bearer()).json()
        assert schema["servers"] == [{"url": "/studio"}]


@pytest.mark.parametrize(("proxies", "refused"), [("", [429]), ("192.0.2.0/24", [401])])
def test_only_a_listed_proxy_is_believed_about_the_address_of_a_client(
    tmp_path: Path, proxies: str, refused: list[int]
) -> None:
    with client_of(studio(tmp_path, TOKEN=TOKEN, PROXIES=proxies), ("192.0.2.1", 1)) as proxy:
        for n in range(20):
            proxy.post("/login", data={"token": "x"}, headers={"x-forwarded-for": f"203.0.113.{n}"})
        last = proxy.post("/login", data={"token": "x"}, headers={"x-forwarded-for": "198.51.100.1"})
        assert [last.status_code] == refused
        # what the client itself has put in front of the proxy's own entry is not believed
        for n in range(20):
            proxy.post("/login", data={"token": "x"}, headers={"x-forwarded-for": f"10.0.0.{n}, 198.51.100.7"})
        last = proxy.post("/login", data={"token": "x"}, headers={"x-forwarded-for": "10.9.9.9, 198.51.100.7"})
        assert last.status_code == 429


# -- sessions of programs ------------------------------------------------------------------------------------------


def test_a_sessions_key_needs_no_token_has_a_limit_of_its_own_and_can_always_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "COMMANDS", RateLimitItemPerMinute(30))
    monkeypatch.setattr(security, "CHANGES", RateLimitItemPerMinute(10))
    with client_of(studio(tmp_path, TOKEN=TOKEN)) as client:
        session = client.post("/api/sessions", json={"prompt": "a red ball"}, headers=bearer()).json()
        path, key = f"/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
        answers = [
            client.post(f"{path}/control", json={"id": n, "type": "seed", "seed": n}, headers=key) for n in range(35)
        ]
        assert [a.status_code for a in answers] == [202] * 30 + [429] * 5
        assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in answers[30:])
        assert client.post(f"{path}/interrupt", headers=key).status_code == 409  # asked for: it is no avatar
        assert client.post(f"{path}/control", json={}, headers={"x-longtake-key": "wrong"}).status_code == 401
        others = [client.post("/api/sessions", json={}, headers=bearer()).status_code for _ in range(20)]
        assert others == [400] * 9 + [429] * 11
        assert client.delete(path, headers=key).status_code == 204


def test_every_429_and_503_says_when_to_try_again(tmp_path: Path) -> None:
    app = studio(tmp_path, local=True)
    client = TestClient(app, "http://localhost")  # not started: not ready
    assert int(client.get("/readyz").headers["retry-after"]) >= 1
    with client_of(app, base="http://localhost") as running:
        answers = [running.post("/api/sessions", json={"prompt": "a red ball"}) for _ in range(4)]
        busy = [a for a in answers if a.status_code == 503]
        assert busy
        assert all(1 <= int(a.headers["retry-after"]) < 10 for a in busy)  # a place in line is kept for 10 seconds


def test_one_address_or_login_has_a_few_places_in_line_and_others_get_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "CAPACITY", 0.0)
    app = studio(tmp_path, TOKEN=TOKEN, GRACE="600")

    def from_address(address: str) -> TestClient:
        return TestClient(app, "http://example.org", client=(address, 5000), follow_redirects=False)

    def asked(client: TestClient, **more: str) -> httpx.Response:
        return client.post("/api/sessions", json={"prompt": "a red ball", **more})

    with client_of(app) as browser:
        log_in(browser)
        assert asked(browser).status_code == 201
        tickets = [asked(browser).json()["error"]["ticket"] for _ in range(MOST_PLACES)]
        full = asked(browser)
        assert full.status_code == 429
        assert full.json()["error"].startswith(f"{MOST_PLACES} of your requests wait in line")
        assert int(full.headers["retry-after"]) > 0
        assert asked(browser, ticket=tickets[-1]).json()["error"]["place"] == MOST_PLACES
        elsewhere = from_address("203.0.113.200")
        elsewhere.cookies = browser.cookies
        assert asked(elsewhere).status_code == 429
        log_in(elsewhere)  # with a login of its own
        assert asked(elsewhere).json()["error"]["place"] == MOST_PLACES + 1
        beside = from_address("203.0.113.9")  # the first one's address
        log_in(beside)
        assert asked(beside).status_code == 429
