"""Attend in a one-pass row, in ways that are equal but for rounding; the fastest depends on the machine.

All take queries, keys and values of the clean and of the noisy tokens and their visibility, latent by latent. Every
query sees something, so no row of scores is empty.

`written`: products and a softmax in float32, which a compiler fuses; the fastest on a CPU, its backward pass above all.
`masked`: PyTorch's attention with a mask.
`padded`: PyTorch's attention without a mask, so that its fastest kernel serves; hidden keys have one more feature,
which no query outweighs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.pocket.training.layout import Layout

Way = Literal["written", "masked", "padded"]
WAYS: tuple[Way, ...] = get_args(Way)
_HIDDEN = -30_000.0  # a score that leaves no weight, representable in bfloat16


class Tokens(NamedTuple):
    """Hold queries, keys and values of slots, [B, slots, tokens, heads, d] each."""

    queries: Tensor
    keys: Tensor
    values: Tensor


class Sight(NamedTuple):
    """Say which keys the tokens of each slot see."""

    clean: Tensor  # [B, PAST, clean tokens] bool
    noisy: Tensor  # [B, SLOTS, clean tokens + tokens of a slot] bool

    @classmethod
    def of(cls, layout: Layout, tokens: int) -> Sight:
        """Build the visibility of a layout on a device, for latents of so many tokens."""
        return cls(*(t.repeat_interleave(tokens, -1) for t in (layout.sees_clean, layout.sees_noisy)))


def attend(way: Way, clean: Tokens, noisy: Tokens, sight: Sight) -> tuple[Tensor, Tensor]:
    """Return what the clean and the noisy queries read, in the shapes of the queries.

    A noisy slot sees no clean one but those before it, whose keys alone take part.
    """
    past, slots = clean.queries.shape[1], noisy.queries.shape[1]
    old_k, old_v = clean.keys.flatten(1, 2), clean.values.flatten(1, 2)  # [B, all clean tokens, heads, d]
    whole, one = old_k.shape[1], old_k.shape[1] // past
    many_k = old_k[:, None].expand(-1, past, -1, -1, -1).flatten(0, 1)
    many_v = old_v[:, None].expand(-1, past, -1, -1, -1).flatten(0, 1)
    read = _attention(way, clean.queries.flatten(0, 1), many_k, many_v, sight.clean.flatten(0, 1))
    of_noisy = []
    for slot in range(slots):
        before = one * slot
        keys = torch.cat([old_k[:, :before], noisy.keys[:, slot]], 1)
        values = torch.cat([old_v[:, :before], noisy.values[:, slot]], 1)
        seen = torch.cat([sight.noisy[:, slot, :before], sight.noisy[:, slot, whole:]], 1)
        of_noisy.append(_attention(way, noisy.queries[:, slot], keys, values, seen))
    return read.unflatten(0, (-1, past)), torch.stack(of_noisy, 1)


def attend_all(way: Way, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend to every key [B, tokens, heads, d]; return the shape of the queries."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if way == "written":
        out = ((q * q.shape[-1] ** -0.5) @ k.mT).float().softmax(-1).to(v.dtype) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2)


def _attention(way: Way, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attend from [B, tokens, heads, d] to the keys that `seen` [B, keys] bool marks; return [B, tokens, heads, d]."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    seen = seen[:, None, None]
    if way == "padded":
        out = _padded(q, k, v, seen)
    elif way == "masked":
        bias = torch.where(seen, 0.0, _HIDDEN).to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, bias.expand(-1, q.shape[1], q.shape[2], -1))
    else:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        out = torch.where(seen, scores.float(), _HIDDEN).softmax(-1).to(v.dtype) @ v
    return out.transpose(1, 2)


def _padded(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Return eight more features, one of which says that a key is hidden."""
    d = q.shape[-1]
    hidden = torch.where(seen, 0.0, _HIDDEN).to(k.dtype).transpose(-1, -2).expand(-1, k.shape[1], -1, -1)
    more_k = F.pad(hidden, (0, 7))
    more_q = F.pad(torch.ones_like(q[..., :1]), (0, 7))
    q, k = torch.cat([q, more_q], -1), torch.cat([k, more_k], -1)
    return F.scaled_dot_product_attention(q, k, F.pad(v, (0, 8)), scale=d**-0.5)[..., :d]
