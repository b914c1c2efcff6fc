"""Ways to attend in a one-pass row, equal but for rounding; which is the fastest depends on the machine.

All take queries, keys and values of the clean and of the noisy tokens and what sees what, latent by latent. No query
sees nothing, so no row of scores is empty.

`written`: products and a softmax in float32, which a compiler fuses; the fastest on a CPU, its backward pass above all.
`masked`: PyTorch's attention with a mask.
`padded`: PyTorch's attention without a mask, so that its fastest kernel serves; hidden keys have one more feature, which
no query outweighs.
`blocks`: FlexAttention (2412.05496) over the whole row, which skips what is hidden; CUDA only, and only compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from models.pocket.training.layout import Layout

Way = Literal["written", "masked", "padded", "blocks"]
WAYS: tuple[Way, ...] = get_args(Way)
_HIDDEN = -30_000.0  # a score that leaves no weight, representable in bfloat16


@dataclass(frozen=True)
class Sight:
    """What a batch's tokens see: key masks of the clean and of the noisy slots, or one block mask for all of them."""

    clean: Tensor  # [B, PAST, 1, keys] bool
    noisy: Tensor  # [B, SLOTS, 1, keys] bool
    blocks: BlockMask | None = None

    @classmethod
    def of(cls, layout: Layout, tokens: int, way: Way) -> Sight:
        """From a layout on a device, for latents of so many tokens."""
        clean, noisy = (
            t.repeat_interleave(tokens, -1).unsqueeze(2) for t in (layout.sees_clean, layout.sees_noisy)
        )
        return cls(clean, noisy, _block_mask(layout, tokens) if way == "blocks" else None)


def _block_mask(layout: Layout, tokens: int) -> BlockMask:
    """Every latent is a block, and wholly seen or wholly hidden."""
    b, past, clean = layout.sees_clean.shape
    slots, own = layout.sees_noisy.shape[1], layout.sees_noisy.shape[2] - clean
    device = layout.sees_clean.device
    same = torch.eye(slots, dtype=torch.bool, device=device)
    among = (same[None, :, :, None] & layout.sees_noisy[:, :, None, clean:]).flatten(2)  # [B, SLOTS, SLOTS * own]
    of_noisy = torch.cat([layout.sees_noisy[:, :, :clean], among], -1).repeat_interleave(own, 1)
    none = torch.zeros(b, past, slots * own, dtype=torch.bool, device=device)
    of_clean = torch.cat([layout.sees_clean, none], -1).repeat_interleave(clean // past, 1)
    seen = torch.cat([of_clean, of_noisy], 1).unsqueeze(1)  # [B, 1, latents, latents]
    number = seen.sum(-1, dtype=torch.int32)
    order = torch.sort(seen.to(torch.int32), dim=-1, descending=True, stable=True)[1].to(torch.int32)
    partial = torch.zeros_like(number)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Is asked by the uncompiled form only: no block is seen in part."""
        return seen[batch, 0, query // tokens, key // tokens]

    return BlockMask.from_kv_blocks(partial, order, number, order, BLOCK_SIZE=tokens, mask_mod=sees)


def attend(
    way: Way, clean: tuple[Tensor, Tensor, Tensor], noisy: tuple[Tensor, Tensor, Tensor], sight: Sight
) -> tuple[Tensor, Tensor]:
    """Queries, keys, values [B, PAST or SLOTS, tokens, heads, d] → what was read, in the same two shapes."""
    if way == "blocks":
        return _attend_blocks(clean, noisy, sight)
    q, k, v = clean
    past, slots = q.shape[1], noisy[0].shape[1]
    old_k, old_v = (t.flatten(1, 2).unsqueeze(1) for t in (k, v))  # [B, 1, all clean tokens, heads, d]
    read = _groups(way, q, old_k.expand(-1, past, -1, -1, -1), old_v.expand(-1, past, -1, -1, -1), sight.clean)
    keys = torch.cat([old_k.expand(-1, slots, -1, -1, -1), noisy[1]], 2)
    values = torch.cat([old_v.expand(-1, slots, -1, -1, -1), noisy[2]], 2)
    return read, _groups(way, noisy[0], keys, values, sight.noisy)


def _groups(way: Way, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Attention within each [B, slot]: [B, S, tokens, heads, d], `seen` [B, S, 1, keys]."""
    b, s = q.shape[:2]
    q, k, v = (t.flatten(0, 1).transpose(1, 2) for t in (q, k, v))
    seen = seen.flatten(0, 1).unsqueeze(1)  # [B * S, 1, 1, keys]
    if way == "padded":
        out = _padded(q, k, v, seen)
    elif way == "masked":
        bias = torch.where(seen, 0.0, _HIDDEN).to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, bias.expand(-1, q.shape[1], q.shape[2], -1))
    else:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        out = torch.where(seen, scores.float(), _HIDDEN).softmax(-1).to(v.dtype) @ v
    return out.transpose(1, 2).unflatten(0, (b, s))


def _padded(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Eight more features, one of which says that a key is hidden."""
    d = q.shape[-1]
    hidden = torch.where(seen, 0.0, _HIDDEN).to(k.dtype).transpose(-1, -2).expand(-1, k.shape[1], -1, -1)
    more_k = F.pad(hidden, (0, 7))
    more_q = F.pad(torch.ones_like(q[..., :1]), (0, 7))
    q, k = torch.cat([q, more_q], -1), torch.cat([k, more_k], -1)
    return F.scaled_dot_product_attention(q, k, F.pad(v, (0, 8)), scale=d**-0.5)[..., :d]


def _attend_blocks(
    clean: tuple[Tensor, Tensor, Tensor], noisy: tuple[Tensor, Tensor, Tensor], sight: Sight
) -> tuple[Tensor, Tensor]:
    assert sight.blocks is not None
    q, k, v = (
        torch.cat([c.flatten(1, 2), n.flatten(1, 2)], 1).transpose(1, 2) for c, n in zip(clean, noisy, strict=True)
    )
    sizes = ("BLOCK_M", "BLOCK_N", "BLOCK_M1", "BLOCK_N1", "BLOCK_M2", "BLOCK_N2")
    options: Any = dict.fromkeys(sizes, 64) if q.is_cuda else None  # no larger than a latent's tokens
    out = flex_attention(q, k, v, block_mask=sight.blocks, kernel_options=options)
    assert isinstance(out, Tensor)
    first = clean[0].shape[1] * clean[0].shape[2]
    read = out.transpose(1, 2)
    return read[:, :first].unflatten(1, clean[0].shape[1:3]), read[:, first:].unflatten(1, noisy[0].shape[1:3])
