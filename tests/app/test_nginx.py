"""Serve behind nginx, which ends TLS and gives the server a path of its own: pages, login, WebSocket and WHEP work."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from studio_server import free_port, serving

from app.credentials import COOKIE

TOKEN = "tök/en+1"
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location /studio/ {{  # the Host header is nginx' own: that of proxy_pass
            proxy_pass {server}/;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


def certify(folder: Path) -> None:
    """Write a key and a certificate of its own for localhost."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Start the server and nginx in front of it; give the public address and what trusts its certificate."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert nginx, "this test needs nginx: apt-get install nginx-light"
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    certify(folder)
    public = f"https://localhost:{port}/studio"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LONGTAKE_PROXIES", "127.0.0.1")
        with serving(folder, "--public-url", public, token=TOKEN) as (server, _):
            (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port, server=server))
            process = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
            trust = ssl.create_default_context(cafile=folder / "cert.pem")
            try:
                for _ in range(100):
                    try:
                        httpx.get(f"{public}/healthz", verify=trust)
                        break
                    except httpx.TransportError:
                        assert process.poll() is None, (folder / "error.log").read_text()
                        time.sleep(0.05)
                yield public, trust
            finally:
                process.terminate()
                process.wait(10)


@pytest.fixture
def browser(proxied: tuple[str, ssl.SSLContext]) -> Iterator[httpx.Client]:
    """Give a client that has logged in and sends the origin of the public address, as a browser does."""
    public, trust = proxied
    origin = public.removesuffix("/studio")
    with httpx.Client(base_url=public, verify=trust, headers={"origin": origin, "accept": "text/html"}) as client:
        yield client


def log_in(browser: httpx.Client) -> str:
    answer = browser.post("/login", data={"token": TOKEN})
    assert answer.status_code == 303
    assert str(answer.next_request.url).endswith("/studio/") if answer.next_request else False
    assert "Path=/studio/" in answer.headers["set-cookie"]
    assert "Secure" in answer.headers["set-cookie"]
    return browser.cookies[COOKIE]


def test_a_person_is_led_to_the_login_and_then_to_the_pages(browser: httpx.Client) -> None:
    for path in ("/", "/avatar/"):
        led = browser.get(path)
        assert led.next_request is not None
        assert led.next_request.url.path == "/studio/login"
    log_in(browser)
    for path, root in (("/", "/studio"), ("/avatar/", "/studio/avatar")):
        page = browser.get(path)
        assert page.status_code == 200
        assert f'"root":"https://localhost:{browser.base_url.port}{root}"' in page.text.replace('": "', '":"')
    assert browser.get("/page/studio.js").status_code == 200
    assert browser.get("/docs").status_code == 200
    assert browser.post("/logout").headers["location"] == "login"
    assert browser.get("/").status_code == 303


def test_a_session_plays_over_the_websocket_and_by_whep(
    browser: httpx.Client, proxied: tuple[str, ssl.SSLContext]
) -> None:
    public, trust = proxied
    cookie = log_in(browser)
    session = browser.post("/api/sessions", json={"prompt": "a red ball", "seed": 5}).json()
    path = f"/api/sessions/{session['id']}"

    async def play() -> None:
        url = f"{public.replace('https', 'wss')}{path}/stream?key={session['key']}"
        own = {"cookie": f"{COOKIE}={cookie}", "origin": public.removesuffix("/studio")}
        async with websockets.connect(url, ssl=trust, additional_headers=own) as socket, asyncio.timeout(30):
            await socket.send(json.dumps({"id": 1, "type": "seed", "seed": 7}))
            told: set[object] = set()
            while not {"accepted", "film"} <= told:
                message = await socket.recv()
                told.add("film" if isinstance(message, bytes) else json.loads(message)["type"])
        connection = RTCPeerConnection()
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        sdp = connection.localDescription.sdp
        answer = browser.post(f"/whep/{session['id']}", content=sdp, headers={"content-type": "application/sdp"})
        assert answer.status_code == 201
        location = urljoin(str(answer.request.url), answer.headers["location"])
        assert location.startswith(f"{public}/whep/{session['id']}/")
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        async with asyncio.timeout(20):
            await connection.getTransceivers()[0].receiver.track.recv()
        assert browser.delete(location).status_code == 200
        await connection.close()

    asyncio.run(play())
    assert browser.get(f"/watch/{session['id']}").status_code == 200
    assert browser.delete(path, headers={"x-longtake-key": session["key"]}).status_code == 204


def test_a_page_of_another_site_changes_nothing(browser: httpx.Client) -> None:
    log_in(browser)
    answer = browser.post("/api/sessions", json={"prompt": "x"}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
