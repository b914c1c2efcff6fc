"""Choose the codec of a media section among those that a peer offers (RFC 6184, RFC 7587, RFC 7741)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# what aiortc takes and answers; every decoder of H.264 decodes the Constrained Baseline that the server sends
_CANONICAL = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"


@dataclass(frozen=True)
class Codec:
    """Describe one payload type of an offer."""

    payload: str
    name: str  # in small letters: h264, vp8, opus
    rtpmap: str  # as offered, such as H264/90000
    fmtp: str | None  # as offered
    retransmission: str | None = None  # payload type of its retransmissions

    @property
    def rate(self) -> int:
        """Return the clock rate in Hz."""
        return int(self.rtpmap.split("/")[1])

    @property
    def payload_is_usable(self) -> bool:
        """Return whether aiortc can send the payload type: one of the dynamic range, or PCMU's own."""
        return 96 <= int(self.payload) <= 127 or (self.name == "pcmu" and self.payload == "0")

    @property
    def payloads(self) -> list[str]:
        """Return the payload types that are answered."""
        return [self.payload, *([self.retransmission] if self.retransmission else [])]

    @property
    def parameters(self) -> dict[str, str]:
        """Return the parameters of the format by their names in small letters."""
        pairs = (p.partition("=") for p in (self.fmtp or "").split(";"))
        return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}

    @property
    def rank(self) -> int:
        """Return how well H.264 of this kind suits the server's stream; 0 is best.

        The stream is Constrained Baseline in fragments (packetization-mode 1). A peer that offers another profile
        decodes it too, as all of them contain it, and a peer that names mode 0 or none reassembles fragments in
        practice; both come after the fitting ones.
        """
        fragments = self.parameters.get("packetization-mode", "0") == "1"
        profile = self.parameters.get("profile-level-id", "42e01f").lower()
        baseline = profile.startswith("42")  # profile_idc, in hexadecimal; constraint_set1 makes it a constrained one
        constrained = baseline and _is_hex(profile) and bool(int(profile[2:4], 16) & 0x40)
        return (not fragments) * 4 + (not constrained) * 2 + (not baseline)

    def lines(self, feedback: Sequence[str]) -> Iterator[str]:
        """Give the lines of this codec as aiortc takes them."""
        yield f"a=rtpmap:{self.payload} {self.rtpmap}"
        for entry in feedback:
            if re.fullmatch(rf"(\*|{self.payload}) \S+( \S+)?", entry):
                yield f"a=rtcp-fb:{entry}"
        if self.name == "h264":
            yield f"a=fmtp:{self.payload} {_CANONICAL}"
        if self.retransmission:
            yield f"a=rtpmap:{self.retransmission} rtx/90000"
            yield f"a=fmtp:{self.retransmission} apt={self.payload}"

    def as_asked(self, section: str) -> str:
        """Return a section of aiortc's answer with the parameters of H.264 that the peer offered.

        A strict peer takes only an answer with its own profile and mode. A peer that offered none gets none.
        """
        if self.name != "h264":
            return section
        line = f"a=fmtp:{self.payload} {self.fmtp}\r\n" if self.fmtp else ""
        return re.sub(rf"a=fmtp:{self.payload} [^\r\n]*\r\n", lambda _: line, section)


def known(formats: Sequence[str], lines: Sequence[str]) -> list[Codec]:
    """Return the codecs of a section that has these payload types and lines, in the order of its preference."""
    maps = {p: text for p, text in _entries(lines, "rtpmap") if re.fullmatch(r"[\w.-]+/\d{1,6}(/\d)?", text)}
    parameters = dict(_entries(lines, "fmtp"))
    again = {
        found[1]: payload
        for payload, text in maps.items()
        if text.lower().startswith("rtx/") and (found := re.search(r"\bapt=(\d+)", parameters.get(payload, "")))
    }
    return [
        Codec(p, maps[p].split("/")[0].lower(), maps[p], parameters.get(p), again.get(p))
        for p in formats
        if p in maps and not maps[p].lower().startswith("rtx/")
    ]


def chosen(kind: str, codecs: Sequence[Codec], names: Sequence[str]) -> Codec | None:
    """Return the codec with which a section of this kind is answered, of those with one of these names; None for none.

    Among several of H.264 the best ranked is taken, among others the first.
    """
    rates = {"opus": 48_000, "pcmu": 8_000} if kind == "audio" else {"h264": 90_000, "vp8": 90_000}
    fit = [c for c in codecs if c.name in names and c.rate == rates.get(c.name) and c.payload_is_usable]
    if not fit:
        return None
    return min((c for c in fit if c.name == fit[0].name), key=lambda c: c.rank if c.name == "h264" else 0)


def _entries(lines: Sequence[str], attribute: str) -> Iterator[tuple[str, str]]:
    for line in lines:
        if found := re.fullmatch(rf"a={attribute}:(\d{{1,3}}) +(\S.*)", line):
            yield found[1], found[2]


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{6}", text) is not None
