"""Compute scaled dot-product attention over tokens in the layout that caches keep them in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

_preferred = ExitStack()  # holds torch's order of kernels, which is one for the whole process


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, lengths: Sequence[int] = (), bias: Tensor | None = None
) -> Tensor:
    """Return what queries [N, Q, heads, d] read from keys and values [N, K, heads, d]: [N, Q, heads, d], unmasked.

    With `lengths`, row by row only that many keys from the first one on are read. `bias` [K], of the queries' type, is
    added to the logits of all of them.
    """
    if len(set(lengths)) > 1:
        rows = zip(queries.split(1), keys.split(1), values.split(1), lengths, strict=True)
        biases = {seen: None if bias is None else bias[:seen] for seen in lengths}
        return torch.cat([attend(q, k[:, :seen], v[:, :seen], bias=biases[seen]) for q, k, v, seen in rows])
    q, k, v = (t.transpose(1, 2) for t in (queries, keys, values))
    mask = None if bias is None else bias.expand(1, 1, 1, -1)
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)


def prefer(kernels: Sequence[SDPBackend]) -> None:
    """Have torch try these attention kernels first in this process, in their order, and the others behind them.

    What none of them can run, such as attention with a mask, falls to the others. Entering the order anew for every
    attention would cost 50 µs each time, 15 ms in a chunk of 300.
    """
    others = (
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.MATH,
    )
    order = [*kernels, *(other for other in others if other not in kernels)]
    _preferred.close()
    _preferred.enter_context(sdpa_kernel(order, set_priority=True))
