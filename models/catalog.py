"""List the models: where each comes from, what it is and how it rolls out."""

from __future__ import annotations

import difflib

from models import wan_catalog
from models.cache_shape import AnchorPolicy, ReferenceRule
from models.catalog_entry import Entry, Source, Weights
from models.errors import ErrorKind, UserError
from models.rollout_config import RolloutConfig, StrengthRange
from models.sampler import Schedule
from models.wan_catalog import LONGLIVE, SELF_FORCING

__all__ = ["AVATAR", "ENTRIES", "LONGLIVE", "POCKET", "SELF_FORCING", "Entry", "Source", "Weights", "find"]

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

ENTRIES = {e.name: e for e in (POCKET, AVATAR, *wan_catalog.ENTRIES)}


class UnknownModelError(UserError, KeyError):
    """Report that no entry has a name; the message says what comes nearest."""

    kind = ErrorKind.NOT_FOUND


def find(name: str) -> Entry:
    """Return the entry of that name, or raise UnknownModelError."""
    if name in ENTRIES:
        return ENTRIES[name]
    begins = [known for known in ENTRIES if name and known.startswith(name)]  # the first of its family, as listed
    near = begins[:1] or difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ENTRIES)}"
    raise UnknownModelError(f"no model is called {name!r}; {hint}")
