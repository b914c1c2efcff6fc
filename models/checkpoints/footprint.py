"""Compute the memory and disk space that a model needs, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from models.block_offload import PLACES
from models.catalog import Entry
from models.checkpoints.assemble import folder_of
from models.checkpoints.model_files import finished, missing_files
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TINY_CODECS
from models.transformer import CausalWanTransformer

UMT5_XXL_ENCODER = 5.68e9  # parameters of Wan's text encoder: 24 layers of width 4096, 256384 tokens
WAN_CODECS = {16: (73.3e6, 53.6e6), 48: (555.0e6, 149.6e6)}  # by latent channels: parameters that decode, and encode
TAE_CODECS = {16: 11.3e6, 48: 11.4e6}  # parameters of TAEHV


@dataclass(frozen=True)
class Footprint:
    """Hold the bytes that a model takes while it draws, by part; activations are not counted."""

    transformer: int
    cache: int  # keys and values of the window, and of the sink and a reference once more, before rotation
    text_encoder: int
    codec: int

    @property
    def total(self) -> int:
        """Return the bytes of all parts."""
        return self.transformer + self.cache + self.text_encoder + self.codec


def footprint(
    entry: Entry,
    bytes_per_value: int,
    size: tuple[int, int] | None = None,
    *,
    float8: bool = False,
    offloaded: bool = False,
) -> Footprint:
    """Return what a model takes on its device with pictures of `size` (width, height), or of its own size.

    With `float8` the transformer's blocks keep their weights in that type; `offloaded` they wait in the host's memory.
    """
    t, r, (width, height) = entry.transformer, entry.rollout, size or entry.size
    _, rows, columns = t["patch_size"]
    tokens = (height // (entry.stride * rows)) * (width // (entry.stride * columns))
    anchors = 0 if r.step_keys is not None else r.sink + (1 if r.reference else 0)
    latents = r.window + r.knot + (1 if r.reference else 0) + anchors
    a_latent = 2 * t["num_layers"] * tokens * t["num_attention_heads"] * t["attention_head_dim"]
    rounded = (bytes_per_value - 1) * (_products(entry) if float8 else 0)  # bytes that float8 saves
    weights = bytes_per_value * parameters(entry) - rounded
    if offloaded:
        blocks = bytes_per_value * _block_parameters(entry) - rounded
        weights -= blocks * (t["num_layers"] - PLACES) // t["num_layers"]
    return Footprint(
        transformer=weights,
        cache=bytes_per_value * r.rows * latents * a_latent,
        text_encoder=round(bytes_per_value * UMT5_XXL_ENCODER) if entry.text == "umt5" else 0,
        codec=_codec_bytes(entry, bytes_per_value),
    )


def _codec_bytes(entry: Entry, bytes_per_value: int) -> int:
    """Return the bytes of a codec's weights; Wan's encodes in float32 whatever decodes, the others do both."""
    match entry.codec:
        case "tiny":
            with torch.device("meta"):
                return 4 * sum(p.numel() for p in TinyCodec(TINY_CODECS[entry.name]).parameters())
        case "tae":
            return round(4 * TAE_CODECS[entry.transformer["out_channels"]])
        case "wan":
            decoding, encoding = WAN_CODECS[48 if entry.transformer["out_channels"] == 48 else 16]
            return round(bytes_per_value * decoding + 4 * encoding)


def memory_bytes(entry: Entry, bytes_per_value: int) -> int:
    """Return the bytes of weights and cache, without activations."""
    return footprint(entry, bytes_per_value).total


def parameters(entry: Entry) -> int:
    """Count the transformer's parameters without allocating them."""
    return _parameters(tuple(entry.transformer.items()), entry.driving_features)


def _products(entry: Entry) -> int:
    """Count the parameters that blocks multiply tokens with."""
    t = entry.transformer
    width = t["num_attention_heads"] * t["attention_head_dim"]
    return int(t["num_layers"] * width * (8 * width + 2 * t["ffn_dim"]))


def _block_parameters(entry: Entry) -> int:
    """Count the parameters of the transformer's blocks without allocating them."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(**entry.transformer)
        return sum(p.numel() for block in transformer.layers() for p in block.parameters())


def disk_bytes(entry: Entry, models: Path) -> int | None:
    """Return the bytes of the entry's files below the folder `models`; None if some are missing."""
    folder = folder_of(entry, models)
    if missing_files(entry, folder):
        return None
    found = {p for s in entry.sources for pattern in s.files for p in folder.glob(pattern)}
    return sum(p.stat().st_size for p in found if finished(p))


@lru_cache
def _parameters(settings: tuple[tuple[str, Any], ...], driving_features: int | None) -> int:
    """Count the parameters of a transformer of these settings."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(**dict(settings))
        if driving_features is not None:
            transformer.add_driving_attention(driving_features)
        return sum(p.numel() for p in transformer.parameters())
