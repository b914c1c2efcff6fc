"""How a driving signal reaches the picture: in every block a latent's tokens read that latent's own drive tokens.

Cross-attention with a local window, as MoCha gives speech to a video model (2503.23307): which audio a latent may
hear is decided where drive tokens are made, so nothing has to be masked here.
"""

from __future__ import annotations

from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn


class DriveAttention(nn.Module):
    """For every layer: tokens [N, F·L, D], drive [N, F, T, features] → what is added to the tokens."""

    def __init__(self, layers: int, width: int, heads: int, features: int) -> None:
        super().__init__()
        self.heads, self.features = heads, features
        self.embed = nn.Sequential(nn.Linear(features, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.to_q = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.to_kv = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        outs = [nn.Linear(width, width) for _ in range(layers)]
        for out in outs:  # a model that is given a drive begins as the model that it was
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
        self.to_out = nn.ModuleList(outs)

    def forward(self, layer: int, x: Tensor, embedded: Tensor) -> Tensor:
        """`embedded`: the drive through `embed`, once for all layers, [N, F, T, D]."""
        n, frames = embedded.shape[:2]
        tokens = x.unflatten(1, (frames, -1)).flatten(0, 1)  # a latent's tokens beside that latent's drive
        keys, values = self.to_kv[layer](embedded.flatten(0, 1)).chunk(2, -1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)) for t in (self.to_q[layer](self.norm[layer](tokens)), keys, values)
        )
        read = self.to_out[layer](dispatch_attention_fn(q, k, v).flatten(-2))
        return read.unflatten(0, (n, frames)).flatten(1, 2)
