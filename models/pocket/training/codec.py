"""First stage of pocket's training: the streaming codec, on 64-pixel crops of the world.

Once a transformer knows its latents, the decoder alone can be trained on: the encoder and the latents stay to the bit.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoints.assemble import TINY_POCKET
from models.codecs.tiny import MemoryBlock, MergeFrames, SplitFrames, TinyCodec
from models.judge import seams
from models.pocket.training.muon import Muon
from models.pocket.weights import Facts
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import changed_scene, random_scene
from models.time_grid import FRAMES_PER_LATENT

CROP, CLIPS, FRAMES = 64, 4, 9
EVEN = 0.4  # weight of how unevenly motion is spread over frames
STILL = 0.005  # mean change of a pixel, of 1, below which a frame moves no more than noise does


@dataclass(frozen=True)
class Footage:
    """What a codec is trained on."""

    crop: Callable[[random.Random], tuple[np.ndarray, np.ndarray]]  # [12, 64, 64, 3] uint8, weights [12, 64, 64]
    clip: Callable[[random.Random, int], np.ndarray]  # so many whole frames [n, H, W, 3]
    held_out: Callable[[random.Random, int], np.ndarray]  # the same, of what is never trained on


def _crop(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """[12, 64, 64, 3] uint8 (first frame four times) and the weight of each pixel [12, 64, 64]."""
    start = 4 * rng.randrange(30)
    beats = [Beat(0, random_scene(rng))]
    if rng.random() < 0.4:
        beats.append(Beat(max(1, start + rng.choice((-3, 1, 5))), changed_scene(beats[0].scene, rng)))
    clip, centres = draw_clip(beats, FRAMES, start=start)
    size = clip.shape[1]
    if rng.random() < 0.6:  # around the subject, as far as the picture goes
        cx, cy = centres[FRAMES // 2] * size
        x, y = (int(np.clip((c - CROP / 2 + rng.uniform(-12, 12)) // 8 * 8, 0, size - CROP)) for c in (cx, cy))
    else:
        x, y = (8 * rng.randrange((size - CROP) // 8 + 1) for _ in range(2))
    across, down = (np.arange(o, o + CROP)[None] / size for o in (x, y))
    near_x = np.abs((across - centres[:, :1] + 0.5) % 1 - 0.5) < 0.25
    near_y = np.abs(down - centres[:, 1:]) < 0.25
    weight = 1.0 + 2.0 * (near_y[:, :, None] & near_x[:, None, :])
    lead = [0, 0, 0, *range(FRAMES)]
    return clip[lead, y : y + CROP, x : x + CROP], weight[lead]


def _clip(rng: random.Random, frames: int, *, held_out: bool = False) -> np.ndarray:
    a = random_scene(rng, held_out=held_out)
    return draw_clip([Beat(0, a), Beat(13, changed_scene(a, rng))], frames, start=rng.randrange(48))[0]


SCENES = Footage(_crop, _clip, lambda rng, frames: _clip(rng, frames, held_out=True))


def as_video(clip: np.ndarray) -> Tensor:
    """[..., T, H, W, 3] uint8 → [..., T, 3, H, W] float 0..1."""
    return torch.from_numpy(np.ascontiguousarray(clip)).movedim(-1, -3).float() / 255


@torch.no_grad()
def _start_as_pyramid(codec: TinyCodec, spread: float = 0.5) -> None:
    """Initialise as block means in, flat blocks out, plus noise: minutes of training saved (14 dB at step 0)."""
    for m in codec.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu").mul_(spread)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, MemoryBlock):
            conv = m.conv[-1]
            assert isinstance(conv, nn.Conv2d)
            conv.weight.mul_(0.2 * spread)

    def carry(conv: nn.Conv2d, links: list[tuple[int, int, float]]) -> None:
        for out, source, gain in links:
            conv.weight[out] *= 0.3
            if conv.kernel_size == (1, 1):
                conv.weight[out, source] += gain
            elif conv.stride == (2, 2):
                conv.weight[out, source, 1:3, 1:3] += gain / 4
            else:
                conv.weight[out, source, 1, 1] += gain

    n = 3 * codec.config.patch_size**2
    for layer in codec.encoder:
        if isinstance(layer, MergeFrames):
            c = layer.conv.out_channels
            carry(layer.conv, [(i, s * c + i, 1 / layer.stride) for i in range(n) for s in range(layer.stride)])
        elif isinstance(layer, nn.Conv2d):
            carry(layer, [(i, i, 1.0) for i in range(n)])
    first, *middle, last = [m for m in codec.decoder if isinstance(m, nn.Conv2d | SplitFrames)]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    carry(first, [(i, i, 1.0) for i in range(n)] + [(n + i, i, -1.0) for i in range(n)])  # ReLU keeps both signs
    for layer in middle:
        if isinstance(layer, SplitFrames):
            c = layer.conv.in_channels
            carry(layer.conv, [(s * c + i, i, 1.0) for i in range(2 * n) for s in range(layer.stride)])
        elif isinstance(layer, nn.Conv2d):
            carry(layer, [(i, i, 1.0) for i in range(2 * n)])
    last.weight.mul_(0.2)
    carry(last, [(i, i, 0.25) for i in range(n)] + [(i, n + i, -0.25) for i in range(n)])
    last.bias.fill_(0.5)

    rng, out = random.Random(1), codec.encoder[-2]
    assert isinstance(out, nn.Conv2d)
    assert out.bias is not None
    z = codec.encode(as_video(np.stack([_crop(rng)[0] for _ in range(16)])))
    mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))
    out.weight /= std.view(-1, 1, 1, 1)
    out.bias.copy_((out.bias - mean) / std)


def _loss(out: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    error = (out - target) * weight.unsqueeze(2)
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    # else motion comes in jumps, one a latent: frames amid them are cheap to leave as they are
    flow = error.diff(dim=1).abs().mean()
    # where it is not known which of four frames a thing moved in, the least error is to move nothing in most of them
    made, true = ((v.diff(dim=1) * weight[:, 1:].unsqueeze(2)).abs().mean((2, 3, 4)) for v in (out, target))
    unevenness = ((made - true).abs() / (true + STILL)).mean()
    return error.abs().mean() + 2 * (error * (out - target)).mean() + 0.5 * gradient + 4 * flow + EVEN * unevenness


def optimisers(
    module: nn.Module, muon: float, adam: float, *, matrix: Callable[[str, Tensor], bool]
) -> list[torch.optim.Optimizer]:
    """Muon for the parameters that `matrix` names, AdamW for the rest (biases, gains, embeddings)."""
    named = list(module.named_parameters())
    matrices = [p for n, p in named if matrix(n, p)]
    rest = [p for n, p in named if not matrix(n, p)]
    return [Muon(matrices, lr=muon), torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.98), weight_decay=0.0)]


@torch.no_grad()
def scores(codec: TinyCodec, footage: Footage, clips: int = 8, frames: int = 49) -> Facts:
    """Of whole reconstructed clips, held-out pairs among them: mean PSNR in dB, and the pulse of its latents.

    The pulse is the change at the strongest of the four frames of a latent against the frames around it; 1 is an even flow.
    """
    rng, decibels, profiles = random.Random(1), [], []
    for i in range(clips):
        video = as_video((footage.held_out if i % 2 else footage.clip)(rng, frames))[None]
        out, _ = codec.decode(codec.encode(torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], 1)))
        shown = out[:, 3:].clamp(0, 1)
        decibels.append(float(-10 * torch.log10((shown - video).square().mean())))
        flow = seams.changes((255 * shown[0]).round().to(torch.uint8).movedim(1, -1).numpy())
        profiles.append(seams.phase_profile(seams.local_ratio(flow), FRAMES_PER_LATENT))
    return {"psnr_db": float(np.mean(decibels)), "pulse": float(np.mean(profiles, 0).max())}


@torch.no_grad()
def _normalised(codec: TinyCodec, footage: Footage, clips: int = 64) -> TinyCodec:
    """The same codec, its latents with mean 0 and standard deviation 1 in every channel."""
    rng, latents = random.Random(2), []
    for _ in range(clips):
        latents.append(codec.encode(as_video(footage.clip(rng, 24))[None])[:, :, 1:])
    z = torch.cat(latents) * codec.std + codec.mean
    mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))
    config = dataclasses.replace(codec.config, latents_mean=tuple(mean.tolist()), latents_std=tuple(std.tolist()))
    same = TinyCodec(config)
    same.load_state_dict(codec.state_dict())
    return same


def train_codec(
    minutes: float,
    start: TinyCodec | None,
    save: Callable[[TinyCodec, Facts], None],
    footage: Footage = SCENES,
    seed: int = 0,
    *,
    decoder_only: bool = False,
) -> None:
    """Train for `minutes`, from scratch or from `start`; `save` is called every five minutes and at the end.

    `decoder_only`: `start` keeps its encoder and its latents as they are. ValueError without a `start` then.
    """
    if decoder_only and start is None:
        raise ValueError("a decoder alone is trained behind an encoder that is there")
    torch.manual_seed(seed)
    rng = random.Random(seed)
    codec = TinyCodec(start.config if start and decoder_only else TINY_POCKET)
    if start is None:
        _start_as_pyramid(codec)
    else:
        codec.load_state_dict(start.state_dict())
    average = copy.deepcopy(codec)
    codec.encoder.requires_grad_(not decoder_only)

    def keep(facts: Facts) -> None:
        save(average if decoder_only else _normalised(average, footage), facts | scores(average, footage))

    peak = 1.0 if start is None else 0.6
    learning = codec.decoder if decoder_only else codec
    optims = optimisers(learning, 0.006, 1e-3, matrix=lambda _, p: p.ndim >= 2)
    bases = [g["lr"] for o in optims for g in o.param_groups]
    began, step, said, saved = time.monotonic(), 0, 0.0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        rate = (
            peak
            * min(1.0, (step + 1) / 40)
            * (1.0 if done < 0.35 else 0.5 * (1 + np.cos(np.pi * (done - 0.35) / 0.65)))
        )
        for optim, base in zip(optims, bases, strict=True):
            optim.param_groups[0]["lr"] = base * rate
        crops = [footage.crop(rng) for _ in range(CLIPS)]
        video = as_video(np.stack([c for c, _ in crops]))
        weight = torch.from_numpy(np.stack([w for _, w in crops])).float()
        z = codec.encode(video)
        z = z + 0.1 * torch.randn_like(z)
        out, _ = codec.decode(z)
        loss = _loss(out[:, 3:], video[:, 3:], weight[:, 3:])
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        step += 1
        with torch.no_grad():
            for a, p in zip(average.parameters(), codec.parameters(), strict=True):
                if p.requires_grad:
                    a.lerp_(p, 1 - min(0.995, step / (step + 10)))
        minute = (time.monotonic() - began) / 60
        if minute - said >= 1:
            said = minute
            now = scores(average, footage, clips=4)
            print(
                f"{'decoder' if decoder_only else 'codec'} {minute:5.1f} min  step {step}  loss {loss.item():.4f}  psnr {now['psnr_db']:.2f} dB"
                f"  pulse {now['pulse']:.2f}",
                flush=True,
            )
        if minute - saved >= 5:
            saved = minute
            keep({"steps": step, "minutes": minute})
    keep({"steps": step, "minutes": minutes})
