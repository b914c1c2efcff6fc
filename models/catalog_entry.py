"""Define what the catalog says of a model: where its files come from, what it is and how it rolls out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from models.errors import UserError
from models.rollout_config import RolloutConfig

CodecName = Literal["tiny", "wan", "tae"]  # of our own models; of Wan; TAEHV, which stands for Wan's at little cost


@dataclass(frozen=True)
class Source:
    """Name files of one hub repository, by patterns as in a shell. An empty repo means that they ship in assets/."""

    repo: str
    files: tuple[str, ...]
    licence: str
    free: bool = True  # whether the licence is known to let anybody use the files for any purpose


@dataclass(frozen=True)
class Weights:
    """Say where a transformer's weights lie, below the model's folder."""

    file: str  # or a folder, as diffusers writes them
    wrapper: str | None = None  # entry of a .pt file
    lora: str | None = None  # merged in float32


class CodecError(UserError, ValueError):
    """Report a codec that does not fit a model."""


@dataclass(frozen=True)
class Entry:
    """Describe a model: provenance, architecture, and how it rolls out."""

    name: str
    title: str
    sources: tuple[Source, ...]
    weights: Weights
    transformer: dict[str, Any]  # settings of models.wan_network.WanConfig
    text: Literal["words", "umt5"]
    codec: CodecName
    rollout: RolloutConfig
    fps: int
    size: tuple[int, int]  # default width and height of a frame
    driving_features: int | None = None  # of a driving token, in a model that is driven
    stride: int = 8  # pixels of a frame a latent cell stands for
    notes: str = ""
    tae: Source | None = None  # the one file of a tiny codec that stands for Wan's
    folder: str = ""  # of its files, if another model has the same ones; empty: its own name
    published: str = ""  # speed that its authors state, with the card

    def with_codec(self, name: str) -> Entry:
        """Return the entry with another of its codecs, `wan` or `tae`; CodecError if it has no such codec."""
        if name == self.codec:
            return self
        if self.codec != "wan" or self.tae is None or name != "tae":
            there = "wan, tae" if self.tae is not None else "its own, for which nothing else stands"
            raise CodecError(f"{self.name} has no codec {name!r}; there is {there}")
        kept = (replace(s, files=tuple(f for f in s.files if not f.startswith("vae/"))) for s in self.sources)
        return replace(self, codec="tae", sources=(*(s for s in kept if s.files), self.tae))
