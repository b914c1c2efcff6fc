"""Read SDP offers as players write them, and write them as aiortc takes them.

aiortc refuses a whole offer because of one section, matches H.264 by the letter, and fails on attributes that it does
not expect. So an offer is read here, every section is found answerable or not, and aiortc gets a new offer that holds
just what it needs of the sections that are answered (RFC 3264, RFC 8829, RFC 9143).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import UserError
from streaming.transport.candidates import Candidates
from streaming.transport.codecs import Codec, chosen, known

SDP_LIMIT = 64_000  # characters
MOST_SECTIONS = 16
DIRECTIONS = ("inactive", "sendonly", "recvonly", "sendrecv")
_MEDIA_LINE = re.compile(r"m=([a-z]+) (\d{1,5})(?:/\d+)? (\S+) (\S.*)")
_SECURE = re.compile(r"((UDP|TCP)/TLS/)?RTP/SAVPF?")
_CHANNEL = re.compile(r"((UDP|TCP)/)?DTLS/SCTP")
_DIGESTS = ("sha-256", "sha-384", "sha-512")  # of certificates, as aiortc can check them
_TOKEN = re.compile(r"[\w!#$%&'*+.^`{|}~-]{1,64}", re.ASCII)


class OfferError(UserError):
    """Report an offer that is no valid SDP."""


class NotAnswerableError(OfferError):
    """Report a valid offer that has nothing in common with what the server sends or receives."""


@dataclass
class Section:
    """Hold one media section of an offer."""

    kind: str  # video, audio, application or another
    port: int
    protocol: str
    formats: list[str]
    lines: list[str]  # those after the m= line
    shared: list[str]  # those of the whole session, which hold for a section without its own
    name: str = ""  # the mid by which aiortc knows the section; one is made up where the offer has none

    def values(self, attribute: str) -> list[str]:
        """Return what follows `a=attribute:` in the section's own lines; an empty text for a flag."""
        return _values(self.lines, attribute)

    def value(self, attribute: str) -> str:
        """Return the section's value of an attribute, or else the session's, or else an empty text."""
        return next(iter(self.values(attribute) or _values(self.shared, attribute)), "")

    @property
    def mid(self) -> str:
        """Return the name that the offer gives to the section, or an empty text."""
        return self.value("mid") if self.values("mid") else ""

    @property
    def direction(self) -> str:
        """Return what the player wants to do; SDP's default is to send and to receive."""
        return next((line[2:] for line in [*self.lines, *self.shared] if line[2:] in DIRECTIONS), "sendrecv")

    @property
    def receives(self) -> bool:
        """Return whether the player wants to receive."""
        return self.direction in ("recvonly", "sendrecv")

    @property
    def setup(self) -> str:
        """Return the player's role in DTLS; one that does not say connects by itself (RFC 4145)."""
        return self.value("setup").lower() or "active"

    def fault(self) -> str | None:
        """Return why no section like this can be answered, whatever its codecs are, or None."""
        secure = _CHANNEL if self.kind == "application" else _SECURE
        if self.kind not in ("video", "audio", "application"):
            return f"a section of kind {self.kind[:20]} is not supported"
        if not secure.fullmatch(self.protocol):
            return f"{self.protocol[:40]} is not supported; offer UDP/TLS/RTP/SAVPF"
        if self.port == 0 and "bundle-only" not in (line[2:] for line in self.lines):
            return "its port is 0"
        if not self.value("ice-ufrag") or not self.value("ice-pwd"):
            return "it has no ice-ufrag or ice-pwd"
        if self.setup not in ("actpass", "active", "passive"):
            return f"setup:{self.setup[:20]} is not supported"
        if not any(f.lower().startswith(_DIGESTS) for f in self._fingerprints()):
            return "it has no fingerprint of a certificate by sha-256"
        if self.kind != "application" and not self.values("rtcp-mux"):
            return "it has no rtcp-mux"
        return None

    def _fingerprints(self) -> list[str]:
        found = self.values("fingerprint") or _values(self.shared, "fingerprint")
        return [f for f in found if re.fullmatch(r"[\w-]+ [0-9A-Fa-f:]+", f)]

    def written(self, direction: str, codec: Codec | None, candidates: Candidates) -> Iterator[str]:
        """Give the lines of this section as aiortc takes them, with one codec (None: a data channel)."""
        formats = " ".join(codec.payloads) if codec is not None else "webrtc-datachannel"
        if self.protocol == "DTLS/SCTP":
            formats = self.formats[0]
        port = self.port or 9
        protocol = "UDP/TLS/RTP/SAVPF" if codec is not None else self.protocol.replace("TCP", "UDP")
        yield f"m={self.kind} {port} {protocol} {formats}"
        yield f"a=mid:{self.name}"
        yield f"a=ice-ufrag:{self.value('ice-ufrag')}"
        yield f"a=ice-pwd:{self.value('ice-pwd')}"
        # The server waits to be connected to wherever it may: aiortc connects with ciphers for ECDSA certificates only,
        # which fails against the RSA certificate of GStreamer 1.22. aiortc waits if the peer is said to be active.
        yield f"a=setup:{'passive' if self.setup == 'passive' else 'active'}"
        yield from (f"a=fingerprint:{f}" for f in self._fingerprints())
        yield from candidates.lines(self.values("candidate"), complete=bool(self.values("end-of-candidates")))
        if codec is None:
            yield f"a=sctp-port:{self._number('sctp-port', 5000)}"
            yield f"a=max-message-size:{self._number('max-message-size', 65536)}"
            if self.protocol == "DTLS/SCTP":
                yield f"a=sctpmap:{formats} webrtc-datachannel 256"
            return
        yield f"a={direction}"
        yield "a=rtcp-mux"
        yield from codec.lines(self.values("rtcp-fb"))
        for extension in self.values("extmap"):
            if found := re.match(r"(\d+)(?:/\w+)? (\S+)", extension):
                yield f"a=extmap:{found[1]} {found[2]}"
        if direction != "recvonly":  # a packet's number of its source tells a retransmission from the original
            yield from (f"a=ssrc:{s}" for s in self.values("ssrc") if re.fullmatch(r"\d{1,10} cname:\S+", s))

    def _number(self, attribute: str, default: int) -> int:
        value = self.value(attribute)
        return int(value) if re.fullmatch(r"\d{1,9}", value) else default


