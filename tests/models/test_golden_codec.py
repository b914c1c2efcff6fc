"""The tiny codec equals TAEHV, its public reference: 1e-4 in float32 or the port is wrong."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.codecs.tiny import TinyCodec, TinyCodecConfig

GOLDEN = Path(__file__).parents[1] / "golden"


def metadata(name: str, key: str) -> dict:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as f:
        return json.loads(f.metadata()[key])


def golden_codec() -> TinyCodec:
    codec = TinyCodec(TinyCodecConfig())
    weights = {}
    for name, shape in metadata("taew2_1", "shapes").items():
        w = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        weights[name] = w * (0.8 * math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.05)
    codec.load_state_dict(weights)
    return codec.eval()


@torch.no_grad()
def test_the_tiny_codec_equals_taehv() -> None:
    golden, codec = load_file(GOLDEN / "taew2_1.safetensors"), golden_codec()
    frames, _ = codec.decode(golden["in.latents"].transpose(1, 2))
    torch.testing.assert_close(frames[:, 3:].clamp(0, 1), golden["out.frames"], atol=1e-4, rtol=0)
    latents = codec.encode(golden["in.video"]).transpose(1, 2)
    torch.testing.assert_close(latents, golden["out.latents"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_tiny_codec_streams_as_it_decodes_at_once() -> None:
    golden, codec = load_file(GOLDEN / "taew2_1.safetensors"), golden_codec()
    memory, pieces = None, []
    for latent in golden["in.latents"].transpose(1, 2).split(1, 2):
        frames, memory = codec.decode(latent, memory)
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, 1)[:, 3:].clamp(0, 1), golden["out.frames"], atol=1e-4, rtol=0)
