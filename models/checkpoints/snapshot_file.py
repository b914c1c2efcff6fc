"""A take's snapshot as a file, exact to the bit: safetensors with everything that is no tensor in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.cache_shape import AnchorPolicy
from models.cache_snapshot import Anchor, CacheSnapshot, Piece
from models.checkpoints.weight_files import CheckpointError
from models.codecs.stream import StreamSnapshot
from models.cue import OnSwitch, SinkOnSwitch
from models.state import Blend, Snapshot
from models.transformer import TextState


def save_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write atomically; a reader never sees half a snapshot. CheckpointError if the disk does not take it."""
    tensors: dict[str, Tensor] = {}
    cache, text, blend = snapshot.cache, snapshot.text, snapshot.blend

    def put(name: str, pairs: tuple[tuple[Tensor, Tensor], ...]) -> None:
        for layer, (k, v) in enumerate(pairs):
            tensors[f"{name}.{layer}.k"], tensors[f"{name}.{layer}.v"] = k, v

    for name, anchor in cache.anchors.items():
        put(f"anchor.{name}", anchor.layers)
    for i, piece in enumerate(cache.pieces):
        put(f"piece.{i}", piece.layers)
    if text:
        put("text", text.layers)
        tensors["text.embeddings"] = text.embeddings
    if blend:
        tensors |= {"blend.start": blend.start, "blend.goal": blend.goal}
    for i, latents in enumerate(snapshot.recent):
        tensors[f"recent.{i}"] = latents
    for i, drive in enumerate(snapshot.driven):
        tensors[f"driven.{i}"] = drive
    if snapshot.knot is not None:
        tensors["knot"] = snapshot.knot
    memory = snapshot.codec.memory
    for i, value in enumerate(memory or ()):
        if isinstance(value, Tensor):
            tensors[f"codec.{i}"] = value
    facts = {
        "anchors": {name: (anchor.captured_at, anchor.latents) for name, anchor in cache.anchors.items()},
        "pieces": [(piece.first, piece.latents) for piece in cache.pieces],
        "past": cache.past,
        "origin": cache.origin,
        "blend": (blend.chunks, blend.done) if blend else None,
        "codec": {
            "lead": snapshot.codec.lead,
            "memory": None if memory is None else [v if isinstance(v, str) else None for v in memory],
        },
        "recent": len(snapshot.recent),
        "driven": len(snapshot.driven),
        **{
            name: getattr(snapshot, name)
            for name in (
                "size",
                "seeds",
                "on_switch",
                "sink_on_switch",
                "anchor",
                "prompt",
                "index",
                "prefix",
                "pending",
            )
        },
    }
    partial = path.with_suffix(".partial")
    try:
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, partial, {"facts": json.dumps(facts)})
        os.replace(partial, path)
    except SafetensorError as e:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: not written ({str(e).splitlines()[0]})") from e


def load_snapshot(path: Path, device: torch.device, layers: int, dtype: torch.dtype) -> Snapshot:
    """The snapshot as it was saved, or in `dtype` if a model of another type saved it; CheckpointError if it is none."""
    try:
        with safe_open(path, "pt", device=str(device)) as f:
            facts: dict[str, Any] = json.loads(f.metadata()["facts"])
            tensors = _in_type({k: f.get_tensor(k) for k in f.keys()}, dtype)  # noqa: SIM118

        def pairs(name: str) -> tuple[tuple[Tensor, Tensor], ...]:
            return tuple((tensors[f"{name}.{i}.k"], tensors[f"{name}.{i}.v"]) for i in range(layers))

        memory = facts["codec"]["memory"]
        if memory is not None:
            memory = tuple(tensors.get(f"codec.{i}", mark) for i, mark in enumerate(memory))
        text = TextState(tensors["text.embeddings"], pairs("text")) if "text.embeddings" in tensors else None
        blend = Blend(tensors["blend.start"], tensors["blend.goal"], *facts["blend"]) if facts["blend"] else None
        return Snapshot(
            cache=CacheSnapshot(
                {name: Anchor(pairs(f"anchor.{name}"), *held) for name, held in facts["anchors"].items()},
                tuple(Piece(p[0], p[1], pairs(f"piece.{i}")) for i, p in enumerate(facts["pieces"])),
                (facts["past"][0], facts["past"][1]),
                facts["origin"],
            ),
            codec=StreamSnapshot(memory, facts["codec"]["lead"]),
            size=(facts["size"][0], facts["size"][1]),
            seeds=tuple(facts["seeds"]),
            on_switch=OnSwitch(facts["on_switch"]),
            sink_on_switch=SinkOnSwitch(facts["sink_on_switch"]),
            anchor=AnchorPolicy(facts["anchor"]),
            prompt=facts["prompt"],
            text=text,
            blend=blend,
            index=facts["index"],
            prefix=facts["prefix"],
            recent=tuple(tensors[f"recent.{i}"] for i in range(facts["recent"])),
            driven=tuple(tensors[f"driven.{i}"] for i in range(facts["driven"])),
            knot=tensors.get("knot"),
            pending=facts["pending"],
        )
    except Exception as e:  # a damaged file fails in many ways, and all mean the same
        raise CheckpointError(f"{path}: not a snapshot that can be read ({type(e).__name__})") from e


def _in_type(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """What has the type of the model that wrote the cache gets `dtype`; what that kept in another stays in it."""
    own = next((t.dtype for name, t in tensors.items() if name.startswith(("anchor.", "piece."))), dtype)
    return {name: t.to(dtype) if t.dtype == own else t for name, t in tensors.items()}
