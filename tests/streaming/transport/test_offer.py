"""Offers as players write them are answered section by section, or refused with what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from clocks import turn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions import async_test, running

from streaming.transport.camera import CameraPeer
from streaming.transport.candidates import MOST_CANDIDATES, Candidates
from streaming.transport.connection import RestartError
from streaming.transport.offer import MOST_SECTIONS, NotAnswerableError, Offer, OfferError
from streaming.transport.peers import Peer

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
RTP = "UDP/TLS/RTP/SAVPF"
H264 = ("a=rtpmap:96 H264/90000", "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
OPUS = ("a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1")


def section(
    kind: str, formats: str, *lines: str, mid: str = "0", direction: str = "recvonly", setup: str = "actpass"
) -> list[str]:
    """Return the lines of a media section that is complete but for its codecs."""
    usual = [f"a=mid:{mid}", "a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901", FINGERPRINT, f"a=setup:{setup}"]
    return [f"m={kind} 9 {RTP} {formats}", "c=IN IP4 0.0.0.0", *usual, f"a={direction}", "a=rtcp-mux", *lines]


def sdp(*sections: Sequence[str], bundle: str = "") -> str:
    """Return an offer of these sections."""
    head = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", *([f"a=group:BUNDLE {bundle}"] if bundle else [])]
    return "\r\n".join([*head, *(line for s in sections for line in s), ""])


def sections_of(answer: str) -> list[str]:
    """Return the media sections of an answer."""
    return re.split(r"^(?=m=)", answer, flags=re.MULTILINE)[1:]


def ports(answer: str) -> list[bool]:
    """Return for every section whether it is answered: one with port 0 is rejected."""
    return [s.split()[1] != "0" for s in sections_of(answer)]


async def answered(offer: str, *, camera: bool = False) -> str:
    """Return the answer of a film's session without sound to a viewer or a camera."""
    async with running() as (session, _):
        await turn()  # the session's tasks begin
        peer = CameraPeer(session) if camera else Peer(session)
        try:
            return await peer.answer(offer)
        finally:
            await peer.close()


