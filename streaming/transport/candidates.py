"""Check the ICE candidates of a peer before aiortc gets them (RFC 8839)."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

MOST_CANDIDATES = 16  # of one connection: the server sends several STUN requests to the address of each
MOST_FOREIGN = 4  # hosts among them that the peer's request did not come from, such as relays

_CARRIERS = [ipaddress.IPv6Network(n) for n in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")]  # of IPv4, in the low bits

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Candidates:
    """Keep the candidates of one connection that can be used, at most MOST_CANDIDATES of them.

    The server asks every candidate for an answer, so a peer could have it send packets to hosts that only the server
    reaches, or to many others. Where the peer's own address is known, candidates in private networks are used only for
    a peer in one, and those of at most MOST_FOREIGN other hosts. A peer whose candidates are all left out still
    connects if it reaches the server: the address that its packets come from becomes a candidate (RFC 8445, 7.3.1.3).
    """

    def __init__(self, near: str | None = None) -> None:
        """Begin without candidates; `near` is the address that the peer's request came from, None if not known."""
        self._near = _parsed(near or "")
        self._addresses: set[tuple[str, str]] = set()
        self._foreign: set[IPAddress] = set()
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
            address = (words[4], words[5]) if _is_usable(words) and self._permits(words[4]) else None
            if address is None or (address not in self._addresses and len(self._addresses) >= MOST_CANDIDATES):
                self._ignored = True
                log.info("a candidate is not used: %r", candidate[:100])
                continue
            self._addresses.add(address)
            kept.append(" ".join(words))
        return kept

    def _permits(self, text: str) -> bool:
        host, near = _parsed(text), self._near
        if near is None or host is None or host == near:
            return True
        if _is_hidden(host, near):
            return False
        if host not in self._foreign and len(self._foreign) >= MOST_FOREIGN:
            return False
        self._foreign.add(host)
        return True

    @property
    def ignored(self) -> bool:
        """Return whether a candidate was left out."""
        return self._ignored


def is_out_of_reach(address: str, near: str) -> bool:
    """Return whether an address is in a private network that a peer at the address `near` cannot reach itself.

    False where either is no address that is known.
    """
    host, peer = _parsed(address), _parsed(near)
    return host is not None and peer is not None and host != peer and _is_hidden(host, peer)


def _is_hidden(host: IPAddress, near: IPAddress) -> bool:
    hidden = (not host.is_global and near.is_global) or (host.is_loopback and not near.is_loopback)
    return hidden or (host.is_link_local and not near.is_link_local)


def _is_usable(words: Sequence[str]) -> bool:
    if len(words) < 8 or words[1] != "1" or words[2].lower() != "udp" or words[6] != "typ":
        return False
    if not (words[3].isascii() and words[3].isdigit() and words[5].isascii() and words[5].isdigit()):
        return False
    address = _parsed(words[4])
    if address is None or "%" in words[4] or address.is_multicast or address.is_unspecified:
        return False
    return 0 < int(words[5]) < 65536


def _parsed(text: str) -> IPAddress | None:
    """Return an address without its zone, one that leads to an address of IPv4 as that; None for other text.

    IPv4 is reached by mapped and compatible addresses (RFC 4291), by 6to4 (RFC 3056) and NAT64 (RFC 6052, RFC 8215), so
    that each of them could lead into a private network. A zone (RFC 4007) means something to its own machine alone.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
