"""Keep a connection alive, and small, whatever its peer sends.

A peer encrypts with keys of its own, so whatever it sends passes the checks of DTLS and SRTP. aiortc 1.16 expects some
errors of what it reads then, and not others, such as a REMB that names more sources than it holds (struct.error): those
end the transport, with a traceback in the log. Like any datagram that is wrong, such a packet is dropped here. aiortc
also keeps statistics of every source of media, of which there are 2^32, and reports on all of them.
"""

from __future__ import annotations

import logging

from aiortc import RTCDtlsTransport

log = logging.getLogger(__name__)

MOST_SOURCES = 16  # of media (SSRC, RFC 3550) on one transport; a browser's camera and microphone have three


def tolerate_damage(transport: RTCDtlsTransport) -> None:
    """Drop packets that make a connected transport fail or come from too many sources; a second call does nothing."""
    if "_recv_next" in vars(transport):
        return
    receive, handle = transport._recv_next, transport._handle_rtp_data
    sources: set[bytes] = set()
    told = False

    async def tolerant() -> None:
        nonlocal told
        try:
            await receive()
        except Exception as e:
            if isinstance(e, ConnectionError) or transport.state != "connected":  # its end, or its handshake
                raise
            (log.debug if told else log.info)("a peer sent a packet that cannot be read, which is dropped: %r", e)
            told = True

    async def bounded(data: bytes, arrival_time_ms: int) -> None:
        if len(sources) < MOST_SOURCES:
            sources.add(data[8:12])
        if data[8:12] in sources:
            await handle(data, arrival_time_ms=arrival_time_ms)

    transport._recv_next = tolerant  # type: ignore[method-assign]
    transport._handle_rtp_data = bounded  # type: ignore[method-assign]
