"""Build what is sent again on a line (RFC 4588), and count what may be.

A receiver may wait for every number, as aiortc's does for up to 512 packets. What is not worth sending again is
therefore replaced by a filler: a retransmission that contains an access unit delimiter of H.264, and takes the time of
the packet behind it, so that it reads as the beginning of the next picture.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

MOST_FILLERS = 2  # for one packet: more of them took most of a slow line, which then lost the next keyframe as well
NOTHING = b"\x09\xf0"  # an access unit delimiter: what is sent in place of a packet that nobody needs any more


@dataclass
class SentPacket:
    """Remember a packet that was sent."""

    timestamp: bytes  # as in the RTP header
    size: int  # bytes with all headers
    repaired: float = 0.0  # seconds of the clock at which it was last sent again
    filler: bytes | None = None  # timestamp of the packet behind it, once the packet is given up
    fillers: int = 0  # how often one was sent

    @property
    def settled(self) -> bool:
        """Return whether nothing more is sent for this packet."""
        return self.fillers >= MOST_FILLERS


class Retransmissions:
    """Number the retransmissions of one stream in the order in which they leave, fillers among them."""

    def __init__(self) -> None:
        """Begin without a retransmission, whose header fillers need."""
        self._header: bytes | None = None
        self._number = secrets.randbelow(1 << 15)  # of the newest

    @property
    def known(self) -> bool:
        """Return whether a retransmission was seen, without which no filler can be built."""
        return self._header is not None

    def renumbered(self, data: bytes) -> bytes:
        """Return a retransmission with the next number."""
        begin = 12 + 4 * (data[0] & 15)
        if data[0] & 16:
            begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
        self._header = data[:begin]
        self._number = (self._number + 1) & 0xFFFF
        return data[:2] + self._number.to_bytes(2, "big") + data[4:]

    def filler(self, number: int, timestamp: bytes) -> bytes:
        """Return a filler for the packet with this number (16 bits); a retransmission must be known."""
        header = self._header or b""
        kind = bytes([header[1] & 127])  # without the mark of a picture's end
        return self.renumbered(
            header[:1] + kind + header[2:4] + timestamp + header[8:] + number.to_bytes(2, "big") + NOTHING
        )


class Budget:
    """Count the bytes that may be sent again: those that the stream itself leaves of a rate."""

    def __init__(self, seconds: float, now: float) -> None:
        """Hold at most what the rate gives in so many seconds, and owe at most as much."""
        self.left, self._seconds, self._counted = 0.0, seconds, now

    def earn(self, bits: float, now: float) -> None:
        """Add what a rate of so many bits a second gives since the call before."""
        most = self._seconds * bits / 8
        self.left = max(-most, min(most, self.left + (now - self._counted) * bits / 8))
        self._counted = now

    def spend(self, size: int) -> None:
        """Take off the bytes of a packet that leaves."""
        self.left -= size
