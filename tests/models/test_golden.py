"""The port equals the public reference implementations: 1e-4 in float32 or it is wrong."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models import sampler
from models.cache_shape import AnchorPolicy
from models.checkpoints.weight_files import as_diffusers
from models.codecs.tiny import TinyCodec, TinyCodecConfig, TinyStream
from models.cue import Prompt
from models.generator import Generator
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.transformer import CausalWanTransformer

GOLDEN = Path(__file__).parents[1] / "golden"


def metadata(name: str, key: str) -> dict:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as f:
        return json.loads(f.metadata()[key])


@pytest.mark.parametrize("name", ["longlive_plain", "longlive_switch"])
@pytest.mark.parametrize("commit_at_once", [True, False])
def test_a_rollout_equals_longlive(name: str, commit_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, c = load_file(GOLDEN / f"{name}.safetensors"), metadata(name, "config")
    transformer = CausalWanTransformer(
        patch_size=(1, 2, 2),
        num_attention_heads=c["heads"],
        attention_head_dim=c["dim"] // c["heads"],
        in_channels=16,
        out_channels=16,
        text_dim=c["text_dim"],
        freq_dim=c["freq_dim"],
        ffn_dim=c["ffn"],
        num_layers=c["layers"],
        cross_attn_norm=True,
    ).eval()
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    transformer.load_state_dict(as_diffusers(weights))
    schedule = Schedule.warped(c["steps"], c["shift"])
    torch.testing.assert_close(torch.tensor(schedule.sigmas), golden["ref.sigmas"], atol=1e-6, rtol=0)

    def recorded(seed: int, chunk: int, step: int, shape: object, device: object) -> torch.Tensor:
        initial = golden["in.noise"][:, 3 * chunk : 3 * chunk + 3]
        return (golden["in.renoise"][chunk, step - 1][None] if step else initial).transpose(1, 2)

    monkeypatch.setattr(sampler, "noise", recorded)
    rollout = RolloutConfig(c["chunk"], c["window"], c["sink"], schedule, "velocity", AnchorPolicy.FIXED)
    generator = Generator(rollout, transformer, lambda p: golden[f"in.context{p[0]}"], lambda: TinyStream(None), 8)  # type: ignore[arg-type]
    state = generator.new_take(0, 8 * c["latent_w"], 8 * c["latent_h"])
    latents = []
    for chunk in range(c["num_chunks"]):
        latents.append(generator.draw(state, [Prompt("1" if 0 <= c["switch_at"] <= chunk else "0")]))
        if commit_at_once:
            generator.commit(state)
    torch.testing.assert_close(torch.cat(latents, 2).transpose(1, 2), golden["out.latents"], atol=1e-4, rtol=0)


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