@dataclass(frozen=True)
class Use:
    """Say what the server does with a section: its own direction, and the codec (None: a data channel)."""

    section: Section
    direction: str
    codec: Codec | None


class Offer:
    """Hold an offer, section by section."""

    def __init__(self, sdp: str, near: str | None = None) -> None:
        """Read an offer of at most SDP_LIMIT characters; OfferError if it is no SDP.

        `near` is the address that the offer came from, see `Candidates`.
        """
        if len(sdp) > SDP_LIMIT or not sdp.startswith("v=0"):
            raise OfferError("this is not an SDP offer")
        lines = [line.rstrip() for line in sdp.splitlines()]
        starts = [i for i, line in enumerate(lines) if line.startswith("m=")]
        if not starts:
            raise OfferError("this SDP offer has no media section")
        if len(starts) > MOST_SECTIONS:
            raise OfferError(f"an SDP offer has at most {MOST_SECTIONS} media sections")
        self._shared = lines[: starts[0]]
        self.sections = [self._section(lines[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)]
        names = [s.mid for s in self.sections if s.mid]
        if len(set(names)) != len(names) or not all(_TOKEN.fullmatch(name) for name in names):
            raise OfferError("the names (mid) of the media sections are not valid")
        for number, section in enumerate(self.sections):
            section.name = section.mid or f"longtake-{number}"
        groups = [g.split()[1:] for g in _values(self._shared, "group") if g.split()[:1] == ["BUNDLE"]]
        self.bundle = [name for name in (groups[0] if groups else []) if name in names]
        self.candidates = Candidates(near)

    def _section(self, lines: list[str]) -> Section:
        found = _MEDIA_LINE.fullmatch(lines[0])
        if found is None:
            raise OfferError(f"the SDP line {lines[0][:60]!r} is not valid")
        return Section(found[1], int(found[2]), found[3], found[4].split(), lines[1:], self._shared)

    def carrier(self) -> Section | None:
        """Return the section whose transport carries the others of the bundle (RFC 9143); None without a bundle."""
        return next((s for s in self.sections if self.bundle and s.mid == self.bundle[0]), None)

    def section(self, name: str) -> Section | None:
        """Return the section with this mid."""
        return next((s for s in self.sections if s.mid == name), None)

    def with_carrier(self, uses: dict[int, Use]) -> dict[int, Use]:
        """Return the uses by number of their section, with the carrier of the bundle among them if it can be kept.

        A rejected carrier takes its transport away from the sections in its bundle, so it stays without media.
        """
        carrier = self.carrier()
        for number, section in enumerate(self.sections):
            if section is carrier and number not in uses and section.fault() is None and section.kind != "application":
                codec = chosen(section.kind, known(section.formats, section.lines), ("opus", "vp8", "h264", "pcmu"))
                if codec is not None:
                    uses[number] = Use(section, "inactive", codec)
        return dict(sorted(uses.items()))

    def for_aiortc(self, uses: dict[int, Use]) -> str:
        """Return the offer that aiortc answers: the used sections, with what it knows of their attributes."""
        lines = ["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=-", "t=0 0"]
        lines += ["a=ice-lite"] if "a=ice-lite" in self._shared else []
        bundled = self.bundled(uses)
        lines += [f"a=group:BUNDLE {' '.join(bundled)}"] if bundled else []
        carrier = self.carrier()
        lost = carrier is not None and carrier not in [use.section for use in uses.values()]
        for use in uses.values():
            section = use.section
            if lost and carrier is not None and bundled and section.mid == bundled[0]:
                section.lines += [f"a=candidate:{c}" for c in carrier.values("candidate")]
            wanted = {"sendonly": "recvonly", "recvonly": "sendonly"}.get(use.direction, use.direction)
            lines += section.written(wanted, use.codec, self.candidates)
        return "\r\n".join([*lines, ""])

    def answer(self, sdp: str, uses: dict[int, Use]) -> str:
        """Return the answer to the player: that of aiortc to its offer, and a rejection of every other section."""
        head, *made = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
        bundled = self.bundled(uses)
        group = f"a=group:BUNDLE {' '.join(bundled)}\r\n" if bundled else ""
        head = re.sub(r"a=group:BUNDLE[^\r\n]*\r\n", lambda _: group, head)
        answered = dict(zip(uses, made, strict=True))
        transport = re.findall(r"^a=(?:ice-ufrag|ice-pwd|fingerprint|setup):[^\r\n]*\r\n", made[0], re.MULTILINE)
        parts = [
            _as_asked(answered[number], uses[number]) if number in uses else _rejected(section, "".join(transport))
            for number, section in enumerate(self.sections)
        ]
        return head + "".join(parts)

    def bundled(self, uses: dict[int, Use]) -> list[str]:
        """Return the names of the used sections that share a transport; the first one's."""
        names = {use.section.mid for use in uses.values()}
        return [name for name in self.bundle if name in names]


def _as_asked(section: str, use: Use) -> str:
    """Return a section of aiortc's answer with the protocol, the format and the name that the offer has."""
    section = re.sub(r"^(m=\w+ \d+) \S+", lambda m: f"{m[1]} {use.section.protocol}", section)
    if use.codec is not None:
        section = use.codec.as_asked(section)
    if not use.section.mid:
        section = section.replace(f"a=mid:{use.section.name}\r\n", "")
    return section


def _rejected(section: Section, transport: str) -> str:
    """Return the answer that rejects a section (RFC 3264, section 6).

    It carries the lines about the transport of another section, without which GStreamer 1.22 takes no answer at all.
    """
    name = f"a=mid:{section.mid}\r\n" if section.mid else ""
    line = f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}"
    return f"{line}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n{name}{transport}"


def _values(lines: list[str], attribute: str) -> list[str]:
    start = f"a={attribute}:"
    return [line[len(start) :].strip() for line in lines if line.startswith(start)] + [
        "" for line in lines if line == f"a={attribute}"
    ]
