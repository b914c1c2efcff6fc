"""Initialise a tiny codec so that it passes colours through from the first training step on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.codecs.tiny import MemoryBlock, MergeFrames, SplitFrames, TinyCodec


@torch.no_grad()
def start_as_means(codec: TinyCodec, video: Tensor, spread: float = 0.5) -> None:
    """Initialise so that three latents are a block's mean colour and the decoder paints it flat, plus noise.

    All latents of `video` [B, T, 3, H, W] then have mean 0 and standard deviation 1. Each colour runs through the
    network as a pair of channels, one for either sign, because ReLU keeps one only.
    """
    for m in codec.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu").mul_(spread)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    for m in codec.modules():
        if isinstance(m, MemoryBlock):
            _last_conv(m.conv).weight.mul_(0.2)

    def carry(conv: nn.Conv2d, links: list[tuple[int, int, float]]) -> None:
        """Add the links (output channel, input channel, gain) to a kernel, in front of weaker noise."""
        for out in {out for out, _, _ in links}:
            conv.weight[out] *= 0.3
        for out, source, gain in links:
            if conv.kernel_size == (1, 1):
                conv.weight[out, source] += gain
            elif conv.stride == (2, 2):
                conv.weight[out, source, 1:3, 1:3] += gain / 4
            else:
                conv.weight[out, source, 1, 1] += gain

    signs, area, pairs = (1.0, -1.0), codec.config.patch_size**2, range(6)
    first, *middle = [m for m in codec.encoder if isinstance(m, nn.Conv2d | MergeFrames)]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    carry(
        first, [(2 * c + i, area * c + p, s / area) for c in range(3) for i, s in enumerate(signs) for p in range(area)]
    )
    first.bias[:6] = torch.tensor([-0.5, 0.5] * 3)
    for layer in middle[:-1]:
        if isinstance(layer, MergeFrames):
            width = layer.conv.out_channels
            links = [(i, s * width + i, 1 / layer.stride) for i in pairs for s in range(layer.stride)]
            carry(layer.conv, links)
        else:
            assert isinstance(layer, nn.Conv2d)
            carry(layer, [(i, i, 1.0) for i in pairs])
    latents = middle[-1]
    assert isinstance(latents, nn.Conv2d)
    carry(latents, [(c, 2 * c + i, 4 * s) for c in range(3) for i, s in enumerate(signs)])
    opening, *later, last = [m for m in codec.decoder if isinstance(m, nn.Conv2d | SplitFrames)]
    assert isinstance(opening, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    carry(opening, [(2 * c + i, c, s) for c in range(3) for i, s in enumerate(signs)])
    for part in later:
        if isinstance(part, SplitFrames):
            width = part.conv.in_channels
            carry(part.conv, [(s * width + i, i, 1.0) for i in pairs for s in range(part.stride)])
        else:
            carry(part, [(i, i, 1.0) for i in pairs])
    last.weight.mul_(0.2)
    carry(
        last,
        [(area * c + p, 2 * c + i, s / 4) for c in range(3) for i, s in enumerate(signs) for p in range(area)],
    )
    last.bias.fill_(0.5)
    assert latents.bias is not None
    for _ in range(2):  # the soft clamp is not linear
        z = codec.encode(video)
        mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))
        latents.weight /= std.view(-1, 1, 1, 1)
        latents.bias.copy_((latents.bias - mean) / std)


def _last_conv(layers: nn.Sequential) -> nn.Conv2d:
    conv = layers[-1]
    assert isinstance(conv, nn.Conv2d)
    return conv
