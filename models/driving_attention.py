"""Let a driving signal move the picture by cross-attention: latents read their driving tokens in every block.

The attention window is one latent, as MoCha gives speech to a video model (arXiv 2503.23307). Which audio a latent may
hear is decided where the driving tokens are made, so nothing has to be masked here.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.attention import attend


class DrivingAttention(nn.Module):
    """Compute, for every layer, what driving tokens [N, F, T, features] add to the picture's tokens [N, F·L, D]."""

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
        """Return the residual [N, F·L, D] of one layer for tokens `x` [N, F·L, D].

        `embedded` is the driving signal after `embed`, computed once for all layers, [N, F, T, D].
        """
        n, frames = embedded.shape[:2]
        tokens = x.unflatten(1, (frames, -1)).flatten(0, 1)  # a latent's tokens beside that latent's drive
        keys, values = self.to_kv[layer](embedded.flatten(0, 1)).chunk(2, -1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)) for t in (self.to_q[layer](self.norm[layer](tokens)), keys, values)
        )
        read = self.to_out[layer](attend(q, k, v).flatten(-2))
        return read.unflatten(0, (n, frames)).flatten(1, 2)
