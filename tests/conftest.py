"""Make tiny random models, so that behaviour is tested in seconds on a CPU."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from models.cache_shape import AnchorPolicy, ReferenceRule
from models.catalog import POCKET
from models.checkpoints.assemble import Model
from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.generator import Generator
from models.judge.classifier import ATTRIBUTES, Judge
from models.lora import MergedLoras
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.text.prompt_reading import any_prompt
from models.transformer import CausalWanTransformer

TINY = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
    "cross_attn_norm": True,
}
TINY_CODEC = TinyCodecConfig(latent_channels=4, encoder_width=8, decoder_widths=(8, 8, 8, 8))


@pytest.fixture(autouse=True)
def log_goes_to_no_test_before() -> Iterator[None]:
    """Take away the handlers that a command has set up: they write where its test has captured what it prints."""
    before = list(logging.getLogger().handlers)
    yield
    root = logging.getLogger()
    for handler in [h for h in root.handlers if type(h) is logging.StreamHandler and h not in before]:
        root.removeHandler(handler)


def tiny_text(prompts: list[str]) -> Tensor:
    seeds = [int.from_bytes(hashlib.blake2b(p.encode(), digest_size=4).digest(), "big") for p in prompts]
    return torch.cat([torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(s)) for s in seeds])


def tiny_model(anchor: AnchorPolicy = AnchorPolicy.TRAILING, sink: int = 3, window: int = 12, knot: int = 0) -> Model:
    torch.manual_seed(0)
    transformer = CausalWanTransformer(**TINY).eval().requires_grad_(False)
    codec = TinyCodec(TINY_CODEC).eval()
    rollout = RolloutConfig(3, window, sink, Schedule.warped((1000, 500), 3.0), "velocity", anchor, knot=knot)
    generator = Generator(rollout, transformer, tiny_text, codec, loras=MergedLoras(transformer))
    entry = replace(POCKET, name="tiny", transformer=TINY, rollout=rollout, size=(32, 32), stride=8)
    return Model(entry, generator, "tiny", any_prompt)


def tiny_avatar(knot: int = 1, rule: ReferenceRule | None = None, *, masked: bool = True) -> Model:
    """Return a model that is driven (tokens of 64 features) and stays true to an image."""
    torch.manual_seed(0)
    transformer = CausalWanTransformer(**TINY | {"in_channels": 5 if masked else 4})
    transformer.add_driving_attention(64)
    assert transformer.driving_attention is not None
    for p in transformer.driving_attention.parameters():
        torch.nn.init.normal_(p, std=0.2)
    codec = TinyCodec(TINY_CODEC).eval()
    rollout = RolloutConfig(
        3, 6, 0, Schedule.warped((1000, 500), 3.0), "velocity", AnchorPolicy.TRAILING, knot=knot,
        reference=rule or ReferenceRule(),
    )  # fmt: skip
    transformer.eval().requires_grad_(requires_grad=False)
    generator = Generator(rollout, transformer, tiny_text, codec)
    entry = replace(
        POCKET,
        name="tiny-avatar",
        transformer=TINY,
        rollout=rollout,
        size=(32, 32),
        stride=8,
        fps=25,
        driving_features=64,
    )
    return Model(entry, generator, "tiny", any_prompt)


def with_rollout(model: Model, **changes: object) -> Model:
    """Return the model, rolled out with these changes of its configuration."""
    rollout = replace(model.entry.rollout, **changes)  # type: ignore[arg-type]
    generator = model.generator.with_config(rollout)
    return replace(model, entry=replace(model.entry, rollout=rollout), generator=generator)


class BrightnessJudge(Judge):
    """Read the first value of every attribute in a bright window and the second in a dark one."""

    def probabilities(self, frames: Tensor) -> dict[str, Tensor]:
        bright = (frames.float().mean((1, 2, 3, 4)) > 100).long()
        return {n: torch.eye(len(v))[bright.clamp(max=len(v) - 1)] for n, v in ATTRIBUTES.items()}


@pytest.fixture(scope="session", autouse=True)
def _data_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests from writing to the user's own folders, also through the commands that they start."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data-home"))


@pytest.fixture
def model() -> Model:
    return tiny_model()


def frame_hash(video: Path) -> str:
    """Return a hash over every decoded frame of a film, in order."""
    digest = hashlib.sha256()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            digest.update(frame.to_ndarray(format="rgb24").tobytes())
    return digest.hexdigest()
