"""Train the network that separates faces from their grounds: `python -m models.pocket.training.matte --minutes N`.

Faces are drawn without a ground and laid on the world's backdrops, on plain colours and on blurred patches; a third of
them go through the avatar's codec, whose softness and colour errors a drawn film has. A run goes on from the weights
that exist, and ends with the errors on faces whose hair no training shows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from models.checkpoints.assemble import ASSETS, load_tiny_codec
from models.checkpoints.matte_file import FILE, load, save
from models.codecs.codec import Codec
from models.judge.train_face_reader import random_pose
from models.matte import SIDE, MatteNetwork
from models.pocket.training.muon import Muon
from models.pocket.world.portrait.backdrop import backdrop
from models.pocket.world.portrait.face import ATTRIBUTES, random_face
from models.pocket.world.portrait.renderer import draw_cut_out

Numbers = NDArray[np.float32]
BATCH, NEW = 20, 6  # pictures of a batch, and how many of them are drawn for it
KEPT = 2000  # pictures drawn before that the others are taken from
EMPTY = 0.1  # share of pictures without anybody, so that they are told from portraits
LR = (0.02, 3e-3)  # of Muon for the matrices, of AdamW for the rest
SHARES = {"backdrop": 0.6, "plain": 0.2, "patches": 0.2}  # of the grounds


def ground(kind: str, rng: random.Random) -> Numbers:
    """Return a ground [128, 128, 3] in 0…255: a backdrop of the world, a plain colour, or blurred random patches."""
    if kind == "backdrop":
        whole = backdrop(rng.choice(ATTRIBUTES["background"]))
        return cv2.resize(whole, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    numbers = np.random.default_rng(rng.getrandbits(32))
    if kind == "plain":
        top, bottom = numbers.uniform(0, 255, (2, 3))
        ramp = np.linspace(0, rng.choice((0.0, 0.0, 1.0)), SIDE)[:, None, None]
        return (top + (bottom - top) * ramp * np.ones((1, SIDE, 1))).astype(np.float32)
    cells = rng.choice((rng.randint(2, 7), rng.randint(2, 7), 32, SIDE))
    small = numbers.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
    how = rng.choice((cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_LINEAR))
    return cv2.resize(small, (SIDE, SIDE), interpolation=how)


def sample(rng: random.Random, kind: str | None = None, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return a picture [3, 128, 128] in 0…1 of a face in a random pose on a ground of a kind, and its alpha.

    Without `held_out` some show the ground alone.
    """
    kind = kind or rng.choices(list(SHARES), list(SHARES.values()))[0]
    face, pose = random_face(rng, held_out=held_out), np.array([random_pose(rng)], np.float32)
    cut = draw_cut_out(face, pose)[0].astype(np.float32)
    if not held_out and rng.random() < EMPTY:
        cut[:] = 0
    alpha = cut[..., 3:] / 255
    picture = torch.from_numpy(cut[..., :3] + (1 - alpha) * ground(kind, rng)).permute(2, 0, 1) / 255
    return picture, torch.from_numpy(alpha[..., 0])


@torch.inference_mode()
def through(codec: Codec, pictures: Tensor) -> Tensor:
    """Return pictures [n, 3, 128, 128] as the codec shows them."""
    frames = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    latents = torch.cat([codec.encode_image(frame[None]) for frame in frames])
    shown = [codec.decode_stream().decode(one[None]) for one in latents]
    return torch.cat(shown).permute(0, 3, 1, 2).float() / 255


def _roughened(seen: Tensor, rng: random.Random) -> Tensor:
    """Imitate further defects of drawn films: softness, brightness, noise."""
    if rng.random() < 0.3:
        seen = F.avg_pool2d(seen, 3, 1, padding=1, count_include_pad=False)
    gain = 1 + 0.08 * (torch.rand(len(seen), 3, 1, 1) - 0.5)
    return (seen * gain + rng.uniform(0, 0.06) * (torch.rand_like(seen) - 0.5)).clamp(0, 1)


def train(minutes: float, start: MatteNetwork | None, codec: Codec, seed: int = 0) -> tuple[MatteNetwork, int]:
    """Train for `minutes`; return the network and the number of steps."""
    torch.manual_seed(seed)
    rng, network = random.Random(seed), start or MatteNetwork()
    network.train()
    matrices = [p for p in network.parameters() if p.ndim > 1]
    optims = Muon(matrices, lr=LR[0]), torch.optim.AdamW([p for p in network.parameters() if p.ndim == 1], lr=LR[1])
    drawn: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)
    began, step, said = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for optim, lr in zip(optims, LR, strict=True):
            optim.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 20) * max(0.01, min(1.0, (1 - done) / 0.6))
        pictures, alphas = (torch.stack(part) for part in zip(*(sample(rng) for _ in range(NEW)), strict=True))
        half = NEW // 3
        pictures = torch.cat([through(codec, pictures[:half]), pictures[half:]])
        drawn.extend(zip(pictures, alphas, strict=True))
        batch = [*list(drawn)[-NEW:], *rng.choices(drawn, k=BATCH - NEW)]
        pictures, wanted = (torch.stack(part) for part in zip(*batch, strict=True))
        if rng.random() < 0.5:
            pictures, wanted = pictures.flip(-1), wanted.flip(-1)
        off = network(_roughened(pictures, rng)) - wanted
        loss = off.abs().mean() + 0.5 * (off.diff(dim=1).abs().mean() + off.diff(dim=2).abs().mean())
        loss.backward()
        for optim in optims:
            optim.step()
            optim.zero_grad()
        step += 1
        if (minute := (time.monotonic() - began) / 60) - said >= 0.5:
            said = minute
            print(f"matte {minute:4.1f} min  step {step}  error {float(off.detach().abs().mean()):.4f}", flush=True)
    return network.eval(), step


@torch.inference_mode()
def errors(network: MatteNetwork, codec: Codec, kind: str, count: int, seed: int) -> tuple[float, float]:
    """Return the mean error of alpha on held-out faces after the codec, and the share of pixels that are a half off."""
    rng = random.Random(seed)
    pictures, wanted = (
        torch.stack(part) for part in zip(*(sample(rng, kind, held_out=True) for _ in range(count)), strict=True)
    )
    off = (network(through(codec, pictures)).clamp(0, 1) - wanted).abs()
    return float(off.mean()), float((off > 0.5).float().mean())


def main() -> None:
    """Train and report, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="time budget; 0 only reports")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--from-scratch", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    codec = load_tiny_codec(ASSETS / "pocket-avatar" / "codec.safetensors")
    network, facts = None, {"minutes": 0.0, "steps": 0}
    if args.out.exists() and not args.from_scratch:
        network = load(args.out)
        with safe_open(args.out, "pt") as f:
            facts = json.loads(f.metadata()["training"])
    if args.minutes > 0 or network is None:
        network, steps = train(args.minutes, network, codec, seed=int(facts["steps"]))
        save(network, args.out, {"minutes": facts["minutes"] + args.minutes, "steps": int(facts["steps"]) + steps})
    for kind in SHARES:
        mean, wrong = errors(network, codec, kind, 200, 12345)
        print(f"{kind:9} mean error {mean:.4f}  more than a half off {wrong:.4f}")


if __name__ == "__main__":
    main()
