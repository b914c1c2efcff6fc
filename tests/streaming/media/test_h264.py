"""Test that the encoder gives a packet a picture at once, keyframes only on request, and keeps bitrate and colour."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.media.h264 import KEYFRAME_SECONDS, LiveEncoder, bitrate_for, enlargement

FPS, BITRATE = 16, 300_000


def picture(frame: int, size: int = 128, noise: int = 0) -> np.ndarray:
    """Return moving coloured stripes with noise that an encoder cannot predict."""
    y, x = np.mgrid[:size, :size]
    channels = [(x * 2 + 5 * frame) % 256, (y * 2) % 256, (x + y + 3 * frame) % 256]
    grain = np.random.default_rng(frame).integers(-noise, noise + 1, (size, size, 3))
    return np.clip(np.stack(channels, -1) + grain, 0, 255).astype(np.uint8)


def stream(frames: int, keys: tuple[int, ...] = (), noise: int = 0) -> list[av.Packet]:
    encoder, packets = LiveEncoder(128, 128, FPS, BITRATE), []
    for i in range(frames):
        packets += encoder.encode(picture(i, noise=noise), 5625 * i, keyframe=i in keys)
    return packets


def shown(packets: list[av.Packet], size: int = 128) -> list[np.ndarray]:
    """Return the decoded pictures, scaled back to the size of the originals."""
    decoder = av.CodecContext.create("h264", "r")
    pictures = []
    for packet in packets:
        for frame in decoder.decode(av.Packet(bytes(packet))):
            assert frame.colorspace == 6  # SMPTE 170M, the matrix that OpenCV uses
            rgb = cv2.cvtColor(np.ascontiguousarray(frame.to_ndarray(format="yuv420p")), cv2.COLOR_YUV2RGB_I420)
            pictures.append(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA))
    return pictures


def units(packet: av.Packet) -> list[int]:
    """Return the types of the NAL units between Annex B start codes."""
    return [part[0] & 31 for part in bytes(packet).split(b"\x00\x00\x01")[1:]]


def test_every_picture_becomes_one_packet_at_once_with_its_own_pts() -> None:
    encoder = LiveEncoder(128, 128, FPS, BITRATE)
    for i, pts in enumerate([7, 5632, 11257, 90_000, 10**10]):
        (packet,) = encoder.encode(picture(i), pts)
        assert (packet.pts, packet.dts, packet.time_base) == (pts, pts, Fraction(1, 90_000))


def test_only_the_first_and_requested_pictures_are_keyframes() -> None:
    packets = stream(300, keys=(5, 6, 299))
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == [0, 5, 6, 299]


def test_a_hard_cut_makes_no_keyframe_by_itself() -> None:
    encoder = LiveEncoder(128, 128, FPS, BITRATE)
    film = [picture(i) for i in range(40)] + [255 - picture(i, noise=40) for i in range(40)]
    assert [i for i, p in enumerate(film) if encoder.encode(p, i)[0].is_keyframe] == [0]


def test_the_stream_decodes_from_any_keyframe_on() -> None:
    packets = stream(14, keys=(9,))
    for key in (0, 9):
        assert units(packets[key])[:2] == [7, 8]  # the parameter sets come with it
        got = shown(packets[key:])
        assert len(got) == 14 - key
        for frame, rgb in enumerate(got, key):
            assert np.abs(rgb.astype(int) - picture(frame)).mean() < 9


def test_the_profile_is_constrained_baseline() -> None:
    data = bytes(stream(1)[0])
    assert data[:5] == b"\x00\x00\x00\x01\x67"
    assert data[5:7].hex() == "42c0"  # Baseline, constrained


def test_a_small_picture_keeps_the_colour_of_single_pixels() -> None:
    grid = np.zeros((128, 128, 3), np.uint8)
    grid[:, ::2], grid[:, 1::2] = (200, 40, 40), (40, 140, 40)
    got = shown(LiveEncoder(128, 128, FPS, 2_000_000).encode(grid, 0))[0]
    assert cv2.PSNR(got, grid) > 20  # at its own size 4:2:0 leaves 10 dB


@pytest.mark.parametrize("noise", [5, 60])
def test_the_stream_keeps_its_bitrate_and_keyframes_stay_small(noise: int) -> None:
    packets = stream(96, keys=(30, 60, 90), noise=noise)
    bits = [8 * p.size for p in packets]
    assert sum(bits) * FPS / len(bits) == pytest.approx(BITRATE, rel=0.15)
    assert max(bits) <= BITRATE * KEYFRAME_SECONDS * 1.05


def test_only_small_pictures_are_enlarged() -> None:
    encoder = LiveEncoder(416, 256, FPS, BITRATE)
    assert (encoder.width, encoder.height) == (416, 256)
    encoder = LiveEncoder(128, 96, FPS, BITRATE)
    assert (encoder.width, encoder.height) == (384, 288)


def test_odd_sides_and_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        LiveEncoder(301, 300, FPS, BITRATE)
    with pytest.raises(ValueError, match="in a stream of"):
        LiveEncoder(128, 128, FPS, BITRATE).encode(picture(0, size=64), 0)


@given(st.integers(16, 2000), st.integers(16, 2000))
def test_pictures_are_enlarged_by_whole_factors_until_no_side_is_small(width: int, height: int) -> None:
    scale = enlargement(width, height)
    assert min(width, height) * scale >= 256
    assert scale == 1 or min(width, height) * (scale - 1) < 256


def test_the_bitrate_follows_the_size_by_a_power_law() -> None:
    assert bitrate_for(128, 128, 16) == pytest.approx(300_000, rel=0.02)
    assert bitrate_for(832, 480, 16) == 3_000_000
    assert bitrate_for(256, 128, 16) == bitrate_for(128, 128, 32)
    assert bitrate_for(128, 128, 16) < bitrate_for(128, 256, 16) < 2 * bitrate_for(128, 128, 16)