@pytest.mark.parametrize(
    ("formats", "lines", "chosen", "parameters"),
    [
        ("96", ["a=rtpmap:96 H264/90000"], "96", None),
        ("96", ["a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1"], "96", "packetization-mode=1"),
        (
            "100",
            ["a=rtpmap:100 h264/90000", "a=fmtp:100 packetization-mode=1; profile-level-id=640C1F"],
            "100",
            "packetization-mode=1; profile-level-id=640C1F",
        ),
        ("96", ["a=rtpmap:96 H264/90000", "a=fmtp:96 profile-level-id=42c00a"], "96", "profile-level-id=42c00a"),
        ("96", ["a=rtpmap:96 H264/90000", "a=fmtp:96 profile-level-id=nothex"], "96", "profile-level-id=nothex"),
        (  # Chromium offers several; mode 1 of the stream's own profile is the best
            "45 102 104 106 108 97",
            [
                "a=rtpmap:45 AV1/90000",
                "a=rtpmap:102 H264/90000",
                "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
                "a=rtpmap:104 H264/90000",
                "a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
                "a=rtpmap:106 H264/90000",
                "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
                "a=rtpmap:108 H264/90000",
                "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
                "a=rtpmap:97 rtx/90000",
                "a=fmtp:97 apt=108",
            ],
            "108 97",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
    ],
)
@async_test
async def test_h264_is_answered_with_the_parameters_that_were_offered(
    formats: str, lines: list[str], chosen: str, parameters: str | None
) -> None:
    (video,) = sections_of(await answered(sdp(section("video", formats, *lines))))
    assert re.match(rf"m=video [1-9]\d* {RTP} {chosen}\r\n", video)
    payload = chosen.split()[0]
    assert re.findall(rf"a=fmtp:{payload} ([^\r\n]*)", video) == ([parameters] if parameters else [])
    assert "a=sendonly" in video


@pytest.mark.parametrize(
    ("offered", "answer"), [("actpass", "passive"), ("active", "passive"), ("passive", "active"), ("", "passive")]
)
@async_test
async def test_the_server_waits_for_the_dtls_handshake_unless_the_player_does(offered: str, answer: str) -> None:
    lines = [line for line in section("video", "96", *H264, setup=offered) if line != "a=setup:"]
    assert f"a=setup:{answer}\r\n" in await answered(sdp(lines))


@async_test
async def test_a_section_that_cannot_be_answered_is_rejected_and_the_others_are_answered() -> None:
    offer = sdp(
        section("audio", "0", "a=rtpmap:0 PCMU/8000", mid="a"),
        section("video", "45", "a=rtpmap:45 AV1/90000", mid="b"),
        ["m=text 9 RTP/AVP 98", "a=mid:c"],
        section("video", "96", *H264, mid="d"),
        section("video", "96", *H264, mid="e"),
    )
    answer = await answered(offer)
    assert ports(answer) == [False, False, False, True, False]
    assert re.findall(r"a=mid:(\w)", answer) == list("abcde")
    assert "BUNDLE" not in answer  # as none was offered


@async_test
async def test_a_bundle_keeps_the_section_that_carries_it() -> None:
    sound = section("audio", "111", *OPUS, mid="a")
    other = section("audio", "111", *OPUS, mid="c")
    answer = await answered(sdp(sound, section("video", "96", *H264, mid="b"), other, bundle="a b c"))
    assert ports(answer) == [True, True, False]
    assert "a=group:BUNDLE a b\r\n" in answer
    assert "a=inactive" in sections_of(answer)[0]
    candidate = "a=candidate:1 1 udp 2130706431 192.0.2.9 5000 typ host"
    strange = section("audio", "98", "a=rtpmap:98 speex/16000", candidate, mid="a")  # which aiortc cannot answer
    offer = Offer(sdp(strange, section("video", "96", *H264, mid="b"), bundle="a b"))
    async with running() as (session, _):
        peer = Peer(session)
        answer = await peer.answer(sdp(strange, section("video", "96", *H264, mid="b"), bundle="a b"))
        assert ports(answer) == [False, True]
        assert "a=group:BUNDLE b\r\n" in answer
        (transceiver,) = peer.connection.getTransceivers()
        (found,) = transceiver.receiver.transport.transport.getRemoteCandidates()
        assert found.ip == "192.0.2.9"  # the candidates of the carrier are those of its bundle
        await peer.close()
    assert offer.carrier() is offer.sections[0]


@async_test
async def test_offers_without_names_directions_or_plain_attributes_are_answered() -> None:
    lines = [line for line in section("video", "96", *H264) if line not in ("a=mid:0", "a=recvonly")]
    odd = ["a=extmap:3/recvonly urn:x with words", "a=ssrc:nonsense", "a=fmtp:99 unknown", "a=rtcp:x", "a=rtcp-fb:96"]
    answer = await answered(sdp([*lines, *odd]))
    assert ports(answer) == [True]
    assert "a=mid" not in answer
    assert "a=sendonly" in answer  # SDP's default direction is sendrecv


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (
            sdp(section("video", "97 98", "a=rtpmap:97 VP9/90000", "a=rtpmap:98 AV1/90000")),
            "offers VP9, AV1.*H264 and",
        ),
        (sdp(section("audio", "111", *OPUS)), "video section that receives H264"),
        (sdp(section("video", "96", *H264, direction="sendonly")), "video section that receives H264"),
        (sdp(section("video", "96", *H264, direction="inactive")), "video section that receives H264"),
        (sdp(["m=application 9 UDP/DTLS/SCTP webrtc-datachannel"]), "video section that receives H264"),
        (sdp([*section("video", "96", *H264)]).replace(RTP, "RTP/AVP"), "RTP/AVP is not supported"),
        (sdp(section("video", "96", *H264)).replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (sdp(section("video", "96", *H264)).replace("sha-256", "sha-1"), "fingerprint"),
        (sdp(section("video", "96", *H264)).replace("a=ice-pwd", "a=x"), "ice-pwd"),
        (sdp(section("video", "96", *H264, setup="holdconn")), "setup:holdconn"),
        (sdp(section("video", "96", *H264)).replace("m=video 9", "m=video 0"), "port is 0"),
        (
            sdp(section("video", "35", "a=rtpmap:35 H264/90000")),
            "offers H264, and",
        ),  # a payload type that aiortc cannot use
    ],
)
@async_test
async def test_an_offer_with_nothing_to_answer_is_refused_with_what_is_missing(offer: str, reason: str) -> None:
    with pytest.raises(NotAnswerableError, match=reason):
        await answered(offer)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "hello",
        "v=0\r\n",
        sdp(["m=video x"]),
        sdp(section("video", "96", *H264), section("video", "96", *H264)),  # twice the same mid
        sdp(section("video", "96", *H264, mid="a b")),
        sdp(*(section("video", "96", *H264, mid=str(i)) for i in range(MOST_SECTIONS + 1))),
        sdp(section("video", "96", *H264)) + "a=x\r\n" * 30_000,
    ],
)
@async_test
async def test_text_that_is_no_offer_is_refused(offer: str) -> None:
    with pytest.raises(OfferError) as refused:
        await answered(offer)
    assert not isinstance(refused.value, NotAnswerableError)


