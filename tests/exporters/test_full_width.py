"""The big models go the same way: LongLive's shapes, TAEHV's and Wan's decoders as streaming steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan

from exporters import full_width
from exporters.wan_decoder import LEAD, WanDecoderStep, steady_features


@torch.no_grad()
def test_wans_streaming_step_equals_the_whole_decode_to_the_bit() -> None:
    torch.manual_seed(0)
    codec = AutoencoderKLWan(base_dim=8, z_dim=16).eval()
    latents = torch.randn(1, 16, 5, 4, 6)
    features = steady_features(codec, latents[:, :, :LEAD])
    step = WanDecoderStep(codec, tuple(features)).eval()
    kept, frames = tuple(features.values()), []
    for i in range(LEAD, 5):
        piece, *rest = step(latents[:, :, i : i + 1], kept)
        kept, frames = tuple(rest), [*frames, piece]
    assert torch.equal(torch.cat(frames, 2).clamp(-1, 1), codec.decode(latents).sample[:, :, 5:])


@pytest.mark.long
@pytest.mark.parametrize("name", list(full_width.EXPORTS))
def test_the_full_width_exports_are_valid_and_torchs_equal(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = full_width.EXPORTS[name](tmp_path / "module.onnx")
    assert found["error"] < 1e-4
    assert found["refused by TensorRT's table"] == []
