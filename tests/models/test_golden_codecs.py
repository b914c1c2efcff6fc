"""Codecs equal the public reference implementations (tests/golden/README.md)."""

from __future__ import annotations

import json
import math
import re
import zlib
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from models.codecs.codec import Codec
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.codecs.wan import WanCodec

GOLDEN = Path(__file__).parents[1] / "golden"


def metadata(name: str, key: str):  # type: ignore[no-untyped-def]
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as f:
        return json.loads(f.metadata()[key])


def tiny(name: str, config: TinyCodecConfig) -> TinyCodec:
    """Fill every parameter by the recipe in the file's metadata."""
    codec, weights = TinyCodec(config), {}
    for key, shape in metadata(name, "shapes").items():
        w = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
        weights[key] = w * (0.8 * math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.05)
    codec.load_state_dict(weights)
    return codec.eval()


def decoded(codec: Codec, latents: Tensor, parts: int) -> Tensor:
    """Decode [1, C, F, h, w], so many latents at a time, to frames [1, n, 3, H, W], not clamped."""
    memory, frames = None, []
    for part in latents.split(parts, 2):
        out, memory = codec.decode(part, memory)
        frames.append(out)
    return torch.cat(frames, 1)[:, -(4 * latents.shape[2] - 3) :]


def encoded(codec: Codec, frames: Tensor, parts: int) -> Tensor:
    """Encode frames [1, n, 3, H, W], the first alone and then so many at a time, to latents [1, C, F, h, w]."""
    latents, memory = codec.encode_part(frames[:, :1])
    whole = [latents]
    for part in frames[:, 1:].split(parts, 1):
        latents, memory = codec.encode_part(part, memory)
        whole.append(latents)
    return torch.cat(whole, 2)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


CONFIGS = {"taew2_1": TinyCodecConfig(), "taew2_2": TinyCodecConfig(latent_channels=48, patch_size=2)}


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("parts", [5, 1])
def test_the_tiny_codecs_equal_taehv(name: str, parts: int) -> None:
    golden, codec = load_file(GOLDEN / f"{name}.safetensors"), tiny(name, CONFIGS[name])
    frames = decoded(codec, golden["in.latents"].transpose(1, 2), parts)
    close(frames.clamp(0, 1), golden["out.frames"])
    close(frames, golden.get("out.frames_raw", frames))
    close(codec.encode(golden["in.video"]).transpose(1, 2), golden["out.latents"])


@torch.no_grad()
def test_a_tiny_codec_holds_its_image_for_four_frames() -> None:
    golden, codec = load_file(GOLDEN / "taew2_2.safetensors"), tiny("taew2_2", CONFIGS["taew2_2"])
    latent, memory = codec.encode_part(golden["in.image"])
    close(latent.transpose(1, 2), golden["out.latent_of_image"])
    held = golden["in.image"].expand(-1, 4, -1, -1, -1)
    following, _ = codec.encode_part(golden["in.video"], memory)
    close(torch.cat([latent, following], 2), codec.encode(torch.cat([held, golden["in.video"]], 1)))


# Names of the parameters of Wan 2.2's own codec → diffusers', in order
RENAMED = [
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"coder\.conv1\.", "coder.conv_in."),
    (r"coder\.head\.0\.", "coder.norm_out."),
    (r"coder\.head\.2\.", "coder.conv_out."),
    (r"middle\.0\.", "mid_block.resnets.0."),
    (r"middle\.1\.", "mid_block.attentions.0."),
    (r"middle\.2\.", "mid_block.resnets.1."),
    (r"upsamples\.(\d)\.upsamples\.3\.", r"up_blocks.\1.upsampler."),
    (r"upsamples\.(\d)\.upsamples\.", r"up_blocks.\1.resnets."),
    (r"downsamples\.(\d)\.downsamples\.2\.", r"down_blocks.\1.downsampler."),
    (r"downsamples\.(\d)\.downsamples\.", r"down_blocks.\1.resnets."),
    (r"residual\.0\.", "norm1."),
    (r"residual\.2\.", "conv1."),
    (r"residual\.3\.", "norm2."),
    (r"residual\.6\.", "conv2."),
    (r"shortcut\.", "conv_shortcut."),
]


def wan_2_2(golden: dict[str, Tensor]) -> WanCodec:
    mean, std = (golden[f"latents_{n}"].tolist() for n in ("mean", "std"))
    config = metadata("wan22_vae", "config")["diffusers"]
    network = AutoencoderKLWan(**config, latents_mean=mean, latents_std=std)
    weights = {}
    for key, tensor in golden.items():
        if key.startswith("weights."):
            name = key.removeprefix("weights.")
            for old, new in RENAMED:
                name = re.sub(old, new, name)
            weights[name] = tensor.float()
    network.load_state_dict(weights)
    return WanCodec(network.eval())


@torch.no_grad()
@pytest.mark.parametrize("parts", [4, 1])
def test_wan_2_2_equals_its_reference(parts: int) -> None:
    golden = load_file(GOLDEN / "wan22_vae.safetensors")
    codec = wan_2_2(golden)
    assert (codec.latent_channels, codec.stride) == (48, 16)
    frames = decoded(codec, golden["in.latents"], parts)
    close(2 * frames.transpose(1, 2) - 1, golden["out.video"])
    close(
        2 * decoded(codec, golden["in.latents"][:, :, :1], 1).transpose(1, 2) - 1, golden["out.video_of_first_latent"]
    )
    video = (golden["in.video"].transpose(1, 2) + 1) / 2
    close(encoded(codec, video, 4 * parts), golden["out.latents"])
    close(codec.encode_part(video[:, :1])[0], golden["out.latent_of_first_frame"])


@torch.no_grad()
def test_wan_2_2_carries_26_features_to_encode_and_34_to_decode() -> None:
    golden = load_file(GOLDEN / "wan22_vae.safetensors")
    codec = wan_2_2(golden)
    _, encoding = codec.encode_part((golden["in.video"][:, :, :1].transpose(1, 2) + 1) / 2)
    _, decoding = codec.decode(golden["in.latents"][:, :, :1])
    assert (len(encoding), len(decoding)) == (26, 34)
