"""Bind a server's port and check its certificate before any long work."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.commands.inputs import require_input
from models.errors import UserError


class ListenError(UserError):
    """Report an address, port or certificate that prevents a server from starting."""


def bound(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for every address of `host`; raise ListenError if one cannot be opened.

    Connections wait in the socket's queue until a server accepts them. The caller closes the sockets.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as e:
        raise ListenError(f"--host {host[:60]}: is no address of this machine ({_reason(e)})") from e
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for family, _, _, _, address in dict.fromkeys(found):
            one = undo.enter_context(_unbound(family))
            try:
                one.bind(address)
                one.listen(2048)
            except OSError as e:
                if e.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                    continue  # localhost has an IPv6 address by name on machines without IPv6
                raise _not_bound(host, port, e) from e
            one.settimeout(0)
            sockets.append(one)
        if not sockets:
            raise ListenError(f"--host {host}: is no address of this machine")
        undo.pop_all()
    return sockets


def bound_datagrams(address: str) -> socket.socket:
    """Return a UDP socket at `PORT` of this machine's own address, or at `HOST:PORT`; raise ListenError if it fails."""
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[1-9]\d{0,4}", port) or int(port) > 65535:
        raise ListenError(f"--osc {address[:60]}: is no port such as 9000, and no address such as 0.0.0.0:9000")
    try:
        found = socket.getaddrinfo(host.strip("[]") or "127.0.0.1", int(port), type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as e:
        raise ListenError(f"--osc {address[:60]}: is no address of this machine ({_reason(e)})") from e
    family, _, _, _, where = found[0]
    with contextlib.ExitStack() as undo:
        one = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        try:
            one.bind(where)
        except OSError as e:
            raise ListenError(f"--osc {address[:60]}: cannot be opened ({_reason(e)})") from e
        one.settimeout(0)
        undo.pop_all()
    return one


def url(host: str, port: int, *, secure: bool) -> str:
    """Return the URL of a server, with an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    name = f"[{host.replace('%', '%25')}]" if ":" in host else host  # RFC 6874: the zone of a local address
    return f"{'https' if secure else 'http'}://{name}:{port}"


def require_certificate(certificate: Path | None, key: Path | None) -> None:
    """Raise ListenError unless neither file is given, or both exist, match each other and are valid today."""
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise ListenError("--tls-cert and --tls-key go together")
    for file in (certificate, key):
        require_input(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as e:
        raise ListenError(_about_pair(certificate, key, e)) from e
    except OSError as e:
        raise ListenError(f"{certificate}, {key}: cannot be read ({e.strerror or e})") from e
    _require_valid_today(certificate)


def _unbound(family: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform == "win32":  # on Windows SO_REUSEADDR would share a port that is in use
        one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return one


def _not_bound(host: str, port: int, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE or getattr(error, "winerror", None) == 10048:
        return ListenError(f"port {port} of {host} is taken by another program; choose another with --port")
    if error.errno == errno.EACCES:
        return ListenError(
            f"port {port} of {host}: not permitted; ports below 1024 need rights, choose a higher --port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"--host {host}: is no address of this machine")
    return ListenError(f"port {port} of {host} cannot be used ({_reason(error)})")


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class _KeyNeedsPasswordError(Exception):
    """Stop OpenSSL from asking for a password on the terminal."""


def _no_password() -> str:
    raise _KeyNeedsPasswordError


def _about_pair(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key}: is not the private key of {certificate}"
    for file, mark in ((certificate, b"CERTIFICATE-----"), (key, b"PRIVATE KEY-----")):
        if mark not in file.read_bytes():
            kind = "certificate" if file is certificate else "private key"
            return f"{file}: holds no {kind} in PEM format"
    return f"{certificate}, {key}: cannot be used ({error.reason or error})"


def _require_valid_today(certificate: Path) -> None:
    from cryptography import x509

    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as e:
        raise ListenError(f"{certificate}: is no X.509 certificate ({e})") from e
    now = datetime.now(UTC)
    if now > read.not_valid_after_utc:
        raise ListenError(f"{certificate}: expired on {read.not_valid_after_utc:%Y-%m-%d}")
    if now < read.not_valid_before_utc:
        raise ListenError(f"{certificate}: is not valid before {read.not_valid_before_utc:%Y-%m-%d}")