def told_candidates(*lines: str) -> list[str]:
    """Return the lines about candidates that aiortc gets of an offer with these."""
    offer = Offer(sdp(section("video", "96", *H264, *lines)))
    written = list(offer.sections[0].written("recvonly", None, offer.candidates))
    return [line for line in written if "candidate" in line]


def candidate(address: str, port: int = 5000, protocol: str = "udp", component: int = 1) -> str:
    return f"a=candidate:1 {component} {protocol} 2130706431 {address} {port} typ host generation 0"


def test_the_end_of_candidates_stays_only_while_all_of_them_stay() -> None:
    end = "a=end-of-candidates"
    kept = candidate("192.0.2.1").removesuffix(" generation 0")
    assert told_candidates(candidate("192.0.2.1"), end) == [kept, end]
    assert told_candidates(candidate("192.0.2.1")) == [kept]
    for unusable in (
        candidate("4f0d.local"),
        candidate("192.0.2.2", protocol="TCP"),
        candidate("192.0.2.2", component=2),
        candidate("192.0.2.2", 0),
        candidate("224.0.0.1"),
        "a=candidate:nonsense",
    ):
        assert told_candidates(unusable, end) == []
        assert told_candidates(candidate("192.0.2.1"), unusable, end) == [kept]


def test_an_offer_makes_the_server_ask_only_a_few_addresses() -> None:
    told = told_candidates(*(candidate(f"192.0.2.{i}") for i in range(1, 200)), "a=end-of-candidates")
    assert len(told) == MOST_CANDIDATES


PRIVATE = ["10.1.2.3", "192.168.1.7", "172.16.0.1", "fd00::7", "::ffff:10.1.2.3"]
CARRIED = [
    "::10.1.2.3",
    "2002:a01:203::1",
    "64:ff9b::10.1.2.3",
    "64:ff9b:1::10.1.2.3",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
]
ZONED = ["fe80::1%eth0", "2600::1%\x00", "2600::1%é"]
OWN_HOST = ["127.0.0.1", "::1", "169.254.169.254", "fe80::1"]


@pytest.mark.parametrize(
    ("near", "hosts", "kept"),
    [
        ("8.8.8.8", [*PRIVATE, *OWN_HOST, *CARRIED, *ZONED, "100.64.0.1"], []),
        ("8.8.8.8", ["64:ff9b::9.9.9.9", "2600::1"], ["64:ff9b::9.9.9.9", "2600::1"]),
        ("fe80::9%eth0", ["fe80::9", *ZONED], ["fe80::9"]),
        (None, ZONED, []),
        ("8.8.8.8", ["8.8.8.8", *PRIVATE, "1.1.1.1"], ["8.8.8.8", "1.1.1.1"]),
        ("::ffff:8.8.8.8", ["8.8.8.8", "10.1.2.3"], ["8.8.8.8"]),
        ("192.168.1.9", ["192.168.1.9", *PRIVATE[:4], *OWN_HOST], ["192.168.1.9", *PRIVATE[:4]]),
        ("127.0.0.1", ["127.0.0.1", "10.1.2.3", "169.254.169.254"], ["127.0.0.1", "10.1.2.3"]),
        ("8.8.8.8", ["8.8.8.8", *(f"9.9.9.{n}" for n in range(200))], ["8.8.8.8", *(f"9.9.9.{n}" for n in range(4))]),
        (None, [*PRIVATE[:2], "127.0.0.1"], [*PRIVATE[:2], "127.0.0.1"]),
    ],
)
def test_a_peer_makes_the_server_send_to_few_hosts_and_to_no_private_one_from_outside(
    near: str | None, hosts: list[str], kept: list[str]
) -> None:
    usable = Candidates(near).usable([f"1 1 udp 1 {host} 4000 typ host" for host in hosts])
    assert [line.split()[4] for line in usable] == kept


