"""Compute scaled dot-product attention over tokens in the layout that caches keep them in."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return what queries [N, Q, heads, d] read from keys and values [N, K, heads, d]: [N, Q, heads, d], unmasked."""
    q, k, v = (t.transpose(1, 2) for t in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
