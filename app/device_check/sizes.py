"""Say which models and pictures the device check takes, at full size and as a dry run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.catalog_entry import Entry
from models.wan_catalog import KREA, LONGLIVE, LONGLIVE_2, WAN_1_3B

Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Goal:
    """Name frames a second that a model is to reach, end to end, with pictures of a size."""

    entry: Entry
    size: Size
    fps: float


@dataclass(frozen=True)
class Attention:
    """Hold the shape of one attention: tokens that ask, tokens that are seen, heads of 128 features."""

    queries: int
    keys: int
    heads: int


@dataclass(frozen=True)
class Sizes:
    """Hold what the stages measure."""

    dry: bool
    main: Goal  # in bfloat16, with the tiny codec
    quantised: float  # frames a second that the main model is to reach with float8 or int8 products
    others: tuple[Goal, ...]
    large: Entry  # of which one pass is run
    wan: bool  # whether Wan's own codecs are measured too
    attentions: tuple[Attention, ...]
    tokens: int  # rows of the products of the main model
    square: int  # side of the large matrix product
    warm: int  # calls before those that count
    calls: int
    chunks: int  # with a full window, that are timed


_MAIN = LONGLIVE.with_codec("tae")
FULL = Sizes(
    dry=False,
    main=Goal(_MAIN, (832, 480), 40.0),
    quantised=60.0,
    others=(
        Goal(_MAIN, (576, 320), 100.0),
        Goal(LONGLIVE_2.with_codec("tae"), (832, 480), 45.0),
    ),
    large=KREA,
    wan=True,
    attentions=(
        *(Attention(4680, keys, 12) for keys in (4680, 9360, 14040, 18720, 32760)),
        Attention(4680, 512, 12),
        Attention(7040, 28160, 24),
        Attention(4680, 9360, 40),
    ),
    tokens=4680,
    square=8192,
    warm=3,
    calls=10,
    chunks=8,
)

_SMALL = WAN_1_3B | {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 64, "num_layers": 2, "text_dim": 32}
_TINY = replace(_MAIN, transformer=_SMALL, rollout=replace(_MAIN.rollout, chunk=1, window=3, sink=1))
_TINY_5B = replace(
    LONGLIVE_2.with_codec("tae"),
    transformer=_SMALL | {"in_channels": 48, "out_channels": 48},
    rollout=replace(LONGLIVE_2.rollout, chunk=2, window=6, sink=2),
)
DRY = Sizes(
    dry=True,
    main=Goal(_TINY, (32, 16), 0.0),
    quantised=0.0,
    others=(Goal(_TINY, (16, 16), 0.0), Goal(_TINY_5B, (32, 32), 0.0)),
    large=replace(_TINY, name=KREA.name),
    wan=False,
    attentions=(Attention(24, 96, 2), Attention(24, 16, 2)),
    tokens=24,
    square=64,
    warm=1,
    calls=2,
    chunks=1,
)
