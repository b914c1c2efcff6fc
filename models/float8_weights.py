"""Keep the weights of a transformer's blocks in float8, half of bfloat16's memory, and multiply in the type of tokens.

The format is e4m3 of "FP8 Formats for Deep Learning" (2209.05433): 3 bits of mantissa, up to 448. Each row of a weight
has a scale, which is a power of two, so that nothing but those bits is lost: a number that the format can hold is held
exactly. Weights are cast at each use, which is slower than to keep them as they are used.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.wan_network import WanNetwork

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max


class Float8Linear(nn.Module):
    """Stand for a linear layer: `weight` [out, in] float8, `scale` [out] and `bias` [out] in the type of tokens."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take over the weights of a layer that has a bias."""
        super().__init__()
        weight = linear.weight.detach()
        self.weight = nn.Parameter(torch.empty_like(weight, dtype=FLOAT8), requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("scale", torch.empty_like(weight[:, 0]))
        self.hold(weight)

    scale: Tensor

    def hold(self, weight: Tensor) -> None:
        """Take in another weight [out, in], rounded, in the same storage."""
        largest = weight.float().abs().amax(1).clamp(min=2**-60)
        self.scale.copy_(torch.exp2(torch.ceil(torch.log2(largest / LARGEST))))
        self.weight.copy_((weight.float() / self.scale.float()[:, None]).to(FLOAT8))

    def held(self) -> Tensor:
        """Return the weight as it is used, [out, in] in the type of tokens."""
        return self.weight.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Return x @ weight.T + bias."""
        return torch.addcmul(self.bias, F.linear(x, self.weight.to(x.dtype)), self.scale)


@torch.no_grad()
def keep_in_float8(network: WanNetwork) -> None:
    """Have all linear layers of a network's blocks keep their weights in float8, from now on."""
    for block in network.layers():
        places = [(at, name, part) for at in block.modules() for name, part in at.named_children()]
        for at, name, part in places:
            if isinstance(part, nn.Linear):
                setattr(at, name, Float8Linear(part))


def kept_in_float8(network: nn.Module) -> dict[str, Float8Linear]:
    """Return the layers that keep their weights in float8, by the names of these weights."""
    return {f"{name}.weight": part for name, part in network.named_modules() if isinstance(part, Float8Linear)}
