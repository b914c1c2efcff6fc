"""ICE servers are given to peers with credentials that expire, and used by the server itself while they answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket

import pytest

from streaming.transport.ice_server import IceServer, IceUrl
from streaming.transport.ice_servers import LIFETIME, IceServers

NOW = 1_800_000_000


def servers(*entries: dict[str, object], secret: str | None = None) -> IceServers:
    return IceServers([IceServer.model_validate(e) for e in entries], secret, clock=lambda: NOW)


def test_a_turn_server_without_credentials_gets_those_that_coturn_computes_from_the_secret() -> None:
    static = {"urls": "turn:b.example", "username": "u", "credential": "c"}
    plain = {"urls": "stun:c.example"}
    given = servers({"urls": ["turn:a.example"]}, static, plain, secret="north").given()
    signed = hmac.new(b"north", f"{NOW + LIFETIME}:longtake".encode(), hashlib.sha1).digest()
    assert given[0].username == f"{NOW + LIFETIME}:longtake"
    assert given[0].credential == base64.b64encode(signed).decode()
    assert [s.model_dump(exclude_none=True) for s in given[1:]] == [static, plain]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("TURN:Host.example", ("turn", "host.example", 3478, "udp")),
        ("turn:192.0.2.1:80?transport=TCP", ("turn", "192.0.2.1", 80, "tcp")),
        ("turns:host.example", ("turns", "host.example", 5349, "tcp")),
        ("stun:[fd00::1]:5000", ("stun", "[fd00::1]", 5000, "udp")),
        ("stun:host.example?transport=udp", None),
        ("turn://host.example", None),
        ("turn:", None),
    ],
)
def test_addresses_are_read_as_browsers_read_them(text: str, parts: tuple[object, ...] | None) -> None:
    assert IceUrl.read(text) == parts


@pytest.mark.asyncio
async def test_the_server_itself_does_without_servers_that_have_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        dead = f"turn:127.0.0.1:{taken.getsockname()[1]}?transport=tcp"
        ice = servers({"urls": [dead, "turn:[fd00::1]"], "username": "u", "credential": "c"})
        assert ice.own().iceServers == []
        await ice.check()
        await ice.check()
    (line,) = caplog.messages
    assert line.startswith(f"the TURN server {dead} cannot be reached: ")
    assert line.endswith("; this server connects without it")
    assert ice.own().iceServers == []
