"""Compute what a chunk costs, by the model's architecture and the size of its pictures."""

from __future__ import annotations

from models.catalog import Entry

FIXED = 0.1  # of a chunk's time at a model's own size that no picture is too small for: launches, text, small matrices


def flops_a_chunk(entry: Entry, width: int, height: int, text_length: int) -> float:
    """Count the transformer's floating-point operations for a chunk with a full window, its clean pass included."""
    t, r = entry.transformer, entry.rollout
    dim = t["num_attention_heads"] * t["attention_head_dim"]
    _, ph, pw = t["patch_size"]
    tokens = (width // (entry.stride * pw)) * (height // (entry.stride * ph))
    matrices = 6 * dim * dim + 2 * dim * t["ffn_dim"]  # q k v o of self-attention, q o of cross-attention, the MLP
    attention = 2 * dim * (r.window * tokens + text_length)  # scores and weighted sum
    a_token = 2 * t["num_layers"] * (matrices + attention)
    passes = len(r.schedule.sigmas) + (0 if r.step_keys else 1)
    return passes * r.chunk * tokens * a_token


def text_length(entry: Entry) -> int:
    """Return the tokens of a prompt that the model's attention sees, padding included."""
    return 512 if entry.text == "umt5" else 20


def relative_cost(entry: Entry, size: tuple[int, int]) -> float:
    """Return the time of a chunk of pictures of `size` (width, height), where that of the model's own size is 1.

    Measured on pocket from 32x32 to 384x384, it is within 22 % of the truth, and within 7 % above 128x128.
    """
    length = text_length(entry)
    return FIXED + (1 - FIXED) * flops_a_chunk(entry, *size, length) / flops_a_chunk(entry, *entry.size, length)
