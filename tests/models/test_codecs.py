"""A stream of latents decodes to the frames of a whole-clip decode, wherever it is interrupted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import TINY_CODEC
from diffusers import AutoencoderKLWan
from torch import Tensor

from models.codecs.stream import CodecStream
from models.codecs.tiny import TinyCodec, TinyStream
from models.codecs.wan import WanStream

Whole = Callable[[Tensor], Tensor]


def wan() -> tuple[Callable[[], CodecStream], Whole]:
    codec = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 1.1, 0.9],
    ).eval()

    def whole(latents: Tensor) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        z = latents * torch.tensor(codec.config.latents_std).view(shape)
        z = z + torch.tensor(codec.config.latents_mean).view(shape)
        video = codec.decode(z).sample[0]
        return video.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 3, 0)

    return lambda: WanStream(codec), whole


def tiny() -> tuple[Callable[[], CodecStream], Whole]:
    codec = TinyCodec(TINY_CODEC).eval()
    for p in codec.decoder.parameters():
        p.data.mul_(1.7)  # random layers are tame; what the memory carries must show in the picture

    def whole(latents: Tensor) -> Tensor:
        frames = codec.decode(latents)[0][0, 3:]
        return frames.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)

    return lambda: TinyStream(codec), whole


@pytest.fixture(params=[wan, tiny], ids=["wan", "tiny"])
def codec(request: pytest.FixtureRequest) -> tuple[Callable[[], CodecStream], Whole]:
    torch.manual_seed(0)
    return request.param()


@torch.inference_mode()
@pytest.mark.parametrize("parts", [[8], [3, 3, 2], [1] * 8])
def test_streamed_equals_whole(codec: tuple[Callable[[], CodecStream], Whole], parts: list[int]) -> None:
    new_stream, whole = codec
    latents = torch.randn(1, 4, 8, 2, 3)
    stream = new_stream()
    frames = torch.cat([stream.decode(part) for part in latents.split(parts, 2)])
    assert frames.shape == (1 + 4 * 7, 16, 24, 3)
    assert frames.float().std() > 1
    forgetful = torch.cat([new_stream().decode(part) for part in latents.split(1, 2)])
    assert (forgetful[1:].int() - frames[1::4][: len(forgetful) - 1].int()).abs().max() > 3
    # one grey level is what rounding may differ by when convolutions run over other lengths
    assert (frames.int() - whole(latents).int()).abs().max() <= 1


@torch.inference_mode()
def test_snapshot_and_restore_in_the_middle_change_nothing(codec: tuple[Callable[[], CodecStream], Whole]) -> None:
    new_stream, _ = codec
    a, b, c = torch.randn(1, 4, 9, 2, 2).split(3, 2)
    stream = new_stream()
    stream.decode(a)
    held = stream.snapshot()
    expected = torch.cat([stream.decode(b), stream.decode(c)])
    for _ in range(2):
        other = new_stream()
        other.restore(held)
        assert torch.equal(expected, torch.cat([other.decode(b), other.decode(c)]))


@torch.inference_mode()
def test_a_cut_starts_anew_and_time_does_not_shift(codec: tuple[Callable[[], CodecStream], Whole]) -> None:
    new_stream, _ = codec
    a, b = torch.randn(1, 4, 6, 2, 2).split(3, 2)
    stream = new_stream()
    first = new_stream().decode(b)
    stream.decode(a)
    stream.reset(hold=True)
    again = stream.decode(b)
    assert len(first) == 9
    assert len(again) == 12
    assert torch.equal(again[3:], first)
    assert all(torch.equal(frame, first[0]) for frame in again[:4])
    assert len(stream.flush()) == 0
