"""Check the ICE candidates of a peer before aiortc gets them (RFC 8839)."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

MOST_CANDIDATES = 16  # of one connection: the server sends several STUN requests to the address of each


class Candidates:
    """Keep the candidates of one connection that can be used, at most MOST_CANDIDATES of them."""

    def __init__(self) -> None:
        """Begin without candidates."""
        self._addresses: set[tuple[str, str]] = set()
        self._ignored = False  # whether the peer has more candidates than are kept

    def lines(self, candidates: Sequence[str], *, complete: bool) -> Iterator[str]:
        """Give the lines of one section; `complete` says that the peer has ended its list.

        A list from which something was left out is not ended: with its end aiortc would give up although the peer may
        still reach the server, from an address that no candidate names.
        """
        yield from (f"a=candidate:{kept}" for kept in self.usable(candidates))
        if complete and not self._ignored:
            yield "a=end-of-candidates"

    def usable(self, candidates: Sequence[str]) -> list[str]:
        """Return those that can be used: `foundation component protocol priority address port typ type`.

        Left out are names such as those of mDNS, which take a second to resolve and are not needed, TCP, and the port
        of RTCP, which RTP shares. So are candidates beyond MOST_CANDIDATES.
        """
        kept = []
        for candidate in candidates:
            words = candidate.split()[:8]
            address = (words[4], words[5]) if _is_usable(words) else None
            if address is None or (address not in self._addresses and len(self._addresses) >= MOST_CANDIDATES):
                self._ignored = True
                log.info("a candidate is not used: %r", candidate[:100])
                continue
            self._addresses.add(address)
            kept.append(" ".join(words))
        return kept

    @property
    def ignored(self) -> bool:
        """Return whether a candidate was left out."""
        return self._ignored


def _is_usable(words: Sequence[str]) -> bool:
    if len(words) < 8 or words[1] != "1" or words[2].lower() != "udp" or words[6] != "typ":
        return False
    if not (words[3].isascii() and words[3].isdigit() and words[5].isascii() and words[5].isdigit()):
        return False
    try:
        address = ipaddress.ip_address(words[4])
    except ValueError:
        return False
    return 0 < int(words[5]) < 65536 and not (address.is_multicast or address.is_unspecified)
