"""Train the streaming codec on crops of the world's pictures: the first stage of pocket's training.

Encoder and decoder learn together; then the encoder is frozen, its latents are normalised per channel, and the decoder
alone is finished, at last against a discriminator if that is asked for. Once a transformer knows the latents, the
decoder can still be trained on: the encoder and the latents stay to the bit.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from models.codecs.tiny import TinyCodec, TinyCodecConfig
from models.codecs.tiny_configs import POCKET
from models.judge import seams
from models.pocket.training.codec_growth import grown
from models.pocket.training.codec_initialisation import start_as_means
from models.pocket.training.codec_loss import Adversary, picture_loss
from models.pocket.training.footage import LEAD, SCENES, ClipBank, Footage, as_video, pool_of
from models.pocket.training.muon import Muon
from models.pocket.weights import Facts
from models.time_grid import FRAMES_PER_LATENT

MUON, ADAM = 0.006, 1e-3  # learning rates at a rate of 1
BATCH, CROP = 4, 96  # crops of a step on the CPU, and pixels of their side
NOISE = 0.1  # standard deviation of what is added to latents before they are decoded
AVERAGING = 0.998  # share of the averaged weights that a step keeps, once many steps are done


def optimisers(
    module: nn.Module, muon: float, adam: float, *, matrix: Callable[[str, Tensor], bool]
) -> list[torch.optim.Optimizer]:
    """Return Muon for the parameters that `matrix` names, AdamW for the rest (biases, gains, embeddings)."""
    named = list(module.named_parameters())
    matrices = [p for n, p in named if matrix(n, p)]
    rest = [p for n, p in named if not matrix(n, p)]
    return [Muon(matrices, lr=muon), torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.98), weight_decay=0.0)]


class CodecTraining:
    """Hold a codec that is trained, its averaged copy, and the optimisers.

    The loop that calls `step` never waits for the device: `loss` is a tensor there.
    """

    def __init__(
        self,
        codec: TinyCodec,
        device: torch.device,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = picture_loss,
        *,
        decoder_only: bool = False,
    ) -> None:
        self.codec = _laid_out(codec.to(device), device)
        self.average = _laid_out(copy.deepcopy(self.codec).requires_grad_(requires_grad=False), device)
        self.steps, self.loss = 0, torch.zeros((), device=device)
        self._device, self.picture_loss = device, loss
        self._optims = optimisers(self.codec, MUON, ADAM, matrix=lambda _, p: p.ndim >= 2)
        self._bases = [g["lr"] for o in self._optims for g in o.param_groups]
        self.decoder_only = decoder_only
        self.codec.encoder.requires_grad_(not decoder_only)

    def freeze_encoder(self, bank: ClipBank) -> CodecTraining:
        """Train the decoder alone from here on, behind the averaged encoder and normalised latents."""
        same = with_statistics(self.average, *statistics(self.average, bank))
        return CodecTraining(same, self._device, self.picture_loss, decoder_only=True)

    def step(
        self,
        video: Tensor,
        weight: Tensor,
        rate: float,
        adversary: Adversary | None = None,
        strength: float = 1.0,
    ) -> None:
        """Take one training step on video [B, LEAD + T, 3, H, W] in 0..1; `rate` scales MUON and ADAM.

        `weight` [B, T, H, W] is the loss weight of every pixel.
        """
        for optim, base in zip(self._optims, self._bases, strict=True):
            optim.param_groups[0]["lr"] = base * rate
        with torch.autocast(self._device.type, torch.bfloat16):
            with torch.set_grad_enabled(not self.decoder_only):
                z = self.codec.encode(video).float()
            decoded, _ = self.codec.decode(z + NOISE * torch.randn_like(z))
        out, target = decoded[:, LEAD:], video[:, LEAD:]
        leaf = out.detach().float().requires_grad_()
        loss = self.picture_loss(leaf, target, weight)
        (gradient,) = torch.autograd.grad(loss, leaf)
        if adversary is not None:
            gradient = adversary.gradient(leaf.detach(), target, gradient, strength)
        out.backward(gradient.to(out.dtype))
        both = zip(self.codec.parameters(), self.average.parameters(), strict=True)
        pairs = [(p, a) for p, a in both if p.requires_grad]
        learning: list[Tensor] = [p for p, _ in pairs]
        nn.utils.clip_grad_norm_(learning, 1.0)
        for optim in self._optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        self.steps, self.loss = self.steps + 1, loss.detach()
        with torch.no_grad():
            kept: list[Tensor] = [a for _, a in pairs]
            torch._foreach_lerp_(kept, learning, 1 - min(AVERAGING, self.steps / (self.steps + 10)))


def _laid_out(codec: TinyCodec, device: torch.device) -> TinyCodec:
    """Lay kernels out channels last on CUDA, where convolutions are faster so."""
    if device.type == "cuda":
        for m in codec.modules():
            if isinstance(m, nn.Conv2d):
                m.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return codec


@torch.no_grad()
def statistics(codec: TinyCodec, bank: ClipBank) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every channel before normalisation, over latents of whole pictures."""
    latents = [codec.encode(bank.sample(4, bank.size)[0])[:, :, 1:].float() for _ in range(24)]
    z = torch.cat(latents) * codec.std + codec.mean
    return z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4))


