"""Read snapshots of earlier releases."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.cache import REFERENCE, SINK
from models.cache_protocol import KeysValues
from models.cache_shape import AnchorPolicy
from models.cache_snapshot import Anchor, CacheSnapshot, Piece
from models.codecs.stream import StreamSnapshot
from models.cue import OnSwitch, SinkOnSwitch
from models.snapshots import Snapshot
from models.state import Blend, TakeFields
from models.transformer import TextState


def read_format_1(facts: dict[str, Any], tensors: dict[str, Tensor], dtype: torch.dtype) -> Snapshot:
    """Return a snapshot whose ring is stored as slots of chunks; raise KeyError or others if damaged."""
    own = next((t.dtype for name, t in tensors.items() if name.startswith(("sink.", "slot.", "reference."))), dtype)
    tensors = {name: t.to(dtype) if t.dtype == own else t for name, t in tensors.items()}

    def layers(name: str) -> tuple[KeysValues, ...]:
        count = sum(key.startswith(f"{name}.") and key.endswith(".k") for key in tensors)
        return tuple((tensors[f"{name}.{i}.k"], tensors[f"{name}.{i}.v"]) for i in range(count))

    recent = [tensors[f"recent.{i}"] for i in range(facts["recent"])]
    chunk = recent[-1].shape[2] if recent else 0
    slots = sorted((first, latents, slot) for slot, (first, latents) in facts["slots"].items())
    past = (slots[0][0] + chunk - slots[0][1], slots[-1][0] + chunk) if slots else (0, 0)
    memory = facts["codec"]["memory"]
    return Snapshot(
        TakeFields(
            size=(facts["size"][0], facts["size"][1]),
            seeds=tuple(facts["seeds"]),
            on_switch=OnSwitch(facts["on_switch"]),
            sink_on_switch=SinkOnSwitch(facts["sink_on_switch"]),
            prompt=facts["prompt"],
            text=TextState(tensors["text.embeddings"], layers("text")) if "text.embeddings" in tensors else None,
            blend=Blend(tensors["blend.start"], tensors["blend.goal"], *facts["blend"]) if facts["blend"] else None,
            index=facts["index"],
            recent=recent,
            driven=[tensors[f"driven.{i}"] for i in range(facts["driven"])],
            knot=tensors.get("knot"),
            pending=facts["pending"],
        ),
        CacheSnapshot(
            {n: Anchor(layers(n), *facts[n]) for n in (SINK, REFERENCE) if facts[n]},
            tuple(Piece(first, chunk, layers(f"slot.{slot}")) for first, _, slot in slots),
            past,
            facts["origin"],
            AnchorPolicy(facts["anchor"]),
        ),
        StreamSnapshot(
            None if memory is None else tuple(tensors.get(f"codec.{i}", mark) for i, mark in enumerate(memory)),
            facts["codec"]["lead"],
        ),
    )
