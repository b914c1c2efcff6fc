"""Grow a trained codec into a larger one that computes the same at first (Net2Net, 1511.05641).

The larger codec may have wider stages, more latent channels, and twice the patch size: it then shows a picture of twice
the size as the smaller one showed half of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.codecs.tiny import MemoryBlock, MergeFrames, SplitFrames, TinyCodec, TinyCodecConfig

Places = list[list[int]]  # for every channel of the smaller codec the channels of the larger one that stand for it


@torch.no_grad()
def grown(small: TinyCodec, config: TinyCodecConfig, video: Tensor) -> TinyCodec:
    """Return a codec of the larger `config` that decodes what it encodes as `small` does, with room to learn more.

    New channels start at random and have no effect yet; new latents have standard deviation 1 on `video`
    [B, T, 3, H, W]. ValueError where strides or scales differ, or the patch is neither as large nor twice as large.
    """
    ratio = config.patch_size // small.config.patch_size
    if config.patch_size not in (small.config.patch_size, 2 * small.config.patch_size) or (
        (config.encoder_strides, config.decoder_scales, config.bounded)
        != (small.config.encoder_strides, small.config.decoder_scales, small.config.bounded)
    ):
        raise ValueError("a codec grows in widths, latent channels and twice the patch size only")
    large = TinyCodec(config)
    for m in large.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu").mul_(0.5)
    pixels = _pixels(small.config.patch_size, ratio)
    _grow(small.encoder, large.encoder, pixels, None)
    _grow(small.decoder, large.decoder, None, pixels)
    opening, latents = large.encoder[0], [m for m in large.encoder if isinstance(m, nn.Conv2d)][-1]
    assert isinstance(opening, nn.Conv2d)
    assert latents.bias is not None
    opening.weight[: small.config.encoder_width] /= ratio**2  # a pixel of the smaller picture is a mean
    new = slice(small.config.latent_channels, None)
    z = large.encode(video)[:, new]
    latents.weight[new] /= z.std((0, 2, 3, 4)).view(-1, 1, 1, 1)
    latents.bias[new] = 0
    return large


def _pixels(patch: int, ratio: int) -> Places:
    """Return where the pixels of a folded picture lie when it is `ratio` times as large.

    Channels are ordered (colour, row, column).
    """
    size = patch * ratio
    return [
        [c * size**2 + (ratio * i + a) * size + ratio * j + b for a in range(ratio) for b in range(ratio)]
        for c in range(3)
        for i in range(patch)
        for j in range(patch)
    ]


def _same(count: int, blocks: int = 1, width: int = 0) -> Places:
    """Return the first channels of each of `blocks` equal parts; `width` channels a part in the larger codec."""
    return [[block * width + i] for block in range(blocks) for i in range(count // blocks)]


def _grow(small: nn.Sequential, large: nn.Sequential, first: Places | None, last: Places | None) -> None:
    """Copy all kernels of one half; `first` places the inputs of its first and `last` the outputs of its last one."""
    convs = [i for i, m in enumerate(small) if isinstance(m, nn.Conv2d)]
    for i, (old, new) in enumerate(zip(small, large, strict=True)):
        if isinstance(old, MemoryBlock) and isinstance(new, MemoryBlock):
            for j, (a, b) in enumerate(zip(old.conv, new.conv, strict=True)):
                if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d):
                    both = _same(2 * old.width, 2, new.width)  # this frame and the one before
                    _copy(a, b, both if j == 0 else _same(a.in_channels), _same(a.out_channels))
        elif isinstance(old, MergeFrames) and isinstance(new, MergeFrames):
            merged = _same(old.conv.in_channels, old.stride, new.conv.out_channels)
            _copy(old.conv, new.conv, merged, _same(old.conv.out_channels))
        elif isinstance(old, SplitFrames) and isinstance(new, SplitFrames):
            split = _same(old.conv.out_channels, old.stride, new.conv.in_channels)
            _copy(old.conv, new.conv, _same(old.conv.in_channels), split)
        elif isinstance(old, nn.Conv2d) and isinstance(new, nn.Conv2d):
            into = first if first and i == convs[0] else _same(old.in_channels)
            out = last if last and i == convs[-1] else _same(old.out_channels)
            _copy(old, new, into, out)


def _copy(old: nn.Conv2d, new: nn.Conv2d, into: Places, out: Places) -> None:
    """Copy a kernel to the places of its channels; old outputs see nothing of new inputs."""
    (rows, from_rows), (columns, from_columns) = (_flat(places) for places in (out, into))
    new.weight[rows] = 0
    new.weight[rows[:, None], columns] = old.weight[from_rows[:, None], from_columns]
    if new.bias is not None and old.bias is not None:
        new.bias.zero_()
        new.bias[rows] = old.bias[from_rows]


def _flat(places: Places) -> tuple[Tensor, Tensor]:
    """Return pairs (channel of the larger, channel of the smaller codec)."""
    pairs = torch.tensor([(n, o) for o, many in enumerate(places) for n in many])
    return pairs[:, 0], pairs[:, 1]
