"""Obey Open Sound Control (OSC 1.0) over UDP: what a lighting desk, Ableton Live or a tablet sends steers a session.

The session that was started last is steered. OSC has no keys: everybody who reaches the port steers it, so it is closed
unless `longtake serve --osc` opens it, and on this machine's own address unless another one is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import math
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping

from pythonosc.osc_message import OscMessage
from pythonosc.osc_packet import OscPacket, ParseError

from app.services import Services
from models.errors import UserError
from streaming.live.session import Session
from streaming.transport.commands import parse

log = logging.getLogger(__name__)

PREFIX = "/longtake/"
FADER_SECONDS = 0.1  # a fader sends hundreds of values a second; the newest of such a time is obeyed
MOST_BYTES = 4096  # of a datagram
BUNDLE_HEAD = 16  # bytes: "#bundle" and a time tag
MOST_DEPTH = 4  # of bundles in bundles
Value = str | int | float | bool


class OscError(UserError):
    """Report a message that says nothing that can be obeyed."""


@contextlib.asynccontextmanager
async def obeying(services: Services, opened: socket.socket | None) -> AsyncIterator[None]:
    """Obey what arrives at a socket of `listening.bound_datagrams` while this context lasts; close it at its end."""
    if opened is None:
        yield
        return

    def newest() -> Session | None:
        running = [hosted for hosted in services.sessions.hosted.values() if not hosted.session.over]
        if not running:
            return None
        services.sessions.keep(running[-1])  # it is being commanded
        return running[-1].session

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(newest), sock=opened)
    try:
        yield
    finally:
        transport.close()


class _Receiver(asyncio.DatagramProtocol):
    """Turn datagrams into commands of the session that `newest` returns."""

    def __init__(self, newest: Callable[[], Session | None]) -> None:
        self._newest = newest
        self._numbers = itertools.count(secrets.randbelow(2**32) * 2**20)  # apart from those of other senders
        self._faders: dict[str, dict[str, Value]] = {}  # address → the newest command that has not been obeyed yet

    def datagram_received(self, data: bytes, _: object) -> None:
        if len(data) > MOST_BYTES or not _whole(data):
            log.debug("a datagram is no OSC")
            return
        try:
            packet = OscPacket(data)
        except (ParseError, ValueError, IndexError, RecursionError) as e:
            log.debug("a datagram is no OSC: %s", e)
            return
        for timed in packet.messages:  # time tags of bundles are ignored: a take turns at its chunks
            self._take(timed.message)

    def _take(self, message: OscMessage) -> None:
        address, values = message.address, message.params
        if not address.startswith(PREFIX):
            return
        try:
            command = command_of(address.removeprefix(PREFIX), values)
        except OscError as e:
            log.warning("OSC %r: %s", address[:80], e)
            return
        if command is None:  # the button was let go
            return
        if command["type"] not in ("source", "lora"):
            self._obey(command)
            return
        if address not in self._faders:
            asyncio.get_running_loop().call_later(FADER_SECONDS, self._obey_fader, address)
        self._faders[address] = command

    def _obey_fader(self, address: str) -> None:
        self._obey(self._faders.pop(address))

    def _obey(self, command: Mapping[str, Value]) -> None:
        session = self._newest()
        if session is None:
            log.warning("OSC: no session runs that could be steered")
            return
        try:
            session.obey(parse(json.dumps({**command, "id": next(self._numbers)})))
        except UserError as e:
            log.warning("OSC: %s", e)
            session.warn(f"OSC: {e}")


def _whole(data: bytes, depth: int = 0) -> bool:
    """Return whether a datagram holds messages and bundles of whole elements, with which `OscPacket` logs nothing."""
    if data[:1] == b"/":
        return True
    if data[:8] != b"#bundle\0" or len(data) < BUNDLE_HEAD or depth > MOST_DEPTH:
        return False
    at = BUNDLE_HEAD
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        element = data[at + 4 : at + 4 + size]
        if len(element) != size or not _whole(element, depth + 1):
            return False
        at += 4 + size
    return True


def command_of(name: str, values: list[Value]) -> dict[str, Value] | None:
    """Return the command of an OSC message without its number; None for a button that is let go.

    `name` is the address after the prefix. Raises OscError for what is no address or has no fitting values.
    """
    first = values[0] if values else None
    if name in ("prompt", "cut") and isinstance(first, str):
        blend = next((v for v in values[1:2] if isinstance(v, int)), 1)
        return {"type": "prompt", "text": first, "cut": True} if name == "cut" else _blended(first, blend)
    if name in ("pause", "resume", "undo", "record", "stop_recording", "interrupt"):
        return None if first in (0, False) else {"type": name}
    if name in ("seed", "slot") and isinstance(first, int | float) and math.isfinite(first):
        return {"type": name, name: int(first)}
    head, _, rest = name.partition("/")
    if head == "slot" and rest.isascii() and rest.isdigit():  # one button for each slot
        return None if first in (0, False) else {"type": "slot", "slot": int(rest)}
    if head in ("strength", "lora") and bool(rest) == (head == "lora") and isinstance(first, int | float):
        scaled: dict[str, Value] = {"type": "lora", "name": rest, "scale": float(first)}
        return scaled if rest else {"type": "source", "strength": float(first)}
    raise OscError("is unknown, or has other values than docs/vj.md lists")


def _blended(text: str, blend: int) -> dict[str, Value]:
    return {"type": "prompt", "text": text, "blend": blend}