def with_statistics(codec: TinyCodec, mean: Tensor, std: Tensor) -> TinyCodec:
    """Return the same codec with latents normalised by `mean` and `std` [C]."""
    config = dataclasses.replace(codec.config, latents_mean=tuple(mean.tolist()), latents_std=tuple(std.tolist()))
    same = TinyCodec(config)
    same.load_state_dict(codec.state_dict())
    return same.to(mean.device)


def begun(start: TinyCodec | None, config: TinyCodecConfig, video: Tensor) -> TinyCodec:
    """Return a codec of `config` to train: `start` itself if it is one, grown from it if it is smaller, or new.

    `video` [B, T, 3, H, W] says how large values are.
    """
    if start is None:
        new = TinyCodec(config)
        start_as_means(new, video)
        return new
    plain = dataclasses.replace(start.config, latents_mean=None, latents_std=None)
    return start if plain == config else grown(start, config, video)


def eased(done: float, flat: float, end: float = 0.0) -> float:
    """Return a rate of 1 until the share `flat` of the time is spent, then down to `end` along a cosine."""
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done - flat) / (1 - flat))))
    return end + (1 - end) * fall


@torch.no_grad()
def scores(codec: TinyCodec, footage: Footage, clips: int = 4, frames: int = 37) -> Facts:
    """Measure whole reconstructed clips, held-out pairs among them: mean PSNR in dB, and the pulse of its latents.

    The pulse is the change at the strongest of the four frames of a latent against the frames around it; 1 is even.
    """
    rng, decibels, profiles = random.Random(1), [], []
    for i in range(clips):
        video = as_video((footage.held_out if i % 2 else footage.clip)(rng, frames))[None]
        out, _ = codec.decode(codec.encode(torch.cat([video[:, :1].expand(-1, LEAD, -1, -1, -1), video], 1)))
        shown = out[:, LEAD:].clamp(0, 1)
        decibels.append(float(-10 * torch.log10((shown - video).square().mean())))
        flow = seams.changes((255 * shown[0]).round().to(torch.uint8).movedim(1, -1).numpy())
        profiles.append(seams.phase_profile(seams.local_ratio(flow), FRAMES_PER_LATENT))
    return {"psnr_db": float(np.mean(decibels)), "pulse": float(np.mean(profiles, 0).max())}


def _budget(minutes: float) -> Iterator[float]:
    """Yield the share of a time budget that is spent, until all of it is."""
    began = time.monotonic()
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        yield done


def train_codec(
    minutes: float,
    start: TinyCodec | None,
    save: Callable[[TinyCodec, Facts], None],
    footage: Footage = SCENES,
    seed: int = 0,
    *,
    config: TinyCodecConfig = POCKET,
    decoder_only: bool = False,
) -> None:
    """Train on the CPU for `minutes`, from nothing or from `start`; `save` is called every five minutes and at the end.

    A `start` of another configuration is grown to `config`. With `decoder_only` the encoder and the latents of `start`
    stay as they are. Raises ValueError for `decoder_only` without a `start`.
    """
    if decoder_only and start is None:
        raise ValueError("a decoder alone is trained behind an encoder that is there")
    torch.manual_seed(seed)
    device = torch.device("cpu")
    peak = 0.5 if start is None else 0.2
    with pool_of(footage, workers=1, slots=16, seed=seed) as pool:
        bank = ClipBank(pool, 256, device, seed)
        bank.fill(8)
        codec = start if start and decoder_only else begun(start, config, bank.sample(8, CROP)[0])
        training = CodecTraining(codec, device, decoder_only=decoder_only)

        def keep(facts: Facts) -> None:
            made = training.average
            if not decoder_only:
                made = with_statistics(made, *statistics(made, bank))
            save(made, facts | scores(made, footage))

        said = saved = 0.0
        for done in _budget(minutes):
            bank.fill(0)
            rate = peak * min(1.0, (training.steps + 1) / 40) * eased(done, flat=0.35)
            training.step(*bank.sample(BATCH, CROP), rate)
            minute = done * minutes
            if minute - said >= 1:
                said = minute
                now = scores(training.average, footage, clips=2)
                print(
                    f"{'decoder' if decoder_only else 'codec'} {minute:5.1f} min  step {training.steps}"
                    f"  loss {training.loss.item():.4f}  psnr {now['psnr_db']:.2f} dB  pulse {now['pulse']:.2f}",
                    flush=True,
                )
            if minute - saved >= 5:
                saved = minute
                keep({"steps": training.steps, "minutes": minute})
        keep({"steps": training.steps, "minutes": minutes})
