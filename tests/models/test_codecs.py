"""Codecs encode and decode as streams what they encode and decode at once, wherever the stream is interrupted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import TINY_CODEC
from diffusers import AutoencoderKLWan
from torch import Tensor

from models.codecs.codec import Codec
from models.codecs.tiny import TinyCodec
from models.codecs.wan import WanCodec

MEAN, STD = [0.1, -0.2, 0.3, 0.0], [1.5, 0.7, 1.1, 0.9]


def wan_2_1() -> Codec:
    network = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=MEAN,
        latents_std=STD,
    )
    return WanCodec(network.eval())


def wan_2_2() -> Codec:
    network = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=MEAN,
        latents_std=STD,
    )
    return WanCodec(network.eval())


def tiny() -> Codec:
    codec = TinyCodec(TINY_CODEC).eval()
    for p in [*codec.decoder.parameters(), *codec.encoder.parameters()]:
        p.data.mul_(1.7)  # random layers are tame; what the memory carries must show
    return codec


@pytest.fixture(params=[tiny, wan_2_1, wan_2_2])
def codec(request: pytest.FixtureRequest) -> Codec:
    torch.manual_seed(0)
    return request.param()


def film(codec: Codec, frames: int) -> Tensor:
    """Return noise, RGB [frames, H, W, 3] uint8, of 2x3 latent cells."""
    return torch.randint(0, 256, (frames, 2 * codec.stride, 3 * codec.stride, 3), dtype=torch.uint8)


def raw(codec: Codec, latents: Tensor) -> Tensor:
    """Decode at once, as the networks do it themselves: frames [1, n, 3, H, W], not clamped."""
    if isinstance(codec, WanCodec):
        z = latents * torch.tensor(STD).view(1, -1, 1, 1, 1) + torch.tensor(MEAN).view(1, -1, 1, 1, 1)
        return codec.network.decode(z).sample.transpose(1, 2).add(1).div(2)
    return codec.decode(latents)[0][:, 3:]


@torch.inference_mode()
@pytest.mark.parametrize("parts", [[6], [3, 2, 1], [1] * 6])
def test_a_decoded_stream_equals_the_whole(codec: Codec, parts: list[int]) -> None:
    latents = torch.randn(1, 4, 6, 2, 3)
    stream = codec.decode_stream()
    frames = torch.cat([stream.decode(part) for part in latents.split(parts, 2)])
    assert frames.shape == (1 + 4 * 5, 2 * codec.stride, 3 * codec.stride, 3)
    assert frames.float().std() > 1
    whole = raw(codec, latents)[0].clamp(0, 1).mul(255).permute(0, 2, 3, 1)
    assert (frames - whole).abs().max() <= 0.51
    forgetful = torch.cat([codec.decode_stream().decode(part) for part in latents.split(1, 2)])
    assert (forgetful[1:].int() - frames[1::4][: len(forgetful) - 1].int()).abs().max() > 3


@torch.inference_mode()
@pytest.mark.parametrize("parts", [[17], [1, 4, 8, 4], [5, 12]])
def test_an_encoded_stream_equals_the_whole(codec: Codec, parts: list[int]) -> None:
    frames = film(codec, 17)
    stream = codec.encode_stream()
    latents = torch.cat([stream.encode(part) for part in frames.split(parts)], 2)
    assert latents.shape == (1, codec.latent_channels, 5, 2, 3)
    video = frames.movedim(-1, 1)[None].float().div(255)
    if isinstance(codec, WanCodec):
        mean = codec.network.encode(video.transpose(1, 2) * 2 - 1).latent_dist.mean
        whole = (mean - torch.tensor(MEAN).view(1, -1, 1, 1, 1)) / torch.tensor(STD).view(1, -1, 1, 1, 1)
    else:
        assert isinstance(codec, TinyCodec)
        whole = codec.encode(torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], 1))
    torch.testing.assert_close(latents, whole, atol=1e-5, rtol=0)
    alone = codec.encode_stream()
    alone.encode(frames[:1])
    assert (alone.encode(frames[13:])[:, :, 0] - latents[:, :, -1]).abs().max() > 1e-3  # what came before is seen


@torch.inference_mode()
def test_an_image_is_the_latent_of_a_stream_that_begins_with_it(codec: Codec) -> None:
    frames = film(codec, 5)
    latent = codec.encode_image(frames[:1])
    assert latent.shape == (1, codec.latent_channels, 1, 2, 3)
    torch.testing.assert_close(latent, codec.encode_stream().encode(frames)[:, :, :1], atol=1e-5, rtol=0)


def test_a_stream_refuses_frames_that_are_no_whole_latents(codec: Codec) -> None:
    stream = codec.encode_stream()
    for count in (0, 2, 4):
        with pytest.raises(ValueError, match=f"not {count}"):
            stream.encode(film(codec, count))
    stream.encode(film(codec, 1))
    for count in (0, 1, 5):
        with pytest.raises(ValueError, match=f"not {count}"):
            stream.encode(film(codec, count))


@torch.inference_mode()
def test_a_decoders_snapshot_in_the_middle_goes_on_to_the_bit(codec: Codec) -> None:
    a, b, c = torch.randn(1, 4, 9, 2, 2).split(3, 2)
    stream = codec.decode_stream()
    before = stream.snapshot()
    stream.decode(a)
    held = stream.snapshot()
    expected = torch.cat([stream.decode(b), stream.decode(c)])
    for _ in range(2):
        other = codec.decode_stream()
        other.restore(held)
        assert torch.equal(expected, torch.cat([other.decode(b), other.decode(c)]))
    other.restore(before)
    assert len(other.decode(a)) == 9


@torch.inference_mode()
def test_an_encoders_snapshot_in_the_middle_goes_on_to_the_bit(codec: Codec) -> None:
    a, b, c = film(codec, 13).split((5, 4, 4))
    stream = codec.encode_stream()
    stream.encode(a)
    held = stream.snapshot()
    expected = torch.cat([stream.encode(b), stream.encode(c)], 2)
    for _ in range(2):
        other = codec.encode_stream()
        other.restore(held)
        assert torch.equal(expected, torch.cat([other.encode(b), other.encode(c)], 2))


@torch.inference_mode()
def test_a_cut_starts_anew_and_time_does_not_shift(codec: Codec) -> None:
    a, b = torch.randn(1, 4, 6, 2, 2).split(3, 2)
    stream = codec.decode_stream()
    first = codec.decode_stream().decode(b)
    stream.decode(a)
    stream.reset(hold=True)
    again = stream.decode(b)
    assert len(first) == 9
    assert len(again) == 12
    assert torch.equal(again[3:], first)
    assert all(torch.equal(frame, first[0]) for frame in again[:4])


def in_bfloat16(make: Callable[[], Codec]) -> Codec:
    codec = make()
    if isinstance(codec, WanCodec):
        return WanCodec(codec.network, torch.bfloat16)
    assert isinstance(codec, TinyCodec)
    return codec.to(torch.bfloat16)


@torch.inference_mode()
@pytest.mark.parametrize("make", [tiny, wan_2_1, wan_2_2])
def test_codecs_stream_in_bfloat16_on_a_cpu(make: Callable[[], Codec]) -> None:
    torch.manual_seed(0)
    codec = in_bfloat16(make)
    torch.manual_seed(0)
    exact = make()
    encode, decode = (codec.encode_stream(), exact.encode_stream()), (codec.decode_stream(), exact.decode_stream())
    for count in (1, 4, 8):
        frames = film(codec, count)
        latents, wanted = (stream.encode(frames) for stream in encode)
        assert latents.dtype == torch.float32
        assert (latents - wanted).abs().max() < 0.15 * wanted.abs().max()
        pictures, wanted = (stream.decode(latents) for stream in decode)
        assert (pictures.float() - wanted.float()).abs().mean() < 4