@async_test
async def test_candidates_that_come_later_are_added_to_their_section_and_count_with_those_of_the_offer() -> None:
    async with running() as (session, _):
        peer = Peer(session)
        await peer.answer(sdp(section("video", "96", *H264, candidate("192.0.2.1"), mid="film")))
        (transceiver,) = peer.connection.getTransceivers()
        ice = transceiver.receiver.transport.transport
        head = f"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=video 9 {RTP} 0\r\na=mid:film\r\n"
        await peer.trickle(head + "\r\n".join(candidate(f"198.51.100.{i}") for i in range(1, 40)))
        assert len(ice.getRemoteCandidates()) == MOST_CANDIDATES
        assert not peer.restarts(head)
        assert peer.restarts(head.replace("abcd", "efgh"))
        with pytest.raises(RestartError, match="only while connected"):
            await peer.restart(head.replace("abcd", "efgh"))
        with pytest.raises(OfferError, match="mid"):
            await peer.trickle("a=mid:other\r\n" + candidate("192.0.2.3"))
        with pytest.raises(OfferError, match="fragment"):
            await peer.trickle("hello")
        await peer.close()
        with pytest.raises(OfferError):
            await peer.trickle(head)


@async_test
async def test_vp8_is_answered_where_h264_is_not_offered_and_h264_wherever_it_is() -> None:
    vp8 = ("a=rtpmap:97 VP8/90000", "a=rtpmap:98 rtx/90000", "a=fmtp:98 apt=97")
    both = await answered(sdp(section("video", "97 98 96", *vp8, *H264)))
    assert " 96\r\n" in both
    assert "VP8" not in both
    alone = await answered(sdp(section("video", "97 98", *vp8)))
    assert "a=rtpmap:97 VP8/90000" in alone


@async_test
async def test_a_camera_is_received_as_h264_or_vp8_and_its_sound_is_rejected() -> None:
    sound = section("audio", "111", *OPUS, mid="a", direction="sendonly")
    for name in ("VP8", "H264"):
        video = section("video", "98", f"a=rtpmap:98 {name}/90000", mid="v", direction="sendonly")
        answer = await answered(sdp(sound, video), camera=True)
        assert ports(answer) == [False, True]
        assert "a=recvonly" in sections_of(answer)[1]
        assert f"a=rtpmap:98 {name}/90000" in answer
    for offer in (
        sdp(sound),
        sdp(section("video", "96", *H264)),
        sdp(section("video", "45", "a=rtpmap:45 AV1/90000", direction="sendonly")),
    ):
        with pytest.raises(NotAnswerableError, match=r"H264 (and|or) VP8"):
            await answered(offer, camera=True)


WORDS = [*H264, *OPUS, "a=mid:1", "a=mid:0", "m=video 9 X 96", "m=audio 0 UDP/TLS/RTP/SAVPF 0", "a=bundle-only", "a="]
WORDS += ["a=rtpmap:96 H264/x", "a=fmtp:96", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96", "a=group:BUNDLE 1 0", "c=x"]
WORDS += ["a=candidate:1 1 udp 1 ::1 5 typ host", "a=sctp-port:x", "a=setup:", "m=application 9 UDP/DTLS/SCTP x", ""]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=12), max_size=8), st.integers(0, 14))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_offer_with_any_lines_among_its_own_is_answered_or_refused(lines: list[str], place: int) -> None:
    @async_test
    async def attempt() -> None:
        good = section("video", "96", *H264)
        refusal = ""
        try:
            answer = await answered(sdp([*good[:place], *lines, *good[place:]]))
        except OfferError as e:
            refusal = str(e)
        else:
            assert any(ports(answer))
        assert refusal != "this SDP offer cannot be answered"  # a reason is found before aiortc is asked

    attempt()
