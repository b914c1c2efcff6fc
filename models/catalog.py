"""List the models: where each comes from, what it is and how it rolls out."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal

from models.cache_shape import AnchorPolicy, ReferenceRule
from models.cue import StartBy
from models.errors import ErrorKind, UserError
from models.rollout_config import RolloutConfig, StrengthRange
from models.sampler import Schedule


@dataclass(frozen=True)
class Source:
    """Name files of one hub repository, by patterns as in a shell. An empty repo means that they ship in assets/."""

    repo: str
    files: tuple[str, ...]
    licence: str


@dataclass(frozen=True)
class Weights:
    """Say where a transformer's weights lie, below the model's folder."""

    file: str
    wrapper: str | None = None  # entry of a .pt file
    lora: str | None = None  # merged in float32


@dataclass(frozen=True)
class Entry:
    """Describe a model: provenance, architecture, and how it rolls out."""

    name: str
    title: str
    sources: tuple[Source, ...]
    weights: Weights
    transformer: dict[str, Any]  # settings of models.wan_network.WanConfig
    text: Literal["words", "umt5"]
    codec: Literal["tiny", "wan"]
    rollout: RolloutConfig
    fps: int
    size: tuple[int, int]  # default width and height of a frame
    driving_features: int | None = None  # of a driving token, in a model that is driven
    stride: int = 8  # pixels of a frame a latent cell stands for
    notes: str = ""


WAN_1_3B: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
}
WAN_TEXT_AND_CODEC = Source(
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", ("vae/*", "text_encoder/*", "tokenizer/*"), licence="Apache-2.0"
)
FOUR_STEPS = Schedule.warped((1000, 750, 500, 250), shift=5.0)

POCKET = Entry(
    name="pocket",
    title="Pocket: a small embedded model of a procedural world, real time on a laptop's CPU",
    sources=(Source("", ("pocket/codec.safetensors", "pocket/transformer.safetensors"), licence="Apache-2.0"),),
    weights=Weights("pocket/transformer.safetensors"),
    transformer={
        "patch_size": (1, 2, 2),
        "num_attention_heads": 5,
        "attention_head_dim": 64,
        "in_channels": 32,
        "out_channels": 32,
        "text_dim": 256,
        "freq_dim": 256,
        "ffn_dim": 1280,
        "num_layers": 8,
        "cross_attn_norm": True,
    },
    text="words",
    codec="tiny",
    rollout=RolloutConfig(
        chunk=3,
        window=12,
        sink=3,
        schedule=Schedule.warped((1000, 750), shift=1.0),
        # two steps leave what the noise decides (a landmark, say) faint in a take's first frames
        first_schedule=Schedule.warped((1000, 900, 750, 500), shift=1.0),
        prediction="x0",
        anchor=AnchorPolicy.TRAILING,
        start_noise=0.9,  # measured: keeps what the picture shows and no prompt says, which from 1 noise may change
        strength=StrengthRange(0.3, 0.5, 0.4),  # measured: its colours are free from 0.35 on, its motion up to 0.45
    ),
    fps=16,
    size=(256, 256),
    stride=16,
    notes="ships with Longtake; what it understands stands in its model card, assets/pocket/README.md",
)

AVATAR_PROMPT = "a portrait speaks"  # all that a text can say of it
AVATAR = Entry(
    name="pocket-avatar",
    title="Pocket avatar: a cartoon portrait that speaks, real time on a laptop's CPU",
    sources=(Source("", ("pocket-avatar/codec.safetensors", "pocket-avatar/transformer.safetensors"), "Apache-2.0"),),
    weights=Weights("pocket-avatar/transformer.safetensors"),
    transformer={
        "patch_size": (1, 4, 4),
        "num_attention_heads": 4,
        "attention_head_dim": 64,
        "in_channels": 17,
        "out_channels": 16,
        "text_dim": 256,
        "freq_dim": 256,
        "ffn_dim": 1024,
        "num_layers": 6,
        "cross_attn_norm": True,
    },
    text="words",
    codec="tiny",
    rollout=RolloutConfig(
        chunk=3,
        window=9,
        sink=0,
        schedule=Schedule.warped((1000, 900, 750, 500), shift=1.0),
        prediction="x0",
        anchor=AnchorPolicy.TRAILING,
        knot=1,
        reference=ReferenceRule("gap", gap=2),
    ),
    fps=25,
    size=(128, 128),
    driving_features=64,
    notes="stays true to a portrait of its own world and is driven by speech; "
    "its model card is assets/pocket-avatar/README.md",
)

LONGLIVE = Entry(
    name="longlive-1.3b",
    title="LongLive 1.0 on Wan 2.1 1.3B: minutes of interactive video, prompt switches by KV recache (2509.22622)",
    sources=(
        Source(
            "Efficient-Large-Model/LongLive-1.3B",
            ("models/longlive_base.pt", "models/lora.pt"),
            licence="CC-BY-NC-SA-4.0 on the model card when last seen (the code is Apache-2.0): check before use",
        ),
        WAN_TEXT_AND_CODEC,
    ),
    weights=Weights("models/longlive_base.pt", wrapper="generator", lora="models/lora.pt"),
    transformer=WAN_1_3B,
    text="umt5",
    codec="wan",
    rollout=RolloutConfig(
        chunk=3,
        window=12,
        sink=3,
        schedule=FOUR_STEPS,
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        start_by=StartBy.PREFIX,  # its weights have seen no latent held in place
    ),
    fps=16,
    size=(832, 480),
    notes="trained to 60 s; `anchor: trailing` keeps distances bounded in longer takes",
)

SELF_FORCING = Entry(
    name="self-forcing",
    title="Self-Forcing (DMD) on Wan 2.1 1.3B: the 5-second ancestor (2506.08009)",
    sources=(
        Source("gdhe17/Self-Forcing", ("checkpoints/self_forcing_dmd.pt",), licence="Apache-2.0 (repository)"),
        WAN_TEXT_AND_CODEC,
    ),
    weights=Weights("checkpoints/self_forcing_dmd.pt", wrapper="generator_ema"),
    transformer=WAN_1_3B,
    text="umt5",
    codec="wan",
    rollout=RolloutConfig(
        chunk=3,
        window=21,
        sink=0,
        schedule=FOUR_STEPS,
        prediction="velocity",
        anchor=AnchorPolicy.FIXED,
        start_by=StartBy.PREFIX,
    ),
    fps=16,
    size=(832, 480),
    notes="trained on 21 latents; longer takes drift, prefer LongLive for them",
)

ENTRIES = {e.name: e for e in (POCKET, AVATAR, LONGLIVE, SELF_FORCING)}


class UnknownModelError(UserError, KeyError):
    """Report that no entry has a name; the message says what comes nearest."""

    kind = ErrorKind.NOT_FOUND


def find(name: str) -> Entry:
    """Return the entry of that name, or raise UnknownModelError."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ENTRIES)}"
    raise UnknownModelError(f"no model is called {name!r}; {hint}")
