"""Fit a model into a card's memory by text encoder, codec, weights, size of the picture, window, in this order.

A render's blocks come to the card in turns before anything changes its pictures.

Weights, keys and values are counted. Working memory is that of the largest pass, which a recache makes, or that of
decoding a chunk, whichever is more, with remembered prompts and scenes. What torch allocates for them was counted, but
for Wan's own codec, of which some GB are an estimate; nothing of it was measured on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from models import archive
from models.catalog_entry import Entry
from models.checkpoints.footprint import Footprint, footprint
from models.prompt_memory import REMEMBERED_BYTES, REMEMBERED_PROMPTS

WAN_DECODES_IN = 4e9 / (832 * 480)  # bytes a pixel of the picture while Wan's codec decodes a latent; not measured
# bytes a pixel and a latent of a chunk, as decoders run in float32 on a card: of TAEHV by the channels of its latents
TAE_DECODES_IN = {16: 2710.0, 48: 680.0}
TINY_DECODES_IN = 460.0


@dataclass(frozen=True)
class MemoryPlan:
    """Hold a model as it fits into a card, what it takes there, and what was done to make it fit."""

    entry: Entry
    text_on_cpu: bool
    float8: bool  # whether the transformer's blocks keep their weights so
    offloaded: bool  # whether these wait in the host's memory
    parts: Footprint
    working: int  # bytes, an estimate
    notes: tuple[str, ...]
    fits: bool

    @property
    def total(self) -> int:
        """Return the bytes that are needed on the card."""
        return self.parts.total + self.working


def planned(entry: Entry, room: float, bytes_per_value: int, *, slowly: bool = False) -> MemoryPlan:
    """Return the model as it fits into `room` bytes of a card, with no more changes than it takes.

    Where it may draw `slowly`, its weights may wait in the host's memory. If even all changes are not enough, the plan
    does not fit.
    """
    plan = _plan(entry, bytes_per_value, text_on_cpu=False, float8=False, offloaded=False)
    exact = (_text_on_cpu, _offloaded) if slowly else (_text_on_cpu,)
    for change in (*exact, _tae, _float8, _smaller, _smaller, _smaller, _shorter):
        if plan.total <= room:
            break
        changed = change(plan, bytes_per_value)
        if changed is not None:
            plan = changed
    return replace(plan, fits=plan.total <= room)


def _plan(entry: Entry, bytes_per_value: int, *, text_on_cpu: bool, float8: bool, offloaded: bool) -> MemoryPlan:
    parts, (width, height) = footprint(entry, bytes_per_value, float8=float8, offloaded=offloaded), entry.size
    if text_on_cpu:
        parts = replace(parts, text_encoder=0)
    t, r = entry.transformer, entry.rollout
    latents = r.rows * (r.window if r.step_keys is None else r.chunk)  # a recache may run over a whole window
    tokens = latents * (width // (2 * entry.stride)) * (height // (2 * entry.stride))
    activations = 4 * tokens * (t["ffn_dim"] + 8 * t["num_attention_heads"] * t["attention_head_dim"])
    working = max(activations, decoding_bytes(entry)) + _prompts(entry, bytes_per_value) + archive.BUDGET
    return MemoryPlan(entry, text_on_cpu, float8, offloaded, parts, working, (), fits=True)


def decoding_bytes(entry: Entry) -> int:
    """Return the bytes that decoding a chunk of an entry takes at its peak, beside the codec's weights."""
    (width, height), grid = entry.size, entry.rollout.grid
    match entry.codec:
        case "wan":  # latent by latent
            return round(WAN_DECODES_IN * width * height)
        case "tae":
            a_latent = TAE_DECODES_IN[entry.transformer["out_channels"]]
        case "tiny":
            a_latent = TINY_DECODES_IN
    return round(max(grid.chunk, grid.first_chunk) * a_latent * width * height)


def _prompts(entry: Entry, bytes_per_value: int) -> int:
    """Return the bytes of the prompts that are remembered, if all of them are as long as they can be."""
    t = entry.transformer
    positions = 512 if entry.text == "umt5" else 20
    keys = 2 * t["num_layers"] * t["num_attention_heads"] * t["attention_head_dim"]
    one = bytes_per_value * positions * (keys + t["text_dim"])
    return max(one, min(REMEMBERED_PROMPTS * one, REMEMBERED_BYTES))


def _changed(
    plan: MemoryPlan, bytes_per_value: int, note: str, *, entry: Entry | None = None, **how: bool
) -> MemoryPlan:
    """Return the plan with another entry, or with another place or type of a part."""
    kept = {"text_on_cpu": plan.text_on_cpu, "float8": plan.float8, "offloaded": plan.offloaded}
    new = _plan(entry or plan.entry, bytes_per_value, **kept | how)
    saved = (plan.total - new.total) / 1e9
    return replace(new, notes=(*plan.notes, f"{note} ({saved:.1f} GB less)"))


def _text_on_cpu(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    if not plan.parts.text_encoder:
        return None
    note = "the text encoder runs on the CPU, which a new prompt waits for"
    return _changed(plan, bytes_per_value, note, text_on_cpu=True)


def _offloaded(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    note = "weights wait in the host's memory and are copied to the card at each pass, which is slower"
    changed = _changed(plan, bytes_per_value, note, offloaded=True)
    return changed if changed.total < plan.total else None


def _tae(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    if plan.entry.codec != "wan" or plan.entry.tae is None:
        return None
    entry = plan.entry.with_codec("tae")
    note = f"the tiny codec {plan.entry.tae.files[0]} stands for Wan's, with fewer details"
    return _changed(plan, bytes_per_value, note, entry=entry)


def _float8(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    if plan.offloaded:  # next to nothing of them lies on the card
        return None
    note = "weights are kept in float8 and cast at each use, which is slower and rounds them"
    return _changed(plan, bytes_per_value, note, float8=True)


def _smaller(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    """Return the plan with pictures a fifth smaller, of whole patches; None if they cannot be."""
    entry, unit = plan.entry, 2 * plan.entry.stride
    width, height = (max(unit, round(0.8 * side / unit) * unit) for side in entry.size)
    if width * height == entry.size[0] * entry.size[1]:
        return None
    note = f"pictures of {width}x{height}"
    return _changed(plan, bytes_per_value, note, entry=replace(entry, size=(width, height)))


def _shorter(plan: MemoryPlan, bytes_per_value: int) -> MemoryPlan | None:
    """Return the plan with a window of the sink and two chunks more; None if it is no longer than that."""
    r = plan.entry.rollout
    shots = r.sink if r.shots is not None and r.shots.sink else 0
    window = r.sink + shots + 2 * r.chunk
    if window >= r.window:
        return None
    note = f"a window of {window} latents instead of {r.window}, so that the picture drifts sooner"
    entry = replace(plan.entry, rollout=replace(r, window=window))
    return _changed(plan, bytes_per_value, note, entry=entry)
